//! Payloads that are only heard: others say them, in more than one spelling.

use fleet_types::{Action, AgentId, Role, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// An agent reports work. Consumed, never said by planning or workflow. Two spellings are in
/// use among producers; both are accepted.
///
/// Subject `agent.work.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkCompleted {
    /// The task.
    pub task_id: TaskId,
    /// What was done.
    #[serde(alias = "action_performed")]
    pub action: Action,
    /// In which role.
    #[serde(alias = "role")]
    pub actor_role: Role,
    /// By which agent.
    #[serde(default)]
    pub agent_id: Option<AgentId>,
    /// The epoch of the claim under which it was done; the fencing token.
    #[serde(default)]
    pub claim_epoch: Option<i64>,
    /// A reviewer's words.
    #[serde(default)]
    pub feedback: Option<String>,
    /// The branch, if flat.
    #[serde(default)]
    pub branch: Option<String>,
    /// The commit, if flat.
    #[serde(default)]
    pub commit_sha: Option<String>,
    /// Files changed, if flat.
    #[serde(default)]
    pub files_changed: Vec<String>,
    /// The nested spelling of the outcome.
    #[serde(default)]
    pub result: Option<WorkOutcome>,
    /// When the agent says it was done; kept, never used for order.
    pub timestamp: Timestamp,
}

/// The nested outcome of [`WorkCompleted`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkOutcome {
    /// Whether the agent succeeded.
    #[serde(default)]
    pub success: bool,
    /// How many operations it took.
    #[serde(default)]
    pub operations_count: i64,
    /// What was made.
    #[serde(default)]
    pub artifacts: WorkArtifacts,
    /// Why it was done so.
    #[serde(default)]
    pub reasoning: String,
}

/// What an agent made.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkArtifacts {
    /// The branch.
    #[serde(default)]
    pub branch: Option<String>,
    /// The commit.
    #[serde(default)]
    pub commit_sha: Option<String>,
    /// Files changed.
    #[serde(default)]
    pub files_changed: Vec<String>,
}

/// A council finished. What it decided is written down by the context service.
///
/// Subject `orchestration.deliberation.completed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DeliberationCompleted {
    /// The story.
    pub story_id: StoryId,
    /// The task that was deliberated about.
    pub task_id: TaskId,
    /// What was decided.
    #[serde(default)]
    pub decisions: Vec<DecidedThere>,
}

/// One decision of [`DeliberationCompleted`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DecidedThere {
    /// Its id; without one: `DEC-<task>-<index>`.
    #[serde(default)]
    pub id: Option<String>,
    /// What kind of decision; TECHNICAL without one.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// Its title; the first line of the rationale without one.
    #[serde(default)]
    pub title: Option<String>,
    /// Why.
    #[serde(default)]
    pub rationale: Option<String>,
    /// What else was considered.
    #[serde(default)]
    pub alternatives: Vec<String>,
    /// The role that decided.
    #[serde(default)]
    pub role: Option<Role>,
    /// The agent that decided.
    #[serde(default)]
    pub agent_id: Option<AgentId>,
    /// The task it has a say in.
    #[serde(default)]
    pub affected_subtask: Option<TaskId>,
}

/// A task was given to an agent.
///
/// Subject `orchestration.task.dispatched`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TaskDispatched {
    /// The story.
    pub story_id: StoryId,
    /// The task.
    pub task_id: TaskId,
    /// The agent.
    pub agent_id: AgentId,
    /// Its role.
    pub role: Role,
}

/// Somebody wants the context of a story changed.
///
/// Subject `context.update.request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UpdateRequest {
    /// The story.
    pub story_id: String,
    /// The task in whose course the changes were made.
    #[serde(default)]
    pub task_id: String,
    /// Who makes them.
    #[serde(default)]
    pub role: String,
    /// The changes.
    pub changes: Vec<UpdateChange>,
    /// When they were made, if that is known.
    #[serde(default)]
    pub timestamp: Option<String>,
    /// The version that the story's context must have.
    #[serde(default)]
    pub expected_version: Option<i64>,
}

/// One change of [`UpdateRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct UpdateChange {
    /// CREATE, UPDATE, DELETE or UPSERT.
    pub operation: String,
    /// DECISION, MILESTONE or SUMMARY.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
    /// What it is to be: a JSON object, or such an object as text.
    #[serde(default)]
    pub payload: serde_json::Value,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Somebody wants the packs of a story put together and kept.
///
/// Subject `context.rehydrate.request`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RehydrateRequest {
    /// The story.
    pub case_id: String,
    /// For whom.
    pub roles: Vec<String>,
    /// Whether the packs hold milestones.
    #[serde(default)]
    pub include_timeline: bool,
    /// Whether the packs hold the last summary.
    #[serde(default)]
    pub include_summaries: bool,
}
