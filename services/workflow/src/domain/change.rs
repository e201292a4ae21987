//! One change of a task while it is made: hops, automatic ones included, and what is to be
//! said about where it ends up.

use std::collections::BTreeMap;

use fleet_types::{Action, AgentId, Role, Timestamp};

use super::decide::Actor;
use super::run::{Claim, TaskRun};
use crate::fsm::{Kind, Machine, Outcome, StateId, Target};

/// One step of a task; a record of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Its place in the history: 1, 2, ….
    pub seq: i64,
    /// Where the task was; `None` when it began, or began anew.
    pub from: Option<StateId>,
    /// Where it is.
    pub to: StateId,
    /// What was done.
    pub action: Action,
    /// In which role.
    pub role: Role,
    /// By which agent; `None` = the fleet.
    pub agent: Option<AgentId>,
    /// The authenticated caller; empty = the fleet.
    pub principal: String,
    /// When.
    pub at: Timestamp,
    /// What was said with it.
    pub feedback: Option<String>,
    /// What was handed in with it.
    pub artifacts: BTreeMap<String, String>,
    /// What the actor said about it; empty if nothing.
    pub summary: String,
    /// Whether the actor thought that it succeeded.
    pub success: Option<bool>,
    /// How many operations it took.
    pub operations: i64,
    /// The claim that was current when it happened; 0 = none.
    pub claim_epoch: i64,
    /// The execution of the story.
    pub execution: i64,
    /// Whose turn it is behind it.
    pub next_role: Option<Role>,
    /// What is expected then.
    pub next_action: Option<Action>,
    /// How often the task was started over, this hop included.
    pub retries: i64,
}

/// Why a task escalated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EscalationReason {
    /// Rejected too often.
    MaxRejections,
    /// Waited too long.
    Sla,
    /// A task it builds on was cancelled.
    DependencyCancelled,
    /// It escalated before and still waits.
    Reminder,
}

impl EscalationReason {
    /// As it is published.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MaxRejections => "max_rejections",
            Self::Sla => "sla",
            Self::DependencyCancelled => "dependency_cancelled",
            Self::Reminder => "reminder",
        }
    }
}

/// What is to be said besides the hops themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A role has something to do.
    Assigned {
        /// Who.
        role: Role,
        /// What.
        action: Action,
        /// On rework: whose work was refused.
        previous: Option<AgentId>,
    },
    /// Work waits for a verdict.
    ValidationRequired {
        /// Whose.
        role: Role,
        /// On what: `design`, `tests`, `story`.
        artifact: String,
    },
    /// It is over.
    Completed(Outcome),
    /// The product owner has to decide.
    Escalated {
        /// Why.
        reason: EscalationReason,
        /// Where it came from.
        from: StateId,
    },
    /// A lease ran out.
    ClaimExpired {
        /// The claim that ended.
        claim: Claim,
        /// Who took it over, if that is how it was noticed.
        taken_over_by: Option<AgentId>,
    },
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The task afterwards.
    pub run: TaskRun,
    /// The steps; empty if only the claim, the timer or the dependencies changed.
    pub hops: Vec<Hop>,
    /// What is to be said.
    pub notices: Vec<Notice>,
}

/// What goes with a hop.
#[derive(Debug, Clone, Default)]
pub(super) struct Carried {
    pub feedback: Option<String>,
    pub artifacts: BTreeMap<String, String>,
    pub summary: String,
    pub success: Option<bool>,
    pub operations: i64,
}

/// A change in the making.
pub(super) struct Step<'m> {
    pub machine: &'m Machine,
    pub run: TaskRun,
    pub at: Timestamp,
    hops: Vec<Hop>,
    notices: Vec<Notice>,
    escalation: Option<EscalationReason>,
}

impl<'m> Step<'m> {
    pub fn new(machine: &'m Machine, run: TaskRun, now: Timestamp) -> Self {
        let at = now.max(run.updated_at);
        Self {
            machine,
            run,
            at,
            hops: Vec::new(),
            notices: Vec::new(),
            escalation: None,
        }
    }

    /// The step that brings a task into the machine, or into it again.
    pub fn begin(&mut self) {
        let to = self.machine.initial();
        let by = Actor::system();
        self.enter(None, to, Action::ReleaseTask, &by, Carried::default());
    }

