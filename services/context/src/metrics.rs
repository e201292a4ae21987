//! What context counts. Labels are words of closed lists.

use fleet_service::SharedRegistry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

type ByWord = Family<[(&'static str, &'static str); 1], Counter>;

/// The counters of changes; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    changes: ByWord,
    lost_races: Counter,
    denied: Counter,
    passed_over: ByWord,
}

impl Metrics {
    /// Makes them visible in `registry`; once per registry.
    pub fn register(&self, registry: &SharedRegistry) {
        registry.with(|r| {
            let about = "Changes of the context of stories, by what they came from";
            r.register("fleet_context_changes", about, self.changes.clone());
            let about = "Changes decided anew because somebody else was faster";
            r.register("fleet_context_lost_races", about, self.lost_races.clone());
            let about = "Calls in the name of a role that the caller does not have";
            r.register("fleet_context_denied", about, self.denied.clone());
            let about = "Events that were acknowledged without effect, by why";
            r.register("fleet_context_passed_over", about, self.passed_over.clone());
        });
    }

    /// The context of a story has a new version.
    pub fn changed(&self, by: &'static str) {
        self.changes.get_or_create(&[("by", by)]).inc();
    }

    /// Commits that did not fit any more.
    pub fn lost_races(&self) -> Counter {
        self.lost_races.clone()
    }

    /// Somebody lacked the role.
    pub fn denied(&self) {
        self.denied.inc();
    }

    /// An event had no effect.
    pub fn passed_over(&self, why: &'static str) {
        self.passed_over.get_or_create(&[("why", why)]).inc();
    }
}
