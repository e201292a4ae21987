//! A story with everything around it, in two round trips: light columns of all, from which the
//! caller chooses; then what was chosen, whole, together with the versions that say whether all
//! of it belongs together.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fleet_graph::{
    Branch, Deadline, Digested, Direction, EdgeType, MAX_WALK_NODES, Node, NodeKey, Reached,
    ReadError, Sketch, Sketched, Versions,
};
use fleet_service::Fault;
use fleet_types::StoryId;

use super::items::{self, Corrupt};
use super::metrics::ReadMetrics;
use super::stories::Remembered;
use super::version::{digest_of, graph_version, story_key};
use crate::app::App;
use crate::domain::{DecisionEdge, Entity, Item, Key, RelationKind, StoryGraph};

/// Newest milestones that are looked at.
const MOST_MILESTONES: usize = 1_000;
/// Newest summaries that are looked at.
const MOST_SUMMARIES: usize = 100;
/// How often a story that moves while it is read is read.
const ATTEMPTS: u32 = 6;
/// First pause before it is read again; it doubles, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Rows that are named in warnings; more are only counted.
const MOST_NAMED: usize = 20;

/// The branches of the sketch, in order.
const BRANCHES: [(&[(EdgeType, Direction)], Entity); 9] = {
    use Direction::{In, Out};
    use EdgeType::{
        Contains, HasDecision, HasEvent, HasPhase, HasPlan, HasReview, HasRun, HasSummary, HasTask,
    };
    [
        (&[(HasTask, Out)], Entity::Task),
        (&[(HasTask, Out), (HasRun, Out)], Entity::Run),
        (&[(HasPlan, Out)], Entity::Plan),
        (&[(HasReview, Out)], Entity::Review),
        (&[(HasDecision, Out)], Entity::Decision),
        (&[(Contains, In)], Entity::Epic),
        (&[(HasEvent, Out)], Entity::Milestone),
        (&[(HasPhase, Out)], Entity::Phase),
        (&[(HasSummary, Out)], Entity::Summary),
    ]
};
/// Places of those branches that versions cover, and of the context behind them all.
const TASKS: usize = 0;
const RUNS: usize = 1;
const PLANS: usize = 2;
const REVIEWS: usize = 3;
const DECISIONS: usize = 4;
const CONTEXT: usize = BRANCHES.len();

/// A story as it was read.
pub(crate) struct Told<C> {
    /// Light rows of all.
    pub graph: Arc<StoryGraph>,
    /// What the caller made of them.
    pub chosen: C,
    /// The chosen rows, whole, as far as they are there and read as their kind.
    pub whole: BTreeMap<Key, Item>,
    /// The version that all of it is of.
    pub graph_version: String,
    /// Whether nothing moved meanwhile.
    pub settled: bool,
    /// The context's own row: phase and count of changes.
    pub context: Option<Node>,
    /// What was left out.
    pub warnings: Vec<String>,
}

fn sketch_of(story: &StoryId) -> Sketch {
    let mut branches: Vec<Branch> = BRANCHES
        .iter()
        .map(|(path, entity)| {
            let mut branch = Branch {
                columns: items::light(*entity),
                ..Branch::new(path.to_vec())
            };
            match entity {
                Entity::Milestone => {
                    (branch.newest_first, branch.max_nodes) = (true, MOST_MILESTONES);
                }
                Entity::Summary => {
                    (branch.newest_first, branch.max_nodes) = (true, MOST_SUMMARIES);
                }
                _ => {}
            }
            branch
        })
        .collect();
    branches.push(Branch::new(vec![(EdgeType::HasContext, Direction::Out)]));
    Sketch {
        root: story_key(story),
        branches,
    }
}

/// The lists of a decision's row that say what it has to do with what.
pub(super) const LINKS: [(&str, RelationKind); 4] = [
    ("affects", RelationKind::Affects),
    ("depends_on", RelationKind::DependsOn),
    ("supersedes", RelationKind::Supersedes),
    ("alternative_of", RelationKind::AlternativeOf),
];

