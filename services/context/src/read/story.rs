//! A story with everything around it, in two round trips: light columns of all, from which the
//! caller chooses; then what was chosen, whole, together with the versions that say whether all
//! of it belongs together.

use std::sync::Arc;
use std::time::Duration;

use fleet_graph::{
    Branch, Deadline, Digested, Direction, EdgeType, MAX_WALK_NODES, Node, NodeKey, Reached,
    ReadError, Sketch, Sketched, Versions,
};
use fleet_service::Fault;
use fleet_types::StoryId;

use super::items::{self, Corrupt, Light, Unread};
use super::metrics::ReadMetrics;
use super::stories::{Base, Decided, Remembered, worth_keeping};
use super::version::{counted, digest_of, graph_version};
use crate::app::App;
use crate::domain::pack::WholeRows;
use crate::domain::{Entity, Item, Key, Policies, RelationKind, StoryGraph};

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
    pub whole: WholeRows,
    /// The version that all of it is of.
    pub graph_version: String,
    /// Whether nothing moved meanwhile.
    pub settled: bool,
    /// The context's own row: phase and count of changes.
    pub context: Option<Node>,
    /// What was left out.
    pub warnings: Vec<String>,
}

/// How stories are read lightly: the columns of each branch.
#[derive(Debug)]
pub(crate) struct Lightly {
    /// What the policies need to see of everything.
    narrow: Vec<Light>,
    /// All that is small: of stories with rows that have no light text.
    wide: Vec<Light>,
}

impl Lightly {
    /// As these policies have it.
    pub fn new(policies: &Policies) -> Self {
        let all = |light: &dyn Fn(Entity) -> Light| {
            let branches = BRANCHES.iter();
            branches.map(|(_, entity)| light(*entity)).collect()
        };
        Self {
            narrow: all(&|entity| Light::of(entity, policies)),
            wide: all(&Light::wide),
        }
    }
}

