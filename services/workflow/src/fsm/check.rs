//! What a machine must be besides readable: everything reachable, everything ends, nothing
//! loops by itself, nobody waits for ever, nobody judges his own work.
//!
//! Each check adds its findings; none of them stops the others.

use fleet_types::{Action, Role};
use fleet_yaml::Findings;

use super::machine::{Guard, Kind, Machine, OnDue, Outcome, Rule, State, StateId, Target};
use super::ways::{Edge, Ways};

/// Runs all checks.
pub(super) fn soundness(machine: &Machine, findings: &mut Findings) {
    let ways = Ways::of(machine);
    beginning(machine, findings);
    states(machine, findings);
    rules(machine, findings);
    claims(machine, findings);
    escalation(machine, findings);
    obligations(machine, findings);
    ambiguity(machine, findings);
    reachability(machine, &ways, findings);
    automatic_cycles(machine, findings);
    separation_of_duties(machine, &ways, findings);
    rework_cycles(machine, &ways, findings);
}

fn beginning(machine: &Machine, findings: &mut Findings) {
    let state = machine.state(machine.initial());
    if state.kind != Kind::Waiting {
        let (name, kind) = (&state.name, state.kind);
        findings.add(
            state.line,
            format!("initial state {name} is {kind}; it must be waiting"),
        );
    }
}

fn states(machine: &Machine, findings: &mut Findings) {
    for (id, state) in machine.states() {
        match state.kind {
            Kind::Waiting => waiting(machine, id, state, findings),
            Kind::Active => turn(machine, id, state, findings),
            Kind::Automatic => automatic(machine, id, state, findings),
            Kind::Resting => {}
            Kind::Terminal => terminal(machine, id, state, findings),
        }
        let mut misplaced = |what: &str, there: bool, kinds: &str| {
            if there {
                let (name, kind) = (&state.name, state.kind);
                let message = format!("state {name} is {kind}: `{what}` is for {kinds} states");
                findings.add(state.line, message);
            }
        };
        let turn = matches!(state.kind, Kind::Waiting | Kind::Active);
        misplaced("role", state.role.is_some() && !turn, "waiting and active");
        misplaced(
            "expects",
            state.expects.is_some() && !turn,
            "waiting and active",
        );
        misplaced(
            "timer",
            state.timer.is_some() && state.kind != Kind::Waiting,
            "waiting",
        );
        misplaced(
            "rework",
            state.rework && state.kind != Kind::Waiting,
            "waiting",
        );
        misplaced(
            "outcome",
            state.outcome.is_some() && state.kind != Kind::Terminal,
            "terminal",
        );
    }
    if !machine
        .states()
        .any(|(_, s)| s.outcome == Some(Outcome::Done))
    {
        findings.add(1, "no terminal state has `outcome: done`");
    }
}

fn waiting(machine: &Machine, id: StateId, state: &State, findings: &mut Findings) {
    if state.timer.is_none() {
        let message = format!(
            "waiting state {} has no timer: a task could wait for ever",
            state.name
        );
        findings.add(state.line, message);
    }
    turn(machine, id, state, findings);
}

/// A state in which it is somebody's turn.
fn turn(machine: &Machine, id: StateId, state: &State, findings: &mut Findings) {
    let (name, kind) = (&state.name, state.kind);
    let Some(role) = state.role else {
        findings.add(
            state.line,
            format!("{kind} state {name} has no role: nobody would act"),
        );
        return;
    };
    if matches!(role, Role::System | Role::Orchestrator) {
        findings.add(
            state.line,
            format!("{kind} state {name} waits for {role}, who has no turn"),
        );
    }
    let Some(expects) = state.expects else {
        findings.add(
            state.line,
            format!("{kind} state {name} does not say what it `expects`"),
        );
        return;
    };
    if !machine
        .rules_for(id, expects)
        .any(|rule| rule.roles.contains(&role))
    {
        let message =
            format!("{kind} state {name} expects {expects} of {role}, who cannot do it there");
        findings.add(state.line, message);
    }
}

fn automatic(machine: &Machine, id: StateId, state: &State, findings: &mut Findings) {
    let rules: Vec<&Rule> = machine.rules_from(id).collect();
    if let [rule] = rules[..] {
        let plain = matches!(rule.target, Target::State(_))
            && rule.guards.is_empty()
            && rule.claim.is_none()
            && rule.roles == [Role::System];
        if !plain {
            let name = &state.name;
            let message = format!(
                "automatic state {name}: its transition is made by system alone, leads to one state, \
                 has no guards and no claim"
            );
            findings.add(rule.line, message);
        }
    } else {
        let (name, n) = (&state.name, rules.len());
        findings.add(
            state.line,
            format!("automatic state {name} has {n} transitions; it needs one"),
        );
    }
}

