//! Opening, owning, committing, closing.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::*;
use fleet_embedded::{Embedded, OpenError, owner};
use fleet_graph::{CommitError, Direction, EdgeType, Guard, Index, Scan, Step, Walk};
use serde_json::json;

#[tokio::test]
async fn what_was_committed_is_there_after_every_kind_of_end() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let embedded = open(dir.path());
        let store = embedded.store();
        for n in 0..round {
            let node = store
                .get(&[story(n)], soon())
                .await
                .unwrap()
                .remove(0)
                .unwrap();
            assert_eq!(node.props, story_props(n, "DRAFT"));
        }
        let receipt = store.commit(&create_story(round), soon()).await.unwrap();
        assert_eq!(receipt.versions, vec![(story(round), 1)]);
        match round {
            0 => embedded.close().await,
            _ => drop((store, embedded)),
        }
    }
    let embedded = open(dir.path());
    let page = embedded
        .store()
        .scan(&Scan::new(Index::Stories, vec![], 10), soon())
        .await
        .unwrap();
    assert_eq!(page.nodes.len(), 3);
    assert_eq!(embedded.store().backlog(soon()).await.unwrap().0, 3);
}

#[tokio::test]
async fn a_directory_has_one_owner_and_says_who() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(owner(dir.path()).unwrap(), None);
    let embedded = open(dir.path());
    embedded
        .set_owner_note("admin http://127.0.0.1:20054")
        .unwrap();
    let refused = Embedded::open(dir.path(), options()).unwrap_err();
    let OpenError::Owned { pid, note, .. } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(*pid, std::process::id());
    assert_eq!(note, "admin http://127.0.0.1:20054");
    assert!(refused.to_string().contains(&pid.to_string()));
    assert_eq!(owner(dir.path()).unwrap().unwrap().pid, *pid);
    embedded.close().await;
    assert_eq!(owner(dir.path()).unwrap(), None);
    let error = embedded
        .store()
        .commit(&create_story(1), soon())
        .await
        .unwrap_err();
    assert!(matches!(error, CommitError::Unavailable(_)), "{error}");
    open(dir.path());
}

#[tokio::test]
async fn members_of_a_group_fail_alone_and_repeats_are_recognised() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let store = embedded.store();
    store.commit(&create_story(0), soon()).await.unwrap();
    // Everybody updates the same node from version 1 and creates one of his own.
    let racers: Vec<_> = (1..=64)
        .map(|n| {
            let store = std::sync::Arc::clone(&store);
            let mut racer = create_story(n);
            racer.update(story(0), 1, "0", story_props(n, "READY_FOR_PLANNING"));
            async move { (n, racer.clone(), store.commit(&racer, soon()).await) }
        })
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for racer in racers {
        tasks.spawn(racer);
    }
    let mut winners = Vec::new();
    while let Some(result) = tasks.join_next().await {
        let (n, racer, result) = result.unwrap();
        match result {
            Ok(receipt) => winners.push((n, racer, receipt)),
            Err(CommitError::Conflict {
                key,
                expected: 1,
                found: 2,
            }) => assert_eq!(key, story(0)),
            Err(other) => panic!("{other}"),
        }
    }
    let [(winner, racer, receipt)] = &winners[..] else {
        panic!("{} winners", winners.len())
    };
    assert_eq!(&store.commit(racer, soon()).await.unwrap(), receipt);
    let keys: Vec<_> = (1..=64).map(story).collect();
    let found = store.get(&keys, soon()).await.unwrap();
    let there: Vec<u64> = (1..=64)
        .filter(|n| found[*n as usize - 1].is_some())
        .collect();
    assert_eq!(there, vec![*winner]);
    assert_eq!(store.backlog(soon()).await.unwrap().0, 2);
    embedded.close().await;
    open(dir.path());
}

#[tokio::test]
async fn relations_need_both_ends_and_go_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let store = embedded.store();
    let mut first = commit(1);
    first.create(story(1), "1", story_props(1, "DRAFT"));
    let task = |n: u64| fleet_graph::NodeKey::new(fleet_graph::Label::Task, format!("T-{n}"));
    for n in 1..=3 {
        first.create(
            task(n),
            n.to_string(),
            fleet_graph::props(&json!({"story_id": "s-1", "status": "TODO"})),
        );
        first.relate(story(1), EdgeType::HasTask, task(n));
    }
    first.relate(task(2), EdgeType::DependsOn, task(1));
    first.relate(task(1), EdgeType::DependsOn, task(2));
    store.commit(&first, soon()).await.unwrap();

    let mut orphan = commit(2);
    orphan.create(task(9), "9", fleet_graph::Props::new());
    orphan.relate(task(9), EdgeType::DependsOn, task(8));
    let error = store.commit(&orphan, soon()).await.unwrap_err();
    assert!(
        matches!(&error, CommitError::Missing { key } if *key == task(8)),
        "{error}"
    );
    assert_eq!(store.get(&[task(9)], soon()).await.unwrap(), vec![None]);

    let walk = Walk {
        roots: vec![story(1)],
        steps: vec![
            Step {
                edge: EdgeType::HasTask,
                direction: Direction::Out,
                hops: 1,
            },
            Step {
                edge: EdgeType::DependsOn,
                direction: Direction::Out,
                hops: 3,
            },
        ],
        max_nodes: 10,
    };
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!(
        (found.nodes.len(), found.edges.len(), found.truncated),
        (4, 5, false)
    );

    let mut gone = commit(3);
    gone.delete(task(1), 1);
    gone.guard(Guard::Version(task(2), 1));
    store.commit(&gone, soon()).await.unwrap();
    let found = store.walk(&walk, soon()).await.unwrap();
    assert_eq!((found.nodes.len(), found.edges.len()), (3, 2));
    let totals = store
        .counts(
            &[
                (Index::Tasks, vec![]),
                (Index::TasksByStoryStatus, vec![json!("s-1"), json!("TODO")]),
            ],
            soon(),
        )
        .await
        .unwrap();
    assert_eq!(
        totals.iter().map(|t| t.count).collect::<Vec<_>>(),
        vec![2, 2]
    );
    embedded.close().await;
    open(dir.path());
}
