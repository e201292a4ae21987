//! Each precondition with its error, the order of the checks, and the rules of the port.

use serde_json::json;

use super::world::{Place, World, assert_is, object, soon, title};
use crate::{
    Answer, Commit, CommitError, EdgeType, EdgeWrite, Guard, Label, MAX_WRITES, NodeKey, Owner,
    Props,
};

/// Create, update, delete and the three guards against a missing node, the right version
/// and a wrong one.
pub async fn each_condition_has_its_error(place: &dyn Place) {
    let world = World::open(place).await;
    let none = world.key(Label::Story);
    let node = world.created(Label::Story).await;
    world.moved(&node, 1).await;
    let reject = async |build: &dyn Fn(&mut Commit)| {
        let mut commit = world.commit();
        build(&mut commit);
        let by_product = world.key(Label::Task);
        commit.create(by_product.clone(), "o", title("must not be"));
        let error = world.must_not(&commit).await;
        assert_eq!(
            world.node(&by_product).await,
            None,
            "nothing of a rejected commit is there"
        );
        error
    };

    let e = reject(&|c| {
        c.create(node.clone(), "o", Props::new());
    })
    .await;
    assert_is!(e, CommitError::AlreadyExists { ref key } if *key == node);
    let e = reject(&|c| {
        c.update(node.clone(), 1, "o", Props::new());
    })
    .await;
    assert_is!(e, CommitError::Conflict { ref key, expected: 1, found: 2 } if *key == node);
    let e = reject(&|c| {
        c.update(node.clone(), 3, "o", Props::new());
    })
    .await;
    assert_is!(e, CommitError::Conflict { ref key, expected: 3, found: 2 } if *key == node);
    let e = reject(&|c| {
        c.update(none.clone(), 1, "o", Props::new());
    })
    .await;
    assert_is!(e, CommitError::Missing { ref key } if *key == none);
    let e = reject(&|c| {
        c.delete(node.clone(), 1);
    })
    .await;
    assert_is!(e, CommitError::Conflict { ref key, expected: 1, found: 2 } if *key == node);
    let e = reject(&|c| {
        c.delete(none.clone(), 1);
    })
    .await;
    assert_is!(e, CommitError::Missing { ref key } if *key == none);
    let e = reject(&|c| {
        c.guard(Guard::Present(none.clone()));
    })
    .await;
    assert_is!(e, CommitError::Missing { ref key } if *key == none);
    let e = reject(&|c| {
        c.guard(Guard::Absent(node.clone()));
    })
    .await;
    assert_is!(e, CommitError::AlreadyExists { ref key } if *key == node);
    let e = reject(&|c| {
        c.guard(Guard::Version(node.clone(), 1));
    })
    .await;
    assert_is!(e, CommitError::Conflict { ref key, expected: 1, found: 2 } if *key == node);
    let e = reject(&|c| {
        c.guard(Guard::Version(none.clone(), 2));
    })
    .await;
    assert_is!(e, CommitError::Missing { ref key } if *key == none);
    assert_eq!(world.version(&node).await, 2);

    let present = world.created(Label::Task).await;
    let mut commit = world.commit();
    commit
        .guard(Guard::Present(present.clone()))
        .guard(Guard::Absent(none.clone()))
        .guard(Guard::Version(node.clone(), 2));
    world.must(&commit).await;
    assert_eq!(world.node(&none).await, None, "a guard writes nothing");
    let guarded = world.node(&node).await.unwrap();
    assert_eq!((guarded.version, guarded.props), (2, title("moved on")));
    let mut commit = world.commit();
    commit.create(none.clone(), "o", title("now"));
    world.must(&commit).await;
    assert_eq!(
        world.version(&none).await,
        1,
        "what was guarded as absent can be created"
    );
}