fn terminal(machine: &Machine, id: StateId, state: &State, findings: &mut Findings) {
    let name = &state.name;
    if state.outcome.is_none() {
        findings.add(state.line, format!("terminal state {name} has no outcome"));
    }
    for rule in machine.rules_from(id) {
        let to: Vec<&str> = machine
            .targets(rule)
            .iter()
            .map(|to| machine.name_of(*to))
            .collect();
        let (action, to) = (rule.action, to.join(" or "));
        let message = format!("terminal state {name} has an exit: {name} -{action}-> {to}");
        findings.add(rule.line, message);
    }
}

fn rules(machine: &Machine, findings: &mut Findings) {
    for rule in machine.rules() {
        if let Target::Via(claim) = rule.target {
            via(machine, rule, claim, findings);
            continue;
        }
        let mut must = |guard: Guard, when: bool| {
            if when && !rule.guards.contains(&guard) {
                let (action, from) = (rule.action, machine.name_of(rule.from));
                let message = format!("{action} from {from} needs the guard {guard}");
                findings.add(rule.line, message);
            }
        };
        must(Guard::CommitSha, rule.action == Action::CommitCode);
        must(Guard::Feedback, rule.action.is_rejection());
        if rule.action.is_rejection() {
            for to in machine.targets(rule) {
                let state = machine.state(to);
                if state.kind != Kind::Terminal && !state.rework {
                    let (action, name) = (rule.action, &state.name);
                    let message = format!("{action} leads to {name}, which has no `rework: true`");
                    findings.add(rule.line, message);
                }
            }
        }
    }
}

fn via(machine: &Machine, rule: &Rule, claim: Action, findings: &mut Findings) {
    let from = machine.name_of(rule.from);
    let claiming = machine
        .rules_for(rule.from, claim)
        .find(|r| r.claim.is_some() && rule.roles.iter().all(|role| r.roles.contains(role)));
    let Some(claiming) = claiming else {
        findings.add(
            rule.line,
            format!("via {claim}: no claim of that name and role from {from}"),
        );
        return;
    };
    for to in machine.targets(claiming) {
        let same = machine
            .rules_for(to, rule.action)
            .any(|r| rule.roles.iter().all(|role| r.roles.contains(role)));
        if !same {
            let (action, to) = (rule.action, machine.name_of(to));
            let message = format!("{from} -{claim}-> {to}, but {action} is not possible there");
            findings.add(rule.line, message);
        }
    }
    if !rule.guards.is_empty() || rule.claim.is_some() {
        findings.add(
            rule.line,
            "a transition `via` a claim has the guards of the state it leads to",
        );
    }
}

fn claims(machine: &Machine, findings: &mut Findings) {
    for rule in machine.rules() {
        let from = machine.name_of(rule.from);
        let action = rule.action;
        for to in machine.targets(rule) {
            let state = machine.state(to);
            let name = &state.name;
            if matches!(rule.target, Target::Via(_)) {
                continue;
            }
            if state.kind == Kind::Active && rule.claim.is_none() {
                let way = format!("{from} -{action}-> {name}");
                findings.add(
                    rule.line,
                    format!("active state {name} is entered without a claim: {way}"),
                );
            }
            let Some(claim) = rule.claim else { continue };
            if state.kind != Kind::Active {
                let message = format!(
                    "{action} claims, but leads to {name}, which is {}",
                    state.kind
                );
                findings.add(rule.line, message);
                continue;
            }
            let back = machine.state(claim.returns_to);
            let again = machine.rules_from(claim.returns_to).any(|r| {
                r.claim.is_some()
                    && r.target == rule.target
                    && r.roles.iter().any(|x| Some(*x) == state.role)
            });
            if back.kind != Kind::Waiting || back.role != state.role || !again {
                let message = format!(
                    "a claim of {name} returns to {}, where its role could not claim it again",
                    back.name
                );
                findings.add(rule.line, message);
            }
            if claim.lease > machine.limits().max_lease {
                findings.add(
                    rule.line,
                    format!("the lease of {action} is longer than max_lease"),
                );
            }
        }
    }
}

fn escalation(machine: &Machine, findings: &mut Findings) {
    match machine.escalation() {
        Some(id) => {
            let state = machine.state(id);
            if state.kind != Kind::Waiting {
                let message = format!(
                    "escalation state {} is {}; it must be waiting",
                    state.name, state.kind
                );
                findings.add(state.line, message);
            }
            if state.timer.is_some_and(|t| t.then == OnDue::Escalate) {
                findings.add(
                    state.line,
                    format!("escalation state {} escalates to itself", state.name),
                );
            }
        }
        None => {
            for (_, state) in machine.states() {
                if state.timer.is_some_and(|t| t.then == OnDue::Escalate) {
                    let message = format!(
                        "state {} escalates, but there is no `escalation` state",
                        state.name
                    );
                    findings.add(state.line, message);
                }
            }
            if machine.limits().max_rejections.is_some() {
                findings.add(1, "limits.max_rejections needs an `escalation` state");
            }
        }
    }
}

