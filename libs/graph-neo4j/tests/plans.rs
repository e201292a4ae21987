//! How the server goes about every query text: nothing scans, pages cost their own rows,
//! and a commit locks before it looks.

#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

#[path = "common/bolt.rs"]
mod bolt;
mod common;

use std::{collections::BTreeSet, time::Duration};

use bolt::{Bolt, Plan};
use common::Server;
use fleet_graph::{
    Branch, Columns, Commit, Deadline, Digest, Direction, EdgeType, GraphStore, Index, Label,
    MAX_BRANCHES, MAX_WRITES, NodeKey, Owner, Search, SearchIndex, Sketch,
};
use fleet_graph_neo4j::{Neo4j, queries};
use fleet_types::Timestamp;
use serde_json::{Value, json};
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
    let store = server.store(&format!("p{}", fresh().simple()));
    store.migrate(soon()).await.unwrap();
    Some((server, store))
}

/// A value for every parameter that some text has, of the type it has there.
fn params(name: &str) -> Value {
    let mut params = json!({
        "rows": [{ "i": 0, "key": "k", "expected": 0 }],
        "puts": [{ "i": 0, "label": "Story", "props": { "_key": "k" } }],
        "drops": [0],
        "events": [{ "_key": "k" }],
        "keys": ["k"], "key": "k", "roots": ["k"], "nodes": 101, "edges": 1_000,
        "v0": "x", "v1": "x", "after": "", "offset": 0, "limit": 101,
        "deployment": "d", "at": 1, "since": 1,
        "terms": [{ "key": "k", "terms": "t" }],
        "index": "fleet_v1_search_Tasks", "query": "\"w\"", "story": "s", "root": "k",
    });
    for branch in 0..MAX_BRANCHES {
        params[format!("max{branch}")] = json!(101);
        params[format!("columns{branch}")] = json!(["title", "status"]);
    }
    if name == "set terms" {
        params["rows"] = json!([{ "i": 0, "key": "k", "version": 1, "terms": "t" }]);
    }
    let by_age = name.starts_with("prune") || name == "remove published";
    params["before"] = if by_age { json!(1) } else { json!("x") };
    for kind in EdgeType::ALL {
        params[format!("relate_{}", kind.as_str())] = json!([{ "from": 0, "to": 0, "props": {} }]);
        params[format!("unrelate_{}", kind.as_str())] = json!([{ "from": "k", "to": "k" }]);
    }
    for index in Index::ALL {
        params[format!("q_{}", index.as_str())] = json!([["x", "y"]]);
    }
    json!({ "c": params })
}

#[tokio::test]
async fn no_plan_scans() {
    let Some((server, _store)) = open().await else {
        return;
    };
    let mut bolt = Bolt::connect(&server).await;
    let texts = queries::all();
    assert!(texts.len() > 250, "only {} texts", texts.len());
    let mut problems = String::new();
    for (name, text) in texts {
        let plan = bolt.plan("EXPLAIN", &text, &params(&name)).await;
        let operators: Vec<_> = plan
            .all()
            .iter()
            .map(|plan| plan.operator.as_str())
            .collect();
        let scans = operators.iter().any(|operator| operator.contains("Scan"));
        let product = operators.contains(&"CartesianProduct");
        // A page comes in the order of its index; only a few rows of a commit are sorted.
        let ordered = name.starts_with("scan") || name == "pending" || name == "nodes by key";
        let sorts = operators
            .iter()
            .any(|o| o.contains("Sort") || o.contains("Top"));
        // What is read around a node starts at its key, and so does each node that is asked for.
        let around = name.starts_with("sketch") || name.starts_with("digest");
        let starts = operators.iter().filter(|o| o.contains("Index"));
        let unique = starts
            .filter(|o| o.starts_with("NodeUniqueIndexSeek"))
            .count();
        let keyed = unique
            == if name.starts_with("digest") && !name.ends_with("without nodes") {
                2
            } else {
                1
            };
        if scans || (around && !keyed) || product || (ordered && sorts) {
            problems += &format!("\n--- {name}\n{text}\n{}\n", plan.outline());
        }
    }
    assert!(problems.is_empty(), "{problems}");
}

/// Below the operator that takes the lock nothing reads the properties that the commit
/// compares: the planner likes to fetch them with the key, which is before the lock.
#[tokio::test]
async fn a_commit_locks_before_it_looks() {
    let Some((server, _store)) = open().await else {
        return;
    };
    let mut bolt = Bolt::connect(&server).await;
    let mut checked = 0;
    for (name, text) in queries::all() {
        if !(name.starts_with("commit") || name == "diagnose") {
            continue;
        }
        let plan = bolt.plan("EXPLAIN", &text, &params(&name)).await;
        let locks = |plan: &&Plan| plan.details.starts_with("n._lock = $");
        let lock = plan
            .all()
            .into_iter()
            .find(locks)
            .expect("the operator that locks")
            .clone();
        for below in lock.all() {
            let reads = ["cache[", "_version", "_fingerprint", "_response"];
            let early = reads.iter().any(|read| below.details.contains(read));
            assert!(!early, "{name}: read before the lock\n{}", plan.outline());
        }
        checked += 1;
    }
    assert_eq!(checked, 7);
}

