//! From messages to commands: everything that is wrong with a message is found at once.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_proto::workflow::v1 as pb;
use fleet_service::check_request_id;
use fleet_types::{Action, AgentId, Role, TaskId, Violations};

use super::faults::short_feedback;
use crate::domain::Handed;
use crate::fsm::{Guard, Machine};

/// Most entries of a map or list in a message.
const MAX_ENTRIES: usize = 1_000;
/// Longest name of an artifact, in bytes.
const MAX_ARTIFACT_NAME: usize = 128;

/// An action on a task.
pub(super) struct Act {
    pub task: TaskId,
    pub role: Role,
    pub agent: AgentId,
    pub action: Action,
    pub handed: Handed,
    pub epoch: Option<i64>,
    pub expected_version: Option<i64>,
}

/// A claim.
pub(super) struct Claim {
    pub task: TaskId,
    pub role: Role,
    pub agent: AgentId,
    pub lease: Option<Duration>,
    pub expected_version: Option<i64>,
}

/// A wish about a claim that is held.
pub(super) struct Hold {
    pub task: TaskId,
    pub role: Role,
    pub agent: AgentId,
    pub epoch: Option<i64>,
    pub lease: Option<Duration>,
    pub reason: String,
}

pub(super) fn act(
    machine: &Machine,
    message: &pb::RequestValidationRequest,
    request_id: &str,
) -> Result<Act, Violations> {
    let mut v = Violations::new();
    let task = v.parse("task_id", &message.task_id);
    let role = v.parse("role", &message.role);
    let action: Option<Action> = v.parse("action", &message.action);
    let handed = handed(&mut v, message.result.as_ref());
    if let Some(action) = action {
        input_guards(&mut v, machine, action, &handed);
    }
    let agent = v.parse("agent_id", &message.agent_id);
    check_request_id(&mut v, request_id);
    positive(&mut v, "expected_version", message.expected_version);
    positive(&mut v, "claim_epoch", message.claim_epoch);
    let (epoch, expected_version) = (message.claim_epoch, message.expected_version);
    match (task, role, action, agent, v.into_result()) {
        (Some(task), Some(role), Some(action), Some(agent), Ok(())) => Ok(Act {
            task,
            role,
            agent,
            action,
            handed,
            epoch,
            expected_version,
        }),
        (_, _, _, _, outcome) => Err(violations(outcome)),
    }
}

/// What the action wants handed in, wherever the task is: said together with everything else
/// that is wrong with the message.
fn input_guards(v: &mut Violations, machine: &Machine, action: Action, handed: &Handed) {
    let guards = machine.input_guards(action);
    if guards.contains(&Guard::CommitSha) && handed.commit_sha().is_none() {
        v.add(
            "result.artifacts",
            format!("{action} needs the artifact commit_sha"),
        );
    }
    let min = machine.limits().min_feedback_chars;
    if guards.contains(&Guard::Feedback) && handed.feedback.trim().chars().count() < min {
        v.add("result.feedback", short_feedback(min));
    }
}

fn handed(v: &mut Violations, result: Option<&pb::WorkResult>) -> Handed {
    let Some(result) = result else {
        return Handed::default();
    };
    if result.operations_count < 0 {
        v.add("result.operations_count", "is less than 0");
    }
    Handed {
        feedback: v.optional_text("result.feedback", &result.feedback),
        artifacts: artifacts(v, &result.artifacts),
        summary: v.optional_text("result.reasoning", &result.reasoning),
        success: Some(result.success),
        operations: i64::from(result.operations_count),
    }
}

