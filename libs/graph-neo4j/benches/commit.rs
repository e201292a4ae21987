//! What a typical commit costs through the port, and what the same writes cost in one bare
//! driver transaction, in one run on one server. Prints both medians and their ratio.
//!
//! `FLEET_TEST_NEO4J_URI=… cargo bench -p fleet-graph-neo4j` (`_USER`, `_PASSWORD` likewise).

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints and may panic"
)]

use std::time::{Duration, Instant};

use fleet_graph::{
    Commit, Deadline, EdgeType, GraphStore, Label, NodeKey, OutboxEvent, Owner, Props,
};
use fleet_graph_neo4j::{Neo4j, Settings};
use fleet_types::{EventId, Timestamp};
use neo4rs::{BoltType, ConfigBuilder, Graph, Query};
use serde_json::json;
use uuid::Uuid;

/// The same writes as the product's commit, without conditions, marker and way back.
const BARE: &str = "\
CALL () { UNWIND $puts AS p MERGE (n:Entity {_key: p._key}) SET n = p SET n:Story }
CALL () { UNWIND $edges AS e
  OPTIONAL MATCH (a:Entity {_key: e.from}) OPTIONAL MATCH (b:Entity {_key: e.to})
  MERGE (a)-[:HAS_TASK]->(b) }
CALL () { UNWIND $events AS e CREATE (o:Entity:Outbox) SET o = e }
FINISH";

const ROUNDS: usize = 1_500;
const WARM: usize = 500;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bench's ids need no port, only to be fresh"
)]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

fn props(n: usize) -> Props {
    let value = json!({
        "state": "DRAFT", "epic_id": "E-bench", "title": format!("story {n}"),
        "brief": "As a developer I want to know what a commit costs.", "size": 3,
    });
    value.as_object().unwrap().clone()
}

fn event(key: &NodeKey) -> OutboxEvent {
    OutboxEvent {
        id: EventId::mint(fresh()),
        subject: "planning.story.updated".into(),
        source: "fleet-planning".into(),
        aggregate: key.id().into(),
        aggregate_version: 1,
        time: Timestamp::from_millis(1_700_000_000_000),
        payload: r#"{"story_id":"s-1","from_state":"DRAFT","to_state":"PO_REVIEW"}"#.into(),
        correlation: "c-1".into(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

/// Two creates, two updates, two relations, four events.
fn typical(n: usize, updated: &[NodeKey; 2], version: i64) -> Commit {
    let time = Timestamp::from_millis(1_700_000_000_000);
    let mut commit = Commit::new(fresh(), Owner::Planning, time);
    for key in updated {
        let made = NodeKey::new(Label::Task, format!("T-{}", fresh()));
        commit.update(key.clone(), version, key.id(), props(n));
        commit.create(made.clone(), made.id(), props(n));
        commit.relate(key.clone(), EdgeType::HasTask, made.clone());
        commit.event(event(key)).event(event(&made));
    }
    commit
}

/// The same as parameters of the bare statement.
fn bare(n: usize, updated: &[NodeKey; 2], version: i64) -> Query {
    let commit = typical(n, updated, version);
    let maps = |rows: Vec<Vec<(&str, BoltType)>>| -> Vec<BoltType> {
        let row = |row: Vec<(&str, BoltType)>| {
            BoltType::Map(
                row.into_iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect(),
            )
        };
        rows.into_iter().map(row).collect()
    };
    let puts = commit.nodes.iter().map(|write| {
        let mut row: Vec<(&str, BoltType)> = vec![
            ("_key", write.key().path().into()),
            ("_ord", write.key().id().into()),
            ("_version", (write.expected() + 1).into()),
        ];
        row.extend([("state", "DRAFT".into()), ("epic_id", "E-bench".into())]);
        row.extend([("title", format!("story {n}").into()), ("size", 3.into())]);
        row.push((
            "brief",
            "As a developer I want to know what a commit costs.".into(),
        ));
        row
    });
    let edges = commit.edges.iter().filter_map(|edge| match edge {
        fleet_graph::EdgeWrite::Relate(edge) => Some(vec![
            ("from", edge.from.path().into()),
            ("to", edge.to.path().into()),
        ]),
        fleet_graph::EdgeWrite::Unrelate { .. } => None,
    });
    let events = commit.events.iter().enumerate().map(|(n, event)| {
        let ord = format!("001700000000000|{}|{n}", commit.id);
        vec![
            ("_key", format!("Outbox/{}", event.id).into()),
            ("_deployment", "bench".into()),
            ("_ord", ord.clone().into()),
            ("_pending", ord.into()),
            ("id", event.id.as_str().into()),
            ("subject", event.subject.as_str().into()),
            ("source", event.source.as_str().into()),
            ("aggregate", event.aggregate.as_str().into()),
            ("aggregate_version", event.aggregate_version.into()),
            ("time", event.time.millis().into()),
            ("payload", event.payload.as_str().into()),
            ("correlation", event.correlation.as_str().into()),
            ("causation", event.causation.as_str().into()),
            ("traceparent", event.traceparent.as_str().into()),
        ]
    });
    Query::new(BARE.to_owned())
        .param("puts", maps(puts.collect()))
        .param("edges", maps(edges.collect()))
        .param("events", maps(events.collect()))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.drain(..WARM);
    times.sort_unstable();
    times[times.len() / 2]
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
    let mut settings = Settings::new(&uri, &user, password.clone().into());
    settings.deployment = format!("bench-{}", fresh().simple());
    let store = Neo4j::connect(settings).unwrap();
    store.migrate(soon()).await.unwrap();
    let config = ConfigBuilder::new()
        .uri(uri)
        .user(user)
        .password(password)
        .build()
        .unwrap();
    let driver = Graph::connect(config).unwrap();

    let stories = || [(); 2].map(|()| NodeKey::new(Label::Story, format!("s-{}", fresh())));
    let (ours, theirs) = (stories(), stories());
    for key in ours.iter().chain(&theirs) {
        let time = Timestamp::from_millis(1_700_000_000_000);
        let mut commit = Commit::new(fresh(), Owner::Planning, time);
        commit.create(key.clone(), key.id(), props(0));
        store.commit(&commit, soon()).await.unwrap();
    }
    let (mut through, mut beside) = (Vec::new(), Vec::new());
    // In turn, so that both see the same server in the same mood.
    for n in 0..ROUNDS + WARM {
        let version = i64::try_from(n).unwrap() + 1;
        let commit = typical(n, &ours, version);
        let start = Instant::now();
        store.commit(&commit, soon()).await.unwrap();
        through.push(start.elapsed());

        let query = bare(n, &theirs, version);
        let start = Instant::now();
        let mut txn = driver.start_txn().await.unwrap();
        txn.run(query).await.unwrap();
        txn.commit().await.unwrap();
        beside.push(start.elapsed());
    }
    let (through, beside) = (median(through), median(beside));
    println!("commit through the port   p50 {through:>10.1?}");
    println!("same writes, bare driver  p50 {beside:>10.1?}");
    println!("ratio {:.2}", through.as_secs_f64() / beside.as_secs_f64());
}
