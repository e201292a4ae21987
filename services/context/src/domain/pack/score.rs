//! How relevant items are: integers only, so that every replica comes to the same order.

use fleet_types::Role;

use super::receipt::Points;
use super::table::{Edges, Table, reach};
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

/// What a decision has to do with the question.
#[derive(Debug, Clone, Copy, Default)]
struct Touches {
    /// It has a say in some task.
    any: bool,
    /// In the asked one.
    asked: bool,
    /// In what that waits for.
    dependency: bool,
    /// In one of the role's.
    role: bool,
    /// A decision rests on it that has a say in the asked task or in what that waits for.
    linked: bool,
}

/// What the links between tasks and decisions say, seen from a role and a task.
pub(super) struct Links<'a> {
    /// The asked task.
    pub asked: Option<usize>,
    /// The tasks of the story.
    pub tasks: Table<'a>,
    /// Its decisions.
    pub decisions: Table<'a>,
    /// What starts at them.
    pub edges: Edges<'a>,
    /// By task: whether the asked one waits for it directly.
    pub direct: Vec<bool>,
    /// By task: whether the asked one waits for it, directly or not.
    all: Vec<bool>,
    /// By task: whether it is the role's.
    pub of_role: Vec<bool>,
    /// By decision.
    touches: Vec<Touches>,
}

impl<'a> Links<'a> {
    /// `asked` is a place among `tasks`.
    pub fn new(
        graph: &'a StoryGraph,
        tasks: Table<'a>,
        decisions: Table<'a>,
        role: Role,
        asked: Option<usize>,
    ) -> Self {
        let edges = Edges::new(&graph.edges, &tasks, &decisions);
        let waits_for = |task: usize| {
            let on = tasks.at(task).texts("depends_on").into_iter();
            on.filter_map(|id| tasks.place(id))
        };
        let mut direct = vec![false; tasks.len()];
        for task in asked.into_iter().flat_map(waits_for) {
            direct[task] = true;
        }
        let mut all = reach(tasks.len(), asked.into_iter(), waits_for);
        if let Some(asked) = asked {
            all[asked] = false;
        }
        let of_role: Vec<bool> = tasks.iter().map(|task| is_of(task, role)).collect();
        let touches = (0..decisions.len()).map(|decision| {
            let mut touches = Touches::default();
            for task in edges.ends(decision, RelationKind::Affects) {
                touches.any = true;
                touches.asked |= asked == Some(task);
                touches.dependency |= all[task];
                touches.role |= of_role[task];
            }
            touches
        });
        let mut touches: Vec<Touches> = touches.collect();
        let near = (0..).zip(&touches).filter(|(_, t)| t.asked || t.dependency);
        let near: Vec<usize> = near.map(|(decision, _)| decision).collect();
        let under = |decision| edges.ends(decision, RelationKind::DependsOn);
        let linked = reach(decisions.len(), near.into_iter(), under);
        for (touches, linked) in touches.iter_mut().zip(linked) {
            touches.linked = linked;
        }
        Self {
            asked,
            tasks,
            decisions,
            edges,
            direct,
            all,
            of_role,
            touches,
        }
    }

    /// How many tasks of the role there are.
    pub fn role_tasks(&self) -> usize {
        self.of_role.iter().filter(|of_role| **of_role).count()
    }

    /// Which of the standing decisions have to do with the role: those with a say in its tasks,
    /// in the asked task or in what that waits for, those about the story as a whole, and
    /// what they rest on. If there are none at all, the oldest. All by decision.
    pub fn relevant(&self, standing: &[bool]) -> Vec<bool> {
        let own = |decision: usize| {
            let touches = &self.touches[decision];
            standing[decision]
                && (!touches.any || touches.asked || touches.dependency || touches.role)
        };
        let mut relevant: Vec<bool> = (0..standing.len()).map(own).collect();
        let own = (0..).zip(&relevant).filter(|(_, own)| **own);
        let own: Vec<usize> = own.map(|(decision, _)| decision).collect();
        let under = |decision| self.edges.ends(decision, RelationKind::DependsOn);
        let rest = reach(standing.len(), own.into_iter(), under);
        for (decision, relevant) in relevant.iter_mut().enumerate() {
            *relevant |= rest[decision] && standing[decision];
        }
        if !relevant.contains(&true) {
            let standing = (0..).zip(standing).filter(|(_, stands)| **stands);
            let mut oldest: Vec<usize> = standing.map(|(decision, _)| decision).collect();
            oldest.sort_by_key(|decision| self.decisions.at(*decision).text("created_at"));
            for decision in oldest.into_iter().take(FOUNDING) {
                relevant[decision] = true;
            }
        }
        relevant
    }

    /// The score of a decision; `rank` decisions are newer.
    pub fn decision(&self, decision: usize, settled: bool, rank: usize) -> Points {
        let touches = &self.touches[decision];
        Points::default()
            .with(ScorePart::Task, points(touches.asked, TASK))
            .with(
                ScorePart::Dependency,
                points(touches.dependency, DEPENDENCY),
            )
            .with(ScorePart::Linked, points(touches.linked, LINKED))
            .with(ScorePart::Role, points(touches.role, ROLE))
            .with(ScorePart::Status, points(settled, STATUS))
            .with(ScorePart::Recency, recency(RECENCY, rank))
    }

    /// The score of another task; `rank` tasks changed later.
    pub fn task(&self, task: usize, rank: usize) -> Points {
        let item = self.tasks.at(task);
        let waits = self.asked.is_some_and(|asked| {
            let asked = self.tasks.at(asked).id();
            item.texts("depends_on").contains(&asked)
        });
        let open = !matches!(item.text("status"), "completed" | "cancelled");
        let priority = item.number("priority").clamp(1, 20);
        let steps = i32::try_from(priority).unwrap_or(1) - 1;
        Points::default()
            .with(ScorePart::Dependency, points(self.all[task], DEPENDENCY))
            .with(ScorePart::Linked, points(waits, LINKED))
            .with(ScorePart::Role, points(self.of_role[task], ROLE))
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
fn is_of(task: &Item, role: Role) -> bool {
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
