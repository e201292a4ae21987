//! A store that counts what is asked of it, fails on demand, and lets something happen between
//! two reads.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fleet_graph::conformance::{Read, Watch, Watched};
use fleet_graph::{Commit, CommitError, NodeKey, Sketched, Store, Unavailable};
use fleet_testing::{pulled_plug, soon};

/// What is seen and done at the store of the context service in these tests.
pub struct Eyes {
    inner: Arc<dyn Store>,
    reads: AtomicU32,
    /// Light rows that sketches gave.
    light: AtomicU32,
    away: AtomicBool,
    /// Applied behind the next sketches, one for each.
    between: Mutex<Vec<Commit>>,
    /// Is not among what so many of the next sketches reach.
    hidden: Mutex<Option<(NodeKey, u32)>>,
    /// Do not read as nodes.
    damaged: Mutex<Vec<NodeKey>>,
}

impl Eyes {
    /// With the store that they watch.
    pub fn on(inner: Arc<dyn Store>) -> (Arc<Self>, Arc<dyn Store>) {
        let eyes = Arc::new(Self {
            inner: inner.clone(),
            reads: AtomicU32::new(0),
            light: AtomicU32::new(0),
            away: AtomicBool::new(false),
            between: Mutex::default(),
            damaged: Mutex::default(),
            hidden: Mutex::default(),
        });
        (eyes.clone(), Arc::new(Watched::new(inner, eyes)))
    }

    /// Reads since the last look.
    pub fn trips(&self) -> u32 {
        self.reads.swap(0, Ordering::SeqCst)
    }

    /// Light rows since the last look.
    pub fn light_rows(&self) -> u32 {
        self.light.swap(0, Ordering::SeqCst)
    }

    pub fn cut_off(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// Commits this behind the next sketch.
    pub fn move_meanwhile(&self, commit: Commit) {
        self.between.lock().unwrap().push(commit);
    }

    /// This node cannot be read from now on.
    pub fn damage(&self, key: NodeKey) {
        self.damaged.lock().unwrap().push(key);
    }

    /// The next sketches do not show this node yet, as if they saw half of the commit that wrote
    /// it.
    pub fn hide(&self, key: NodeKey, sketches: u32) {
        *self.hidden.lock().unwrap() = Some((key, sketches));
    }

    fn there(&self) -> Result<(), Unavailable> {
        if self.away.load(Ordering::SeqCst) {
            return Err(pulled_plug());
        }
        Ok(())
    }
}

#[async_trait]
impl Watch for Eyes {
    async fn before_read(&self, read: Read<'_>) -> Result<(), Unavailable> {
        if read != Read::PastRequest {
            self.reads.fetch_add(1, Ordering::SeqCst);
        }
        self.there()
    }

    async fn before_commit(&self, _commit: &Commit) -> Result<(), CommitError> {
        Ok(self.there()?)
    }

    fn is_damaged(&self, key: &NodeKey) -> bool {
        self.damaged.lock().unwrap().contains(key)
    }

    async fn sketched(&self, seen: &mut Sketched) {
        if let Some((key, left)) = &mut *self.hidden.lock().unwrap()
            && *left > 0
        {
            *left -= 1;
            for branch in &mut seen.branches {
                branch.light.retain(|node| node.key != *key);
            }
        }
        let rows: usize = seen.branches.iter().map(|branch| branch.light.len()).sum();
        let rows = u32::try_from(rows).unwrap();
        self.light.fetch_add(rows, Ordering::SeqCst);
        let next = self.between.lock().unwrap().pop();
        if let Some(commit) = next {
            self.inner.commit(&commit, soon()).await.unwrap();
        }
    }
}
