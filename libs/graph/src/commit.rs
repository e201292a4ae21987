//! The unit of change: everything in one [`Commit`] happens, durably, or nothing does.

use std::collections::HashSet;

use fleet_types::{EventId, Timestamp};
use serde_json::Value;
use uuid::Uuid;

use crate::{Edge, EdgeType, Index, Label, MAX_NODE_ID, NodeKey, Owner, Props};

/// Most node writes, edge writes, guards and events together in one commit.
pub const MAX_WRITES: usize = 2_000;
/// Largest total of property and payload text in one commit, in bytes.
pub const MAX_COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// What is done to one node. Every write says what it expects to find: there are no blind
/// writes, so two commits that touch one node never both win, and the version that a write
/// leaves behind is known before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeWrite {
    /// The node must not exist; it gets version 1.
    Create {
        /// Its key.
        key: NodeKey,
        /// Its place in listings, see [`crate::Index`].
        ord: String,
        /// Its properties.
        props: Props,
    },
    /// The node must be at `expected`; its properties are replaced, version `expected + 1`.
    Update {
        /// Its key.
        key: NodeKey,
        /// The version it must have.
        expected: i64,
        /// Its place in listings from now on.
        ord: String,
        /// All its properties from now on.
        props: Props,
    },
    /// The node must be at `expected`; it and all its relationships go.
    Delete {
        /// Its key.
        key: NodeKey,
        /// The version it must have.
        expected: i64,
    },
}

impl NodeWrite {
    /// The node that is written.
    pub fn key(&self) -> &NodeKey {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    /// The version it must have before; 0 = must not exist.
    pub fn expected(&self) -> i64 {
        match self {
            Self::Create { .. } => 0,
            Self::Update { expected, .. } | Self::Delete { expected, .. } => *expected,
        }
    }
}

/// A condition on a node that this commit does not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guard {
    /// The node must exist, at whatever version.
    Present(NodeKey),
    /// The node must not exist.
    Absent(NodeKey),
    /// The node must be at this version, and stay there until the commit is done.
    Version(NodeKey, i64),
}

impl Guard {
    /// The node it is about.
    pub fn key(&self) -> &NodeKey {
        match self {
            Self::Present(key) | Self::Absent(key) | Self::Version(key, _) => key,
        }
    }
}

/// What is done to one relationship.
#[derive(Debug, Clone, PartialEq)]
pub enum EdgeWrite {
    /// It exists afterwards with these properties; both ends must exist (after the node
    /// writes of this commit).
    Relate(Edge),
    /// It does not exist afterwards.
    Unrelate {
        /// Where it starts.
        from: NodeKey,
        /// Its kind.
        kind: EdgeType,
        /// Where it ends.
        to: NodeKey,
    },
}

impl EdgeWrite {
    /// Its kind.
    pub fn kind(&self) -> EdgeType {
        match self {
            Self::Relate(edge) => edge.kind,
            Self::Unrelate { kind, .. } => *kind,
        }
    }
}

/// An event that a commit causes: kept with it until the bus has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEvent {
    /// Unique for ever; the bus removes duplicates by it.
    pub id: EventId,
    /// Subject on the bus, e.g. `planning.story.created`.
    pub subject: String,
    /// CloudEvents `source`: the service that says it, e.g. `fleet-planning`.
    pub source: String,
    /// What it is about, e.g. the story id (CloudEvents `subject`).
    pub aggregate: String,
    /// Version of the aggregate that this event announces.
    pub aggregate_version: i64,
    /// When it happened.
    pub time: Timestamp,
    /// The JSON body.
    pub payload: String,
    /// What it all belongs to (one id from the first request to the last effect).
    pub correlation: String,
    /// The event or request that caused this one; empty if none.
    pub causation: String,
    /// W3C trace context; empty if none.
    pub traceparent: String,
}

