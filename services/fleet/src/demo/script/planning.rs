//! The first half of the play: the story is planned and passes the product owner's gates.

use anyhow::Context;
use fleet_proto::planning::v2::{
    ApprovePlanRequest, CreateEpicRequest, CreateProjectRequest, CreateStoryRequest,
    CreateTaskRequest, GetReadinessRequest, TransitionStoryRequest,
};

use super::super::client::explain;
use super::super::document::TaskSpec;
use super::super::narrator::Voice;
use super::Play;

impl Play<'_> {
    /// Project, epic, story and tasks.
    pub(super) async fn plan(&self) -> anyhow::Result<(String, Vec<(String, TaskSpec)>)> {
        let document = self.document;
        let mut planning = self.fleet.planning.clone();
        self.narrator.step("Planning");
        let project = planning
            .create_project(CreateProjectRequest {
                name: document.project.clone(),
                owner: document.owner.clone(),
                ..CreateProjectRequest::default()
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner()
            .project
            .context("CreateProject answered without a project")?;
        self.say(
            Voice::Po,
            format!("project  {:?}  {}", project.name, project.project_id),
        );
        let epic = planning
            .create_epic(CreateEpicRequest {
                project_id: project.project_id,
                title: document.epic.clone(),
                ..CreateEpicRequest::default()
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner()
            .epic
            .context("CreateEpic answered without an epic")?;
        self.say(
            Voice::Po,
            format!("epic     {:?}  {}", epic.title, epic.epic_id),
        );
        let story = planning
            .create_story(CreateStoryRequest {
                epic_id: epic.epic_id,
                title: document.story.clone(),
                brief: document.brief.clone(),
                created_by: document.owner.clone(),
                acceptance_criteria: document.acceptance_criteria.clone(),
                constraints: document.constraints.clone(),
                size: document.size.clone(),
                repository: document.repository.clone(),
                base_branch: document.base_branch.clone(),
                ..CreateStoryRequest::default()
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner()
            .story
            .context("CreateStory answered without a story")?;
        self.say(
            Voice::Po,
            format!("story    {:?}  {}", story.title, story.story_id),
        );
        let mut tasks: Vec<(String, TaskSpec)> = Vec::with_capacity(document.tasks.len());
        for spec in &document.tasks {
            let id_of = |name: &String| {
                tasks
                    .iter()
                    .find(|(_, s)| s.name == *name)
                    .map(|(id, _)| id.clone())
            };
            let task = planning
                .create_task(CreateTaskRequest {
                    story_id: story.story_id.clone(),
                    title: spec.title.clone(),
                    description: spec.description.clone(),
                    r#type: spec.kind.clone(),
                    estimated_hours: spec.estimated_hours,
                    priority: spec.priority,
                    acceptance_criteria: spec.acceptance_criteria.clone(),
                    depends_on: spec.depends_on.iter().filter_map(id_of).collect(),
                    ..CreateTaskRequest::default()
                })
                .await
                .map_err(|s| explain(&s).context(format!("task {:?}", spec.name)))?
                .into_inner()
                .task
                .context("CreateTask answered without a task")?;
            let waits = match spec.depends_on.as_slice() {
                [] => String::new(),
                names => format!("  waits for {}", names.join(", ")),
            };
            self.say(
                Voice::Po,
                format!("task     {:?}  {}{waits}", task.title, task.task_id),
            );
            tasks.push((task.task_id, spec.clone()));
        }
        Ok((story.story_id, tasks))
    }

    /// The Definition of Ready explained, then the product owner's gates.
    pub(super) async fn gates(&self, story_id: &str) -> anyhow::Result<()> {
        self.narrator.step("The product owner's gates");
        let mut planning = self.fleet.planning.clone();
        let readiness = planning
            .get_readiness(GetReadinessRequest {
                story_id: story_id.to_owned(),
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner();
        self.say(
            Voice::Fleet,
            format!(
                "Definition of Ready: {} of 100, {} needed",
                readiness.score, readiness.threshold
            ),
        );
        for criterion in &readiness.criteria {
            let mark = if criterion.met { "✓" } else { "✗" };
            self.say(
                Voice::Fleet,
                format!(
                    "  {mark} {:>2}/{:<2} {}: {}",
                    criterion.points, criterion.weight, criterion.name, criterion.reason
                ),
            );
        }
        let override_reason = if readiness.ready {
            String::new()
        } else {
            "demo: shown with what the document has".to_owned()
        };
        self.transition(story_id, "PO_REVIEW", "").await?;
        self.transition(story_id, "READY_FOR_PLANNING", &override_reason)
            .await?;
        let plan = planning
            .approve_plan(ApprovePlanRequest {
                story_id: story_id.to_owned(),
                approved_by: self.document.owner.clone(),
                roles: ["developer", "architect", "qa"].map(str::to_owned).to_vec(),
                ..ApprovePlanRequest::default()
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner();
        self.say(
            Voice::Po,
            format!(
                "approves plan version {}  {}",
                plan.plan_version, plan.plan_id
            ),
        );
        self.transition(story_id, "PLANNED", "").await?;
        self.transition(story_id, "READY_FOR_EXECUTION", "").await
    }

    pub(super) async fn transition(
        &self,
        story_id: &str,
        to: &str,
        override_reason: &str,
    ) -> anyhow::Result<()> {
        self.fleet
            .planning
            .clone()
            .transition_story(TransitionStoryRequest {
                story_id: story_id.to_owned(),
                target_state: to.to_owned(),
                transitioned_by: self.document.owner.clone(),
                override_reason: override_reason.to_owned(),
                ..TransitionStoryRequest::default()
            })
            .await
            .map_err(|s| explain(&s).context(format!("story to {to}")))?;
        self.say(Voice::Po, format!("moves the story to {to}"));
        Ok(())
    }
}
