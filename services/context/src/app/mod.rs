//! What context does for those who change it: read, decide, commit.
//!
//! A change is a [`Command`]: `decide` reads what it needs and gives one [`Commit`] with its
//! outcome. [`App::execute`] commits it; if somebody else changed the same things in between, it
//! decides again on what is there now. Nothing here knows the wire.

mod add;
pub mod caller;
mod decided;
mod edit;
mod ends;
mod forward;
mod heard;
mod phase;
mod scene;
mod stories;
mod turns;
mod update;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_cache::Cache;
use fleet_events::{Committer, Origin};
use fleet_graph::{Commit, CommitError, Deadline, Label, NodeKey, Store};
use fleet_service::{Fault, Tasks};
use fleet_types::{Clock, Ids};

pub use add::{AddDecision, Added, NewDecision};
pub use decided::Decided;
pub use edit::{Edit, Finished};
pub use forward::{Forwarded, Passport, Planning, WantedStory};
pub use heard::{Heard, Milestone, News};
pub use phase::{Moved, TransitionPhase};
pub use scene::{Found, Scene};
pub use stories::{OpenContext, Opened};
pub use turns::Turns;
pub use update::{UpdateContext, Updated};

use crate::Metrics;
use crate::domain::{Assembler, Policies, Scopes, Tokens};
use crate::read::Reads;

/// CloudEvents `source` of what context says.
pub const SOURCE: &str = fleet_topology::services::CONTEXT.package;

/// First pause after a lost race; it doubles up to the longest, each with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What context works with.
pub struct App {
    /// For reads.
    pub store: Arc<dyn Store>,
    /// For changes.
    pub committer: Committer,
    /// For what can be made again.
    pub cache: Arc<dyn Cache>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and jitter.
    pub ids: Arc<dyn Ids>,
    /// Where bodies of calls run.
    pub tasks: Tasks,
    /// Which sections a role gets in a phase.
    pub scopes: Arc<Scopes>,
    /// Which rows and columns a role may see.
    pub policies: Arc<Policies>,
    /// Counts tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Where stories and tasks are created.
    pub planning: Planning,
    /// How often a change is decided anew when others were faster.
    pub commit_attempts: u32,
    /// Where those who lost a race wait for each other.
    pub turns: Turns,
    /// What answers need beside this.
    pub reads: Reads,
    /// What is counted.
    pub metrics: Metrics,
}

/// A change that somebody wants, fully parsed.
#[async_trait]
pub trait Command: Send + Sync {
    /// What the caller is told.
    type Outcome: Send + Sync;

    /// Reads and decides; called again when the commit lost a race. A commit that holds nothing
    /// is not sent.
    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault>;

    /// What the change is called in metrics.
    fn name(&self) -> &'static str;
}

impl App {
    /// Makes contexts by the rules that hold here.
    pub fn assembler(&self) -> Assembler<'_> {
        Assembler {
            policies: &self.policies,
            scopes: &self.scopes,
            tokens: &*self.tokens,
        }
    }

    /// What a decision sees, as of now.
    pub fn scene(&self, origin: Origin, deadline: Deadline) -> Scene {
        Scene {
            store: self.store.clone(),
            ids: self.ids.clone(),
            policies: self.policies.clone(),
            tokens: self.tokens.clone(),
            now: self.clock.now(),
            origin,
            deadline,
        }
    }

    /// Decides and commits. `complete` adds to the commit what goes with the outcome: the row by
    /// which a repeated request is recognised, the event that it answers.
    pub async fn execute<C: Command>(
        &self,
        command: &C,
        origin: &Origin,
        deadline: Deadline,
        complete: impl Fn(&Scene, &C::Outcome, &mut Commit) + Send + Sync,
    ) -> Result<C::Outcome, Fault> {
        let ended = self.run(command, origin, deadline, complete).await;
        ended.map_err(|ended| match ended {
            Ended::Fault(fault) => fault,
            Ended::AlreadyApplied => Fault::internal("a request was taken for an event"),
        })
    }

    /// As [`Self::execute`], on an event, which `complete` has to record as answered.
    ///
    /// # Errors
    /// [`Ended`], where the event was applied before, too.
    pub async fn run<C: Command>(
        &self,
        command: &C,
        origin: &Origin,
        deadline: Deadline,
        complete: impl Fn(&Scene, &C::Outcome, &mut Commit) + Send + Sync,
    ) -> Result<C::Outcome, Ended> {
        let mut lost = 0;
        let mut turn = None;
        loop {
            let scene = self.scene(origin.clone(), deadline);
            let decided = command.decide(&scene).await;
            let (mut commit, outcome) = decided.map_err(Ended::Fault)?;
            complete(&scene, &outcome, &mut commit);
            if is_empty(&commit) {
                return Ok(outcome);
            }
            let written = crate::read::written(&commit);
            match self.committer.commit(*commit, deadline).await {
                Ok(_) => {
                    if let Some((story, seen)) = written {
                        self.reads.hub.heard.note(&story, seen);
                        self.metrics.changed(command.name());
                    }
                    return Ok(outcome);
                }
                Err(CommitError::AlreadyApplied) => return Err(Ended::AlreadyApplied),
                Err(error) => {
                    let Some(race) = Race::lost(&error) else {
                        return Err(Ended::Fault(error.into()));
                    };
                    lost += 1;
                    if !self.pause(lost, deadline).await {
                        return Err(Ended::Fault(race.fault()));
                    }
                    if turn.is_none() {
                        turn = self.turns.of(&race.key, deadline).await;
                    }
                }
            }
        }
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

/// Why a change did not happen.
#[derive(Debug)]
pub enum Ended {
    /// It was refused, or something is away.
    Fault(Fault),
    /// The event that it is about was applied before.
    AlreadyApplied,
}

/// Whether a commit would have no effect at all. One that only records a request, or that an
/// event was answered, has one.
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
        Label::Story => "story",
        Label::Task => "task",
        Label::StoryContext => "context of story",
        Label::Decision => "decision",
        Label::Event => "milestone",
        Label::Summary => "summary",
        Label::PhaseTransition => "phase transition",
        other => other.as_str(),
    }
}
