//! What may a role do with a task now, and if nothing: why not.

use fleet_types::{Action, AgentId, Role, TaskId, Timestamp};

use super::decide::plays;
use super::run::TaskRun;
use crate::fsm::{Guard, Kind, Machine, Rule, StateId, Target};

/// One possibility.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextAction {
    /// What.
    pub action: Action,
    /// Where it leads, automatic steps included.
    pub to: StateId,
    /// Whether it claims the task.
    pub is_claim: bool,
    /// Characters of feedback that it needs; 0 = none.
    pub min_feedback_chars: usize,
    /// Artifacts that it needs.
    pub required_artifacts: Vec<&'static str>,
}

/// Why nothing is possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// It is over.
    TerminalState,
    /// Somebody else's turn.
    OtherRole(Option<Role>),
    /// Dependencies are not done.
    Blocked(Vec<TaskId>),
    /// Somebody else holds it.
    HeldByOther {
        /// Who.
        agent: AgentId,
        /// Until when at least.
        lease_until: Timestamp,
    },
    /// The agent committed the work it would judge.
    SeparationOfDuties,
    /// The story was carried over.
    Suspended,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextActions {
    /// What is possible, the expected action first.
    pub actions: Vec<NextAction>,
    /// Why not, if nothing is.
    pub why_not: Option<WhyNot>,
}

/// Answers for `role`, and for `agent` if one is named.
pub fn next_actions(
    machine: &Machine,
    run: &TaskRun,
    role: Role,
    agent: Option<&AgentId>,
    now: Timestamp,
) -> NextActions {
    let mut found: Vec<NextAction> = Vec::new();
    let mut refused: Vec<WhyNot> = Vec::new();
    for rule in machine
        .rules_from(run.state)
        .filter(|rule| plays(run, rule, role))
    {
        match obstacle(machine, run, rule, role, agent) {
            Some(why) => refused.push(why),
            None => found.push(describe(machine, run, rule)),
        }
    }
    take_over(machine, run, role, agent, now, &mut found, &mut refused);
    let expects = run.at(machine).expects;
    found.sort_by_key(|next| (Some(next.action) != expects, !next.is_claim));
    let why_not = if found.is_empty() {
        Some(why_not(machine, run, refused))
    } else {
        None
    };
    NextActions {
        actions: found,
        why_not,
    }
}

fn why_not(machine: &Machine, run: &TaskRun, refused: Vec<WhyNot>) -> WhyNot {
    match run.at(machine).kind {
        Kind::Terminal => WhyNot::TerminalState,
        Kind::Resting => WhyNot::Suspended,
        Kind::Waiting | Kind::Active | Kind::Automatic => {
            let other = WhyNot::OtherRole(run.role_in_charge(machine));
            refused.into_iter().next().unwrap_or(other)
        }
    }
}

/// What stands between the agent and a rule of its role.
fn obstacle(
    machine: &Machine,
    run: &TaskRun,
    rule: &Rule,
    role: Role,
    agent: Option<&AgentId>,
) -> Option<WhyNot> {
    let holder_only =
        run.at(machine).kind == Kind::Active && run.role_in_charge(machine) == Some(role);
    if let (true, Some(claim)) = (holder_only, &run.claim)
        && agent != Some(&claim.agent)
    {
        let (agent, lease_until) = (claim.agent.clone(), claim.lease_until);
        return Some(WhyNot::HeldByOther { agent, lease_until });
    }
    let guards = match behind(machine, run, rule) {
        Some(second) => &rule.guards | &second.guards,
        None => rule.guards.clone(),
    };
    if guards.contains(&Guard::DependenciesDone) && !run.blocked_by.is_empty() {
        return Some(WhyNot::Blocked(run.blocked_by.clone()));
    }
    let committer = run.work.as_ref().map(|work| &work.agent);
    if guards.contains(&Guard::NotCommitter) && agent.is_some() && agent == committer {
        return Some(WhyNot::SeparationOfDuties);
    }
    None
}

/// The second rule of a `via`.
fn behind<'m>(machine: &'m Machine, run: &TaskRun, rule: &Rule) -> Option<&'m Rule> {
    let Target::Via(claim) = rule.target else {
        return None;
    };
    let claiming = machine
        .rules_for(run.state, claim)
        .find(|r| r.claim.is_some())?;
    let Target::State(held) = claiming.target else {
        return None;
    };
    machine.rules_for(held, rule.action).next()
}

/// An expired claim may be taken over, and the holder may claim again.
fn take_over(
    machine: &Machine,
    run: &TaskRun,
    role: Role,
    agent: Option<&AgentId>,
    now: Timestamp,
    found: &mut Vec<NextAction>,
    refused: &mut Vec<WhyNot>,
) {
    let Some(claim) = &run.claim else { return };
    let mut claiming = machine.rules_from(claim.returns_to).filter(|r| {
        r.claim.is_some() && r.target == Target::State(run.state) && plays(run, r, role)
    });
    let Some(rule) = claiming.next() else { return };
    if agent == Some(&claim.agent) {
        return;
    }
    if now >= claim.lease_until {
        found.push(describe(machine, run, rule));
    } else {
        let (agent, lease_until) = (claim.agent.clone(), claim.lease_until);
        refused.push(WhyNot::HeldByOther { agent, lease_until });
    }
}

fn describe(machine: &Machine, run: &TaskRun, rule: &Rule) -> NextAction {
    let second = behind(machine, run, rule);
    let effective = second.unwrap_or(rule);
    let mut to = match effective.target {
        Target::State(to) => to,
        Target::Back {
            to: crate::fsm::BackTo::Rework,
            otherwise,
        } => run.rework.unwrap_or(otherwise),
        Target::Back {
            to: crate::fsm::BackTo::Origin,
            otherwise,
        } => run.origin.unwrap_or(otherwise),
        Target::Via(_) => run.state,
    };
    while let Some(Rule {
        target: Target::State(next),
        ..
    }) = machine.automatic(to)
    {
        to = *next;
    }
    let guards = &effective.guards;
    NextAction {
        action: rule.action,
        to,
        is_claim: rule.claim.is_some(),
        min_feedback_chars: if guards.contains(&Guard::Feedback) {
            machine.limits().min_feedback_chars
        } else {
            0
        },
        required_artifacts: if guards.contains(&Guard::CommitSha) {
            vec!["commit_sha"]
        } else {
            Vec::new()
        },
    }
}