fn relations() -> [(EdgeType, RelationKind); 4] {
    [
        (EdgeType::Affects, RelationKind::Affects),
        (EdgeType::DependsOn, RelationKind::DependsOn),
        (EdgeType::Supersedes, RelationKind::Supersedes),
        (EdgeType::AlternativeOf, RelationKind::AlternativeOf),
    ]
}

/// How a decision stands to something, if an edge says that.
pub(crate) fn relation_of(kind: EdgeType) -> Option<RelationKind> {
    let mut all = relations().into_iter();
    all.find(|(edge, _)| *edge == kind).map(|(_, kind)| kind)
}

/// Reads a story; `choose` says from the light rows which to read whole. It is asked again if
/// the story moved meanwhile. Two round trips if nothing moves, one if the story is remembered.
///
/// # Errors
/// [`Fault::NotFound`] without such a story; what `choose` gives; the store's.
pub(crate) async fn read<C>(
    app: &App,
    story: &StoryId,
    deadline: Deadline,
    choose: impl Fn(&StoryGraph) -> Result<(C, Vec<Key>), Fault>,
) -> Result<Told<C>, Fault> {
    let counted_by = app.policies.counted_by();
    if let Some(told) = remembered(app, story, deadline, &choose, &counted_by).await? {
        return Ok(told);
    }
    let mut before: Option<Digested> = None;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let sketched = app.store.sketch(&sketch_of(story), deadline).await?;
        let mut sorted = Sorted::default();
        let (seen, in_step) = (versions(&sketched), in_step(&sketched));
        let Some(mut graph) = sorted.graph(story, sketched, &counted_by)? else {
            return Err(Fault::not_found("story", story));
        };
        let (chosen, keys) = choose(&graph)?;
        let nodes: Vec<NodeKey> = keys
            .iter()
            .filter_map(|key| items::node_key(story, key))
            .collect();
        let digest = digest_of(story);
        let (digested, found) = app.store.digest(&digest, &nodes, deadline).await?;
        // Rows that cannot be read have versions that the sketch does not tell. If nothing
        // moved between two digests, then what was read between them belongs to both.
        let settled = (digested == seen && in_step) || before.as_ref() == Some(&digested);
        if !settled && attempt < ATTEMPTS {
            app.reads.metrics.moved();
            before = Some(digested);
            pause(app, attempt, deadline).await;
            continue;
        }
        let mut whole = BTreeMap::new();
        for node in found.into_iter().flatten() {
            match items::item(&node, &counted_by) {
                Ok(item) => {
                    whole.insert(item.key().clone(), through(item, story));
                }
                Err(corrupt) => sorted.corrupt(corrupt),
            }
        }
        sorted.leave_out_corrupt(&mut graph);
        let graph = Arc::new(graph);
        if settled && sorted.corrupt.is_empty() {
            let read = Remembered {
                graph: graph.clone(),
                digested: digested.clone(),
                context: sorted.context.clone(),
                warnings: sorted.warnings.clone(),
            };
            app.reads.stories.put(story, read);
        }
        let version = if settled {
            graph_version(&digested)
        } else {
            sorted
                .warnings
                .push("the story changed while it was read".to_owned());
            graph_version(&seen)
        };
        return Ok(Told {
            graph,
            chosen,
            whole,
            graph_version: version.ok_or_else(|| Fault::not_found("story", story))?,
            settled,
            warnings: sorted.told(&app.reads.metrics),
            context: sorted.context,
        });
    }
}

