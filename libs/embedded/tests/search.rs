//! What is findable stays true to the nodes: through groups whose members fail, through every
//! kind of end, and from a database that knew no searches.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{collections::BTreeMap, path::Path};

use common::*;
use fleet_embedded::{Embedded, OpenError};
use fleet_graph::{
    Branch, Columns, CorruptRow, Digest, Direction, EdgeType, Hits, Node, NodeKey, NodeWrite,
    ReadError, Search, SearchIndex, Sketch, Step, Walk, props,
};
use rusqlite::Connection;
use serde_json::json;

const WORDS: [&str; 5] = ["alpha", "beta", "gamma", "über", "and"];

fn words(text: &str) -> Search {
    Search {
        index: SearchIndex::Tasks,
        terms: fleet_graph::terms(text).collect(),
        story_id: None,
        limit: 1000,
    }
}

async fn found(embedded: &Embedded, text: &str) -> Vec<NodeKey> {
    let hits: Hits = embedded.store().search(&words(text), soon()).await.unwrap();
    let mut keys: Vec<_> = hits.nodes.into_iter().map(|node| node.key).collect();
    keys.sort();
    keys
}

fn raw(dir: &Path) -> Connection {
    Connection::open(dir.join("fleet.db")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_follow_nodes_through_groups_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    // Which word each task has, and its version.
    let mut there: BTreeMap<u64, (usize, i64)> = BTreeMap::new();
    let mut dice = 7_u64;
    let mut roll = |sides: u64| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (dice >> 33) % sides
    };
    let mut commits = 0;
    for round in 0..6 {
        let embedded = open(dir.path());
        for _ in 0..8 {
            // One group: each member writes a task of its own, and some fail at their end.
            let mut group = tokio::task::JoinSet::new();
            for n in 0..40 {
                let word = roll(WORDS.len() as u64) as usize;
                let text = if roll(4) == 0 { "" } else { WORDS[word] };
                let row = props(&json!({ "title": format!("{n} {}", WORDS[word]), "note": text }));
                commits += 1;
                let (mut change, ord) = (commit(commits), format!("{commits}"));
                let version = there.get(&n).map_or(0, |(_, version)| *version);
                let write = match (version, roll(5)) {
                    (0, _) => NodeWrite::Create {
                        key: task(n),
                        ord,
                        props: row,
                    },
                    (expected, 0) => NodeWrite::Delete {
                        key: task(n),
                        expected,
                    },
                    (expected, _) => NodeWrite::Update {
                        key: task(n),
                        expected,
                        ord,
                        props: row,
                    },
                };
                let gone = matches!(write, NodeWrite::Delete { .. });
                change.nodes.push(write);
                let fails = roll(4) == 0;
                if fails {
                    change.relate(task(n), EdgeType::DependsOn, task(1_000_000));
                } else if gone {
                    there.remove(&n);
                } else {
                    there.insert(n, (word, version + 1));
                }
                let store = embedded.store();
                group.spawn(async move { store.commit(&change, soon()).await.is_ok() != fails });
            }
            assert!(
                group
                    .join_all()
                    .await
                    .into_iter()
                    .all(|as_expected| as_expected)
            );
        }
        for (at, word) in WORDS.iter().enumerate() {
            let mut expected: Vec<_> = there
                .iter()
                .filter(|(_, (word, _))| *word == at)
                .map(|(n, _)| task(*n))
                .collect();
            expected.sort();
            assert_eq!(found(&embedded, word).await, expected, "{word}");
        }
        // Each start verifies that what is findable is what there is.
        if round % 2 == 0 {
            embedded.close().await;
        }
    }
    open(dir.path());
}

