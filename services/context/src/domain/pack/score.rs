//! How relevant items are: integers only, so that every replica comes to the same order.

use std::collections::{BTreeSet, HashMap, HashSet};

use fleet_types::Role;

use super::receipt::Points;
use super::{RelationKind, ScorePart, StoryGraph};
use crate::domain::Item;

const TASK: i32 = 1_000_000;
const DEPENDENCY: i32 = 500_000;
const LINKED: i32 = 250_000;
const ROLE: i32 = 100_000;
const STATUS: i32 = 50_000;
/// Of the most urgent task; one step less for each step of priority.
const PRIORITY: i32 = 20_000;
const PRIORITY_STEP: i32 = 1_000;
/// Of the newest item; one less for each that is newer, down to 0.
const RECENCY: i32 = 9_999;
/// Likewise among tasks, where it must not outweigh a step of priority.
const TASK_RECENCY: i32 = 999;

/// When no decision has to do with a role, so many of the oldest stand in: what a story began
/// with is what the rest rests on.
const FOUNDING: usize = 5;

/// What the links between tasks and decisions say, seen from a role and a task.
pub(super) struct Links<'a> {
    role: Role,
    asked: Option<&'a str>,
    /// Direct dependencies of the asked task.
    pub direct: HashSet<&'a str>,
    /// All dependencies of the asked task, to the last one.
    all: HashSet<&'a str>,
    /// Tasks of the story by decision that has a say in them.
    pub affects: HashMap<&'a str, BTreeSet<&'a str>>,
    /// Decisions that others rest on.
    rests_on: HashMap<&'a str, HashSet<&'a str>>,
    /// Decisions on which those rest that have to do with the asked task.
    linked: HashSet<&'a str>,
    role_tasks: HashSet<&'a str>,
}

