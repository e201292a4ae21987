//! `planning.story.transitioned`: a released story starts its tasks, a carried over one rests
//! them, a reset one cancels what is unfinished.
//!
//! Executions of a story are numbered, and each only moves on (releasing, active, suspended,
//! abandoned). So the beginning of an execution may be heard after its end, or after the
//! beginning of the next, and what is then created is created as it would be now.

mod ending;
mod order;
mod releasing;

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::StoryTransitioned;
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::{CommitError, Deadline};
use fleet_types::StoryId;

use super::cause;
use crate::domain::Phase;
use crate::engine::{Cause, ChangeError, Engine, Plan, StoredStory};
use crate::rows::StoryRunRow;

/// The durable consumer.
pub(crate) const STORY_TRANSITIONS: &str = "workflow-planning-events";

/// Tasks in one commit: each brings a run, hops, a timer, edges and events with it, and a
/// commit has at most 2,000 of them.
const CHUNK: usize = 100;
/// How often a step is decided again after a lost race.
const MAX_ATTEMPTS: u32 = 20;

/// Runs a step until it is done, again after each lost race.
macro_rules! settle {
    ($engine:expr, $cause:expr, $step:expr) => {{
        let mut attempt = 0;
        loop {
            match $step.await {
                Err(ChangeError::Commit(error))
                    if fleet_service::races::Race::lost(&error).is_some()
                        && attempt < MAX_ATTEMPTS =>
                {
                    $engine.pause(attempt, $cause.deadline).await;
                    attempt += 1;
                }
                Err(error) => break Err(failed(error)),
                Ok(done) => break Ok(done),
            }
        }
    }};
}
use settle;

/// Follows the stories.
pub(crate) struct PlanningEvents(pub Arc<Engine>);

#[async_trait]
impl Handler for PlanningEvents {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let moved: StoryTransitioned = event.parsed()?;
        let cause = cause(STORY_TRANSITIONS, event, deadline);
        let end = match moved.to_state.to_ascii_uppercase().as_str() {
            "READY_FOR_EXECUTION" => return self.released(&moved, &cause).await,
            "CARRY_OVER" => Phase::Suspended,
            "DRAFT" => Phase::Abandoned,
            _ => return Ok(()),
        };
        // A story that was never released has nothing to stop.
        if moved.execution < 1 {
            Ok(())
        } else {
            self.ended(&moved, end, &cause).await
        }
    }
}

impl PlanningEvents {
    async fn story(
        &self,
        story: &StoryId,
        execution: i64,
        deadline: Deadline,
    ) -> Result<Option<StoredStory>, ChangeError> {
        let key = StoryRunRow::key_of(story, execution);
        let found = self
            .0
            .committer
            .store()
            .get(&[key], deadline)
            .await?
            .into_iter()
            .next();
        match found.flatten() {
            None => Ok(None),
            Some(node) => {
                let (run, version) = (StoryRunRow::read(&node)?, node.version);
                Ok(Some(StoredStory { run, version }))
            }
        }
    }

    async fn send(&self, plan: Plan<'_>, cause: &Cause) -> Result<(), ChangeError> {
        if plan.commit.nodes.is_empty() && plan.commit.answers.is_none() {
            return Ok(());
        }
        match self.0.send(plan, cause.deadline).await {
            Ok(()) | Err(CommitError::AlreadyApplied) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
