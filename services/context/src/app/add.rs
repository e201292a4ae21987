//! New decisions.

use async_trait::async_trait;
use fleet_graph::Commit;
use fleet_service::Fault;
use fleet_types::{DecisionId, StoryId, TaskId};

use super::{Command, Edit, Scene, ends};
use crate::record::DecisionStatus;
use crate::rows::{self, DecisionRow, StoryContextRow, StorySeen};

/// Records a decision about a story, as proposed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewDecision {
    /// Its title.
    pub title: String,
    /// Why.
    pub rationale: String,
    /// What kind of decision.
    pub decision_type: String,
    /// What else was considered.
    pub alternatives: Vec<String>,
    /// The role that decided; may be empty.
    pub author_role: String,
    /// The agent that decided; may be empty.
    pub author_agent: String,
    /// Tasks it has a say in.
    pub affects: Vec<TaskId>,
    /// Decisions it rests on.
    pub depends_on: Vec<DecisionId>,
    /// Decisions it takes the place of.
    pub supersedes: Vec<DecisionId>,
}

/// Records a decision about a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddDecision {
    /// The story.
    pub story_id: StoryId,
    /// What was decided.
    pub new: NewDecision,
}

/// It is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub decision_id: DecisionId,
    /// The version of the story's context from now on.
    pub version: i64,
}

#[async_trait]
impl Command for AddDecision {
    type Outcome = Added;

    async fn decide(&self, scene: &Scene) -> Result<(Box<Commit>, Self::Outcome), Fault> {
        let new = &self.new;
        let (story, context) = (rows::story(&self.story_id), rows::context(&self.story_id));
        let decisions = new.depends_on.iter().chain(&new.supersedes);
        let mut keys = ends::keys(&new.affects, decisions);
        keys.extend([story.clone(), context.clone()]);
        let found = scene.get(keys).await?;
        let story = found.need::<StorySeen>(&story)?.value;
        for task in &new.affects {
            ends::check_task(&found, &self.story_id, task, "affects")?;
        }
        for decision in &new.depends_on {
            ends::check_decision(&found, &self.story_id, decision, "depends_on")?;
        }
        for decision in &new.supersedes {
            ends::check_decision(&found, &self.story_id, decision, "supersedes")?;
        }
        let decision_id = DecisionId::mint(scene.ids.uuid());
        let mut edit = Edit::open(scene, &story, found.find::<StoryContextRow>(&context)?);
        let content = [&new.title, &new.rationale, &new.decision_type].map(String::as_str);
        let content = content.join("\n");
        edit.decision(None, new.row(&self.story_id, &decision_id, scene), content);
        let finished = edit.finish();
        let outcome = Added {
            decision_id,
            version: finished.version,
        };
        Ok((finished.commit, outcome))
    }

    fn name(&self) -> &'static str {
        "add_decision"
    }
}

impl NewDecision {
    /// The row of the decision under this id.
    pub fn row(&self, story_id: &StoryId, decision_id: &DecisionId, scene: &Scene) -> DecisionRow {
        DecisionRow {
            decision_id: decision_id.clone(),
            story_id: story_id.clone(),
            title: self.title.clone(),
            rationale: self.rationale.clone(),
            status: DecisionStatus::Proposed,
            decision_type: self.decision_type.clone(),
            alternatives: self.alternatives.clone(),
            author_role: self.author_role.clone(),
            author_agent: self.author_agent.clone(),
            task_id: String::new(),
            affects: self.affects.clone(),
            depends_on: self.depends_on.clone(),
            supersedes: self.supersedes.clone(),
            alternative_of: Vec::new(),
            created_at: scene.now,
            updated_at: scene.now,
            changed_by_role: String::new(),
            change_reason: String::new(),
            stated_at: String::new(),
            source_event: String::new(),
            deleted_at: None,
            content_hash: String::new(),
            tokens_rationale: 0,
            tokens_by: String::new(),
            changed_in: 0,
            light: String::new(),
        }
    }
}
