//! What callers see when connections break, servers are away and calls are cut off.

#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

mod common;
#[path = "common/proxy.rs"]
mod proxy;

use std::time::Duration;

use common::Server;
use fleet_graph::{
    Commit, CommitError, Deadline, GraphStore, Index, Label, NodeKey, Outbox, Owner, Props,
    ReadError, Scan,
};
use fleet_graph_neo4j::Neo4j;
use fleet_types::{EventId, Timestamp};
use proxy::{Mode, Proxy};
use tokio::time::timeout;
use uuid::Uuid;

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_secs(1);
/// How much later than its deadline an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn long() -> Deadline {
    Deadline::after(LONG)
}

fn short() -> Deadline {
    Deadline::after(SHORT)
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's ids need no port, only to be fresh"
)]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// A handle through a proxy, one beside it, and a node to work on.
struct World {
    proxy: Proxy,
    through: Neo4j,
    direct: Neo4j,
    key: NodeKey,
}

impl World {
    async fn open() -> Option<Self> {
        let server = Server::from_env().await?;
        let deployment = format!("f{}", fresh().simple());
        let direct = server.store(&deployment);
        direct.migrate(long()).await.unwrap();
        let proxy = Proxy::start(&server.uri).await;
        let uri = format!("bolt://{}", proxy.address);
        let through = Server { uri, ..server }.store(&deployment);
        let key = NodeKey::new(Label::Story, format!("s-{}", fresh()));
        let mut create = commit();
        create.create(key.clone(), "o", Props::new());
        direct.commit(&create, long()).await.unwrap();
        Some(Self {
            proxy,
            through,
            direct,
            key,
        })
    }

    /// An update from `expected` with one event.
    fn update(&self, expected: i64) -> Commit {
        let mut commit = commit();
        commit.update(self.key.clone(), expected, "o", Props::new());
        commit.event(fleet_graph::OutboxEvent {
            id: EventId::mint(fresh()),
            subject: "planning.story.updated".into(),
            source: "fleet-planning".into(),
            aggregate: self.key.id().into(),
            aggregate_version: expected + 1,
            time: commit.time,
            payload: "{}".into(),
            correlation: String::new(),
            causation: String::new(),
            traceparent: String::new(),
        });
        commit
    }

    async fn version(&self) -> i64 {
        let found = self
            .direct
            .get(std::slice::from_ref(&self.key), long())
            .await
            .unwrap();
        found[0].as_ref().map_or(0, |node| node.version)
    }

    async fn pending(&self) -> usize {
        let end_of_time = Timestamp::from_millis(i64::MAX);
        self.direct
            .pending(end_of_time, 100, long())
            .await
            .unwrap()
            .len()
    }
}

fn commit() -> Commit {
    Commit::new(
        fresh(),
        Owner::Planning,
        Timestamp::from_millis(1_700_000_000_000),
    )
}

#[tokio::test]
async fn a_lost_commit_reply_is_the_success_it_was() {
    let Some(world) = World::open().await else {
        return;
    };
    let faults = [
        Mode::CutAfterCommit,
        Mode::SilenceAfterCommit,
        Mode::CutBeforeCommit,
    ];
    let mut version = 1;
    for round in 0..3 {
        for fault in faults {
            world.proxy.set(fault);
            let update = world.update(version);
            // A silent connection is given up after half of the time.
            let deadline = Deadline::after(Duration::from_secs(6));
            let receipt = world.through.commit(&update, deadline).await.unwrap();
            version += 1;
            assert_eq!(
                receipt.versions,
                vec![(world.key.clone(), version)],
                "{fault:?}"
            );
            assert_eq!(world.version().await, version, "{fault:?}: applied once");
            let done = usize::try_from(version - 1).unwrap();
            assert_eq!(
                world.proxy.fired(),
                done,
                "{fault:?} {round}: the fault happened"
            );
            assert_eq!(world.pending().await, done);
        }
    }
}

#[tokio::test]
async fn somebody_elses_conflict_is_still_a_conflict_after_a_lost_connection() {
    let Some(world) = World::open().await else {
        return;
    };
    world.direct.commit(&world.update(1), long()).await.unwrap();
    world.proxy.set(Mode::CutBeforeCommit);
    let refused = world
        .through
        .commit(&world.update(1), long())
        .await
        .unwrap_err();
    assert!(
        matches!(
            refused,
            CommitError::Conflict {
                expected: 1,
                found: 2,
                ..
            }
        ),
        "{refused:?}"
    );
    assert_eq!(world.pending().await, 1);
}