fn artifacts(v: &mut Violations, given: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    if given.len() > MAX_ENTRIES {
        v.add(
            "result.artifacts",
            format!("has {} entries; at most {MAX_ENTRIES}", given.len()),
        );
        return BTreeMap::new();
    }
    let mut total = 0;
    let mut checked = BTreeMap::new();
    for (i, (name, value)) in given.iter().enumerate() {
        if name.is_empty() || name.len() > MAX_ARTIFACT_NAME || name.chars().any(char::is_control) {
            let problem = format!("name {i} is not 1 to {MAX_ARTIFACT_NAME} printable bytes");
            v.add("result.artifacts", problem);
            continue;
        }
        total += name.len() + value.len();
        let field = format!("result.artifacts[{name}]");
        checked.insert(name.clone(), v.optional_text(&field, value));
    }
    if total > fleet_types::MAX_TEXT_BYTES {
        let max = fleet_types::MAX_TEXT_BYTES;
        v.add(
            "result.artifacts",
            format!("has {total} bytes; at most {max}"),
        );
    }
    checked
}

pub(super) fn claim(message: &pb::ClaimTaskRequest, request_id: &str) -> Result<Claim, Violations> {
    let mut v = Violations::new();
    let task = v.parse("task_id", &message.task_id);
    let agent = v.parse("agent_id", &message.agent_id);
    let role = v.parse("role", &message.role);
    check_request_id(&mut v, request_id);
    positive(&mut v, "expected_version", message.expected_version);
    let lease = lease(&mut v, message.lease_seconds);
    let expected_version = message.expected_version;
    match (task, role, agent, v.into_result()) {
        (Some(task), Some(role), Some(agent), Ok(())) => Ok(Claim {
            task,
            role,
            agent,
            lease,
            expected_version,
        }),
        (_, _, _, outcome) => Err(violations(outcome)),
    }
}

pub(super) fn renew(message: &pb::RenewClaimRequest, request_id: &str) -> Result<Hold, Violations> {
    let mut v = Violations::new();
    let task = v.parse("task_id", &message.task_id);
    let agent = v.parse("agent_id", &message.agent_id);
    let role = v.parse("role", &message.role);
    positive(&mut v, "claim_epoch", message.claim_epoch);
    let lease = lease(&mut v, message.lease_seconds);
    check_request_id(&mut v, request_id);
    hold(
        v,
        task,
        role,
        agent,
        message.claim_epoch,
        lease,
        String::new(),
    )
}

pub(super) fn release(
    message: &pb::ReleaseClaimRequest,
    request_id: &str,
) -> Result<Hold, Violations> {
    let mut v = Violations::new();
    let task = v.parse("task_id", &message.task_id);
    let agent = v.parse("agent_id", &message.agent_id);
    let role = v.parse("role", &message.role);
    positive(&mut v, "claim_epoch", message.claim_epoch);
    let reason = v.optional_text("reason", &message.reason);
    check_request_id(&mut v, request_id);
    hold(v, task, role, agent, message.claim_epoch, None, reason)
}

fn hold(
    v: Violations,
    task: Option<TaskId>,
    role: Option<Role>,
    agent: Option<AgentId>,
    epoch: Option<i64>,
    lease: Option<Duration>,
    reason: String,
) -> Result<Hold, Violations> {
    match (task, role, agent, v.into_result()) {
        (Some(task), Some(role), Some(agent), Ok(())) => Ok(Hold {
            task,
            role,
            agent,
            epoch,
            lease,
            reason,
        }),
        (_, _, _, outcome) => Err(violations(outcome)),
    }
}

fn violations(outcome: Result<(), Violations>) -> Violations {
    outcome.expect_err("what does not parse left a violation")
}

fn positive(v: &mut Violations, field: &str, value: Option<i64>) {
    if value.is_some_and(|value| value < 1) {
        v.add(field, "is less than 1");
    }
}

fn lease(v: &mut Violations, seconds: Option<i32>) -> Option<Duration> {
    let seconds = seconds?;
    match u64::try_from(seconds) {
        Ok(seconds) if seconds > 0 => Some(Duration::from_secs(seconds)),
        _ => {
            v.add("lease_seconds", "is less than 1");
            None
        }
    }
}
