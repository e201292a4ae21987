//! One change of a story's context on its way into a commit.
//!
//! Whatever it holds, it writes the story's `StoryContext` too, so its version counts the
//! changes and two writers of one story cannot both win; and it says `context.events.updated`.

use std::collections::BTreeMap;

use fleet_events::payload::{ContextUpdated, DecisionAdded};
use fleet_graph::{Commit, EdgeType, EdgeWrite, Guard, NodeKey, NodeWrite, Versioned, props};
use fleet_types::StoryId;

use super::Scene;
use crate::domain::Phase;
use crate::record::content_hash;
use crate::rows::{self, DecisionRow, EventRow, PhaseRow, StoryContextRow, StorySeen, SummaryRow};

/// How much of a title an event carries, in characters.
const TITLE_IN_EVENT: usize = 200;

/// A change being put together.
pub struct Edit<'a> {
    scene: &'a Scene,
    context: StoryContextRow,
    /// The version it has now; 0 = it is opened by this change.
    expected: i64,
    commit: Box<Commit>,
    /// What changed, with its content.
    changed: BTreeMap<String, String>,
}

/// A change, ready to be committed.
pub struct Finished {
    /// What to commit; holds nothing if nothing changes.
    pub commit: Box<Commit>,
    /// The version of the story's context from then on.
    pub version: i64,
    /// Of what changed.
    pub hash: String,
}

impl<'a> Edit<'a> {
    /// A change of the context of `story`; the first one opens it, in [`Phase::Design`].
    pub fn open(
        scene: &'a Scene,
        story: &StorySeen,
        context: Option<Versioned<StoryContextRow>>,
    ) -> Self {
        let expected = context.as_ref().map_or(0, |context| context.version);
        let context = context.map_or_else(
            || {
                let created_at = story.created_at.unwrap_or(scene.now);
                StoryContextRow {
                    story_id: story.story_id.clone(),
                    phase: Phase::Design,
                    phase_seq: 0,
                    phase_since: created_at,
                    phase_from: None,
                    phase_version: 0,
                    created_at,
                    updated_at: scene.now,
                    last_hash: String::new(),
                    decisions: Some(0),
                    decision_versions: Some(0),
                }
            },
            |context| context.value,
        );
        Self {
            scene,
            context,
            expected,
            commit: scene.commit(),
            changed: BTreeMap::new(),
        }
    }

    /// The story.
    pub fn story(&self) -> &StoryId {
        &self.context.story_id
    }

    /// The phase that the story is in.
    pub fn phase(&self) -> Phase {
        self.context.phase
    }

    /// The version that the context has before this change; 0 = it has none yet.
    pub fn version(&self) -> i64 {
        self.expected
    }

    /// Whether anything changes so far.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// How many writes and bytes it takes so far, roughly: those of the whole commit are a
    /// little more.
    pub fn size(&self) -> (usize, usize) {
        let commit = &self.commit;
        let writes =
            commit.guards.len() + commit.nodes.len() + commit.edges.len() + commit.events.len();
        let bytes = |write: &NodeWrite| match write {
            NodeWrite::Create { props, .. } | NodeWrite::Update { props, .. } => {
                let texts = props.values().map(|value| match value {
                    serde_json::Value::String(text) => text.len(),
                    serde_json::Value::Array(items) => items
                        .iter()
                        .map(|item| item.as_str().map_or(8, str::len))
                        .sum(),
                    _ => 8,
                });
                texts.sum::<usize>() + 32 * props.len()
            }
            NodeWrite::Delete { .. } => 0,
        };
        let said: usize = commit.events.iter().map(|e| e.payload.len()).sum();
        (writes, commit.nodes.iter().map(bytes).sum::<usize>() + said)
    }

    /// Something that has to hold for the change to happen.
    pub fn guard(&mut self, guard: Guard) {
        self.commit.guard(guard);
    }

    /// Says that something changed that is not context's own.
    pub fn touch(&mut self, what: impl Into<String>, content: impl Into<String>) {
        self.changed.insert(what.into(), content.into());
    }

    /// The context begins in `phase`, unless it began before in another and went on since.
    pub fn begin_in(&mut self, phase: Phase) {
        if self.expected == 0 {
            self.context.phase = phase;
            self.touch(format!("story:{}", self.story()), phase.as_str());
        } else if self.context.phase_seq == 0 && self.context.phase != phase {
            self.context.phase = phase;
            self.touch(format!("phase:{phase}"), phase.as_str());
        }
    }

