//! What the reads around a story of 1,000 decisions cost: a sketch of light columns, digests,
//! and beside them a walk that fetches everything; a search; and what being searchable adds to
//! a commit. Prints medians.
//!
//! `FLEET_TEST_NEO4J_URI=… cargo bench -p fleet-graph-neo4j` (`_USER`, `_PASSWORD` likewise).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints and may panic"
)]

use std::time::{Duration, Instant};

use fleet_graph::{
    Branch, Columns, Commit, Deadline, Digest, Direction, EdgeType, GraphStore, Label, NodeKey,
    Owner, Props, Search, SearchIndex, Sketch, Step, Walk, terms,
};
use fleet_graph_neo4j::{Neo4j, Settings};
use fleet_types::Timestamp;
use serde_json::json;
use uuid::Uuid;

const DECISIONS: usize = 1_000;
const TASKS: usize = 200;
const ROUNDS: usize = 200;
const WARM: usize = 100;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench's ids need no port, only to be fresh"
)]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

fn object(value: &serde_json::Value) -> Props {
    value.as_object().unwrap().clone()
}

fn commit(writer: Owner) -> Commit {
    Commit::new(fresh(), writer, Timestamp::from_millis(1_700_000_000_000))
}

/// A decision with a rationale of 400 characters.
fn decision(n: usize, story: &NodeKey) -> Props {
    let rationale: Vec<_> = (0..50)
        .map(|word| format!("w{:06}", n * 31 + word))
        .collect();
    object(&json!({
        "story_id": story.id(), "title": format!("decision number {n}"), "status": "ACTIVE",
        "rationale": rationale.join(" "), "decision_type": "ARCHITECTURE",
        "made_at": 1_700_000_000_000_i64 + n as i64, "made_by": "architect",
        "tokens_title": 5, "tokens_rationale": 180, "tokens_by": "o200k/1",
    }))
}

const LIGHT: &[&str] = &[
    "status",
    "made_at",
    "decision_type",
    "tokens_title",
    "tokens_rationale",
    "tokens_by",
];

/// Writes the story; its key and those of its decisions.
async fn story(store: &Neo4j) -> (NodeKey, Vec<NodeKey>) {
    let story = NodeKey::new(Label::Story, format!("s-{}", fresh()));
    let mut planning = commit(Owner::Planning);
    planning.create(story.clone(), "o", object(&json!({ "title": "a story" })));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| NodeKey::new(Label::Task, format!("T-{}", fresh())))
        .collect();
    for task in &tasks {
        let props = json!({ "story_id": story.id(), "title": "a task", "status": "todo" });
        planning.create(task.clone(), task.id(), object(&props));
        planning.relate(story.clone(), EdgeType::HasTask, task.clone());
    }
    store.commit(&planning, soon()).await.unwrap();
    let mut decisions: Vec<NodeKey> = Vec::new();
    while decisions.len() < DECISIONS {
        let mut context = commit(Owner::Context);
        for _ in 0..250 {
            let n = decisions.len();
            let key = NodeKey::new(Label::Decision, format!("DEC-{}", fresh()));
            context.create(key.clone(), format!("{n:06}"), decision(n, &story));
            context.relate(story.clone(), EdgeType::HasDecision, key.clone());
            context.relate(key.clone(), EdgeType::Affects, tasks[n % TASKS].clone());
            if let Some(before) = decisions.last() {
                context.relate(key.clone(), EdgeType::DependsOn, before.clone());
            }
            decisions.push(key);
        }
        store.commit(&context, soon()).await.unwrap();
    }
    (story, decisions)
}

