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
mod update;

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::{Committer, Origin};
use fleet_graph::{Commit, CommitError, Deadline, Store};
use fleet_service::{Fault, Races, Tasks};
use fleet_types::{Clock, Ids};

pub use add::{AddDecision, Added, NewDecision};
pub use decided::Decided;
pub use edit::{Edit, Finished};
pub use forward::{Forwarded, Passport, Planning, WantedStory};
pub use heard::{Heard, Milestone, News};
pub use phase::{Moved, TransitionPhase};
pub use scene::Scene;
pub use stories::{OpenContext, Opened};
pub use update::{UpdateContext, Updated};

use crate::Metrics;
use crate::domain::{Assembler, Policies, Scopes, Tokens};
use crate::read::Reads;

/// CloudEvents `source` of what context says.
pub const SOURCE: &str = fleet_topology::services::CONTEXT.package;

/// What context works with.
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
    /// Which sections a role gets in a phase.
    pub scopes: Arc<Scopes>,
    /// Which rows and columns a role may see.
    pub policies: Arc<Policies>,
    /// Counts tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Where stories and tasks are created.
    pub planning: Planning,
    /// How a change is decided anew when others were faster.
    pub races: Races,
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
    pub(crate) fn scene(&self, origin: Origin, deadline: Deadline) -> Scene {
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
        let mut attempts = self.races.attempts(deadline);
        loop {
            let scene = self.scene(origin.clone(), deadline);
            let decided = command.decide(&scene).await;
            let (mut commit, outcome) = decided.map_err(Ended::Fault)?;
            complete(&scene, &outcome, &mut commit);
            if commit.is_empty() {
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
                Err(error) => attempts.failed(error).await.map_err(Ended::Fault)?,
            }
        }
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
