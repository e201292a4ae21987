//! Tasks of a story and what they wait for.
//!
//! Every change of a task is a change of its story too ([`Story::tasks_changed`]), so the
//! story's version covers all of them.

use std::collections::BTreeMap;

use fleet_types::{PlanId, Role, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use super::dependencies::find_cycle;
use super::story::set;
use super::{Rejection, Story, TaskStatus, TaskType};

/// Most tasks of one story: its release names all of them in one event.
pub const MAX_TASKS: i64 = 2_000;
/// Most dependencies among the tasks of one story, for the same reason.
pub const MAX_DEPENDENCIES: i64 = 4_000;

/// One piece of work of a story, done by one role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
    /// The plan it came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_id: Option<PlanId>,
    /// Its title, never blank.
    pub title: String,
    /// Free text.
    pub description: String,
    /// What kind of work it is.
    #[serde(rename = "type")]
    pub kind: TaskType,
    /// How it stands: `todo` until its run ends, see [`Task::follow`].
    pub status: TaskStatus,
    /// Who is meant to do it; may be empty.
    pub assigned_to: String,
    /// Estimate, 0 or more; 0 = none.
    pub estimated_hours: i32,
    /// From 1, the most urgent, upwards.
    pub priority: i32,
    /// Who does it.
    pub role: Role,
    /// How one sees that it is done.
    #[serde(default)]
    pub acceptance_criteria: Vec<String>,
    /// Tasks of the same story that must be done first, in the order they were named.
    #[serde(default)]
    pub depends_on: Vec<TaskId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The execution of the last step of its run that `status` reflects; 0 = none yet.
    #[serde(default)]
    pub run_execution: i64,
    /// The place of that step in the history of the run.
    #[serde(default)]
    pub run_seq: i64,
}

/// The content of a new task; texts are trimmed, the title is not blank, priority is 1 or
/// more, hours 0 or more, dependencies are distinct and not the task itself (checked at the
/// edge).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// The plan it comes from.
    pub plan_id: Option<PlanId>,
    /// Title.
    pub title: String,
    /// Free text.
    pub description: String,
    /// What kind of work.
    pub kind: TaskType,
    /// Who is meant to do it.
    pub assigned_to: String,
    /// Estimate in hours.
    pub estimated_hours: i32,
    /// Urgency.
    pub priority: i32,
    /// Who does it.
    pub role: Role,
    /// How one sees that it is done.
    pub acceptance_criteria: Vec<String>,
}

/// Changes of a task's content; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TaskEdit {
    /// New title, not blank.
    pub title: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// New type.
    pub kind: Option<TaskType>,
    /// New assignee.
    pub assigned_to: Option<String>,
    /// New estimate.
    pub estimated_hours: Option<i32>,
    /// New priority.
    pub priority: Option<i32>,
    /// New role.
    pub role: Option<Role>,
    /// All acceptance criteria from now on.
    pub acceptance_criteria: Option<Vec<String>>,
}

/// A new task of `story` that waits for `depends_on`, and the story with it. A new task can
/// close no cycle: nothing waits for it yet.
pub fn create_task(
    story: &Story,
    task_id: TaskId,
    new: NewTask,
    depends_on: &[Task],
    now: Timestamp,
) -> Result<(Story, Task), Rejection> {
    let dependencies = i64::try_from(depends_on.len()).unwrap_or(i64::MAX);
    let story_after = story.tasks_changed(1, dependencies, now)?;
    within(story, "tasks", story_after.tasks, MAX_TASKS)?;
    within(
        story,
        "dependencies",
        story_after.dependencies,
        MAX_DEPENDENCIES,
    )?;
    depends_on
        .iter()
        .try_for_each(|task| same_story(&story.story_id, task))?;
    let task = Task {
        task_id,
        story_id: story.story_id.clone(),
        plan_id: new.plan_id,
        title: new.title,
        description: new.description,
        kind: new.kind,
        status: TaskStatus::Todo,
        assigned_to: new.assigned_to,
        estimated_hours: new.estimated_hours,
        priority: new.priority,
        role: new.role,
        acceptance_criteria: new.acceptance_criteria,
        depends_on: depends_on.iter().map(|task| task.task_id.clone()).collect(),
        created_at: now,
        updated_at: now,
        run_execution: 0,
        run_seq: 0,
    };
    Ok((story_after, task))
}

