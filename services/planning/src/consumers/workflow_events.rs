//! A story follows the work on its tasks.
//!
//! State-based, so order and repetition do not matter:
//!
//! * The first claim of the current execution moves READY_FOR_EXECUTION to IN_PROGRESS.
//! * The completion of the current execution walks the story to READY_TO_REVIEW, from wherever
//!   the execution is; also when it overtakes the first claim.
//! * What is about an older execution is superseded: acknowledged without effect.
//! * A task whose run ended is marked `completed` or `cancelled`; the newest step of its run
//!   counts.
//!
//! An effect and the event it answers are one commit. News without effect need no record:
//! whenever they come again, they have none either. The one exception is a completion that
//! found the story elsewhere: it is recorded, so that a repetition cannot move a story that
//! somebody took back to work since.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::{Payload as _, StateChanged, StoryCompleted};
use fleet_events::{Event, HandleError, Handler, Origin, applied};
use fleet_graph::{Commit, CommitError, Deadline, Node, NodeKey, Owner, Versioned, props};
use fleet_types::{Action, StoryId};

use super::begun::Begun;
use crate::app::{App, SOURCE, Scene, rows, write_hops};
use crate::domain::{RunStep, Story, Task, TaskStatus};

const CONSUMER: &str = fleet_topology::consumers::PLANNING_WORKFLOW_EVENTS.name;

/// Handler of the consumer `planning-workflow-events`.
pub struct WorkflowEvents {
    app: Arc<App>,
    begun: Begun,
}

/// What news of a task mean to planning.
struct News {
    story_id: StoryId,
    task: NodeKey,
    execution: i64,
    began: bool,
    step: Option<RunStep>,
}

impl WorkflowEvents {
    /// Works on what `app` works on.
    pub fn new(app: Arc<App>) -> Self {
        Self {
            app,
            begun: Begun::default(),
        }
    }

    fn scene(&self, event: &Event, deadline: Deadline) -> Scene {
        self.app.scene(Origin::caused_by(SOURCE, event), deadline)
    }

    async fn task_moved(
        &self,
        news: &News,
        event: &Event,
        deadline: Deadline,
    ) -> Result<Result<(), CommitError>, HandleError> {
        if news.step.is_none() && self.begun.contains(&news.story_id, news.execution) {
            return Ok(Ok(()));
        }
        let scene = self.scene(event, deadline);
        let keys = [rows::story(&news.story_id), news.task.clone()];
        let nodes = scene.store.get(&keys, deadline).await?;
        let [story, task] =
            <[Option<Node>; 2]>::try_from(nodes).map_err(|nodes| HandleError::Permanent {
                reason: format!("asked for 2 nodes, got {}", nodes.len()),
            })?;
        let story: Versioned<Story> = known(story, &keys[0])?;
        not_ahead(&story, news.execution)?;
        let mut commit = answer(&scene, event);
        if let Some(moved) = story.value.work_began(news.execution, scene.now)
            && news.began
        {
            write_hops(&scene, &mut commit, story.version, moved, &[]);
        }
        if let Some(step) = news.step {
            let task: Versioned<Task> = known(task, &news.task)?;
            if let Some(after) = task.value.follow(step, scene.now) {
                let ord = rows::ord(after.created_at, &after.task_id);
                commit.update(news.task.clone(), task.version, ord, props(&after));
            }
        }
        let outcome = if commit.nodes.is_empty() {
            Ok(())
        } else {
            self.app.send(commit, deadline).await
        };
        if outcome.is_ok() && news.began {
            self.begun.insert(&news.story_id, news.execution);
        }
        Ok(outcome)
    }

    async fn story_completed(
        &self,
        said: &StoryCompleted,
        event: &Event,
        deadline: Deadline,
    ) -> Result<Result<(), CommitError>, HandleError> {
        let scene = self.scene(event, deadline);
        let key = rows::story(&said.story_id);
        let node = scene
            .store
            .get(std::slice::from_ref(&key), deadline)
            .await?
            .pop()
            .flatten();
        let story: Versioned<Story> = known(node, &key)?;
        not_ahead(&story, said.execution)?;
        if said.execution < story.value.execution {
            tracing::debug!(story = %said.story_id, execution = said.execution, "superseded execution completed");
            return Ok(Ok(()));
        }
        let mut commit = answer(&scene, event);
        if let Some(moved) = story.value.work_completed(said.execution, scene.now) {
            write_hops(&scene, &mut commit, story.version, moved, &[]);
        }
        Ok(self.app.send(commit, deadline).await)
    }
}

#[async_trait]
impl Handler for WorkflowEvents {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let mut lost = 0;
        loop {
            let outcome = match event.kind.as_str() {
                StateChanged::SUBJECT => match news(&event.parsed()?) {
                    Some(news) => self.task_moved(&news, event, deadline).await?,
                    None => Ok(()),
                },
                StoryCompleted::SUBJECT => {
                    self.story_completed(&event.parsed()?, event, deadline)
                        .await?
                }
                _ => return Err(HandleError::unknown(event)),
            };
            lost += 1;
            match outcome {
                Err(CommitError::Conflict { .. } | CommitError::AlreadyExists { .. })
                    if self.app.races.pause(lost, deadline).await => {}
                outcome => return applied(outcome.map(|()| fleet_graph::Receipt::default())),
            }
        }
    }
}

/// `None`: nothing that planning acts on.
fn news(said: &StateChanged) -> Option<News> {
    use Action::{ClaimReview, ClaimTask, ClaimTesting, ReviseCode};
    let began = said.to_state == "implementing"
        || matches!(
            said.action,
            ClaimTask | ClaimReview | ClaimTesting | ReviseCode
        );
    let status = match (said.from_state.as_str(), said.to_state.as_str()) {
        (_, "done") => Some(TaskStatus::Completed),
        (_, "cancelled") => Some(TaskStatus::Cancelled),
        ("done" | "cancelled", _) => Some(TaskStatus::Todo),
        // A run that begins anew takes back what an older execution left.
        ("", _) if said.execution > 1 => Some(TaskStatus::Todo),
        _ => None,
    };
    let (execution, seq) = (said.execution, said.seq);
    let step = status.map(|status| RunStep {
        execution,
        seq,
        status,
    });
    (began || step.is_some()).then(|| News {
        story_id: said.story_id.clone(),
        task: rows::task(&said.task_id),
        execution,
        began,
        step,
    })
}

fn known<T: serde::de::DeserializeOwned>(
    node: Option<Node>,
    key: &NodeKey,
) -> Result<Versioned<T>, HandleError> {
    let Some(node) = node else {
        return Err(HandleError::NotYetKnown {
            what: key.to_string(),
        });
    };
    node.versioned()
        .map_err(|e| HandleError::from(fleet_graph::ReadError::from(e)))
}

/// News of an execution that the story does not know yet come too early.
fn not_ahead(story: &Versioned<Story>, execution: i64) -> Result<(), HandleError> {
    if execution <= story.value.execution {
        return Ok(());
    }
    let what = format!("execution {execution} of story {}", story.value.story_id);
    Err(HandleError::NotYetKnown { what })
}

fn answer(scene: &Scene, event: &Event) -> Commit {
    let mut commit = Commit::new(scene.ids.uuid(), Owner::Planning, scene.now);
    commit.answers = Some(event.answered_by(CONSUMER));
    commit
}
