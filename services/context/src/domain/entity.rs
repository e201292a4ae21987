//! What can be shown: the kinds of items, their columns, and items as they were read.

use std::sync::Arc;

use fleet_types::StoryId;
use serde_json::Value;
use smallvec::SmallVec;

use super::Id;

/// Properties of a stored row: scalars and lists of texts.
pub type Props = serde_json::Map<String, Value>;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnKind {
    /// A text.
    Text,
    /// A text, or a list of them.
    Texts,
    /// A number.
    Number,
}

/// A column of an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in rows and policies.
    pub name: &'static str,
    /// Where rows keep the count of its tokens, if they do.
    pub tokens: &'static str,
    /// What it holds.
    pub kind: ColumnKind,
    /// Small enough to be read of everything before anything is chosen.
    pub light: bool,
}

/// Declares the closed list of entities and columns; the first column identifies an item.
/// `name` alone is a short text; `long` is a text of any size, `list` and `long_list` are texts.
macro_rules! entities {
    (@col $n:ident) => { entities!(@column $n Text true) };
    (@col $n:ident long) => { entities!(@column $n Text false) };
    (@col $n:ident list) => { entities!(@column $n Texts true) };
    (@col $n:ident long_list) => { entities!(@column $n Texts false) };
    (@col $n:ident number) => { entities!(@column $n Number true) };
    (@column $n:ident $kind:ident $light:literal) => {
        Column {
            name: stringify!($n),
            tokens: concat!("tokens_", stringify!($n)),
            kind: ColumnKind::$kind,
            light: $light,
        }
    };
    ($($(#[$meta:meta])* $entity:ident = $word:literal, $label:literal { $($col:ident $(: $mark:ident)?),+ $(,)? })+) => {
        fleet_types::words! {
            /// A kind of item that policies speak about.
            pub enum Entity("entity") { $($(#[$meta])* $entity = $word),+ }
        }

        impl Entity {
            /// Every column that can be shown; the first one identifies an item.
            pub const fn columns(self) -> &'static [Column] {
                match self { $(Self::$entity => &[$(entities!(@col $col $($mark)?)),+]),+ }
            }

            /// Its label in graph paths.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$entity => $label),+ }
            }
        }
    };
}

entities! {
    /// What epics are grouped under.
    Project = "project", "Project" {
        project_id, name, description: long, owner, status, created_at, updated_at,
    }
    /// What stories are grouped under.
    Epic = "epic", "Epic" {
        epic_id, project_id, title, description: long, status, created_at, updated_at,
    }
    /// What a person wants.
    Story = "story", "Story" {
        story_id, epic_id, title, brief: long, state, acceptance_criteria: long_list, constraints: long_list, size,
        repository, base_branch, dor_score: number, execution: number, created_by, created_at, updated_at,
    }
    /// An approved plan.
    Plan = "plan", "PlanVersion" {
        plan_id, story_id, number: number, title, description: long, roles: list, approved_by, comment: long,
        approved_at,
    }
    /// A piece of work.
    Task = "task", "Task" {
        task_id, story_id, plan_id, title, description: long, type, status, assigned_to,
        estimated_hours: number, priority: number, role, acceptance_criteria: long_list, depends_on: list, created_at,
        updated_at,
    }
    /// How the work on a task goes.
    Run = "run", "TaskRun" {
        task_id, story_id, execution: number, state, feedback: long, rejections: number, work_commit_sha,
        work_summary: long, work_agent, claim_agent, updated_at,
    }
    /// What was decided, and why.
    Decision = "decision", "Decision" {
        decision_id, story_id, title, rationale: long, status, decision_type, alternatives: long_list,
        author_role, author_agent, created_at, updated_at,
    }
    /// What the product owner said to a decision.
    Review = "review", "DecisionReview" {
        decision_id, story_id, verdict, by, words: long, at,
    }
    /// How one decision stands to another.
    Relation = "relation", "Relation" {
        relation_id, story_id, from_id, relation_type, to_id,
    }
    /// Something that happened, worth telling.
    Milestone = "milestone", "Event" {
        event_id, story_id, event_type, description: long, actor, actor_role, at,
    }
    /// A step from phase to phase.
    Phase = "phase", "PhaseTransition" {
        transition_id, story_id, from_phase, to_phase, rationale: long, actor, at,
    }
    /// A story so far, in short.
    Summary = "summary", "Summary" {
        summary_id, story_id, text: long, author_role, author_agent, created_at, updated_at,
    }
}

impl Entity {
    /// The column that identifies an item.
    pub const fn id_column(self) -> &'static str {
        self.columns()[0].name
    }

    /// The column of that name.
    pub fn column(self, name: &str) -> Option<&'static Column> {
        self.columns().iter().find(|column| column.name == name)
    }

    /// The columns that choosing needs to see of everything. Beside them: the stored counts
    /// (`tokens_…`, `tokens_by`) and `deleted_at` where rows have them.
    pub fn light_columns(self) -> impl Iterator<Item = &'static str> {
        self.columns().iter().filter(|c| c.light).map(|c| c.name)
    }
}