/// `task` of `story` with other content. `None`: the edit changes nothing.
pub fn edit_task(
    story: &Story,
    task: &Task,
    edit: TaskEdit,
    now: Timestamp,
) -> Result<Option<(Story, Task)>, Rejection> {
    story.tasks_may_change()?;
    let mut after = task.clone();
    let mut changed = Vec::new();
    set(&mut after.title, edit.title, "title", &mut changed);
    set(
        &mut after.description,
        edit.description,
        "description",
        &mut changed,
    );
    set(&mut after.kind, edit.kind, "type", &mut changed);
    set(
        &mut after.assigned_to,
        edit.assigned_to,
        "assigned_to",
        &mut changed,
    );
    set(
        &mut after.estimated_hours,
        edit.estimated_hours,
        "estimated_hours",
        &mut changed,
    );
    set(&mut after.priority, edit.priority, "priority", &mut changed);
    set(&mut after.role, edit.role, "role", &mut changed);
    let criteria = edit.acceptance_criteria;
    set(
        &mut after.acceptance_criteria,
        criteria,
        "acceptance_criteria",
        &mut changed,
    );
    if changed.is_empty() {
        return Ok(None);
    }
    after.updated_at = after.updated_at.max(now);
    Ok(Some((story.tasks_changed(0, 0, now)?, after)))
}

/// Lets `task` wait for `on`; `all` are the tasks of the story. `None`: it does already.
pub fn add_dependency(
    story: &Story,
    task: &Task,
    on: &Task,
    all: &[Task],
    now: Timestamp,
) -> Result<Option<(Story, Task)>, Rejection> {
    same_story(&task.story_id, on)?;
    story.tasks_may_change()?;
    if task.depends_on.contains(&on.task_id) {
        return Ok(None);
    }
    let story_after = story.tasks_changed(0, 1, now)?;
    within(
        story,
        "dependencies",
        story_after.dependencies,
        MAX_DEPENDENCIES,
    )?;
    let mut after = task.clone();
    after.depends_on.push(on.task_id.clone());
    after.updated_at = after.updated_at.max(now);
    let others = all.iter().filter(|other| other.task_id != task.task_id);
    let graph = others
        .chain([&after])
        .map(|t| (&t.task_id, t.depends_on.as_slice()))
        .collect();
    if let Some(cycle) = find_cycle(&graph) {
        return Err(Rejection::Cycle {
            story: story.story_id.clone(),
            cycle,
        });
    }
    Ok(Some((story_after, after)))
}

/// Lets `task` no longer wait for `on`. `None`: it does not.
pub fn remove_dependency(
    story: &Story,
    task: &Task,
    on: &TaskId,
    now: Timestamp,
) -> Result<Option<(Story, Task)>, Rejection> {
    story.tasks_may_change()?;
    if !task.depends_on.contains(on) {
        return Ok(None);
    }
    let mut after = task.clone();
    after.depends_on.retain(|other| other != on);
    after.updated_at = after.updated_at.max(now);
    Ok(Some((story.tasks_changed(0, -1, now)?, after)))
}

/// A cycle among tasks, as [`find_cycle`] gives it.
pub(super) fn dependency_cycle(tasks: &[Task]) -> Option<Vec<TaskId>> {
    let graph: BTreeMap<&TaskId, &[TaskId]> = tasks
        .iter()
        .map(|task| (&task.task_id, task.depends_on.as_slice()))
        .collect();
    find_cycle(&graph)
}

/// One step of a task's run in the workflow, as far as planning cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunStep {
    /// Which execution of the story.
    pub execution: i64,
    /// Its place in the run's history.
    pub seq: i64,
    /// What the step makes of the task.
    pub status: TaskStatus,
}

impl Task {
    /// Lets the status follow the run. Steps may come in any order and more than once: the
    /// newest one counts. `None`: the step is older than what is known.
    pub fn follow(&self, step: RunStep, now: Timestamp) -> Option<Self> {
        if (step.execution, step.seq) <= (self.run_execution, self.run_seq) {
            return None;
        }
        let mut task = self.clone();
        task.status = step.status;
        task.run_execution = step.execution;
        task.run_seq = step.seq;
        task.updated_at = task.updated_at.max(now);
        Some(task)
    }
}

fn same_story(story: &StoryId, on: &Task) -> Result<(), Rejection> {
    if on.story_id == *story {
        return Ok(());
    }
    Err(Rejection::ForeignDependency {
        task: on.task_id.clone(),
        found: on.story_id.clone(),
        story: story.clone(),
    })
}

fn within(story: &Story, what: &'static str, wanted: i64, limit: i64) -> Result<(), Rejection> {
    if wanted <= limit {
        return Ok(());
    }
    Err(Rejection::TooMany {
        story: story.story_id.clone(),
        what,
        wanted,
        limit,
    })
}