    /// One step, and the automatic ones behind it.
    pub fn hop(&mut self, to: StateId, action: Action, by: &Actor, carried: Carried) {
        self.enter(Some(self.run.state), to, action, by, carried);
        while let Some(rule) = self.machine.automatic(self.run.state) {
            let Target::State(next) = rule.target else {
                break;
            };
            self.enter(
                Some(self.run.state),
                next,
                rule.action,
                &Actor::system(),
                Carried::default(),
            );
        }
    }

    fn enter(
        &mut self,
        from: Option<StateId>,
        to: StateId,
        action: Action,
        by: &Actor,
        carried: Carried,
    ) {
        let before = from.and_then(|from| self.machine.state(from).role);
        let state = self.machine.state(to);
        let claim_epoch = match (&self.run.claim, from) {
            (Some(claim), Some(_)) => claim.epoch,
            _ => 0,
        };
        if state.kind != Kind::Active {
            self.run.claim = None;
        }
        self.run.seq += 1;
        self.run.state = to;
        self.run.last_action = action;
        self.run.last_role = by.role;
        self.run.waiting_since = self.at;
        self.run.updated_at = self.at;
        // A claim changes hands within one role: that role's turn goes on.
        if state.role.is_some() && (state.role != before || from.is_none()) {
            self.run.turn_since = self.at;
        }
        self.run.due_at = self.due();
        self.hops.push(Hop {
            seq: self.run.seq,
            from,
            to,
            action,
            role: by.role,
            agent: by.agent.clone(),
            principal: by.principal.clone(),
            at: self.at,
            feedback: carried.feedback,
            artifacts: carried.artifacts,
            summary: carried.summary,
            success: carried.success,
            operations: carried.operations,
            claim_epoch,
            execution: self.run.execution,
            next_role: self.run.role_in_charge(self.machine),
            next_action: state.expects,
            retries: self.run.retries,
        });
    }

    /// When the lease or the wait in the current state ends.
    fn due(&self) -> Option<Timestamp> {
        let state = self.run.at(self.machine);
        match state.kind {
            Kind::Active => self.run.claim.as_ref().map(|claim| claim.lease_until),
            Kind::Waiting if !self.run.is_blocked(self.machine) => {
                state.timer.map(|timer| self.at.plus(timer.after))
            }
            Kind::Waiting | Kind::Automatic | Kind::Resting | Kind::Terminal => None,
        }
    }

    /// The run changed without a step.
    pub fn touch(&mut self) {
        self.run.updated_at = self.at;
        self.run.due_at = self.due();
    }

    pub fn say(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    /// To the escalation state, if the machine has one.
    pub fn escalate(&mut self, reason: EscalationReason) {
        let Some(to) = self.machine.escalation() else {
            return;
        };
        if self.run.state == to {
            return;
        }
        self.run.escalated_from = Some(self.run.state);
        self.escalation = Some(reason);
        self.hop(to, Action::Escalate, &Actor::system(), Carried::default());
    }

    /// Says where the task ended up; nothing if it did not move.
    pub fn arrive(mut self) -> Change {
        if !self.hops.is_empty() {
            self.announce();
        }
        Change {
            run: self.run,
            hops: self.hops,
            notices: self.notices,
        }
    }

    /// Says what the current state asks for.
    pub fn announce(&mut self) {
        let state = self.run.at(self.machine);
        if let Some(outcome) = state.outcome {
            self.say(Notice::Completed(outcome));
            return;
        }
        if self.machine.escalation() == Some(self.run.state) {
            let reason = self.escalation.unwrap_or(EscalationReason::Reminder);
            let from = self.run.escalated_from.unwrap_or(self.run.state);
            self.say(Notice::Escalated { reason, from });
            return;
        }
        let Some(role) = self.run.waiting_for(self.machine) else {
            return;
        };
        if let Some(action) = state.expects {
            let refused = self.run.work.as_ref().filter(|_| state.rework);
            let previous = refused.map(|work| work.agent.clone());
            self.say(Notice::Assigned {
                role,
                action,
                previous,
            });
        }
        if let Some(artifact) = &state.artifact {
            self.say(Notice::ValidationRequired {
                role,
                artifact: artifact.clone(),
            });
        }
    }
}
