//! New tasks, their content and what they wait for. Each change writes the story too, so the
//! story's version covers its tasks.

use async_trait::async_trait;
use fleet_events::payload::TaskCreated;
use fleet_graph::{Commit, Edge, EdgeType, EdgeWrite, NodeKey, Props, Versioned, props};
use fleet_service::{Fault, Reason};
use fleet_types::{StoryId, TaskId};

use super::announce::StoryWrite;
use super::rows;
use super::scene::check_version;
use super::{Command, Decision, Scene};
use crate::domain::{
    NewTask, PlanVersion, Story, Task, TaskEdit, add_dependency, create_task, edit_task,
    remove_dependency,
};

/// Makes a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateTask {
    /// Id of the caller's choice.
    pub task_id: Option<TaskId>,
    /// The story.
    pub story_id: StoryId,
    /// Its content.
    pub content: NewTask,
    /// What it waits for; distinct, not itself.
    pub depends_on: Vec<TaskId>,
}

#[async_trait]
impl Command for CreateTask {
    type Outcome = Versioned<Task>;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let story_key = rows::story(&self.story_id);
        let plan = self.content.plan_id.as_ref().map(rows::plan);
        let chosen = self.task_id.as_ref().map(rows::task);
        let on: Vec<NodeKey> = self.depends_on.iter().map(rows::task).collect();
        let keys = std::iter::once(&story_key)
            .chain(&plan)
            .chain(&chosen)
            .chain(&on);
        let found = scene.get(keys.cloned().collect()).await?;
        let story: Versioned<Story> = found.need(&story_key)?;
        if let Some(key) = &plan {
            let plan: Versioned<PlanVersion> = found.need(key)?;
            if plan.value.story_id != self.story_id {
                let message = format!(
                    "plan {} belongs to story {}, not to {}",
                    key.id(),
                    plan.value.story_id,
                    self.story_id
                );
                return Err(
                    Fault::precondition(Reason::ParentMismatch, message).with("subject", key.id())
                );
            }
        }
        if let Some(key) = &chosen
            && found.node(key).is_some()
        {
            let message = format!("task {} exists already", key.id());
            return Err(Fault::AlreadyExists {
                reason: Reason::AlreadyExists,
                message,
            });
        }
        let depends_on = on
            .iter()
            .map(|key| found.need::<Task>(key).map(|task| task.value))
            .collect::<Result<Vec<_>, _>>()?;
        let id = self
            .task_id
            .clone()
            .unwrap_or_else(|| TaskId::mint(scene.ids.uuid()));
        let content = self.content.clone();
        let (after, task) = create_task(&story.value, id, content, &depends_on, scene.now)?;

        let key = rows::task(&task.task_id);
        let mut commit = scene.commit();
        commit.create(
            key.clone(),
            rows::ord(task.created_at, &task.task_id),
            props(&task),
        );
        commit.relate(story_key, EdgeType::HasTask, key.clone());
        for on in on {
            commit.relate(key.clone(), EdgeType::DependsOn, on);
        }
        StoryWrite::new(scene, after, story.version).write(&mut commit);
        let payload = TaskCreated {
            task_id: task.task_id.clone(),
            story_id: task.story_id.clone(),
            plan_id: task.plan_id.clone(),
            title: task.title.clone(),
            kind: task.kind.as_str().to_owned(),
            priority: task.priority,
            depends_on: task.depends_on.clone(),
            timestamp: scene.now,
        };
        commit.event(scene.event(task.task_id.as_str(), 1, &payload));
        Ok(Decision::Done(commit, Versioned::first(task)))
    }
}

/// Changes the content of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateTask {
    /// The task.
    pub task_id: TaskId,
    /// Its content.
    pub edit: TaskEdit,
    /// Who wants it.
    pub updated_by: String,
    /// The version it is meant for.
    pub expected_version: Option<i64>,
}

