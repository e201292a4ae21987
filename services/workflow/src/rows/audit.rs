use fleet_graph::{CorruptRow, Label, Node, NodeKey, Props, props};
use fleet_types::{Action, EventId, Role, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// Kind of an attempt that was refused because of who made it.
pub const ACCESS_DENIED: &str = "rbac_violation";

/// An attempt that was refused, as it is stored. Never changed, never removed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// [`ACCESS_DENIED`].
    pub kind: String,
    /// The task.
    pub task_id: TaskId,
    /// Its story.
    pub story_id: StoryId,
    /// Which execution.
    pub execution: i64,
    /// The state the task was in, and stayed in.
    pub state: String,
    /// What was tried.
    pub action: Action,
    /// In which role.
    pub actor_role: Role,
    /// The authenticated caller.
    pub actor: String,
    /// The agent, as it named itself.
    pub agent_id: String,
    /// Why it was refused.
    pub detail: String,
    /// When.
    pub at: Timestamp,
    /// The claim that was current.
    pub claim_epoch: i64,
    /// The event that told of it.
    pub event_id: EventId,
}

impl AuditRow {
    /// Its key.
    pub fn key(&self) -> NodeKey {
        NodeKey::new(
            Label::AuditEntry,
            format!("{}/{}", self.task_id, self.event_id),
        )
    }

    /// Its place in listings.
    pub fn ord(&self) -> String {
        format!(
            "{}|{}|{:08}|{}",
            self.at.rfc3339(),
            self.task_id,
            0,
            self.event_id
        )
    }

    /// Its properties.
    pub fn props(&self) -> Props {
        props(self)
    }

    /// Reads a stored node.
    ///
    /// # Errors
    /// If the row is not one of ours.
    pub fn read(node: &Node) -> Result<Self, CorruptRow> {
        node.row()
    }
}
