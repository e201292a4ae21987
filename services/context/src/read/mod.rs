//! Everything that is asked of context and changes nothing.
//!
//! # Round trips to the store
//!
//! | call | reads |
//! |---|---:|
//! | GetContext, kept from before | 1 |
//! | GetContext, never asked before | 2 |
//! | GetContext, asked before and overtaken | 2; 3 if nobody said so yet |
//! | RehydrateSession, any number of roles | 2 |
//! | RehydrateSession of a kept bundle | 0 |
//! | GetGraphRelationships | 1, and for each level one for each kind of step, side by side |
//! | SearchDecisions | 2 side by side (3 in one story), then 2 side by side; 0 if the role sees nothing outside of a story and names none |
//! | ExplainScope | 1, and 2 if rows and columns do not decide |
//! | ValidateScope, GetReceipt | 0 |
//! | StreamContextUpdates | as RehydrateSession, and 1 for each change in the whole process (3 if it is of a row that cannot be read) |
//!
//! A story that moves while it is read is read again, a bounded number of times.

mod again;
mod context;
mod heard;
mod hub;
mod items;
mod left_out;
mod metrics;
mod near;
mod packs;
mod receipt;
mod rehydrate;
mod scope;
mod search;
mod show;
mod stories;
mod story;
mod stream;
mod version;

use std::sync::Arc;

use fleet_cache::{Cache, SingleFlight};
use fleet_events::Bus;
use fleet_graph::Store;
use fleet_service::{SharedRegistry, Tasks};

use crate::domain::{Policies, Scopes};

pub use context::get_context;
pub use near::get_graph_relationships;
pub use packs::Kept;
pub use receipt::get_receipt;
pub use rehydrate::rehydrate_session;
pub use scope::{explain_scope, validate_scope};
pub use search::search_decisions;
pub use stream::stream_context_updates;

pub(crate) use heard::written;

use context::Flown;
use hub::Hub;
use metrics::ReadMetrics;
use packs::{Packs, Question};
use stories::Stories;
use story::Lightly;

/// What reading keeps between calls.
pub struct Reads {
    pub(crate) packs: Packs,
    pub(crate) flights: SingleFlight<Question, Flown>,
    pub(crate) stories: Stories,
    pub(crate) lightly: Lightly,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: ReadMetrics,
}

/// What reading is given.
pub struct ReadDeps<'a> {
    /// The graph.
    pub store: Arc<dyn Store>,
    /// Where answers are kept.
    pub cache: Arc<dyn Cache>,
    /// Who may see what.
    pub policies: &'a Policies,
    /// Who is told what in which phase.
    pub scopes: &'a Scopes,
    /// How long answers are kept.
    pub kept: Kept,
    /// Most bytes of stories that are remembered.
    pub story_memory: usize,
    /// Most streams of updates at the same time.
    pub max_watchers: usize,
    /// Where the hub runs.
    pub tasks: &'a Tasks,
    /// What the hub follows.
    pub bus: Arc<dyn Bus>,
    /// Where metrics are registered.
    pub metrics: &'a SharedRegistry,
}

impl Reads {
    /// Ready to read; the hub of the streams runs from now on.
    pub fn start(deps: ReadDeps<'_>) -> Self {
        let counted_by = deps.policies.counted_by();
        let rules = format!(
            "{}/{}/{counted_by}",
            deps.policies.version(),
            deps.scopes.version()
        );
        let metrics = ReadMetrics::default();
        metrics.register(deps.metrics);
        let hub = Arc::new(Hub::new(
            deps.store,
            counted_by,
            metrics.clone(),
            deps.max_watchers,
            deps.tasks.shutdown_token(),
        ));
        let (following, bus) = (hub.clone(), deps.bus);
        deps.tasks.keep("context_updates", move |_shutdown| {
            let (hub, bus) = (following.clone(), bus.clone());
            async move { hub.run(bus).await }
        });
        Self {
            packs: Packs::new(deps.cache, deps.kept, rules),
            flights: SingleFlight::new(),
            stories: Stories::new(deps.story_memory),
            lightly: Lightly::new(deps.policies),
            hub,
            metrics,
        }
    }
}
