//! What agents say about their work: why it was done so is worth telling.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::WorkCompleted;
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::Deadline;

use super::{heard, write};
use crate::app::{App, Milestone, News};
use crate::rows::{self, TaskSeen};

const CONSUMER: &str = fleet_topology::consumers::CONTEXT_AGENT_WORK.name;
const COMPLETED: &str = "agent.work.completed";
/// How much of a reasoning is kept, in characters.
const REASONING_CHARS: usize = 4_000;

/// Handler of the consumer `context-agent-work`.
pub struct AgentWork(pub Arc<App>);

#[async_trait]
impl Handler for AgentWork {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        if event.kind != COMPLETED {
            return Err(HandleError::unknown(event));
        }
        let said: WorkCompleted = event.parsed()?;
        let Some(milestone) = milestone(&said) else {
            // That there was work is told by the workflow.
            self.0.metrics.passed_over("no_reasoning");
            return Ok(());
        };
        let key = rows::task(&said.task_id);
        let found = self
            .0
            .store
            .get(std::slice::from_ref(&key), deadline)
            .await?;
        let Some(task) = found.into_iter().next().flatten() else {
            return Err(HandleError::NotYetKnown {
                what: key.to_string(),
            });
        };
        let task: TaskSeen = task
            .versioned()
            .map_err(fleet_graph::ReadError::from)?
            .value;
        // The time that an agent names is no order; the bus's own may be missing.
        let at = if event.time.millis() > 0 {
            event.time
        } else {
            said.timestamp
        };
        let touched = News::Touched(format!("task:{}", said.task_id));
        let news = vec![touched, News::Happened(milestone)];
        let news = heard(event, task.story_id, at, news);
        write(&self.0, CONSUMER, &news, event, deadline).await
    }
}

/// `None`: nothing was said about it.
fn milestone(said: &WorkCompleted) -> Option<Milestone> {
    let outcome = said.result.as_ref()?;
    let reasoning: String = outcome
        .reasoning
        .trim()
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'))
        .take(REASONING_CHARS)
        .collect();
    if reasoning.is_empty() {
        return None;
    }
    let nested = outcome.artifacts.commit_sha.as_ref();
    let commit = said.commit_sha.as_ref().or(nested);
    let commit = commit.map(|sha| format!(" ({sha})")).unwrap_or_default();
    let agent = said.agent_id.as_ref();
    Some(Milestone {
        event_type: "work_completed",
        description: format!(
            "{} on task {}{commit}: {reasoning}",
            said.action, said.task_id
        ),
        actor: agent.map_or_else(|| said.actor_role.to_string(), ToString::to_string),
        actor_role: said.actor_role.to_string(),
        task_id: said.task_id.to_string(),
    })
}
