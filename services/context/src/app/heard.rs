//! What was heard about a story becomes part of its context.
//!
//! State-based, so order and repetition do not matter: ids come from the event, every event
//! about a story moves its version once, and what cannot follow any more is passed over.

use async_trait::async_trait;
use fleet_graph::{Commit, Versioned};
use fleet_service::Fault;
use fleet_types::{DecisionId, StoryId, Timestamp};

use super::{Command, Decided, Edit, Scene};
use crate::record::DecisionStatus;
use crate::rows::{self, DecisionRow, EventRow, StoryContextRow, StorySeen};

/// Something that happened to a story, worth telling.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Milestone {
    /// What kind of thing.
    pub event_type: &'static str,
    /// In words.
    pub description: String,
    /// Who did it; may be empty.
    pub actor: String,
    /// In which role; may be empty.
    pub actor_role: String,
    /// The task it happened to; may be empty.
    pub task_id: String,
}

/// What news do to a context.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// It is opened; a milestone says so.
    Created,
    /// Something that is not context's own is another now.
    Touched(String),
    /// Something happened.
    Happened(Milestone),
    /// A decision was judged.
    Judged(DecisionId, DecisionStatus, String),
    /// A council decided.
    Decided(Vec<Decided>),
}

/// News of a story, with the event that told them.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The story.
    pub story_id: StoryId,
    /// The event, as an id within the story.
    pub event: String,
    /// When it happened.
    pub at: Timestamp,
    /// What it does.
    pub news: Vec<News>,
}

#[async_trait]
impl Command for Heard {
    type Outcome = ();

    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault> {
        let (story, context) = (rows::story(&self.story_id), rows::context(&self.story_id));
        let told = rows::event(&self.story_id, &self.event);
        let mut keys = vec![story.clone(), context.clone(), told.clone()];
        for news in &self.news {
            match news {
                News::Judged(decision, ..) => keys.push(rows::decision(decision)),
                News::Decided(decided) => {
                    keys.extend(decided.iter().flat_map(|d| d.keys(&self.story_id)));
                }
                News::Created | News::Touched(_) | News::Happened(_) => {}
            }
        }
        let found = scene.get(keys).await?;
        let story = found.need::<StorySeen>(&story)?.value;
        let mut edit = Edit::open(scene, &story, found.find::<StoryContextRow>(&context)?);
        for news in &self.news {
            match news {
                News::Created => {
                    let phase = edit.phase();
                    edit.begin_in(phase);
                    edit.touch(format!("story:{}", self.story_id), "created");
                }
                News::Touched(what) => edit.touch(what.clone(), self.event.clone()),
                News::Happened(milestone) if found.node(&told).is_none() => {
                    let content = milestone.description.clone();
                    edit.event(None, self.row(milestone), content);
                }
                News::Happened(_) => {}
                News::Judged(id, status, by) => {
                    let before = found.need::<DecisionRow>(&rows::decision(id))?;
                    self.judge(&mut edit, &before, *status, by)?;
                }
                News::Decided(decided) => {
                    for decided in decided {
                        decided.write(scene, &found, &mut edit, self)?;
                    }
                }
            }
        }
        Ok((edit.finish().commit, ()))
    }

    fn name(&self) -> &'static str {
        "event"
    }
}

impl Heard {
    fn row(&self, milestone: &Milestone) -> EventRow {
        EventRow {
            event_id: self.event.clone(),
            story_id: self.story_id.clone(),
            event_type: milestone.event_type.to_owned(),
            description: milestone.description.clone(),
            actor: milestone.actor.clone(),
            actor_role: milestone.actor_role.clone(),
            task_id: milestone.task_id.clone(),
            at: self.at,
            updated_at: self.at,
            change_reason: String::new(),
            stated_at: String::new(),
            deleted_at: None,
            tokens_description: 0,
            tokens_by: String::new(),
        }
    }

    /// A verdict holds whatever else was made of the decision, unless it was deleted; what
    /// followed from the verdict since stays.
    fn judge(
        &self,
        edit: &mut Edit<'_>,
        before: &Versioned<DecisionRow>,
        status: DecisionStatus,
        by: &str,
    ) -> Result<(), Fault> {
        let row = &before.value;
        if row.story_id != self.story_id {
            let what = format!("decision {}", row.decision_id);
            return Err(super::ends::foreign(
                &what,
                &row.decision_id,
                &self.story_id,
            ));
        }
        let status = row.status.under(status);
        if row.deleted_at.is_some() || row.status == status {
            return Ok(());
        }
        let mut after = row.clone();
        after.status = status;
        after.updated_at = self.at.max(row.updated_at);
        after.changed_by_role = fleet_types::Role::Po.as_str().to_owned();
        after.change_reason = format!("{status} by {by}");
        let content = format!("{status}\n{by}");
        edit.decision(Some(before), after, content);
        Ok(())
    }
}
