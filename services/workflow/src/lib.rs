//! Workflow.
pub mod domain;
pub mod fsm;
pub mod rows;
