//! READY_FOR_EXECUTION: tasks begin, go on, or stay as they ended.

use std::collections::BTreeMap;

use fleet_events::HandleError;
use fleet_events::payload::{ReleasedTask, StoryTransitioned};
use fleet_graph::{Deadline, Guard, Index, Label, NodeKey, Scan};
use fleet_types::{Role, TaskId, Timestamp};

use super::order::in_release_order;
use super::{CHUNK, MAX_ATTEMPTS, PlanningEvents, settle};
use crate::consumers::failed;
use crate::domain::{Change, Late, Phase, Release, Released, StoryRun, TaskRun, release};
use crate::engine::{Cause, ChangeError, Plan, Stored, StoredStory};
use crate::fsm::Outcome;
use crate::rows::{StoryRunRow, run_key};

/// Executions of one story that are looked at.
const MAX_EXECUTIONS: usize = 1_000;

/// A task of a release as it is stored.
struct Known {
    stored: Option<Stored>,
    /// Whether planning's node of it is in the same graph.
    in_planning: bool,
}

/// What was read for one part of a release.
struct Picture<'a> {
    moved: &'a StoryTransitioned,
    /// All tasks of the release, those first that others do not wait for.
    tasks: &'a [&'a ReleasedTask],
    /// The tasks of this part.
    part: &'a [&'a ReleasedTask],
    /// Whether it is the last part.
    last: bool,
    story: Option<StoredStory>,
    late: Option<Late>,
    known: BTreeMap<TaskId, Known>,
}

impl Picture<'_> {
    fn stored(&self, task: &TaskId) -> Option<&Stored> {
        self.known.get(task).and_then(|known| known.stored.as_ref())
    }
}

impl PlanningEvents {
    pub(super) async fn released(
        &self,
        moved: &StoryTransitioned,
        cause: &Cause,
    ) -> Result<(), HandleError> {
        if moved.execution < 1 {
            return Err(HandleError::permanent("a release without its execution"));
        }
        if moved.tasks.is_empty() {
            return Err(HandleError::permanent("a release without tasks"));
        }
        let tasks = in_release_order(&moved.tasks).map_err(HandleError::permanent)?;
        let parts = tasks.len().div_ceil(CHUNK);
        for (i, part) in tasks.chunks(CHUNK).enumerate() {
            let last = i + 1 == parts;
            settle!(
                self.0,
                cause,
                self.release_part(moved, &tasks, part, last, cause)
            )?;
        }
        Ok(())
    }

    /// Creates or sends on the tasks of one part. Three reads, one commit.
    async fn release_part(
        &self,
        moved: &StoryTransitioned,
        tasks: &[&ReleasedTask],
        part: &[&ReleasedTask],
        last: bool,
        cause: &Cause,
    ) -> Result<(), ChangeError> {
        let engine = &self.0;
        let now = engine.clock.now();
        let story = self
            .story(&moved.story_id, moved.execution, cause.deadline)
            .await?;
        let late = self.late(moved, story.as_ref(), cause.deadline).await?;
        let known = self.known(tasks, cause.deadline).await?;
        let picture = Picture {
            moved,
            tasks,
            part,
            last,
            story,
            late,
            known,
        };
        let spec = Release {
            story: moved.story_id.clone(),
            execution: moved.execution,
            after_reset: !moved.from_state.eq_ignore_ascii_case("CARRY_OVER"),
            late,
        };
        let mut plan = Plan::new(engine, cause, now);
        let mut changes: Vec<Change> = Vec::new();
        for task in part {
            let existing = picture.stored(&task.task_id);
            let released = self.describe(task, &picture);
            let run = existing.map(|stored| &stored.run);
            let Some(change) = release(&engine.machine, run, &released, &spec, now) else {
                continue;
            };
            match existing {
                None => {
                    let known = picture.known.get(&task.task_id);
                    plan.begin(&change, known.is_some_and(|known| known.in_planning));
                }
                Some(before) => {
                    plan.change(before, &change);
                }
            }
            changes.push(change);
        }
        guard_dependencies(&mut plan, &picture, &changes);
        self.count(&mut plan, &picture, &changes, now);
        if !last {
            plan.commit.answers = None;
        }
        self.send(plan, cause).await?;
        for change in &changes {
            engine.metrics.count(&engine.machine, change);
        }
        Ok(())
    }

    /// Whether the execution is over already, and how.
    async fn late(
        &self,
        moved: &StoryTransitioned,
        story: Option<&StoredStory>,
        deadline: Deadline,
    ) -> Result<Option<Late>, ChangeError> {
        match story.map(|story| story.run.phase) {
            Some(Phase::Abandoned) => return Ok(Some(Late::Abandoned)),
            Some(Phase::Suspended) => return Ok(Some(Late::Suspended)),
            Some(Phase::Releasing | Phase::Active) | None => {}
        }
        let filter = vec![moved.story_id.as_str().into()];
        let scan = Scan::new(Index::StoryRunsByStory, filter, MAX_EXECUTIONS);
        let page = self.0.committer.store().scan(&scan, deadline).await?;
        for node in &page.nodes {
            if StoryRunRow::read(node)?.execution > moved.execution {
                return Ok(Some(Late::Suspended));
            }
        }
        Ok(None)
    }

