//! What a context is made from: a story with everything around it, and a question.

use fleet_types::{Role, TaskId};
use serde::{Deserialize, Serialize};

use crate::domain::{Id, Item, Phase};

fleet_types::words! {
    /// How a decision stands to a task or to another decision.
    pub enum RelationKind("relation") {
        /// It has a say in a task.
        Affects = "AFFECTS",
        /// It rests on another decision.
        DependsOn = "DEPENDS_ON",
        /// It takes the place of another decision.
        Supersedes = "SUPERSEDES",
        /// It was weighed against another decision.
        AlternativeOf = "ALTERNATIVE_OF",
    }
}

/// A relationship that starts at a decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DecisionEdge {
    /// The decision.
    pub from: Id,
    /// How it stands to `to`.
    pub kind: RelationKind,
    /// A task for [`RelationKind::Affects`], else a decision; may be gone or of another story.
    pub to: Id,
}

/// A story with everything around it. Rows need only their light columns
/// ([`Entity::light_columns`](crate::domain::Entity::light_columns)); more does not matter.
/// The order of rows does not matter either. Rows of other stories are passed over.
#[derive(Debug, Clone, PartialEq)]
pub struct StoryGraph {
    /// The story.
    pub story: Item,
    /// Its epic, reached through the story.
    pub epic: Option<Item>,
    /// Its approved plans.
    pub plans: Vec<Item>,
    /// Its tasks.
    pub tasks: Vec<Item>,
    /// Their runs.
    pub runs: Vec<Item>,
    /// Its decisions.
    pub decisions: Vec<Item>,
    /// What the product owner said to them.
    pub reviews: Vec<Item>,
    /// What happened to it.
    pub milestones: Vec<Item>,
    /// Its steps from phase to phase.
    pub phases: Vec<Item>,
    /// Its summaries.
    pub summaries: Vec<Item>,
    /// Relationships that start at its decisions.
    pub edges: Vec<DecisionEdge>,
}

impl StoryGraph {
    /// A story with nothing around it.
    pub fn new(story: Item) -> Self {
        Self {
            story,
            epic: None,
            plans: Vec::new(),
            tasks: Vec::new(),
            runs: Vec::new(),
            decisions: Vec::new(),
            reviews: Vec::new(),
            milestones: Vec::new(),
            phases: Vec::new(),
            summaries: Vec::new(),
            edges: Vec::new(),
        }
    }

    /// How many bytes it takes, about.
    pub fn size(&self) -> usize {
        let rows = [
            &self.plans,
            &self.tasks,
            &self.runs,
            &self.decisions,
            &self.reviews,
            &self.milestones,
            &self.phases,
            &self.summaries,
        ];
        let items = rows.into_iter().flatten();
        let items = items.chain(&self.epic).chain([&self.story]);
        // The id that an edge starts from is its decision's.
        let edges = self.edges.iter();
        let edges = edges.map(|edge| edge.to.len() + size_of::<DecisionEdge>());
        items.map(Item::size).sum::<usize>() + edges.sum::<usize>()
    }
}

/// Who asks for a context, and for what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// As whom.
    pub role: Role,
    /// In which phase.
    pub phase: Phase,
    /// The task that is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// Most tokens of the answer; `None` or 0: as many as the role usually gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u32>,
}

/// Why there is no context for an ask.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The role has no business in the phase.
    #[error(transparent)]
    NoScopes(#[from] crate::domain::NoScopes),
    /// The story is not the role's to see.
    #[error("{role} may not see this story")]
    StoryHidden {
        /// The role.
        role: Role,
    },
    /// The task is not the role's to see.
    #[error("{role} may not see task {task}")]
    TaskHidden {
        /// The role.
        role: Role,
        /// The task.
        task: TaskId,
    },
    /// The story has no such task.
    #[error("the story has no task {task}")]
    NoSuchTask {
        /// The task.
        task: TaskId,
    },
    /// The story was deleted, or its row was not among those read.
    #[error("the story is gone")]
    StoryGone,
    /// Not even what must be said fits.
    #[error("a budget of {budget} tokens is too small: {needed} are needed at least")]
    BudgetTooSmall {
        /// The budget.
        budget: u32,
        /// The smallest budget that is enough.
        needed: u32,
    },
}
