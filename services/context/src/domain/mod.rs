//! What an agent is told: pure, without stores, clocks or wires.
//!
//! * [`Phase`], [`Scope`], [`Scopes`]: which sections a role is told in a phase;
//! * [`Entity`], [`Item`], [`Policies`], [`View`]: which rows and columns a role may see, and
//!   the one way from a row to something that can be shown;
//! * [`Tokens`]: counting as the models do;
//! * [`pack`]: a context made of all that, within a budget, with a receipt.

mod entity;
mod id;
pub mod pack;
mod phase;
mod policies;
mod scopes;
mod text;
mod tokens;
mod versions;
mod yaml;

pub use fleet_yaml::{Report, Violation};

pub use entity::{Column, ColumnKind, CorruptItem, Entity, Field, Item, Key, Props};
pub use id::Id;
pub use pack::{
    Ask, Assembler, DecisionEdge, Excluded, Fate, Included, Note, Pack, Reason, Receipt, Refused,
    RelationKind, Score, ScorePart, Section, Selection, StoryGraph, column_tokens, usual_budget,
};
pub use phase::{Phase, Scope};
pub use policies::{Between, Policies, Redaction, SHIPPED_POLICIES, View, Viewer};
pub use scopes::{Compared, NoScopes, SHIPPED_SCOPES, Scopes};
pub use text::{RENDER_VERSION, one_line};
pub use tokens::{CachedTokens, O200k, TOKENIZER, Tokens};
pub use versions::sha256_hex;
