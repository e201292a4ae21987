//! Where planning's nodes are and in which order they are listed. The entities of the domain
//! are the rows themselves; only a hop has a row of its own, because it is stored with the id
//! of the event that told of it.

use fleet_graph::{Label, NodeKey};
use fleet_types::{DecisionId, EpicId, EventId, PlanId, ProjectId, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::{Hop, StoryState};

/// Key of a project.
pub fn project(id: &ProjectId) -> NodeKey {
    NodeKey::new(Label::Project, id.as_str())
}

/// Key of an epic.
pub fn epic(id: &EpicId) -> NodeKey {
    NodeKey::new(Label::Epic, id.as_str())
}

/// Key of a story.
pub fn story(id: &StoryId) -> NodeKey {
    NodeKey::new(Label::Story, id.as_str())
}

/// Key of a task.
pub fn task(id: &TaskId) -> NodeKey {
    NodeKey::new(Label::Task, id.as_str())
}

/// Key of an approved plan.
pub fn plan(id: &PlanId) -> NodeKey {
    NodeKey::new(Label::PlanVersion, id.as_str())
}

/// Key of a decision; the node is another service's.
pub fn decision(id: &DecisionId) -> NodeKey {
    NodeKey::new(Label::Decision, id.as_str())
}

/// Key of the verdict on a decision of a story.
pub fn review(story: &StoryId, decision: &DecisionId) -> NodeKey {
    NodeKey::new(Label::DecisionReview, format!("{story}/{decision}"))
}

/// Key of one entry of a story's history.
pub fn transition(story: &StoryId, seq: i64) -> NodeKey {
    NodeKey::new(Label::StoryTransition, format!("{story}/{seq}"))
}

/// The place of an entity in listings: by creation time, then id.
pub fn ord(created_at: Timestamp, id: impl std::fmt::Display) -> String {
    format!("{created_at}|{id}")
}

/// The place of a numbered thing in listings.
pub fn ord_seq(seq: i64) -> String {
    format!("{seq:012}")
}

/// A stored entry of a story's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionRow {
    /// The story.
    pub story_id: StoryId,
    /// 1, 2, … per story.
    pub seq: i64,
    /// Where the story was; absent for its creation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_state: Option<StoryState>,
    /// Where it is.
    pub to_state: StoryState,
    /// Who moved it.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
    /// Why the Definition of Ready was set aside; may be empty.
    pub override_reason: String,
    /// The execution that is current after it.
    pub execution: i64,
    /// When.
    pub at: Timestamp,
    /// The event that told of it.
    pub event_id: EventId,
}

impl TransitionRow {
    /// The row of a hop.
    pub fn new(story_id: StoryId, hop: Hop, event_id: EventId) -> Self {
        Self {
            story_id,
            seq: hop.seq,
            from_state: hop.from,
            to_state: hop.to,
            actor: hop.actor,
            reason: hop.reason,
            override_reason: hop.override_reason,
            execution: hop.execution,
            at: hop.at,
            event_id,
        }
    }
}
