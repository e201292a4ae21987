//! The context service: what an agent is told, by role, phase and token budget, with a receipt;
//! and the record of a story (decisions, milestones, summaries, phases) that it is told from.
//!
//! | layer | knows |
//! |---|---|
//! | [`domain`] | what is chosen, who may see it, what it costs; pure |
//! | [`record`] | what may be done to the record of a story; pure |
//! | [`rows`] | what is stored |
//! | [`mod@app`] | what is read and committed for a change |
//! | `read` | what is read and rendered for an answer |
//! | `grpc` | the wire |
//! | `consumers` | what others say |
//!
//! # Round trips of changes
//!
//! Every change is one commit, and every commit on a story writes its `StoryContext` node, whose
//! version counts them.
//!
//! | call | reads | commits |
//! |---|---:|---:|
//! | UpdateContext, AddProjectDecision, TransitionPhase | 1 | 1 (0 for a repeated transition) |
//! | CreateStory | planning's, and 1 | planning's, and 1 |
//! | CreateTask | planning's | planning's |
//! | an event of planning, workflow or orchestrator | 1 (0 if it is an ordinary hop) | 1 (0 without effect) |
//! | work of an agent | 2 (0 if nothing is said about it) | 1 |
//! | a request by event | 1 | 1 |
//! | GetContext | 1 if the answer is kept or the story remembered, else 2; 1 more if it moved and nobody said so, or if decisions have no light text | 0 |
//! | RehydrateSession, any number of roles | 1 if the story is remembered, else 2 (0 for a kept bundle) | 0 |

pub mod app;
mod config;
mod consumers;
pub mod domain;
mod grpc;
mod metrics;
mod read;
pub mod record;
pub mod rows;

use std::num::NonZeroUsize;
use std::sync::{Arc, LazyLock};

use fleet_events::{ConsumerSettings, Handler, run_consumer};
use fleet_proto::context::v1::context_service_server::ContextServiceServer;
use fleet_service::{Deps, Mounted, Races, limited};
use fleet_topology::Consumer;
use fleet_topology::consumers::{
    CONTEXT_AGENT_WORK, CONTEXT_ORCHESTRATOR_EVENTS, CONTEXT_PLANNING_EVENTS, CONTEXT_REQUESTS,
    CONTEXT_WORKFLOW_EVENTS,
};

pub use config::{Config, KEYS, StartError};
pub use consumers::{AgentWork, OrchestratorEvents, PlanningEvents, Requests, WorkflowEvents};
pub use metrics::Metrics;

use crate::app::App;
use crate::domain::{CachedTokens, O200k, Redaction};
use crate::read::{Kept, ReadDeps, Reads};

static REDACTION_VERSION: LazyLock<String> =
    LazyLock::new(|| format!("redact{}", fleet_redact::VERSION));

/// The redaction of everything that leaves.
pub fn redaction() -> Redaction {
    Redaction {
        version: &REDACTION_VERSION,
        redact: fleet_redact::redact,
    }
}

/// Starts the service: its consumers run on the tasks of `deps` from now on; its calls are
/// answered once the process serves what this gives.
///
/// # Errors
/// Scopes or policies that cannot be read or are wrong, or an address of planning that is none.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the service keeps what it is given"
)]
pub fn start(deps: Deps, config: Config) -> Result<Mounted, StartError> {
    let app = app(&deps, &config)?;
    let settings = ConsumerSettings {
        metrics: deps.event_metrics.clone(),
        ..config.consumer.clone()
    };
    let run = |consumer: &'static Consumer, handler: Arc<dyn Handler>| {
        let (bus, clock, settings) = (deps.bus.clone(), deps.clock.clone(), settings.clone());
        deps.tasks.keep(consumer.name, move |shutdown| {
            let (bus, clock, settings) = (bus.clone(), clock.clone(), settings.clone());
            run_consumer(bus, consumer, handler.clone(), clock, settings, shutdown)
        });
    };
    run(
        &CONTEXT_PLANNING_EVENTS,
        Arc::new(PlanningEvents(app.clone())),
    );
    run(
        &CONTEXT_WORKFLOW_EVENTS,
        Arc::new(WorkflowEvents(app.clone())),
    );
    run(
        &CONTEXT_ORCHESTRATOR_EVENTS,
        Arc::new(OrchestratorEvents(app.clone())),
    );
    run(&CONTEXT_AGENT_WORK, Arc::new(AgentWork(app.clone())));
    run(&CONTEXT_REQUESTS, Arc::new(Requests(app.clone())));
    Ok(mounted(app))
}

/// The service without its consumers: what is stored can be read, and nobody listens to what
/// others say.
///
/// # Errors
/// As [`start`].
pub fn start_for_reading(deps: &Deps, config: &Config) -> Result<Mounted, StartError> {
    Ok(mounted(app(deps, config)?))
}

fn mounted(app: Arc<App>) -> Mounted {
    let server = ContextServiceServer::new(grpc::Context::new(app));
    Mounted::new(
        fleet_topology::services::CONTEXT.name,
        fleet_proto::DESCRIPTOR_SET,
    )
    .serve(limited!(server))
}

/// What the service works with; the hub of its streams runs on the tasks of `deps` from now on.
///
/// # Errors
/// As [`start`].
pub fn app(deps: &Deps, config: &Config) -> Result<Arc<App>, StartError> {
    let metrics = Metrics::default();
    metrics.register(&deps.metrics);
    let counted = NonZeroUsize::new(config.counted_texts).unwrap_or(NonZeroUsize::MIN);
    let scopes = Arc::new(config.scopes()?);
    let policies = Arc::new(config.policies(redaction())?);
    let planning = match (&config.planning_uri, &config.planning) {
        (None, Some(channel)) => app::Planning::through(channel.clone()),
        (uri, _) => {
            let uri = uri.as_deref().unwrap_or(config::DEFAULT_PLANNING);
            app::Planning::at(uri, config.planning_ca_file.as_deref())?
        }
    };
    let reads = Reads::start(ReadDeps {
        store: deps.store.clone(),
        cache: deps.cache.clone(),
        policies: &policies,
        scopes: &scopes,
        kept: Kept {
            packs: config.pack_ttl,
            receipts: config.receipt_ttl,
        },
        story_memory: config.story_memory,
        max_watchers: config.max_watchers,
        tasks: &deps.tasks,
        bus: deps.bus.clone(),
        metrics: &deps.metrics,
    });
    Ok(Arc::new(App {
        store: deps.store.clone(),
        committer: deps.committer.clone(),
        clock: deps.clock.clone(),
        ids: deps.ids.clone(),
        tasks: deps.tasks.clone(),
        scopes,
        policies,
        tokens: Arc::new(CachedTokens::new(O200k, counted)),
        planning,
        races: Races::new(
            deps.ids.clone(),
            config.commit_attempts,
            metrics.lost_races(),
        ),
        reads,
        metrics,
    }))
}
