//! From the domain to messages.

use fleet_graph::CorruptRow;
use fleet_proto::workflow::v1 as pb;
use fleet_types::{Role, TaskId, Timestamp};

use crate::domain::{TaskRun, Work};
use crate::fsm::{Kind, Machine};
use crate::rows::{AuditRow, HopRow};

pub(crate) fn int32(n: impl TryInto<i32>) -> i32 {
    n.try_into().unwrap_or(i32::MAX)
}

pub(crate) fn millis(at: Option<Timestamp>) -> i64 {
    at.map_or(0, Timestamp::millis)
}

pub(crate) fn role(role: Option<Role>) -> String {
    role.map_or("", Role::as_str).to_owned()
}

pub(crate) fn required_action(machine: &Machine, run: &TaskRun) -> String {
    run.at(machine)
        .expects
        .map_or("", |action| action.as_str())
        .to_owned()
}

pub(crate) fn ids(tasks: &[TaskId]) -> Vec<String> {
    tasks.iter().map(ToString::to_string).collect()
}

fn holder(run: &TaskRun) -> String {
    run.claim
        .as_ref()
        .map_or_else(String::new, |claim| claim.agent.to_string())
}

/// When the limit of a wait ends; a lease is not one.
fn due_at_ms(machine: &Machine, run: &TaskRun) -> i64 {
    if run.at(machine).kind == Kind::Waiting {
        millis(run.due_at)
    } else {
        0
    }
}

pub(crate) fn lease_until_ms(run: &TaskRun) -> i64 {
    millis(run.claim.as_ref().map(|claim| claim.lease_until))
}

pub(super) fn state(
    machine: &Machine,
    run: &TaskRun,
    version: i64,
    history: Vec<pb::StateTransitionDto>,
) -> pb::GetWorkflowStateResponse {
    pb::GetWorkflowStateResponse {
        task_id: run.task.to_string(),
        current_state: machine.name_of(run.state).to_owned(),
        role_in_charge: role(run.role_in_charge(machine)),
        required_action: required_action(machine, run),
        history,
        feedback: run.feedback.clone().unwrap_or_default(),
        updated_at: run.updated_at.seconds(),
        retry_count: int32(run.retries),
        version,
        story_id: run.story.to_string(),
        holder_agent_id: holder(run),
        lease_until_ms: lease_until_ms(run),
        claim_epoch: run.claim_epoch,
        rejection_count: int32(run.rejections),
        is_terminal: run.is_over(machine),
        is_waiting_for_action: run.waiting_for(machine).is_some(),
        last_action: run.last_action.to_string(),
        last_actor_role: run.last_role.to_string(),
        execution: run.execution,
        blocked_by: ids(&run.blocked_by),
        due_at_ms: due_at_ms(machine, run),
    }
}

pub(crate) fn hop(row: &HopRow) -> Result<pb::StateTransitionDto, CorruptRow> {
    Ok(pb::StateTransitionDto {
        from_state: row.from_state.clone(),
        to_state: row.to_state.clone(),
        action: row.action.to_string(),
        actor_role: row.actor_role.to_string(),
        timestamp: row.at.seconds(),
        feedback: row.feedback.clone(),
        agent_id: row
            .agent_id
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        actor: row.actor.clone(),
        seq: row.seq,
        artifacts: row.artifacts()?,
        execution: row.execution,
    })
}

pub(super) fn pending(machine: &Machine, run: &TaskRun, version: i64) -> pb::PendingTask {
    pb::PendingTask {
        task_id: run.task.to_string(),
        story_id: run.story.to_string(),
        current_state: machine.name_of(run.state).to_owned(),
        required_action: required_action(machine, run),
        work: run.work.as_ref().map(work),
        waiting_since: run.waiting_since.seconds(),
        priority: run.priority,
        version,
        feedback: run.feedback.clone().unwrap_or_default(),
        rejection_count: int32(run.rejections),
        retry_count: int32(run.retries),
        execution: run.execution,
        due_at_ms: due_at_ms(machine, run),
    }
}

/// Artifacts that have a field of their own.
const NAMED: [&str; 3] = ["commit_sha", "branch", "files_changed"];

fn work(work: &Work) -> pb::WorkToValidate {
    let files = work
        .artifacts
        .get("files_changed")
        .map_or("", String::as_str);
    let others = work
        .artifacts
        .iter()
        .filter(|(name, _)| !NAMED.contains(&name.as_str()));
    pb::WorkToValidate {
        commit_sha: work.commit_sha.clone(),
        files_changed: files
            .split(',')
            .map(|file| file.trim().to_owned())
            .filter(|file| !file.is_empty())
            .collect(),
        implementation_summary: work.summary.clone(),
        context_preview: work.summary.chars().take(500).collect(),
        metadata: others
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect(),
        agent_id: work.agent.to_string(),
        actor: work.principal.clone(),
        seq: work.seq,
        artifacts: work.artifacts.clone(),
    }
}

pub(crate) fn view(machine: &Machine, run: &TaskRun, version: i64) -> pb::TaskView {
    pb::TaskView {
        task_id: run.task.to_string(),
        story_id: run.story.to_string(),
        current_state: machine.name_of(run.state).to_owned(),
        role_in_charge: role(run.role_in_charge(machine)),
        required_action: required_action(machine, run),
        holder_agent_id: holder(run),
        lease_until_ms: lease_until_ms(run),
        claim_epoch: run.claim_epoch,
        rejection_count: int32(run.rejections),
        retry_count: int32(run.retries),
        priority: run.priority,
        execution: run.execution,
        blocked_by: ids(&run.blocked_by),
        due_at_ms: due_at_ms(machine, run),
        updated_at_ms: run.updated_at.millis(),
        is_terminal: run.is_over(machine),
        feedback: run.feedback.clone().unwrap_or_default(),
        version,
    }
}

pub(super) fn audit_hop(row: &HopRow) -> Result<pb::AuditEntry, CorruptRow> {
    Ok(pb::AuditEntry {
        kind: row.kind.clone(),
        task_id: row.task_id.to_string(),
        story_id: row.story_id.to_string(),
        execution: row.execution,
        seq: row.seq,
        from_state: row.from_state.clone(),
        to_state: row.to_state.clone(),
        action: row.action.to_string(),
        actor_role: row.actor_role.to_string(),
        actor: row.actor.clone(),
        agent_id: row
            .agent_id
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        feedback: row.feedback.clone(),
        artifacts: row.artifacts()?,
        at_ms: row.at.millis(),
        event_id: row.event_id.to_string(),
        detail: String::new(),
        claim_epoch: row.claim_epoch,
    })
}

pub(super) fn audit_denial(row: &AuditRow) -> pb::AuditEntry {
    pb::AuditEntry {
        kind: row.kind.clone(),
        task_id: row.task_id.to_string(),
        story_id: row.story_id.to_string(),
        execution: row.execution,
        seq: 0,
        from_state: row.state.clone(),
        to_state: row.state.clone(),
        action: row.action.to_string(),
        actor_role: row.actor_role.to_string(),
        actor: row.actor.clone(),
        agent_id: row.agent_id.clone(),
        feedback: String::new(),
        artifacts: std::collections::BTreeMap::new(),
        at_ms: row.at.millis(),
        event_id: row.event_id.to_string(),
        detail: row.detail.clone(),
        claim_epoch: row.claim_epoch,
    }
}