/// Labels, types and filters come from closed lists; values only as parameters.
#[test]
fn texts_hold_no_values() {
    let closed = queries::closed_names();
    for (name, text) in queries::all() {
        // Everything in quotes or backticks would be a value or a made-up name.
        assert!(!text.contains(['`', '"', '\\', ';']), "{name}: {text}");
        let quoted: BTreeSet<_> = text.split('\'').skip(1).step_by(2).collect();
        let ours = ["", "_version", "_fingerprint", "_response"];
        assert!(
            quoted.iter().all(|quoted| ours.contains(quoted)),
            "{name}: {quoted:?}"
        );
        // One map for all parameters, else the server plans anew for every size of theirs.
        // What follows `$(` is an expression of a row.
        let in_map = |rest: &str| rest.starts_with("c.") || rest.starts_with('(');
        let params_in_map = text
            .match_indices('$')
            .all(|(at, _)| in_map(&text[at + 1..]));
        assert!(params_in_map, "{name}: a parameter outside of $c: {text}");
        for (start, _) in text.match_indices(':') {
            let rest = &text[start + 1..];
            let word: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            let own = ["", "Entity", "CommitMarker", "Inbox", "Request", "Outbox"];
            let known = own.contains(&word.as_str()) || closed.contains(word.as_str());
            assert!(known, "{name}: {word:?} in {text}");
        }
    }
}

#[tokio::test]
async fn a_page_costs_its_own_rows_whatever_the_total() {
    let Some((server, store)) = open().await else {
        return;
    };
    let mut bolt = Bolt::connect(&server).await;
    let run = fresh().simple();
    let mut costs = Vec::new();
    for total in [1_000, 20_000] {
        let state = format!("state-{run}-{total}");
        let mut made = 0;
        while made < total {
            let mut commit = Commit::new(fresh(), Owner::Planning, Timestamp::from_millis(0));
            for n in made..total.min(made + MAX_WRITES) {
                let key = NodeKey::new(Label::Story, format!("s-{run}-{total}-{n}"));
                let mut props = fleet_graph::Props::new();
                props.insert("state".into(), json!(state));
                commit.create(key, format!("{n:012}"), props);
            }
            store.commit(&commit, soon()).await.unwrap();
            made += commit.nodes.len();
        }
        let mut cost = Vec::new();
        for (after, descending) in [("", false), ("000000000500", false), ("", true)] {
            let text = queries::scan(Index::StoriesByState, false, descending, false);
            let params = json!({ "c": { "v0": state, "after": after, "offset": 0, "limit": 101 } });
            let plan = bolt.plan("PROFILE", &text, &params).await;
            cost.push(plan.total_hits());
        }
        let text = queries::scan(Index::StoriesByState, false, false, true);
        let params = json!({ "c": { "v0": state, "after": "", "offset": 0, "limit": 101 } });
        let with_total = bolt.plan("PROFILE", &text, &params).await.total_hits();
        assert!(
            with_total < 15_000,
            "a filtered total is bounded: {with_total} hits"
        );
        costs.push(cost);
    }
    assert_eq!(
        costs[0], costs[1],
        "hits for a page among 1,000 and among 20,000"
    );
    assert!(
        costs[0].iter().all(|hits| (100..1_000).contains(hits)),
        "{costs:?}"
    );

    let text = queries::counts(&BTreeSet::from([Index::Stories]));
    let plan = bolt
        .plan("PROFILE", &text, &json!({ "c": { "q_Stories": [[]] } }))
        .await;
    assert!(
        plan.total_hits() < 10,
        "an unfiltered count costs\n{}",
        plan.outline()
    );
}

/// Writes a story with tasks and decisions that say `word`, and as many relationships between
/// them; gives its key.
async fn story(store: &Neo4j, word: &str, size: usize) -> NodeKey {
    let story = NodeKey::new(Label::Story, format!("s-{}", fresh()));
    let mut commit = Commit::new(fresh(), Owner::Planning, Timestamp::from_millis(0));
    commit.create(story.clone(), "o", fleet_graph::Props::new());
    let props = json!({ "title": word, "story_id": story.id() });
    let props = props.as_object().unwrap();
    let made = |label: Label| {
        let id = move |n| NodeKey::new(label, format!("{}-{n}-{}", label.as_str(), fresh()));
        (0..size).map(id).collect::<Vec<_>>()
    };
    let tasks = made(Label::Task);
    for task in &tasks {
        commit.create(task.clone(), task.id(), props.clone());
        commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    }
    store.commit(&commit, soon()).await.unwrap();
    let mut commit = Commit::new(fresh(), Owner::Context, Timestamp::from_millis(0));
    for (decision, task) in made(Label::Decision).iter().zip(&tasks) {
        commit.create(decision.clone(), decision.id(), props.clone());
        commit.relate(story.clone(), EdgeType::HasDecision, decision.clone());
        commit.relate(decision.clone(), EdgeType::Affects, task.clone());
    }
    store.commit(&commit, soon()).await.unwrap();
    story
}

