//! What is stored, one flat struct for each label, and how it maps to the domain.
//!
//! | label | id | place in listings (`ord`) |
//! |---|---|---|
//! | `TaskRun` | task | rejections falling, priority, waiting since, task: the order in which a role should take tasks up; it moves with every change |
//! | `TaskTransition` | `<task>/<seq:08>` | time, task, sequence number: the audit trail |
//! | `StoryRun` | `<story>/<execution>` | first heard of, story, execution |
//! | `Timer` | task | due time, task |
//! | `AuditEntry` | `<task>/<event>` | time, task, 0, event: fits between the hops |

mod audit;
mod hop;
mod story_run;
mod task_run;
mod timer;

pub use audit::{ACCESS_DENIED, AuditRow};
pub use hop::{CLAIM_EXPIRED, CLAIM_RELEASED, HopRow, TRANSITION};
pub use story_run::StoryRunRow;
pub use task_run::TaskRunRow;
pub use timer::TimerRow;

use fleet_graph::{CorruptRow, Label, NodeKey};
use fleet_types::TaskId;

use crate::fsm::{Machine, StateId};

/// The key of a task's run.
pub fn run_key(task: &TaskId) -> NodeKey {
    NodeKey::new(Label::TaskRun, task.as_str())
}

/// The state of that name, or what is wrong with the row.
fn state(machine: &Machine, key: &NodeKey, name: &str) -> Result<StateId, CorruptRow> {
    machine.find(name).ok_or_else(|| CorruptRow {
        key: key.clone(),
        problem: format!(
            "state {name:?} is not one of the machine {:?}",
            machine.name()
        ),
    })
}

fn maybe_state(
    machine: &Machine,
    key: &NodeKey,
    name: Option<&str>,
) -> Result<Option<StateId>, CorruptRow> {
    name.map(|name| state(machine, key, name)).transpose()
}

fn json<T: serde::de::DeserializeOwned + Default>(
    key: &NodeKey,
    field: &str,
    text: &str,
) -> Result<T, CorruptRow> {
    if text.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(text).map_err(|e| CorruptRow {
        key: key.clone(),
        problem: format!("{field}: {e}"),
    })
}

fn to_json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("maps of strings serialize")
}
