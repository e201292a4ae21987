//! UpdateContext: changes of decisions, milestones and summaries, all of them or none.

mod apply;

use std::collections::{BTreeSet, HashMap, HashSet};

use async_trait::async_trait;
use fleet_graph::{Commit, MAX_COMMIT_BYTES, MAX_WRITES, NodeKey};
use fleet_service::{Fault, Found};
use fleet_types::{Role, StoryId, TaskId};

use super::{Command, Edit, Scene, ends};
use crate::record::{CONTEXT_UPDATED, Change, Operation, Patch, content_hash};
use crate::rows::{self, EventRow, StoryContextRow, StorySeen};

/// Room for what goes with the changes: the story's context, the record of the call, and the
/// request's own.
const BESIDE_WRITES: usize = 16;
const BESIDE_BYTES: usize = 256 * 1024;

/// Changes of a story's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateContext {
    /// The story.
    pub story_id: StoryId,
    /// The task in whose course they were made.
    pub task_id: Option<TaskId>,
    /// The role that makes them.
    pub role: Role,
    /// Who that is.
    pub by: String,
    /// At least one; each thing at most once.
    pub changes: Vec<Change>,
    /// When they were made, as their maker says; may be empty.
    pub stated_at: String,
    /// The version that the context must have; 0 = it must not have any yet.
    pub expected_version: Option<i64>,
}

/// They happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updated {
    /// The version of the story's context from now on.
    pub version: i64,
    /// Of what was changed.
    pub hash: String,
    /// What the caller may want to know.
    pub warnings: Vec<String>,
}

impl UpdateContext {
    /// The node that a change is about.
    fn key(&self, change: &Change) -> NodeKey {
        match &change.patch {
            Patch::Decision(id, _) => rows::decision(id),
            Patch::Milestone(_) => rows::event(&self.story_id, &change.id),
            Patch::Summary(_) => rows::summary(&self.story_id, &change.id),
        }
    }

    /// Everything that deciding needs to see.
    fn keys(&self) -> Vec<NodeKey> {
        let mut keys = vec![rows::story(&self.story_id), rows::context(&self.story_id)];
        keys.extend(self.task_id.as_ref().map(rows::task));
        for change in &self.changes {
            keys.push(self.key(change));
            if let Patch::Decision(id, patch) = &change.patch {
                keys.push(rows::review(&self.story_id, id));
                let decisions = patch.decisions().map(|(_, id)| id);
                keys.extend(ends::keys(patch.tasks(), decisions));
            }
        }
        keys
    }

    /// Of the changes, whatever they meet: the same changes give the same hash.
    fn hash(&self) -> String {
        let parts: Vec<(String, String)> = self
            .changes
            .iter()
            .map(|change| {
                (
                    format!("{} {}", change.kind(), change.id),
                    change.canonical(),
                )
            })
            .collect();
        content_hash(parts.iter().map(|(what, is)| (what.as_str(), is.as_str())))
    }

    /// The relations of the decisions lead to what will be there after the call.
    fn check_ends(&self, found: &Found) -> Result<(), Fault> {
        let story = &self.story_id;
        // What this call does to decisions. Whether it may is decided where it is applied.
        let own: HashMap<&str, Operation> = self
            .changes
            .iter()
            .filter(|change| matches!(change.patch, Patch::Decision(..)))
            .map(|change| (change.id.as_str(), change.operation))
            .collect();
        // Each end is looked at once, however often it is named.
        let mut seen = HashSet::new();
        for (i, change) in self.changes.iter().enumerate() {
            let Patch::Decision(_, patch) = &change.patch else {
                continue;
            };
            let field = |name: &str| format!("changes[{i}].payload.{name}");
            for task in patch.tasks().filter(|task| seen.insert(task.as_str())) {
                ends::check_task(found, story, task, &field("affects"))?;
            }
            for (name, to) in patch.decisions() {
                if !seen.insert(to.as_str()) {
                    continue;
                }
                match own.get(to.as_str()) {
                    Some(Operation::Create) => {}
                    Some(Operation::Upsert) if found.node(&rows::decision(to)).is_none() => {}
                    Some(Operation::Delete) => {
                        let what = format!("{}: decision {to}", field(name));
                        return Err(ends::deleted(&what, to));
                    }
                    _ => ends::check_decision(found, story, to, &field(name))?,
                }
            }
        }
        Ok(())
    }

    /// One record of the call: who, in which role, and what changed, each thing with its reason.
    fn record(&self, scene: &Scene, done: &[String]) -> EventRow {
        let reasons: BTreeSet<&str> = self
            .changes
            .iter()
            .map(|change| change.reason.as_str())
            .filter(|reason| !reason.is_empty())
            .collect();
        // Several reasons stand behind the things that they are about.
        let reason = match reasons.len() {
            1 => reasons.into_iter().next().unwrap_or_default(),
            _ => "",
        };
        EventRow {
            event_id: format!("update-{}", scene.ids.uuid()),
            story_id: self.story_id.clone(),
            event_type: CONTEXT_UPDATED.to_owned(),
            description: done.join("; "),
            actor: self.by.clone(),
            actor_role: self.role.as_str().to_owned(),
            task_id: self
                .task_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            at: scene.now,
            updated_at: scene.now,
            change_reason: reason.to_owned(),
            stated_at: self.stated_at.clone(),
            deleted_at: None,
            tokens_description: 0,
            tokens_by: String::new(),
        }
    }
}

#[async_trait]
impl Command for UpdateContext {
    type Outcome = Updated;

    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault> {
        let (story, context) = (rows::story(&self.story_id), rows::context(&self.story_id));
        let found = scene.get(self.keys()).await?;
        let story = found.need::<StorySeen>(&story)?.value;
        let mut edit = Edit::open(scene, &story, found.find::<StoryContextRow>(&context)?);
        if let Some(expected) = self.expected_version
            && expected != edit.version()
        {
            let what = format!("the context of story {}", self.story_id);
            return Err(Fault::stale_version(what, expected, edit.version()));
        }
        if let Some(task) = &self.task_id {
            ends::check_task(&found, &self.story_id, task, "task_id")?;
        }
        let mut done = Vec::new();
        let mut warnings = Vec::new();
        for (i, change) in self.changes.iter().enumerate() {
            match apply::apply(self, &found, scene, &mut edit, (i, change))? {
                Some(what) if change.reason.is_empty() => done.push(what),
                Some(what) => done.push(format!("{what}: {}", change.reason)),
                None => warnings.push(format!(
                    "changes[{i}]: {} {} is like that already",
                    change.kind(),
                    change.id
                )),
            }
        }
        self.check_ends(&found)?;
        if !done.is_empty() {
            let row = self.record(scene, &done);
            // The record is not among what the caller changed: it is no news of its own.
            edit.append(&row);
        }
        let (writes, bytes) = edit.size();
        if writes + BESIDE_WRITES > MAX_WRITES || bytes + BESIDE_BYTES > MAX_COMMIT_BYTES {
            let problem = format!(
                "come to {writes} writes of {bytes} bytes with all relations, more than one \
                 commit takes; send fewer at once"
            );
            return Err(Fault::invalid("changes", problem));
        }
        let finished = edit.finish_as(self.hash());
        let outcome = Updated {
            version: finished.version,
            hash: finished.hash,
            warnings,
        };
        Ok((finished.commit, outcome))
    }

    fn name(&self) -> &'static str {
        "update_context"
    }
}