#[async_trait]
impl Command for UpdateTask {
    /// The task, and whether anything changed.
    type Outcome = (Versioned<Task>, bool);

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let key = rows::task(&self.task_id);
        let found = scene.with_stories(vec![key.clone()]).await?;
        let task: Versioned<Task> = found.need(&key)?;
        let story: Versioned<Story> = found.need(&rows::story(&task.value.story_id))?;
        check_version(&key, self.expected_version, task.version)?;
        let changed = edit_task(&story.value, &task.value, self.edit.clone(), scene.now)?;
        Ok(finish(
            scene,
            task,
            story.version,
            changed,
            &self.updated_by,
            |_| {},
        ))
    }
}

/// Lets a task wait for another of the same story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddDependency {
    /// The task that waits.
    pub task_id: TaskId,
    /// The task that must be done first; another one.
    pub on: TaskId,
    /// Why; may be empty.
    pub reason: String,
    /// Who says so.
    pub changed_by: String,
    /// The version of the waiting task it is meant for.
    pub expected_version: Option<i64>,
}

#[async_trait]
impl Command for AddDependency {
    /// The waiting task, and whether anything changed.
    type Outcome = (Versioned<Task>, bool);

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let (key, on_key) = (rows::task(&self.task_id), rows::task(&self.on));
        let found = scene
            .with_stories(vec![key.clone(), on_key.clone()])
            .await?;
        let task: Versioned<Task> = found.need(&key)?;
        let on: Versioned<Task> = found.need(&on_key)?;
        let story: Versioned<Story> = found.need(&rows::story(&task.value.story_id))?;
        check_version(&key, self.expected_version, task.version)?;
        let all = scene.tasks_of(&task.value.story_id).await?;
        let changed = add_dependency(&story.value, &task.value, &on.value, &all, scene.now)?;
        Ok(finish(
            scene,
            task,
            story.version,
            changed,
            &self.changed_by,
            |commit| {
                let mut why = Props::new();
                why.insert("reason".to_owned(), self.reason.clone().into());
                let (kind, props) = (EdgeType::DependsOn, why);
                commit.edges.push(EdgeWrite::Relate(Edge {
                    from: key,
                    kind,
                    to: on_key,
                    props,
                }));
            },
        ))
    }
}

/// Lets a task no longer wait for another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoveDependency {
    /// The task that waits.
    pub task_id: TaskId,
    /// The task it waits for.
    pub on: TaskId,
    /// Who says so.
    pub changed_by: String,
    /// The version of the waiting task it is meant for.
    pub expected_version: Option<i64>,
}

#[async_trait]
impl Command for RemoveDependency {
    /// The task that waited, and whether anything changed.
    type Outcome = (Versioned<Task>, bool);

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let (key, on_key) = (rows::task(&self.task_id), rows::task(&self.on));
        let found = scene
            .with_stories(vec![key.clone(), on_key.clone()])
            .await?;
        let task: Versioned<Task> = found.need(&key)?;
        found.need::<Task>(&on_key)?;
        let story: Versioned<Story> = found.need(&rows::story(&task.value.story_id))?;
        check_version(&key, self.expected_version, task.version)?;
        let changed = remove_dependency(&story.value, &task.value, &self.on, scene.now)?;
        Ok(finish(
            scene,
            task,
            story.version,
            changed,
            &self.changed_by,
            |commit| {
                let (from, kind, to) = (key, EdgeType::DependsOn, on_key);
                commit.edges.push(EdgeWrite::Unrelate { from, kind, to });
            },
        ))
    }
}

/// The commit of a changed task with its story; nothing if it did not change.
fn finish(
    scene: &Scene,
    task: Versioned<Task>,
    story_version: i64,
    changed: Option<(Story, Task)>,
    by: &str,
    more: impl FnOnce(&mut Commit),
) -> Decision<(Versioned<Task>, bool)> {
    let mut commit = scene.commit();
    let Some((story, after)) = changed else {
        return Decision::Done(commit, (task, false));
    };
    let ord = rows::ord(after.created_at, &after.task_id);
    commit.update(rows::task(&after.task_id), task.version, ord, props(&after));
    more(&mut commit);
    let mut write = StoryWrite::new(scene, story, story_version);
    write.say_updated(&mut commit, &["tasks"], by);
    write.write(&mut commit);
    let task = Versioned {
        value: after,
        version: task.version + 1,
    };
    Decision::Done(commit, (task, true))
}
