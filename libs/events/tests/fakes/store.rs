use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, GraphStore, Hits, Index, Node, NodeKey,
    Outbox, OutboxEvent, Page, PastRequest, Pruning, ReadError, Receipt, RequestKey, Scan, Search,
    Sketch, Sketched, Subgraph, Total, Unavailable, Walk,
};
use fleet_types::{EventId, Timestamp};

struct Row {
    event: OutboxEvent,
    committed: Timestamp,
    published: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    outbox: BTreeMap<u64, Row>,
    count: u64,
    down: bool,
    settles: u64,
    reads: u64,
    prunes: Vec<(Timestamp, Timestamp)>,
    prunable: u64,
}

/// The outbox of a store; nodes are not kept.
#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn set_down(&self, down: bool) {
        self.0.lock().unwrap().down = down;
    }

    pub fn set_prunable(&self, rows: u64) {
        self.0.lock().unwrap().prunable = rows;
    }

    /// How many rows there are, marked ones included.
    pub fn rows(&self) -> usize {
        self.0.lock().unwrap().outbox.len()
    }

    /// How many rows are marked as published.
    pub fn marked(&self) -> usize {
        self.0
            .lock()
            .unwrap()
            .outbox
            .values()
            .filter(|row| row.published.is_some())
            .count()
    }

    /// How many calls removed or marked rows.
    pub fn settles(&self) -> u64 {
        self.0.lock().unwrap().settles
    }

    /// How many calls read the outbox.
    pub fn reads(&self) -> u64 {
        self.0.lock().unwrap().reads
    }

    /// The limits of every call that pruned.
    pub fn prunes(&self) -> Vec<(Timestamp, Timestamp)> {
        self.0.lock().unwrap().prunes.clone()
    }

    /// As an earlier process left it.
    pub fn leave(&self, event: OutboxEvent, committed: Timestamp, published: Option<Timestamp>) {
        let mut state = self.0.lock().unwrap();
        state.count += 1;
        let number = state.count;
        state.outbox.insert(
            number,
            Row {
                event,
                committed,
                published,
            },
        );
    }

    fn up<T>(&self, call: impl FnOnce(&mut State) -> T) -> Result<T, Unavailable> {
        let mut state = self.0.lock().unwrap();
        if state.down {
            let reason = "told to be away".to_owned();
            return Err(Unavailable {
                store: "memory",
                reason,
                retryable: true,
            });
        }
        Ok(call(&mut state))
    }
}

#[async_trait]
impl GraphStore for MemoryStore {
    async fn migrate(&self, _: Deadline) -> Result<(), ReadError> {
        Ok(())
    }

    async fn commit(&self, commit: &Commit, _: Deadline) -> Result<Receipt, CommitError> {
        commit.check().map_err(CommitError::Invalid)?;
        self.up(|_| ())?;
        for event in &commit.events {
            self.leave(event.clone(), commit.time, None);
        }
        Ok(commit.receipt())
    }

    async fn get(&self, keys: &[NodeKey], _: Deadline) -> Result<Vec<Option<Node>>, ReadError> {
        Ok(keys.iter().map(|_| None).collect())
    }

    async fn past_request(
        &self,
        _: &RequestKey,
        _: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        Ok(None)
    }

    async fn scan(&self, _: &Scan, _: Deadline) -> Result<Page, ReadError> {
        Ok(Page::default())
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<serde_json::Value>)],
        _: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        Ok(listings.iter().map(|_| Total::default()).collect())
    }

    async fn walk(&self, _: &Walk, _: Deadline) -> Result<Subgraph, ReadError> {
        Ok(Subgraph::default())
    }

    async fn sketch(&self, sketch: &Sketch, _: Deadline) -> Result<Sketched, ReadError> {
        Ok(Sketched {
            root: None,
            branches: vec![Default::default(); sketch.branches.len()],
        })
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        _: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        let digested = Digested {
            root: None,
            paths: vec![Default::default(); digest.paths.len()],
        };
        Ok((digested, vec![None; keys.len()]))
    }

    async fn search(&self, _: &Search, _: Deadline) -> Result<Hits, ReadError> {
        Ok(Hits::default())
    }

    async fn ping(&self, _: Deadline) -> Result<(), Unavailable> {
        self.up(|_| ())
    }
}

#[async_trait]
impl Outbox for MemoryStore {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        _: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        Ok(self.up(|state| {
            state.reads += 1;
            let pending = |row: &&Row| row.published.is_none() && row.committed < older_than;
            let rows = state.outbox.values().filter(pending).take(limit);
            rows.map(|row| row.event.clone()).collect()
        })?)
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        _: Deadline,
    ) -> Result<(), ReadError> {
        Ok(self.up(|state| {
            state.settles += 1;
            for row in state.outbox.values_mut() {
                if ids.contains(&row.event.id) {
                    row.published = Some(at);
                }
            }
        })?)
    }

    async fn unpublish(&self, since: Timestamp, _: Deadline) -> Result<u64, ReadError> {
        Ok(self.up(|state| {
            let mut count = 0;
            for row in state.outbox.values_mut() {
                if row.published.is_some_and(|at| at >= since) {
                    row.published = None;
                    count += 1;
                }
            }
            count
        })?)
    }

    async fn remove(&self, ids: &[EventId], _: Deadline) -> Result<(), ReadError> {
        Ok(self.up(|state| {
            state.settles += 1;
            state.outbox.retain(|_, row| !ids.contains(&row.event.id));
        })?)
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        _: Deadline,
    ) -> Result<u64, ReadError> {
        Ok(self.up(|state| {
            let old = |row: &Row| row.published.is_some_and(|at| at < before);
            let gone: Vec<_> = state
                .outbox
                .iter()
                .filter(|(_, row)| old(row))
                .map(|(number, _)| *number)
                .take(limit)
                .collect();
            for number in &gone {
                state.outbox.remove(number);
            }
            gone.len() as u64
        })?)
    }

    async fn backlog(&self, _: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        Ok(self.up(|state| {
            let pending = || state.outbox.values().filter(|row| row.published.is_none());
            (
                pending().count() as u64,
                pending().map(|row| row.committed).min(),
            )
        })?)
    }
}

#[async_trait]
impl Pruning for MemoryStore {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        _: Deadline,
    ) -> Result<u64, ReadError> {
        Ok(self.up(|state| {
            state.prunes.push((inbox, requests));
            let gone = state.prunable.min(limit as u64);
            state.prunable -= gone;
            gone
        })?)
    }
}
