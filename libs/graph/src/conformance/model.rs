//! Random histories against a model that a person can check by reading.

use std::collections::{BTreeMap, BTreeSet};

use fleet_types::EventId;
use serde_json::json;

use super::world::{Place, World, object, soon, step};
use crate::{
    Answer, Branch, Commit, CommitError, Direction, Edge, EdgeType, EdgeWrite, Guard, Label, Node,
    NodeKey, NodeWrite, Path, Props, Reached, RequestKey, Search, SearchIndex, Versions,
};

/// Histories, each from its own seed.
const SEEDS: std::ops::Range<u64> = 1..5;
/// Words that the titles of nodes are made of.
const COLOURS: [&str; 2] = ["red", "blue"];
/// Commits of one history.
const COMMITS: usize = 120;

/// xorshift64: the same numbers for the same seed, everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % sides
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.roll(items.len())].clone()
    }
}

/// What the port promises, in maps.
#[derive(Default)]
struct Model {
    nodes: BTreeMap<NodeKey, (i64, String, Props)>,
    edges: BTreeMap<(NodeKey, EdgeType, NodeKey), Props>,
    done: BTreeSet<uuid::Uuid>,
    answered: BTreeSet<(String, String)>,
    requests: BTreeMap<String, (String, Vec<u8>)>,
    pending: Vec<EventId>,
}

/// An outcome that can be compared.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Done(Vec<(NodeKey, i64)>),
    Conflict(NodeKey, i64, i64),
    Missing(NodeKey),
    Exists(NodeKey),
    Applied,
    Replayed(Vec<u8>),
    Mismatch,
}

impl Outcome {
    fn of(result: Result<crate::Receipt, CommitError>) -> Self {
        match result {
            Ok(receipt) => Self::Done(receipt.versions),
            Err(CommitError::Conflict {
                key,
                expected,
                found,
            }) => Self::Conflict(key, expected, found),
            Err(CommitError::Missing { key }) => Self::Missing(key),
            Err(CommitError::AlreadyExists { key }) => Self::Exists(key),
            Err(CommitError::AlreadyApplied) => Self::Applied,
            Err(CommitError::Replayed { response }) => Self::Replayed(response),
            Err(CommitError::RequestMismatch) => Self::Mismatch,
            Err(other) => panic!("neither done nor rejected: {other:?}"),
        }
    }
}

impl Model {
    fn version(&self, key: &NodeKey) -> i64 {
        self.nodes.get(key).map_or(0, |(version, ..)| *version)
    }

    /// Expected: 0 = absent.
    fn check(&self, key: &NodeKey, expected: i64) -> Option<Outcome> {
        match (expected, self.version(key)) {
            (expected, found) if expected == found => None,
            (0, _) => Some(Outcome::Exists(key.clone())),
            (_, 0) => Some(Outcome::Missing(key.clone())),
            (expected, found) => Some(Outcome::Conflict(key.clone(), expected, found)),
        }
    }

    fn rejection(&self, commit: &Commit) -> Option<Outcome> {
        if let Some(request) = &commit.request
            && let Some((fingerprint, response)) = self.requests.get(&request.key.request_id)
        {
            let same = *fingerprint == request.fingerprint;
            let replayed = || Outcome::Replayed(response.clone());
            return Some(if same { replayed() } else { Outcome::Mismatch });
        }
        if let Some(answer) = &commit.answers
            && self
                .answered
                .contains(&(answer.consumer.clone(), answer.event.to_string()))
        {
            return Some(Outcome::Applied);
        }
        let guards = commit.guards.iter().find_map(|guard| match guard {
            Guard::Present(key) if self.version(key) == 0 => Some(Outcome::Missing(key.clone())),
            Guard::Present(_) => None,
            Guard::Absent(key) => self.check(key, 0),
            Guard::Version(key, version) => self.check(key, *version),
        });
        let writes = || {
            commit
                .nodes
                .iter()
                .find_map(|w| self.check(w.key(), w.expected()))
        };
        let ends = || {
            let after = |key: &NodeKey| match commit.nodes.iter().find(|w| w.key() == key) {
                Some(write) => !matches!(write, NodeWrite::Delete { .. }),
                None => self.version(key) > 0,
            };
            let ends = commit.edges.iter().filter_map(|edge| match edge {
                EdgeWrite::Relate(edge) => Some([&edge.from, &edge.to]),
                EdgeWrite::Unrelate { .. } => None,
            });
            let missing = ends.flatten().find(|end| !after(end));
            missing.map(|end| Outcome::Missing(end.clone()))
        };
        guards.or_else(writes).or_else(ends)
    }

