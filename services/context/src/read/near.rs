//! GetGraphRelationships: a node and what is near it, as far as the role may see.
//!
//! Level by level: from what was found by the level before, every kind of relationship that
//! nodes of its kind have, both ways, side by side. What the role may not see is counted and
//! not walked through; nor is what cannot be read, which is told in warnings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fleet_graph::{
    Deadline, Direction, Edge, EdgeType, Label, MAX_WALK_NODES, Node, NodeKey, ReadError, Step,
    Subgraph, Walk,
};
use fleet_proto::context::v1 as pb;
use fleet_service::races::word;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{DecisionId, EpicId, ProjectId, Role, StoryId, TaskId, Violations};

use super::items::{self, Corrupt};
use super::left_out::LeftOut;
use super::show;
use super::story::relation_of;
use crate::app::{App, caller};
use crate::domain::{Entity, Item, Viewer};

const DEPTHS: std::ops::RangeInclusive<i32> = 1..=3;
const USUAL_DEPTH: i32 = 2;
const MOST_NODES: i32 = 1_000;
const USUAL_NODES: usize = 200;

fleet_types::words! {
    /// A kind of node that can be asked about.
    enum NodeType("node type") {
        /// A project.
        Project = "Project",
        /// An epic.
        Epic = "Epic",
        /// A story.
        Story = "Story",
        /// A task.
        Task = "Task",
        /// A decision.
        Decision = "Decision",
    }
}

/// What relationships nodes of a kind have.
fn ways(label: Label) -> &'static [(EdgeType, Direction)] {
    use Direction::{In, Out};
    use EdgeType::{
        Affects, AlternativeOf, Contains, DependsOn, HasDecision, HasEpic, HasEvent, HasPhase,
        HasPlan, HasReview, HasRun, HasSummary, HasTask, Supersedes,
    };
    match label {
        Label::Project => &[(HasEpic, Out)],
        Label::Epic => &[(HasEpic, In), (Contains, Out)],
        Label::Story => &[
            (Contains, In),
            (HasPlan, Out),
            (HasTask, Out),
            (HasDecision, Out),
            (HasReview, Out),
            (HasEvent, Out),
            (HasPhase, Out),
            (HasSummary, Out),
        ],
        Label::Task => &[
            (HasTask, In),
            (DependsOn, Out),
            (DependsOn, In),
            (HasRun, Out),
            (Affects, In),
        ],
        Label::Decision => &[
            (HasDecision, In),
            (Affects, Out),
            (DependsOn, Out),
            (DependsOn, In),
            (Supersedes, Out),
            (Supersedes, In),
            (AlternativeOf, Out),
            (AlternativeOf, In),
        ],
        Label::PlanVersion => &[(HasPlan, In)],
        Label::TaskRun => &[(HasRun, In)],
        Label::DecisionReview => &[(HasReview, In)],
        Label::Event => &[(HasEvent, In)],
        Label::PhaseTransition => &[(HasPhase, In)],
        Label::Summary => &[(HasSummary, In)],
        _ => &[],
    }
}

/// Whether what is reached from nodes that are seen through a story is seen through it, too.
fn stays_in_story((edge, direction): (EdgeType, Direction)) -> bool {
    use EdgeType::{
        Contains, HasDecision, HasEpic, HasEvent, HasPhase, HasPlan, HasReview, HasRun, HasSummary,
        HasTask,
    };
    match edge {
        HasTask | HasRun | HasPlan | HasDecision | HasReview | HasEvent | HasPhase | HasSummary => {
            true
        }
        Contains | HasEpic => direction == Direction::In,
        _ => false,
    }
}

/// What is asked, parsed.
struct Ask {
    root: NodeKey,
    depth: i32,
    most: usize,
    role: Option<Role>,
}

