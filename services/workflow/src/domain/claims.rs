//! Claims: who may hold a task, how long, and how it changes hands.
//!
//! A claim holds until the row changes, whatever clocks say. An expired lease only *allows*
//! others to take the task over; until somebody does, or the sweep returns it, the holder's
//! actions count.

use std::time::Duration;

use fleet_types::{Action, AgentId, Role};

use super::change::{Carried, Change, Notice, Step};
use super::decide::{Actor, Handed, Rejection, allowed, guards, plays, role_rejection};
use super::run::{Claim, TaskRun};
use crate::fsm::{Kind, Machine, Rule, Target};

/// Takes the task up, renews the holder's own claim, or takes over an expired one.
/// `wanted` names the claiming action; without it, whatever claims here.
pub(super) fn claim(
    mut step: Step<'_>,
    actor: &Actor,
    wanted: Option<Action>,
    lease: Option<Duration>,
) -> Result<Change, Rejection> {
    let (machine, run) = (step.machine, &step.run);
    let claiming = |rule: &&Rule| rule.claim.is_some();
    if run.at(machine).kind == Kind::Active {
        return claim_held(step, actor, wanted, lease);
    }
    let here: Vec<&Rule> = machine.rules_from(run.state).filter(claiming).collect();
    // Who names no action wants whatever the state offers; if it offers that to other roles
    // only, it is the role that is wrong, not the moment.
    let offered = match wanted {
        None => here.iter().any(|rule| plays(run, rule, actor.role)),
        Some(_) => claims_anything(machine, run, actor.role),
    };
    if !here.is_empty() && !offered {
        let action = wanted.unwrap_or(here[0].action);
        return Err(role_rejection(run, &here, actor.role, action));
    }
    let rule = here.iter().find(|rule| {
        wanted.is_none_or(|wanted| wanted == rule.action) && plays(run, rule, actor.role)
    });
    let Some(rule) = rule else {
        return Err(Rejection::State {
            action: wanted,
            allowed: allowed(machine, run),
        });
    };
    let rule: Rule = (*rule).clone();
    guards(
        machine,
        run,
        &rule.guards,
        actor,
        rule.action,
        &Handed::default(),
    )?;
    take(&mut step, &rule, actor, lease);
    Ok(step.arrive())
}

fn claims_anything(machine: &Machine, run: &TaskRun, role: Role) -> bool {
    machine
        .rules()
        .iter()
        .any(|rule| rule.claim.is_some() && plays(run, rule, role))
}

/// A claim on a task that somebody holds: his own again, or an expired one of another.
fn claim_held(
    mut step: Step<'_>,
    actor: &Actor,
    wanted: Option<Action>,
    lease: Option<Duration>,
) -> Result<Change, Rejection> {
    let (machine, run) = (step.machine, &step.run);
    let held = run
        .claim
        .clone()
        .expect("a task in an active state is held");
    let into_here = |rule: &&Rule| rule.claim.is_some() && rule.target == Target::State(run.state);
    let fits = |rule: &Rule| wanted.is_none_or(|wanted| wanted == rule.action);
    let could = machine
        .rules()
        .iter()
        .filter(into_here)
        .any(|r| fits(r) && plays(run, r, actor.role));
    if !could {
        if !claims_anything(machine, run, actor.role) {
            let rules: Vec<&Rule> = machine.rules().iter().filter(into_here).collect();
            let action = wanted.unwrap_or(Action::ClaimTask);
            return Err(role_rejection(run, &rules, actor.role, action));
        }
        return Err(Rejection::State {
            action: wanted,
            allowed: allowed(machine, run),
        });
    }
    if Some(&held.agent) == actor.agent.as_ref() {
        extend(&mut step, lease);
        return Ok(step.arrive());
    }
    if step.at < held.lease_until {
        return Err(other(&held));
    }
    let again = machine
        .rules_from(held.returns_to)
        .filter(into_here)
        .find(|rule| fits(rule) && plays(run, rule, actor.role));
    let Some(rule) = again.cloned() else {
        return Err(Rejection::State {
            action: wanted,
            allowed: allowed(machine, run),
        });
    };
    guards(
        machine,
        run,
        &rule.guards,
        actor,
        rule.action,
        &Handed::default(),
    )?;
    expire(&mut step, actor.agent.clone());
    take(&mut step, &rule, actor, lease);
    Ok(step.arrive())
}

