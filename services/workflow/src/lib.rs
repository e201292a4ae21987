//! Workflow: walks each task of a released story from role to role.
//!
//! * [`fsm`]: the machine as data, its strict loader and the proof that it is sound;
//! * [`domain`]: what may happen to a task, pure;
//! * `engine`: read, decide, commit;
//! * `grpc`, `consumers`, `timers`, `watch`: the ways in and out;
//! * [`rows`]: what is stored.
//!
//! It knows nothing of planning but the events that planning says.

mod alarm;
mod config;
mod consumers;
pub mod domain;
mod engine;
pub mod fsm;
mod grpc;
mod metrics;
pub mod rows;
mod timers;
mod watch;

use std::sync::Arc;

use fleet_events::{ConsumerSettings, Handler, run_consumer};
use fleet_proto::workflow::v1::workflow_orchestration_service_server::WorkflowOrchestrationServiceServer;
use fleet_service::{Deps, Mounted};

pub use config::{Config, KEYS, StartError};

use crate::alarm::Alarm;
use crate::consumers::{AGENT_WORK, AgentWork, PlanningEvents, STORY_TRANSITIONS};
use crate::engine::{Engine, Recent};
use crate::grpc::WorkflowService;
use crate::metrics::Metrics;
use crate::watch::Hub;

/// Name of the service in the topology.
pub const NAME: &str = "workflow";

/// Starts the service: its consumers, timers and watchers run on `deps.tasks` from now on.
///
/// # Errors
/// A machine that cannot be read or is not sound.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the service keeps what it is given"
)]
pub fn start(deps: Deps, config: Config) -> Result<Mounted, StartError> {
    let machine = Arc::new(config.machine()?);
    let engine = Arc::new(Engine {
        machine,
        committer: deps.committer.clone(),
        clock: deps.clock.clone(),
        ids: deps.ids.clone(),
        deployment: deps.deployment.clone(),
        alarm: Arc::new(Alarm::default()),
        metrics: Metrics::register(&deps.metrics),
        recent: Recent::default(),
    });
    let shutdown = deps.tasks.shutdown_token();
    let hub = Arc::new(Hub::new(engine.clone(), config.max_watchers, shutdown));

    consume(
        &deps,
        &config,
        STORY_TRANSITIONS,
        Arc::new(PlanningEvents(engine.clone())),
    );
    consume(
        &deps,
        &config,
        AGENT_WORK,
        Arc::new(AgentWork(engine.clone())),
    );
    let swept = engine.clone();
    deps.tasks.keep("workflow_timers", move |shutdown| {
        timers::sweep(swept.clone(), config.sweep_every, shutdown)
    });
    let (told, bus) = (hub.clone(), deps.bus.clone());
    deps.tasks.keep("workflow_watch", move |_| {
        let (hub, bus) = (told.clone(), bus.clone());
        async move { hub.run(bus).await }
    });

    let service = WorkflowService {
        engine,
        tasks: deps.tasks.clone(),
        hub,
    };
    Ok(
        Mounted::new(NAME, fleet_proto::DESCRIPTOR_SET).serve(fleet_service::limited!(
            WorkflowOrchestrationServiceServer::new(service)
        )),
    )
}

fn consume(deps: &Deps, config: &Config, name: &'static str, handler: Arc<dyn Handler>) {
    let consumer = fleet_topology::consumer(name).expect("the topology has our consumers");
    let settings = ConsumerSettings {
        concurrency: config.consumer_concurrency,
        metrics: deps.event_metrics.clone(),
        ..ConsumerSettings::default()
    };
    let (bus, clock) = (deps.bus.clone(), deps.clock.clone());
    deps.tasks.keep(name, move |shutdown| {
        run_consumer(
            bus.clone(),
            consumer,
            handler.clone(),
            clock.clone(),
            settings.clone(),
            shutdown,
        )
    });
}
