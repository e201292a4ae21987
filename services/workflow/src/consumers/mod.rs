//! What happens elsewhere and moves tasks here.
//!
//! Handlers are state-based: any permutation of a history, with duplicates, ends in the same
//! state. The event's id goes into the commit of its effect; an effect in several commits is
//! repeatable, and only the last of them carries the id.

mod planning;
mod work;

pub(crate) use planning::{PlanningEvents, STORY_TRANSITIONS};
pub(crate) use work::{AGENT_WORK, AgentWork};

use fleet_events::{Event, HandleError, Origin};
use fleet_graph::Deadline;

use crate::engine::{Cause, ChangeError, SOURCE};

/// The cause of everything that handling `event` does.
fn cause(consumer: &str, event: &Event, deadline: Deadline) -> Cause {
    Cause {
        origin: Origin::caused_by(SOURCE, event),
        deadline,
        answers: Some(event.answered_by(consumer)),
    }
}

/// Failures of a change that are about neither role, state nor holder.
fn failed(error: ChangeError) -> HandleError {
    match error {
        ChangeError::Unknown => HandleError::NotYetKnown {
            what: "the task".to_owned(),
        },
        ChangeError::Read(error) => error.into(),
        ChangeError::Commit(error) => error.into(),
        contended @ ChangeError::Contended => HandleError::Retry {
            reason: contended.to_string(),
            after: None,
        },
        other => HandleError::permanent(other.to_string()),
    }
}
