//! Projects and epics: what stories are grouped under.

use fleet_types::{EpicId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Lifecycle, Rejection};

/// The top of the hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its id.
    pub project_id: ProjectId,
    /// Its name, never blank.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Who answers for it; may be empty.
    pub owner: String,
    /// How it stands.
    pub status: Lifecycle,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Project {
    /// A new project; `name` is not blank (checked at the edge).
    pub fn create(
        project_id: ProjectId,
        name: String,
        description: String,
        owner: String,
        now: Timestamp,
    ) -> Self {
        let status = Lifecycle::Active;
        Self {
            project_id,
            name,
            description,
            owner,
            status,
            created_at: now,
            updated_at: now,
        }
    }

    /// Refuses if nothing new may go under it.
    pub fn admits_children(&self) -> Result<(), Rejection> {
        if self.status.is_final() {
            let project = self.project_id.clone();
            return Err(Rejection::ProjectClosed {
                project,
                status: self.status,
            });
        }
        Ok(())
    }
}

/// A group of stories under one project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Epic {
    /// Its id.
    pub epic_id: EpicId,
    /// Its project.
    pub project_id: ProjectId,
    /// Its title, never blank.
    pub title: String,
    /// Free text.
    pub description: String,
    /// How it stands.
    pub status: Lifecycle,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Epic {
    /// A new epic under `project`; `title` is not blank (checked at the edge).
    pub fn create(
        epic_id: EpicId,
        project: &Project,
        title: String,
        description: String,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        project.admits_children()?;
        Ok(Self {
            epic_id,
            project_id: project.project_id.clone(),
            title,
            description,
            status: Lifecycle::Active,
            created_at: now,
            updated_at: now,
        })
    }

    /// Refuses if nothing new may go under it.
    pub fn admits_children(&self) -> Result<(), Rejection> {
        if self.status.is_final() {
            let epic = self.epic_id.clone();
            return Err(Rejection::EpicClosed {
                epic,
                status: self.status,
            });
        }
        Ok(())
    }
}