    /// A step to another phase.
    pub fn step(&mut self, to: Phase, rationale: &str, by: &str) {
        let from = self.context.phase;
        let seq = self.context.phase_seq + 1;
        let story_id = self.story().clone();
        let key = rows::phase(&story_id, seq);
        let row = PhaseRow {
            transition_id: key.id().to_owned(),
            story_id,
            seq,
            from_phase: from,
            to_phase: to,
            rationale: rationale.to_owned(),
            actor: by.to_owned(),
            at: self.scene.now,
            tokens_rationale: self.scene.count(rationale),
            tokens_by: self.scene.policies.counted_by(),
        };
        self.commit
            .create(key.clone(), rows::ord_seq(seq), props(&row));
        self.relate_to_story(EdgeType::HasPhase, key);
        self.context.phase = to;
        self.context.phase_from = Some(from);
        self.context.phase_seq = seq;
        self.context.phase_since = self.scene.now;
        self.context.phase_version = self.expected + 1;
        self.touch(format!("phase:{to}"), format!("{from}>{to}\n{rationale}"));
    }

    /// Writes a decision that was not there, or was as `before`; hash, counts and
    /// light text are made here.
    /// `content` is what the hash of the change covers.
    pub fn decision(
        &mut self,
        before: Option<&Versioned<DecisionRow>>,
        mut row: DecisionRow,
        content: String,
    ) {
        let status = row.status.as_str();
        let alternatives = row.alternatives.join("\n");
        row.content_hash = content_hash([
            ("title", row.title.as_str()),
            ("rationale", &row.rationale),
            ("type", &row.decision_type),
            ("status", status),
            ("alternatives", &alternatives),
        ]);
        row.tokens_rationale = self.scene.count(&row.rationale);
        row.tokens_by = self.scene.policies.counted_by();
        row.changed_in = self.expected + 1;
        row.light = row.lightly();
        let key = rows::decision(&row.decision_id);
        let ord = rows::ord(row.created_at, &row.decision_id);
        self.relations(&key, before.map(|before| &before.value), &row);
        if let Some(versions) = &mut self.context.decision_versions {
            *versions += 1;
        }
        if let (None, Some(decisions)) = (before, &mut self.context.decisions) {
            *decisions += 1;
        }
        match before {
            Some(before) => {
                self.commit.update(key, before.version, ord, props(&row));
            }
            None => {
                self.commit.create(key.clone(), ord, props(&row));
                self.relate_to_story(EdgeType::HasDecision, key);
                self.announce(&row);
            }
        }
        self.touch(format!("decision:{}", row.decision_id), content);
    }

    /// Writes the record of a change: part of it, not news of its own. It is for who looks into
    /// the store: it names what not every role may see, so it is no milestone, and no tokens of
    /// it are counted.
    pub fn append(&mut self, row: &EventRow) {
        let key = rows::event(&row.story_id, &row.event_id);
        let ord = rows::ord(row.at, &row.event_id);
        self.put(None, key, EdgeType::HasRecord, ord, props(row));
    }

    /// Writes something that happened.
    pub fn event(
        &mut self,
        before: Option<&Versioned<EventRow>>,
        mut row: EventRow,
        content: String,
    ) {
        row.tokens_description = self.scene.count(&row.description);
        row.tokens_by = self.scene.policies.counted_by();
        let key = rows::event(&row.story_id, &row.event_id);
        let ord = rows::ord(row.at, &row.event_id);
        self.put(
            before.map(|b| b.version),
            key,
            EdgeType::HasEvent,
            ord,
            props(&row),
        );
        self.touch(format!("milestone:{}", row.event_id), content);
    }

    /// Writes a summary.
    pub fn summary(
        &mut self,
        before: Option<&Versioned<SummaryRow>>,
        mut row: SummaryRow,
        content: String,
    ) {
        row.tokens_text = self.scene.count(&row.text);
        row.tokens_by = self.scene.policies.counted_by();
        let key = rows::summary(&row.story_id, &row.summary_id);
        let ord = rows::ord(row.created_at, &row.summary_id);
        self.put(
            before.map(|b| b.version),
            key,
            EdgeType::HasSummary,
            ord,
            props(&row),
        );
        self.touch(format!("summary:{}", row.summary_id), content);
    }

