//! What planning does for its callers and on events: read, let the domain decide, commit.
//!
//! A change is a [`Command`]: `decide` reads what it needs and gives one [`fleet_graph::Commit`]
//! with its outcome. [`App::execute`] commits it; if somebody else changed the same things in
//! between, it decides again on what is there now. Nothing here knows the wire.

mod announce;
mod faults;
mod listing;
mod projects;
pub mod rows;
mod scene;
mod stories;
mod tasks;
mod verdicts;

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::{Committer, Origin};
use fleet_graph::{Commit, CommitError, Deadline, Label, NodeWrite, Request, Store};
use fleet_service::{Fault, Races, Tasks};
use fleet_types::{Clock, Ids};

pub use announce::write_hops;
pub use listing::{Listed, Listing, PageRequest, token};
pub use projects::{CreateEpic, CreateProject};
pub use scene::Scene;
pub use stories::{ApprovePlan, CreateStory, TransitionStory, UpdateStory};
pub use tasks::{AddDependency, CreateTask, RemoveDependency, UpdateTask};
pub use verdicts::Judge;

use crate::Metrics;
use crate::domain::StoryState;

/// CloudEvents `source` of what planning says.
pub const SOURCE: &str = fleet_topology::services::PLANNING.package;

/// What planning works with.
#[derive(Clone)]
pub struct App {
    /// For reads.
    pub store: Arc<dyn Store>,
    /// For changes.
    pub committer: Committer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// Where bodies of calls run.
    pub tasks: Tasks,
    /// What the Definition of Ready must reach, 0 to 100.
    pub dor_threshold: i32,
    /// How a change is decided anew when others were faster.
    pub races: Races,
    /// What is counted.
    pub metrics: Metrics,
}

/// What came of a command.
pub enum Decision<O> {
    /// It happens with this commit; one that holds nothing is not sent.
    Done(Box<Commit>, O),
    /// It is refused, and this commit tells of that.
    Refused(Box<Commit>, Fault),
}

/// A change that somebody wants, fully parsed.
#[async_trait]
pub trait Command: Send + Sync {
    /// What the caller is told.
    type Outcome: Send + Sync;

    /// Reads and decides; called again when the commit lost a race.
    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault>;
}

impl App {
    /// What a decision sees, as of now.
    pub fn scene(&self, origin: Origin, deadline: Deadline) -> Scene {
        Scene {
            store: self.store.clone(),
            ids: self.ids.clone(),
            now: self.clock.now(),
            origin,
            deadline,
            dor_threshold: self.dor_threshold,
        }
    }

    /// Decides and commits. `record` makes the row by which a repetition of the same request
    /// is recognised, if the caller wants that.
    pub async fn execute<C: Command>(
        &self,
        command: &C,
        origin: &Origin,
        deadline: Deadline,
        record: impl Fn(&C::Outcome) -> Option<Request> + Send + Sync,
    ) -> Result<C::Outcome, Fault> {
        let mut attempts = self.races.attempts(deadline);
        loop {
            let scene = self.scene(origin.clone(), deadline);
            let (commit, outcome) = match command.decide(&scene).await? {
                Decision::Done(mut commit, outcome) => {
                    commit.request = record(&outcome);
                    (commit, Ok(outcome))
                }
                Decision::Refused(commit, fault) => (commit, Err(fault)),
            };
            if commit.is_empty() {
                return outcome;
            }
            match self.send(*commit, deadline).await {
                Ok(()) => return outcome,
                Err(error) => attempts.failed(error).await?,
            }
        }
    }

    /// Commits, and counts what came of it.
    pub async fn send(&self, commit: Commit, deadline: Deadline) -> Result<(), CommitError> {
        let hops: Vec<StoryState> = commit.nodes.iter().filter_map(reached).collect();
        self.committer.commit(commit, deadline).await?;
        hops.into_iter().for_each(|to| self.metrics.hop(to));
        Ok(())
    }
}

/// The state that a story reaches by this write, if it is an entry of its history.
fn reached(write: &NodeWrite) -> Option<StoryState> {
    match write {
        NodeWrite::Create { key, props, .. } if key.label() == Label::StoryTransition => {
            props.get("to_state")?.as_str()?.parse().ok()
        }
        _ => None,
    }
}
