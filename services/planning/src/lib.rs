//! Planning: projects, epics, stories and tasks, the gates a story passes, and the product
//! owner's verdicts.
//!
//! | layer | knows |
//! |---|---|
//! | [`domain`] | what may happen; pure |
//! | [`app`] | what is read and committed for it |
//! | `grpc` | the wire |
//! | `consumers` | what others say |
//!
//! # Round trips to the store
//!
//! A read is one round trip, a commit is one atomic unit. A `request_id` adds one read before
//! the first; a lost race repeats reads and commit.
//!
//! | call | reads | commits |
//! |---|---:|---:|
//! | CreateProject | 0 | 1 |
//! | CreateEpic | 1 | 1 |
//! | CreateStory | 1 (0 without epic and chosen id) | 1 |
//! | UpdateStory, ApprovePlan, ApproveDecision, RejectDecision | 1 | 1 (0 if nothing changes) |
//! | TransitionStory | 1 (2 to READY_FOR_EXECUTION) | 1 |
//! | CreateTask | 1 | 1 |
//! | UpdateTask, RemoveTaskDependency | 1 | 1 (0 if nothing changes) |
//! | AddTaskDependency | 2 | 1 (0 if nothing changes) |
//! | GetProject, GetEpic, GetStory, GetTask, GetReadiness | 1 | 0 |
//! | ListProjects, ListEpics, ListStories, ListTasks | 1 page with its total | 0 |
//! | GetStoryHistory | 1 page with its total (2 if empty) | 0 |
//! | a workflow event | 1 (0 if it is none of planning's business, or a further claim of an execution that is under way) | 1 (0 without effect) |

pub mod app;
mod config;
mod consumers;
pub mod domain;
mod grpc;
mod metrics;

use std::sync::Arc;

use fleet_events::{ConsumerSettings, run_consumer};
use fleet_proto::planning::v2::planning_service_server::PlanningServiceServer;
use fleet_service::{Deps, Mounted, Races, limited};

pub use config::{Config, KEYS};
pub use consumers::WorkflowEvents;
pub use metrics::Metrics;

/// A setting that can never work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dor_threshold is {0}; a score goes from 0 to 100")]
pub struct InvalidThreshold(pub i32);

/// Starts planning: its consumer runs on the tasks of `deps` from now on; its calls are
/// answered once the process serves what this gives.
///
/// # Errors
/// A threshold that is no score.
pub fn start(deps: Deps, config: Config) -> Result<Mounted, InvalidThreshold> {
    let Config {
        dor_threshold,
        commit_attempts,
        consumer: settings,
    } = config;
    if !(0..=100).contains(&dor_threshold) {
        return Err(InvalidThreshold(dor_threshold));
    }
    let Deps {
        committer,
        store,
        bus,
        clock,
        ids,
        tasks,
        metrics: registry,
        ..
    } = deps;
    let metrics = Metrics::default();
    metrics.register(&registry);
    let settings = ConsumerSettings {
        metrics: deps.event_metrics,
        ..settings
    };
    let app = Arc::new(app::App {
        store,
        committer,
        clock: clock.clone(),
        races: Races::new(ids.clone(), commit_attempts, metrics.lost_races()),
        ids,
        tasks: tasks.clone(),
        dor_threshold,
        metrics,
    });
    let consumer = &fleet_topology::consumers::PLANNING_WORKFLOW_EVENTS;
    let handler = Arc::new(WorkflowEvents::new(app.clone()));
    tasks.keep(consumer.name, move |shutdown| {
        let (bus, clock, settings) = (bus.clone(), clock.clone(), settings.clone());
        run_consumer(bus, consumer, handler.clone(), clock, settings, shutdown)
    });
    let server = PlanningServiceServer::new(grpc::Planning::new(app));
    Ok(Mounted::new(
        fleet_topology::services::PLANNING.name,
        fleet_proto::DESCRIPTOR_SET,
    )
    .serve(limited!(server)))
}