/// What a remembered story gives, if the graph still has its versions. One round trip; none if
/// nothing is remembered, or what is was surely overtaken.
async fn remembered<C>(
    app: &App,
    story: &StoryId,
    deadline: Deadline,
    choose: &impl Fn(&StoryGraph) -> Result<(C, Vec<Key>), Fault>,
    counted_by: &str,
) -> Result<Option<Told<C>>, Fault> {
    let Some(known) = app.reads.stories.get(story) else {
        return Ok(None);
    };
    let Some(version) = graph_version(&known.digested) else {
        return Ok(None);
    };
    if app.reads.hub.heard.overtook(story, &version) {
        return Ok(None);
    }
    // A refusal holds only for what is there now.
    let Ok((chosen, keys)) = choose(&known.graph) else {
        return Ok(None);
    };
    let nodes: Vec<NodeKey> = keys
        .iter()
        .filter_map(|key| items::node_key(story, key))
        .collect();
    let digest = digest_of(story);
    let (digested, found) = match app.store.digest(&digest, &nodes, deadline).await {
        // Read in full, where it is reported.
        Err(ReadError::Corrupt(_)) => return Ok(None),
        read => read?,
    };
    if digested != known.digested {
        app.reads.stories.forget_unless(story, &digested);
        return Ok(None);
    }
    let mut whole = BTreeMap::new();
    for node in found.into_iter().flatten() {
        match items::item(&node, counted_by) {
            Ok(item) => {
                whole.insert(item.key().clone(), through(item, story));
            }
            // Read in full, where it is reported.
            Err(_) => return Ok(None),
        }
    }
    Ok(Some(Told {
        graph: known.graph.clone(),
        chosen,
        whole,
        graph_version: version,
        settled: true,
        context: known.context.clone(),
        warnings: known.warnings.clone(),
    }))
}

async fn pause(app: &App, attempt: u32, deadline: Deadline) {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(8));
    let micros = u64::try_from(longest.as_micros()).expect("a second fits");
    let pause = Duration::from_micros(app.ids.random() % micros);
    tokio::time::sleep(pause.min(deadline.left())).await;
}

/// Epics and projects belong to no story; they are seen through the one that was asked about.
fn through(item: Item, story: &StoryId) -> Item {
    match item.entity() {
        Entity::Epic | Entity::Project => item.reached_through(story),
        _ => item,
    }
}

/// What a digest would have said of what the sketch saw.
fn versions(sketched: &Sketched) -> Digested {
    let of = |at: usize| -> Versions {
        let nodes = sketched.branches.get(at).map_or(&[][..], |b| &b.nodes);
        Versions {
            nodes: nodes.len() as u64,
            sum: nodes.iter().map(|node| node.version).sum(),
        }
    };
    Digested {
        root: sketched.root.as_ref().map(|node| node.version),
        paths: [TASKS, RUNS, PLANS, CONTEXT, REVIEWS].map(of).to_vec(),
    }
}

/// Whether the decisions are those that the context's row counts. They are written in one
/// commit; a store that shows the middle of one may show either without the other. Rows of
/// which that is not known are taken as they are.
fn in_step(sketched: &Sketched) -> bool {
    let branch = |at: usize| sketched.branches.get(at).map_or(&[][..], |b| &b.nodes);
    let (Some(context), decisions) = (branch(CONTEXT).first(), branch(DECISIONS)) else {
        return true;
    };
    let counted = |name: &str| context.props.get(name).and_then(|n| n.as_i64());
    let seen = Versions {
        nodes: decisions.len() as u64,
        sum: decisions.iter().map(|node| node.version).sum(),
    };
    match (counted("decisions"), counted("decision_versions")) {
        (Some(nodes), Some(sum)) => u64::try_from(nodes) == Ok(seen.nodes) && sum == seen.sum,
        _ => true,
    }
}

/// A sketch sorted into items.
#[derive(Default)]
struct Sorted {
    context: Option<Node>,
    corrupt: Vec<Corrupt>,
    warnings: Vec<String>,
}

impl Sorted {
    fn graph(
        &mut self,
        story: &StoryId,
        sketched: Sketched,
        counted_by: &str,
    ) -> Result<Option<StoryGraph>, Fault> {
        let Some(root) = sketched.root else {
            return Ok(None);
        };
        let root = items::item(&root, counted_by).map_err(Fault::internal)?;
        let mut graph = StoryGraph::new(root);
        let mut branches = sketched.branches.into_iter();
        for ((_, entity), reached) in BRANCHES.iter().zip(branches.by_ref()) {
            self.branch(&mut graph, story, *entity, &reached, counted_by);
        }
        if let Some(context) = branches.next() {
            self.corrupt
                .extend(context.corrupt.iter().map(Corrupt::from));
            self.context = context.nodes.into_iter().next();
        }
        Ok(Some(graph))
    }

