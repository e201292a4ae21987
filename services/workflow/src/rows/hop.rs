use std::collections::BTreeMap;

use fleet_graph::{CorruptRow, Label, Node, NodeKey, Props, props};
use fleet_types::{Action, AgentId, EventId, Role, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{json, to_json};
use crate::domain::{Hop, TaskRun};
use crate::fsm::Machine;

/// Kind of an ordinary step.
pub const TRANSITION: &str = "transition";
/// Kind of a step by which a holder gave his claim back.
pub const CLAIM_RELEASED: &str = "claim_released";
/// Kind of a step that a lapsed lease caused.
pub const CLAIM_EXPIRED: &str = "claim_expired";

/// One step of a task, as it is stored. Never changed, never removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HopRow {
    /// [`TRANSITION`], [`CLAIM_RELEASED`] or [`CLAIM_EXPIRED`].
    pub kind: String,
    /// The task.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
    /// Which execution.
    pub execution: i64,
    /// 1, 2, … without gaps.
    pub seq: i64,
    /// State before; empty when the task began.
    pub from_state: String,
    /// State after.
    pub to_state: String,
    /// What was done.
    pub action: Action,
    /// In which role.
    pub actor_role: Role,
    /// The authenticated caller; empty = the fleet.
    #[serde(default)]
    pub actor: String,
    /// The agent, if one acted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// What was said with it.
    #[serde(default)]
    pub feedback: String,
    /// What was handed in.
    #[serde(default)]
    pub artifacts_json: String,
    /// What the actor said about it.
    #[serde(default)]
    pub summary: String,
    /// Whether the actor thought that it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// How many operations it took.
    #[serde(default)]
    pub operations: i64,
    /// When.
    pub at: Timestamp,
    /// The claim that was current.
    pub claim_epoch: i64,
    /// The event that told of it.
    pub event_id: EventId,
}

impl HopRow {
    /// As it is stored.
    pub fn new(machine: &Machine, run: &TaskRun, hop: &Hop, event_id: EventId) -> Self {
        let kind = match hop.action {
            Action::ReleaseClaim => CLAIM_RELEASED,
            Action::ExpireClaim => CLAIM_EXPIRED,
            _ => TRANSITION,
        };
        let artifacts_json = if hop.artifacts.is_empty() {
            String::new()
        } else {
            to_json(&hop.artifacts)
        };
        Self {
            kind: kind.to_owned(),
            task_id: run.task.clone(),
            story_id: run.story.clone(),
            execution: hop.execution,
            seq: hop.seq,
            from_state: hop.from.map_or("", |from| machine.name_of(from)).to_owned(),
            to_state: machine.name_of(hop.to).to_owned(),
            action: hop.action,
            actor_role: hop.role,
            actor: hop.principal.clone(),
            agent_id: hop.agent.clone(),
            feedback: hop.feedback.clone().unwrap_or_default(),
            artifacts_json,
            summary: hop.summary.clone(),
            success: hop.success,
            operations: hop.operations,
            at: hop.at,
            claim_epoch: hop.claim_epoch,
            event_id,
        }
    }

    /// Its key.
    pub fn key(&self) -> NodeKey {
        NodeKey::new(
            Label::TaskTransition,
            format!("{}/{:08}", self.task_id, self.seq),
        )
    }

    /// Its place in listings. A task's times never fall, so this is also the order of `seq`.
    pub fn ord(&self) -> String {
        format!("{}|{}|{:08}", self.at.rfc3339(), self.task_id, self.seq)
    }

    /// Its properties.
    pub fn props(&self) -> Props {
        props(self)
    }

    /// What was handed in.
    ///
    /// # Errors
    /// If the stored text is not the JSON that we write.
    pub fn artifacts(&self) -> Result<BTreeMap<String, String>, CorruptRow> {
        json(&self.key(), "artifacts_json", &self.artifacts_json)
    }

    /// Reads a stored node.
    ///
    /// # Errors
    /// If the row is not one of ours.
    pub fn read(node: &Node) -> Result<Self, CorruptRow> {
        node.row()
    }
}
