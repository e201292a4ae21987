//! Nodes that were read together for one decision.

use std::collections::HashMap;

use fleet_graph::{Deadline, GraphStore, Node, NodeKey, ReadError, Versioned};
use serde::de::DeserializeOwned;

use crate::Fault;
use crate::races::word;

/// Nodes that were read together, by their keys.
#[derive(Debug, Clone, Default)]
pub struct Found(HashMap<NodeKey, Node>);

impl Found {
    /// Reads these nodes; one round trip, none if there are no keys.
    ///
    /// # Errors
    /// The store's.
    pub async fn get<S: GraphStore + ?Sized>(
        store: &S,
        mut keys: Vec<NodeKey>,
        deadline: Deadline,
    ) -> Result<Self, ReadError> {
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let nodes = store.get(&keys, deadline).await?;
        Ok(nodes.into_iter().flatten().collect())
    }

    /// The node with this key, if there is one.
    pub fn node(&self, key: &NodeKey) -> Option<&Node> {
        self.0.get(key)
    }

    /// The row with this key, if there is one.
    ///
    /// # Errors
    /// If it does not read as one.
    pub fn find<T: DeserializeOwned>(
        &self,
        key: &NodeKey,
    ) -> Result<Option<Versioned<T>>, ReadError> {
        Ok(self.node(key).map(Node::versioned).transpose()?)
    }

    /// The row with this key, or NOT_FOUND naming it.
    ///
    /// # Errors
    /// If there is none, or it does not read as one.
    pub fn need<T: DeserializeOwned>(&self, key: &NodeKey) -> Result<Versioned<T>, Fault> {
        self.find(key)?
            .ok_or_else(|| Fault::not_found(word(key.label()), key.id()))
    }
}

impl FromIterator<Node> for Found {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        let by_key = |node: Node| (node.key.clone(), node);
        Self(nodes.into_iter().map(by_key).collect())
    }
}
