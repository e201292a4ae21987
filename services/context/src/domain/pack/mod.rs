//! A context for an agent: chosen by role, phase and task, cut to a token budget, with a
//! receipt.
//!
//! Two steps, so that a store need not be asked for every text: [`Assembler::select`] looks at
//! light rows of everything and says which items to read whole, [`Assembler::assemble`] makes
//! the text of those. Both depend on nothing but their arguments: the same rows in any order
//! give the same bytes.

mod assemble;
mod graph;
mod head;
mod lines;
mod receipt;
mod render;
mod score;
mod select;
mod sieve;
mod table;
mod words;

use crate::domain::{Policies, Scopes, Tokens};

pub use assemble::{Pack, WholeRows};
pub use graph::{Ask, DecisionEdge, Refused, RelationKind, StoryGraph};
pub use lines::column_tokens;
pub use receipt::{Excluded, Fate, Included, Note, Reason, Receipt, Score, ScorePart, Section};
pub use select::{Selection, story_budget, usual_budget};

/// Makes contexts: the rules and the counter they need.
#[derive(Clone, Copy)]
pub struct Assembler<'a> {
    /// Who may see what.
    pub policies: &'a Policies,
    /// Who is told what in which phase.
    pub scopes: &'a Scopes,
    /// Counts tokens.
    pub tokens: &'a dyn Tokens,
}
