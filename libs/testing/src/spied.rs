//! A store that a test can look into.

use std::ops::Deref;
use std::sync::Arc;

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, GraphStore, Hits, Index, Node, NodeKey,
    Outbox, OutboxEvent, Page, PastRequest, Pruning, ReadError, Receipt, RequestKey, Scan, Search,
    Sketch, Sketched, Store, Subgraph, Total, Unavailable, Walk,
};
use fleet_types::{EventId, Timestamp};
use serde_json::Value;

/// What a test does between a service and its store.
#[async_trait]
pub trait Spy: Send + Sync {
    /// Before each read of the graph; an error is given instead of an answer.
    fn read(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Before a request is looked up.
    fn past_request(&self) -> Result<(), Unavailable> {
        Ok(())
    }

    /// Before each commit, whoever writes; an error is given instead of an answer.
    fn commit(&self, _commit: &Commit) -> Result<(), CommitError> {
        Ok(())
    }

    /// Behind each sketch: what is told of it.
    async fn sketched(&self, _store: &dyn Store, seen: Sketched) -> Sketched {
        seen
    }
}

/// A store with a spy before it. Relay and pruning pass by unseen.
pub struct Spied<S> {
    store: Arc<dyn Store>,
    spy: S,
}

impl<S: Spy> Spied<S> {
    /// Puts a spy before a store.
    pub fn new(store: Arc<dyn Store>, spy: S) -> Self {
        Self { store, spy }
    }
}

/// What the spy saw, and what it is to do.
impl<S> Deref for Spied<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.spy
    }
}

/// A store that is away.
pub fn pulled_plug() -> Unavailable {
    Unavailable {
        store: "embedded",
        reason: "pulled the plug".to_owned(),
        retryable: true,
    }
}

#[async_trait]
impl<S: Spy> GraphStore for Spied<S> {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        self.store.migrate(deadline).await
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        self.spy.commit(commit)?;
        self.store.commit(commit, deadline).await
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        self.spy.read()?;
        self.store.get(keys, deadline).await
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        self.spy.past_request()?;
        self.store.past_request(key, deadline).await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        self.spy.read()?;
        self.store.scan(scan, deadline).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        self.spy.read()?;
        self.store.counts(listings, deadline).await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        self.spy.read()?;
        self.store.walk(walk, deadline).await
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        self.spy.read()?;
        let seen = self.store.sketch(sketch, deadline).await?;
        Ok(self.spy.sketched(&*self.store, seen).await)
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        self.spy.read()?;
        self.store.digest(digest, keys, deadline).await
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        self.spy.read()?;
        self.store.search(search, deadline).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.store.ping(deadline).await
    }
}

#[async_trait]
impl<S: Spy> Outbox for Spied<S> {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        self.store.pending(older_than, limit, deadline).await
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError> {
        self.store.mark_published(ids, at, deadline).await
    }

    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError> {
        self.store.unpublish(since, deadline).await
    }

    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError> {
        self.store.remove(ids, deadline).await
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.store.remove_published(before, limit, deadline).await
    }

    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        self.store.backlog(deadline).await
    }
}

#[async_trait]
impl<S: Spy> Pruning for Spied<S> {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.store.prune(inbox, requests, limit, deadline).await
    }
}