#[tokio::test]
async fn a_database_of_the_version_before_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    for n in 0..30 {
        embedded
            .store()
            .commit(&plan_story(n), soon())
            .await
            .unwrap();
    }
    let before = found(&embedded, "page 3").await;
    assert_eq!(before.len(), 4);
    embedded.close().await;

    let old = raw(dir.path());
    old.execute_batch(
        "DROP TABLE words_Tasks; DROP TABLE words_Decisions; DROP TABLE word_sums; \
         PRAGMA user_version = 1",
    )
    .unwrap();
    drop(old);
    let embedded = open(dir.path());
    assert_eq!(found(&embedded, "page 3").await, before);
    embedded
        .store()
        .commit(&plan_story(38), soon())
        .await
        .unwrap();
    assert_eq!(found(&embedded, "page 3").await.len(), 5);
    embedded.close().await;
    let version: i64 = raw(dir.path())
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .unwrap();
    assert_eq!(version, 2);

    // Words that come from other properties than before, and an index that is no more.
    let old = raw(dir.path());
    old.execute_batch(
        "ALTER TABLE word_sums RENAME TO word_sums_old; \
         CREATE TABLE word_sums(n INTEGER PRIMARY KEY, sum INTEGER NOT NULL); \
         DROP TABLE word_sums_old; DELETE FROM words_Tasks; \
         CREATE VIRTUAL TABLE words_Gone USING fts5(words, content='')",
    )
    .unwrap();
    drop(old);
    let embedded = open(dir.path());
    assert_eq!(found(&embedded, "page 3").await.len(), 5);
    embedded.close().await;
    let gone: i64 = raw(dir.path())
        .query_row(
            "SELECT count(*) FROM sqlite_master WHERE name GLOB 'words_Gone*'",
            (),
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(gone, 0);
}

#[tokio::test]
async fn words_that_nodes_do_not_have_are_damage() {
    for damage in [
        "INSERT INTO words_Tasks(rowid, words) VALUES (1, 'made up')",
        "REPLACE INTO words_Tasks(rowid, words) SELECT n, 'else' FROM nodes WHERE id = 'T-3'",
        "DELETE FROM words_Tasks WHERE rowid = (SELECT n FROM nodes WHERE id = 'T-3')",
        "DELETE FROM word_sums WHERE n = (SELECT n FROM nodes WHERE id = 'T-3')",
        "UPDATE word_sums SET sum = sum + 1",
        "INSERT INTO word_sums(n, sum) VALUES (77, 7)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let embedded = open(dir.path());
        for n in 0..5 {
            embedded
                .store()
                .commit(&plan_story(n), soon())
                .await
                .unwrap();
        }
        embedded.close().await;
        open(dir.path()).close().await;
        assert_eq!(
            raw(dir.path()).execute(damage, ()).map(|rows| rows > 0),
            Ok(true)
        );
        let refusal = Embedded::open(dir.path(), options()).unwrap_err();
        assert!(
            matches!(refusal, OpenError::Damaged { .. }),
            "{damage}: {refusal}"
        );
    }
}