/// The median of a call.
async fn p50(name: &str, mut call: impl AsyncFnMut(usize)) {
    let mut times = Vec::new();
    for n in 0..WARM + ROUNDS {
        let start = Instant::now();
        call(n).await;
        times.push(start.elapsed());
    }
    times.drain(..WARM);
    times.sort_unstable();
    println!("{name:<44} p50 {:>10.1?}", times[times.len() / 2]);
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let var = |name: &str| std::env::var(format!("FLEET_TEST_NEO4J_{name}"));
    let Ok(uri) = var("URI") else {
        println!("not measured: neo4j (FLEET_TEST_NEO4J_URI not set)");
        return;
    };
    let user = var("USER").unwrap_or_else(|_| "neo4j".into());
    let password = var("PASSWORD").unwrap_or_default();
    let mut settings = Settings::new(uri, user, password.into());
    settings.deployment = format!("bench-{}", fresh().simple());
    let store = Neo4j::connect(settings).unwrap();
    store.migrate(soon()).await.unwrap();
    let (root, decisions) = story(&store).await;

    let out = |kind| vec![(kind, Direction::Out)];
    let sketch = |columns, edges: &[EdgeType]| Sketch {
        root: root.clone(),
        branches: vec![
            Branch {
                columns,
                edges: edges.to_vec(),
                newest_first: true,
                ..Branch::new(out(EdgeType::HasDecision))
            },
            Branch {
                columns: Columns::Only(&["status"]),
                ..Branch::new(out(EdgeType::HasTask))
            },
            Branch::new(out(EdgeType::HasContext)),
            Branch::new(out(EdgeType::HasPhase)),
        ],
    };
    let kinds = [EdgeType::Affects, EdgeType::DependsOn];
    for (name, columns, edges) in [
        ("sketch, light columns", Columns::Only(LIGHT), &[][..]),
        (
            "sketch, light columns, 2,000 relationships",
            Columns::Only(LIGHT),
            &kinds[..],
        ),
        ("sketch, all columns", Columns::All, &[][..]),
    ] {
        let sketch = sketch(columns, edges);
        p50(name, async |_| {
            let found = store.sketch(&sketch, soon()).await.unwrap();
            assert_eq!(found.branches[0].versions().nodes, DECISIONS as u64);
        })
        .await;
    }
    let digest = Digest {
        root: root.clone(),
        paths: vec![
            out(EdgeType::HasContext),
            out(EdgeType::HasTask),
            vec![
                (EdgeType::HasTask, Direction::Out),
                (EdgeType::HasRun, Direction::Out),
            ],
            out(EdgeType::HasPlan),
        ],
    };
    for count in [0, 30, 120, 150, 400] {
        let keys = &decisions[..count];
        p50(&format!("digest and {count} nodes"), async |_| {
            let (_, nodes) = store.digest(&digest, keys, soon()).await.unwrap();
            assert!(nodes.iter().all(Option::is_some));
        })
        .await;
    }
    let step = |edge| Step {
        edge,
        direction: Direction::Out,
        hops: 1,
    };
    let walk = Walk {
        roots: vec![root.clone()],
        steps: vec![step(EdgeType::HasDecision)],
        max_nodes: 2_000,
    };
    p50("walk to all decisions, whole", async |_| {
        let found = store.walk(&walk, soon()).await.unwrap();
        assert_eq!(found.nodes.len(), DECISIONS + 1);
    })
    .await;
    for (name, words, story_id) in [
        ("search, one hit", "w000001 w000031", Some(root.id())),
        (
            "search, 1,000 hits in one story",
            "decision number",
            Some(root.id()),
        ),
    ] {
        let search = Search {
            index: SearchIndex::Decisions,
            terms: terms(words).collect(),
            story_id: story_id.map(str::to_owned),
            limit: 20,
        };
        p50(name, async |_| {
            store.search(&search, soon()).await.unwrap();
        })
        .await;
    }
    for (name, label) in [
        ("commit of a decision (searchable)", Label::Decision),
        ("commit of an event (not searchable)", Label::Event),
    ] {
        p50(name, async |n| {
            let mut commit = commit(Owner::Context);
            let key = NodeKey::new(label, format!("x-{}", fresh()));
            commit.create(key, "o", decision(n, &root));
            store.commit(&commit, soon()).await.unwrap();
        })
        .await;
    }
}
