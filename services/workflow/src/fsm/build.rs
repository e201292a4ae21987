//! From what a file says to a machine: names resolved, wildcards written out. Reports every
//! name that refers to nothing.

use std::collections::BTreeMap;

use fleet_yaml::Findings;

use super::machine::{
    self, BackTo, ClaimRule, Kind, Limits, Machine, Rule, State, StateId, Target,
};
use super::source::{At, ClaimSource, FromSource, Source, TransitionSource};

/// Resolves; `None` if the machine has no states or no beginning. Findings may have been added
/// even if there is a machine: it is then good for further checks, not for use.
pub(super) fn build(source: &Source, findings: &mut Findings) -> Option<Machine> {
    let states: Vec<State> = source
        .states
        .iter()
        .map(|s| State {
            name: s.name.clone(),
            // A missing kind was reported when it was read.
            kind: s.kind.unwrap_or(Kind::Resting),
            role: s.role,
            expects: s.expects.as_ref().map(|e| e.value),
            artifact: s.artifact.clone(),
            timer: s.timer.as_ref().map(|t| t.value),
            rework: s.rework,
            outcome: s.outcome,
            line: s.line,
        })
        .collect();
    let by_name: BTreeMap<String, StateId> = states
        .iter()
        .enumerate()
        .map(|(i, s)| (s.name.clone(), machine::id(i)))
        .collect();
    let names = Names {
        by_name: &by_name,
        states: &states,
    };
    let mut rules = Vec::new();
    for transition in &source.transitions {
        names.transition(transition, &mut rules, findings);
    }
    let escalation = source
        .escalation
        .as_ref()
        .and_then(|at| names.find(at, "escalation", findings));
    let initial = source
        .initial
        .as_ref()
        .and_then(|at| names.find(at, "initial", findings));
    Some(Machine {
        name: source.name.clone(),
        initial: initial?,
        escalation,
        limits: Limits {
            min_feedback_chars: source.min_feedback_chars,
            max_rejections: source.max_rejections,
            max_lease: source.max_lease,
        },
        states,
        rules,
        by_name,
    })
}

struct Names<'a> {
    by_name: &'a BTreeMap<String, StateId>,
    states: &'a [State],
}

impl Names<'_> {
    fn find(&self, at: &At<String>, what: &str, findings: &mut Findings) -> Option<StateId> {
        let found = self.by_name.get(&at.value).copied();
        if found.is_none() {
            findings.add(at.line, format!("{what}: unknown state {:?}", at.value));
        }
        found
    }

    fn transition(&self, t: &TransitionSource, rules: &mut Vec<Rule>, findings: &mut Findings) {
        let (from, wildcard) = self.from(t, findings);
        let to = t.to.as_ref().and_then(|at| self.find(at, "to", findings));
        let claim = t
            .claim
            .as_ref()
            .and_then(|claim| self.claim(claim, findings));
        let target = match (to, t.back_to, &t.via) {
            (_, None, Some(via)) => Target::Via(via.value),
            (Some(otherwise), Some(to), None) => Target::Back { to, otherwise },
            (Some(to), None, None) => Target::State(to),
            (_, Some(_), Some(via)) => {
                findings.add(via.line, "transition: `back_to` and `via` at once");
                return;
            }
            // Reported where it was read.
            (None, _, None) => return,
        };
        let Some(action) = t.action else { return };
        for from in from {
            rules.push(Rule {
                from,
                action,
                roles: t.roles.clone(),
                target,
                guards: t.guards.clone(),
                claim,
                wildcard,
                line: t.line,
            });
        }
        if matches!(
            target,
            Target::Back {
                to: BackTo::Rework,
                ..
            }
        ) && !self.states.iter().any(|s| s.rework)
        {
            findings.add(t.line, "back_to: rework, but no state has `rework: true`");
        }
    }

    fn from(&self, t: &TransitionSource, findings: &mut Findings) -> (Vec<StateId>, bool) {
        let except: Vec<StateId> = t
            .except
            .iter()
            .filter_map(|at| self.find(at, "except", findings))
            .collect();
        match &t.from {
            FromSource::States(names) => (
                names
                    .iter()
                    .filter_map(|at| self.find(at, "from", findings))
                    .collect(),
                false,
            ),
            FromSource::AnyNonTerminal => {
                let rests = |s: &State| !matches!(s.kind, Kind::Terminal | Kind::Automatic);
                let all = self.states.iter().enumerate().filter(|(_, s)| rests(s));
                let all = all
                    .map(|(i, _)| machine::id(i))
                    .filter(|id| !except.contains(id));
                (all.collect(), true)
            }
        }
    }

    fn claim(&self, claim: &ClaimSource, findings: &mut Findings) -> Option<ClaimRule> {
        let returns_to = claim.returns_to.as_ref();
        let returns_to = returns_to.and_then(|at| self.find(at, "claim: returns_to", findings))?;
        let lease = claim.lease?;
        if lease.is_zero() {
            findings.add(claim.line, "claim: a lease of nothing");
        }
        Some(ClaimRule { lease, returns_to })
    }
}
