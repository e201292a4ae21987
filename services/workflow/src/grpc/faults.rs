//! Why a call is refused, in the words of the API.

use fleet_service::{Fault, Reason};
use fleet_types::{Action, Role};

use crate::domain::{Rejection, TaskRun};
use crate::engine::{ChangeError, Stored};
use crate::fsm::{Kind, Machine};

/// The fault of a rejection. `attempt` is what was tried; `None` = to claim.
pub(super) fn rejection(
    machine: &Machine,
    run: &TaskRun,
    attempt: Option<Action>,
    rejection: &Rejection,
) -> Fault {
    let task = &run.task;
    let state = machine.name_of(run.state);
    match rejection {
        Rejection::Role { .. } => Fault::denied(Reason::RoleNotAllowed, denial(rejection)),
        Rejection::OwnWork { .. } => Fault::denied(Reason::SeparationOfDuties, denial(rejection)),
        Rejection::State { action, allowed } => {
            wrong_state(machine, run, attempt, *action, allowed)
        }
        Rejection::NotHeld => {
            let message = format!("task {task} is in {state}: nobody holds it");
            Fault::precondition(Reason::TaskState, message)
                .with("subject", task)
                .with("current_state", state)
        }
        Rejection::Blocked { by } => {
            let by = by
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let message = format!("task {task} is in {state} and waits for {by}");
            Fault::precondition(Reason::TaskBlocked, message)
                .with("subject", task)
                .with("current_state", state)
                .with("blocked_by", by)
        }
        Rejection::HeldByOther {
            agent,
            lease_until,
            epoch,
        } => {
            let message =
                format!("task {task} is held by {agent}, whose lease runs until {lease_until}");
            Fault::aborted(Reason::ClaimHeld, message)
                .with("lease_until", lease_until)
                .with("lease_until_ms", lease_until.millis())
                .with("holder_agent_id", agent)
                .with("claim_epoch", epoch)
        }
        Rejection::StaleEpoch { given, current } => {
            let message = format!(
                "the claim of task {task} with epoch {given} is over; the latest is {current}"
            );
            Fault::aborted(Reason::ClaimStale, message).with("claim_epoch", current)
        }
        Rejection::CommitMissing => Fault::invalid(
            "result.artifacts",
            "commit_code needs the artifact commit_sha",
        ),
        Rejection::FeedbackShort { min } => Fault::invalid("result.feedback", short_feedback(*min)),
    }
}

/// What is wrong with feedback that says too little.
pub(super) fn short_feedback(min: usize) -> String {
    format!("a rejection says what is to be done in at least {min} characters")
}

fn wrong_state(
    machine: &Machine,
    run: &TaskRun,
    attempt: Option<Action>,
    action: Option<Action>,
    allowed: &[(Role, Action)],
) -> Fault {
    let task = &run.task;
    let state = run.at(machine);
    let possible: Vec<String> = allowed
        .iter()
        .map(|(role, action)| format!("{action} ({role})"))
        .collect();
    let possible = if possible.is_empty() {
        "nothing".to_owned()
    } else {
        possible.join(", ")
    };
    let claims = action.is_none() || attempt.is_none_or(|action| machine.is_claim(action));
    let what = attempt.map_or_else(|| "a claim".to_owned(), |action| action.to_string());
    let reason = match state.kind {
        Kind::Resting => Reason::TaskSuspended,
        _ if claims => Reason::NotClaimable,
        _ => Reason::TaskState,
    };
    let name = &state.name;
    let message =
        format!("task {task} is in {name}, which does not allow {what}; allowed: {possible}");
    Fault::precondition(reason, message)
        .with("subject", task)
        .with("current_state", name)
        .with("allowed", possible)
}

/// Why somebody may not, for the caller and for the record.
pub(crate) fn denial(rejection: &Rejection) -> String {
    match rejection {
        Rejection::Role {
            role,
            action,
            allowed,
        } => {
            let allowed: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
            let who = if allowed.is_empty() {
                "nobody".to_owned()
            } else {
                allowed.join(", ")
            };
            format!("{role} may not {action}; {who} may")
        }
        Rejection::OwnWork { agent, action, .. } => {
            format!("{agent} committed this work and may not {action} it")
        }
        other => format!("{other:?}"),
    }
}

/// Whether a rejection is about who asked: such attempts are recorded.
pub(crate) fn is_denial(rejection: &Rejection) -> bool {
    matches!(
        rejection,
        Rejection::Role { .. } | Rejection::OwnWork { .. }
    )
}

/// The fault of a change that did not happen, rejections excepted.
pub(super) fn change(task: &str, error: ChangeError) -> Fault {
    match error {
        ChangeError::Unknown => Fault::not_found("task", task),
        ChangeError::StaleVersion { expected, current } => {
            Fault::stale_version(format!("task {task}"), expected, current)
        }
        ChangeError::Contended => Fault::concurrent_change(format!("task {task}")),
        ChangeError::Read(error) => error.into(),
        ChangeError::Commit(error) => error.into(),
        ChangeError::Rejected { rejection, .. } => {
            Fault::internal(format!("a rejection got lost: {rejection:?}"))
        }
        ChangeError::NotAllowed { reason, .. } => Fault::denied(Reason::RoleNotAllowed, reason),
    }
}

/// The stored task behind a rejection.
pub(super) struct Refused {
    pub rejection: Rejection,
    pub stored: Box<Stored>,
}
