//! `agent.work.completed`: an agent did an action on a task.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::{Event, HandleError, Handler, payload::WorkCompleted};
use fleet_graph::{CommitError, Deadline, Index, Scan};
use fleet_types::{AgentId, Role, text};

use super::{cause, failed};
use crate::domain::{Actor, Command, Handed, Rejection};
use crate::engine::{Ask, Attempt, Cause, ChangeError, Engine, Stored};
use crate::grpc::faults;
use crate::rows::HopRow;

/// The durable consumer.
pub(crate) const AGENT_WORK: &str = "workflow-agent-work";
/// How far back a report is looked for among the hops of its task.
const RECENT: usize = 200;

/// Applies what agents report, by the same rules as calls.
pub(crate) struct AgentWork(pub Arc<Engine>);

#[async_trait]
impl Handler for AgentWork {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let work: WorkCompleted = event.parsed()?;
        let handed = handed(&work).map_err(HandleError::permanent)?;
        if matches!(work.actor_role, Role::System | Role::Orchestrator) {
            return Err(HandleError::permanent(format!(
                "{} reports no work of its own",
                work.actor_role
            )));
        }
        let cause = cause(AGENT_WORK, event, deadline);
        let agent = match &work.agent_id {
            Some(agent) => agent.clone(),
            None => self.holder(&work, deadline).await?,
        };
        let actor = Actor::agent(work.actor_role, agent, &event.source);
        let command = Command::Act {
            actor,
            action: work.action,
            handed,
            epoch: work.claim_epoch,
        };
        let ask = Ask {
            task: &work.task_id,
            command: &command,
            expected_version: None,
            refusal: None,
            cause: &cause,
        };
        match self.0.change(&ask, &|_| None).await {
            Ok(_) => Ok(()),
            Err(ChangeError::Commit(CommitError::AlreadyApplied)) => Ok(()),
            Err(ChangeError::Unknown) => Err(HandleError::NotYetKnown {
                what: format!("task {}", work.task_id),
            }),
            Err(ChangeError::Rejected { rejection, stored }) => {
                self.refuse(&work, &command, rejection, &stored, &cause)
                    .await
            }
            Err(error) => Err(failed(error)),
        }
    }
}

impl AgentWork {
    /// Older producers name no agent: then it is whoever holds the task in that role.
    async fn holder(
        &self,
        work: &WorkCompleted,
        deadline: Deadline,
    ) -> Result<AgentId, HandleError> {
        let stored = self.0.load(&work.task_id, deadline).await?;
        let Some(stored) = stored else {
            return Err(HandleError::NotYetKnown {
                what: format!("task {}", work.task_id),
            });
        };
        match stored.run.claim {
            Some(claim) if claim.role == work.actor_role => Ok(claim.agent),
            _ => Err(HandleError::permanent(format!(
                "the report names no agent_id, and no {} holds task {}",
                work.actor_role, work.task_id
            ))),
        }
    }

    /// A report that came before under another event id is done; anything else is parked.
    async fn refuse(
        &self,
        work: &WorkCompleted,
        command: &Command,
        rejection: Rejection,
        stored: &Stored,
        cause: &Cause,
    ) -> Result<(), HandleError> {
        let Command::Act { actor, handed, .. } = command else {
            return Err(HandleError::permanent("no action"));
        };
        let known = self.is_known(work, actor, handed, cause.deadline).await?;
        if known {
            return Ok(());
        }
        let state = self.0.machine.name_of(stored.run.state);
        if faults::is_denial(&rejection) {
            let reason = faults::denial(&rejection);
            let attempt = Attempt {
                role: actor.role,
                action: work.action,
                agent: actor.agent.as_ref().map_or("", AgentId::as_str),
                principal: &actor.principal,
                reason: &reason,
            };
            match self.0.record_violation(stored, &attempt, cause).await {
                Ok(()) | Err(CommitError::AlreadyApplied) => {}
                Err(error) => return Err(error.into()),
            }
            return Err(HandleError::permanent(format!(
                "task {} is in {state}: {reason}",
                work.task_id
            )));
        }
        Err(HandleError::permanent(format!(
            "task {} is in {state}: {} by {} is refused: {rejection:?}",
            work.task_id, work.action, actor.role
        )))
    }

    /// Whether the history has this very report.
    async fn is_known(
        &self,
        work: &WorkCompleted,
        actor: &Actor,
        handed: &Handed,
        deadline: Deadline,
    ) -> Result<bool, HandleError> {
        let task = work.task_id.as_str();
        let mut scan = Scan::new(Index::TaskTransitionsByTask, vec![task.into()], RECENT);
        scan.descending = true;
        let page = self.0.committer.store().scan(&scan, deadline).await?;
        for node in &page.nodes {
            let row = HopRow::read(node).map_err(|e| HandleError::permanent(e.to_string()))?;
            let same_claim = match work.claim_epoch {
                Some(epoch) => row.claim_epoch == epoch,
                // Without an epoch only the work itself tells.
                None => {
                    handed.commit_sha().is_some()
                        && row.artifacts().ok().is_some_and(|a| a == handed.artifacts)
                }
            };
            if row.action == work.action && row.agent_id == actor.agent && same_claim {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Both spellings of what was made.
fn handed(work: &WorkCompleted) -> Result<Handed, String> {
    let outcome = work.result.clone().unwrap_or_default();
    let artifacts = outcome.artifacts;
    let branch = work.branch.clone().or(artifacts.branch);
    let commit_sha = work.commit_sha.clone().or(artifacts.commit_sha);
    let files = if work.files_changed.is_empty() {
        artifacts.files_changed
    } else {
        work.files_changed.clone()
    };
    let mut handed = Handed {
        feedback: checked("feedback", work.feedback.as_deref().unwrap_or_default())?,
        summary: checked("result.reasoning", &outcome.reasoning)?,
        success: work.result.as_ref().map(|result| result.success),
        operations: outcome.operations_count,
        ..Handed::default()
    };
    let files = files.join(",");
    let named = [
        ("branch", branch.as_deref()),
        ("commit_sha", commit_sha.as_deref()),
        ("files_changed", Some(&*files)),
    ];
    for (name, value) in named {
        let value = checked(name, value.unwrap_or_default())?;
        if !value.is_empty() {
            handed.artifacts.insert(name.to_owned(), value);
        }
    }
    Ok(handed)
}

fn checked(field: &str, value: &str) -> Result<String, String> {
    text(value)
        .map(ToOwned::to_owned)
        .map_err(|problem| format!("{field}: {problem}"))
}
