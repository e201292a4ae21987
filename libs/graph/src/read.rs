//! Reads: by key, by a declared listing, by a bounded walk.

use serde_json::Value;

use crate::{CorruptRow, Edge, EdgeType, Label, Node, NodeKey, ReadError};

/// Largest page of a scan.
pub const MAX_PAGE: usize = 1_000;
/// A filtered total is exact up to here and a lower bound beyond.
pub const EXACT_TOTAL: u64 = 10_000;
/// Most steps of one walk, and most hops of one step.
pub const MAX_STEPS: usize = 8;
/// Most nodes that a walk gives back.
pub const MAX_WALK_NODES: usize = 20_000;

/// Declares the closed list of listings. Each is one composite index (filters…, ord) in every
/// adapter, so that a page costs its own rows whatever the total.
macro_rules! indexes {
    ($($(#[$meta:meta])* $name:ident: $label:ident [$($field:literal),*]),+ $(,)?) => {
        /// A listing: nodes of one label with equal filter properties, in order of `ord`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Index { $($(#[$meta])* $name),+ }

        impl Index {
            /// Every listing.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The label that is listed.
            pub const fn label(self) -> Label {
                match self { $(Self::$name => Label::$label),+ }
            }

            /// The properties that must equal the given values, in this order.
            pub const fn filters(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($field),*]),+ }
            }

            /// A name for the index in a store, stable and unique.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

indexes! {
    /// All projects.
    Projects: Project [],
    /// Projects of one status.
    ProjectsByStatus: Project ["status"],
    /// All epics.
    Epics: Epic [],
    /// Epics of one project.
    EpicsByProject: Epic ["project_id"],
    /// Epics of one status.
    EpicsByStatus: Epic ["status"],
    /// Epics of one project in one status.
    EpicsByProjectStatus: Epic ["project_id", "status"],
    /// All stories.
    Stories: Story [],
    /// Stories in one state.
    StoriesByState: Story ["state"],
    /// Stories of one epic.
    StoriesByEpic: Story ["epic_id"],
    /// Stories of one epic in one state.
    StoriesByEpicState: Story ["epic_id", "state"],
    /// All tasks.
    Tasks: Task [],
    /// Tasks of one story.
    TasksByStory: Task ["story_id"],
    /// Tasks of one status.
    TasksByStatus: Task ["status"],
    /// Tasks of one story in one status.
    TasksByStoryStatus: Task ["story_id", "status"],
    /// The transitions of one story; `ord` is the sequence number.
    StoryTransitionsByStory: StoryTransition ["story_id"],
    /// All task runs.
    TaskRuns: TaskRun [],
    /// Task runs of one story.
    TaskRunsByStory: TaskRun ["story_id"],
    /// Task runs in one state.
    TaskRunsByState: TaskRun ["state"],
    /// Task runs of one story in one state.
    TaskRunsByStoryState: TaskRun ["story_id", "state"],
    /// Task runs that wait for somebody of one role.
    TaskRunsByWaiting: TaskRun ["waiting_for"],
    /// The hops of one task, in their order.
    TaskTransitionsByTask: TaskTransition ["task_id"],
    /// The hops of all tasks; `ord` is time, task, sequence number.
    TaskTransitions: TaskTransition [],
    /// The hops of one story's tasks.
    TaskTransitionsByStory: TaskTransition ["story_id"],
    /// The hops of one kind.
    TaskTransitionsByKind: TaskTransition ["kind"],
    /// The executions of one story.
    StoryRunsByStory: StoryRun ["story_id"],
    /// All executions of stories.
    StoryRuns: StoryRun [],
    /// Timers of one deployment; `ord` starts with the due time.
    TimersByDeployment: Timer ["deployment"],
    /// All audit entries.
    AuditEntries: AuditEntry [],
    /// Audit entries about one task.
    AuditEntriesByTask: AuditEntry ["task_id"],
    /// Audit entries about one story.
    AuditEntriesByStory: AuditEntry ["story_id"],
    /// Audit entries of one kind.
    AuditEntriesByKind: AuditEntry ["kind"],
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq)]
pub struct Scan {
    /// Which listing.
    pub index: Index,
    /// The filter values, one for each of [`Index::filters`]: strings, integers or booleans.
    pub values: Vec<Value>,
    /// Only nodes with a greater `ord` (a cursor: the `ord` of the last node seen).
    pub after: Option<String>,
    /// Only nodes with a smaller `ord`.
    pub before: Option<String>,
    /// Largest `ord` first.
    pub descending: bool,
    /// Skip so many (kept for callers that page by offset).
    pub offset: usize,
    /// At most so many; 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// Whether the total is wanted too (of the filters, not of the cursor).
    pub total: bool,
}

impl Scan {
    /// The first page of a listing.
    pub fn new(index: Index, values: Vec<Value>, limit: usize) -> Self {
        Self {
            index,
            values,
            after: None,
            before: None,
            descending: false,
            offset: 0,
            limit,
            total: false,
        }
    }

    /// Checks limits and the number of filter values.
    pub fn check(&self) -> Result<(), String> {
        check_values(self.index, &self.values)?;
        if !(1..=MAX_PAGE).contains(&self.limit) {
            return Err(format!("a page of {}; 1 to {MAX_PAGE}", self.limit));
        }
        Ok(())
    }
}

/// Checks that `values` fit the filters of `index`.
pub fn check_values(index: Index, values: &[Value]) -> Result<(), String> {
    let scalar = |v: &Value| v.is_string() || v.is_i64() || v.is_boolean();
    if values.len() != index.filters().len() || !values.iter().all(scalar) {
        return Err(format!(
            "{} takes the filters {:?}",
            index.as_str(),
            index.filters()
        ));
    }
    Ok(())
}

/// How many nodes there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Total {
    /// The number, or [`EXACT_TOTAL`] if there are more.
    pub count: u64,
    /// Whether there are more.
    pub is_lower_bound: bool,
}