fn parse(request: &pb::GetGraphRelationshipsRequest) -> Result<Ask, Fault> {
    let mut v = Violations::new();
    let kind: Option<NodeType> = v.parse("node_type", &request.node_type);
    let id = request.node_id.as_str();
    let root = match kind {
        None => {
            if id.trim().is_empty() {
                v.add("node_id", "is required");
            }
            None
        }
        Some(kind) => root(&mut v, kind, id),
    };
    let role = caller::named(&mut v, "role", &request.role);
    let most = match request.max_nodes {
        0 => USUAL_NODES,
        n if (1..=MOST_NODES).contains(&n) => n as usize,
        n => {
            v.add("max_nodes", format!("{n} is not 1 to {MOST_NODES}"));
            USUAL_NODES
        }
    };
    v.into_result()?;
    let depth = match request.depth {
        0 => USUAL_DEPTH,
        depth => depth.clamp(*DEPTHS.start(), *DEPTHS.end()),
    };
    Ok(Ask {
        root: root.expect("no violation: it is there"),
        depth,
        most,
        role,
    })
}

fn root(v: &mut Violations, kind: NodeType, id: &str) -> Option<NodeKey> {
    let field = "node_id";
    let key = |label, id: &str| NodeKey::new(label, id);
    match kind {
        NodeType::Project => {
            let id: ProjectId = v.parse(field, id)?;
            Some(key(Label::Project, id.as_str()))
        }
        NodeType::Epic => {
            let id: EpicId = v.parse(field, id)?;
            Some(key(Label::Epic, id.as_str()))
        }
        NodeType::Story => {
            let id: StoryId = v.parse(field, id)?;
            Some(key(Label::Story, id.as_str()))
        }
        NodeType::Task => {
            let id: TaskId = v.parse(field, id)?;
            Some(key(Label::Task, id.as_str()))
        }
        NodeType::Decision => {
            let id: DecisionId = v.parse(field, id)?;
            Some(key(Label::Decision, id.as_str()))
        }
    }
}

/// A node with what is near it.
///
/// # Errors
/// See the contract.
pub async fn get_graph_relationships(
    app: &Arc<App>,
    call: &Call,
    request: pb::GetGraphRelationshipsRequest,
) -> Result<pb::GetGraphRelationshipsResponse, Fault> {
    let ask = parse(&request)?;
    let role = caller::viewer(call, ask.role)?;
    let mut level = Level {
        app,
        role,
        story: None,
        shown: BTreeMap::new(),
        refused: BTreeSet::new(),
        edges: BTreeSet::new(),
        left_out: LeftOut::default(),
        truncated: false,
    };
    let kind = word(ask.root.label());
    let found = app
        .store
        .get(std::slice::from_ref(&ask.root), call.deadline)
        .await?;
    let Some(node) = found.into_iter().next().flatten() else {
        return Err(Fault::not_found(kind, ask.root.id()));
    };
    let item = items::item(node, &app.policies.counted_by()).map_err(Fault::internal)?;
    if item.is_deleted() {
        return Err(Fault::not_found(kind, ask.root.id()));
    }
    level.story = item.story().cloned();
    if !app.policies.sees(level.viewer(), &item) {
        let message = format!("{role} may not see {kind} {}", ask.root.id());
        return Err(Fault::denied(Reason::RoleNotAllowed, message));
    }
    level.shown.insert(ask.root.clone(), item);
    let mut frontier = vec![ask.root.clone()];
    for _ in 0..ask.depth {
        if frontier.is_empty() || level.truncated {
            break;
        }
        frontier = level.walk(&frontier, ask.most, call.deadline).await?;
    }
    Ok(level.answer(&ask.root))
}

struct Level<'a> {
    app: &'a App,
    role: Role,
    /// The story of the node that was asked about.
    story: Option<StoryId>,
    shown: BTreeMap<NodeKey, Item>,
    refused: BTreeSet<NodeKey>,
    edges: BTreeSet<(NodeKey, EdgeType, NodeKey)>,
    left_out: LeftOut,
    truncated: bool,
}

/// What one kind of step reached.
struct Part {
    found: Subgraph,
    /// Whether all of it is the story's own.
    own: bool,
}

