//! Outcomes of changes as proto.

use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;

use crate::app::{Added, Moved, Opened, Updated};

/// UpdateContext.
pub fn updated(outcome: &Updated) -> pb::UpdateContextResponse {
    pb::UpdateContextResponse {
        version: i32::try_from(outcome.version).unwrap_or(i32::MAX),
        hash: outcome.hash.clone(),
        warnings: outcome.warnings.clone(),
    }
}

/// AddProjectDecision.
pub fn added(outcome: &Added) -> pb::AddProjectDecisionResponse {
    pb::AddProjectDecisionResponse {
        decision_id: outcome.decision_id.to_string(),
        version: outcome.version,
    }
}

/// TransitionPhase.
pub fn moved(outcome: &Moved) -> pb::TransitionPhaseResponse {
    pb::TransitionPhaseResponse {
        story_id: outcome.story_id.to_string(),
        current_phase: outcome.phase.as_str().to_owned(),
        transitioned_at: outcome.at.rfc3339(),
        version: outcome.version,
    }
}

/// CreateStory.
pub fn opened(outcome: &Opened) -> pb::CreateStoryResponse {
    pb::CreateStoryResponse {
        context_id: format!("ctx-{}", outcome.story_id),
        story_id: outcome.story_id.to_string(),
        current_phase: outcome.phase.as_str().to_owned(),
    }
}

/// CreateTask.
pub fn task_created(task: planning::Task) -> pb::CreateTaskResponse {
    pb::CreateTaskResponse {
        task_id: task.task_id,
        story_id: task.story_id,
        status: task.status,
    }
}
