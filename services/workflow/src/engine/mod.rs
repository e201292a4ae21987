//! Read, decide, commit: the shell round the domain. Calls, consumers and timers all change
//! tasks through here.
//!
//! Round trips to the store: a change of a task is one commit, and one read before it unless
//! this process made the last change ([`Recent`]). The change that ends a task needs one read
//! more (the story's execution and the tasks that build on it).

mod plan;
mod recent;
mod said;

use std::sync::Arc;
use std::time::Duration;

use fleet_events::{Committer, Origin, payload};
use fleet_graph::{
    Answer, Commit, CommitError, CorruptRow, Deadline, Node, Owner, ReadError, Request,
};
use fleet_service::races::{Pauses, Race};
use fleet_types::{Action, Clock, Ids, Role, TaskId, Timestamp};

pub(crate) use self::plan::Plan;
pub(crate) use self::recent::Recent;
use crate::alarm::Alarm;
use crate::domain::{Change, Command, Notice, Rejection, StoryRun, TaskRun, decide, task_ended};
use crate::fsm::Machine;
use crate::metrics::Metrics;
use crate::rows::{ACCESS_DENIED, AuditRow, StoryRunRow, TaskRunRow, run_key};

/// CloudEvents `source` of everything that this service says.
pub(crate) const SOURCE: &str = "fleet-workflow";

/// How often a change is decided again after somebody else changed the same thing.
const MAX_ATTEMPTS: u32 = 40;
/// Pauses between those attempts; whoever lost but once tries again at once.
const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(1),
    longest: Duration::from_millis(64),
};

/// Why something is done, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct Cause {
    /// Where the events come from.
    pub origin: Origin,
    /// Until when it is of use.
    pub deadline: Deadline,
    /// The event that is answered, if this is a consumer's work.
    pub answers: Option<Answer>,
}

/// A task as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub run: TaskRun,
    pub version: i64,
    pub timer_version: i64,
}

/// An execution of a story as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredStory {
    pub run: StoryRun,
    pub version: i64,
}

/// A task after a change.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    pub run: TaskRun,
    pub version: i64,
}

/// Why a change did not happen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("the task is not known")]
    Unknown,
    #[error("refused: {rejection:?}")]
    Rejected {
        rejection: Rejection,
        stored: Box<Stored>,
    },
    #[error("{reason}")]
    NotAllowed { reason: String, stored: Box<Stored> },
    #[error("the task is at version {current}, not {expected}")]
    StaleVersion { expected: i64, current: i64 },
    #[error("too many changes of the same task or story at the same time")]
    Contended,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<CorruptRow> for ChangeError {
    fn from(error: CorruptRow) -> Self {
        Self::Read(error.into())
    }
}

/// Everything a change needs. Shared by all calls, consumers and timers of a process.
pub(crate) struct Engine {
    pub machine: Arc<Machine>,
    pub committer: Committer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub deployment: String,
    pub alarm: Arc<Alarm>,
    pub metrics: Metrics,
    pub recent: Recent,
}

/// What is asked of [`Engine::change`].
pub(crate) struct Ask<'a> {
    pub task: &'a TaskId,
    pub command: &'a Command,
    /// The version of the task that the caller has in mind.
    pub expected_version: Option<i64>,
    /// Why the caller may not act like this, whatever the task.
    pub refusal: Option<&'a str>,
    pub cause: &'a Cause,
}

impl Engine {
    /// Reads a task. One round trip.
    pub async fn load(
        &self,
        task: &TaskId,
        deadline: Deadline,
    ) -> Result<Option<Stored>, ReadError> {
        let found = self
            .committer
            .store()
            .get(&[run_key(task)], deadline)
            .await?;
        match found.into_iter().next().flatten() {
            Some(node) => Ok(Some(self.stored(&node)?)),
            None => Ok(None),
        }
    }

    /// A task from its node.
    pub fn stored(&self, node: &Node) -> Result<Stored, CorruptRow> {
        let (run, timer_version) = TaskRunRow::read(&self.machine, node)?;
        Ok(Stored {
            run,
            version: node.version,
            timer_version,
        })
    }

    /// Decides a command on what is stored and commits what follows. If somebody else changes
    /// the same things meanwhile, it is read and decided again, so that the loser of a race
    /// learns what the winner did. `request` makes the record of the caller's request from
    /// the task as it will be.
    pub async fn change(
        &self,
        ask: &Ask<'_>,
        request: &(dyn Fn(&Done) -> Option<Request> + Sync),
    ) -> Result<Done, ChangeError> {
        for attempt in 0..MAX_ATTEMPTS {
            let now = self.clock.now();
            let (stored, change) = match self.remembered(ask, now).filter(|_| attempt == 0) {
                Some(decided) => decided,
                None => {
                    let Some(stored) = self.load(ask.task, ask.cause.deadline).await? else {
                        return Err(ChangeError::Unknown);
                    };
                    match self.judge(&stored, ask, now)? {
                        Some(change) => (stored, change),
                        None => {
                            return Ok(Done {
                                run: stored.run,
                                version: stored.version,
                            });
                        }
                    }
                }
            };
            match self.commit(&stored, change, now, ask.cause, request).await {
                Err(ChangeError::Commit(error)) if Race::lost(&error).is_some() => {
                    self.pause(attempt, ask.cause.deadline).await;
                }
                outcome => return outcome,
            }
        }
        Err(ChangeError::Contended)
    }

    /// A change of the task as this process last wrote it; `None` if that is not remembered,
    /// or if anything but a change would come of it.
    fn remembered(&self, ask: &Ask<'_>, now: Timestamp) -> Option<(Stored, Change)> {
        let stored = self.recent.take(ask.task)?;
        let change = self.judge(&stored, ask, now).ok()??;
        Some((stored, change))
    }

