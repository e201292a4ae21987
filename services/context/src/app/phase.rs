//! Steps of a story from phase to phase.

use async_trait::async_trait;
use fleet_graph::Commit;
use fleet_service::{Fault, Reason};
use fleet_types::{StoryId, Timestamp};

use super::{Command, Edit, Scene};
use crate::domain::Phase;
use crate::rows::{self, StoryContextRow, StorySeen};

/// Moves a story to another phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransitionPhase {
    /// The story.
    pub story_id: StoryId,
    /// The phase it has to be in.
    pub from: Phase,
    /// Another one.
    pub to: Phase,
    /// Why; may be empty.
    pub rationale: String,
    /// Who wants it.
    pub by: String,
}

/// The story is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The story.
    pub story_id: StoryId,
    /// The phase it is in.
    pub phase: Phase,
    /// Since when.
    pub at: Timestamp,
    /// The version of its context that the step made.
    pub version: i64,
}

#[async_trait]
impl Command for TransitionPhase {
    type Outcome = Moved;

    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault> {
        let (story, context) = (rows::story(&self.story_id), rows::context(&self.story_id));
        let found = scene.get(vec![story.clone(), context.clone()]).await?;
        let story = found.need::<StorySeen>(&story)?.value;
        let context = found.find::<StoryContextRow>(&context)?;
        if let Some(context) = context.as_ref().map(|context| &context.value)
            && context.phase == self.to
            && context.phase_from == Some(self.from)
        {
            let first = Moved {
                story_id: self.story_id.clone(),
                phase: context.phase,
                at: context.phase_since,
                version: context.phase_version,
            };
            return Ok((scene.commit(), first));
        }
        let mut edit = Edit::open(scene, &story, context);
        if edit.phase() != self.from {
            let message = format!(
                "story {} is in phase {}, not in {}",
                self.story_id,
                edit.phase(),
                self.from
            );
            return Err(Fault::precondition(Reason::PhaseMismatch, message)
                .with("subject", &self.story_id)
                .with("current_phase", edit.phase()));
        }
        edit.step(self.to, &self.rationale, &self.by);
        let finished = edit.finish();
        let outcome = Moved {
            story_id: self.story_id.clone(),
            phase: self.to,
            at: scene.now,
            version: finished.version,
        };
        Ok((finished.commit, outcome))
    }

    fn name(&self) -> &'static str {
        "transition_phase"
    }
}
