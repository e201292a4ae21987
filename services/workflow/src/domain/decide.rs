//! The one function through which a task changes, and everything that may refuse it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_types::{Action, AgentId, Role, TaskId, Timestamp};

use super::change::{Carried, Change, EscalationReason, Step};
use super::claims;
use super::own::{cancel, dependency_ended, suspend, time_is_up};
use super::run::{TaskRun, Work};
use crate::fsm::{BackTo, Guard, Kind, Machine, Outcome, Rule, StateId, Target};

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// In which role.
    pub role: Role,
    /// The agent; `None` only for the fleet itself.
    pub agent: Option<AgentId>,
    /// The authenticated caller; empty = the fleet itself.
    pub principal: String,
}

impl Actor {
    /// The fleet itself.
    pub fn system() -> Self {
        Self {
            role: Role::System,
            agent: None,
            principal: String::new(),
        }
    }

    /// An agent in a role.
    pub fn agent(role: Role, agent: AgentId, principal: impl Into<String>) -> Self {
        Self {
            role,
            agent: Some(agent),
            principal: principal.into(),
        }
    }
}

/// What comes with an action.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// A verdict's words; empty if none.
    pub feedback: String,
    /// What is handed in.
    pub artifacts: BTreeMap<String, String>,
    /// What the actor says about it.
    pub summary: String,
    /// Whether the actor thinks that it succeeded; recorded, decides nothing.
    pub success: Option<bool>,
    /// How many operations it took; recorded, decides nothing.
    pub operations: i64,
}

impl Handed {
    /// The artifact `commit_sha`, if it is not blank.
    pub fn commit_sha(&self) -> Option<&str> {
        self.artifacts
            .get("commit_sha")
            .map(|sha| sha.trim())
            .filter(|sha| !sha.is_empty())
    }
}

/// What is wanted of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Carry out an action; one that claims is a claim.
    Act {
        /// Who.
        actor: Actor,
        /// What.
        action: Action,
        /// With what.
        handed: Handed,
        /// Under which claim, if the actor says so.
        epoch: Option<i64>,
    },
    /// Take it up, with whatever action claims here.
    Claim {
        /// Who.
        actor: Actor,
        /// For how long, if not the machine's lease.
        lease: Option<Duration>,
    },
    /// Hold it longer.
    Renew {
        /// Who.
        actor: Actor,
        /// Under which claim, if the actor says so.
        epoch: Option<i64>,
        /// From now, if not the machine's lease.
        lease: Option<Duration>,
    },
    /// Give it back.
    GiveBack {
        /// Who.
        actor: Actor,
        /// Under which claim, if the actor says so.
        epoch: Option<i64>,
        /// Why; may be empty.
        reason: String,
    },
    /// Its time is up, maybe: lease or wait.
    TimeIsUp,
    /// A task that it builds on is over.
    DependencyEnded {
        /// Which.
        task: TaskId,
        /// How.
        outcome: Outcome,
    },
    /// The story left execution.
    Suspend,
    /// The story began anew: unfinished work is dropped.
    Cancel {
        /// Why; may be empty.
        reason: String,
    },
}

/// Why a command is refused. Nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rejection {
    /// The role may not, here or anywhere.
    Role {
        /// The role used.
        role: Role,
        /// What was tried.
        action: Action,
        /// The roles that may.
        allowed: Vec<Role>,
    },
    /// The committer judges his own work.
    OwnWork {
        /// Who.
        agent: AgentId,
        /// In which role.
        role: Role,
        /// What was tried.
        action: Action,
    },
    /// The state does not allow it.
    State {
        /// What was tried; `None` = a claim.
        action: Option<Action>,
        /// What is possible here, and to whom.
        allowed: Vec<(Role, Action)>,
    },
    /// Nobody holds the task.
    NotHeld,
    /// Dependencies are not done.
    Blocked {
        /// Which.
        by: Vec<TaskId>,
    },
    /// Somebody else holds it.
    HeldByOther {
        /// Who.
        agent: AgentId,
        /// Until when at least.
        lease_until: Timestamp,
        /// Under which claim.
        epoch: i64,
    },
    /// The claim that was named is over.
    StaleEpoch {
        /// The one named.
        given: i64,
        /// The latest.
        current: i64,
    },
    /// A commit without commit.
    CommitMissing,
    /// A rejection that does not say enough.
    FeedbackShort {
        /// Characters needed.
        min: usize,
    },
}

