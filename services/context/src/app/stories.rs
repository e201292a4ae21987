//! The context of a new story.

use async_trait::async_trait;
use fleet_graph::Commit;
use fleet_service::Fault;
use fleet_types::StoryId;

use super::{Command, Edit, Scene};
use crate::domain::Phase;
use crate::rows::{self, StoryContextRow, StorySeen};

/// Opens the context of a story in a phase; nothing happens to one that has moved on since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenContext {
    /// The story; planning has it.
    pub story_id: StoryId,
    /// The phase it starts in.
    pub phase: Phase,
}

/// The context is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The story.
    pub story_id: StoryId,
    /// The phase it is in.
    pub phase: Phase,
}

#[async_trait]
impl Command for OpenContext {
    type Outcome = Opened;

    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault> {
        let (story, context) = (rows::story(&self.story_id), rows::context(&self.story_id));
        let found = scene.get(vec![story.clone(), context.clone()]).await?;
        let story = found.need::<StorySeen>(&story)?.value;
        let mut edit = Edit::open(scene, &story, found.find::<StoryContextRow>(&context)?);
        edit.begin_in(self.phase);
        let outcome = Opened {
            story_id: self.story_id.clone(),
            phase: edit.phase(),
        };
        Ok((edit.finish().commit, outcome))
    }

    fn name(&self) -> &'static str {
        "create_story"
    }
}
