//! A machine: states and the rules that lead from one to another. A value of this type has
//! passed [`super::check`]; nobody else makes one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet_types::{Action, Role};

fleet_types::words! {
    /// What a state is for.
    pub enum Kind("kind") {
        /// Somebody of a role has to take it up.
        Waiting = "waiting",
        /// Somebody holds it under a lease.
        Active = "active",
        /// Left at once by its one transition.
        Automatic = "automatic",
        /// Left only by the fleet itself.
        Resting = "resting",
        /// Over.
        Terminal = "terminal",
    }
}

fleet_types::words! {
    /// How a task ended.
    pub enum Outcome("outcome") {
        /// As it was meant to.
        Done = "done",
        /// Without result.
        Cancelled = "cancelled",
    }
}

fleet_types::words! {
    /// What happens when a wait is over its time.
    pub enum OnDue("timer") {
        /// The task goes to the escalation state.
        Escalate = "escalate",
        /// It is said again that the task waits.
        Remind = "remind",
    }
}

fleet_types::words! {
    /// What must hold, besides state and role, for an action.
    pub enum Guard("guard") {
        /// The artifact `commit_sha` is handed in.
        CommitSha = "commit_sha",
        /// Feedback of a minimal length is given.
        Feedback = "feedback",
        /// The actor is not the agent that committed the work.
        NotCommitter = "not_committer",
        /// Every task it depends on is done.
        DependenciesDone = "dependencies_done",
    }
}

fleet_types::words! {
    /// Where a rule may lead back to.
    pub enum BackTo("back_to") {
        /// The rework state of the last rejection.
        Rework = "rework",
        /// Where the task came from when it entered the state.
        Origin = "origin",
    }
}

/// A state of a machine; an index into its list of states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId(pub(super) u16);

/// A wait that ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// How long the wait may last.
    pub after: Duration,
    /// What happens then.
    pub then: OnDue,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its name, lower snake case.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Whose turn it is; waiting and active states only.
    pub role: Option<Role>,
    /// What that role is asked to do.
    pub expects: Option<Action>,
    /// What is to be judged here: `design`, `tests`, `story`.
    pub artifact: Option<String>,
    /// How long the wait may last; waiting states only.
    pub timer: Option<Timer>,
    /// Whether a rejection leads here.
    pub rework: bool,
    /// How it ended; terminal states only.
    pub outcome: Option<Outcome>,
    /// The line of its key in the file.
    pub line: u64,
}

/// The claim that a rule makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimRule {
    /// How long it lasts unless the caller asks for less or more.
    pub lease: Duration,
    /// Where the task goes when the claim is given back or runs out.
    pub returns_to: StateId,
}

/// Where a rule leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To a state.
    State(StateId),
    /// Back, or to a state if there is nowhere to go back to.
    Back {
        /// Back to what.
        to: BackTo,
        /// Where to otherwise.
        otherwise: StateId,
    },
    /// First this claim, then the same action in the state that the claim leads to.
    Via(Action),
}

/// From one state, one action by some roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where it starts.
    pub from: StateId,
    /// What is done.
    pub action: Action,
    /// Who may.
    pub roles: Vec<Role>,
    /// Where it leads.
    pub target: Target,
    /// What must hold besides.
    pub guards: BTreeSet<Guard>,
    /// The claim it makes.
    pub claim: Option<ClaimRule>,
    /// Whether it was written for a wildcard.
    pub wildcard: bool,
    /// The line of the transition in the file.
    pub line: u64,
}

/// Bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Characters of feedback that [`Guard::Feedback`] asks for.
    pub min_feedback_chars: usize,
    /// So many rejections and a task escalates; `None` = the machine has no rework.
    pub max_rejections: Option<i64>,
    /// Longest lease that a claim may ask for.
    pub max_lease: Duration,
}

/// A sound machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub(super) name: String,
    pub(super) states: Vec<State>,
    pub(super) rules: Vec<Rule>,
    pub(super) initial: StateId,
    pub(super) escalation: Option<StateId>,
    pub(super) limits: Limits,
    pub(super) by_name: BTreeMap<String, StateId>,
}