#[tokio::test]
async fn one_corrupt_row_does_not_hide_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let mut all = plan_story(0);
    for n in 1..5 {
        all.create(
            task(n),
            n.to_string(),
            props(&json!({ "title": format!("Task {n}") })),
        );
        all.relate(story(0), EdgeType::HasTask, task(n));
        all.relate(task(n), EdgeType::DependsOn, task(n - 1));
    }
    embedded.store().commit(&all, soon()).await.unwrap();
    embedded.close().await;
    raw(dir.path())
        .execute(
            "UPDATE nodes SET props = '{\"title\":\"forged\"}' WHERE id = 'T-2'",
            (),
        )
        .unwrap();
    let mut large = options();
    large.verify_up_to = 0;
    let embedded = Embedded::open(dir.path(), large).unwrap();
    for columns in [Columns::All, Columns::Only(&["title"]), Columns::Only(&[])] {
        let branch = Branch {
            columns,
            edges: vec![EdgeType::DependsOn],
            ..Branch::new(vec![(EdgeType::HasTask, Direction::Out)])
        };
        let sketch = Sketch {
            root: story(0),
            branches: vec![branch],
        };
        let seen = embedded.store().sketch(&sketch, soon()).await.unwrap();
        let [reached] = &seen.branches[..] else {
            panic!("one branch")
        };
        let keys: Vec<_> = reached.keys().cloned().collect();
        assert_eq!(keys, [task(0), task(1), task(3), task(4)]);
        let corrupt: Vec<_> = reached.corrupt.iter().map(|row| row.key.clone()).collect();
        assert_eq!(corrupt, [task(2)]);
        let ends: Vec<_> = reached
            .edges
            .iter()
            .map(|e| (e.from.clone(), e.to.clone()))
            .collect();
        assert_eq!(
            ends,
            [(task(1), task(0)), (task(3), task(2)), (task(4), task(3))]
        );
    }
    let store = embedded.store();
    let keys = |nodes: &[Node]| -> Vec<NodeKey> { nodes.iter().map(|n| n.key.clone()).collect() };
    let corrupt =
        |rows: &[CorruptRow]| -> Vec<NodeKey> { rows.iter().map(|row| row.key.clone()).collect() };
    let hits = store.search(&words("task"), soon()).await.unwrap();
    assert_eq!(keys(&hits.nodes), [task(0), task(1), task(3), task(4)]);
    assert_eq!((corrupt(&hits.corrupt), hits.more), (vec![task(2)], false));

    // What lies behind it is found, without the relationships that end at it.
    let mut walk = Walk {
        roots: vec![task(4)],
        steps: vec![Step {
            edge: EdgeType::DependsOn,
            direction: Direction::Out,
            hops: 4,
        }],
        max_nodes: 5,
    };
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!(keys(&found.nodes), [task(0), task(1), task(3), task(4)]);
    let ends: Vec<_> = found.edges.iter().map(|e| (&e.from, &e.to)).collect();
    assert_eq!(ends, [(&task(1), &task(0)), (&task(4), &task(3))]);
    assert_eq!(
        (corrupt(&found.corrupt), found.truncated),
        (vec![task(2)], false)
    );
    let whole = found.whole().map(|found| found.nodes);
    assert!(matches!(whole, Err(ReadError::Corrupt(row)) if row.key == task(2)));
    walk.max_nodes = 3;
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!(
        keys(&found.nodes),
        [task(3), task(4)],
        "it counts for the limit"
    );
    assert!(found.truncated);
    // Without steps, a walk is what a get is that leaves it out.
    let roots = vec![task(2), task(3), task(9)];
    let got = store.get(&roots, soon()).await;
    assert!(matches!(got, Err(ReadError::Corrupt(row)) if row.key == task(2)));
    let walk = Walk {
        roots,
        steps: Vec::new(),
        max_nodes: 3,
    };
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!(keys(&found.nodes), [task(3)]);
    assert_eq!(
        (corrupt(&found.corrupt), found.truncated),
        (vec![task(2)], false)
    );
}

/// What one read sees is one state: the sums, and the nodes that come with them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_is_of_one_moment() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let mut all = commit(0);
    all.create(story(0), "0", story_props(0, "DRAFT"));
    for n in 0..5 {
        all.create(task(n), "o", props(&json!({ "title": "Task 1" })));
        all.relate(story(0), EdgeType::HasTask, task(n));
    }
    embedded.store().commit(&all, soon()).await.unwrap();
    let store = embedded.store();
    let mut writer = tokio::task::JoinSet::new();
    writer.spawn(async move {
        for version in 1..150 {
            let mut all = commit(version);
            let expected = version.cast_signed();
            let row = props(&json!({ "title": format!("Task {}", version + 1) }));
            all.update(story(0), expected, "0", row.clone());
            for n in 0..5 {
                all.update(task(n), expected, "o", row.clone());
            }
            store.commit(&all, soon()).await.unwrap();
        }
    });
    let (store, keys) = (embedded.store(), [task(0), task(4)]);
    let digest = Digest {
        root: story(0),
        paths: vec![vec![(EdgeType::HasTask, Direction::Out)]],
    };
    while writer.try_join_next().map(Result::unwrap).is_none() {
        let (seen, nodes) = store.digest(&digest, &keys, soon()).await.unwrap();
        let version = seen.root.unwrap();
        assert_eq!(seen.paths[0].sum, 5 * version);
        for node in nodes.into_iter().flatten() {
            let title = node.props["title"].clone();
            assert_eq!(
                (node.version, title),
                (version, json!(format!("Task {version}")))
            );
        }
        let hits = store.search(&words("task"), soon()).await.unwrap();
        let versions: Vec<_> = hits.nodes.iter().map(|node| node.version).collect();
        assert_eq!(versions, [versions[0]; 5]);
    }
}
