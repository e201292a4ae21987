//! Connections, each in a driver pool of its own.
//!
//! The driver gives a connection back to its pool whatever state it is in; a transaction that
//! was cut off would then keep its locks until somebody happens to take that connection
//! again. Here whoever holds a connection says when it is clean ([`Lease::keep`]); otherwise
//! it is dropped with its pool, which closes the socket, and the server rolls back at once.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use neo4rs::{Config, Graph};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use crate::fault::{Fault, Stage};

pub(crate) struct Pool {
    /// For one connection.
    config: Config,
    permits: Arc<Semaphore>,
    /// Last in, first out: the warmest connection is used, the others age in peace.
    idle: Mutex<Vec<Graph>>,
    /// Raised when the server was lost: connections from before are not used again.
    generation: AtomicU64,
}

/// The right to use one connection.
pub(crate) struct Lease {
    graph: Graph,
    pool: Arc<Pool>,
    generation: u64,
    _permit: OwnedSemaphorePermit,
}

impl Pool {
    /// A pool of at most `size` connections; none is opened yet.
    pub(crate) fn new(config: Config, size: usize) -> Arc<Self> {
        Arc::new(Self {
            config,
            permits: Arc::new(Semaphore::new(size)),
            idle: Mutex::default(),
            generation: AtomicU64::new(0),
        })
    }

    /// Waits for a connection that is free, or may be opened.
    pub(crate) async fn lease(self: &Arc<Self>, until: Instant) -> Result<Lease, Fault> {
        if until <= Instant::now() {
            return Err(Fault::Unreachable("the deadline has passed".into()));
        }
        let permit = timeout_at(until, self.permits.clone().acquire_owned())
            .await
            .map_err(|_| Fault::Unreachable("every connection is busy".into()))?
            .expect("the semaphore is never closed");
        let generation = self.generation.load(Ordering::Acquire);
        let idle = self.idle().pop();
        let graph = match idle {
            Some(graph) => graph,
            None => Graph::connect(self.config.clone()).map_err(|e| Fault::of(&e, Stage::Begin))?,
        };
        Ok(Lease {
            graph,
            pool: self.clone(),
            generation,
            _permit: permit,
        })
    }

    /// Forgets every idle connection: the server was restarted or cut off.
    pub(crate) fn forget_idle(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Graph>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The connection, as the driver's one-connection pool.
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Gives the connection back: its last exchange was complete.
    pub(crate) fn keep(self) {
        let Self {
            graph,
            pool,
            generation,
            _permit,
        } = self;
        let mut idle = pool.idle();
        if pool.generation.load(Ordering::Acquire) == generation {
            idle.push(graph);
        }
    }
}