impl Machine {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All states, in the order of the file.
    pub fn states(&self) -> impl Iterator<Item = (StateId, &State)> {
        self.states
            .iter()
            .enumerate()
            .map(|(i, state)| (id(i), state))
    }

    /// All rules, wildcards written out, in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Where a task begins.
    pub fn initial(&self) -> StateId {
        self.initial
    }

    /// Where a task goes that needs help.
    pub fn escalation(&self) -> Option<StateId> {
        self.escalation
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// A state.
    pub fn state(&self, id: StateId) -> &State {
        &self.states[usize::from(id.0)]
    }

    /// The name of a state.
    pub fn name_of(&self, id: StateId) -> &str {
        &self.state(id).name
    }

    /// The state of that name, in any case.
    pub fn find(&self, name: &str) -> Option<StateId> {
        match self.by_name.get(name) {
            Some(id) => Some(*id),
            None => self.by_name.get(&name.to_ascii_lowercase()).copied(),
        }
    }

    /// The rules that start in a state.
    pub fn rules_from(&self, from: StateId) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.from == from)
    }

    /// The rules for an action in a state, one for each set of roles.
    pub fn rules_for(&self, from: StateId, action: Action) -> impl Iterator<Item = &Rule> {
        self.rules_from(from)
            .filter(move |rule| rule.action == action)
    }

    /// The one transition of an automatic state.
    pub fn automatic(&self, from: StateId) -> Option<&Rule> {
        if self.state(from).kind == Kind::Automatic {
            self.rules_from(from).next()
        } else {
            None
        }
    }

    /// Whether some rule of the machine lets `role` do `action`.
    pub fn knows(&self, role: Role, action: Action) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.action == action && rule.roles.contains(&role))
    }

    /// Whether `action` makes a claim somewhere.
    pub fn is_claim(&self, action: Action) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.action == action && rule.claim.is_some())
    }

    /// Whether `role` may claim anything anywhere.
    pub fn claims(&self, role: Role) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.claim.is_some() && rule.roles.contains(&role))
    }

    /// The guards that every rule for `action` asks for, so that what they want of the
    /// caller's input can be refused before the task is looked up.
    pub fn input_guards(&self, action: Action) -> BTreeSet<Guard> {
        let mut rules = self
            .rules
            .iter()
            .filter(|rule| rule.action == action && !matches!(rule.target, Target::Via(_)))
            .map(|rule| &rule.guards);
        let Some(first) = rules.next() else {
            return BTreeSet::new();
        };
        rules.fold(first.clone(), |common, guards| &common & guards)
    }

    /// The states that a rule may lead to. `Via` leads to the claimed state only: the rest of
    /// its way is the rule found there.
    pub(super) fn targets(&self, rule: &Rule) -> Vec<StateId> {
        targets(&self.states, &self.rules, rule)
    }
}

pub(super) fn id(index: usize) -> StateId {
    StateId(u16::try_from(index).expect("a file of bounded size has fewer than 65536 states"))
}

pub(super) fn targets(states: &[State], rules: &[Rule], rule: &Rule) -> Vec<StateId> {
    let mut found: Vec<StateId> = match rule.target {
        Target::State(to) => vec![to],
        Target::Back {
            to: BackTo::Rework,
            otherwise,
        } => {
            let rework = states
                .iter()
                .enumerate()
                .filter(|(_, s)| s.rework)
                .map(|(i, _)| id(i));
            std::iter::once(otherwise).chain(rework).collect()
        }
        Target::Back {
            to: BackTo::Origin,
            otherwise,
        } => {
            // Whoever rests gave its claim back first: it returns to a waiting state.
            let origins = rules
                .iter()
                .filter(|r| r.target == Target::State(rule.from))
                .filter(|r| states[usize::from(r.from.0)].kind == Kind::Waiting)
                .map(|r| r.from);
            std::iter::once(otherwise).chain(origins).collect()
        }
        Target::Via(claim) => rules
            .iter()
            .find(|r| r.from == rule.from && r.action == claim && r.claim.is_some())
            .into_iter()
            .flat_map(|r| match r.target {
                Target::State(to) => Some(to),
                _ => None,
            })
            .collect(),
    };
    let mut seen = BTreeSet::new();
    found.retain(|to| seen.insert(*to));
    found
}
