//! Who may see which rows and columns. Deny by default; the only way from an [`Item`] to
//! anything that can be shown.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use fleet_types::{Role, StoryId};
use serde_json::Value;

use super::entity::texts_of;
use super::text::{nothing_left, one_line, visible};
use super::{Column, Entity, Item, Key};

mod load;

/// The file that comes with the service.
pub const SHIPPED_POLICIES: &str =
    include_str!("../../../../deploy/k8s/00-foundation/config/context_policies.yaml");

/// Takes secrets out of a text that is about to leave.
#[derive(Debug, Clone, Copy)]
pub struct Redaction {
    /// Changes when the same text would be redacted differently.
    pub version: &'static str,
    /// The text without secrets; must be linear in its length.
    pub redact: for<'t> fn(&'t str) -> Cow<'t, str>,
}

/// Which items of an entity a rule lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rows {
    /// Those of every story, and those of none.
    All,
    /// Those of the story that was asked about.
    Story,
}

/// One way to be let through: by place, and by the content of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RowRule {
    rows: Rows,
    /// Column → the values that pass, compared without regard to case; all must pass.
    only: BTreeMap<&'static str, BTreeSet<String>>,
}

/// What a role may see of an entity.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Grant {
    /// One of them must pass.
    rules: Vec<RowRule>,
    columns: BTreeSet<&'static str>,
}

/// The policies of all roles.
#[derive(Debug, Clone)]
pub struct Policies {
    grants: BTreeMap<(Role, Entity), Grant>,
    redaction: Redaction,
    version: String,
}

/// Who looks, and which story was asked about.
#[derive(Debug, Clone, Copy)]
pub struct Viewer<'a> {
    /// The role.
    pub role: Role,
    /// The story; without one only rows that are open to all stories are seen.
    pub story: Option<&'a StoryId>,
}

/// What row rules look at.
trait Row {
    fn entity(&self) -> Entity;
    fn story(&self) -> Option<&StoryId>;
    fn texts(&self, column: &str) -> Vec<&str>;
}

impl Row for Item {
    fn entity(&self) -> Entity {
        self.entity()
    }

    fn story(&self) -> Option<&StoryId> {
        self.story()
    }

    fn texts(&self, column: &str) -> Vec<&str> {
        self.texts(column)
    }
}

/// A relation between two decisions of a story, before anybody makes an item of it.
#[derive(Debug, Clone, Copy)]
pub struct Between<'a> {
    /// The story.
    pub story: &'a StoryId,
    /// What the relation is called.
    pub id: &'a str,
    /// The decision it starts at.
    pub from: &'a str,
    /// How that stands to the other.
    pub kind: &'a str,
    /// The other.
    pub to: &'a str,
}

impl Row for Between<'_> {
    fn entity(&self) -> Entity {
        Entity::Relation
    }

    fn story(&self) -> Option<&StoryId> {
        Some(self.story)
    }

    fn texts(&self, column: &str) -> Vec<&str> {
        let text = match column {
            "relation_id" => self.id,
            "story_id" => self.story.as_str(),
            "from_id" => self.from,
            "relation_type" => self.kind,
            "to_id" => self.to,
            _ => "",
        };
        Some(text)
            .filter(|text| !text.is_empty())
            .into_iter()
            .collect()
    }
}

/// What somebody may see of an item: allowed columns, redacted.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    key: Key,
    columns: BTreeMap<&'static str, Value>,
    counts: BTreeMap<&'static str, u32>,
    emptied: bool,
}

impl Redaction {
    /// A text as it may leave: without secrets, and without hidden characters, behind which
    /// parts of a secret could come together again.
    pub fn apply(&self, text: &str) -> String {
        match visible(text) {
            Cow::Borrowed(text) => (self.redact)(text).into_owned(),
            Cow::Owned(text) => (self.redact)(&text).into_owned(),
        }
    }
}

impl Policies {
    /// Changes whenever the content of the policies or the redaction does.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The redaction that every view went through.
    pub fn redaction(&self) -> Redaction {
        self.redaction
    }

    /// What `tokens_by` of a row must say for its stored counts to hold.
    pub fn counted_by(&self) -> String {
        let (tokenizer, render) = (super::TOKENIZER, super::RENDER_VERSION);
        format!("{tokenizer}/{render}/{}", self.redaction.version)
    }

    /// Whether the role may see the item at all.
    pub fn sees(&self, viewer: Viewer<'_>, item: &Item) -> bool {
        self.grant(viewer, item).is_some()
    }

    /// Likewise, of a relation.
    pub fn sees_relation(&self, viewer: Viewer<'_>, relation: Between<'_>) -> bool {
        self.grant(viewer, &relation).is_some()
    }