/// The effect of a claiming rule; everything was checked.
pub(super) fn take(step: &mut Step<'_>, rule: &Rule, actor: &Actor, lease: Option<Duration>) {
    let (Some(claim), Target::State(to)) = (rule.claim, rule.target) else {
        unreachable!("a checked machine claims into one active state");
    };
    let lease = lease
        .unwrap_or(claim.lease)
        .min(step.machine.limits().max_lease);
    let role = step.machine.state(to).role.unwrap_or(actor.role);
    step.run.claim_epoch += 1;
    step.run.claim = Some(Claim {
        agent: actor.agent.clone().expect("only agents claim"),
        role: step.run.played_by(role),
        lease_until: step.at.plus(lease),
        lease,
        epoch: step.run.claim_epoch,
        returns_to: claim.returns_to,
    });
    step.hop(to, rule.action, actor, Carried::default());
}

/// Makes the current claim last longer, never shorter.
fn extend(step: &mut Step<'_>, lease: Option<Duration>) {
    let (at, max) = (step.at, step.machine.limits().max_lease);
    if let Some(claim) = &mut step.run.claim {
        let lease = lease.unwrap_or(claim.lease).min(max);
        claim.lease_until = claim.lease_until.max(at.plus(lease));
    }
    step.touch();
}

/// Holds it longer.
pub(super) fn renew(
    mut step: Step<'_>,
    actor: &Actor,
    epoch: Option<i64>,
    lease: Option<Duration>,
) -> Result<Change, Rejection> {
    may_hold(&step, actor, Action::ClaimTask)?;
    holder(&step.run, actor, epoch)?;
    extend(&mut step, lease);
    Ok(step.arrive())
}

/// Gives it back.
pub(super) fn give_back(
    mut step: Step<'_>,
    actor: &Actor,
    epoch: Option<i64>,
    reason: &str,
) -> Result<Change, Rejection> {
    may_hold(&step, actor, Action::ReleaseClaim)?;
    let returns_to = holder(&step.run, actor, epoch)?.returns_to;
    let feedback = (!reason.is_empty()).then(|| reason.to_owned());
    let carried = Carried {
        feedback,
        ..Carried::default()
    };
    step.hop(returns_to, Action::ReleaseClaim, actor, carried);
    Ok(step.arrive())
}

/// Role and state: a role that can hold something, and a task that is held.
fn may_hold(step: &Step<'_>, actor: &Actor, action: Action) -> Result<(), Rejection> {
    let (machine, run) = (step.machine, &step.run);
    if !claims_anything(machine, run, actor.role) {
        let rules: Vec<&Rule> = machine
            .rules()
            .iter()
            .filter(|r| r.claim.is_some())
            .collect();
        return Err(role_rejection(run, &rules, actor.role, action));
    }
    match &run.claim {
        None => Err(Rejection::NotHeld),
        Some(claim) if claim.role != actor.role => Err(Rejection::Role {
            role: actor.role,
            action,
            allowed: vec![claim.role],
        }),
        Some(_) => Ok(()),
    }
}

/// The claim, if `actor` holds it under `epoch`.
pub(super) fn holder<'r>(
    run: &'r TaskRun,
    actor: &Actor,
    epoch: Option<i64>,
) -> Result<&'r Claim, Rejection> {
    let Some(claim) = &run.claim else {
        return Err(Rejection::NotHeld);
    };
    if actor.agent.as_ref() != Some(&claim.agent) {
        return Err(other(claim));
    }
    match epoch {
        Some(given) if given != claim.epoch => Err(Rejection::StaleEpoch {
            given,
            current: claim.epoch,
        }),
        _ => Ok(claim),
    }
}

fn other(claim: &Claim) -> Rejection {
    let (agent, lease_until, epoch) = (claim.agent.clone(), claim.lease_until, claim.epoch);
    Rejection::HeldByOther {
        agent,
        lease_until,
        epoch,
    }
}

/// Returns the task to where it can be claimed from.
pub(super) fn expire(step: &mut Step<'_>, taken_over_by: Option<AgentId>) {
    let Some(claim) = step.run.claim.clone() else {
        return;
    };
    let to = claim.returns_to;
    step.say(Notice::ClaimExpired {
        claim,
        taken_over_by,
    });
    step.hop(
        to,
        Action::ExpireClaim,
        &Actor::system(),
        Carried::default(),
    );
}