/// Of decisions only those that changed in a later version of the context than `since`.
fn sketch_of(story: &StoryId, lights: &[Light], since: Option<i64>) -> Sketch {
    let mut branches: Vec<Branch> = BRANCHES
        .iter()
        .zip(lights)
        .map(|((path, entity), light)| {
            let mut branch = Branch {
                columns: light.columns(),
                ..Branch::new(path.to_vec())
            };
            match entity {
                Entity::Decision => branch.above = since.map(|since| ("changed_in", since)),
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
        root: crate::rows::story(story),
        branches,
    }
}

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
/// the story moved meanwhile. Two round trips if nothing moves, one if the story is remembered;
/// one more where rows have no light text.
///
/// # Errors
/// [`Fault::NotFound`] without such a story; what `choose` gives; the store's.
pub(crate) async fn read<C>(
    app: &App,
    story: &StoryId,
    deadline: Deadline,
    choose: impl Fn(&StoryGraph) -> Result<(C, Vec<Key>), Fault>,
) -> Result<Told<C>, Fault> {
    let reader = Reader {
        app,
        story: Arc::new(story.clone()),
        counted_by: app.policies.counted_by(),
        deadline,
    };
    if let Some(told) = reader.remembered(&choose).await? {
        return Ok(told);
    }
    let mut before: Option<Digested> = None;
    let base = app.reads.stories.take_overtaken(story);
    let mut base = base.and_then(Base::of);
    let mut lights = &app.reads.lightly.narrow;
    let mut attempt = 0;
    loop {
        let base = base.take();
        let since = base.as_ref().map(|base| base.since);
        let sketch = sketch_of(story, lights, since);
        let sketched = app.store.sketch(&sketch, deadline).await?;
        let (seen, mut decided) = (versions(&sketched), decided(&sketched));
        let mut sorted = Sorted::default();
        let Some(mut graph) = sorted.graph(&reader, lights, sketched)? else {
            return Err(Fault::not_found("story", story));
        };
        if sorted.not_light {
            lights = &app.reads.lightly.wide;
            continue;
        }
        let counted = sorted.context.as_ref().and_then(counted);
        let mut known = WholeRows::new();
        if let Some(base) = base {
            (sorted.decided, known) = base.with(sorted.decided);
            decided = sorted.decided.versions();
            if counted != Some(decided) {
                // What is remembered and what is there do not make one story.
                continue;
            }
        }
        let in_step = counted.is_none_or(|counted| counted == decided);
        sorted.decided.sort();
        let versions: Vec<i64>;
        (graph.decisions, versions) = std::mem::take(&mut sorted.decided.rows).into_iter().unzip();
        graph.edges = std::mem::take(&mut sorted.decided.edges);
        attempt += 1;
        let (chosen, keys) = choose(&graph)?;
        let (digested, whole) = reader.whole(&keys, &known).await?;
        // Rows that cannot be read have versions that the sketch does not tell. If nothing
        // moved between two digests, then what was read between them belongs to both.
        let settled = (digested == seen && in_step) || before.as_ref() == Some(&digested);
        if !settled && attempt < ATTEMPTS {
            app.reads.metrics.moved();
            before = Some(digested);
            pause(app, attempt, deadline).await;
            continue;
        }
        whole
            .corrupt
            .into_iter()
            .for_each(|corrupt| sorted.corrupt(corrupt));
        sorted.leave_out_corrupt(&mut graph, story);
        let graph = Arc::new(graph);
        if settled && sorted.corrupt.is_empty() {
            let read = Remembered {
                graph: graph.clone(),
                versions,
                whole: worth_keeping(&whole.items),
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
            whole: whole.items,
            graph_version: version.ok_or_else(|| Fault::not_found("story", story))?,
            settled,
            warnings: sorted.told(&app.reads.metrics),
            context: sorted.context,
        });
    }
}

/// One reading of one story.
struct Reader<'a> {
    app: &'a App,
    story: Arc<StoryId>,
    counted_by: String,
    deadline: Deadline,
}

/// Rows that were read whole.
struct Whole {
    items: WholeRows,
    corrupt: Vec<Corrupt>,
}

impl Reader<'_> {
    /// The rows of these keys, whole, as far as they are there, and the versions after that;
    /// those that are `known` are not read. One round trip.
    async fn whole(&self, keys: &[Key], known: &WholeRows) -> Result<(Digested, Whole), ReadError> {
        let unknown = keys.iter().filter(|key| !known.contains_key(key));
        let nodes: Vec<NodeKey> = unknown
            .filter_map(|key| items::node_key(&self.story, key))
            .collect();
        let digest = digest_of(&self.story);
        let store = &self.app.store;
        let (digested, found) = store.digest(&digest, &nodes, self.deadline).await?;
        let known = keys.iter().filter_map(|key| known.get_key_value(key));
        let mut whole = Whole {
            items: known.map(|(key, row)| (key.clone(), row.clone())).collect(),
            corrupt: Vec::new(),
        };
        for node in found.into_iter().flatten() {
            match items::item(node, &self.counted_by) {
                Ok(item) => {
                    let item = through(item, &self.story);
                    whole.items.insert(item.key().clone(), Arc::new(item));
                }
                Err(corrupt) => whole.corrupt.push(corrupt),
            }
        }
        Ok((digested, whole))
    }

    /// What a remembered story gives, if the graph still has its versions. One round trip; none
    /// if nothing is remembered, or what is was surely overtaken.
    async fn remembered<C>(
        &self,
        choose: &impl Fn(&StoryGraph) -> Result<(C, Vec<Key>), Fault>,
    ) -> Result<Option<Told<C>>, Fault> {
        let reads = &self.app.reads;
        let Some(known) = reads.stories.get(&self.story) else {
            return Ok(None);
        };
        let Some(graph_version) = graph_version(&known.digested) else {
            return Ok(None);
        };
        if reads.hub.heard.overtook(&self.story, &graph_version) {
            reads.stories.overtake(&self.story);
            return Ok(None);
        }
        // A refusal holds only for what is there now.
        let Ok((chosen, keys)) = choose(&known.graph) else {
            return Ok(None);
        };
        let (digested, whole) = match self.whole(&keys, &known.whole).await {
            // Read in full, where it is reported.
            Err(ReadError::Corrupt(_)) => return Ok(None),
            read => read?,
        };
        if digested != known.digested {
            reads.stories.now_at(&self.story, &digested);
            return Ok(None);
        }
        if !whole.corrupt.is_empty() {
            // Read in full, where it is reported.
            return Ok(None);
        }
        Ok(Some(Told {
            graph: known.graph.clone(),
            chosen,
            whole: whole.items,
            graph_version,
            settled: true,
            context: known.context.clone(),
            warnings: known.warnings.clone(),
        }))
    }
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
        let branch = sketched.branches.get(at);
        branch.map(Reached::versions).unwrap_or_default()
    };
    Digested {
        root: sketched.root.as_ref().map(|node| node.version),
        paths: [TASKS, RUNS, PLANS, CONTEXT, REVIEWS].map(of).to_vec(),
    }
}