/// The event that a commit answers: the second time, nothing is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The durable consumer.
    pub consumer: String,
    /// The event it handled.
    pub event: EventId,
}

/// Identity of a caller's request: same key = same request, wherever it arrives.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The gRPC method, e.g. `fleet.planning.v2.PlanningService/CreateStory`.
    pub method: String,
    /// Who asked.
    pub principal: String,
    /// The caller's `request_id`, 1 to 128 printable characters.
    pub request_id: String,
}

/// A request with its outcome, stored with its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its identity.
    pub key: RequestKey,
    /// Hash of its content, so that another request under the same id is told apart.
    pub fingerprint: String,
    /// The encoded answer, given again when the request is repeated.
    pub response: Vec<u8>,
}

/// One atomic change of the graph with all its consequences.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// Unique per attempt-group: retries of one commit keep it, so that a lost reply is
    /// recognised as our own success.
    pub id: Uuid,
    /// Who writes; checked against [`Label::owner`] and [`EdgeType::owners`].
    pub writer: Owner,
    /// When (kept with outbox, inbox and request rows, which are pruned by age).
    pub time: Timestamp,
    /// Conditions on nodes that are not written.
    pub guards: Vec<Guard>,
    /// Node writes; at most one per node.
    pub nodes: Vec<NodeWrite>,
    /// Relationship writes.
    pub edges: Vec<EdgeWrite>,
    /// Events caused.
    pub events: Vec<OutboxEvent>,
    /// Event answered, if this commit is a consumer's.
    pub answers: Option<Answer>,
    /// Request answered, if the caller gave a `request_id`.
    pub request: Option<Request>,
}

/// What a commit left behind.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Receipt {
    /// The new version of every created or updated node, in the order of the writes.
    pub versions: Vec<(NodeKey, i64)>,
    /// Whether all events of the commit are on the bus already (store and bus are one); else
    /// those that are not wait in the outbox. A repeated commit does not remember: `false`.
    pub on_bus: bool,
}

impl Commit {
    /// An empty commit.
    pub fn new(id: Uuid, writer: Owner, time: Timestamp) -> Self {
        Self {
            id,
            writer,
            time,
            guards: Vec::new(),
            nodes: Vec::new(),
            edges: Vec::new(),
            events: Vec::new(),
            answers: None,
            request: None,
        }
    }