/// One page.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    /// Whether there are nodes behind the last one.
    pub more: bool,
    /// The total, if it was asked for.
    pub total: Option<Total>,
}

/// Which way a relationship is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From its start to its end.
    Out,
    /// From its end to its start.
    In,
}

/// One step of a walk: from every node reached by the step before (the roots, at first),
/// follow relationships of one kind up to `hops` times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The kind of relationship.
    pub edge: EdgeType,
    /// The direction.
    pub direction: Direction,
    /// 1 to [`MAX_STEPS`].
    pub hops: usize,
}

/// A bounded walk. The result holds the roots, every node reached by any step, and the
/// relationships walked; each once. Cycles end where they began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Where it starts; missing roots are left out.
    pub roots: Vec<NodeKey>,
    /// The steps, at most [`MAX_STEPS`].
    pub steps: Vec<Step>,
    /// At most so many nodes, roots included; [`Subgraph::truncated`] says if there were more.
    pub max_nodes: usize,
}

impl Walk {
    /// Checks the bounds.
    pub fn check(&self) -> Result<(), String> {
        let hops_fit = self.steps.iter().all(|s| (1..=MAX_STEPS).contains(&s.hops));
        if self.steps.len() > MAX_STEPS || !hops_fit {
            return Err(format!(
                "a walk has at most {MAX_STEPS} steps of 1 to {MAX_STEPS} hops"
            ));
        }
        if !(1..=MAX_WALK_NODES).contains(&self.max_nodes) {
            return Err(format!(
                "a walk of {} nodes; 1 to {MAX_WALK_NODES}",
                self.max_nodes
            ));
        }
        Ok(())
    }
}

/// What a walk found: nodes in order of their key, edges in order of (from, kind, to).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subgraph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The relationships walked between them.
    pub edges: Vec<Edge>,
    /// Whether the limit cut it.
    pub truncated: bool,
    /// Rows that cannot be read as nodes, in order of their key. They are not among `nodes` and
    /// have no edges here, but count for the limit, and are walked through.
    pub corrupt: Vec<CorruptRow>,
}

impl Subgraph {
    /// For who can do with nothing less than all of it.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] with the first row that cannot be read.
    pub fn whole(self) -> Result<Self, ReadError> {
        match self.corrupt.into_iter().next() {
            Some(row) => Err(row.into()),
            None => Ok(Self {
                corrupt: Vec::new(),
                ..self
            }),
        }
    }
}