    fn apply(&mut self, commit: &Commit) -> Outcome {
        let done = Outcome::Done(commit.receipt().versions);
        if self.done.contains(&commit.id) {
            return done;
        }
        if let Some(rejection) = self.rejection(commit) {
            return rejection;
        }
        self.done.insert(commit.id);
        for write in &commit.nodes {
            match write {
                NodeWrite::Create { key, ord, props }
                | NodeWrite::Update {
                    key, ord, props, ..
                } => {
                    let row = (write.expected() + 1, ord.clone(), props.clone());
                    self.nodes.insert(key.clone(), row);
                }
                NodeWrite::Delete { key, .. } => {
                    self.nodes.remove(key);
                    self.edges
                        .retain(|(from, _, to), _| from != key && to != key);
                }
            }
        }
        for edge in &commit.edges {
            match edge {
                EdgeWrite::Relate(Edge {
                    from,
                    kind,
                    to,
                    props,
                }) => {
                    self.edges
                        .insert((from.clone(), *kind, to.clone()), props.clone());
                }
                EdgeWrite::Unrelate { from, kind, to } => {
                    self.edges.remove(&(from.clone(), *kind, to.clone()));
                }
            }
        }
        if let Some(answer) = &commit.answers {
            self.answered
                .insert((answer.consumer.clone(), answer.event.to_string()));
        }
        if let Some(request) = &commit.request {
            let stored = (request.fingerprint.clone(), request.response.clone());
            self.requests.insert(request.key.request_id.clone(), stored);
        }
        done
    }

    fn node(&self, key: &NodeKey) -> Option<Node> {
        let (version, ord, props) = self.nodes.get(key)?.clone();
        let key = key.clone();
        Some(Node {
            key,
            version,
            ord,
            props,
        })
    }

    /// What a branch reaches.
    fn reached(&self, root: &NodeKey, branch: &Branch) -> Reached {
        let mut ends = BTreeSet::from([root]);
        for (kind, direction) in &branch.path {
            let of_kind = self.edges.keys().filter(|(_, found, _)| found == kind);
            ends = of_kind
                .filter_map(|(from, _, to)| {
                    let (near, far) = match direction {
                        Direction::Out => (from, to),
                        Direction::In => (to, from),
                    };
                    ends.contains(near).then_some(far)
                })
                .collect();
        }
        let edges = self
            .edges
            .iter()
            .filter(|((from, kind, _), _)| ends.contains(from) && branch.edges.contains(kind));
        let edges = edges.map(|((from, kind, to), props)| Edge {
            from: from.clone(),
            kind: *kind,
            to: to.clone(),
            props: props.clone(),
        });
        let edges = edges.collect();
        let mut nodes: Vec<_> = ends.iter().filter_map(|key| self.node(key)).collect();
        nodes.sort_by(|x, y| (&x.ord, &x.key).cmp(&(&y.ord, &y.key)));
        Reached {
            nodes,
            edges,
            ..Reached::default()
        }
    }
}

