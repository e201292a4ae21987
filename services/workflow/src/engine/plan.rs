//! From changes to one commit: rows, edges, timers and events.

use fleet_graph::{Commit, EdgeType, Label, NodeKey, Owner};
use fleet_types::Timestamp;

use super::said::Said;
use super::{Cause, Engine, Stored, StoredStory};
use crate::domain::{Change, StoryRun, TaskRun};
use crate::rows::{HopRow, StoryRunRow, TaskRunRow, TimerRow, run_key};

/// A commit in the making.
pub(crate) struct Plan<'a> {
    engine: &'a Engine,
    said: Said<'a>,
    pub commit: Commit,
    /// When the earliest of the timers that it sets is due.
    pub due: Option<Timestamp>,
}

impl<'a> Plan<'a> {
    pub fn new(engine: &'a Engine, cause: &'a Cause, now: Timestamp) -> Self {
        let mut commit = Commit::new(engine.ids.uuid(), Owner::Workflow, now);
        commit.answers.clone_from(&cause.answers);
        let said = Said {
            machine: &engine.machine,
            ids: &*engine.ids,
            origin: &cause.origin,
        };
        Self {
            engine,
            said,
            commit,
            due: None,
        }
    }

    /// A task that was not there before; `in_planning` = planning's node of it is in the
    /// same graph.
    pub fn begin(&mut self, change: &Change, in_planning: bool) {
        let timer = self.timer(&change.run, None, 0);
        let row = TaskRunRow::new(&self.engine.machine, &change.run, timer);
        let key = run_key(&change.run.task);
        self.commit.create(key.clone(), row.ord(), row.props());
        if in_planning {
            let task = NodeKey::new(Label::Task, change.run.task.as_str());
            self.commit.relate(task, EdgeType::HasRun, key);
        }
        self.steps(change);
    }

    /// A task that changed. Gives it as it will be stored.
    pub fn change(&mut self, before: &Stored, change: &Change) -> Stored {
        let timer = self.timer(&change.run, before.run.due_at, before.timer_version);
        let row = TaskRunRow::new(&self.engine.machine, &change.run, timer);
        let key = run_key(&change.run.task);
        self.commit
            .update(key, before.version, row.ord(), row.props());
        self.steps(change);
        Stored {
            run: change.run.clone(),
            version: before.version + 1,
            timer_version: timer,
        }
    }

    /// An execution of a story; `before` = as it is stored, if it is.
    pub fn story(&mut self, before: Option<&StoredStory>, story: &StoryRun) {
        let row = StoryRunRow::new(story);
        let key = StoryRunRow::key_of(&story.story, story.execution);
        match before {
            None => self.commit.create(key, row.ord(), row.props()),
            Some(before) => self
                .commit
                .update(key, before.version, row.ord(), row.props()),
        };
    }

    /// Says that a story is completed.
    pub fn story_completed(&mut self, story: &StoryRun, at: Timestamp) {
        let event = self.said.story_completed(story, at);
        self.commit.event(event);
    }

    fn steps(&mut self, change: &Change) {
        let run = run_key(&change.run.task);
        for hop in &change.hops {
            let event = self.said.hop(&change.run, hop);
            let row = HopRow::new(&self.engine.machine, &change.run, hop, event.id.clone());
            self.commit.create(row.key(), row.ord(), row.props());
            self.commit.relate(run.clone(), EdgeType::HasHop, row.key());
            self.commit.event(event);
        }
        for event in self.said.notices(change) {
            self.commit.event(event);
        }
    }

    /// Brings the task's timer in line with when it is due; gives the timer's version.
    fn timer(&mut self, run: &TaskRun, before: Option<Timestamp>, version: i64) -> i64 {
        let key = TimerRow::key_of(&run.task);
        let Some(due_at) = run.due_at else {
            if version > 0 {
                self.commit.delete(key, version);
            }
            return 0;
        };
        self.due = Some(self.due.map_or(due_at, |due| due.min(due_at)));
        if version > 0 && before == Some(due_at) {
            return version;
        }
        let deployment = self.engine.deployment.clone();
        let row = TimerRow {
            deployment,
            task_id: run.task.clone(),
            due_at,
        };
        if version > 0 {
            self.commit.update(key, version, row.ord(), row.props());
        } else {
            self.commit.create(key, row.ord(), row.props());
        }
        version + 1
    }
}
