//! What a graph is made of: nodes with keys, relationships, and the closed lists of their kinds.

use serde::{Serialize, de::DeserializeOwned};

/// Properties of a node or relationship: scalars and lists of scalars. Anything deeper is a
/// JSON string in a property whose name ends in `_json`. A null is no property: it is not
/// stored and does not read back.
pub type Props = serde_json::Map<String, serde_json::Value>;

/// Declares the closed list of labels with the service that alone may write each.
macro_rules! labels {
    ($($(#[$meta:meta])* $label:ident: $owner:ident),+ $(,)?) => {
        /// The kind of a node. Closed: a label reaches a query text only through this list.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Label { $($(#[$meta])* $label),+ }

        impl Label {
            /// Every label.
            pub const ALL: &'static [Self] = &[$(Self::$label),+];

            /// As written in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$label => stringify!($label)),+ }
            }

            /// The only service that may write nodes of this kind.
            pub const fn owner(self) -> Owner {
                match self { $(Self::$label => Owner::$owner),+ }
            }

            /// The label of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $(stringify!($label) => Some(Self::$label),)+ _ => None }
            }
        }
    };
}

/// Who may write a label or a relationship type. Every service may read the whole graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The planning service.
    Planning,
    /// The workflow service.
    Workflow,
    /// The context service.
    Context,
}

labels! {
    /// `PROJ-…`
    Project: Planning,
    /// `E-…`
    Epic: Planning,
    /// `s-…`
    Story: Planning,
    /// `T-…`
    Task: Planning,
    /// `PL-…`: one approved version of a story's plan.
    PlanVersion: Planning,
    /// The product owner's verdict on a decision: `<story>/<decision>`.
    DecisionReview: Planning,
    /// One transition of a story: `<story>/<seq>`.
    StoryTransition: Planning,
    /// The life of a task in the workflow: id of the task.
    TaskRun: Workflow,
    /// One execution of a story: `<story>/<execution>`.
    StoryRun: Workflow,
    /// One hop of a task: `<task>/<seq>`.
    TaskTransition: Workflow,
    /// A due time that any replica may act on.
    Timer: Workflow,
    /// Something an auditor wants to see: refused roles, claims, overrides.
    AuditEntry: Workflow,
    /// The context of a story, and the count of its changes: id of the story.
    StoryContext: Context,
    /// `DEC-…`: what was decided and why.
    Decision: Context,
    /// Something that happened to a story, worth telling: `<story>/<event>`.
    Event: Context,
    /// A step of a story from phase to phase: `<story>/<seq>`.
    PhaseTransition: Context,
    /// A summary of a story so far: `<story>/<id>`.
    Summary: Context,
}

