//! A store that counts what is asked of it, fails on demand, and lets something happen between
//! two reads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, CorruptRow, Deadline, Digest, Digested, GraphStore, Hits, Index, Node,
    NodeKey, Outbox, OutboxEvent, Page, PastRequest, Pruning, ReadError, Receipt, RequestKey, Scan,
    Search, Sketch, Sketched, Store, Subgraph, Total, Unavailable, Walk,
};
use fleet_types::{EventId, Timestamp};
use serde_json::Value;

/// The store of the context service in these tests.
pub struct Watched {
    inner: Arc<dyn Store>,
    reads: AtomicU32,
    away: AtomicBool,
    /// Applied behind the next sketches, one for each.
    between: Mutex<Vec<Commit>>,
    /// Does not read as a node.
    damaged: Mutex<Option<NodeKey>>,
    /// Is not among what so many of the next sketches reach.
    hidden: Mutex<Option<(NodeKey, u32)>>,
}

impl Watched {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            reads: AtomicU32::new(0),
            away: AtomicBool::new(false),
            between: Mutex::default(),
            damaged: Mutex::default(),
            hidden: Mutex::default(),
        })
    }

    /// Reads since the last look.
    pub fn trips(&self) -> u32 {
        self.reads.swap(0, Ordering::SeqCst)
    }

    pub fn cut_off(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Commits this behind the next sketch.
    pub fn move_meanwhile(&self, commit: Commit) {
        self.between.lock().unwrap().push(commit);
    }

    /// This node cannot be read in sketches from now on.
    pub fn damage(&self, key: NodeKey) {
        *self.damaged.lock().unwrap() = Some(key);
    }

    /// The next sketches do not show this node yet, as if they saw half of the commit that wrote
    /// it.
    pub fn hide(&self, key: NodeKey, sketches: u32) {
        *self.hidden.lock().unwrap() = Some((key, sketches));
    }

    fn there(&self) -> Result<(), Unavailable> {
        if self.away.load(Ordering::SeqCst) {
            return Err(Unavailable {
                store: "embedded",
                reason: "pulled the plug".to_owned(),
                retryable: true,
            });
        }
        Ok(())
    }

    fn read(&self) -> Result<(), Unavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.there()
    }
}

#[async_trait]
impl GraphStore for Watched {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        self.inner.migrate(deadline).await
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        self.there()?;
        self.inner.commit(commit, deadline).await
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        self.read()?;
        self.inner.get(keys, deadline).await
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        self.there()?;
        self.inner.past_request(key, deadline).await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        self.read()?;
        self.inner.scan(scan, deadline).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        self.read()?;
        self.inner.counts(listings, deadline).await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        self.read()?;
        self.inner.walk(walk, deadline).await
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        self.read()?;
        let mut seen = self.inner.sketch(sketch, deadline).await?;
        if let Some(key) = &*self.damaged.lock().unwrap() {
            for branch in &mut seen.branches {
                let before = branch.versions().nodes;
                branch.nodes.retain(|node| node.key != *key);
                branch.light.retain(|node| node.key != *key);
                if branch.versions().nodes < before {
                    branch.corrupt.push(CorruptRow {
                        key: key.clone(),
                        problem: "no JSON".to_owned(),
                    });
                }
            }
        }
        if let Some((key, left)) = &mut *self.hidden.lock().unwrap()
            && *left > 0
        {
            *left -= 1;
            for branch in &mut seen.branches {
                branch.light.retain(|node| node.key != *key);
            }
        }
        let next = self.between.lock().unwrap().pop();
        if let Some(commit) = next {
            self.inner.commit(&commit, deadline).await.unwrap();
        }
        Ok(seen)
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        self.read()?;
        self.inner.digest(digest, keys, deadline).await
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        self.read()?;
        self.inner.search(search, deadline).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.inner.ping(deadline).await
    }
}

#[async_trait]
impl Outbox for Watched {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        self.inner.pending(older_than, limit, deadline).await
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError> {
        self.inner.mark_published(ids, at, deadline).await
    }

    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError> {
        self.inner.unpublish(since, deadline).await
    }

    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError> {
        self.inner.remove(ids, deadline).await
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.inner.remove_published(before, limit, deadline).await
    }

    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        self.inner.backlog(deadline).await
    }
}

#[async_trait]
impl Pruning for Watched {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.inner.prune(inbox, requests, limit, deadline).await
    }
}
