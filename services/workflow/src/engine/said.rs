//! What a change says to the world: domain steps and notices as events for the outbox.
//!
//! `aggregateversion` of an event about a task is the length of its history (`seq`), which
//! grows with every hop; that of a completed story is its execution.

use fleet_events::{Origin, payload};
use fleet_graph::OutboxEvent;
use fleet_types::{Ids, Timestamp};

use crate::domain::{Change, Hop, Notice, StoryRun, TaskRun};
use crate::fsm::Machine;

/// Turns changes into events.
pub(super) struct Said<'a> {
    pub machine: &'a Machine,
    pub ids: &'a dyn Ids,
    pub origin: &'a Origin,
}

impl Said<'_> {
    /// `workflow.state.changed` for one hop.
    pub fn hop(&self, run: &TaskRun, hop: &Hop) -> OutboxEvent {
        let changed = payload::StateChanged {
            task_id: run.task.clone(),
            story_id: run.story.clone(),
            execution: hop.execution,
            from_state: hop
                .from
                .map_or("", |from| self.machine.name_of(from))
                .to_owned(),
            to_state: self.machine.name_of(hop.to).to_owned(),
            action: hop.action,
            actor_role: hop.role,
            agent_id: hop.agent.clone(),
            role_in_charge: hop.next_role,
            required_action: hop.next_action,
            feedback: hop.feedback.clone(),
            retry_count: hop.retries,
            seq: hop.seq,
            timestamp: hop.at,
        };
        self.origin
            .event(self.ids, hop.at, run.task.as_str(), hop.seq, &changed)
    }

    /// Everything else that a change says.
    pub fn notices(&self, change: &Change) -> Vec<OutboxEvent> {
        change
            .notices
            .iter()
            .map(|notice| self.notice(&change.run, notice))
            .collect()
    }

    fn notice(&self, run: &TaskRun, notice: &Notice) -> OutboxEvent {
        let state = run.at(self.machine);
        let (task_id, story_id) = (run.task.clone(), run.story.clone());
        let (execution, timestamp) = (run.execution, run.updated_at);
        match notice {
            Notice::Assigned {
                role,
                action,
                previous,
            } => self.event(
                run,
                &payload::TaskAssigned {
                    task_id,
                    story_id,
                    execution,
                    role: *role,
                    action_required: *action,
                    current_state: state.name.clone(),
                    feedback: run.feedback.clone().filter(|_| state.rework),
                    commit_sha: run.work.as_ref().map(|work| work.commit_sha.clone()),
                    previous_agent_id: previous.clone(),
                    timestamp,
                },
            ),
            Notice::ValidationRequired { role, artifact } => self.event(
                run,
                &payload::ValidationRequired {
                    task_id,
                    story_id,
                    validator_role: *role,
                    artifact_type: artifact.clone(),
                    timestamp,
                },
            ),
            Notice::Completed(outcome) => self.event(
                run,
                &payload::TaskCompleted {
                    task_id,
                    story_id,
                    execution,
                    final_state: outcome.to_string(),
                    timestamp,
                },
            ),
            Notice::Escalated { reason, from } => self.event(
                run,
                &payload::TaskEscalated {
                    task_id,
                    story_id,
                    reason: reason.as_str().to_owned(),
                    from_state: self.machine.name_of(*from).to_owned(),
                    feedback: run.feedback.clone(),
                    timestamp,
                },
            ),
            Notice::ClaimExpired {
                claim,
                taken_over_by,
            } => self.event(
                run,
                &payload::ClaimExpired {
                    task_id,
                    story_id,
                    agent_id: claim.agent.clone(),
                    claim_epoch: claim.epoch,
                    lease_until: claim.lease_until,
                    taken_over_by: taken_over_by.clone(),
                    timestamp,
                },
            ),
        }
    }

    fn event<P: payload::Payload>(&self, run: &TaskRun, payload: &P) -> OutboxEvent {
        self.origin.event(
            self.ids,
            run.updated_at,
            run.task.as_str(),
            run.seq,
            payload,
        )
    }

    /// `workflow.story.completed`.
    pub fn story_completed(&self, story: &StoryRun, at: Timestamp) -> OutboxEvent {
        let completed = payload::StoryCompleted {
            story_id: story.story.clone(),
            execution: story.execution,
            tasks_done: story.done,
            tasks_cancelled: story.cancelled,
            timestamp: at,
        };
        self.origin.event(
            self.ids,
            at,
            story.story.as_str(),
            story.execution,
            &completed,
        )
    }
}
