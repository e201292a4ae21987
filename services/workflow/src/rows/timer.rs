use fleet_graph::{CorruptRow, Label, Node, NodeKey, Props, props};
use fleet_types::{TaskId, Timestamp};
use serde::{Deserialize, Serialize};

/// When to look at a task again; at most one for each task. What is to be done then, the task
/// itself knows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimerRow {
    /// Only replicas of this deployment act on it.
    pub deployment: String,
    /// The task.
    pub task_id: TaskId,
    /// When.
    pub due_at: Timestamp,
}

impl TimerRow {
    /// The key of a task's timer.
    pub fn key_of(task: &TaskId) -> NodeKey {
        NodeKey::new(Label::Timer, task.as_str())
    }

    /// Its place in the listing of timers.
    pub fn ord(&self) -> String {
        format!("{}|{}", self.due_at.rfc3339(), self.task_id)
    }

    /// Everything in the listing before this is due at `now`.
    pub fn due_before(now: Timestamp) -> String {
        // `~` is greater than `|`, so what is due in this very millisecond is included.
        format!("{}~", now.rfc3339())
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