impl<'a> Links<'a> {
    /// `tasks` and `decisions` are those of the story, without deleted ones.
    pub fn new(
        graph: &'a StoryGraph,
        tasks: &HashMap<&'a str, &'a Item>,
        decisions: &HashMap<&'a str, &'a Item>,
        role: Role,
        asked: Option<&'a str>,
    ) -> Self {
        let waits_for = |task: &str| -> Vec<&'a str> {
            let item: Option<&&'a Item> = tasks.get(task);
            let known = |id: &&str| tasks.contains_key(*id);
            item.map_or_else(Vec::new, |item| {
                item.texts("depends_on").into_iter().filter(known).collect()
            })
        };
        let mut affects: HashMap<&str, BTreeSet<&str>> = HashMap::new();
        let mut rests_on: HashMap<&str, HashSet<&str>> = HashMap::new();
        for edge in &graph.edges {
            let (from, to) = (edge.from.as_str(), edge.to.as_str());
            match edge.kind {
                RelationKind::Affects if tasks.contains_key(to) => {
                    affects.entry(from).or_default().insert(to);
                }
                RelationKind::DependsOn if decisions.contains_key(to) => {
                    rests_on.entry(from).or_default().insert(to);
                }
                _ => {}
            }
        }
        let direct: HashSet<&str> = asked
            .map(waits_for)
            .unwrap_or_default()
            .into_iter()
            .collect();
        let mut all = reach(direct.iter().copied(), waits_for);
        all.extend(&direct);
        if let Some(asked) = asked {
            all.remove(asked);
        }
        let role_tasks = tasks
            .iter()
            .filter(|(_, task)| is_of(task, role))
            .map(|(id, _)| *id)
            .collect();
        let mut links = Self {
            role,
            asked,
            direct,
            all,
            affects,
            rests_on,
            linked: HashSet::new(),
            role_tasks,
        };
        let near = decisions
            .keys()
            .copied()
            .filter(|d| links.touches_asked(d) || links.touches_dependency(d));
        links.linked = links.rest_of(near);
        links
    }

    /// How many tasks of the role there are.
    pub fn role_tasks(&self) -> usize {
        self.role_tasks.len()
    }

    fn touches(&self, decision: &str, mut tasks: impl FnMut(&str) -> bool) -> bool {
        let affected = self.affects.get(decision);
        affected.is_some_and(|affected| affected.iter().any(|task| tasks(task)))
    }

    fn touches_asked(&self, decision: &str) -> bool {
        self.touches(decision, |task| Some(task) == self.asked)
    }

    fn touches_dependency(&self, decision: &str) -> bool {
        self.touches(decision, |task| self.all.contains(task))
    }

    fn touches_role(&self, decision: &str) -> bool {
        self.touches(decision, |task| self.role_tasks.contains(task))
    }

    /// The decisions on which some rest, to the last one; cycles do no harm.
    fn rest_of(&self, decisions: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
        reach(decisions, |decision| {
            let under = self.rests_on.get(decision);
            under.into_iter().flatten().copied().collect()
        })
    }

    /// Which of the standing decisions have to do with the role: those with a say in its tasks,
    /// in the asked task or in what that waits for, those about the story as a whole, and
    /// what they rest on. If there are none at all, the oldest.
    pub fn relevant(&self, standing: &[&'a Item]) -> HashSet<&'a str> {
        let ids: HashSet<&str> = standing.iter().map(|d| d.id()).collect();
        let own = |id: &&str| {
            !self.affects.contains_key(*id)
                || self.touches_asked(id)
                || self.touches_dependency(id)
                || self.touches_role(id)
        };
        let mut relevant: HashSet<&str> = ids.iter().copied().filter(own).collect();
        relevant.extend(self.rest_of(relevant.clone().into_iter()));
        relevant.retain(|id| ids.contains(id));
        if relevant.is_empty() {
            let mut oldest = standing.to_vec();
            oldest.sort_by_cached_key(|d| (d.text("created_at"), d.id()));
            relevant.extend(oldest.iter().take(FOUNDING).map(|d| d.id()));
        }
        relevant
    }

    /// The score of a decision; `rank` decisions are newer.
    pub fn decision(&self, decision: &Item, settled: bool, rank: usize) -> Points {
        let id = decision.id();
        Points::default()
            .with(ScorePart::Task, points(self.touches_asked(id), TASK))
            .with(
                ScorePart::Dependency,
                points(self.touches_dependency(id), DEPENDENCY),
            )
            .with(ScorePart::Linked, points(self.linked.contains(id), LINKED))
            .with(ScorePart::Role, points(self.touches_role(id), ROLE))
            .with(ScorePart::Status, points(settled, STATUS))
            .with(ScorePart::Recency, recency(RECENCY, rank))
    }

    /// The score of another task; `rank` tasks changed later.
    pub fn task(&self, task: &Item, rank: usize) -> Points {
        let waits = self
            .asked
            .is_some_and(|asked| task.texts("depends_on").contains(&asked));
        let open = !matches!(task.text("status"), "completed" | "cancelled");
        let priority = task.number("priority").clamp(1, 20);
        let steps = i32::try_from(priority).unwrap_or(1) - 1;
        Points::default()
            .with(
                ScorePart::Dependency,
                points(self.all.contains(task.id()), DEPENDENCY),
            )
            .with(ScorePart::Linked, points(waits, LINKED))
            .with(ScorePart::Role, points(is_of(task, self.role), ROLE))
            .with(ScorePart::Status, points(open, STATUS))
            .with(ScorePart::Priority, PRIORITY - steps * PRIORITY_STEP)
            .with(ScorePart::Recency, recency(TASK_RECENCY, rank))
    }
}

/// The score of an item of which only the age counts.
pub(super) fn by_age(rank: usize) -> Points {
    Points::default().with(ScorePart::Recency, recency(RECENCY, rank))
}

/// The score of what must be there.
pub(super) fn mandatory() -> Points {
    Points::default().with(ScorePart::Mandatory, 10 * TASK)
}

/// Whether a task is one of the role's.
pub(super) fn is_of(task: &Item, role: Role) -> bool {
    task.text("role").parse() == Ok(role)
}

fn points(holds: bool, points: i32) -> i32 {
    if holds { points } else { 0 }
}

fn recency(newest: i32, rank: usize) -> i32 {
    newest
        .saturating_sub(i32::try_from(rank).unwrap_or(i32::MAX))
        .max(0)
}

/// Everything that can be reached by one step or more.
fn reach<'a>(
    from: impl Iterator<Item = &'a str>,
    step: impl Fn(&str) -> Vec<&'a str>,
) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    let mut todo: Vec<&str> = from.collect();
    while let Some(at) = todo.pop() {
        for next in step(at) {
            if found.insert(next) {
                todo.push(next);
            }
        }
    }
    found
}