/// What is around each node, and what is found, is what the model says.
async fn compare_around(world: &World, model: &Model, keys: &[NodeKey], context: &str) {
    use Direction::{In, Out};
    use EdgeType::{DependsOn, HasTask};
    let paths: [Path; 3] = [
        vec![(DependsOn, Out)],
        vec![(HasTask, Out), (DependsOn, In)],
        vec![(DependsOn, In), (DependsOn, Out), (HasTask, Out)],
    ];
    let branches = paths.clone().map(|path| Branch {
        edges: vec![DependsOn, HasTask],
        ..Branch::new(path)
    });
    for root in keys {
        let seen = world.sketch(root, &branches).await;
        let digest = world.digest(root, &paths).await;
        let there = model.node(root);
        assert_eq!(digest.root, there.as_ref().map(|n| n.version), "{context}");
        for ((branch, seen), versions) in branches.iter().zip(&seen.branches).zip(&digest.paths) {
            let expected = match &there {
                Some(root) => model.reached(&root.key, branch),
                None => Reached::default(),
            };
            let sum = expected.nodes.iter().map(|node| node.version).sum();
            let nodes = expected.nodes.len() as u64;
            assert_eq!(*seen, expected, "{context}: {root} {branch:?}");
            assert_eq!(*versions, Versions { nodes, sum }, "{context}: {root}");
        }
        assert_eq!(seen.root, there, "{context}");
    }
    for colour in COLOURS {
        let search = Search {
            index: SearchIndex::Tasks,
            terms: vec![world.term(colour)],
            story_id: None,
            limit: 100,
        };
        let hits = world.b.search(&search, soon()).await.unwrap();
        let tasks = model.nodes.keys().filter(|key| key.label() == Label::Task);
        let named = tasks.filter_map(|key| model.node(key));
        let named = named.filter(|node| node.props["title"] == world.term(colour));
        assert_eq!(hits, search.rank(named.collect(), false), "{context}");
    }
}

/// A commit with a little of everything, mostly about what is there.
fn random(world: &World, dice: &mut Dice, model: &Model, keys: &[NodeKey], n: usize) -> Commit {
    let mut commit = world.commit();
    // Later commits are later, so that the order of the outbox is that of the history.
    commit.time = super::world::at(i64::try_from(n).unwrap());
    let mut used = BTreeSet::new();
    for _ in 0..dice.roll(4) {
        let key = dice.pick(keys);
        if !used.insert(key.clone()) {
            continue;
        }
        // Right most of the time, and wrong in every way now and then.
        let version = match dice.roll(8) {
            0 => i64::try_from(1 + dice.roll(3)).unwrap(),
            _ => model.version(&key),
        };
        let title = world.term(COLOURS[n % COLOURS.len()]);
        let (ord, props) = (format!("{n:06}"), object(json!({ "n": n, "title": title })));
        match (version, dice.roll(10)) {
            (0, 0) => commit.guard(Guard::Absent(key)),
            (0, 1) => commit.guard(Guard::Present(key)),
            (0, _) => commit.create(key, ord, props),
            (_, 0) => commit.guard(Guard::Present(key)),
            (_, 1) => commit.guard(Guard::Version(key, version)),
            (_, 2) => commit.guard(Guard::Absent(key)),
            (_, 3) => commit.create(key, ord, props),
            (_, 4 | 5) => commit.delete(key, version),
            _ => commit.update(key, version, ord, props),
        };
    }
    for _ in 0..dice.roll(4) {
        let (from, to) = (dice.pick(keys), dice.pick(keys));
        let kind = dice.pick(&[EdgeType::DependsOn, EdgeType::HasTask]);
        let props = object(json!({ "n": n }));
        commit.edges.push(match dice.roll(4) {
            0 => EdgeWrite::Unrelate { from, kind, to },
            _ => EdgeWrite::Relate(Edge {
                from,
                kind,
                to,
                props,
            }),
        });
    }
    for _ in 0..dice.roll(3) {
        commit.event(world.event(&format!("{{\"n\":{n}}}")));
    }
    if dice.roll(6) == 0 {
        let event = EventId::parse(&format!("ev-{}", dice.roll(4))).unwrap();
        commit.answers = Some(Answer {
            consumer: world.word("c"),
            event,
        });
    }
    if dice.roll(6) == 0 {
        let print = if dice.roll(3) == 0 { "other" } else { "print" };
        let id = format!("r-{}", dice.roll(4));
        commit.request = Some(world.request(&id, print, format!("answer {n}").as_bytes()));
    }
    commit
}

