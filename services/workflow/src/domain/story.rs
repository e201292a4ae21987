//! One execution of a story: how many of its tasks are over, and the moment when all are.

use fleet_types::{StoryId, Timestamp};

use super::change::Change;
use super::decide::{Command, decide};
use super::run::{Judged, TaskRun};
use crate::fsm::{Machine, Outcome};

fleet_types::words! {
    /// Where an execution stands. It only ever moves on in this order, so that hearing of
    /// its beginning after its end changes nothing.
    pub enum Phase("phase") {
        /// Its tasks are being created; it cannot complete yet.
        Releasing = "releasing",
        /// Its tasks are worked on, or all over.
        Active = "active",
        /// The story was carried over: unfinished tasks rest.
        Suspended = "suspended",
        /// The story was reset: unfinished tasks are cancelled.
        Abandoned = "abandoned",
    }
}

/// One execution of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoryRun {
    /// The story.
    pub story: StoryId,
    /// 1, 2, ….
    pub execution: i64,
    /// Where it stands.
    pub phase: Phase,
    /// Its tasks.
    pub total: i64,
    /// Those done.
    pub done: i64,
    /// Those cancelled.
    pub cancelled: i64,
    /// When all were over.
    pub completed_at: Option<Timestamp>,
    /// When we first heard of it.
    pub created_at: Timestamp,
    /// How long verdicts took in tasks that ended in this execution.
    pub judged: Judged,
    /// Rejections in tasks that ended in this execution.
    pub rejections: i64,
    /// Tasks done in this execution (an earlier one may have done others).
    pub done_here: i64,
    /// Those of them that were never rejected.
    pub first_try: i64,
}

impl StoryRun {
    /// An execution we hear of for the first time.
    pub fn new(story: StoryId, execution: i64, phase: Phase, now: Timestamp) -> Self {
        Self {
            story,
            execution,
            phase,
            total: 0,
            done: 0,
            cancelled: 0,
            completed_at: None,
            created_at: now,
            judged: Judged::default(),
            rejections: 0,
            done_here: 0,
            first_try: 0,
        }
    }

    /// Tasks that are not over.
    pub fn open(&self) -> i64 {
        self.total - self.done - self.cancelled
    }

    /// Marks it completed if it is so now and was not before; whether it did.
    pub fn complete(&mut self, now: Timestamp) -> bool {
        let now_complete = self.phase == Phase::Active
            && self.completed_at.is_none()
            && self.total > 0
            && self.open() <= 0;
        if now_complete {
            self.completed_at = Some(now);
        }
        now_complete
    }
}

/// What the end of a task does to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The story's execution afterwards.
    pub story: StoryRun,
    /// Whether this end completed it.
    pub completed: bool,
    /// The tasks that built on it and changed.
    pub dependents: Vec<Change>,
}

/// Draws the consequences of a task's end.
pub fn task_ended(
    machine: &Machine,
    story: &StoryRun,
    ended: &TaskRun,
    outcome: Outcome,
    dependents: &[TaskRun],
    now: Timestamp,
) -> Ended {
    let mut story = story.clone();
    match outcome {
        Outcome::Done => {
            story.done += 1;
            story.done_here += 1;
        }
        Outcome::Cancelled => story.cancelled += 1,
    }
    story.judged = story.judged.plus(ended.judged);
    story.rejections += ended.rejections;
    if outcome == Outcome::Done && ended.rejections == 0 {
        story.first_try += 1;
    }
    let completed = story.complete(now);
    let command = Command::DependencyEnded {
        task: ended.task.clone(),
        outcome,
    };
    let dependents = dependents
        .iter()
        .filter_map(|run| {
            decide(machine, run, &command, now).expect("the end of a dependency is never refused")
        })
        .collect();
    Ended {
        story,
        completed,
        dependents,
    }
}
