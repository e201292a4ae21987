//! Digests: what they count, what changes them, and the nodes that come with them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::task::JoinSet;

use super::world::{Place, World, object, soon, title};
use crate::{
    Digest, Digested,
    Direction::{In, Out},
    Edge,
    EdgeType::{Affects, Contains, DependsOn, HasRun, HasTask},
    EdgeWrite, Label, NodeKey, Owner, Path, Props, Versions,
};

/// Distinct nodes and the sum of their versions for each path; nodes by key as `get` gives them.
pub async fn a_digest_counts_and_sums(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.created(Label::Task).await);
    }
    let mut commit = world.commit();
    for task in &tasks {
        commit.relate(story.clone(), HasTask, task.clone());
        commit.relate(task.clone(), DependsOn, tasks[0].clone());
    }
    world.must(&commit).await;
    for version in 1..4 {
        world.moved(&tasks[0], version).await;
    }
    world.moved(&story, 1).await;
    let paths: Vec<Path> = vec![
        vec![(HasTask, Out)],
        vec![(HasTask, In)],
        vec![(HasTask, Out), (DependsOn, Out)],
        vec![(HasTask, Out), (DependsOn, Out), (HasTask, In)],
        vec![(HasRun, Out)],
        vec![(HasTask, Out)],
    ];
    let of = |nodes, sum| Versions { nodes, sum };
    let expected = Digested {
        root: Some(2),
        paths: vec![of(3, 6), of(0, 0), of(1, 4), of(1, 2), of(0, 0), of(3, 6)],
    };
    assert_eq!(world.digest(&story, &paths).await, expected);
    assert_eq!(
        world.digest(&story, &[]).await,
        Digested {
            root: Some(2),
            paths: vec![]
        }
    );

    let none = world.key(Label::Story);
    let keys = [&tasks[1], &none, &story, &tasks[1]].map(Clone::clone);
    let by_key = world.b.get(&keys, soon()).await.unwrap();
    assert!(by_key[1].is_none() && by_key[3].is_some());
    let digest = |root: &NodeKey| Digest {
        root: root.clone(),
        paths: paths.clone(),
    };
    let (seen, nodes) = world
        .b
        .digest(&digest(&story), &keys, soon())
        .await
        .unwrap();
    assert_eq!((seen, nodes), (expected, by_key.clone()));
    // Without a root there is nothing around it; what has a key is there all the same.
    let (seen, nodes) = world.b.digest(&digest(&none), &keys, soon()).await.unwrap();
    let nothing = Digested {
        root: None,
        paths: vec![Versions::default(); paths.len()],
    };
    assert_eq!((seen, nodes), (nothing, by_key));
}