#[tokio::test]
async fn away_means_unavailable_in_time_and_back_means_back() {
    let Some(world) = World::open().await else {
        return;
    };
    let scan = Scan::new(Index::Stories, vec![], 1);
    let mut version = 1;
    for fault in [
        Mode::Reset,
        Mode::BlackHole,
        Mode::Delay(Duration::from_secs(5)),
    ] {
        // A warm connection, so that the fault meets one in use as well as new ones.
        world.through.ping(long()).await.unwrap();
        world.proxy.set(fault);
        let update = world.update(version);
        let calls = async {
            let committed = world.through.commit(&update, short()).await;
            let unavailable = match committed {
                Err(CommitError::Unavailable(unavailable)) => unavailable,
                other => panic!("{fault:?}: {other:?}"),
            };
            assert!(unavailable.retryable, "{unavailable:?}");
            assert_eq!(unavailable.store, "neo4j");
            let read = world
                .through
                .get(std::slice::from_ref(&world.key), short())
                .await;
            assert!(
                matches!(read, Err(ReadError::Unavailable(_))),
                "{fault:?}: {read:?}"
            );
            let read = world.through.scan(&scan, short()).await;
            assert!(
                matches!(read, Err(ReadError::Unavailable(_))),
                "{fault:?}: {read:?}"
            );
            world.through.ping(short()).await.unwrap_err();
        };
        timeout(4 * SHORT + SLACK, calls)
            .await
            .expect("an answer inside each deadline");
        world.proxy.set(Mode::Pass);
        // The same commit again: applied now, or found applied.
        world.through.commit(&update, long()).await.unwrap();
        version += 1;
        assert_eq!(world.version().await, version, "{fault:?}");
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_is_not_noticed() {
    let Some(world) = World::open().await else {
        return;
    };
    let reads = || async {
        let calls = (0..8).map(|_| world.through.ping(long()));
        for answer in futures_join(calls).await {
            answer.unwrap();
        }
    };
    for _ in 0..5 {
        reads().await;
        // Every connection dies; the next calls open new ones.
        let opened = world.proxy.opened();
        world.proxy.kill();
        reads().await;
        assert!(world.proxy.opened() > opened, "the old ones were dead");
    }
    let opened = world.proxy.opened();
    reads().await;
    assert_eq!(world.proxy.opened(), opened, "healthy connections are kept");
}

/// All at once, without a crate for it.
async fn futures_join<F: Future>(calls: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut calls: Vec<_> = calls.map(|call| (Box::pin(call), None)).collect();
    std::future::poll_fn(|context| {
        for (call, answer) in &mut calls {
            if answer.is_none()
                && let std::task::Poll::Ready(done) = call.as_mut().poll(context)
            {
                *answer = Some(done);
            }
        }
        match calls.iter().all(|(_, answer)| answer.is_some()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    calls.into_iter().filter_map(|(_, answer)| answer).collect()
}

#[tokio::test]
async fn a_commit_that_was_given_up_holds_no_locks() {
    let Some(world) = World::open().await else {
        return;
    };
    // The server has the locks, the client never hears of it and gives up.
    for version in 1..=5 {
        world.proxy.set(Mode::SilenceAfterRun);
        let update = world.update(version);
        let abandoned = timeout(
            Duration::from_millis(300),
            world.through.commit(&update, long()),
        );
        // Cut off by its caller, not by its deadline.
        assert!(abandoned.await.is_err(), "the call was waiting");
        assert_eq!(world.proxy.fired(), usize::try_from(version).unwrap());
        world
            .direct
            .commit(&world.update(version), long())
            .await
            .unwrap();
        let conflict = world.through.commit(&update, long()).await.unwrap_err();
        assert!(
            matches!(conflict, CommitError::Conflict { .. }),
            "{conflict:?}"
        );
    }
    assert_eq!(world.version().await, 6);
}

#[tokio::test]
async fn calls_that_were_cut_off_leave_no_wrong_answers_behind() {
    let Some(world) = World::open().await else {
        return;
    };
    let mut keys = vec![world.key.clone()];
    for n in 0..20 {
        let key = NodeKey::new(Label::Task, format!("T-{}-{n}", fresh()));
        let mut create = commit();
        create.create(key.clone(), "o", Props::new());
        world.through.commit(&create, long()).await.unwrap();
        keys.push(key);
    }
    let mut cut = 0;
    for round in 0..200_u64 {
        let key = &keys[usize::try_from(round).unwrap() % keys.len()];
        // From never sent to answered: 0 to 4 ms.
        let patience = Duration::from_micros(20 * (round % 200));
        let asked = [keys[0].clone(), keys[1].clone()];
        cut += usize::from(
            timeout(patience, world.through.get(&asked, long()))
                .await
                .is_err(),
        );
        let found = world
            .through
            .get(std::slice::from_ref(key), long())
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].as_ref().map(|node| &node.key),
            Some(key),
            "round {round}"
        );
    }
    assert!(cut > 10, "only {cut} calls were cut off");
}

#[tokio::test]
async fn more_callers_than_connections_wait_their_turn() {
    let Some(server) = Server::from_env().await else {
        return;
    };
    let mut settings = server.settings(&format!("f{}", fresh().simple()));
    settings.max_connections = 2;
    let store = Neo4j::connect(settings).unwrap();
    let calls = (0..40).map(|_| store.ping(long()));
    for answer in futures_join(calls).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn wrong_credentials_are_no_outage_and_no_secret_is_told() {
    let Some(server) = Server::from_env().await else {
        return;
    };
    let mut settings = server.settings("d");
    settings.password = "planted-secret".to_owned().into();
    assert!(!format!("{settings:?}").contains("planted-secret"));
    let store = Neo4j::connect(settings).unwrap();
    let refused = store.ping(long()).await.unwrap_err();
    assert!(!refused.retryable, "{refused:?}");
    assert!(!format!("{refused:?}").contains("planted-secret"));

    let bad = |change: fn(&mut fleet_graph_neo4j::Settings)| {
        let mut settings = server.settings("d");
        change(&mut settings);
        Neo4j::connect(settings).err().map(|e| e.to_string())
    };
    assert!(bad(|s| s.uri = "http://127.0.0.1:1".into()).is_some());
    assert!(bad(|s| s.max_connections = 0).is_some());
    assert!(bad(|s| s.deployment = String::new()).is_some());
    assert!(bad(|_| {}).is_none());
}
