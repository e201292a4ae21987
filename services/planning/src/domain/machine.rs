//! The moves of a story, as data.

use super::StoryState::{self, *};

/// The moves of each state, except the reset to DRAFT that [`allowed`] adds.
const fn forward(from: StoryState) -> &'static [StoryState] {
    match from {
        Draft => &[PoReview],
        PoReview => &[ReadyForPlanning],
        ReadyForPlanning => &[Planned],
        Planned => &[ReadyForExecution],
        ReadyForExecution => &[InProgress, CarryOver],
        InProgress => &[CodeReview, CarryOver],
        CodeReview => &[Testing, InProgress, CarryOver],
        Testing => &[ReadyToReview, InProgress, CarryOver],
        ReadyToReview => &[Accepted, InProgress, CarryOver],
        Accepted => &[Done],
        CarryOver => &[ReadyForExecution, Archived],
        Done => &[Archived],
        Archived => &[],
    }
}

/// Every state that a story in `from` can move to, the reset to DRAFT last.
pub fn allowed(from: StoryState) -> Vec<StoryState> {
    let reset = (!matches!(from, Draft | Archived)).then_some(Draft);
    forward(from).iter().copied().chain(reset).collect()
}

/// Whether tasks and their dependencies are frozen: from the release to execution on, until
/// the story is carried over or reset.
pub fn frozen(state: StoryState) -> bool {
    match state {
        Draft | PoReview | ReadyForPlanning | Planned | CarryOver => false,
        ReadyForExecution | InProgress | CodeReview | Testing | ReadyToReview | Accepted | Done
        | Archived => true,
    }
}

/// Whether the content of a story may change: while it is written and looked at. Later the
/// Definition of Ready has been judged by it; a reset to DRAFT opens it again.
pub fn admits_edits(state: StoryState) -> bool {
    matches!(state, Draft | PoReview)
}

/// Whether a move is the product owner's alone: everything out of PO_REVIEW, and acceptance.
pub fn po_gate(from: StoryState, to: StoryState) -> bool {
    matches!((from, to), (PoReview, _) | (ReadyToReview, Accepted))
}