    /// The commit, with the story's context and what is said about it. Without any change it
    /// holds nothing.
    pub fn finish(self) -> Finished {
        let parts = self.changed.iter();
        let hash = content_hash(parts.map(|(what, content)| (what.as_str(), content.as_str())));
        self.finish_as(hash)
    }

    /// As [`Self::finish`], with a hash that the caller made.
    pub fn finish_as(mut self, hash: String) -> Finished {
        if self.is_empty() {
            return Finished {
                commit: self.commit,
                version: self.expected,
                hash,
            };
        }
        let version = self.expected + 1;
        self.context.last_hash.clone_from(&hash);
        self.context.updated_at = self.scene.now.max(self.context.updated_at);
        let story_id = self.story().clone();
        let key = rows::context(&story_id);
        let ord = rows::ord(self.context.created_at, &story_id);
        let row = props(&self.context);
        if self.expected == 0 {
            self.commit.create(key.clone(), ord, row);
            self.relate_to_story(EdgeType::HasContext, key);
        } else {
            self.commit.update(key, self.expected, ord, row);
        }
        let said = ContextUpdated {
            story_id: story_id.clone(),
            version,
            changed: std::mem::take(&mut self.changed).into_keys().collect(),
            hash: hash.clone(),
            timestamp: self.scene.now,
        };
        let event = self.scene.event(story_id.as_str(), version, &said);
        self.commit.event(event);
        Finished {
            commit: self.commit,
            version,
            hash,
        }
    }

    fn put(
        &mut self,
        before: Option<i64>,
        key: NodeKey,
        edge: EdgeType,
        ord: String,
        row: fleet_graph::Props,
    ) {
        match before {
            Some(version) => {
                self.commit.update(key, version, ord, row);
            }
            None => {
                self.commit.create(key.clone(), ord, row);
                self.relate_to_story(edge, key);
            }
        }
    }

    fn relate_to_story(&mut self, edge: EdgeType, to: NodeKey) {
        let story = rows::story(self.story());
        self.commit.relate(story, edge, to);
    }

    /// Makes the relationships of a decision what its lists say.
    fn relations(&mut self, key: &NodeKey, before: Option<&DecisionRow>, after: &DecisionRow) {
        let was: Vec<_> = before.map(targets).unwrap_or_default();
        let is = targets(after);
        for (kind, to) in was.iter().filter(|edge| !is.contains(edge)) {
            let (from, kind, to) = (key.clone(), *kind, to.clone());
            self.commit
                .edges
                .push(EdgeWrite::Unrelate { from, kind, to });
        }
        for (kind, to) in is.into_iter().filter(|edge| !was.contains(edge)) {
            self.commit.relate(key.clone(), kind, to);
        }
    }

    fn announce(&mut self, row: &DecisionRow) {
        let decided_by = match row.author_role.as_str() {
            "" => row.author_agent.clone(),
            role => role.to_owned(),
        };
        let title = self.scene.redacted(&row.title);
        let said = DecisionAdded {
            story_id: row.story_id.clone(),
            decision_id: row.decision_id.clone(),
            title: title.chars().take(TITLE_IN_EVENT).collect(),
            decision_type: self.scene.redacted(&row.decision_type),
            status: row.status.as_str().to_owned(),
            decided_by,
            affects: row.affects.clone(),
            supersedes: row.supersedes.clone(),
            timestamp: self.scene.now,
        };
        let event = self.scene.event(row.decision_id.as_str(), 1, &said);
        self.commit.event(event);
    }
}

/// Where the relationships of a decision lead.
fn targets(row: &DecisionRow) -> Vec<(EdgeType, NodeKey)> {
    let decisions = |kind: EdgeType, ids: &[fleet_types::DecisionId]| {
        let keys = ids.iter().map(rows::decision);
        keys.map(|key| (kind, key)).collect::<Vec<_>>()
    };
    let mut targets: Vec<_> = row
        .affects
        .iter()
        .map(|task| (EdgeType::Affects, rows::task(task)))
        .collect();
    targets.extend(decisions(EdgeType::DependsOn, &row.depends_on));
    targets.extend(decisions(EdgeType::Supersedes, &row.supersedes));
    targets.extend(decisions(EdgeType::AlternativeOf, &row.alternative_of));
    targets
}