/// Declares the closed list of relationship types, likewise.
macro_rules! edges {
    ($($(#[$meta:meta])* $edge:ident = $name:literal: $($owner:ident)|+),+ $(,)?) => {
        /// The kind of a relationship. Closed, like [`Label`].
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum EdgeType { $($(#[$meta])* $edge),+ }

        impl EdgeType {
            /// Every type.
            pub const ALL: &'static [Self] = &[$(Self::$edge),+];

            /// As written in the store.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$edge => $name),+ }
            }

            /// The only services that may write relationships of this kind: one, or of
            /// several each from the nodes that are its own.
            pub const fn owners(self) -> &'static [Owner] {
                match self { $(Self::$edge => &[$(Owner::$owner),+]),+ }
            }

            /// The type of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$edge),)+ _ => None }
            }
        }
    };
}

edges! {
    /// Project → Epic
    HasEpic = "HAS_EPIC": Planning,
    /// Epic → Story
    Contains = "CONTAINS": Planning,
    /// Story → PlanVersion
    HasPlan = "HAS_PLAN": Planning,
    /// Story → Task
    HasTask = "HAS_TASK": Planning,
    /// Task → the Task it waits for; Decision → the Decision it rests on
    DependsOn = "DEPENDS_ON": Planning | Context,
    /// Story → DecisionReview
    HasReview = "HAS_REVIEW": Planning,
    /// Story → StoryTransition
    HasTransition = "HAS_TRANSITION": Planning,
    /// Task → TaskRun
    HasRun = "HAS_RUN": Workflow,
    /// TaskRun → TaskTransition
    HasHop = "HAS_HOP": Workflow,
    /// Story → Decision
    HasDecision = "HAS_DECISION": Context,
    /// Story → StoryContext
    HasContext = "HAS_CONTEXT": Context,
    /// Story → Event
    HasEvent = "HAS_EVENT": Context,
    /// Story → PhaseTransition
    HasPhase = "HAS_PHASE": Context,
    /// Story → Summary
    HasSummary = "HAS_SUMMARY": Context,
    /// Decision → the Task it has a say in
    Affects = "AFFECTS": Context,
    /// Decision → the Decision it takes the place of
    Supersedes = "SUPERSEDES": Context,
    /// Decision → the Decision it was weighed against
    AlternativeOf = "ALTERNATIVE_OF": Context,
    /// Story → the Event that keeps who changed its context, how and why
    HasRecord = "HAS_RECORD": Context,
}

/// Which node: its kind and its id. Written `Label/id` in stores and errors.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey {
    label: Label,
    id: String,
}

/// Longest id of a node, in bytes.
pub const MAX_NODE_ID: usize = 512;

impl NodeKey {
    /// A key. Ids are checked by the commit port: 1 to [`MAX_NODE_ID`] printable ASCII bytes.
    pub fn new(label: Label, id: impl Into<String>) -> Self {
        Self {
            label,
            id: id.into(),
        }
    }

    /// The kind.
    pub fn label(&self) -> Label {
        self.label
    }

    /// The id, without the label.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// `Label/id`, unique over the whole graph.
    pub fn path(&self) -> String {
        format!("{}/{}", self.label.as_str(), self.id)
    }

    /// The key written by [`Self::path`].
    pub fn from_path(path: &str) -> Option<Self> {
        let (label, id) = path.split_once('/')?;
        Some(Self::new(Label::from_name(label)?, id))
    }
}

impl std::fmt::Display for NodeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.label.as_str(), self.id)
    }
}

/// A stored node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Its key.
    pub key: NodeKey,
    /// 1 when created, one more with every change.
    pub version: i64,
    /// Its place in every listing that it appears in; see [`crate::Index`].
    pub ord: String,
    /// Its properties.
    pub props: Props,
}

impl Node {
    /// Reads the properties as a typed row.
    pub fn row<T: DeserializeOwned>(&self) -> Result<T, CorruptRow> {
        serde_json::from_value(serde_json::Value::Object(self.props.clone())).map_err(|e| {
            CorruptRow {
                key: self.key.clone(),
                problem: e.to_string(),
            }
        })
    }

    /// Reads the properties as a typed row, with its version.
    pub fn versioned<T: DeserializeOwned>(&self) -> Result<Versioned<T>, CorruptRow> {
        Ok(Versioned {
            value: self.row()?,
            version: self.version,
        })
    }
}

/// A row with the version that the store gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The row.
    pub value: T,
    /// 1 when created, one more with every change.
    pub version: i64,
}

impl<T> Versioned<T> {
    /// A row that was just created.
    pub fn first(value: T) -> Self {
        Self { value, version: 1 }
    }
}

/// A stored node that does not read as what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored node {key} does not read as its kind: {problem}")]
pub struct CorruptRow {
    /// Which node.
    pub key: NodeKey,
    /// What the reader said.
    pub problem: String,
}

/// Turns a typed row (a flat struct) into properties.
///
/// # Panics
/// If `row` does not serialize to a JSON object: a bug, seen by the first test that runs it.
pub fn props<T: Serialize>(row: &T) -> Props {
    match serde_json::to_value(row) {
        Ok(serde_json::Value::Object(map)) => map,
        other => panic!("a row serializes to an object, not {other:?}"),
    }
}

/// A stored relationship.
#[derive(Debug, Clone, PartialEq)]
pub struct Edge {
    /// Where it starts.
    pub from: NodeKey,
    /// Its kind.
    pub kind: EdgeType,
    /// Where it ends.
    pub to: NodeKey,
    /// Its properties.
    pub props: Props,
}