/// What the fleet itself must be able to do with a task when its story stops or goes on.
fn obligations(machine: &Machine, findings: &mut Findings) {
    for (id, state) in machine.states() {
        let wanted: &[Action] = match state.kind {
            Kind::Waiting | Kind::Active => &[Action::Suspend, Action::Cancel],
            Kind::Resting => &[Action::Resume, Action::Cancel],
            Kind::Automatic | Kind::Terminal => &[],
        };
        for action in wanted {
            if !machine
                .rules_for(id, *action)
                .any(|rule| rule.roles.contains(&Role::System))
            {
                let message = format!("state {}: system must be able to {action} it", state.name);
                findings.add(state.line, message);
            }
        }
    }
}

fn ambiguity(machine: &Machine, findings: &mut Findings) {
    let rules = machine.rules();
    for (i, second) in rules.iter().enumerate() {
        for first in &rules[..i] {
            if (first.from, first.action) != (second.from, second.action) {
                continue;
            }
            for role in second
                .roles
                .iter()
                .filter(|role| first.roles.contains(role))
            {
                let (from, action) = (machine.name_of(second.from), second.action);
                let message = format!(
                    "ambiguous: {from} -{action}-> for {role} is in line {} too",
                    first.line
                );
                findings.add(second.line, message);
            }
        }
    }
}

fn reachability(machine: &Machine, ways: &Ways, findings: &mut Findings) {
    let reached = ways.from(machine.initial());
    let ends = |outcome: Option<Outcome>| {
        machine
            .states()
            .filter(move |(_, s)| {
                s.kind == Kind::Terminal && (outcome.is_none() || s.outcome == outcome)
            })
            .map(|(id, _)| id)
            .collect::<Vec<_>>()
    };
    let to_end = ways.into(&ends(None));
    let to_done = ways.into(&ends(Some(Outcome::Done)));
    let initial = machine.name_of(machine.initial());
    for (id, state) in machine.states() {
        let name = &state.name;
        if !reached.contains(&id) {
            findings.add(
                state.line,
                format!("state {name} is unreachable from {initial}"),
            );
        }
        if state.kind == Kind::Terminal {
            continue;
        }
        if !to_end.contains(&id) {
            let way = ways.walk(machine, id);
            findings.add(
                state.line,
                format!("no way from {name} to a terminal state: {way}"),
            );
        } else if !to_done.contains(&id) {
            let way = ways.walk(machine, id);
            findings.add(
                state.line,
                format!("no way from {name} to an end with outcome done: {way}"),
            );
        }
    }
}

fn automatic_cycles(machine: &Machine, findings: &mut Findings) {
    for (start, state) in machine.states() {
        let mut way = vec![start];
        let mut at = start;
        while let Some(rule) = machine.automatic(at) {
            let Target::State(next) = rule.target else {
                break;
            };
            if next == start {
                // Each cycle once: from the state that comes first in the file.
                if way.iter().all(|id| *id >= start) {
                    let names: Vec<&str> = way.iter().map(|id| machine.name_of(*id)).collect();
                    let path = format!("{} -auto-> {}", names.join(" -auto-> "), state.name);
                    findings.add(state.line, format!("automatic cycle: {path}"));
                }
                break;
            }
            if way.contains(&next) {
                break;
            }
            way.push(next);
            at = next;
        }
    }
}

fn separation_of_duties(machine: &Machine, ways: &Ways, findings: &mut Findings) {
    for rule in machine.rules() {
        let approves = rule.action.is_approval() && !matches!(rule.target, Target::Via(_));
        if !approves || rule.guards.contains(&Guard::NotCommitter) {
            continue;
        }
        let path = ways
            .edges()
            .filter(|edge| edge.action == Action::CommitCode)
            .filter_map(|edge| ways.path(machine, *edge, rule.from))
            .min_by_key(String::len);
        if let Some(path) = path {
            let action = rule.action;
            let message =
                format!("{action} after a commit without the guard not_committer: {path}");
            findings.add(rule.line, message);
        }
    }
}

/// Every way from a commit back to a commit must pass something that is counted (a rejection,
/// if there is `max_rejections`) or decided by the product owner or the fleet (retry, resume).
fn rework_cycles(machine: &Machine, ways: &Ways, findings: &mut Findings) {
    let counted = machine.limits().max_rejections.is_some();
    let bounded = |edge: &Edge| {
        matches!(edge.action, Action::Retry | Action::Resume)
            || (counted && edge.action.is_rejection())
    };
    let mut left: Vec<Edge> = ways
        .edges()
        .filter(|edge| !bounded(edge))
        .copied()
        .collect();
    let commits: Vec<Edge> = left
        .iter()
        .filter(|edge| edge.action == Action::CommitCode)
        .copied()
        .collect();
    for commit in commits {
        while let Some(cycle) = Ways::shortest(&left, commit, commit.from) {
            let path = Ways::show(machine, &cycle);
            let culprit = cycle
                .iter()
                .rev()
                .find(|edge| edge.action.is_rejection())
                .or_else(|| cycle.iter().rev().find(|edge| !edge.claims))
                .copied()
                .expect("a cycle has edges");
            findings.add(culprit.line, format!("unbounded rework cycle: {path}"));
            if culprit == commit {
                break;
            }
            left.retain(|edge| *edge != culprit);
        }
    }
}
