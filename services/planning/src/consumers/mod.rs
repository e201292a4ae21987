//! What planning does on what others say.

mod begun;
mod workflow_events;

pub use workflow_events::WorkflowEvents;