    /// Whether it would have no effect at all. One that only records a request, or that an
    /// event was answered, has one; conditions alone have none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
            && self.edges.is_empty()
            && self.events.is_empty()
            && self.answers.is_none()
            && self.request.is_none()
    }

    /// Adds a node that must not exist yet.
    pub fn create(&mut self, key: NodeKey, ord: impl Into<String>, props: Props) -> &mut Self {
        self.nodes.push(NodeWrite::Create {
            key,
            ord: ord.into(),
            props,
        });
        self
    }

    /// Replaces the properties of a node that must be at `expected`.
    pub fn update(
        &mut self,
        key: NodeKey,
        expected: i64,
        ord: impl Into<String>,
        props: Props,
    ) -> &mut Self {
        self.nodes.push(NodeWrite::Update {
            key,
            expected,
            ord: ord.into(),
            props,
        });
        self
    }

    /// Deletes a node that must be at `expected`, with its relationships.
    pub fn delete(&mut self, key: NodeKey, expected: i64) -> &mut Self {
        self.nodes.push(NodeWrite::Delete { key, expected });
        self
    }

    /// Adds a condition.
    pub fn guard(&mut self, guard: Guard) -> &mut Self {
        self.guards.push(guard);
        self
    }

    /// Relates two nodes without properties.
    pub fn relate(&mut self, from: NodeKey, kind: EdgeType, to: NodeKey) -> &mut Self {
        self.edges.push(EdgeWrite::Relate(Edge {
            from,
            kind,
            to,
            props: Props::new(),
        }));
        self
    }

    /// Adds an event.
    pub fn event(&mut self, event: OutboxEvent) -> &mut Self {
        self.events.push(event);
        self
    }

    /// The versions that the node writes leave behind if the commit succeeds.
    pub fn receipt(&self) -> Receipt {
        let versions = self
            .nodes
            .iter()
            .filter(|write| !matches!(write, NodeWrite::Delete { .. }))
            .map(|write| (write.key().clone(), write.expected() + 1))
            .collect();
        Receipt {
            versions,
            on_bus: false,
        }
    }

    /// Checks everything that needs no store: ownership, sizes, ids, value shapes, one write
    /// per node. Adapters call it first; `Err` says what is wrong (a bug of the caller).
    pub fn check(&self) -> Result<(), String> {
        let writes = self.guards.len() + self.nodes.len() + self.edges.len() + self.events.len();
        if writes > MAX_WRITES {
            return Err(format!(
                "{writes} writes in one commit; at most {MAX_WRITES}"
            ));
        }
        let mut bytes = 0;
        let mut seen = HashSet::new();
        for write in &self.nodes {
            check_owner(
                write.key().label().as_str(),
                write.key().label().owner(),
                self.writer,
            )?;
            check_id(write.key())?;
            if !seen.insert(write.key()) {
                return Err(format!("{} is written twice in one commit", write.key()));
            }
            match write {
                NodeWrite::Create { key, ord, props }
                | NodeWrite::Update {
                    key, ord, props, ..
                } => {
                    if ord.is_empty() || ord.len() > 2 * MAX_NODE_ID {
                        return Err(format!("{key} has an ord of {} bytes", ord.len()));
                    }
                    bytes += check_props(key, props)?;
                }
                NodeWrite::Delete { .. } => {}
            }
            if !matches!(write, NodeWrite::Create { .. }) && write.expected() < 1 {
                return Err(format!(
                    "{} expects version {}",
                    write.key(),
                    write.expected()
                ));
            }
        }
        for guard in &self.guards {
            check_id(guard.key())?;
            if !seen.insert(guard.key()) {
                return Err(format!(
                    "{} is guarded twice, or guarded and written",
                    guard.key()
                ));
            }
        }
        for edge in &self.edges {
            let (from, to) = match edge {
                EdgeWrite::Relate(Edge { from, to, .. }) | EdgeWrite::Unrelate { from, to, .. } => {
                    (from, to)
                }
            };
            let owner = match edge.kind().owners() {
                [owner] => *owner,
                // Several write it, each from what is its own.
                _ => from.label().owner(),
            };
            check_owner(edge.kind().as_str(), owner, self.writer)?;
            check_id(from)?;
            check_id(to)?;
            if let EdgeWrite::Relate(edge) = edge {
                bytes += check_props(&edge.from, &edge.props)?;
            }
        }
        bytes += self.events.iter().map(|e| e.payload.len()).sum::<usize>();
        bytes += self.request.as_ref().map_or(0, |r| r.response.len());
        if bytes > MAX_COMMIT_BYTES {
            return Err(format!(
                "{bytes} bytes in one commit; at most {MAX_COMMIT_BYTES}"
            ));
        }
        Ok(())
    }
}

fn check_owner(what: &str, owner: Owner, writer: Owner) -> Result<(), String> {
    if owner == writer {
        Ok(())
    } else {
        Err(format!(
            "{what} is written by {owner:?} alone, not by {writer:?}"
        ))
    }
}

fn check_id(key: &NodeKey) -> Result<(), String> {
    let fits = (1..=MAX_NODE_ID).contains(&key.id().len());
    if fits && key.id().bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(format!(
            "{} is not an id of 1 to {MAX_NODE_ID} printable characters",
            key.label().as_str()
        ))
    }
}

/// Longest name of a property, in bytes.
const MAX_PROP_NAME: usize = 64;

