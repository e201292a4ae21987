//! How nodes come by the words that they are found by: with their commit, however long its
//! message, or later, if they are older than the search.

#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

#[path = "common/bolt.rs"]
mod bolt;
mod common;

use std::time::Duration;

use bolt::Bolt;
use common::Server;
use fleet_graph::{
    Commit, Deadline, GraphStore, Label, NodeKey, Outbox, OutboxEvent, Owner, Props, Search,
    SearchIndex, Walk, terms,
};
use fleet_graph_neo4j::Neo4j;
use fleet_types::{EventId, Timestamp};
use serde_json::json;
use uuid::Uuid;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's ids need no port, only to be fresh"
)]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

async fn open() -> Option<(Server, Neo4j)> {
    let server = Server::from_env().await?;
    let store = server.store(&format!("s{}", fresh().simple()));
    store.migrate(soon()).await.unwrap();
    Some((server, store))
}

fn commit(writer: Owner) -> Commit {
    Commit::new(fresh(), writer, Timestamp::from_millis(1_700_000_000_000))
}

fn object(value: &serde_json::Value) -> Props {
    value.as_object().expect("an object").clone()
}

async fn found(store: &Neo4j, index: SearchIndex, text: &str) -> usize {
    let search = Search {
        index,
        terms: terms(text).collect(),
        story_id: None,
        limit: 100,
    };
    store.search(&search, soon()).await.unwrap().nodes.len()
}

/// Whether words and events stand in the commit's own statement or follow it, they are part
/// of it; and no read shows more than what was written.
#[tokio::test]
async fn words_belong_to_the_commit_however_long_it_is() {
    let Some((_, store)) = open().await else {
        return;
    };
    let later = Timestamp::from_millis(1_700_000_000_001);
    for (words, payload) in [
        (5, 10),
        (5, 7_000),
        (380, 10),
        (380, 3_000),
        (1_900, 10),
        (1_900, 9_000),
    ] {
        let run = format!("w{}", fresh().simple());
        let text: Vec<_> = (0..words).map(|n| format!("w{n:07}")).collect();
        let props = object(&json!({ "title": run, "rationale": text.join(" ") }));
        let key = NodeKey::new(Label::Decision, format!("DEC-{}", fresh()));
        let mut make = commit(Owner::Context);
        make.create(key.clone(), "o", props.clone());
        make.event(OutboxEvent {
            id: EventId::mint(fresh()),
            subject: "context.updated".into(),
            source: "fleet-context".into(),
            aggregate: key.id().into(),
            aggregate_version: 1,
            time: make.time,
            payload: "x".repeat(payload),
            correlation: "c-1".into(),
            causation: String::new(),
            traceparent: String::new(),
        });
        store.commit(&make, soon()).await.unwrap();
        store.commit(&make, soon()).await.unwrap();
        for text in [
            format!("{run} {}", text[0]),
            format!("{} {run}", text[words - 1]),
        ] {
            assert_eq!(
                found(&store, SearchIndex::Decisions, &text).await,
                1,
                "{words} {payload}"
            );
        }
        let read = store.get(&[key], soon()).await.unwrap().remove(0).unwrap();
        assert_eq!(read.props, props);
        let pending = store.pending(later, 10, soon()).await.unwrap();
        assert_eq!(pending.len(), 1);
        let ids: Vec<_> = pending.into_iter().map(|event| event.id).collect();
        store.remove(&ids, soon()).await.unwrap();
    }
}

/// Several at a time, while somebody writes; what cannot be read is no obstacle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_older_than_the_search_get_their_words() {
    let Some((server, store)) = open().await else {
        return;
    };
    let mut bolt = Bolt::connect(&server).await;
    let run = format!("w{}", fresh().simple());
    let mut make = commit(Owner::Planning);
    let keys: Vec<_> = (0..40)
        .map(|n| NodeKey::new(Label::Task, format!("T-{n}-{}", fresh())))
        .collect();
    for key in &keys {
        make.create(key.clone(), "o", object(&json!({ "title": run })));
    }
    store.commit(&make, soon()).await.unwrap();
    // As an older version would have left them; one as nobody would.
    let paths: Vec<_> = keys.iter().map(NodeKey::path).collect();
    let older = "UNWIND $c.keys AS key MATCH (n:Entity {_key: key}) \
                 SET n._terms = CASE WHEN key = $c.half THEN 'other words' END \
                 FOREACH (x IN CASE WHEN key = $c.damaged THEN [1] ELSE [] END | REMOVE n._ord)";
    let params = json!({ "c": { "keys": paths, "half": paths[0], "damaged": paths[1] } });
    bolt.plan("PROFILE", older, &params).await;
    assert_eq!(found(&store, SearchIndex::Tasks, &run).await, 0);

    let writes = async {
        for version in 1..=5 {
            let mut update = commit(Owner::Planning);
            let props = object(&json!({ "title": format!("{run} v{version}") }));
            update.update(keys[2].clone(), version, "o", props);
            store.commit(&update, soon()).await.unwrap();
        }
    };
    let fill = || store.fill_search(SearchIndex::Tasks, soon());
    let (one, two, ()) = tokio::join!(fill(), fill(), writes);
    assert!(
        one.unwrap() + two.unwrap() >= 38,
        "each was filled by one of them"
    );
    assert_eq!(
        found(&store, SearchIndex::Tasks, &run).await,
        39,
        "all but the damaged one"
    );
    assert_eq!(
        found(&store, SearchIndex::Tasks, &format!("{run} v5")).await,
        1
    );
    // Found by other means, it hides nothing else.
    let words = "MATCH (n:Entity {_key: $c.damaged}) SET n._terms = $c.words";
    let named = json!({ "c": { "damaged": paths[1], "words": run } });
    bolt.plan("PROFILE", words, &named).await;
    let search = Search {
        index: SearchIndex::Tasks,
        terms: terms(&run).collect(),
        story_id: None,
        limit: 100,
    };
    let hits = store.search(&search, soon()).await.unwrap();
    assert_eq!((hits.nodes.len(), hits.more), (39, false));
    let damaged: Vec<_> = hits.corrupt.iter().map(|row| &row.key).collect();
    assert_eq!(damaged, [&keys[1]]);
    let walk = Walk {
        roots: keys[..3].to_vec(),
        steps: Vec::new(),
        max_nodes: 3,
    };
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!((found.nodes.len(), found.truncated), (2, false));
    let damaged: Vec<_> = found.corrupt.iter().map(|row| &row.key).collect();
    assert_eq!(damaged, [&keys[1]]);
    bolt.plan(
        "PROFILE",
        "MATCH (n:Entity {_key: $c.damaged}) DETACH DELETE n",
        &params,
    )
    .await;
}
