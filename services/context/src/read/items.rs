//! From nodes of the graph to items that policies speak about, and back.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use fleet_graph::{Columns, Label, LightNode, Node, NodeKey};
use fleet_types::StoryId;
use serde_json::Value;

use crate::domain::{
    Column, ColumnKind, CorruptItem, DecisionEdge, Entity, Field, Id, Item, Key, Policies,
    RelationKind,
};
use crate::rows::LightDecision;

/// The kind of item that nodes of a label are, if they can be shown at all.
pub(crate) fn entity_of(label: Label) -> Option<Entity> {
    Some(match label {
        Label::Project => Entity::Project,
        Label::Epic => Entity::Epic,
        Label::Story => Entity::Story,
        Label::PlanVersion => Entity::Plan,
        Label::Task => Entity::Task,
        Label::TaskRun => Entity::Run,
        Label::Decision => Entity::Decision,
        Label::DecisionReview => Entity::Review,
        Label::Event => Entity::Milestone,
        Label::PhaseTransition => Entity::Phase,
        Label::Summary => Entity::Summary,
        _ => return None,
    })
}

/// Where an item of a story is stored; `None` for relations, which are no nodes.
pub(crate) fn node_key(story: &StoryId, key: &Key) -> Option<NodeKey> {
    let id = key.id.as_str();
    let of_story = |label| NodeKey::new(label, format!("{story}/{id}"));
    Some(match key.entity {
        Entity::Project => NodeKey::new(Label::Project, id),
        Entity::Epic => NodeKey::new(Label::Epic, id),
        Entity::Story => NodeKey::new(Label::Story, id),
        Entity::Plan => NodeKey::new(Label::PlanVersion, id),
        Entity::Task => NodeKey::new(Label::Task, id),
        Entity::Run => NodeKey::new(Label::TaskRun, id),
        Entity::Decision => NodeKey::new(Label::Decision, id),
        Entity::Review => of_story(Label::DecisionReview),
        Entity::Milestone => of_story(Label::Event),
        // Called by its whole id: there is one sequence for each story.
        Entity::Phase => NodeKey::new(Label::PhaseTransition, id),
        Entity::Summary => of_story(Label::Summary),
        Entity::Relation => return None,
    })
}

/// Reads a node as the item it is. What has no id of its own is called by the last part of its
/// node's.
///
/// # Errors
/// A row that does not read as its kind, or of a kind that is never shown.
pub(crate) fn item(node: Node, counted_by: &str) -> Result<Item, Corrupt> {
    let Node { key, mut props, .. } = node;
    let Some(entity) = entity_of(key.label()) else {
        let problem = "is never shown".to_owned();
        return Err(Corrupt { key, problem });
    };
    let id = entity.id_column();
    if !props.contains_key(id) {
        props.insert(id.to_owned(), own_id(&key).into());
    }
    let read = Item::read(entity, props, counted_by);
    read.map_err(|CorruptItem { problem, .. }| Corrupt { key, problem })
}

/// A stored row that was left out because it does not read as its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} could not be read and was left out")]
pub(crate) struct Corrupt {
    /// Which.
    pub key: NodeKey,
    /// What the reader said; for logs.
    pub problem: String,
}

impl From<&fleet_graph::CorruptRow> for Corrupt {
    fn from(row: &fleet_graph::CorruptRow) -> Self {
        Self {
            key: row.key.clone(),
            problem: row.problem.clone(),
        }
    }
}

/// The lists of a decision's row that say what it has to do with what. Their writer keeps them
/// and the relationships in one commit, and a list costs the graph nothing where a thousand
/// relationships cost more than the rows.
const LINKS: [(&str, RelationKind); 4] = [
    ("affects", RelationKind::Affects),
    ("depends_on", RelationKind::DependsOn),
    ("supersedes", RelationKind::Supersedes),
    ("alternative_of", RelationKind::AlternativeOf),
];

/// How the light rows of one kind are read.
#[derive(Debug)]
pub(crate) struct Light {
    entity: Entity,
    names: &'static [&'static str],
    read: Read,
}

