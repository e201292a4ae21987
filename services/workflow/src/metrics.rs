//! What is counted. Labels are words of closed lists.

use fleet_service::SharedRegistry;
use fleet_types::{Action, Role};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::domain::Change;
use crate::engine::expired;
use crate::fsm::Machine;

/// The counters of the service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metrics {
    hops: Family<Vec<(&'static str, String)>, Counter>,
    violations: Family<Vec<(&'static str, String)>, Counter>,
    expired: Counter,
    races: Counter,
}

impl Metrics {
    /// Counters that the admin listener shows.
    pub fn register(registry: &SharedRegistry) -> Self {
        let metrics = Self::default();
        registry.with(|r| {
            r.register(
                "fleet_workflow_hops",
                "Steps of tasks, by action and state",
                metrics.hops.clone(),
            );
            r.register(
                "fleet_workflow_rbac_violations",
                "Attempts refused because of who made them",
                metrics.violations.clone(),
            );
            r.register(
                "fleet_workflow_claims_expired",
                "Leases that ran out",
                metrics.expired.clone(),
            );
            r.register(
                "fleet_workflow_claims_lost",
                "Claims that somebody else held",
                metrics.races.clone(),
            );
        });
        metrics
    }

    pub fn count(&self, machine: &Machine, change: &Change) {
        for hop in &change.hops {
            let labels = vec![
                ("action", hop.action.to_string()),
                ("to_state", machine.name_of(hop.to).to_owned()),
            ];
            self.hops.get_or_create(&labels).inc();
        }
        if expired(change) {
            self.expired.inc();
        }
    }

    pub fn violation(&self, role: Role, action: Action) {
        let labels = vec![("role", role.to_string()), ("action", action.to_string())];
        self.violations.get_or_create(&labels).inc();
    }

    pub fn lost_claim(&self) {
        self.races.inc();
    }
}
