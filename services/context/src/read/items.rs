//! From nodes of the graph to items that policies speak about, and back.

use std::sync::LazyLock;

use fleet_graph::{Columns, Label, Node, NodeKey};
use fleet_types::StoryId;

use crate::domain::{CorruptItem, Entity, Item, Key};

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
pub(crate) fn item(node: &Node, counted_by: &str) -> Result<Item, Corrupt> {
    let told = |problem: String| Corrupt {
        key: node.key.clone(),
        problem,
    };
    let label = node.key.label();
    let entity = entity_of(label).ok_or_else(|| told("is never shown".to_owned()))?;
    let id = entity.id_column();
    let read = if node.props.contains_key(id) {
        Item::read(entity, &node.props, counted_by)
    } else {
        let own = node.key.id().rsplit('/').next().unwrap_or_default();
        let mut props = node.props.clone();
        props.insert(id.to_owned(), own.into());
        Item::read(entity, &props, counted_by)
    };
    read.map_err(|CorruptItem { problem, .. }| told(problem))
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

/// The columns of an entity that are read of everything: the light ones, the stored counts,
/// and whether it is still there.
pub(crate) fn light(entity: Entity) -> Columns {
    static LIGHT: LazyLock<Vec<Vec<&'static str>>> =
        LazyLock::new(|| Entity::ALL.iter().map(|entity| columns(*entity)).collect());
    let at = Entity::ALL.iter().position(|each| *each == entity);
    Columns::Only(&LIGHT[at.expect("ALL holds every entity")])
}

fn columns(entity: Entity) -> Vec<&'static str> {
    let counted = entity.columns().iter().filter(|c| !c.light);
    // Made once in a process, for a closed list.
    let counts = counted.map(|c| &*format!("tokens_{}", c.name).leak());
    let mut columns: Vec<&'static str> = entity.light_columns().collect();
    let ours = [
        Entity::Decision,
        Entity::Milestone,
        Entity::Phase,
        Entity::Summary,
    ];
    if ours.contains(&entity) {
        columns.extend(counts);
        columns.extend(["tokens_by", "deleted_at"]);
    }
    if entity == Entity::Decision {
        columns.extend(super::story::LINKS.map(|(column, _)| column));
    }
    columns
}
