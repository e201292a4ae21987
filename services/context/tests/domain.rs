//! What an agent is told, as it reads and as it must hold for every story.

#![expect(clippy::unwrap_used, reason = "a test may fail")]

#[path = "domain/fixture.rs"]
mod fixture;
#[path = "domain/packs.rs"]
mod packs;
#[path = "domain/policies.rs"]
mod policies;
#[path = "domain/properties.rs"]
mod properties;
#[path = "domain/scopes.rs"]
mod scopes;
#[path = "domain/text.rs"]
mod text;
