//! Where relations of decisions may lead: to tasks and decisions of the same story that are
//! there and were not deleted.

use fleet_graph::NodeKey;
use fleet_service::{Fault, Found, Reason};
use fleet_types::{DecisionId, StoryId, TaskId};

use crate::rows::{self, DecisionRow, TaskSeen};

/// The keys to read before [`check_task`] and [`check_decision`].
pub fn keys<'a>(
    tasks: impl IntoIterator<Item = &'a TaskId>,
    decisions: impl IntoIterator<Item = &'a DecisionId>,
) -> Vec<NodeKey> {
    let tasks = tasks.into_iter().map(rows::task);
    tasks
        .chain(decisions.into_iter().map(rows::decision))
        .collect()
}

/// The task is there and the story's; `field` names it in the request.
pub fn check_task(found: &Found, story: &StoryId, task: &TaskId, field: &str) -> Result<(), Fault> {
    let task_seen = found.need::<TaskSeen>(&rows::task(task))?.value;
    if task_seen.story_id == *story {
        return Ok(());
    }
    Err(foreign(&format!("{field}: task {task}"), task, story))
}

/// The decision is there, the story's, and not deleted.
pub fn check_decision(
    found: &Found,
    story: &StoryId,
    decision: &DecisionId,
    field: &str,
) -> Result<(), Fault> {
    let row = found.need::<DecisionRow>(&rows::decision(decision))?.value;
    if row.story_id != *story {
        return Err(foreign(
            &format!("{field}: decision {decision}"),
            decision,
            story,
        ));
    }
    if row.deleted_at.is_some() {
        return Err(deleted(&format!("{field}: decision {decision}"), decision));
    }
    Ok(())
}

/// It belongs to another story.
pub fn foreign(what: &str, id: impl std::fmt::Display, story: &StoryId) -> Fault {
    let message = format!("{what} belongs to another story than {story}");
    Fault::precondition(Reason::ParentMismatch, message).with("subject", id)
}

/// It was deleted.
pub fn deleted(what: &str, id: impl std::fmt::Display) -> Fault {
    let message = format!("{what} was deleted; what is deleted stays as it is");
    Fault::precondition(Reason::Deleted, message).with("subject", id)
}
