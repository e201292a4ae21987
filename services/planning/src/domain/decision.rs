//! The product owner's verdict on a decision: the first one counts.

use fleet_types::{DecisionId, StoryId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Rejection, Verdict};

/// A verdict. Never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionReview {
    /// The story.
    pub story_id: StoryId,
    /// The decision.
    pub decision_id: DecisionId,
    /// What was said.
    pub verdict: Verdict,
    /// Who said it.
    pub by: String,
    /// The remark with an approval, the reason of a rejection; may be empty.
    pub words: String,
    /// When.
    pub at: Timestamp,
}

/// What became of a verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// It is the first.
    New(DecisionReview),
    /// The same was said before; this is what stands.
    Same(DecisionReview),
}

/// Adds a verdict to what was said before.
pub fn judge(before: Option<DecisionReview>, said: DecisionReview) -> Result<Judged, Rejection> {
    match before {
        None => Ok(Judged::New(said)),
        Some(first) if first.verdict == said.verdict => Ok(Judged::Same(first)),
        Some(first) => Err(Rejection::VerdictStands {
            story: first.story_id,
            decision: first.decision_id,
            verdict: first.verdict,
            by: first.by,
            at: first.at,
        }),
    }
}
