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
mod turns;
mod verdicts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_events::{Committer, Origin};
use fleet_graph::{Commit, CommitError, Deadline, Label, NodeKey, NodeWrite, Request, Store};
use fleet_service::{Fault, Tasks};
use fleet_types::{Clock, Ids};

pub use announce::write_hops;
pub use listing::{Listed, Listing, PageRequest, token};
pub use projects::{CreateEpic, CreateProject};
pub use rows::Versioned;
pub use scene::Scene;
pub use stories::{ApprovePlan, CreateStory, TransitionStory, UpdateStory};
pub use tasks::{AddDependency, CreateTask, RemoveDependency, UpdateTask};
pub use turns::Turns;
pub use verdicts::Judge;

use crate::Metrics;
use crate::domain::StoryState;

/// CloudEvents `source` of what planning says.
pub const SOURCE: &str = fleet_topology::services::PLANNING.package;

/// First pause after a lost race; it doubles up to the longest, each with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What planning works with.
#[derive(Clone)]
pub struct App {
    /// For reads.
    pub store: Arc<dyn Store>,
    /// For changes.
    pub committer: Committer,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub ids: Arc<dyn Ids>,
    /// Where bodies of calls run.
    pub tasks: Tasks,
    /// What the Definition of Ready must reach, 0 to 100.
    pub dor_threshold: i32,
    /// How often a change is decided anew when others were faster.
    pub commit_attempts: u32,
    /// Where those who lost a race wait for each other.
    pub turns: Turns,
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
        let mut lost = 0;
        let mut turn = None;
        loop {
            let scene = self.scene(origin.clone(), deadline);
            let (commit, outcome) = match command.decide(&scene).await? {
                Decision::Done(mut commit, outcome) => {
                    commit.request = record(&outcome);
                    (commit, Ok(outcome))
                }
                Decision::Refused(commit, fault) => (commit, Err(fault)),
            };
            if is_empty(&commit) {
                return outcome;
            }
            match self.send(*commit, deadline).await {
                Ok(()) => return outcome,
                Err(error) => {
                    let Some(race) = Race::lost(&error) else {
                        return Err(error.into());
                    };
                    lost += 1;
                    if !self.pause(lost, deadline).await {
                        return Err(race.fault());
                    }
                    if turn.is_none() {
                        turn = self.turns.of(&race.key, deadline).await;
                    }
                }
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

    /// Waits a little before the next attempt after `lost` lost ones. `false`: no attempt is
    /// left, or no time.
    pub async fn pause(&self, lost: u32, deadline: Deadline) -> bool {
        self.metrics.lost_race();
        if lost >= self.commit_attempts {
            return false;
        }
        let longest = FIRST_PAUSE
            .saturating_mul(1 << lost.min(16))
            .min(LONGEST_PAUSE);
        let micros = u64::try_from(longest.as_micros()).expect("a tenth of a second fits");
        let pause = Duration::from_micros(self.ids.random() % micros);
        if pause >= deadline.left() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
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

/// Whether a commit would have no effect at all. One that only records a request has one.
fn is_empty(commit: &Commit) -> bool {
    commit.nodes.is_empty()
        && commit.edges.is_empty()
        && commit.events.is_empty()
        && commit.answers.is_none()
        && commit.request.is_none()
}

/// A commit that did not fit what is there any more.
pub struct Race {
    key: NodeKey,
    found: Option<i64>,
}

impl Race {
    /// Whether this is worth another decision.
    pub fn lost(error: &CommitError) -> Option<Self> {
        match error {
            CommitError::Conflict { key, found, .. } => Some(Self {
                key: key.clone(),
                found: Some(*found),
            }),
            CommitError::Missing { key } | CommitError::AlreadyExists { key } => Some(Self {
                key: key.clone(),
                found: None,
            }),
            _ => None,
        }
    }

    /// What the caller is told when every attempt lost.
    fn fault(&self) -> Fault {
        let what = format!("{} {}", word(self.key.label()), self.key.id());
        let fault = Fault::concurrent_change(what).with("subject", self.key.id());
        match self.found {
            Some(version) => fault.with("current_version", version),
            None => fault,
        }
    }
}

/// How a label is called in messages.
pub fn word(label: Label) -> &'static str {
    match label {
        Label::Project => "project",
        Label::Epic => "epic",
        Label::Story => "story",
        Label::Task => "task",
        Label::PlanVersion => "plan",
        Label::Decision => "decision",
        Label::DecisionReview => "verdict on decision",
        other => other.as_str(),
    }
}