/// When everything is wrong, the errors come one by one in the documented order as the
/// causes go: request, answer, guards, nodes, edges.
pub async fn checks_happen_in_the_documented_order(place: &dyn Place) {
    let world = World::open(place).await;
    let answer = Answer {
        consumer: world.word("consumer"),
        event: world.event_id(),
    };
    let mut first = world.commit();
    first.request = Some(world.request("r-1", "print-1", b"answer"));
    first.answers = Some(answer.clone());
    world.must(&first).await;

    let [stale, exists] = [
        world.created(Label::Story).await,
        world.created(Label::Task).await,
    ];
    world.moved(&stale, 1).await;
    let [gone, lost_from, lost_to] = [(); 3].map(|()| world.key(Label::Task));
    let mut commit = world.commit();
    commit.request = Some(world.request("r-1", "print-2", b"other"));
    commit.answers = Some(answer);
    commit
        .guard(Guard::Version(stale.clone(), 1))
        .guard(Guard::Present(gone.clone()));
    commit
        .create(exists.clone(), "o", title("x"))
        .update(lost_to.clone(), 7, "o", title("x"));
    commit.relate(lost_from.clone(), EdgeType::DependsOn, exists.clone());
    commit.event(world.event("{}"));

    assert_is!(world.must_not(&commit).await, CommitError::RequestMismatch);
    commit.request = Some(world.request("r-1", "print-1", b"other"));
    assert_is!(
        world.must_not(&commit).await,
        CommitError::Replayed { ref response } if response == b"answer"
    );
    commit.request = None;
    assert_is!(world.must_not(&commit).await, CommitError::AlreadyApplied);
    commit.answers = None;
    assert_is!(
        world.must_not(&commit).await,
        CommitError::Conflict { ref key, expected: 1, found: 2 } if *key == stale
    );
    commit.guards.remove(0);
    assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == gone);
    commit.guards.clear();
    assert_is!(
        world.must_not(&commit).await,
        CommitError::AlreadyExists { ref key } if *key == exists
    );
    commit.nodes.remove(0);
    assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == lost_to);
    // The order of the writes decides, not the order of the keys.
    commit.nodes.insert(
        0,
        crate::NodeWrite::Delete {
            key: gone.clone(),
            expected: 1,
        },
    );
    assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == gone);
    commit.nodes.reverse();
    assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == lost_to);
    commit.nodes.clear();
    assert_is!(
        world.must_not(&commit).await,
        CommitError::Missing { ref key } if *key == lost_from
    );
    commit.edges.clear();
    world.must(&commit).await;
    assert_eq!(
        world.pending().await.len(),
        1,
        "one commit succeeded, with one event"
    );
}

/// A commit that fails in its last condition has not stored its request, its answer, its
/// events or any of its nodes.
pub async fn a_rejected_commit_leaves_nothing(place: &dyn Place) {
    let world = World::open(place).await;
    let [made, absent] = [(); 2].map(|()| world.key(Label::Task));
    let parent = world.created(Label::Story).await;
    let mut commit = world.commit();
    commit.create(made.clone(), "o", title("made"));
    commit.update(parent.clone(), 1, "o", title("changed"));
    commit.relate(parent.clone(), EdgeType::HasTask, made.clone());
    commit.event(world.event("{}"));
    commit.request = Some(world.request("r-1", "print", b"answer"));
    commit.answers = Some(Answer {
        consumer: world.word("c"),
        event: world.event_id(),
    });
    let mut doomed = commit.clone();
    doomed.relate(made.clone(), EdgeType::DependsOn, absent.clone());
    assert_is!(world.must_not(&doomed).await, CommitError::Missing { ref key } if *key == absent);
    assert_eq!(world.node(&made).await, None);
    assert_eq!(world.node(&absent).await, None);
    assert_eq!(world.node(&parent).await.unwrap().props, title("first"));
    assert_eq!(world.pending().await, vec![]);
    let key = commit.request.as_ref().unwrap().key.clone();
    assert_eq!(world.b.past_request(&key, soon()).await.unwrap(), None);
    // Without the bad edge the same commit succeeds, under the same id.
    world.must(&commit).await;
    assert_eq!(world.version(&made).await, 1);
    assert_eq!(world.pending().await.len(), 1);
}

