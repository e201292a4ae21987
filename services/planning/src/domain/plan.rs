//! Approved plans of a story.

use fleet_types::{PlanId, Role, StoryId, Timestamp};
use serde::{Deserialize, Serialize};

/// One approved version of a story's plan. Never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanVersion {
    /// Its id.
    pub plan_id: PlanId,
    /// The story.
    pub story_id: StoryId,
    /// 1, 2, … per story.
    pub number: i64,
    /// What it is called.
    pub title: String,
    /// What it is.
    pub description: String,
    /// The roles it needs, at least one.
    pub roles: Vec<Role>,
    /// Who approved it.
    pub approved_by: String,
    /// The remark given with the approval; may be empty.
    pub comment: String,
    /// When.
    pub approved_at: Timestamp,
}
