//! Planning.
pub mod domain;
