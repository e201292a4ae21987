//! The context service: what an agent is told, by role, phase and token budget.

pub mod domain;
