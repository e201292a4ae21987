use std::sync::Arc;

use fleet_types::Clock;

/// A place in the life of a group of writes where a test may end the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Everything is written, nothing is committed.
    BeforeCommit,
    /// Everything is on disk, nobody was told.
    AfterCommit,
}

/// Called by the writing thread at each [`Point`].
pub type FaultHook = Arc<dyn Fn(Point) + Send + Sync>;

/// How a database is opened.
#[derive(Clone)]
pub struct Options {
    /// Outbox rows of this deployment are shown, and new ones carry it.
    pub deployment: String,
    /// Where the time of stored messages comes from.
    pub clock: Arc<dyn Clock>,
    /// Most jobs that wait for the writing thread; more wait outside until their deadline.
    pub queue: usize,
    /// Most jobs in one transaction.
    pub group: usize,
    /// Most reads at once.
    pub readers: usize,
    /// A database up to this size, in bytes, is verified completely at every start; a larger
    /// one only after a stop that was not clean, and while it is read.
    pub verify_up_to: u64,
    /// The largest size that a database may grow to, in bytes; writes beyond are refused as
    /// on a full disk. `None`: the disk decides.
    pub max_bytes: Option<u64>,
    /// Most messages in any one stream, if that is less than the topology says.
    pub max_stream_messages: Option<u64>,
    /// Pages in the log from which they are moved to the main file as soon as nobody waits; at
    /// four times as many it is done anyway.
    pub backfill_pages: u32,
    /// For crash tests.
    pub fault: Option<FaultHook>,
}

impl Options {
    /// The defaults, with this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            deployment: "default".to_owned(),
            clock,
            queue: 1024,
            group: 256,
            readers: 4,
            verify_up_to: 32 * 1024 * 1024,
            max_bytes: None,
            max_stream_messages: None,
            backfill_pages: 2_000,
            fault: None,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("deployment", &self.deployment)
            .field("queue", &self.queue)
            .field("group", &self.group)
            .field("readers", &self.readers)
            .field("verify_up_to", &self.verify_up_to)
            .field("max_bytes", &self.max_bytes)
            .field("max_stream_messages", &self.max_stream_messages)
            .field("backfill_pages", &self.backfill_pages)
            .finish_non_exhaustive()
    }
}