impl Level<'_> {
    fn viewer(&self) -> Viewer<'_> {
        Viewer {
            role: self.role,
            story: self.story.as_ref(),
        }
    }

    /// One step further; gives what is new and seen.
    async fn walk(
        &mut self,
        frontier: &[NodeKey],
        most: usize,
        deadline: Deadline,
    ) -> Result<Vec<NodeKey>, ReadError> {
        let mut roots: BTreeMap<usize, Vec<NodeKey>> = BTreeMap::new();
        let mut kinds: Vec<(EdgeType, Direction)> = Vec::new();
        for key in frontier {
            for way in ways(key.label()) {
                let at = kinds.iter().position(|kind| kind == way);
                let at = at.unwrap_or_else(|| {
                    kinds.push(*way);
                    kinds.len() - 1
                });
                roots.entry(at).or_default().push(key.clone());
            }
        }
        let known = self.shown.len() + self.refused.len() + self.left_out.len();
        let store = &self.app.store;
        let walks = roots.into_iter().map(|(at, roots)| {
            let (edge, direction) = kinds[at];
            let own = stays_in_story(kinds[at]) && roots.iter().all(|root| self.is_own(root));
            let walk = Walk {
                // One more than can be shown says that there are more; what is known already
                // may be found again.
                max_nodes: (roots.len() + known + most + 1).min(MAX_WALK_NODES),
                roots,
                steps: vec![Step {
                    edge,
                    direction,
                    hops: 1,
                }],
            };
            async move {
                let found = store.walk(&walk, deadline).await?;
                Ok::<_, ReadError>(Part { found, own })
            }
        });
        let found = futures::future::try_join_all(walks).await?;
        Ok(self.take(found, most))
    }

    /// Whether a node that is shown is seen through the story that was asked about.
    fn is_own(&self, key: &NodeKey) -> bool {
        let of = self.shown.get(key).and_then(Item::story);
        of.is_some() && of == self.story.as_ref()
    }

    fn leave_out(&mut self, corrupt: Corrupt, own: bool) {
        // What is never shown is not missed either.
        let Some(entity) = items::entity_of(corrupt.key.label()) else {
            return;
        };
        let of = self.story.as_ref().filter(|_| own);
        let named = self.app.policies.sees_any(self.viewer(), entity, of);
        self.left_out.add(corrupt, named);
    }

    fn take(&mut self, found: Vec<Part>, most: usize) -> Vec<NodeKey> {
        let counted_by = self.app.policies.counted_by();
        let mut nodes: BTreeMap<NodeKey, Node> = BTreeMap::new();
        let mut edges: Vec<Edge> = Vec::new();
        let mut own: BTreeSet<NodeKey> = BTreeSet::new();
        for Part { found, own: all } in found {
            self.truncated |= found.truncated;
            for row in &found.corrupt {
                self.leave_out(Corrupt::from(row), all);
            }
            if all {
                own.extend(found.nodes.iter().map(|node| node.key.clone()));
            }
            nodes.extend(found.nodes.into_iter().map(|node| (node.key.clone(), node)));
            edges.extend(found.edges);
        }
        nodes.retain(|key, _| !self.shown.contains_key(key) && !self.refused.contains(key));
        let mut new = Vec::new();
        for (key, node) in nodes {
            let item = match items::item(node, &counted_by) {
                Ok(item) => item,
                Err(corrupt) => {
                    self.leave_out(corrupt, own.contains(&key));
                    continue;
                }
            };
            if item.is_deleted() {
                continue;
            }
            let item = self.placed(item, &edges);
            if !self.app.policies.sees(self.viewer(), &item) {
                self.refused.insert(key);
            } else if self.shown.len() < most {
                self.shown.insert(key.clone(), item);
                new.push(key);
            } else {
                self.truncated = true;
            }
        }
        for edge in edges {
            self.edges.insert((edge.from, edge.kind, edge.to));
        }
        new
    }

    /// The epic of the story, and the project of that epic, are seen through the story.
    fn placed(&self, item: Item, edges: &[Edge]) -> Item {
        let Some(story) = &self.story else {
            return item;
        };
        let leads = |kind: EdgeType, to: &dyn Fn(&NodeKey) -> bool| {
            let mut all = edges.iter();
            all.any(|e| e.kind == kind && e.from.id() == item.id() && to(&e.to))
        };
        let own = match item.entity() {
            Entity::Epic => leads(EdgeType::Contains, &|to| to.id() == story.as_str()),
            Entity::Project => leads(EdgeType::HasEpic, &|to| {
                let epic = self.shown.get(to);
                epic.is_some_and(|epic| epic.story() == Some(story))
            }),
            _ => false,
        };
        if own {
            item.reached_through(story)
        } else {
            item
        }
    }

    /// Whether the role may hear of a relationship between two nodes that it sees.
    fn may_hear(&self, from: &NodeKey, kind: EdgeType, to: &NodeKey) -> bool {
        match (from.label(), to.label(), relation_of(kind)) {
            (Label::Decision, Label::Decision, Some(relation)) => {
                let item = self
                    .shown
                    .get(from)
                    .and_then(Item::story)
                    .map(|story| Item::relation(story, from.id(), relation.as_str(), to.id()));
                item.is_some_and(|item| self.app.policies.sees(self.viewer(), &item))
            }
            (Label::Task, Label::Task, _) => {
                let mut columns = self.app.policies.columns(self.role, Entity::Task);
                columns.any(|column| column == "depends_on")
            }
            _ => true,
        }
    }

    fn answer(self, root: &NodeKey) -> pb::GetGraphRelationshipsResponse {
        let node = |(key, item): (&NodeKey, &Item)| -> Option<pb::GraphNode> {
            let view = self.app.policies.view(self.viewer(), item)?;
            let label = key.label().as_str().to_owned();
            let title = match view.text("title") {
                "" => view.text("name"),
                title => title,
            };
            Some(pb::GraphNode {
                id: told_id(key, item).to_owned(),
                labels: vec![label.clone()],
                properties: view
                    .columns()
                    .map(|(name, value)| (name.to_owned(), show::plain(value)))
                    .collect(),
                r#type: label,
                title: title.to_owned(),
            })
        };
        let mut neighbors: Vec<pb::GraphNode> = self
            .shown
            .iter()
            .filter(|(key, _)| *key != root)
            .filter_map(node)
            .collect();
        neighbors.sort_by(|a, b| (&a.r#type, &a.id).cmp(&(&b.r#type, &b.id)));
        let mut relationships: Vec<pb::GraphRelationship> = self
            .edges
            .iter()
            .filter(|(from, _, to)| self.shown.contains_key(from) && self.shown.contains_key(to))
            .filter(|(from, kind, to)| self.may_hear(from, *kind, to))
            .map(|(from, kind, to)| pb::GraphRelationship {
                from_node_id: told_id(from, &self.shown[from]).to_owned(),
                to_node_id: told_id(to, &self.shown[to]).to_owned(),
                r#type: kind.as_str().to_owned(),
                properties: BTreeMap::new(),
                from_type: from.label().as_str().to_owned(),
                to_type: to.label().as_str().to_owned(),
            })
            .collect();
        relationships.sort_by(|a, b| sorted_by(a).cmp(&sorted_by(b)));
        let message = format!(
            "{} nodes and {} relationships near {}",
            neighbors.len(),
            relationships.len(),
            root.id()
        );
        let hidden = self.refused.len() + self.left_out.unnamed();
        pb::GetGraphRelationshipsResponse {
            node: self.shown.get_key_value(root).and_then(node),
            neighbors,
            relationships,
            success: true,
            message,
            truncated: self.truncated,
            hidden: i32::try_from(hidden).unwrap_or(i32::MAX),
            warnings: self.left_out.told(&self.app.reads.metrics),
        }
    }
}

/// The id by which a node is told apart from all others of its type. What is called by an id
/// within its story only goes by the whole id of its node.
fn told_id<'a>(key: &'a NodeKey, item: &'a Item) -> &'a str {
    match key.label() {
        Label::Event | Label::PhaseTransition | Label::Summary => key.id(),
        _ => item.id(),
    }
}

fn sorted_by(of: &pb::GraphRelationship) -> [&str; 5] {
    [
        &of.from_node_id,
        &of.from_type,
        &of.r#type,
        &of.to_node_id,
        &of.to_type,
    ]
}