#[tokio::test]
async fn what_is_around_a_node_costs_the_same_among_many_others() {
    let Some((server, store)) = open().await else {
        return;
    };
    let mut bolt = Bolt::connect(&server).await;
    let word = format!("w{}", fresh().simple());
    let root = story(&store, &word, 20).await;
    let out = |kind| (kind, Direction::Out);
    let paths = vec![
        vec![out(EdgeType::HasTask)],
        vec![out(EdgeType::HasDecision)],
        vec![out(EdgeType::HasDecision), out(EdgeType::Affects)],
    ];
    let branches = paths
        .iter()
        .zip([true, false, true])
        .map(|(path, light)| Branch {
            columns: if light {
                Columns::Only(&["title"])
            } else {
                Columns::All
            },
            edges: vec![EdgeType::Affects, EdgeType::DependsOn],
            ..Branch::new(path.clone())
        });
    let branches = branches.collect();
    let sketch = Sketch {
        root: root.clone(),
        branches,
    };
    let digest = Digest {
        root: root.clone(),
        paths,
    };
    let params = json!({ "c": {
        "root": root.path(), "keys": [root.path()],
        "max0": 101, "max1": 101, "max2": 101,
    } });
    let texts = [
        queries::sketch(&sketch),
        queries::digest(&digest, true),
        queries::digest(&digest, false),
    ];
    let mut costs = Vec::new();
    for others in [0, 100] {
        for _ in 0..others {
            story(&store, &word, 20).await;
        }
        let mut cost = Vec::new();
        for text in &texts {
            cost.push(bolt.plan("PROFILE", text, &params).await.total_hits());
        }
        costs.push(cost);
    }
    assert_eq!(
        costs[0], costs[1],
        "hits with no and with 100 other stories"
    );
    assert!(
        costs[0].iter().all(|hits| (60..1_500).contains(hits)),
        "{costs:?}"
    );

    // In 2,000 tasks that say the word, a search in one story looks at the 20 of it.
    let mut search = Search {
        index: SearchIndex::Tasks,
        terms: vec![word],
        story_id: Some(root.id().to_owned()),
        limit: 100,
    };
    assert_eq!(store.search(&search, soon()).await.unwrap().nodes.len(), 20);
    let params = json!({ "c": {
        "index": "fleet_v1_search_Tasks", "query": queries::search_words(&search),
        "story": root.id(), "limit": 1_001,
    } });
    let plan = bolt.plan("PROFILE", &queries::search(true), &params).await;
    assert!(plan.total_hits() < 500, "{}", plan.outline());
    search.story_id = None;
    let hits = store.search(&search, soon()).await.unwrap();
    assert!(hits.more && hits.nodes.len() == 100);
}

/// The server bounds the memory of its transactions; what one branch finds must not count
/// again for every row of the others.
#[tokio::test]
async fn a_branch_does_not_pay_for_the_others() {
    let Some((_, store)) = open().await else {
        return;
    };
    let root = NodeKey::new(Label::Story, format!("s-{}", fresh()));
    let mut commit = Commit::new(fresh(), Owner::Planning, Timestamp::from_millis(0));
    let props = json!({ "text": "x".repeat(20_000) });
    let props = props.as_object().unwrap();
    commit.create(root.clone(), "o", fleet_graph::Props::new());
    for _ in 0..300 {
        let task = NodeKey::new(Label::Task, format!("T-{}", fresh()));
        commit.create(task.clone(), "o", props.clone());
        commit.relate(root.clone(), EdgeType::HasTask, task);
    }
    store.commit(&commit, soon()).await.unwrap();
    let all = Branch::new(vec![(EdgeType::HasTask, Direction::Out)]);
    let branches = vec![all; 4];
    let sketch = Sketch { root, branches };
    let seen = store.sketch(&sketch, soon()).await.unwrap();
    assert!(
        seen.branches
            .iter()
            .all(|reached| reached.nodes.len() == 300)
    );
    let keys: Vec<_> = seen.branches[0]
        .nodes
        .iter()
        .map(|node| node.key.clone())
        .collect();
    let digest = Digest {
        root: sketch.root,
        paths: vec![vec![(EdgeType::HasTask, Direction::Out)]; MAX_BRANCHES],
    };
    let (digested, nodes) = store.digest(&digest, &keys, soon()).await.unwrap();
    assert!(nodes.iter().all(Option::is_some));
    assert!(
        digested
            .paths
            .iter()
            .all(|path| (path.nodes, path.sum) == (300, 300))
    );
}