/// Decides a command; `None` = all is as it should be, nothing to change.
///
/// # Errors
/// The first check that fails: role, state, holder, guard.
pub fn decide(
    machine: &Machine,
    run: &TaskRun,
    command: &Command,
    now: Timestamp,
) -> Result<Option<Change>, Rejection> {
    let step = Step::new(machine, run.clone(), now);
    match command {
        Command::Act {
            actor,
            action,
            handed,
            epoch,
        } => act(step, actor, *action, handed, *epoch).map(Some),
        Command::Claim { actor, lease } => claims::claim(step, actor, None, *lease).map(Some),
        Command::Renew {
            actor,
            epoch,
            lease,
        } => claims::renew(step, actor, *epoch, *lease).map(Some),
        Command::GiveBack {
            actor,
            epoch,
            reason,
        } => claims::give_back(step, actor, *epoch, reason).map(Some),
        Command::TimeIsUp => Ok(time_is_up(step)),
        Command::DependencyEnded { task, outcome } => Ok(dependency_ended(step, task, *outcome)),
        Command::Suspend => Ok(suspend(step)),
        Command::Cancel { reason } => Ok(cancel(step, reason)),
    }
}

/// Whether `actor` may play one of the roles of `rule` for this task.
pub(super) fn plays(run: &TaskRun, rule: &Rule, role: Role) -> bool {
    rule.roles
        .iter()
        .any(|wanted| run.played_by(*wanted) == role)
}

fn act(
    mut step: Step<'_>,
    actor: &Actor,
    action: Action,
    handed: &Handed,
    epoch: Option<i64>,
) -> Result<Change, Rejection> {
    let (machine, run) = (step.machine, &step.run);
    let anywhere: Vec<&Rule> = machine
        .rules()
        .iter()
        .filter(|r| r.action == action)
        .collect();
    if !anywhere.is_empty() && !anywhere.iter().any(|rule| plays(run, rule, actor.role)) {
        return Err(role_rejection(run, &anywhere, actor.role, action));
    }
    if machine.is_claim(action) {
        return claims::claim(step, actor, Some(action), None);
    }
    let here: Vec<&Rule> = machine.rules_for(run.state, action).collect();
    if here.is_empty() {
        return Err(Rejection::State {
            action: Some(action),
            allowed: allowed(machine, run),
        });
    }
    let Some(rule) = here.iter().find(|rule| plays(run, rule, actor.role)) else {
        return Err(role_rejection(run, &here, actor.role, action));
    };
    if let Target::Via(_) = rule.target {
        if let Some(given) = epoch {
            return Err(Rejection::StaleEpoch {
                given,
                current: run.claim_epoch,
            });
        }
        return via(step, rule, actor, action, handed);
    }
    let rule: Rule = (*rule).clone();
    let holds =
        run.at(machine).kind == Kind::Active && run.role_in_charge(machine) == Some(actor.role);
    if holds {
        claims::holder(run, actor, epoch)?;
    }
    guards(machine, run, &rule.guards, actor, action, handed)?;
    carry_out(&mut step, &rule, actor, handed);
    Ok(step.arrive())
}

/// First the claim, then the action in the state that it leads to; both or neither.
fn via(
    mut step: Step<'_>,
    rule: &Rule,
    actor: &Actor,
    action: Action,
    handed: &Handed,
) -> Result<Change, Rejection> {
    let machine = step.machine;
    let Target::Via(claim) = rule.target else {
        unreachable!("the caller looked at the target");
    };
    let claiming = machine
        .rules_for(step.run.state, claim)
        .find(|r| r.claim.is_some() && plays(&step.run, r, actor.role))
        .expect("a checked machine has the claim that a `via` names")
        .clone();
    let Target::State(held) = claiming.target else {
        unreachable!("a checked machine claims into one active state");
    };
    let second = machine
        .rules_for(held, action)
        .find(|r| plays(&step.run, r, actor.role))
        .expect("a checked machine knows the action behind a `via`")
        .clone();
    guards(machine, &step.run, &claiming.guards, actor, claim, handed)?;
    guards(machine, &step.run, &second.guards, actor, action, handed)?;
    claims::take(&mut step, &claiming, actor, None);
    carry_out(&mut step, &second, actor, handed);
    Ok(step.arrive())
}

pub(super) fn role_rejection(
    run: &TaskRun,
    rules: &[&Rule],
    role: Role,
    action: Action,
) -> Rejection {
    let allowed: BTreeSet<Role> = rules
        .iter()
        .flat_map(|rule| &rule.roles)
        .map(|role| run.played_by(*role))
        .filter(|role| *role != Role::System)
        .collect();
    Rejection::Role {
        role,
        action,
        allowed: allowed.into_iter().collect(),
    }
}

