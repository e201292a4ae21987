//! What a decision sees: the store as it is, the time, fresh ids, and on whose behalf.

use std::sync::Arc;

use fleet_events::{Origin, payload::Payload};
use fleet_graph::{Commit, Deadline, NodeKey, OutboxEvent, Owner, ReadError, Store};
use fleet_service::Found;
use fleet_types::{Ids, Timestamp};

use crate::domain::{Policies, Tokens};

/// One look at the world.
pub struct Scene {
    /// For reads.
    pub store: Arc<dyn Store>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Redaction, and what counts hold for.
    pub policies: Arc<Policies>,
    /// Counts tokens.
    pub tokens: Arc<dyn Tokens>,
    /// When this decision is made.
    pub now: Timestamp,
    /// On whose behalf; where events say they come from.
    pub origin: Origin,
    /// Until when.
    pub deadline: Deadline,
}

impl Scene {
    /// Reads these nodes; one round trip, none if there are no keys.
    ///
    /// # Errors
    /// The store is away.
    pub async fn get(&self, keys: Vec<NodeKey>) -> Result<Found, ReadError> {
        Found::get(&*self.store, keys, self.deadline).await
    }

    /// A commit of context with nothing in it yet.
    pub fn commit(&self) -> Box<Commit> {
        Box::new(Commit::new(self.ids.uuid(), Owner::Context, self.now))
    }

    /// An event for the outbox.
    pub fn event<P: Payload>(&self, aggregate: &str, version: i64, payload: &P) -> OutboxEvent {
        self.origin
            .event(&*self.ids, self.now, aggregate, version, payload)
    }

    /// A text without secrets, as it may leave.
    pub fn redacted(&self, text: &str) -> String {
        self.policies.redaction().apply(text)
    }

    /// Tokens of a text column as it will be shown.
    pub fn count(&self, text: &str) -> u32 {
        crate::domain::column_tokens(&*self.tokens, &self.redacted(text))
    }
}