    /// The columns by whose content alone some role is let through to rows of an entity that are
    /// of the story it asks about.
    pub fn decisive(&self, entity: Entity) -> BTreeSet<&'static str> {
        let grants = self.grants.iter().filter(|((_, of), _)| *of == entity);
        let bound = |grant: &&Grant| grant.rules.iter().all(|rule| !rule.only.is_empty());
        let grants = grants.map(|(_, grant)| grant).filter(bound);
        let rules = grants.flat_map(|grant| &grant.rules);
        rules.flat_map(|rule| rule.only.keys().copied()).collect()
    }

    /// The columns of an entity that the role may see, of rows that it may see.
    pub fn columns(&self, role: Role, entity: Entity) -> impl Iterator<Item = &'static str> {
        let grant = self.grants.get(&(role, entity));
        grant.into_iter().flat_map(|g| g.columns.iter().copied())
    }

    /// Whether the role may see items of an entity without asking about their story.
    pub fn sees_beyond_stories(&self, role: Role, entity: Entity) -> bool {
        let grant = self.grants.get(&(role, entity));
        grant.is_some_and(|grant| grant.rules.iter().any(|rule| rule.rows == Rows::All))
    }

    /// Whether the viewer may see every item of an entity, whatever it says: of that story, or of
    /// whichever it may be.
    pub fn sees_any(&self, viewer: Viewer<'_>, entity: Entity, of: Option<&StoryId>) -> bool {
        let grant = self.grants.get(&(viewer.role, entity));
        let own = viewer.story.is_some() && viewer.story == of;
        let open = |rule: &RowRule| rule.only.is_empty() && (own || rule.rows == Rows::All);
        grant.is_some_and(|grant| grant.rules.iter().any(open))
    }

    /// What the viewer may see of an item; `None` if nothing. Deleted items are not seen.
    pub fn view(&self, viewer: Viewer<'_>, item: &Item) -> Option<View> {
        let grant = self.grant(viewer, item).filter(|_| !item.is_deleted())?;
        let mut columns = BTreeMap::new();
        let (mut said, mut left) = (false, false);
        for column in item.entity().columns() {
            let name = &column.name;
            let Some(value) = item.column(name) else {
                continue;
            };
            if !grant.columns.contains(name) {
                continue;
            }
            let shown = self.leaving(column, value);
            if is_speech(item.entity(), name) {
                for (before, after) in texts_of(Some(value)).iter().zip(texts_of(Some(&shown))) {
                    let gone = nothing_left(before, after);
                    said |= gone;
                    left |= !gone && after.chars().any(char::is_alphanumeric);
                }
            }
            columns.insert(*name, shown);
        }
        Some(View {
            key: item.key().clone(),
            counts: item
                .counts()
                .filter(|(name, _)| grant.columns.contains(name))
                .collect(),
            columns,
            emptied: said && !left,
        })
    }

    /// A column as it leaves. Short texts leave in one line: what is told in one line must be
    /// redacted as one.
    fn leaving(&self, column: &Column, value: &Value) -> Value {
        match value {
            Value::String(text) if column.light => {
                Value::String(self.redaction.apply(&one_line(text)))
            }
            Value::String(text) => Value::String(self.redaction.apply(text)),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.leaving(column, item));
                Value::Array(items.collect())
            }
            other => other.clone(),
        }
    }

    fn grant(&self, viewer: Viewer<'_>, item: &impl Row) -> Option<&Grant> {
        let grant = self.grants.get(&(viewer.role, item.entity()))?;
        let own = viewer.story.is_some() && viewer.story == item.story();
        let passes = |rule: &RowRule| {
            let near = match rule.rows {
                Rows::All => true,
                Rows::Story => own,
            };
            near && rule.only.iter().all(|(column, values)| {
                let found = item.texts(column);
                found
                    .iter()
                    .any(|text| values.contains(&text.to_ascii_lowercase()))
            })
        };
        grant.rules.iter().any(passes).then_some(grant)
    }
}

/// Columns by which an item says something, other than by its place and times.
fn is_speech(entity: Entity, column: &str) -> bool {
    matches!(
        column,
        "title" | "name" | "description" | "rationale" | "alternatives" | "text" | "words"
    ) && entity.column(column).is_some()
}

impl View {
    /// Which item.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its id; always shown.
    pub fn id(&self) -> &str {
        &self.key.id
    }

    /// A text column; empty if it has none or must not be seen.
    pub fn text(&self, column: &str) -> &str {
        let value = self.columns.get(column);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// A column of texts, likewise.
    pub fn texts(&self, column: &str) -> Vec<&str> {
        texts_of(self.columns.get(column))
    }

    /// A number column; `None` if it has none or must not be seen.
    pub fn number(&self, column: &str) -> Option<i64> {
        self.columns.get(column).and_then(Value::as_i64)
    }

    /// Every visible column that the item has, in order of names.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.columns.iter().map(|(name, value)| (*name, value))
    }

    /// The stored count of a visible column's tokens.
    pub fn stored_tokens(&self, column: &str) -> Option<u32> {
        self.counts.get(column).copied()
    }

    /// Whether redaction took everything that the item said.
    pub fn is_emptied(&self) -> bool {
        self.emptied
    }
}
