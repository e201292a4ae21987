//! What planning counts. Labels are words of closed lists.

use fleet_service::SharedRegistry;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

use crate::domain::StoryState;

/// The counters of planning; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    hops: Family<[(&'static str, &'static str); 1], Counter>,
    lost_races: Counter,
    denied: Counter,
}

impl Metrics {
    /// Makes them visible in `registry`; once per registry.
    pub fn register(&self, registry: &SharedRegistry) {
        registry.with(|r| {
            let about = "Moves of stories, by the state they reached";
            r.register("fleet_planning_story_hops", about, self.hops.clone());
            let about = "Changes decided anew because somebody else was faster";
            r.register("fleet_planning_lost_races", about, self.lost_races.clone());
            let about = "Attempts at a gate of the product owner without the role";
            r.register("fleet_planning_denied", about, self.denied.clone());
        });
    }

    /// A story reached a state.
    pub fn hop(&self, to: StoryState) {
        self.hops.get_or_create(&[("to_state", to.as_str())]).inc();
    }

    /// Commits that did not fit any more.
    pub fn lost_races(&self) -> Counter {
        self.lost_races.clone()
    }

    /// Somebody lacked the role.
    pub fn denied(&self) {
        self.denied.inc();
    }
}