/// The store and the model hold the same.
async fn compare(world: &World, model: &Model, keys: &[NodeKey], context: &str) {
    let found = world.b.get(keys, soon()).await.unwrap();
    for (key, node) in keys.iter().zip(found) {
        let node = node.map(|node| (node.version, node.ord, node.props));
        assert_eq!(node.as_ref(), model.nodes.get(key), "{context}: {key}");
    }
    let roots: Vec<_> = keys.iter().collect();
    let mut edges = BTreeMap::new();
    for kind in [EdgeType::DependsOn, EdgeType::HasTask] {
        let seen = world
            .walk(&roots, &[step(kind, Direction::Out, 1)], 100)
            .await;
        edges.extend(
            seen.edges
                .into_iter()
                .map(|e| ((e.from, e.kind, e.to), e.props)),
        );
    }
    assert_eq!(edges, model.edges, "{context}");
    let pending: Vec<_> = world
        .pending()
        .await
        .into_iter()
        .map(|event| event.id)
        .collect();
    assert_eq!(pending, model.pending, "{context}");
    for (id, (fingerprint, response)) in &model.requests {
        let key = RequestKey {
            request_id: id.clone(),
            ..world.request("", "", b"").key
        };
        let past = world.b.past_request(&key, soon()).await.unwrap().unwrap();
        assert_eq!(
            (&past.fingerprint, &past.response),
            (fingerprint, response),
            "{context}"
        );
    }
}

/// Random commits, right and wrong, new and repeated, end as the model says, one by one, and
/// leave behind what the model holds.
pub async fn random_histories_agree_with_a_model(place: &dyn Place) {
    for seed in SEEDS {
        let world = World::open(place).await;
        let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut model = Model::default();
        let labels = [Label::Story, Label::Task, Label::Task];
        let keys: Vec<_> = (0..9)
            .map(|n| world.key(labels[n % labels.len()]))
            .collect();
        let mut sent: Vec<Commit> = Vec::new();
        let mut successes = 0;
        for n in 0..COMMITS {
            let repeated = !sent.is_empty() && dice.roll(8) == 0;
            let commit = match repeated {
                true => dice.pick(&sent),
                false => random(&world, &mut dice, &model, &keys, n),
            };
            let store = if dice.roll(2) == 0 {
                &world.a
            } else {
                &world.b
            };
            let outcome = Outcome::of(store.commit(&commit, soon()).await);
            successes += usize::from(matches!(outcome, Outcome::Done(_)));
            // A rejected commit that is repeated is judged anew: only successes are kept.
            let expected = model.apply(&commit);
            assert_eq!(outcome, expected, "seed {seed}, commit {n}: {commit:#?}");
            if !repeated {
                sent.push(commit);
            }
            model.pending = order(&model, &sent);
            if n % 20 == 19 {
                compare(
                    &world,
                    &model,
                    &keys,
                    &format!("seed {seed}, after commit {n}"),
                )
                .await;
            }
            if n % 40 == 39 {
                let context = format!("seed {seed}, after commit {n}");
                compare_around(&world, &model, &keys, &context).await;
            }
        }
        let rejected = COMMITS - successes;
        assert!(
            successes > 20 && rejected > 10,
            "seed {seed}: {successes} done, {rejected} not"
        );
    }
}

/// The pending events of what is done, in the order of the commits: a commit that was
/// rejected at first and succeeds when it is repeated still has its old time.
fn order(model: &Model, sent: &[Commit]) -> Vec<EventId> {
    let done = sent.iter().filter(|commit| model.done.contains(&commit.id));
    done.flat_map(|commit| commit.events.iter().map(|event| event.id.clone()))
        .collect()
}