/// What is possible in the run's state to roles that can call, the expected action first.
pub(super) fn allowed(machine: &Machine, run: &TaskRun) -> Vec<(Role, Action)> {
    let expects = run.at(machine).expects;
    let mut pairs: Vec<(Role, Action)> = machine
        .rules_from(run.state)
        .flat_map(|rule| {
            rule.roles
                .iter()
                .map(|role| (run.played_by(*role), rule.action))
        })
        .filter(|(role, _)| *role != Role::System)
        .collect();
    pairs.sort_by_key(|(_, action)| Some(*action) != expects);
    pairs
}

pub(super) fn guards(
    machine: &Machine,
    run: &TaskRun,
    guards: &BTreeSet<Guard>,
    actor: &Actor,
    action: Action,
    handed: &Handed,
) -> Result<(), Rejection> {
    for guard in guards {
        match guard {
            Guard::CommitSha if handed.commit_sha().is_none() => {
                return Err(Rejection::CommitMissing);
            }
            Guard::Feedback => {
                let min = machine.limits().min_feedback_chars;
                if handed.feedback.trim().chars().count() < min {
                    return Err(Rejection::FeedbackShort { min });
                }
            }
            Guard::NotCommitter => {
                let committer = run.work.as_ref().map(|work| &work.agent);
                if let (Some(committer), Some(agent)) = (committer, &actor.agent)
                    && committer == agent
                {
                    let (agent, role) = (agent.clone(), actor.role);
                    return Err(Rejection::OwnWork {
                        agent,
                        role,
                        action,
                    });
                }
            }
            Guard::DependenciesDone if !run.blocked_by.is_empty() => {
                return Err(Rejection::Blocked {
                    by: run.blocked_by.clone(),
                });
            }
            Guard::CommitSha | Guard::DependenciesDone => {}
        }
    }
    Ok(())
}

/// The effect of a rule that claims nothing; everything was checked.
fn carry_out(step: &mut Step<'_>, rule: &Rule, actor: &Actor, handed: &Handed) {
    let action = rule.action;
    let to = target(step, rule);
    let rejects = action.is_rejection();
    if rejects || action.is_approval() {
        let took = step.at.since(step.run.turn_since);
        step.run.judged.add(actor.role, took);
    }
    if rejects {
        step.run.feedback = Some(handed.feedback.trim().to_owned());
        step.run.rework = step.machine.state(to).rework.then_some(to);
        step.run.rejections += 1;
        step.run.strikes += 1;
    } else if action.is_approval() {
        step.run.feedback = None;
        step.run.rework = None;
    } else if action == Action::Retry {
        step.run.retries += 1;
        step.run.strikes = 0;
        step.run.escalated_from = None;
    }
    if let (Action::CommitCode, Some(sha), Some(agent)) =
        (action, handed.commit_sha(), &actor.agent)
    {
        step.run.work = Some(Work {
            agent: agent.clone(),
            principal: actor.principal.clone(),
            commit_sha: sha.to_owned(),
            artifacts: handed.artifacts.clone(),
            summary: handed.summary.clone(),
            seq: step.run.seq + 1,
            claim_epoch: step.run.claim.as_ref().map_or(0, |claim| claim.epoch),
        });
    }
    let feedback = handed.feedback.trim();
    let carried = Carried {
        feedback: (!feedback.is_empty()).then(|| feedback.to_owned()),
        artifacts: handed.artifacts.clone(),
        summary: handed.summary.clone(),
        success: handed.success,
        operations: handed.operations,
    };
    step.hop(to, action, actor, carried);
    let too_often = step
        .machine
        .limits()
        .max_rejections
        .is_some_and(|max| step.run.strikes >= max);
    if rejects && too_often && !step.run.is_over(step.machine) {
        step.escalate(EscalationReason::MaxRejections);
    }
}

pub(super) fn target(step: &Step<'_>, rule: &Rule) -> StateId {
    match rule.target {
        Target::State(to) => to,
        Target::Back {
            to: BackTo::Rework,
            otherwise,
        } => step.run.rework.unwrap_or(otherwise),
        Target::Back {
            to: BackTo::Origin,
            otherwise,
        } => step.run.origin.unwrap_or(otherwise),
        Target::Via(_) => unreachable!("a `via` is resolved into two rules"),
    }
}
