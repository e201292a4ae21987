//! The ports that adapters implement.

use std::time::Duration;

use async_trait::async_trait;
use fleet_types::{EventId, Timestamp};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    Commit, CorruptRow, Digest, Digested, Hits, Index, Node, NodeKey, OutboxEvent, Page, Receipt,
    RequestKey, Scan, Search, Sketch, Sketched, Subgraph, Total, Walk,
};

/// Until when an answer is of use. Every call of a port has one; adapters give
/// `Unavailable` rather than pass it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// So much time from now.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// At this instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The instant.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// What is left; zero if it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// The store could not be asked, or did not answer in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{store} is unavailable: {reason}")]
pub struct Unavailable {
    /// Which store, e.g. `neo4j`, `embedded`.
    pub store: &'static str,
    /// Why, for logs; may hold driver text and is never shown to a caller.
    pub reason: String,
    /// Whether the same call may succeed a little later.
    pub retryable: bool,
}

/// Why a commit did not happen (nothing of it did).
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// A node is not at the version that a write or guard expects.
    #[error("{key} is at version {found}, not {expected}")]
    Conflict {
        /// The node.
        key: NodeKey,
        /// What was expected.
        expected: i64,
        /// What is there (never 0: a missing node is [`CommitError::Missing`]).
        found: i64,
    },
    /// A node that must exist does not: an expected version, a guard, or the end of an edge.
    #[error("{key} does not exist")]
    Missing {
        /// The node.
        key: NodeKey,
    },
    /// A node that must not exist does.
    #[error("{key} exists already")]
    AlreadyExists {
        /// The node.
        key: NodeKey,
    },
    /// The event was handled before by this consumer.
    #[error("this event was applied before")]
    AlreadyApplied,
    /// The same request was answered before: give this answer again.
    #[error("this request was answered before")]
    Replayed {
        /// The stored answer.
        response: Vec<u8>,
    },
    /// The request id was used before for a request of other content.
    #[error("this request_id was used before for another request")]
    RequestMismatch,
    /// The store is away. The outcome may be unknown; repeating the same [`Commit`] (same id)
    /// is safe and finds out.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The commit breaks a rule of the port (see [`Commit::check`]): a bug of the caller.
    #[error("commit refused: {0}")]
    Invalid(String),
}

/// Why a read gave nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The store is away.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A stored node does not read as what it should be.
    #[error(transparent)]
    Corrupt(#[from] CorruptRow),
    /// The read breaks a rule of the port: a bug of the caller.
    #[error("read refused: {0}")]
    Invalid(String),
}

/// A request that was answered before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastRequest {
    /// Hash of what was asked.
    pub fingerprint: String,
    /// What was answered.
    pub response: Vec<u8>,
}

/// The graph: atomic commits and bounded reads.
#[async_trait]
pub trait GraphStore: Send + Sync {
    /// Brings constraints and indexes up to date. Safe when replicas race.
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError>;

    /// Applies `commit` whole or not at all; durable when acknowledged.
    ///
    /// Order of checks when several things are wrong: request (replay or mismatch), answers,
    /// then guards and node writes in their order, then edges. A retry of the same commit
    /// (same [`Commit::id`]) whose first reply was lost gives the first outcome.
    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError>;

    /// The nodes with these keys, in the order asked; `None` where there is none. One that
    /// cannot be read fails all of it: [`Self::walk`] without steps leaves it out. One round trip.
    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError>;

    /// The stored outcome of a request, if it was made before. One round trip.
    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError>;

    /// One page of a listing. One round trip, or two with a total.
    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError>;

    /// How many nodes each listing has with these filters. One round trip for all.
    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError>;

    /// A bounded walk. One round trip.
    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError>;

    /// A few columns of everything near a node. One round trip.
    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError>;

    /// The versions around a node and the nodes with these keys (as [`Self::get`] gives them),
    /// read before the versions: if those are what they were, the nodes are of that state.
    /// One round trip, as long as the keys fit into one message of the store; a store over a
    /// network may take one more for each hundred keys or so.
    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError>;

    /// Nodes that have all the words of a search. One round trip.
    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError>;

    /// Whether the store answers.
    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable>;
}

/// The events that commits caused and the bus does not surely have yet. A store shows only
/// the rows of its own deployment.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Events not marked as published and committed before `older_than`, oldest first, at
    /// most `limit`.
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError>;

    /// Remembers that the bus acknowledged these at `at`, but may still lose them.
    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError>;

    /// Makes events published at or after `since` pending again (the bus was restarted and
    /// may have lost what it had not synced). Gives how many.
    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError>;

    /// Removes these for good.
    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError>;

    /// Removes at most `limit` events that were published before `before`. Gives how many.
    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError>;

    /// How many events are pending and when the oldest was committed.
    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError>;
}

/// Removal of rows that only time makes useless.
#[async_trait]
pub trait Pruning: Send + Sync {
    /// Removes at most `limit` rows of each kind that were written before its time: inbox
    /// rows, stored requests, commit markers. Gives how many went.
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError>;
}

/// Everything a service needs of its store.
pub trait Store: GraphStore + Outbox + Pruning {}

impl<T: GraphStore + Outbox + Pruning> Store for T {}