    /// What comes of the command on this task; `None` = it is as wanted already.
    fn judge(
        &self,
        stored: &Stored,
        ask: &Ask<'_>,
        now: Timestamp,
    ) -> Result<Option<Change>, ChangeError> {
        if let Some(reason) = ask.refusal {
            let (reason, stored) = (reason.to_owned(), Box::new(stored.clone()));
            return Err(ChangeError::NotAllowed { reason, stored });
        }
        if let Some(expected) = ask.expected_version.filter(|v| *v != stored.version) {
            return Err(ChangeError::StaleVersion {
                expected,
                current: stored.version,
            });
        }
        decide(&self.machine, &stored.run, ask.command, now).map_err(|rejection| {
            ChangeError::Rejected {
                rejection,
                stored: Box::new(stored.clone()),
            }
        })
    }

    async fn commit(
        &self,
        before: &Stored,
        change: Change,
        now: Timestamp,
        cause: &Cause,
        request: &(dyn Fn(&Done) -> Option<Request> + Sync),
    ) -> Result<Done, ChangeError> {
        let mut plan = Plan::new(self, cause, now);
        let after = plan.change(before, &change);
        if change.run.is_over(&self.machine) {
            self.consequences(&mut plan, &change, now, cause.deadline)
                .await?;
        }
        let done = Done {
            run: after.run.clone(),
            version: after.version,
        };
        plan.commit.request = request(&done);
        self.send(plan, cause.deadline).await?;
        self.recent.put(after);
        self.metrics.count(&self.machine, &change);
        Ok(done)
    }

    /// Sends a plan, and sets the alarm for the timers in it.
    pub async fn send(&self, plan: Plan<'_>, deadline: Deadline) -> Result<(), CommitError> {
        let due = plan.due;
        self.committer.commit(plan.commit, deadline).await?;
        if let Some(due) = due {
            self.alarm.at(due);
        }
        Ok(())
    }

    /// What the end of a task does to its story and to the tasks that build on it.
    async fn consequences(
        &self,
        plan: &mut Plan<'_>,
        change: &Change,
        now: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ChangeError> {
        let ended = &change.run;
        let Some(outcome) = ended.outcome(&self.machine) else {
            return Ok(());
        };
        let mut keys = vec![StoryRunRow::key_of(&ended.story, ended.execution)];
        keys.extend(ended.dependents.iter().map(run_key));
        let mut found = self
            .committer
            .store()
            .get(&keys, deadline)
            .await?
            .into_iter();
        let Some(node) = found.next().flatten() else {
            // Tasks begin in the same commit as their story's execution, or after it.
            return Ok(());
        };
        let story = StoredStory {
            run: StoryRunRow::read(&node)?,
            version: node.version,
        };
        let mut dependents = Vec::new();
        for node in found.flatten() {
            dependents.push(self.stored(&node)?);
        }
        let runs: Vec<TaskRun> = dependents.iter().map(|stored| stored.run.clone()).collect();
        let ended = task_ended(&self.machine, &story.run, ended, outcome, &runs, now);
        plan.story(Some(&story), &ended.story);
        for change in &ended.dependents {
            let before = dependents
                .iter()
                .find(|stored| stored.run.task == change.run.task);
            plan.change(
                before.expect("a change is of one of the dependents"),
                change,
            );
        }
        if ended.completed {
            plan.story_completed(&ended.story, now);
        }
        Ok(())
    }

    /// Records and publishes an attempt that was refused because of who made it.
    pub async fn record_violation(
        &self,
        stored: &Stored,
        attempt: &Attempt<'_>,
        cause: &Cause,
    ) -> Result<(), CommitError> {
        let now = self.clock.now();
        let run = &stored.run;
        let state = self.machine.name_of(run.state).to_owned();
        let violation = payload::RbacViolation {
            task_id: run.task.clone(),
            role: attempt.role,
            action: attempt.action,
            current_state: state.clone(),
            agent_id: attempt.agent.to_owned(),
            reason: attempt.reason.to_owned(),
            timestamp: now,
        };
        let event = cause
            .origin
            .event(&*self.ids, now, run.task.as_str(), run.seq, &violation);
        let row = AuditRow {
            kind: ACCESS_DENIED.to_owned(),
            task_id: run.task.clone(),
            story_id: run.story.clone(),
            execution: run.execution,
            state,
            action: attempt.action,
            actor_role: attempt.role,
            actor: attempt.principal.to_owned(),
            agent_id: attempt.agent.to_owned(),
            detail: attempt.reason.to_owned(),
            at: now,
            claim_epoch: run.claim.as_ref().map_or(0, |claim| claim.epoch),
            event_id: event.id.clone(),
        };
        let mut commit = Commit::new(self.ids.uuid(), Owner::Workflow, now);
        commit.answers.clone_from(&cause.answers);
        commit.create(row.key(), row.ord(), row.props());
        commit.event(event);
        self.committer.commit(commit, cause.deadline).await?;
        self.metrics.violation(attempt.role, attempt.action);
        Ok(())
    }

    /// Waits a little, longer and less predictably with every attempt.
    pub async fn pause(&self, attempt: u32, deadline: Deadline) {
        if attempt == 0 {
            return;
        }
        let wait = PAUSES.after(attempt, &*self.ids);
        tokio::time::sleep(wait.min(deadline.left())).await;
    }
}

/// An attempt that is refused because of who made it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt<'a> {
    pub role: Role,
    pub action: Action,
    pub agent: &'a str,
    pub principal: &'a str,
    pub reason: &'a str,
}

/// Whether a change says that a lease ran out.
pub(crate) fn expired(change: &Change) -> bool {
    change
        .notices
        .iter()
        .any(|notice| matches!(notice, Notice::ClaimExpired { .. }))
}
