//! What a service gets from the process that runs it.

use std::sync::{Arc, Mutex, PoisonError};

use fleet_cache::Cache;
use fleet_events::{Bus, Committer};
use fleet_graph::Store;
use fleet_types::{Clock, Ids};
use prometheus_client::registry::Registry;

use crate::Tasks;

/// Everything a service is given. All of it is shared: clone it freely.
#[derive(Clone)]
pub struct Deps {
    /// For writes: the store with the hand-over to the relay.
    pub committer: Committer,
    /// For reads.
    pub store: Arc<dyn Store>,
    /// For consumers and tails.
    pub bus: Arc<dyn Bus>,
    /// For what can be made again; counted already. In the process, or a server that may be
    /// away: put [`fleet_cache::Tolerant`] round it.
    pub cache: Arc<dyn Cache>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    /// Where every background task runs.
    pub tasks: Tasks,
    /// Which deployment this is; rows and timers of others are not touched.
    pub deployment: String,
    /// Where metrics are registered.
    pub metrics: SharedRegistry,
    /// Where relay and consumers count; registered already.
    pub event_metrics: fleet_events::Metrics,
}

/// The metrics of the process: a value that is passed on, not a global.
#[derive(Debug, Clone, Default)]
pub struct SharedRegistry(Arc<Mutex<Registry>>);

impl SharedRegistry {
    /// Registers metrics: `registry.with(|r| r.register("fleet_hops", "Hops", hops.clone()))`.
    pub fn with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in the text format of OpenMetrics.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        prometheus_client::encoding::text::encode(&mut text, &registry)
            .expect("writing to a string does not fail");
        text
    }
}
