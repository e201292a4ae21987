//! Why the domain says no.

use fleet_types::{DecisionId, EpicId, ProjectId, StoryId, TaskId, Timestamp};

use super::{Lifecycle, Readiness, StoryState, Verdict};

/// A command that the present state does not allow. Display names the state and what would
/// be allowed; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The machine has no such move.
    #[error(
        "story {story} is in {from} and cannot move to {to}; from {from} it can move to {}",
        words(allowed)
    )]
    IllegalMove {
        /// The story.
        story: StoryId,
        /// Where it is.
        from: StoryState,
        /// Where it was to go.
        to: StoryState,
        /// Where it can go.
        allowed: Vec<StoryState>,
    },
    /// A reset to DRAFT without a reason.
    #[error("a reset of story {story} to DRAFT needs a reason")]
    ReasonRequired {
        /// The story.
        story: StoryId,
    },
    /// The Definition of Ready is not reached and nobody overrode it.
    #[error("story {story} scores {} of {threshold} needed for READY_FOR_PLANNING; missing: {}", readiness.score(), missing(readiness))]
    NotReady {
        /// The story.
        story: StoryId,
        /// What is needed.
        threshold: i32,
        /// What there is, per criterion.
        readiness: Readiness,
    },
    /// A release without tasks.
    #[error("story {story} has no tasks; READY_FOR_EXECUTION needs at least one")]
    NoTasks {
        /// The story.
        story: StoryId,
    },
    /// Tasks wait for each other.
    #[error("tasks of story {story} wait for each other: {}", path(cycle))]
    Cycle {
        /// The story.
        story: StoryId,
        /// Each task depends on the next; the first is repeated at the end.
        cycle: Vec<TaskId>,
    },
    /// Tasks cannot change now.
    #[error(
        "story {story} is in {state}: its tasks are frozen until it is carried over or reset to DRAFT"
    )]
    Frozen {
        /// The story.
        story: StoryId,
        /// Where it is.
        state: StoryState,
    },
    /// The content of the story cannot change now.
    #[error("story {story} is in {state}: its content changes only in DRAFT and PO_REVIEW")]
    NotEditable {
        /// The story.
        story: StoryId,
        /// Where it is.
        state: StoryState,
    },
    /// The story is put away.
    #[error("story {story} is in ARCHIVED: nothing about it changes any more")]
    Archived {
        /// The story.
        story: StoryId,
    },
    /// A dependency on a task of another story.
    #[error(
        "task {task} belongs to story {found}, not to {story}; dependencies stay within one story"
    )]
    ForeignDependency {
        /// The task that was to be waited for.
        task: TaskId,
        /// Its story.
        found: StoryId,
        /// The story of the task that was to wait.
        story: StoryId,
    },
    /// The story is full.
    #[error("story {story} would have {wanted} {what}; at most {limit}: split the story")]
    TooMany {
        /// The story.
        story: StoryId,
        /// `tasks`, `dependencies` or `bytes in its release`.
        what: &'static str,
        /// How many it would have.
        wanted: i64,
        /// How many it may have.
        limit: i64,
    },
    /// The project is closed.
    #[error("project {project} is {status}: nothing new goes under it")]
    ProjectClosed {
        /// The project.
        project: ProjectId,
        /// How it stands.
        status: Lifecycle,
    },
    /// The epic is closed.
    #[error("epic {epic} is {status}: nothing new goes under it")]
    EpicClosed {
        /// The epic.
        epic: EpicId,
        /// How it stands.
        status: Lifecycle,
    },
    /// The opposite was said before.
    #[error(
        "decision {decision} of story {story} was {verdict} by {by} at {at}; the first verdict stands"
    )]
    VerdictStands {
        /// The story.
        story: StoryId,
        /// The decision.
        decision: DecisionId,
        /// What was said.
        verdict: Verdict,
        /// Who said it.
        by: String,
        /// When.
        at: Timestamp,
    },
}

fn words(states: &[StoryState]) -> String {
    if states.is_empty() {
        return "no other state".to_owned();
    }
    states
        .iter()
        .map(|s| s.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn path(cycle: &[TaskId]) -> String {
    cycle
        .iter()
        .map(TaskId::as_str)
        .collect::<Vec<_>>()
        .join(" -> ")
}

fn missing(readiness: &Readiness) -> String {
    readiness
        .missing()
        .map(|c| format!("{} ({}/{}): {}", c.name, c.points, c.weight, c.reason))
        .collect::<Vec<_>>()
        .join(" ")
}