/// Which item.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub entity: Entity,
    /// Its id.
    pub id: Id,
}

impl Key {
    /// A key.
    pub fn new(entity: Entity, id: impl Into<Id>) -> Self {
        let id = id.into();
        Self { entity, id }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.entity.label(), self.id)
    }
}

/// A row that does not read as its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{entity} {id:?}: {problem}")]
pub struct CorruptItem {
    /// The kind.
    pub entity: Entity,
    /// The id, cut to 128 characters; empty if it has none.
    pub id: String,
    /// What is wrong.
    pub problem: String,
}

/// What a property of a stored row is to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// One of its columns, by number.
    Column(u8),
    /// The stored count of that column's tokens.
    Count(u8),
    /// What counted them.
    CountedBy,
    /// Since when it is only a trace.
    DeletedAt,
}

impl Entity {
    /// What a property of that name is to items of this kind; `None`: nothing.
    pub fn field(self, name: &str) -> Option<Field> {
        let at = |of: fn(&Column) -> &'static str| {
            let at = self.columns().iter().position(|column| of(column) == name);
            at.map(|at| u8::try_from(at).expect("no kind has that many columns"))
        };
        match name {
            "tokens_by" => Some(Field::CountedBy),
            "deleted_at" => Some(Field::DeletedAt),
            _ => at(|column| column.name)
                .map(Field::Column)
                .or_else(|| at(|column| column.tokens).map(Field::Count)),
        }
    }
}

/// An item as it was read. Its content reaches nobody but through
/// [`Policies::view`](super::Policies::view).
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    key: Key,
    /// The story it belongs to, if it belongs to one.
    story: Option<Arc<StoryId>>,
    deleted: bool,
    /// By number of the column; so few that looking through them is fastest.
    columns: Vec<(u8, Value)>,
    /// Likewise; rows keep those of one column, if any.
    counts: SmallVec<[(u8, u32); 1]>,
}

impl Item {
    /// Reads a row. Properties that are no columns are passed over; a text or number of the
    /// wrong shape makes the row corrupt, a missing one does not. `tokens_by` of the row must
    /// equal `counted_by` for its stored counts to be believed. A row with `deleted_at` is a
    /// tombstone.
    ///
    /// # Errors
    /// If it has no id, or a column of the wrong shape.
    pub fn read(entity: Entity, props: Props, counted_by: &str) -> Result<Self, CorruptItem> {
        let id = props.get(entity.id_column()).and_then(Value::as_str);
        let id = Id::from(id.unwrap_or_default());
        let fields = props.into_iter();
        let fields = fields.filter_map(|(name, value)| Some((entity.field(&name)?, value)));
        Self::of_fields(entity, &id, fields, Some(counted_by), None)
    }

    /// As [`Self::read`], from what is already known to be fields of an item with that id; what
    /// is not among them, the row does not have. It was reached from the story `near`, and is
    /// of it unless it says otherwise. Without `counted_by`, counts among the fields hold.
    ///
    /// # Errors
    /// As there.
    pub fn of_fields(
        entity: Entity,
        id: &Id,
        fields: impl IntoIterator<Item = (Field, Value)>,
        counted_by: Option<&str>,
        near: Option<&Arc<StoryId>>,
    ) -> Result<Self, CorruptItem> {
        let corrupt = |problem: String| CorruptItem {
            entity,
            id: id.chars().take(128).collect(),
            problem,
        };
        if !is_id(id) {
            return Err(corrupt(format!("{} is no id", entity.id_column())));
        }
        let fields = fields.into_iter();
        let most = fields.size_hint().1.unwrap_or_default();
        let mut item = Self {
            key: Key::new(entity, id.clone()),
            story: near.cloned(),
            deleted: false,
            columns: Vec::with_capacity(most.min(entity.columns().len())),
            counts: SmallVec::new(),
        };
        let mut believed = counted_by.is_none();
        for (field, value) in fields {
            match (field, value) {
                (_, Value::Null) => {}
                (Field::Column(at), value) => {
                    let column = &entity.columns()[usize::from(at)];
                    if !fits(column.kind, &value) {
                        return Err(corrupt(format!("{} has a wrong shape", column.name)));
                    }
                    if column.name == "story_id"
                        && let Some(story) = value.as_str()
                        && near.is_none_or(|near| near.as_str() != story)
                    {
                        let story = StoryId::parse(story);
                        let story = story.map_err(|e| corrupt(format!("story_id {e}")))?;
                        item.story = Some(Arc::new(story));
                    }
                    item.columns.push((at, value));
                }
                (Field::Count(at), value) => {
                    let count = value.as_u64().and_then(|n| u32::try_from(n).ok());
                    item.counts.extend(count.map(|count| (at, count)));
                }
                (Field::CountedBy, value) => believed = value.as_str() == counted_by,
                (Field::DeletedAt, value) => {
                    item.deleted = value.as_str().is_some_and(|at| !at.is_empty());
                }
            }
        }
        if !believed {
            item.counts.clear();
        }
        Ok(item)
    }

