//! What a decision sees: the store as it is, the time, fresh ids, and on whose behalf.

use std::collections::HashMap;
use std::sync::Arc;

use fleet_events::{Origin, payload::Payload};
use fleet_graph::{Commit, Deadline, Node, NodeKey, OutboxEvent, Owner, ReadError, Store};
use fleet_service::Fault;
use fleet_types::{Ids, Timestamp};
use serde::de::DeserializeOwned;

use super::word;
use crate::domain::{Policies, Tokens};
use crate::rows::{self, Versioned};

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

/// Nodes that were read together.
pub struct Found(HashMap<NodeKey, Node>);

impl Found {
    /// The row with this key, if there is one.
    ///
    /// # Errors
    /// A row that does not read as one.
    pub fn find<T: DeserializeOwned>(
        &self,
        key: &NodeKey,
    ) -> Result<Option<Versioned<T>>, ReadError> {
        Ok(self.0.get(key).map(rows::read).transpose()?)
    }

    /// The row with this key, or NOT_FOUND naming it.
    ///
    /// # Errors
    /// If there is none, or it does not read as one.
    pub fn need<T: DeserializeOwned>(&self, key: &NodeKey) -> Result<Versioned<T>, Fault> {
        self.find(key)?
            .ok_or_else(|| Fault::not_found(word(key.label()), key.id()))
    }

    /// Whether there is a node with this key.
    pub fn has(&self, key: &NodeKey) -> bool {
        self.0.contains_key(key)
    }
}

impl Scene {
    /// Reads these nodes; one round trip, none if there are no keys.
    ///
    /// # Errors
    /// The store is away.
    pub async fn get(&self, mut keys: Vec<NodeKey>) -> Result<Found, ReadError> {
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(Found(HashMap::new()));
        }
        let nodes = self.store.get(&keys, self.deadline).await?;
        let present = keys.into_iter().zip(nodes);
        Ok(Found(
            present
                .filter_map(|(key, node)| Some((key, node?)))
                .collect(),
        ))
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