/// What the values of a light row are.
#[derive(Debug)]
enum Read {
    /// One for each name.
    Fields(Vec<LightField>),
    /// A [`LightDecision`].
    Decision,
}

#[derive(Debug, Clone, Copy)]
enum LightField {
    Field(Field),
    /// A list that says what the item has to do with what.
    Link(RelationKind),
}

/// Why a light row gives no item.
#[derive(Debug)]
pub(crate) enum Unread {
    /// Its columns have to be read: [`Light::wide`].
    NotLight,
    /// It does not read as its kind.
    Corrupt(Corrupt),
}

/// What is read of every row of a kind before anything is chosen.
static NARROW: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let names = |entity: &Entity| match entity {
        Entity::Decision => vec!["light"],
        _ => names(*entity, |name| is_needed(*entity, name)),
    };
    Entity::ALL.iter().map(names).collect()
});

/// Where policies look at more than that, or rows have no light text: all that is small.
static WIDE: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    Entity::ALL
        .iter()
        .map(|entity| names(*entity, |_| true))
        .collect()
});

/// Whether a column has a part in choosing. Of kinds of which a story has many, no others are
/// read of everything; whose they are is said by how they were reached.
fn is_needed(entity: Entity, column: &str) -> bool {
    match entity {
        // Its length is part of what it will take.
        Entity::Decision => matches!(column, "title" | "status" | "created_at"),
        Entity::Milestone => matches!(column, "event_id" | "at"),
        _ => true,
    }
}

/// The light columns that are wanted, the stored counts, whether the row is still there, and
/// what a decision has to do with what.
fn names(entity: Entity, wanted: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut names: Vec<_> = entity.light_columns().filter(|name| wanted(name)).collect();
    let ours = [
        Entity::Decision,
        Entity::Milestone,
        Entity::Phase,
        Entity::Summary,
    ];
    if ours.contains(&entity) {
        // Lists are not counted when they are written.
        let counted = |c: &&Column| !c.light && c.kind == ColumnKind::Text;
        names.extend(entity.columns().iter().filter(counted).map(|c| c.tokens));
        names.extend(["tokens_by", "deleted_at"]);
    }
    if entity == Entity::Decision {
        names.extend(LINKS.map(|(column, _)| column));
    }
    names
}

impl Light {
    /// What these policies need to see of every row of a kind.
    pub fn of(entity: Entity, policies: &Policies) -> Self {
        let decisive: BTreeSet<_> = policies.decisive(entity);
        let narrow = decisive.iter().all(|column| {
            let light = entity.column(column).is_some_and(|column| column.light);
            !light || is_needed(entity, column)
        });
        match (narrow, entity) {
            (true, Entity::Decision) => Self {
                entity,
                names: names_in(&NARROW, entity),
                read: Read::Decision,
            },
            (true, _) => Self::fields(entity, names_in(&NARROW, entity)),
            (false, _) => Self::wide(entity),
        }
    }

    /// All that is small, column by column.
    pub fn wide(entity: Entity) -> Self {
        Self::fields(entity, names_in(&WIDE, entity))
    }

