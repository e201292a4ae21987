//! One change of a story's record, as somebody wants it.

use fleet_types::{DecisionId, TaskId};

use super::DecisionStatus;

fleet_types::words! {
    /// What is done.
    pub enum Operation("operation") {
        /// It must not be there yet.
        Create = "CREATE",
        /// It must be there.
        Update = "UPDATE",
        /// It must be there; a tombstone stays.
        Delete = "DELETE",
        /// Created if it is not there, else updated.
        Upsert = "UPSERT",
    }
}

fleet_types::words! {
    /// What kind of thing is changed.
    pub enum Kind("entity_type") {
        /// A decision.
        Decision = "DECISION",
        /// Something that happened.
        Milestone = "MILESTONE",
        /// A summary of the story so far.
        Summary = "SUMMARY",
    }
}

/// Kinds that others own, and the calls that change those.
pub const WORDS_BY_OTHERS: &[(&str, &str)] = &[
    (
        "CASE",
        "a story is changed by planning's UpdateStory and TransitionStory",
    ),
    ("PLAN", "a plan is made by planning's ApprovePlan"),
    (
        "SUBTASK",
        "a task is created by CreateTask and changed by planning's UpdateTask",
    ),
];

/// A change, checked as far as that needs no store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What is done.
    pub operation: Operation,
    /// Which one: `DEC-…` for a decision.
    pub id: String,
    /// What it is to be; empty for a deletion.
    pub patch: Patch,
    /// Why; may be empty.
    pub reason: String,
}

/// What is named in a payload; `None` was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patch {
    /// Of a decision.
    Decision(DecisionId, Box<DecisionPatch>),
    /// Of a milestone.
    Milestone(MilestonePatch),
    /// Of a summary.
    Summary(SummaryPatch),
}

/// What is said of a decision. Lists replace what was there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DecisionPatch {
    /// Its title, not blank.
    pub title: Option<String>,
    /// Why.
    pub rationale: Option<String>,
    /// How it stands.
    pub status: Option<DecisionStatus>,
    /// What kind of decision.
    pub decision_type: Option<String>,
    /// What else was considered.
    pub alternatives: Option<Vec<String>>,
    /// Tasks it has a say in.
    pub affects: Option<Vec<TaskId>>,
    /// Decisions it rests on.
    pub depends_on: Option<Vec<DecisionId>>,
    /// Decisions it takes the place of.
    pub supersedes: Option<Vec<DecisionId>>,
    /// Decisions it was weighed against.
    pub alternative_of: Option<Vec<DecisionId>>,
}

/// What is said of something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MilestonePatch {
    /// What kind of thing.
    pub event_type: Option<String>,
    /// In words, not blank.
    pub description: Option<String>,
}

/// What is said in a summary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SummaryPatch {
    /// The text, not blank.
    pub text: Option<String>,
}

impl Change {
    /// What kind of thing it is about.
    pub fn kind(&self) -> Kind {
        match self.patch {
            Patch::Decision(..) => Kind::Decision,
            Patch::Milestone(_) => Kind::Milestone,
            Patch::Summary(_) => Kind::Summary,
        }
    }

    /// What the hash of a change covers: operation, reason, and everything that is named.
    pub fn canonical(&self) -> String {
        let mut text = format!("{}\n{:?}\n", self.operation, self.reason);
        let mut say = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                text.push_str(name);
                text.push('=');
                text.push_str(&value);
                text.push('\n');
            }
        };
        // Debug formatting of texts and lists of texts quotes and escapes: it is unambiguous.
        match &self.patch {
            Patch::Decision(_, patch) => {
                let one = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
                let ids = |ids: &Option<Vec<DecisionId>>| {
                    ids.as_ref().map(|ids| {
                        format!(
                            "{:?}",
                            ids.iter().map(DecisionId::as_str).collect::<Vec<_>>()
                        )
                    })
                };
                say("title", one(&patch.title));
                say("rationale", one(&patch.rationale));
                say("status", patch.status.map(|status| status.to_string()));
                say("decision_type", one(&patch.decision_type));
                say(
                    "alternatives",
                    patch.alternatives.as_ref().map(|list| format!("{list:?}")),
                );
                let tasks = patch.affects.as_ref();
                say(
                    "affects",
                    tasks.map(|ids| {
                        format!("{:?}", ids.iter().map(TaskId::as_str).collect::<Vec<_>>())
                    }),
                );
                say("depends_on", ids(&patch.depends_on));
                say("supersedes", ids(&patch.supersedes));
                say("alternative_of", ids(&patch.alternative_of));
            }
            Patch::Milestone(patch) => {
                let one = |text: &Option<String>| text.as_ref().map(|text| format!("{text:?}"));
                say("event_type", one(&patch.event_type));
                say("description", one(&patch.description));
            }
            Patch::Summary(patch) => {
                say("text", patch.text.as_ref().map(|text| format!("{text:?}")));
            }
        }
        text
    }
}

impl DecisionPatch {
    /// Every decision that the patch relates to, with the name of the list.
    pub fn decisions(&self) -> impl Iterator<Item = (&'static str, &DecisionId)> {
        let lists = [
            ("depends_on", &self.depends_on),
            ("supersedes", &self.supersedes),
            ("alternative_of", &self.alternative_of),
        ];
        lists
            .into_iter()
            .flat_map(|(name, list)| list.iter().flatten().map(move |id| (name, id)))
    }

    /// Every task that the patch relates to.
    pub fn tasks(&self) -> impl Iterator<Item = &TaskId> {
        self.affects.iter().flatten()
    }
}