/// A service writes its own labels and relationship types only.
pub async fn foreign_kinds_are_refused(place: &dyn Place) {
    let world = World::open(place).await;
    let run = world.key(Label::TaskRun);
    let mut commit = world.commit();
    commit.create(run.clone(), "o", title("x"));
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    assert_eq!(world.node(&run).await, None);
    commit.writer = Owner::Workflow;
    world.must(&commit).await;

    let (story, task) = (
        world.created(Label::Story).await,
        world.created(Label::Task).await,
    );
    let mut commit = world.commit();
    commit.writer = Owner::Workflow;
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    // Relating to another service's nodes, by a type of one's own, is allowed.
    let mut commit = world.commit();
    commit.writer = Owner::Workflow;
    commit.relate(task.clone(), EdgeType::HasRun, run);
    world.must(&commit).await;

    // A type that two services write: each from its own nodes, never crosswise.
    let decision = world.key(Label::Decision);
    let mut commit = world.commit_of(Owner::Context);
    commit.create(decision.clone(), "o", title("decided"));
    world.must(&commit).await;
    for (writer, from, to, allowed) in [
        (Owner::Context, &decision, &task, true),
        (Owner::Planning, &task, &decision, true),
        (Owner::Planning, &decision, &task, false),
        (Owner::Context, &task, &decision, false),
        (Owner::Workflow, &task, &task, false),
    ] {
        let mut relate = world.commit_of(writer);
        relate.relate(from.clone(), EdgeType::DependsOn, to.clone());
        let mut undo = world.commit_of(writer);
        undo.edges.push(EdgeWrite::Unrelate {
            from: from.clone(),
            kind: EdgeType::DependsOn,
            to: to.clone(),
        });
        for commit in [relate, undo] {
            if allowed {
                world.must(&commit).await;
            } else {
                assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
            }
        }
    }
}

/// What no store needs to be asked about is refused by every adapter in the same way.
pub async fn commits_that_break_a_rule_are_refused(place: &dyn Place) {
    let world = World::open(place).await;
    let node = world.created(Label::Story).await;
    let refuse = async |what: &str, build: &dyn Fn(&mut Commit)| {
        let mut commit = world.commit();
        build(&mut commit);
        let result = world.a.commit(&commit, soon()).await;
        assert!(
            matches!(result, Err(CommitError::Invalid(_))),
            "{what}: {result:?}"
        );
    };
    refuse("one node written twice", &|c| {
        c.update(node.clone(), 1, "o", Props::new())
            .delete(node.clone(), 1);
    })
    .await;
    refuse("guarded and written", &|c| {
        c.update(node.clone(), 1, "o", Props::new())
            .guard(Guard::Present(node.clone()));
    })
    .await;
    refuse("expecting version 0", &|c| {
        c.update(node.clone(), 0, "o", Props::new());
    })
    .await;
    refuse("no ord", &|c| {
        c.update(node.clone(), 1, "", Props::new());
    })
    .await;
    for id in [
        "",
        "a b",
        "a\nb",
        "é",
        "a\0b",
        &"x".repeat(crate::MAX_NODE_ID + 1),
    ] {
        let key = NodeKey::new(Label::Story, id);
        refuse("a bad id", &|c| {
            c.create(key.clone(), "o", Props::new());
        })
        .await;
        refuse("a bad guarded id", &|c| {
            c.guard(Guard::Absent(key.clone()));
        })
        .await;
        refuse("a bad end", &|c| {
            c.relate(node.clone(), EdgeType::Contains, key.clone());
        })
        .await;
    }
    for value in [
        json!({ "a": 1 }),
        json!([[1]]),
        json!([{}]),
        json!([null]),
        json!([1, "a"]),
        json!([1, 1.5]),
        json!(u64::MAX),
        json!([u64::MAX]),
    ] {
        let props = object(json!({ "value": value }));
        refuse("a bad value", &|c| {
            c.update(node.clone(), 1, "o", props.clone());
        })
        .await;
    }
    refuse("too many writes", &|c| {
        for _ in 0..=MAX_WRITES {
            c.create(world.key(Label::Task), "o", Props::new());
        }
    })
    .await;
    assert_eq!(world.version(&node).await, 1);
}