    fn fields(entity: Entity, names: &'static [&'static str]) -> Self {
        let field = |name: &&str| {
            let link = LINKS.iter().find(|(column, _)| column == name);
            match link.filter(|_| entity == Entity::Decision) {
                Some((_, kind)) => LightField::Link(*kind),
                None => LightField::Field(entity.field(name).expect("one of its own")),
            }
        };
        let read = Read::Fields(names.iter().map(field).collect());
        Self {
            entity,
            names,
            read,
        }
    }

    /// The columns to ask for.
    pub fn columns(&self) -> Columns {
        Columns::Only(self.names)
    }

    /// Reads a row that was reached from the story `near`; where it says that it leads goes to
    /// `edges`.
    ///
    /// # Errors
    /// See [`Unread`].
    pub fn item(
        &self,
        node: LightNode,
        counted_by: &str,
        near: &Arc<StoryId>,
        edges: &mut Vec<DecisionEdge>,
    ) -> Result<Item, Unread> {
        let LightNode { key, values, .. } = node;
        if entity_of(key.label()) != Some(self.entity) {
            let problem = "is of another kind".to_owned();
            return Err(Unread::Corrupt(Corrupt { key, problem }));
        }
        let before = edges.len();
        let item = match &self.read {
            Read::Fields(fields) => self.by_columns(fields, &key, values, counted_by, near, edges),
            Read::Decision => {
                let light = values.first().and_then(Value::as_str);
                let light = light
                    .and_then(LightDecision::read)
                    .ok_or(Unread::NotLight)?;
                decision(&key, light, counted_by, near, edges)
            }
        };
        item.map_err(|CorruptItem { problem, .. }| {
            edges.truncate(before);
            Unread::Corrupt(Corrupt { key, problem })
        })
    }

    fn by_columns(
        &self,
        fields: &[LightField],
        key: &NodeKey,
        values: Vec<Value>,
        counted_by: &str,
        near: &Arc<StoryId>,
        edges: &mut Vec<DecisionEdge>,
    ) -> Result<Item, CorruptItem> {
        // If it is read at all, the id is the first column.
        let id: Id = match (fields.first(), values.first()) {
            (Some(LightField::Field(Field::Column(0))), Some(value)) if !value.is_null() => {
                value.as_str().unwrap_or_default().into()
            }
            _ => own_id(key).into(),
        };
        let fields = fields.iter().zip(values);
        let fields = fields.filter_map(|(field, value)| match (field, value) {
            (LightField::Field(field), value) => Some((*field, value)),
            (LightField::Link(kind), Value::Array(ends)) => {
                let ends = ends.iter().filter_map(Value::as_str);
                edges.extend(ends.map(|to| DecisionEdge {
                    from: id.clone(),
                    kind: *kind,
                    to: to.into(),
                }));
                None
            }
            (LightField::Link(_), _) => None,
        });
        Item::of_fields(self.entity, &id, fields, Some(counted_by), Some(near))
    }
}

fn names_in(lists: &'static [Vec<&'static str>], entity: Entity) -> &'static [&'static str] {
    let at = Entity::ALL.iter().position(|each| *each == entity);
    &lists[at.expect("ALL holds every entity")]
}

/// A decision from its light text.
fn decision(
    key: &NodeKey,
    light: LightDecision<'_>,
    counted_by: &str,
    near: &Arc<StoryId>,
    edges: &mut Vec<DecisionEdge>,
) -> Result<Item, CorruptItem> {
    static FIELDS: LazyLock<[Field; 4]> = LazyLock::new(|| {
        let names = ["title", "status", "created_at", "tokens_rationale"];
        names.map(|name| Entity::Decision.field(name).expect("one of its own"))
    });
    let id = Id::from(own_id(key));
    for (kind, ends) in [
        (RelationKind::Affects, light.affects),
        (RelationKind::DependsOn, light.depends_on),
        (RelationKind::Supersedes, light.supersedes),
        (RelationKind::AlternativeOf, light.alternative_of),
    ] {
        edges.extend(ends.into_iter().map(|to| DecisionEdge {
            from: id.clone(),
            kind,
            to: to.into(),
        }));
    }
    let [title, status, created_at, tokens] = *FIELDS;
    let fields = [
        (title, Value::from(light.title)),
        (status, Value::from(light.status)),
        (created_at, Value::from(light.created_at)),
    ];
    let counted = light.tokens_by == counted_by;
    let counted = counted.then(|| (tokens, Value::from(light.tokens_rationale)));
    let deleted = light
        .deleted
        .then(|| (Field::DeletedAt, Value::from(light.created_at)));
    let fields = fields.into_iter().chain(counted).chain(deleted);
    Item::of_fields(Entity::Decision, &id, fields, None, Some(near))
}

/// What a row without an id of its own is called.
fn own_id(key: &NodeKey) -> &str {
    key.id().rsplit('/').next().unwrap_or_default()
}
