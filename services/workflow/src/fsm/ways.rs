//! A machine as a graph: every way from state to state, those that the fleet makes by itself
//! included.

use std::collections::{BTreeSet, VecDeque};

use fleet_types::Action;

use super::machine::{Guard, Machine, OnDue, StateId, Target};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub from: StateId,
    pub to: StateId,
    pub action: Action,
    /// Whether it only leads back to where a task has been.
    pub back: bool,
    /// Whether it claims, so that the work is taken up rather than handed on.
    pub claims: bool,
    pub line: u64,
}

/// All steps of a machine.
pub(super) struct Ways {
    edges: Vec<Edge>,
}

impl Ways {
    /// Rules, ends of claims and escalations.
    pub fn of(machine: &Machine) -> Self {
        let mut edges: Vec<Edge> = Vec::new();
        let mut add = |edge: Edge| {
            if !edges
                .iter()
                .any(|e| (e.from, e.to, e.action) == (edge.from, edge.to, edge.action))
            {
                edges.push(edge);
            }
        };
        for rule in machine.rules() {
            if matches!(rule.target, Target::Via(_)) {
                continue;
            }
            for to in machine.targets(rule) {
                let otherwise = match rule.target {
                    Target::Back { otherwise, .. } => Some(otherwise),
                    Target::State(_) | Target::Via(_) => None,
                };
                add(Edge {
                    from: rule.from,
                    to,
                    action: rule.action,
                    back: otherwise.is_some_and(|otherwise| otherwise != to),
                    claims: rule.claim.is_some(),
                    line: rule.line,
                });
                if let Some(claim) = rule.claim {
                    for action in [Action::ReleaseClaim, Action::ExpireClaim] {
                        let (back, claims, line) = (true, false, rule.line);
                        add(Edge {
                            from: to,
                            to: claim.returns_to,
                            action,
                            back,
                            claims,
                            line,
                        });
                    }
                }
            }
        }
        if let Some(to) = machine.escalation() {
            for (from, state) in machine.states() {
                let too_long = state.timer.is_some_and(|t| t.then == OnDue::Escalate);
                let too_often = state.rework && machine.limits().max_rejections.is_some();
                let orphaned = machine
                    .rules_from(from)
                    .any(|rule| rule.guards.contains(&Guard::DependenciesDone));
                if (too_long || too_often || orphaned) && from != to {
                    let (back, claims, line) = (false, false, state.line);
                    add(Edge {
                        from,
                        to,
                        action: Action::Escalate,
                        back,
                        claims,
                        line,
                    });
                }
            }
        }
        Self { edges }
    }

    pub fn edges(&self) -> impl Iterator<Item = &Edge> {
        self.edges.iter()
    }

    /// Every state that can be reached, the start included. A way back reaches nothing new.
    pub fn from(&self, start: StateId) -> BTreeSet<StateId> {
        self.closure(&[start], |edge| {
            (edge.from, if edge.back { edge.from } else { edge.to })
        })
    }

    /// Every state from which one of `ends` can be reached, the ends included.
    pub fn into(&self, ends: &[StateId]) -> BTreeSet<StateId> {
        self.closure(ends, |edge| (edge.to, edge.from))
    }

    fn closure(
        &self,
        starts: &[StateId],
        step: impl Fn(&Edge) -> (StateId, StateId),
    ) -> BTreeSet<StateId> {
        let mut seen: BTreeSet<StateId> = starts.iter().copied().collect();
        let mut queue: Vec<StateId> = starts.to_vec();
        while let Some(at) = queue.pop() {
            for edge in &self.edges {
                let (here, next) = step(edge);
                if here == at && seen.insert(next) {
                    queue.push(next);
                }
            }
        }
        seen
    }

    /// The shortest way that begins with `first` and ends in `end`, as text.
    pub fn path(&self, machine: &Machine, first: Edge, end: StateId) -> Option<String> {
        Self::shortest(&self.edges, first, end).map(|path| Self::show(machine, &path))
    }

    /// The shortest way over `edges` that begins with `first` and ends in `end`.
    pub fn shortest(edges: &[Edge], first: Edge, end: StateId) -> Option<Vec<Edge>> {
        let mut queue = VecDeque::from([vec![first]]);
        let mut seen = BTreeSet::from([first.to]);
        while let Some(path) = queue.pop_front() {
            let at = path.last().expect("a path begins with an edge").to;
            if at == end {
                return Some(path);
            }
            for edge in edges.iter().filter(|edge| edge.from == at) {
                if seen.insert(edge.to) {
                    let mut longer = path.clone();
                    longer.push(*edge);
                    queue.push_back(longer);
                }
            }
        }
        None
    }

    /// Where one gets by always taking the first exit, until it ends or comes round.
    pub fn walk(&self, machine: &Machine, start: StateId) -> String {
        let mut path = Vec::new();
        let mut seen = BTreeSet::from([start]);
        let mut at = start;
        while let Some(edge) = self.edges.iter().find(|edge| edge.from == at) {
            path.push(*edge);
            at = edge.to;
            if !seen.insert(at) {
                break;
            }
        }
        if path.is_empty() {
            return format!("{} has no exit", machine.name_of(start));
        }
        Self::show(machine, &path)
    }

    /// `a -claim_task-> b -commit_code-> c`.
    pub fn show(machine: &Machine, path: &[Edge]) -> String {
        let mut text = path
            .first()
            .map_or("", |edge| machine.name_of(edge.from))
            .to_owned();
        for edge in path {
            text.push_str(&format!(" -{}-> {}", edge.action, machine.name_of(edge.to)));
        }
        text
    }
}