/// Every commit to something on the paths shows, and no other does.
pub async fn a_digest_changes_with_what_is_on_its_paths(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, other) = (
        world.created(Label::Story).await,
        world.created(Label::Story).await,
    );
    let epic = world.created(Label::Epic).await;
    let (task, stranger) = (
        world.created(Label::Task).await,
        world.created(Label::Task).await,
    );
    let mut commit = world.commit();
    commit
        .relate(epic.clone(), Contains, story.clone())
        .relate(epic.clone(), Contains, other.clone())
        .relate(story.clone(), HasTask, task.clone())
        .relate(other.clone(), HasTask, stranger.clone());
    world.must(&commit).await;
    let paths: Vec<Path> = vec![
        vec![(HasTask, Out)],
        vec![(HasTask, Out), (HasRun, Out)],
        vec![(Affects, In)],
    ];
    let mut before = world.digest(&story, &paths).await;
    let mut look = async |what: &str, changes: bool| {
        let now = world.digest(&story, &paths).await;
        assert_eq!(now != before, changes, "{what}: {before:?}, then {now:?}");
        before = now;
    };
    look("nothing", false).await;
    world.moved(&story, 1).await;
    look("the root changes", true).await;
    world.moved(&task, 1).await;
    look("a task changes", true).await;

    let run = world.key(Label::TaskRun);
    let mut commit = world.commit_of(Owner::Workflow);
    commit.create(run.clone(), "o", title("run"));
    world.must(&commit).await;
    look("a run that nothing leads to", false).await;
    let mut commit = world.commit_of(Owner::Workflow);
    commit.relate(task.clone(), HasRun, run.clone());
    world.must(&commit).await;
    look("a way to it", true).await;
    let mut commit = world.commit_of(Owner::Workflow);
    commit.update(run.clone(), 1, "o", title("run"));
    world.must(&commit).await;
    look("a change without a difference", true).await;

    let made = world.key(Label::Task);
    let mut commit = world.commit();
    commit.create(made.clone(), "o", title("made"));
    commit.relate(story.clone(), HasTask, made.clone());
    world.must(&commit).await;
    look("one more task", true).await;
    let undo = EdgeWrite::Unrelate {
        from: story.clone(),
        kind: HasTask,
        to: made.clone(),
    };
    let mut commit = world.commit();
    commit.edges.push(undo);
    world.must(&commit).await;
    look("one task less", true).await;
    world.moved(&made, 1).await;
    look("a task that is elsewhere now", false).await;

    world.moved(&other, 1).await;
    world.moved(&stranger, 1).await;
    world.moved(&epic, 1).await;
    look("the neighbours", false).await;
    let mut commit = world.commit();
    commit.relate(task.clone(), DependsOn, stranger.clone());
    commit.edges.push(EdgeWrite::Relate(Edge {
        from: story.clone(),
        kind: HasTask,
        to: task.clone(),
        props: title("the relation of a task"),
    }));
    world.must(&commit).await;
    look("relations between the same nodes", false).await;
    let mut commit = world.commit();
    commit.update(task.clone(), 1, "o", title("too late"));
    world.must_not(&commit).await;
    look("a rejected change", false).await;
    let mut commit = world.commit();
    commit.delete(task.clone(), 2);
    world.must(&commit).await;
    look("a deleted task, with the way to its run", true).await;
}

/// One writer changes every property of some nodes again and again, all in one commit. Whoever
/// gets them with a digest sees each of them whole.
pub async fn a_digest_brings_whole_nodes(place: &dyn Place) {
    const VERSIONS: i64 = 100;
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let tasks: Vec<_> = (0..4).map(|_| world.key(Label::Task)).collect();
    let props_of = |version: i64| -> Props {
        let text = "x".repeat(usize::try_from(version % 60).unwrap());
        let all = (0..16).map(|n| (format!("p{n}"), format!("{version}:{text}").into()));
        object(serde_json::Value::Object(all.collect()))
    };
    let mut commit = world.commit();
    for task in &tasks {
        commit.create(task.clone(), "o", props_of(1));
        commit.relate(story.clone(), HasTask, task.clone());
    }
    world.must(&commit).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for n in 0..4 {
        let store = if n % 2 == 0 { &world.a } else { &world.b };
        let (store, keys, done) = (store.clone(), tasks.clone(), done.clone());
        let digest = Digest {
            root: story.clone(),
            paths: vec![vec![(HasTask, Out)]],
        };
        readers.spawn(async move {
            let mut last = 0;
            while !done.load(Ordering::Relaxed) {
                let (seen, nodes) = store.digest(&digest, &keys, soon()).await.unwrap();
                assert_eq!((seen.root, seen.paths[0].nodes), (Some(1), 4));
                assert!(seen.paths[0].sum >= last, "versions do not go back");
                last = seen.paths[0].sum;
                for node in nodes.into_iter().map(Option::unwrap) {
                    assert_eq!(node.props, props_of(node.version), "half a commit was seen");
                }
            }
        });
    }
    for version in 1..VERSIONS {
        let mut commit = world.commit();
        for task in &tasks {
            commit.update(task.clone(), version, "o", props_of(version + 1));
        }
        world.b.commit(&commit, soon()).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    readers.join_all().await;
    let paths = [vec![(HasTask, Out)]];
    let sum = world.digest(&story, &paths).await.paths[0].sum;
    assert_eq!(sum, 4 * VERSIONS);
}
