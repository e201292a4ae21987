//! What planning is about, without any I/O: entities, the story's machine, the Definition of
//! Ready, dependencies and verdicts.
//!
//! Everything here is `(state, command, now) → (new state, what happened) | rejection`. The
//! domain knows nothing about stores, wires, clocks or chance: time is an argument, versions
//! are the store's. The entities are flat, so that each is also the row that is stored.

mod decision;
mod dependencies;
mod machine;
mod plan;
mod project;
mod readiness;
mod rejection;
mod story;
mod task;
mod words;

#[cfg(test)]
mod tests;

pub use decision::{DecisionReview, Judged, judge};
pub use dependencies::find_cycle;
pub use machine::{admits_edits, allowed, frozen, po_gate};
pub use plan::PlanVersion;
pub use project::{Epic, Project};
pub use readiness::{Criterion, DEFAULT_THRESHOLD, Readiness, Subject, assess};
pub use rejection::Rejection;
pub use story::{Hop, Move, Moved, NewStory, SYSTEM, Story, StoryEdit};
pub use task::{
    MAX_DEPENDENCIES, MAX_TASKS, NewTask, RunStep, Task, TaskEdit, add_dependency, create_task,
    edit_task, remove_dependency,
};
pub use words::{Lifecycle, Size, StoryState, TaskStatus, TaskType, Verdict};
