//! What may happen to a task, and what follows: `(run, command, now) → change | rejection`.
//!
//! Pure. No store, no clock, no randomness; a machine, a run and a time go in, a new run with
//! its hops and what is to be said comes out. The order of checks is always the same: role,
//! state, holder, guard (whether the input parses and the task exists was checked before).

mod change;
mod claims;
mod decide;
mod next;
mod own;
mod release;
mod run;
mod story;

pub use change::{Change, EscalationReason, Hop, Notice};
pub use decide::{Actor, Command, Handed, Rejection, decide};
pub use next::{NextAction, NextActions, WhyNot, next_actions};
pub use release::{Late, Release, Released, release};
pub use run::{Claim, Judged, TaskRun, Work};
pub use story::{Ended, Phase, StoryRun, task_ended};