/// What a digest would have said of the decisions.
fn decided(sketched: &Sketched) -> Versions {
    let decisions = sketched.branches.get(DECISIONS);
    decisions.map(Reached::versions).unwrap_or_default()
}

/// A sketch sorted into items.
#[derive(Default)]
struct Sorted {
    context: Option<Node>,
    corrupt: Vec<Corrupt>,
    warnings: Vec<String>,
    decided: Decided,
    /// Whether there are rows without a light text.
    not_light: bool,
}

impl Sorted {
    fn graph(
        &mut self,
        reader: &Reader<'_>,
        lights: &[Light],
        sketched: Sketched,
    ) -> Result<Option<StoryGraph>, Fault> {
        let Some(root) = sketched.root else {
            return Ok(None);
        };
        let root = items::item(root, &reader.counted_by).map_err(Fault::internal)?;
        let mut graph = StoryGraph::new(root);
        let mut branches = sketched.branches.into_iter();
        for (((_, entity), light), reached) in BRANCHES.iter().zip(lights).zip(branches.by_ref()) {
            self.branch(&mut graph, reader, *entity, light, reached);
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
        reader: &Reader<'_>,
        entity: Entity,
        light: &Light,
        reached: Reached,
    ) {
        self.corrupt
            .extend(reached.corrupt.iter().map(Corrupt::from));
        if reached.truncated {
            let most = reached.light.len();
            let warning = format!("only the newest {most} of kind {entity} were looked at");
            if matches!(entity, Entity::Milestone | Entity::Summary) {
                self.warnings.push(warning);
            } else {
                self.warnings.push(format!(
                    "the story has more than {MAX_WALK_NODES} of kind {entity}"
                ));
            }
        }
        let mut items = Vec::with_capacity(reached.light.len());
        let Decided { rows, edges } = &mut self.decided;
        for node in reached.light {
            let version = node.version;
            match light.item(node, &reader.counted_by, &reader.story, edges) {
                Ok(item) if entity == Entity::Decision => rows.push((item, version)),
                Ok(item) => items.push(through(item, &reader.story)),
                Err(Unread::Corrupt(corrupt)) => self.corrupt.push(corrupt),
                Err(Unread::NotLight) => self.not_light = true,
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
            Entity::Decision | Entity::Story | Entity::Project | Entity::Relation => {}
        }
    }

    fn corrupt(&mut self, corrupt: Corrupt) {
        if !self.corrupt.iter().any(|known| known.key == corrupt.key) {
            self.corrupt.push(corrupt);
        }
    }

    /// Takes out rows whose light columns could be read, and nothing more.
    fn leave_out_corrupt(&self, graph: &mut StoryGraph, story: &StoryId) {
        if self.corrupt.is_empty() {
            return;
        }
        let bad = |item: &Item| {
            let key = items::node_key(story, item.key());
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
