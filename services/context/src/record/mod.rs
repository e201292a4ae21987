//! What may be done to the record of a story (decisions, milestones, summaries): pure. No I/O,
//! no clock.
//!
//! * [`Change`]: one change as it is wanted, with its payload checked;
//! * [`DecisionStatus`]: how a decision may go on;
//! * [`content_hash`]: the same content has the same hash.

mod change;
mod hash;
mod payload;
mod status;

pub use change::{
    Change, DecisionPatch, Kind, MilestonePatch, Operation, Patch, SummaryPatch, WORDS_BY_OTHERS,
};
pub use hash::content_hash;
pub use payload::{MAX_DEPTH, MAX_LIST, MAX_PAYLOAD_BYTES, patch};
pub use status::DecisionStatus;

/// The type of the milestones by which the fleet writes changes down. Nobody else writes or
/// changes those.
pub const CONTEXT_UPDATED: &str = "context_updated";
