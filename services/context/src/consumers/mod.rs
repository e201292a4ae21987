//! What others say and context writes down, and what others ask of it by event.
//!
//! The answered event's id goes into the commit of its effect, so the second time nothing
//! happens; and effects commute, so any order of a history ends in the same state. News of a
//! story that is not known yet are heard again later.

mod orchestrator;
mod planning;
mod requests;
mod work;
mod workflow;

use fleet_events::{Event, HandleError, Origin};
use fleet_graph::Deadline;
use fleet_service::Fault;
use fleet_types::{StoryId, Timestamp};
use sha2::{Digest as _, Sha256};

pub use orchestrator::OrchestratorEvents;
pub use planning::PlanningEvents;
pub use requests::Requests;
pub use work::AgentWork;
pub use workflow::WorkflowEvents;

use crate::app::{App, Ended, Heard, News, SOURCE};

/// Longest id within a story.
const MAX_ITEM_ID: usize = 100;

/// News of a story, under the id of their event.
fn heard(event: &Event, story_id: StoryId, at: Timestamp, news: Vec<News>) -> Heard {
    Heard {
        story_id,
        event: item_id(event.id.as_str()),
        at,
        news,
    }
}

/// The id of an event as one within a story; the same for the same event.
fn item_id(id: &str) -> String {
    if id.len() <= MAX_ITEM_ID {
        return id.to_owned();
    }
    let digest = Sha256::digest(id.as_bytes());
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("ev-{hex}")
}

/// Writes news down, as the answer of `consumer` to the event.
async fn write(
    app: &App,
    consumer: &str,
    heard: &Heard,
    event: &Event,
    deadline: Deadline,
) -> Result<(), HandleError> {
    let origin = Origin::caused_by(SOURCE, event);
    let written = app
        .run(heard, &origin, deadline, |_, (), commit| {
            // What has no effect now has none later either: it needs no record.
            if !commit.nodes.is_empty() {
                commit.answers = Some(event.answered_by(consumer));
            }
        })
        .await;
    match written {
        Ok(()) | Err(Ended::AlreadyApplied) => Ok(()),
        Err(Ended::Fault(fault)) => Err(failed(fault)),
    }
}

/// What a refusal means to an event.
fn failed(fault: Fault) -> HandleError {
    let reason = fault.to_string();
    match fault {
        Fault::NotFound { kind, id } => HandleError::NotYetKnown {
            what: format!("{kind} {id}"),
        },
        Fault::Unavailable { .. } | Fault::Deadline | Fault::Exhausted { .. } => {
            HandleError::Unavailable { reason }
        }
        Fault::Aborted { .. } => HandleError::Retry {
            reason,
            after: None,
        },
        Fault::Internal(source) => HandleError::Permanent {
            reason: source.to_string(),
        },
        _ => HandleError::Permanent { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_events_fit_and_stay_apart() {
        assert_eq!(item_id("ev-1"), "ev-1");
        let long = |last: char| format!("ev-{}{last}", "x".repeat(99));
        let (a, b) = (item_id(&long('a')), item_id(&long('b')));
        assert!(a.len() <= MAX_ITEM_ID && a.starts_with("ev-"));
        assert_ne!(a, b);
        assert_eq!(a, item_id(&long('a')));
    }
}
