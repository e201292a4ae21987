//! Decisions of councils.
//!
//! A decision that comes without an id is named after its task and its place, so that the same
//! council is never written down twice. When two councils about one task are told, the later one
//! speaks for it, in whatever order they are heard; but what was judged or changed since stays
//! as it is. Judged it is from the moment that planning has the verdict, whenever that is heard:
//! the product owner judged what was there then, and no other text may come under the verdict.

use fleet_graph::{Guard, NodeKey};
use fleet_service::{Fault, Found};
use fleet_types::{DecisionId, StoryId, TaskId};

use super::heard::Heard;
use super::{Edit, NewDecision, Scene, ends};
use crate::record::DecisionStatus;
use crate::rows::{self, DecisionRow, TaskSeen};

/// What a council decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// Its id.
    pub id: DecisionId,
    /// The decision; `affects` are the tasks that it would have a say in.
    pub new: NewDecision,
    /// The task that was deliberated about.
    pub task: TaskId,
}

impl Decided {
    /// What has to be read for it.
    pub(super) fn keys(&self, story: &StoryId) -> Vec<NodeKey> {
        let mut keys = ends::keys(&self.new.affects, []);
        keys.extend([rows::decision(&self.id), rows::review(story, &self.id)]);
        keys
    }

    /// Writes it down, unless what is there stands.
    pub(super) fn write(
        &self,
        scene: &Scene,
        found: &Found,
        edit: &mut Edit<'_>,
        heard: &Heard,
    ) -> Result<(), Fault> {
        let before = found.find::<DecisionRow>(&rows::decision(&self.id))?;
        // The story's version counts every council, also one that another overtook.
        edit.touch(format!("task:{}", self.task), heard.event.clone());
        if let Some(before) = &before {
            let row = &before.value;
            if row.story_id != heard.story_id {
                let what = format!("decision {}", self.id);
                return Err(ends::foreign(&what, &self.id, &heard.story_id));
            }
            let ours = (heard.at, heard.event.as_str());
            let theirs = (row.created_at, row.source_event.as_str());
            let untouched = row.status == DecisionStatus::Proposed
                && row.changed_by_role.is_empty()
                && row.deleted_at.is_none()
                && !row.source_event.is_empty();
            let review = rows::review(&heard.story_id, &self.id);
            if !untouched || ours <= theirs || found.node(&review).is_some() {
                tracing::info!(decision = %self.id, event = heard.event, "the decision that is there stands");
                return Ok(());
            }
            edit.guard(Guard::Absent(review));
        }
        let mut row = self.new.row(&heard.story_id, &self.id, scene);
        row.created_at = heard.at;
        row.updated_at = heard.at;
        row.source_event.clone_from(&heard.event);
        row.task_id = self.task.to_string();
        let mut affects = Vec::new();
        for task in std::mem::take(&mut row.affects) {
            // Others write tasks; one that is not there, or is another story's, is left out.
            let seen = found.find::<TaskSeen>(&rows::task(&task)).ok().flatten();
            if seen.is_some_and(|seen| seen.value.story_id == heard.story_id) {
                affects.push(task);
            }
        }
        row.affects = affects;
        let content = format!("{}\n{}\n{}", row.title, row.rationale, row.decision_type);
        edit.decision(before.as_ref(), row, content);
        Ok(())
    }
}