/// Names are words of the program, values what every store can hold and compare: an integer
/// fits 64 bits with sign, a list holds one kind of scalar, what a listing filters by is no
/// longer than an index can hold. Null = the property is absent.
fn check_props(key: &NodeKey, props: &Props) -> Result<usize, String> {
    let mut bytes = 0;
    for (name, value) in props {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !plain || name.len() > MAX_PROP_NAME {
            return Err(format!(
                "{key}.{name:?}: a name starts with a letter (a leading _ is the store's own) \
                 and has at most {MAX_PROP_NAME} letters, digits and _"
            ));
        }
        let size = match value {
            Value::Object(_) => return Err(format!("{key}.{name} is nested: use {name}_json")),
            Value::Array(items) => {
                let kinds: HashSet<_> = items.iter().map(scalar_kind).collect();
                if kinds.len() > 1 || kinds.contains(&None) {
                    return Err(format!(
                        "{key}.{name} is a list of more than one kind of scalar"
                    ));
                }
                items.iter().map(|i| i.as_str().map_or(8, str::len)).sum()
            }
            Value::Null => 8,
            scalar if scalar_kind(scalar).is_none() => {
                return Err(format!(
                    "{key}.{name} does not fit a 64-bit integer with sign"
                ));
            }
            scalar => scalar.as_str().map_or(8, str::len),
        };
        if size > MAX_FILTER_BYTES && is_filter(key.label(), name) {
            return Err(format!(
                "{key}.{name} has {size} bytes; it is a filter of listings"
            ));
        }
        bytes += name.len() + size;
    }
    Ok(bytes)
}

/// Longest value of a property that a listing filters by, in bytes.
const MAX_FILTER_BYTES: usize = 2 * MAX_NODE_ID;

fn is_filter(label: Label, name: &str) -> bool {
    Index::ALL
        .iter()
        .any(|index| index.label() == label && index.filters().contains(&name))
}

/// Which kind of scalar; `None` if it is none that every store can hold.
fn scalar_kind(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(_) => Some("string"),
        Value::Bool(_) => Some("boolean"),
        Value::Number(n) if n.is_i64() => Some("integer"),
        Value::Number(n) if n.is_f64() => Some("float"),
        _ => None,
    }
}

/// The label under which node keys of a kind are listed in error messages.
impl std::fmt::Display for Label {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_of_two_services_start_at_their_own_nodes() {
        let (task, decision) = (
            NodeKey::new(Label::Task, "T-1"),
            NodeKey::new(Label::Decision, "DEC-1"),
        );
        let story = NodeKey::new(Label::Story, "s-1");
        let writes = |writer, from: &NodeKey, kind, to: &NodeKey| {
            let mut relate = Commit::new(Uuid::nil(), writer, Timestamp::from_millis(0));
            let mut undo = relate.clone();
            relate.relate(from.clone(), kind, to.clone());
            let (from, to) = (from.clone(), to.clone());
            undo.edges.push(EdgeWrite::Unrelate { from, kind, to });
            assert_eq!(relate.check().is_ok(), undo.check().is_ok());
            relate.check().is_ok()
        };
        let depends = EdgeType::DependsOn;
        assert!(writes(Owner::Planning, &task, depends, &task));
        assert!(writes(Owner::Context, &decision, depends, &decision));
        assert!(writes(Owner::Context, &decision, depends, &task));
        assert!(!writes(Owner::Context, &task, depends, &decision));
        assert!(!writes(Owner::Planning, &decision, depends, &task));
        assert!(!writes(Owner::Workflow, &task, depends, &task));
        // A kind of one service is its alone, wherever it starts.
        assert!(writes(
            Owner::Context,
            &story,
            EdgeType::HasDecision,
            &decision
        ));
        assert!(!writes(
            Owner::Planning,
            &story,
            EdgeType::HasDecision,
            &decision
        ));
        assert!(!writes(Owner::Context, &story, EdgeType::HasTask, &task));
    }
}
