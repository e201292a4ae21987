//! What this service sees of rows that planning and workflow write: read-only, and lenient,
//! since their owners may add to them. Only ids are required.

use fleet_types::{DecisionId, PlanId, StoryId, TaskId, Timestamp};
use serde::Deserialize;

/// A story of planning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct StorySeen {
    /// Its id.
    pub story_id: StoryId,
    /// Its epic, if it has one.
    #[serde(default)]
    pub epic_id: Option<String>,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Who wants what, and why.
    #[serde(default)]
    pub brief: String,
    /// Where it is.
    #[serde(default)]
    pub state: String,
    /// How one sees that it is done.
    #[serde(default)]
    pub acceptance_criteria: Vec<String>,
    /// What the solution has to respect.
    #[serde(default)]
    pub constraints: Vec<String>,
    /// Who created it.
    #[serde(default)]
    pub created_by: String,
    /// When.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// Which release to execution is the current one; 0 before the first.
    #[serde(default)]
    pub execution: i64,
}

/// A task of planning.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TaskSeen {
    /// Its id.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
    /// Its title.
    #[serde(default)]
    pub title: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// How it stands.
    #[serde(default)]
    pub status: String,
    /// Who does it.
    #[serde(default)]
    pub role: String,
    /// 1 = most urgent.
    #[serde(default)]
    pub priority: i32,
    /// How one sees that it is done.
    #[serde(default)]
    pub acceptance_criteria: Vec<String>,
    /// What must be done first.
    #[serde(default)]
    pub depends_on: Vec<String>,
}

/// An approved plan.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PlanSeen {
    /// Its id.
    pub plan_id: PlanId,
    /// Its story.
    pub story_id: StoryId,
    /// 1, 2, … per story.
    #[serde(default)]
    pub number: i64,
    /// What it is called.
    #[serde(default)]
    pub title: String,
    /// What was said when it was approved.
    #[serde(default)]
    pub comment: String,
}

/// How the work on a task goes, by workflow.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunSeen {
    /// The task.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
    /// Which execution of the story.
    #[serde(default)]
    pub execution: i64,
    /// Where it is.
    #[serde(default)]
    pub state: String,
    /// What a reviewer said last.
    #[serde(default)]
    pub feedback: Option<String>,
    /// The commit that was handed in; may be empty.
    #[serde(default)]
    pub work_commit_sha: String,
    /// What was said about it; may be empty.
    #[serde(default)]
    pub work_summary: String,
}

/// The product owner's verdict on a decision.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ReviewSeen {
    /// The decision.
    pub decision_id: DecisionId,
    /// Its story.
    pub story_id: StoryId,
    /// `approved` or `rejected`.
    #[serde(default)]
    pub verdict: String,
}
