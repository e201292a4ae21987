//! What is stored: the rows that this service writes (`own`), and what it sees of the rows of
//! planning (`seen`).
//!
//! | label | id | place in listings (`ord`) |
//! |---|---|---|
//! | `StoryContext` | story | story's creation, story |
//! | `Decision` | decision | creation, decision |
//! | `Event` | `<story>/<event>` | time, event |
//! | `PhaseTransition` | `<story>/<seq>` | sequence number |
//! | `Summary` | `<story>/<summary>` | creation, summary |
//!
//! What is deleted stays as a tombstone: `deleted_at` is set, texts are empty, relations of its
//! own are gone. It is never changed again, and its id stays taken.

mod light;
mod own;
mod seen;

pub use light::LightDecision;
pub use own::{DecisionRow, EventRow, PhaseRow, StoryContextRow, SummaryRow};
pub use seen::{ReviewSeen, StorySeen, TaskSeen};

use fleet_graph::{Label, NodeKey};
use fleet_types::{DecisionId, StoryId, TaskId, Timestamp};

/// Key of a story; planning's.
pub fn story(id: &StoryId) -> NodeKey {
    NodeKey::new(Label::Story, id.as_str())
}

/// Key of a task; planning's.
pub fn task(id: &TaskId) -> NodeKey {
    NodeKey::new(Label::Task, id.as_str())
}

/// Key of a story's context.
pub fn context(story: &StoryId) -> NodeKey {
    NodeKey::new(Label::StoryContext, story.as_str())
}

/// Key of a decision.
pub fn decision(id: &DecisionId) -> NodeKey {
    NodeKey::new(Label::Decision, id.as_str())
}

/// Key of the verdict on a decision; planning's.
pub fn review(story: &StoryId, decision: &DecisionId) -> NodeKey {
    NodeKey::new(Label::DecisionReview, format!("{story}/{decision}"))
}

/// Key of something that happened to a story.
pub fn event(story: &StoryId, id: &str) -> NodeKey {
    NodeKey::new(Label::Event, format!("{story}/{id}"))
}

/// Key of a summary of a story.
pub fn summary(story: &StoryId, id: &str) -> NodeKey {
    NodeKey::new(Label::Summary, format!("{story}/{id}"))
}

/// Key of a story's step from phase to phase.
pub fn phase(story: &StoryId, seq: i64) -> NodeKey {
    NodeKey::new(Label::PhaseTransition, format!("{story}/{seq}"))
}

/// The place of a row in listings: by time, then id.
pub fn ord(at: Timestamp, id: impl std::fmt::Display) -> String {
    format!("{at}|{id}")
}

/// The place of a numbered row in listings.
pub fn ord_seq(seq: i64) -> String {
    format!("{seq:012}")
}
