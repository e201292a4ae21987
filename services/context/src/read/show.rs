//! Pieces of answers that several calls share. Nothing here sees an item but through its view.

use fleet_proto::context::v1 as pb;
use serde_json::Value;

use crate::domain::View;

/// A value as a string: texts as they are, everything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn owned(texts: Vec<&str>) -> Vec<String> {
    texts.into_iter().map(ToOwned::to_owned).collect()
}

fn text(view: &View, column: &str) -> String {
    view.text(column).to_owned()
}

/// A decision; `affects` are the tasks that may be named.
pub(crate) fn decision(view: &View, story: &str, affects: Vec<String>) -> pb::Decision {
    let decided_by = match view.text("author_role") {
        "" => view.text("author_agent"),
        role => role,
    };
    pb::Decision {
        id: view.id().to_owned(),
        title: text(view, "title"),
        rationale: text(view, "rationale"),
        status: text(view, "status"),
        decided_by: decided_by.to_owned(),
        decided_at: text(view, "created_at"),
        alternatives: owned(view.texts("alternatives")),
        decision_type: text(view, "decision_type"),
        story_id: story.to_owned(),
        affects,
    }
}

/// A task; its state in the workflow, if it has one there, is its status.
pub(crate) fn subtask(view: &View, run: Option<&View>) -> pb::Subtask {
    let status = match run.map_or("", |run| run.text("state")) {
        "" => view.text("status"),
        state => state,
    };
    pb::Subtask {
        subtask_id: view.id().to_owned(),
        title: text(view, "title"),
        description: text(view, "description"),
        role: text(view, "role"),
        status: status.to_owned(),
        dependencies: owned(view.texts("depends_on")),
        priority: view
            .number("priority")
            .map_or(0, |n| i32::try_from(n).unwrap_or(i32::MAX)),
    }
}

/// A story.
pub(crate) fn header(view: &View, phase: &str) -> pb::CaseHeader {
    pb::CaseHeader {
        case_id: view.id().to_owned(),
        title: text(view, "title"),
        description: text(view, "brief"),
        status: text(view, "state"),
        created_at: text(view, "created_at"),
        created_by: text(view, "created_by"),
        phase: phase.to_owned(),
        acceptance_criteria: owned(view.texts("acceptance_criteria")),
        constraints: owned(view.texts("constraints")),
    }
}
