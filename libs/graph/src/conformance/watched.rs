//! A store under watch, for tests of what stands on the port.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_types::{EventId, Timestamp};
use serde_json::Value;

use crate::{
    Commit, CommitError, CorruptRow, Deadline, Digest, Digested, GraphStore, Hits, Index, Node,
    NodeKey, Outbox, OutboxEvent, Page, PastRequest, Pruning, ReadError, Receipt, RequestKey, Scan,
    Search, Sketch, Sketched, Store, Subgraph, Total, Unavailable, Walk,
};

/// A read of [`GraphStore`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read<'a> {
    /// [`GraphStore::get`] of these.
    Get(&'a [NodeKey]),
    /// [`GraphStore::past_request`].
    PastRequest,
    /// [`GraphStore::scan`] of this listing.
    Scan(Index),
    /// [`GraphStore::counts`].
    Counts,
    /// [`GraphStore::walk`].
    Walk,
    /// [`GraphStore::sketch`].
    Sketch,
    /// [`GraphStore::digest`].
    Digest,
    /// [`GraphStore::search`].
    Search,
}

/// What happens round the calls of a [`Watched`] store; nothing, where it is not said.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Before a read; an error is its answer.
    async fn before_read(&self, read: Read<'_>) -> Result<(), Unavailable> {
        let _ = read;
        Ok(())
    }

    /// After a read, before its answer goes out.
    async fn after_read(&self, read: Read<'_>) {
        let _ = read;
    }

    /// Before a commit; an error is its answer.
    async fn before_commit(&self, commit: &Commit) -> Result<(), CommitError> {
        let _ = commit;
        Ok(())
    }

    /// Whether this node is to look as if its row could not be read, in every read of it but
    /// listings and counts.
    fn is_damaged(&self, key: &NodeKey) -> bool {
        let _ = key;
        false
    }

    /// What was sketched, before it goes out.
    async fn sketched(&self, sketched: &mut Sketched) {
        let _ = sketched;
    }
}

/// A store whose calls somebody watches: counts, holds up, fails. Outbox and pruning pass
/// unwatched.
pub struct Watched<W> {
    inner: Arc<dyn Store>,
    watch: Arc<W>,
}

impl<W: Watch> Watched<W> {
    /// `inner` under the eyes of `watch`.
    pub fn new(inner: Arc<dyn Store>, watch: Arc<W>) -> Self {
        Self { inner, watch }
    }

    /// One watched read.
    async fn read<T>(
        &self,
        read: Read<'_>,
        answer: impl Future<Output = Result<T, ReadError>> + Send,
    ) -> Result<T, ReadError> {
        self.watch.before_read(read).await?;
        let answer = answer.await;
        self.watch.after_read(read).await;
        answer
    }

    /// The nodes without those that are to look damaged.
    fn take_damaged(&self, nodes: &mut Vec<Node>) -> Vec<CorruptRow> {
        let damaged = nodes.extract_if(.., |node| self.watch.is_damaged(&node.key));
        damaged.map(|node| corrupt(node.key)).collect()
    }

    /// As an answer that has room for nodes only.
    fn refuse_damaged<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n Node>,
    ) -> Result<(), ReadError> {
        let mut nodes = nodes.into_iter();
        match nodes.find(|node| self.watch.is_damaged(&node.key)) {
            Some(node) => Err(corrupt(node.key.clone()).into()),
            None => Ok(()),
        }
    }
}

fn corrupt(key: NodeKey) -> CorruptRow {
    CorruptRow {
        key,
        problem: "is damaged, says who watches".to_owned(),
    }
}

#[async_trait]
impl<W: Watch> GraphStore for Watched<W> {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        self.inner.migrate(deadline).await
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        self.watch.before_commit(commit).await?;
        self.inner.commit(commit, deadline).await
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        let answer = self.inner.get(keys, deadline);
        let nodes = self.read(Read::Get(keys), answer).await?;
        self.refuse_damaged(nodes.iter().flatten())?;
        Ok(nodes)
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        let answer = self.inner.past_request(key, deadline);
        self.read(Read::PastRequest, answer).await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        let answer = self.inner.scan(scan, deadline);
        self.read(Read::Scan(scan.index), answer).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        let answer = self.inner.counts(listings, deadline);
        self.read(Read::Counts, answer).await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        let answer = self.inner.walk(walk, deadline);
        let mut found = self.read(Read::Walk, answer).await?;
        found.corrupt.extend(self.take_damaged(&mut found.nodes));
        let damaged = |key: &NodeKey| self.watch.is_damaged(key);
        let edges = &mut found.edges;
        edges.retain(|edge| !damaged(&edge.from) && !damaged(&edge.to));
        Ok(found)
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        let answer = self.inner.sketch(sketch, deadline);
        let mut sketched = self.read(Read::Sketch, answer).await?;
        self.refuse_damaged(&sketched.root)?;
        for reached in &mut sketched.branches {
            let damaged = self.take_damaged(&mut reached.nodes);
            reached.corrupt.extend(damaged);
            let light = reached
                .light
                .extract_if(.., |node| self.watch.is_damaged(&node.key));
            let light: Vec<_> = light.map(|node| corrupt(node.key)).collect();
            reached.corrupt.extend(light);
            reached
                .edges
                .retain(|edge| !self.watch.is_damaged(&edge.from));
        }
        self.watch.sketched(&mut sketched).await;
        Ok(sketched)
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        let answer = self.inner.digest(digest, keys, deadline);
        let (digested, nodes) = self.read(Read::Digest, answer).await?;
        self.refuse_damaged(nodes.iter().flatten())?;
        Ok((digested, nodes))
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        let answer = self.inner.search(search, deadline);
        let mut hits = self.read(Read::Search, answer).await?;
        hits.corrupt.extend(self.take_damaged(&mut hits.nodes));
        Ok(hits)
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.inner.ping(deadline).await
    }
}

#[async_trait]
impl<W: Watch> Outbox for Watched<W> {
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
impl<W: Watch> Pruning for Watched<W> {
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
