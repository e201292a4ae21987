use uuid::Uuid;

use crate::Timestamp;

/// Wall-clock time as a port, so that a whole fleet can run under one seeded scheduler.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Now, UTC.
    fn now(&self) -> Timestamp;
}

/// Fresh ids and randomness as a port.
pub trait Ids: Send + Sync + std::fmt::Debug {
    /// A new UUIDv7: unique, and later ones sort later within one process.
    fn uuid(&self) -> Uuid;

    /// A uniformly random number, for jitter only.
    fn random(&self) -> u64;
}