    fn branch(
        &mut self,
        graph: &mut StoryGraph,
        story: &StoryId,
        entity: Entity,
        reached: &Reached,
        counted_by: &str,
    ) {
        self.corrupt
            .extend(reached.corrupt.iter().map(Corrupt::from));
        if reached.truncated {
            let most = reached.nodes.len();
            let warning = format!("only the newest {most} of kind {entity} were looked at");
            if matches!(entity, Entity::Milestone | Entity::Summary) {
                self.warnings.push(warning);
            } else {
                self.warnings.push(format!(
                    "the story has more than {MAX_WALK_NODES} of kind {entity}"
                ));
            }
        }
        let mut items = Vec::with_capacity(reached.nodes.len());
        for node in &reached.nodes {
            match items::item(node, counted_by) {
                Ok(item) => items.push(through(item, story)),
                Err(corrupt) => self.corrupt.push(corrupt),
            }
        }
        match entity {
            Entity::Task => graph.tasks = items,
            Entity::Run => graph.runs = items,
            Entity::Plan => graph.plans = items,
            Entity::Review => graph.reviews = items,
            Entity::Epic => graph.epic = items.into_iter().next(),
            Entity::Milestone => graph.milestones = items,
            Entity::Phase => graph.phases = items,
            Entity::Summary => graph.summaries = items,
            Entity::Decision => {
                graph.decisions = items;
                graph.edges = reached.nodes.iter().flat_map(edges).collect();
            }
            Entity::Story | Entity::Project | Entity::Relation => {}
        }
    }

    fn corrupt(&mut self, corrupt: Corrupt) {
        if !self.corrupt.iter().any(|known| known.key == corrupt.key) {
            self.corrupt.push(corrupt);
        }
    }

    /// Takes out rows whose light columns could be read, and nothing more.
    fn leave_out_corrupt(&self, graph: &mut StoryGraph) {
        if self.corrupt.is_empty() {
            return;
        }
        let story = graph.story.id().to_owned();
        let Ok(story) = StoryId::parse(&story) else {
            return;
        };
        let bad = |item: &Item| {
            let key = items::node_key(&story, item.key());
            self.corrupt.iter().any(|c| Some(&c.key) == key.as_ref())
        };
        for rows in [
            &mut graph.plans,
            &mut graph.tasks,
            &mut graph.runs,
            &mut graph.decisions,
            &mut graph.milestones,
            &mut graph.phases,
            &mut graph.summaries,
        ] {
            rows.retain(|item| !bad(item));
        }
    }

    /// Warnings for the caller; what is corrupt is counted and logged besides.
    fn told(&mut self, metrics: &ReadMetrics) -> Vec<String> {
        let mut told = std::mem::take(&mut self.warnings);
        for corrupt in &self.corrupt {
            metrics.corrupt(corrupt.key.label());
            tracing::warn!(key = %corrupt.key, problem = corrupt.problem, "a stored row was left out");
        }
        told.extend(
            self.corrupt
                .iter()
                .take(MOST_NAMED)
                .map(ToString::to_string),
        );
        if let Some(more) = self.corrupt.len().checked_sub(MOST_NAMED + 1) {
            told.push(format!("{} more rows could not be read", more + 1));
        }
        told
    }
}

/// The relationships that start at a decision, as its row lists them: its writer keeps both in
/// one commit, and a list costs the graph nothing where a thousand relationships cost more
/// than the rows.
fn edges(decision: &Node) -> impl Iterator<Item = DecisionEdge> {
    LINKS.into_iter().flat_map(move |(column, kind)| {
        let ends = decision.props.get(column).and_then(|list| list.as_array());
        let ends = ends.into_iter().flatten().filter_map(|end| end.as_str());
        ends.map(move |to| DecisionEdge {
            from: decision.key.id().to_owned(),
            kind,
            to: to.to_owned(),
        })
    })
}
