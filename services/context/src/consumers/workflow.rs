//! What became of tasks. There is one event for every hop; only ends, escalations and refusals
//! with words are worth a milestone, and everything else is acknowledged without a look at the
//! store.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::{Payload as _, StateChanged};
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::Deadline;
use fleet_types::Action;

use super::{heard, write};
use crate::app::{App, Milestone, News};

const CONSUMER: &str = fleet_topology::consumers::CONTEXT_WORKFLOW_EVENTS.name;

/// Handler of the consumer `context-workflow-events`.
pub struct WorkflowEvents(pub Arc<App>);

#[async_trait]
impl Handler for WorkflowEvents {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        if event.kind != StateChanged::SUBJECT {
            return Err(HandleError::unknown(event));
        }
        let said: StateChanged = event.parsed()?;
        let Some(milestone) = milestone(&said) else {
            self.0.metrics.passed_over("ordinary_hop");
            return Ok(());
        };
        let task = News::Touched(format!("task:{}", said.task_id));
        let news = vec![task, News::Happened(milestone)];
        let news = heard(event, said.story_id, said.timestamp, news);
        write(&self.0, CONSUMER, &news, event, deadline).await
    }
}

/// `None`: an ordinary hop.
fn milestone(said: &StateChanged) -> Option<Milestone> {
    let feedback = said.feedback.as_deref().unwrap_or_default().trim();
    let ended = said.to_state != said.from_state;
    let (event_type, words) = match said.to_state.as_str() {
        "done" if ended => ("task_done", format!("Task {} done", said.task_id)),
        "cancelled" if ended => ("task_cancelled", format!("Task {} cancelled", said.task_id)),
        _ if said.action == Action::Escalate => (
            "task_escalated",
            format!("Task {} escalated in {}", said.task_id, said.from_state),
        ),
        _ if said.action.is_rejection() && !feedback.is_empty() => (
            "work_rejected",
            format!(
                "Work on task {} rejected by {}",
                said.task_id, said.actor_role
            ),
        ),
        _ => return None,
    };
    let description = match feedback {
        "" => words,
        feedback => format!("{words}: {feedback}"),
    };
    let agent = said.agent_id.as_ref();
    Some(Milestone {
        event_type,
        description,
        actor: agent.map_or_else(|| said.actor_role.to_string(), ToString::to_string),
        actor_role: said.actor_role.to_string(),
        task_id: said.task_id.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleet_types::{Role, StoryId, TaskId, Timestamp};

    fn hop(from: &str, to: &str, action: Action, feedback: Option<&str>) -> StateChanged {
        StateChanged {
            task_id: TaskId::parse("T-1").unwrap(),
            story_id: StoryId::parse("s-1").unwrap(),
            execution: 1,
            from_state: from.into(),
            to_state: to.into(),
            action,
            actor_role: Role::Architect,
            agent_id: None,
            role_in_charge: None,
            required_action: None,
            feedback: feedback.map(str::to_owned),
            retry_count: 0,
            seq: 1,
            timestamp: Timestamp::from_millis(0),
        }
    }

    #[test]
    fn only_ends_escalations_and_refusals_with_words_are_told() {
        let kind = |hop: &StateChanged| milestone(hop).map(|m| m.event_type);
        let cases = [
            (
                hop("po_approved", "done", Action::AutoComplete, None),
                Some("task_done"),
            ),
            (
                hop("todo", "cancelled", Action::Cancel, None),
                Some("task_cancelled"),
            ),
            (
                hop("pending_qa", "escalated", Action::Escalate, None),
                Some("task_escalated"),
            ),
            (
                hop(
                    "arch_reviewing",
                    "arch_rejected",
                    Action::RejectDesign,
                    Some("no tests"),
                ),
                Some("work_rejected"),
            ),
            (
                hop(
                    "arch_reviewing",
                    "arch_rejected",
                    Action::RejectDesign,
                    Some(" "),
                ),
                None,
            ),
            (hop("todo", "implementing", Action::ClaimTask, None), None),
            (
                hop(
                    "implementing",
                    "dev_completed",
                    Action::CommitCode,
                    Some("x"),
                ),
                None,
            ),
            (hop("", "todo", Action::ReleaseTask, None), None),
        ];
        for (hop, expected) in cases {
            assert_eq!(kind(&hop), expected, "{hop:?}");
        }
        let told = milestone(&hop("a", "b", Action::RejectTests, Some("slow"))).unwrap();
        assert_eq!(
            told.description,
            "Work on task T-1 rejected by architect: slow"
        );
    }
}
