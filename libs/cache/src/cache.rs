//! The port.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Key;

/// The largest value that is kept, in bytes.
pub const MAX_VALUE_BYTES: usize = 4 * 1024 * 1024;

/// The longest time that a value is kept; a longer one is cut to it.
pub const MAX_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What became of a value that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is kept until its time is over, or its room is needed.
    Kept,
    /// It is not: it is too large, or has no time. What was under the key is gone.
    NotKept,
}

/// How full a cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Values.
    pub entries: usize,
    /// Bytes of values and keys with what keeping them costs.
    pub bytes: usize,
    /// Values that had to make room, since the start.
    pub evicted: u64,
}

/// Why a cache did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// No answer in time. A write may have happened.
    #[error("the cache did not answer within {0:?}")]
    Timeout(Duration),
    /// Nobody to ask. A write may have happened if the connection broke meanwhile.
    #[error("the cache is away: {reason}")]
    Unavailable {
        /// What the connection said; holds no secret.
        reason: String,
    },
    /// The server answered, and not with what was asked: it wants other credentials, is full,
    /// or has something else under the key.
    #[error("the cache refuses: {reason}")]
    Refused {
        /// The server's words; hold no secret.
        reason: String,
    },
}

/// Values for a while. Every call ends within the time it is given (`within`), whatever the
/// server does; a call that is dropped disturbs no other.
#[async_trait]
pub trait Cache: Send + Sync {
    /// Its name in readiness, e.g. `valkey`.
    fn name(&self) -> &'static str;

    /// The value under `key`, unless its time is over.
    ///
    /// # Errors
    /// See [`CacheError`]; none is a miss.
    async fn get(&self, key: &Key, within: Duration) -> Result<Option<Bytes>, CacheError>;

    /// Keeps `value` under `key` for `ttl` instead of what was there. A value over
    /// [`MAX_VALUE_BYTES`], or a `ttl` under a millisecond, removes what was there and is
    /// [`Stored::NotKept`].
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn set(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
        within: Duration,
    ) -> Result<Stored, CacheError>;

    /// Removes what is under `key`, if anything is.
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn delete(&self, key: &Key, within: Duration) -> Result<(), CacheError>;

    /// Whether it is there and would serve us.
    ///
    /// # Errors
    /// See [`CacheError`].
    async fn ping(&self, within: Duration) -> Result<(), CacheError>;

    /// How full it is, if it is in this process; `None`: it is a server, which may be away.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

impl Stored {
    /// What every adapter answers before it looks at anything else: whether the port allows to
    /// keep a value of so many bytes for so long.
    pub fn allowed(bytes: usize, ttl: Duration) -> Self {
        if bytes <= MAX_VALUE_BYTES && ttl >= Duration::from_millis(1) {
            Self::Kept
        } else {
            Self::NotKept
        }
    }
}
