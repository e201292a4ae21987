//! New stories, their content, their moves and their plans.

use async_trait::async_trait;
use fleet_events::payload::{PlanApproved, StoryCreated, StoryTasksNotReady};
use fleet_graph::{EdgeType, EdgeWrite, Guard, Versioned, props};
use fleet_service::{Fault, Reason};
use fleet_types::{EpicId, PlanId, Role, StoryId};

use super::announce::{StoryWrite, check_size, write_hops};
use super::rows;
use super::scene::check_version;
use super::{Command, Decision, Scene};
use crate::domain::{
    Epic, Move, NewStory, PlanVersion, Rejection, Story, StoryEdit, StoryState, allowed, po_gate,
};

/// Makes a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateStory {
    /// Id of the caller's choice.
    pub story_id: Option<StoryId>,
    /// The epic; `None` = without one on purpose.
    pub epic_id: Option<EpicId>,
    /// Its content.
    pub content: NewStory,
}

#[async_trait]
impl Command for CreateStory {
    type Outcome = Versioned<Story>;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let parent = self.epic_id.as_ref().map(rows::epic);
        let chosen = self.story_id.as_ref().map(rows::story);
        let found = scene
            .get(parent.iter().chain(&chosen).cloned().collect())
            .await?;
        let epic = parent
            .as_ref()
            .map(|key| found.need::<Epic>(key))
            .transpose()?;
        if let Some(key) = &chosen
            && found.node(key).is_some()
        {
            let message = format!("story {} exists already", key.id());
            return Err(Fault::AlreadyExists {
                reason: Reason::AlreadyExists,
                message,
            });
        }
        let id = self
            .story_id
            .clone()
            .unwrap_or_else(|| StoryId::mint(scene.ids.uuid()));
        let epic_value = epic.as_ref().map(|epic| &epic.value);
        let (story, hop) = Story::create(id, epic_value, self.content.clone(), scene.now)?;
        let mut commit = scene.commit();
        let key = rows::story(&story.story_id);
        if let (Some(parent), Some(epic)) = (parent, epic) {
            commit.guard(Guard::Version(parent.clone(), epic.version));
            commit.relate(parent, EdgeType::Contains, key);
        }
        let payload = StoryCreated {
            story_id: story.story_id.clone(),
            epic_id: story.epic_id.clone(),
            title: story.title.clone(),
            created_by: story.created_by.clone(),
            timestamp: scene.now,
        };
        let mut write = StoryWrite::new(scene, story, 0);
        let event_id = write.say(&mut commit, &payload);
        write.record(&mut commit, hop, event_id);
        let story = write.write(&mut commit);
        Ok(Decision::Done(commit, story))
    }
}

/// Moves a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionStory {
    /// The story.
    pub story_id: StoryId,
    /// Where to, by whom, why.
    pub wish: Move,
    /// The version it is meant for.
    pub expected_version: Option<i64>,
    /// Whether the caller may act as product owner.
    pub po: bool,
}

#[async_trait]
impl Command for TransitionStory {
    type Outcome = Versioned<Story>;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let key = rows::story(&self.story_id);
        let story: Versioned<Story> = scene.get(vec![key.clone()]).await?.need(&key)?;
        check_version(&key, self.expected_version, story.version)?;
        let (from, to) = (story.value.state, self.wish.to);
        if po_gate(from, to) && !self.po {
            let message = format!(
                "only the role po moves story {} from {from} to {to}",
                key.id()
            );
            return Err(Fault::denied(Reason::RoleNotAllowed, message));
        }
        let release = to == StoryState::ReadyForExecution && allowed(from).contains(&to);
        let tasks = if release {
            scene.tasks_of(&self.story_id).await?
        } else {
            Vec::new()
        };
        let threshold = scene.dor_threshold;
        match story
            .value
            .transition(&self.wish, &tasks, threshold, scene.now)
        {
            Ok(moved) => {
                let mut commit = scene.commit();
                let story = write_hops(scene, &mut commit, story.version, moved, &tasks);
                check_size(&self.story_id, &commit.events)?;
                Ok(Decision::Done(commit, story))
            }
            Err(rejection @ (Rejection::NoTasks { .. } | Rejection::Cycle { .. })) => {
                Ok(not_ready(scene, &story, tasks.len(), rejection))
            }
            Err(rejection) => Err(rejection.into()),
        }
    }
}