    /// Each task's run, and whether planning has it. One read.
    async fn known(
        &self,
        tasks: &[&ReleasedTask],
        deadline: Deadline,
    ) -> Result<BTreeMap<TaskId, Known>, ChangeError> {
        let mut keys: Vec<NodeKey> = tasks.iter().map(|task| run_key(&task.task_id)).collect();
        keys.extend(
            tasks
                .iter()
                .map(|task| NodeKey::new(Label::Task, task.task_id.as_str())),
        );
        let found = self.0.committer.store().get(&keys, deadline).await?;
        let (runs, nodes) = found.split_at(tasks.len());
        let mut known = BTreeMap::new();
        for ((task, run), node) in tasks.iter().zip(runs).zip(nodes) {
            let stored = run.as_ref().map(|node| self.0.stored(node)).transpose()?;
            known.insert(
                task.task_id.clone(),
                Known {
                    stored,
                    in_planning: node.is_some(),
                },
            );
        }
        Ok(known)
    }

    fn describe(&self, task: &ReleasedTask, picture: &Picture<'_>) -> Released {
        let machine = &self.0.machine;
        // What was cancelled by somebody in an earlier execution is not waited for: the story
        // was released in spite of it. What a reset swept away begins anew.
        let settled = |run: &TaskRun| match run.outcome(machine) {
            Some(Outcome::Done) => true,
            Some(Outcome::Cancelled) => run.last_role != Role::System,
            None => false,
        };
        let blocks = |id: &&TaskId| {
            !picture
                .stored(id)
                .is_some_and(|stored| settled(&stored.run))
        };
        let dependents = picture
            .tasks
            .iter()
            .filter(|other| other.depends_on.contains(&task.task_id));
        Released {
            task: task.task_id.clone(),
            priority: task.priority,
            worker: task.role.filter(|role| *role != Role::Developer),
            depends_on: task.depends_on.clone(),
            blocked_by: task.depends_on.iter().filter(blocks).cloned().collect(),
            dependents: dependents.map(|other| other.task_id.clone()).collect(),
        }
    }

    /// The story's execution: created with the first part, counted with the last.
    fn count(
        &self,
        plan: &mut Plan<'_>,
        picture: &Picture<'_>,
        changes: &[Change],
        now: Timestamp,
    ) {
        let Picture {
            moved,
            tasks,
            story: before,
            ..
        } = picture;
        if let Some(before) = before {
            let counted = before.run.total > 0;
            if counted || !picture.last {
                // Its phase was read; it must not have moved on when this is committed.
                let key = StoryRunRow::key_of(&moved.story_id, moved.execution);
                plan.commit.guard(Guard::Version(key, before.version));
                return;
            }
        }
        let phase = match picture.late {
            Some(Late::Abandoned) => Phase::Abandoned,
            Some(Late::Suspended) => Phase::Suspended,
            None if picture.last => Phase::Active,
            None => Phase::Releasing,
        };
        let fresh = StoryRun::new(moved.story_id.clone(), moved.execution, phase, now);
        let mut story = before.as_ref().map_or(fresh, |before| before.run.clone());
        story.phase = story.phase.max(phase);
        if picture.last {
            let after = |id: &TaskId| {
                let changed = changes
                    .iter()
                    .find(|change| change.run.task == *id)
                    .map(|c| &c.run);
                let run = changed.or(picture.stored(id).map(|stored| &stored.run))?;
                run.outcome(&self.0.machine)
            };
            let count = |outcome| {
                let n = tasks
                    .iter()
                    .filter(|task| after(&task.task_id) == Some(outcome))
                    .count();
                i64::try_from(n).unwrap_or(i64::MAX)
            };
            story.total = i64::try_from(tasks.len()).unwrap_or(i64::MAX);
            story.done = count(Outcome::Done);
            story.cancelled = count(Outcome::Cancelled);
        }
        if story.complete(now) {
            plan.story_completed(&story, now);
        }
        plan.story(before.as_ref(), &story);
    }
}

/// What was read to find out who is blocked must still be so when it is committed.
fn guard_dependencies(plan: &mut Plan<'_>, picture: &Picture<'_>, changes: &[Change]) {
    let written = |id: &TaskId| changes.iter().any(|change| change.run.task == *id);
    let mut guarded: Vec<&TaskId> = picture
        .part
        .iter()
        .flat_map(|task| &task.depends_on)
        .collect();
    guarded.sort();
    guarded.dedup();
    for id in guarded.into_iter().filter(|id| !written(id)) {
        if let Some(before) = picture.stored(id) {
            plan.commit
                .guard(Guard::Version(run_key(id), before.version));
        }
    }
}