    /// A relation between two decisions of a story as an item.
    pub fn relation(story: &StoryId, from: &str, kind: &str, to: &str) -> Self {
        let id = relation_id(from, kind, to);
        let texts = [&*id, story.as_str(), from, kind, to];
        let columns = (0..).zip(texts.map(Value::from));
        Self {
            columns: columns.collect(),
            key: Key::new(Entity::Relation, id),
            story: Some(Arc::new(story.clone())),
            deleted: false,
            counts: SmallVec::new(),
        }
    }

    /// For items that carry no story (epics, projects): the one through which it was reached.
    #[must_use]
    pub fn reached_through(mut self, story: &StoryId) -> Self {
        self.story.get_or_insert_with(|| Arc::new(story.clone()));
        self
    }

    /// Which item it is.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Its kind.
    pub fn entity(&self) -> Entity {
        self.key.entity
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.key.id
    }

    /// Its story.
    pub fn story(&self) -> Option<&StoryId> {
        self.story.as_deref()
    }

    /// Whether it was deleted and only its trace is left.
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// A text column, for choosing and comparing inside the domain; empty if it has none.
    pub(super) fn text(&self, column: &str) -> &str {
        let value = self.column(column);
        value.and_then(Value::as_str).unwrap_or_default()
    }

    /// A column of texts, likewise.
    pub(super) fn texts(&self, column: &str) -> Vec<&str> {
        texts_of(self.column(column))
    }

    /// A number column, likewise; 0 if it has none.
    pub(super) fn number(&self, column: &str) -> i64 {
        let value = self.column(column);
        value.and_then(Value::as_i64).unwrap_or_default()
    }

    pub(super) fn column(&self, column: &str) -> Option<&Value> {
        let all = self.entity().columns();
        let mut columns = self.columns.iter();
        columns
            .find(|(at, _)| all[usize::from(*at)].name == column)
            .map(|(_, value)| value)
    }

    /// The stored counts, by column.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = self.entity().columns();
        let counts = self.counts.iter();
        counts.map(|(at, count)| (all[usize::from(*at)].name, *count))
    }

    /// How many bytes it takes, about.
    pub fn size(&self) -> usize {
        let texts = |value: &Value| match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or(0, str::len) + size_of::<Value>())
                .sum(),
            _ => 0,
        };
        let columns = self.columns.iter();
        let columns = columns.map(|(_, value)| texts(value) + size_of::<(u8, Value)>());
        size_of::<Self>()
            + self.id().len()
            + columns.sum::<usize>()
            + self.counts.len().saturating_sub(1) * size_of::<(u8, u32)>()
    }
}

/// What a relation is called: `<from>-<kind>-><to>`.
pub(super) fn relation_id(from: &str, kind: &str, to: &str) -> String {
    [from, "-", kind, "->", to].concat()
}

/// Ids are shown as they are: printable, without blanks, and not endless.
fn is_id(id: &str) -> bool {
    (1..=512).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

fn fits(kind: ColumnKind, value: &Value) -> bool {
    match kind {
        ColumnKind::Text => value.is_string(),
        ColumnKind::Number => value.is_i64(),
        ColumnKind::Texts => match value {
            Value::Array(items) => items.iter().all(Value::is_string),
            other => other.is_string(),
        },
    }
}

pub(super) fn texts_of(value: Option<&Value>) -> Vec<&str> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![text],
        _ => Vec::new(),
    }
}
