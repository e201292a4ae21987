//! What the fleet does with tasks by itself: lapsed times, ended dependencies, stories that
//! stop and go on.

use fleet_types::{Action, Role, TaskId};

use super::change::{Carried, Change, EscalationReason, Step};
use super::claims;
use super::decide::{Actor, target};
use crate::fsm::{Kind, Machine, OnDue, Outcome, Rule, StateId};

pub(super) fn time_is_up(mut step: Step<'_>) -> Option<Change> {
    if step.run.due_at.is_none_or(|due| due > step.at) {
        return None;
    }
    let state = step.run.at(step.machine);
    match (state.kind, state.timer) {
        (Kind::Active, _) => {
            claims::expire(&mut step, None);
            Some(step.arrive())
        }
        (Kind::Waiting, Some(timer)) => match timer.then {
            OnDue::Escalate => {
                step.escalate(EscalationReason::Sla);
                Some(step.arrive())
            }
            OnDue::Remind => {
                step.announce();
                step.touch();
                Some(step.arrive())
            }
        },
        _ => None,
    }
}

pub(super) fn dependency_ended(
    mut step: Step<'_>,
    task: &TaskId,
    outcome: Outcome,
) -> Option<Change> {
    let was = step.run.blocked_by.len();
    step.run.blocked_by.retain(|blocker| blocker != task);
    if step.run.blocked_by.len() == was || step.run.is_over(step.machine) {
        return None;
    }
    match (outcome, step.run.at(step.machine).kind) {
        (Outcome::Cancelled, Kind::Resting) => {
            step.run.escalated_from = step.run.origin.or(Some(step.machine.initial()));
            step.run.origin = step.machine.escalation().or(step.run.origin);
        }
        // Whether it makes sense without what was cancelled is not ours to say: it is no
        // longer blocked by it, but somebody has to send it on.
        (Outcome::Cancelled, _) => step.escalate(EscalationReason::DependencyCancelled),
        (Outcome::Done, _) => {
            if step.run.state == step.machine.initial() && step.run.blocked_by.is_empty() {
                step.run.waiting_since = step.at;
                step.run.turn_since = step.at;
                step.announce();
                step.touch();
            }
        }
    }
    step.run.updated_at = step.at;
    Some(step.arrive())
}

/// The rule by which the fleet does `action` here, if there is one.
pub(super) fn system_rule(machine: &Machine, state: StateId, action: Action) -> Option<&Rule> {
    machine
        .rules_for(state, action)
        .find(|rule| rule.roles.contains(&Role::System))
}

pub(super) fn suspend(mut step: Step<'_>) -> Option<Change> {
    rest(&mut step).then(|| step.arrive())
}

/// Brings the task to rest; `false` if it cannot (it is over, or rests).
pub(super) fn rest(step: &mut Step<'_>) -> bool {
    let Some(rule) = system_rule(step.machine, step.run.state, Action::Suspend) else {
        return false;
    };
    let returns_to = step.run.claim.as_ref().map(|claim| claim.returns_to);
    step.run.origin = Some(returns_to.unwrap_or(step.run.state));
    let to = target(step, rule);
    step.hop(to, Action::Suspend, &Actor::system(), Carried::default());
    true
}

pub(super) fn cancel(mut step: Step<'_>, reason: &str) -> Option<Change> {
    drop_work(&mut step, reason).then(|| step.arrive())
}

/// Cancels the task; `false` if it is over.
pub(super) fn drop_work(step: &mut Step<'_>, reason: &str) -> bool {
    let Some(rule) = system_rule(step.machine, step.run.state, Action::Cancel) else {
        return false;
    };
    let to = target(step, rule);
    let feedback = (!reason.is_empty()).then(|| reason.to_owned());
    let carried = Carried {
        feedback,
        ..Carried::default()
    };
    step.hop(to, Action::Cancel, &Actor::system(), carried);
    true
}

/// Sends the task on from rest; `false` if it does not rest.
pub(super) fn wake(step: &mut Step<'_>) -> bool {
    let Some(rule) = system_rule(step.machine, step.run.state, Action::Resume) else {
        return false;
    };
    let to = target(step, rule);
    step.run.origin = None;
    step.hop(to, Action::Resume, &Actor::system(), Carried::default());
    true
}
