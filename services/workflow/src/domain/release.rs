//! A story is released: its tasks begin, go on, or stay as they ended.

use fleet_types::{Action, Role, StoryId, TaskId, Timestamp};

use super::change::{Change, Step};
use super::own::{drop_work, rest, wake};
use super::run::{Judged, TaskRun};
use crate::fsm::{Kind, Machine, Outcome};

/// One task as the story releases it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// The task.
    pub task: TaskId,
    /// From 1, the most urgent, upwards.
    pub priority: i32,
    /// Who does the work, if not the developer.
    pub worker: Option<Role>,
    /// Tasks of the same story that it builds on.
    pub depends_on: Vec<TaskId>,
    /// Those of them that are not done now.
    pub blocked_by: Vec<TaskId>,
    /// Tasks of the same story that build on it.
    pub dependents: Vec<TaskId>,
}

/// What is known of the release itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The story.
    pub story: StoryId,
    /// Which execution: 1, 2, ….
    pub execution: i64,
    /// Whether the story was reset in between, rather than carried over: unfinished work of
    /// the execution before is dropped and begins anew.
    pub after_reset: bool,
    /// What became of the execution, if its end was heard of before its beginning.
    pub late: Option<Late>,
}

/// How an execution ended whose release comes late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// The story was carried over, or a later execution is known.
    Suspended,
    /// The story was reset.
    Abandoned,
}

/// What a release does to one task; `None` = it stays as it is. Repeating it changes nothing.
pub fn release(
    machine: &Machine,
    existing: Option<&TaskRun>,
    task: &Released,
    release: &Release,
    now: Timestamp,
) -> Option<Change> {
    let mut step = match existing {
        None => {
            let mut step = Step::new(machine, fresh(machine, task, release, now), now);
            step.begin();
            step
        }
        Some(run) => again(machine, run, task, release, now)?,
    };
    match release.late {
        None => {}
        Some(Late::Suspended) => {
            rest(&mut step);
        }
        Some(Late::Abandoned) => {
            drop_work(&mut step, "");
        }
    }
    Some(step.arrive())
}

fn again<'m>(
    machine: &'m Machine,
    run: &TaskRun,
    task: &Released,
    release: &Release,
    now: Timestamp,
) -> Option<Step<'m>> {
    if run.execution >= release.execution {
        return None;
    }
    let mut step = Step::new(machine, run.clone(), now);
    let dropped = match run.outcome(machine) {
        Some(Outcome::Done) => return None,
        // What the product owner cancelled stays cancelled; what a reset swept away returns.
        Some(Outcome::Cancelled) if swept_away(run) => true,
        Some(Outcome::Cancelled) => return None,
        None if release.after_reset => drop_work(&mut step, ""),
        None => {
            // The story may have been carried over without our having heard of it yet.
            if run.at(machine).kind != Kind::Resting {
                rest(&mut step);
            }
            false
        }
    };
    let run = &mut step.run;
    run.execution = release.execution;
    run.priority = task.priority;
    run.worker = task.worker;
    run.depends_on.clone_from(&task.depends_on);
    run.blocked_by.clone_from(&task.blocked_by);
    run.dependents.clone_from(&task.dependents);
    run.rejections = 0;
    run.strikes = 0;
    if dropped {
        let clean = fresh(machine, task, release, now);
        let (seq, claim_epoch) = (run.seq, run.claim_epoch);
        let (created_at, updated_at) = (run.created_at, run.updated_at);
        *run = TaskRun {
            seq,
            claim_epoch,
            created_at,
            updated_at,
            ..clean
        };
        step.begin();
    } else {
        wake(&mut step);
    }
    Some(step)
}

fn swept_away(run: &TaskRun) -> bool {
    run.last_action == Action::Cancel && run.last_role == Role::System
}

fn fresh(machine: &Machine, task: &Released, release: &Release, now: Timestamp) -> TaskRun {
    TaskRun {
        task: task.task.clone(),
        story: release.story.clone(),
        execution: release.execution,
        state: machine.initial(),
        priority: task.priority,
        worker: task.worker,
        depends_on: task.depends_on.clone(),
        blocked_by: task.blocked_by.clone(),
        dependents: task.dependents.clone(),
        claim: None,
        claim_epoch: 0,
        feedback: None,
        rework: None,
        rejections: 0,
        strikes: 0,
        retries: 0,
        work: None,
        origin: None,
        escalated_from: None,
        seq: 0,
        waiting_since: now,
        turn_since: now,
        updated_at: now,
        created_at: now,
        due_at: None,
        last_action: Action::ReleaseTask,
        last_role: Role::System,
        judged: Judged::default(),
    }
}
