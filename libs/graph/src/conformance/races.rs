//! Commits that meet: exactly one wins, and conditions hold until the end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{sync::Barrier, task::JoinSet};

use super::world::{Place, World, assert_is, soon, step, title};
use crate::{
    Commit, CommitError, Direction, EdgeType, EdgeWrite, Guard, Label, NodeKey, Props, Receipt,
    Store,
};

/// How many commit at once.
const CLIENTS: usize = 32;
/// How often.
const ROUNDS: usize = 12;

type Outcome = Result<Receipt, CommitError>;

/// Sends all commits at once, over both handles in turn; the outcomes in the order given.
pub(super) async fn at_once(world: &World, commits: Vec<Commit>) -> Vec<Outcome> {
    let barrier = Arc::new(Barrier::new(commits.len()));
    let mut tasks = JoinSet::new();
    for (n, commit) in commits.into_iter().enumerate() {
        let store: Arc<dyn Store> = if n % 2 == 0 {
            world.a.clone()
        } else {
            world.b.clone()
        };
        let barrier = barrier.clone();
        tasks.spawn(async move {
            barrier.wait().await;
            (n, store.commit(&commit, soon()).await)
        });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort_by_key(|(n, _)| *n);
    outcomes.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The place of the only success.
pub(super) fn only_winner(outcomes: &[Outcome]) -> usize {
    let winners: Vec<_> = (0..outcomes.len())
        .filter(|n| outcomes[*n].is_ok())
        .collect();
    assert_eq!(winners.len(), 1, "exactly one wins: {outcomes:?}");
    winners[0]
}

/// 32 clients create one node: one succeeds, the others learn that it exists, and what
/// they brought along is not there.
pub async fn one_of_many_creates_wins(place: &dyn Place) {
    let world = World::open(place).await;
    for round in 1..=ROUNDS {
        let key = world.key(Label::Story);
        let rows: Vec<_> = (0..CLIENTS).map(|_| world.key(Label::Task)).collect();
        let commits = rows.iter().map(|row| {
            let mut commit = world.commit();
            commit.create(row.clone(), "o", title("by-product"));
            commit
                .create(key.clone(), "o", title(row.id()))
                .event(world.event("{}"));
            commit
        });
        let outcomes = at_once(&world, commits.collect()).await;
        let winner = only_winner(&outcomes);
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            assert_is!(outcome, CommitError::AlreadyExists { key: ref k } if *k == key);
        }
        let node = world.node(&key).await.unwrap();
        assert_eq!((node.version, node.props), (1, title(rows[winner].id())));
        let there = world.b.get(&rows, soon()).await.unwrap();
        assert!(
            there
                .iter()
                .enumerate()
                .all(|(n, row)| row.is_some() == (n == winner))
        );
        assert_eq!(world.pending().await.len(), round);
    }
}

/// 32 clients update one node from the version they all saw: one succeeds, the others learn
/// which version is there now.
pub async fn one_of_many_updates_wins(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.created(Label::Story).await;
    for version in 1..=i64::try_from(ROUNDS).unwrap() {
        let commits: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let mut commit = world.commit();
                commit.update(key.clone(), version, "o", title(&format!("{version}/{n}")));
                commit
            })
            .collect();
        let outcomes = at_once(&world, commits).await;
        let winner = only_winner(&outcomes);
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            assert_is!(
                outcome,
                CommitError::Conflict { key: ref k, expected, found }
                    if *k == key && expected == version && found == version + 1
            );
        }
        let node = world.node(&key).await.unwrap();
        assert_eq!(
            (node.version, node.props),
            (version + 1, title(&format!("{version}/{winner}")))
        );
    }
}

