//! The cache port: values that can be made again, kept for a while.
//!
//! * [`Cache`] is the port; [`Memory`] keeps its values in the process, `fleet-cache-valkey` on
//!   a server that replicas share. Every adapter passes the suite in [`conformance`].
//! * A [`Key`] has a closed grammar: nothing that a caller says reaches it unescaped, and it
//!   has a longest length. Whatever a value depends on belongs into its key, versions first of
//!   all; then a change needs no invalidation.
//! * Losing a cache costs time and nothing else: [`Tolerant`] turns every failure into a miss
//!   and leaves a cache that is away alone for a moment.
//! * [`SingleFlight`] makes a value once for all who want it at the same time.
//!
//! This crate knows nothing about services or what is cached.

mod cache;
pub mod conformance;
mod flight;
mod key;
mod memory;
mod metrics;
mod tolerant;

pub use cache::{Cache, CacheError, MAX_TTL, MAX_VALUE_BYTES, Stored, Usage};
pub use flight::SingleFlight;
pub use key::{Key, MAX_KEY_BYTES, Namespace};
pub use memory::Memory;
pub use metrics::{Measured, Metrics};
pub use tolerant::{Failures, Tolerant};
