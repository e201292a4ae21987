//! A bus and a store in memory: strict about what the real ones promise, obedient about what
//! they may do (go away, fill up, lose their tail, redeliver). For tests only.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "part of tests only"
)]

mod bus;
mod store;

use std::sync::Arc;

use fleet_types::{Clock, Timestamp};
use tokio::time::Instant;

pub use bus::MemoryBus;
pub use store::MemoryStore;

/// Wall-clock time that follows the (paused) time of tokio.
#[derive(Debug)]
pub struct TestClock(Instant);

impl TestClock {
    pub fn start() -> Arc<Self> {
        Arc::new(Self(Instant::now()))
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_762_603_200_000).plus(self.0.elapsed())
    }
}
