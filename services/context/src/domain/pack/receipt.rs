//! What went into a context, what did not and why.

use std::collections::BTreeMap;

use fleet_types::StoryId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Ask;
use crate::domain::{Entity, Id, Scope};

fleet_types::words! {
    /// A part of a context; they are filled in this order.
    pub enum Section("section") {
        /// The story itself.
        Story = "story",
        /// The task that was asked about.
        Task = "task",
        /// The tasks that it waits for, and what they delivered.
        Dependencies = "dependencies",
        /// What was decided.
        Decisions = "decisions",
        /// How decisions stand to each other.
        Relations = "relations",
        /// The newest plan.
        Plan = "plan",
        /// What the story belongs to.
        Epic = "epic",
        /// Other tasks.
        Tasks = "tasks",
        /// What happened, the newest first.
        Timeline = "timeline",
        /// The last summary.
        Summary = "summary",
    }
}

fleet_types::words! {
    /// Why an item is not in a context.
    pub enum Reason("reason") {
        /// There was no room.
        Budget = "BUDGET",
        /// The role may not see the row.
        RolePolicy = "ROLE_POLICY",
        /// The role needs no such thing in this phase.
        OutOfScope = "OUT_OF_SCOPE",
        /// Something newer took its place.
        Superseded = "SUPERSEDED",
        /// It says the same as another item.
        Duplicate = "DUPLICATE",
        /// It does not hold any more, or is too long ago.
        Stale = "STALE",
        /// Redaction left nothing of it.
        Redacted = "REDACTED",
    }
}

fleet_types::words! {
    /// What makes an item relevant.
    pub enum ScorePart("score part") {
        /// It must be there.
        Mandatory = "mandatory",
        /// It has a say in the task that was asked about.
        Task = "task",
        /// It is, or has a say in, something which that task waits for.
        Dependency = "dependency",
        /// It is linked to something of these two.
        Linked = "linked",
        /// It is of the same role.
        Role = "role",
        /// Of decisions: it is settled. Of tasks: it is open.
        Status = "status",
        /// Of tasks: it is urgent.
        Priority = "priority",
        /// It is new.
        Recency = "recency",
    }
}

/// How relevant an item is: the sum of its parts. Each part outweighs all that come after it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Score {
    /// The sum.
    pub total: i64,
    /// Where it comes from; parts that are 0 are not listed.
    pub parts: BTreeMap<ScorePart, i64>,
}

/// A score while everything is still a candidate: small, and without memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Points {
    pub total: i64,
    /// In the order of [`ScorePart::ALL`].
    parts: [i32; ScorePart::ALL.len()],
}

impl Points {
    /// With one more part.
    pub fn with(mut self, part: ScorePart, points: i32) -> Self {
        self.parts[part as usize] += points;
        self.total += i64::from(points);
        self
    }
}

impl From<Points> for Score {
    fn from(points: Points) -> Self {
        let parts = ScorePart::ALL.iter().zip(points.parts);
        Self {
            total: points.total,
            parts: parts
                .filter(|(_, points)| *points != 0)
                .map(|(part, points)| (*part, i64::from(points)))
                .collect(),
        }
    }
}

/// An item that is in a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Included {
    /// Its id.
    pub id: Id,
    /// Its kind.
    pub kind: Entity,
    /// How it was reached, such as `Story/s-1-HAS_DECISION->Decision/DEC-1`.
    pub path: String,
    /// Where it stands.
    pub section: Section,
    /// Why it stands there so early.
    pub score: Score,
    /// The tokens of its lines.
    pub tokens: u32,
}

/// An item that is not in a context. Nothing of its content is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Excluded {
    /// Where it would stand.
    pub section: Section,
    /// Its kind.
    pub kind: Entity,
    /// Its id.
    pub id: Id,
    /// Why it is not there.
    pub reason: Reason,
    /// A few more words, with ids at most.
    pub detail: Note,
}

/// A few words, perhaps about one id; put together only where they are read.
#[derive(Debug, Clone, Default)]
pub struct Note {
    before: &'static str,
    about: Option<Id>,
    after: &'static str,
}

impl Note {
    /// `<before><about><after>`.
    pub fn new(before: &'static str, about: impl Into<Id>, after: &'static str) -> Self {
        Self {
            before,
            about: Some(about.into()),
            after,
        }
    }

    /// The words, one behind the other.
    pub fn parts(&self) -> [&str; 3] {
        let about = self.about.as_deref().unwrap_or_default();
        [self.before, about, self.after]
    }

    /// How many bytes they are.
    pub fn len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.parts().into_iter().flat_map(str::bytes)
    }
}

impl From<&'static str> for Note {
    fn from(words: &'static str) -> Self {
        Self {
            before: words,
            ..Self::default()
        }
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.parts().iter().try_for_each(|part| f.write_str(part))
    }
}

impl PartialEq for Note {
    fn eq(&self, other: &Self) -> bool {
        self.bytes().eq(other.bytes())
    }
}

impl Eq for Note {}

impl PartialOrd for Note {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Note {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl Serialize for Note {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Note {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let words = String::deserialize(d)?;
        Ok(Self {
            about: Some(words.into()),
            ..Self::default()
        })
    }
}

/// What went into a context and what did not: together all candidates, each once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The story.
    pub story: StoryId,
    /// What was asked.
    pub ask: Ask,
    /// The budget that held.
    pub budget: u32,
    /// The tokens of the context.
    pub tokens: u32,
    /// Those among them that belong to no item: instructions and headings.
    pub frame_tokens: u32,
    /// The tokens of what must be said: no smaller budget can do without.
    pub head_tokens: u32,
    /// SHA-256 of the context, hex.
    pub hash: String,
    /// What the graph was at, as the reader of the graph says.
    pub graph_version: String,
    /// Version of the row and column policies, redaction included.
    pub policy_version: String,
    /// Version of the table of scopes.
    pub scopes_version: String,
    /// Tokenizer, rendering and redaction by which tokens were counted.
    pub counted_by: String,
    /// The scopes that something was rendered for.
    pub scopes: Vec<Scope>,
    /// What went in, in the order of the text.
    pub included: Vec<Included>,
    /// What did not, in order of section, kind and id.
    pub excluded: Vec<Excluded>,
}

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// It is in the context.
    In(&'a Included),
    /// It is not.
    Out(&'a Excluded),
}

impl Receipt {
    /// What became of an item; `None` if it was no candidate.
    pub fn fate(&self, kind: Entity, id: &str) -> Option<Fate<'_>> {
        let mut included = self.included.iter();
        let mut excluded = self.excluded.iter();
        included
            .find(|item| item.kind == kind && item.id == id)
            .map(Fate::In)
            .or_else(|| {
                let found = excluded.find(|item| item.kind == kind && item.id == id);
                found.map(Fate::Out)
            })
    }
}
