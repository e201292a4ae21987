//! The rows that this service writes. Counts of tokens (`tokens_<column>`) are of the column as
//! it is shown, after redaction; `tokens_by` says what counted, see
//! [`Policies::counted_by`](crate::domain::Policies::counted_by). What may be empty is not
//! written when it is: every property of a row is work for each context that it goes into.

use fleet_types::{DecisionId, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::Phase;
use crate::record::DecisionStatus;

/// The context of a story. The version of its node counts the changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryContextRow {
    /// The story.
    pub story_id: StoryId,
    /// The phase it is in.
    pub phase: Phase,
    /// How many steps from phase to phase it took.
    #[serde(default)]
    pub phase_seq: i64,
    /// Since when it is in that phase.
    pub phase_since: Timestamp,
    /// The phase that its last step left; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase_from: Option<Phase>,
    /// The version of the context that its last step made.
    #[serde(default)]
    pub phase_version: i64,
    /// When the story was created.
    pub created_at: Timestamp,
    /// When this last changed.
    pub updated_at: Timestamp,
    /// Of the last change.
    #[serde(default)]
    pub last_hash: String,
    /// How many decisions the story has, deleted ones included: who sees this row beside
    /// others than it counts sees the middle of a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decisions: Option<i64>,
    /// The sum of their versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_versions: Option<i64>,
}

/// A decision. Its relations are kept twice: as lists here and as relationships in the graph,
/// always written together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionRow {
    /// Its id.
    pub decision_id: DecisionId,
    /// Its story.
    pub story_id: StoryId,
    /// Its title; empty only when deleted.
    pub title: String,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
    /// How it stands.
    pub status: DecisionStatus,
    /// What kind of decision.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub decision_type: String,
    /// What else was considered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// The role that decided; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author_role: String,
    /// The agent that decided; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author_agent: String,
    /// The task in whose course it was made; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// Tasks it has a say in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affects: Vec<TaskId>,
    /// Decisions it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<DecisionId>,
    /// Decisions it takes the place of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<DecisionId>,
    /// Decisions it was weighed against.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternative_of: Vec<DecisionId>,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The role that changed it last; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed_by_role: String,
    /// Why it was changed; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub change_reason: String,
    /// When the change was made, as its maker says; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stated_at: String,
    /// The event that it came from; empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source_event: String,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Of the content: SHA-256, first 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub content_hash: String,
    /// Tokens of the rationale.
    #[serde(default)]
    pub tokens_rationale: u32,
    /// What counted them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokens_by: String,
    /// The version of the story's context that last changed it.
    #[serde(default)]
    pub changed_in: i64,
    /// What of all this is looked at before anything is chosen, see [`super::LightDecision`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub light: String,
}

impl DecisionRow {
    /// Leaves nothing but the trace that there was one.
    pub fn erase(&mut self, now: Timestamp) {
        self.title.clear();
        self.rationale.clear();
        self.alternatives.clear();
        self.affects.clear();
        self.depends_on.clear();
        self.supersedes.clear();
        self.alternative_of.clear();
        self.deleted_at = Some(now);
    }
}

/// Something that happened to a story.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its id within the story.
    pub event_id: String,
    /// The story.
    pub story_id: StoryId,
    /// What kind of thing, for example `plan_approved`.
    pub event_type: String,
    /// In words; empty only when deleted.
    pub description: String,
    /// Who did it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// In which role; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor_role: String,
    /// The task it happened to; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// When.
    pub at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Why it was changed; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub change_reason: String,
    /// When the change was made, as its maker says; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stated_at: String,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Tokens of the description.
    #[serde(default)]
    pub tokens_description: u32,
    /// What counted them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokens_by: String,
}

/// A step of a story from phase to phase; never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRow {
    /// `<story>/<seq>`.
    pub transition_id: String,
    /// The story.
    pub story_id: StoryId,
    /// 1, 2, … per story.
    pub seq: i64,
    /// Where it was.
    pub from_phase: Phase,
    /// Where it is.
    pub to_phase: Phase,
    /// Why; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub rationale: String,
    /// Who moved it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// Tokens of the rationale.
    #[serde(default)]
    pub tokens_rationale: u32,
    /// What counted them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokens_by: String,
}

/// A summary of a story so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SummaryRow {
    /// Its id within the story.
    pub summary_id: String,
    /// The story.
    pub story_id: StoryId,
    /// The summary; empty only when deleted.
    pub text: String,
    /// The role that wrote it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author_role: String,
    /// The agent that wrote it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author_agent: String,
    /// When it was written.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The role that changed it last; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub changed_by_role: String,
    /// Why it was changed; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub change_reason: String,
    /// When the change was made, as its maker says; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stated_at: String,
    /// When it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// Tokens of the text.
    #[serde(default)]
    pub tokens_text: u32,
    /// What counted them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tokens_by: String,
}
