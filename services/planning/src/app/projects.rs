//! New projects and epics.

use async_trait::async_trait;
use fleet_events::payload::{EpicCreated, ProjectCreated};
use fleet_graph::{EdgeType, Guard, Versioned, props};
use fleet_service::Fault;
use fleet_types::{EpicId, ProjectId};

use super::rows;
use super::{Command, Decision, Scene};
use crate::domain::{Epic, Project};

/// Makes a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateProject {
    /// Name, not blank.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Who answers for it.
    pub owner: String,
}

#[async_trait]
impl Command for CreateProject {
    type Outcome = Versioned<Project>;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let id = ProjectId::mint(scene.ids.uuid());
        let (name, description) = (self.name.clone(), self.description.clone());
        let project = Project::create(id, name, description, self.owner.clone(), scene.now);
        let id = &project.project_id;
        let mut commit = scene.commit();
        commit.create(
            rows::project(id),
            rows::ord(project.created_at, id),
            props(&project),
        );
        let payload = ProjectCreated {
            project_id: id.clone(),
            name: project.name.clone(),
            owner: project.owner.clone(),
            status: project.status.as_str().to_owned(),
            timestamp: scene.now,
        };
        commit.event(scene.event(id.as_str(), 1, &payload));
        Ok(Decision::Done(commit, Versioned::first(project)))
    }
}

/// Makes an epic under a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateEpic {
    /// The project.
    pub project_id: ProjectId,
    /// Title, not blank.
    pub title: String,
    /// Free text.
    pub description: String,
}

#[async_trait]
impl Command for CreateEpic {
    type Outcome = Versioned<Epic>;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let parent = rows::project(&self.project_id);
        let project: Versioned<Project> = scene.get(vec![parent.clone()]).await?.need(&parent)?;
        let id = EpicId::mint(scene.ids.uuid());
        let (title, description) = (self.title.clone(), self.description.clone());
        let epic = Epic::create(id, &project.value, title, description, scene.now)?;
        let id = &epic.epic_id;
        let mut commit = scene.commit();
        commit.guard(Guard::Version(parent.clone(), project.version));
        commit.create(rows::epic(id), rows::ord(epic.created_at, id), props(&epic));
        commit.relate(parent, EdgeType::HasEpic, rows::epic(id));
        let payload = EpicCreated {
            epic_id: id.clone(),
            project_id: epic.project_id.clone(),
            title: epic.title.clone(),
            status: epic.status.as_str().to_owned(),
            timestamp: scene.now,
        };
        commit.event(scene.event(id.as_str(), 1, &payload));
        Ok(Decision::Done(commit, Versioned::first(epic)))
    }
}
