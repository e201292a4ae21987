//! What this service sees of rows that planning writes: read-only, and no more than it needs,
//! since their owners may change the rest.

use fleet_types::{StoryId, TaskId, Timestamp};
use serde::Deserialize;

use crate::record::DecisionStatus;

/// A story of planning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorySeen {
    /// Its id.
    pub story_id: StoryId,
    /// When it was created.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
}

/// A task of planning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskSeen {
    /// Its id.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
}

/// The product owner's verdict on a decision. There is at most one, and it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReviewSeen {
    /// `approved` or `rejected`.
    #[serde(default)]
    verdict: String,
}

impl ReviewSeen {
    /// The status that it gives the decision; `None` for a word that is not known here.
    pub fn status(&self) -> Option<DecisionStatus> {
        let status: DecisionStatus = self.verdict.parse().ok()?;
        status.is_verdict().then_some(status)
    }
}