/// Refuses a release and tells of it.
fn not_ready<O>(
    scene: &Scene,
    story: &Versioned<Story>,
    total_tasks: usize,
    rejection: Rejection,
) -> Decision<O> {
    let story_id = &story.value.story_id;
    let cycle = match &rejection {
        Rejection::Cycle { cycle, .. } => cycle.clone(),
        _ => Vec::new(),
    };
    let payload = StoryTasksNotReady {
        story_id: story_id.clone(),
        reason: rejection.to_string(),
        task_ids_without_priority: Vec::new(),
        total_tasks: total_tasks.try_into().unwrap_or(u64::MAX),
        cycle,
        timestamp: scene.now,
    };
    let mut commit = scene.commit();
    commit.guard(Guard::Version(rows::story(story_id), story.version));
    commit.event(scene.event(story_id.as_str(), story.value.said, &payload));
    let metadata = match Fault::from(rejection) {
        Fault::Precondition {
            message, metadata, ..
        } => (message, metadata),
        fault => return Decision::Refused(commit, fault),
    };
    let (message, metadata) = metadata;
    let fault = Fault::Precondition {
        reason: Reason::StoryNotReleasable,
        message,
        metadata,
    };
    Decision::Refused(commit, fault)
}

/// Changes the content of a story, or the epic it goes under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateStory {
    /// The story.
    pub story_id: StoryId,
    /// Its content.
    pub edit: StoryEdit,
    /// The epic it goes under from now on.
    pub epic_id: Option<EpicId>,
    /// Who wants it.
    pub updated_by: String,
    /// The version it is meant for.
    pub expected_version: Option<i64>,
}

#[async_trait]
impl Command for UpdateStory {
    /// The story, and whether anything changed.
    type Outcome = (Versioned<Story>, bool);

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let key = rows::story(&self.story_id);
        let parent = self.epic_id.as_ref().map(rows::epic);
        let keys = std::iter::once(&key).chain(&parent).cloned().collect();
        let found = scene.get(keys).await?;
        let story: Versioned<Story> = found.need(&key)?;
        let epic = parent
            .as_ref()
            .map(|key| found.need::<Epic>(key))
            .transpose()?;
        check_version(&key, self.expected_version, story.version)?;
        let epic_value = epic.as_ref().map(|epic| &epic.value);
        let (edited, changed) = story.value.edit(self.edit.clone(), epic_value, scene.now)?;
        let mut commit = scene.commit();
        if changed.is_empty() {
            return Ok(Decision::Done(commit, (story, false)));
        }
        if let (true, Some(parent), Some(epic)) = (changed.contains(&"epic_id"), parent, epic) {
            commit.guard(Guard::Version(parent.clone(), epic.version));
            if let Some(old) = &story.value.epic_id {
                let (from, kind, to) = (rows::epic(old), EdgeType::Contains, key.clone());
                commit.edges.push(EdgeWrite::Unrelate { from, kind, to });
            }
            commit.relate(parent, EdgeType::Contains, key);
        }
        let mut write = StoryWrite::new(scene, edited, story.version);
        write.say_updated(&mut commit, &changed, &self.updated_by);
        let story = write.write(&mut commit);
        Ok(Decision::Done(commit, (story, true)))
    }
}

/// Approves the next plan of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovePlan {
    /// The story.
    pub story_id: StoryId,
    /// Who approves.
    pub approved_by: String,
    /// A remark; may be empty.
    pub comment: String,
    /// The roles it needs, at least one.
    pub roles: Vec<Role>,
    /// Its title; the story's if not given.
    pub title: Option<String>,
    /// What it is; the story's brief if not given.
    pub description: Option<String>,
    /// The story's version it is meant for.
    pub expected_version: Option<i64>,
}

#[async_trait]
impl Command for ApprovePlan {
    type Outcome = PlanVersion;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let key = rows::story(&self.story_id);
        let story: Versioned<Story> = scene.get(vec![key.clone()]).await?.need(&key)?;
        check_version(&key, self.expected_version, story.version)?;
        let (after, number) = story.value.approve_plan(scene.now)?;
        let plan = PlanVersion {
            plan_id: PlanId::mint(scene.ids.uuid()),
            story_id: self.story_id.clone(),
            number,
            title: self.title.clone().unwrap_or_else(|| after.title.clone()),
            description: self
                .description
                .clone()
                .unwrap_or_else(|| after.brief.clone()),
            roles: self.roles.clone(),
            approved_by: self.approved_by.clone(),
            comment: self.comment.clone(),
            approved_at: scene.now,
        };
        let plan_key = rows::plan(&plan.plan_id);
        let mut commit = scene.commit();
        commit.create(plan_key.clone(), rows::ord_seq(number), props(&plan));
        commit.relate(key, EdgeType::HasPlan, plan_key);
        let payload = PlanApproved {
            plan_id: plan.plan_id.clone(),
            story_id: plan.story_id.clone(),
            roles: plan
                .roles
                .iter()
                .map(|role| role.as_str().to_owned())
                .collect(),
            approved_by: plan.approved_by.clone(),
            version: number,
            timestamp: scene.now,
        };
        let mut write = StoryWrite::new(scene, after, story.version);
        write.say(&mut commit, &payload);
        write.write(&mut commit);
        Ok(Decision::Done(commit, plan))
    }
}