/// A guarded node stays as it was until the commit is done: of two commits that each write
/// what the other guards, one wins. By version, and by absence.
pub async fn guards_hold_while_others_write(place: &dyn Place) {
    let world = World::open(place).await;
    let (x, y) = (
        world.created(Label::Story).await,
        world.created(Label::Story).await,
    );
    let cross = |guard: &NodeKey, guarded: i64, written: &NodeKey, expected: i64| {
        let mut commit = world.commit();
        commit.guard(Guard::Version(guard.clone(), guarded));
        commit.update(written.clone(), expected, "o", title("crossed"));
        commit
    };
    for _ in 0..ROUNDS {
        let (vx, vy) = (world.version(&x).await, world.version(&y).await);
        let outcomes = at_once(&world, vec![cross(&x, vx, &y, vy), cross(&y, vy, &x, vx)]).await;
        let winner = only_winner(&outcomes);
        assert_is!(&outcomes[1 - winner], Err(CommitError::Conflict { .. }));
        assert_eq!(
            world.version(&x).await + world.version(&y).await,
            vx + vy + 1
        );
    }
    let create = |absent: &NodeKey, made: &NodeKey| {
        let mut commit = world.commit();
        commit
            .guard(Guard::Absent(absent.clone()))
            .create(made.clone(), "o", title("made"));
        commit
    };
    for _ in 0..ROUNDS {
        let (p, q) = (world.key(Label::Task), world.key(Label::Task));
        let outcomes = at_once(&world, vec![create(&p, &q), create(&q, &p)]).await;
        let winner = only_winner(&outcomes);
        assert_is!(
            &outcomes[1 - winner],
            Err(CommitError::AlreadyExists { .. })
        );
        assert_eq!(world.version(&p).await + world.version(&q).await, 1);
    }
    // A guard alone is no write: many may hold at once, and none moves the version.
    let before = world.version(&x).await;
    let commits = (0..CLIENTS).map(|_| {
        let mut commit = world.commit();
        commit
            .guard(Guard::Version(x.clone(), before))
            .guard(Guard::Present(y.clone()));
        commit.create(world.key(Label::Task), "o", title("child"));
        commit
    });
    for outcome in at_once(&world, commits.collect()).await {
        outcome.unwrap();
    }
    assert_eq!(world.version(&x).await, before);
}

/// Relating to a node that another commit deletes at the same time: either the relation came
/// first and went with the node, or the node is missing. Never half of it.
pub async fn an_end_deleted_meanwhile_leaves_no_half_relation(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    for _ in 0..ROUNDS {
        let end = world.created(Label::Task).await;
        let made = world.key(Label::Task);
        let mut relate = world.commit();
        relate.create(made.clone(), "o", title("made"));
        relate.relate(story.clone(), EdgeType::HasTask, end.clone());
        relate.relate(made.clone(), EdgeType::DependsOn, end.clone());
        let mut delete = world.commit();
        delete.delete(end.clone(), 1);
        let mut undo = world.commit();
        undo.edges.push(EdgeWrite::Unrelate {
            from: story.clone(),
            kind: EdgeType::HasTask,
            to: end.clone(),
        });
        let mut outcomes = at_once(&world, vec![relate, delete, undo]).await;
        outcomes.pop().unwrap().unwrap();
        outcomes.pop().unwrap().unwrap();
        let related = outcomes.pop().unwrap();
        match &related {
            Ok(_) => assert_eq!(world.version(&made).await, 1),
            Err(CommitError::Missing { key }) => {
                assert_eq!((key, world.version(&made).await), (&end, 0));
            }
            Err(other) => panic!("related or missing, not {other:?}"),
        }
        assert_eq!(world.node(&end).await, None);
        let steps = [step(EdgeType::HasTask, Direction::Out, 1)];
        assert_eq!(world.walk(&[&story], &steps, 10).await.edges, vec![]);
    }
}

/// One writer changes every property of a node again and again; whoever reads it meanwhile
/// sees one version whole, never some properties of one and some of another.
pub async fn a_read_never_sees_half_a_commit(place: &dyn Place) {
    const VERSIONS: i64 = 150;
    let world = World::open(place).await;
    let key = world.key(Label::Story);
    let props_of = |version: i64| -> Props {
        let text = "x".repeat(usize::try_from(version % 60).unwrap());
        (0..24)
            .map(|n| (format!("p{n}"), format!("{version}:{text}").into()))
            .collect()
    };
    let mut commit = world.commit();
    commit.create(key.clone(), "o", props_of(1));
    world.a.commit(&commit, soon()).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for n in 0..6 {
        let store = if n % 2 == 0 { &world.a } else { &world.b };
        let (store, key, done) = (store.clone(), key.clone(), done.clone());
        readers.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let found = store.get(std::slice::from_ref(&key), soon()).await.unwrap();
                let node = found.into_iter().next().flatten().unwrap();
                assert_eq!(node.props, props_of(node.version), "half a commit was seen");
            }
        });
    }
    for version in 1..VERSIONS {
        let mut commit = world.commit();
        commit.update(key.clone(), version, "o", props_of(version + 1));
        world.b.commit(&commit, soon()).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    readers.join_all().await;
}
