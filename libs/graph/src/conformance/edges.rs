//! Relationships: made with their ends, changed, undone, gone with their nodes.

use serde_json::json;

use super::world::{Place, World, assert_is, object, step, title};
use crate::{CommitError, Direction, Edge, EdgeType, EdgeWrite, Label, Props};

/// A relation whose start or end is missing, or goes in the same commit, fails the commit.
pub async fn a_missing_end_leaves_nothing(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let none = world.key(Label::Task);
    for (from, to) in [(&story, &none), (&none, &story)] {
        let made = world.key(Label::Task);
        let mut commit = world.commit();
        commit.create(made.clone(), "o", title("made"));
        commit.relate(story.clone(), EdgeType::HasTask, made.clone());
        commit.relate(from.clone(), EdgeType::HasTask, to.clone());
        commit.event(world.event("{}"));
        assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == none);
        assert_eq!(world.node(&made).await, None);
        assert_eq!(
            world.node(&none).await,
            None,
            "a missing end is not made up"
        );
    }
    let task = world.created(Label::Task).await;
    let mut commit = world.commit();
    commit.delete(task.clone(), 1);
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    assert_is!(world.must_not(&commit).await, CommitError::Missing { ref key } if *key == task);
    assert_eq!(world.version(&task).await, 1);
    let out = [step(EdgeType::HasTask, Direction::Out, 1)];
    assert_eq!(world.walk(&[&story], &out, 10).await.edges, vec![]);
    assert_eq!(world.pending().await, vec![]);
}

/// Both ends may be made in the same commit; repeating a relation changes its properties;
/// undoing one leaves the others; undoing what is not there is no error.
pub async fn relations_are_made_changed_and_undone(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, task) = (world.key(Label::Story), world.key(Label::Task));
    let out = [step(EdgeType::HasTask, Direction::Out, 1)];
    let edge = |props: Props| Edge {
        from: story.clone(),
        kind: EdgeType::HasTask,
        to: task.clone(),
        props,
    };
    let unrelate = |kind| EdgeWrite::Unrelate {
        from: story.clone(),
        kind,
        to: task.clone(),
    };

    let mut commit = world.commit();
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    commit
        .create(task.clone(), "o", title("task"))
        .create(story.clone(), "o", title("story"));
    world.must(&commit).await;
    let seen = world.walk(&[&story], &out, 10).await;
    assert_eq!(seen.edges, vec![edge(Props::new())]);
    assert_eq!(
        world.version(&story).await,
        1,
        "relating does not touch the ends"
    );

    let heavy = object(json!({ "weight": 7, "why": "it's `heavy`" }));
    let mut commit = world.commit();
    commit
        .edges
        .push(EdgeWrite::Relate(edge(object(json!({ "old": 1 })))));
    commit.edges.push(EdgeWrite::Relate(edge(heavy.clone())));
    world.must(&commit).await;
    let seen = world.walk(&[&story], &out, 10).await;
    assert_eq!(
        seen.edges,
        vec![edge(heavy)],
        "one relation, with the last properties"
    );

    let mut commit = world.commit();
    commit.edges.push(unrelate(EdgeType::DependsOn));
    world.must(&commit).await;
    assert_eq!(world.walk(&[&story], &out, 10).await.edges.len(), 1);
    let back = EdgeWrite::Unrelate {
        from: task.clone(),
        kind: EdgeType::HasTask,
        to: story.clone(),
    };
    let mut commit = world.commit();
    commit.edges.push(back);
    world.must(&commit).await;
    assert_eq!(world.walk(&[&story], &out, 10).await.edges.len(), 1);

    let mut commit = world.commit();
    commit.edges.push(unrelate(EdgeType::HasTask));
    world.must(&commit).await;
    world.must(&world.commit()).await;
    assert_eq!(world.walk(&[&story], &out, 10).await.edges, vec![]);
    let mut commit = world.commit();
    commit.edges.push(unrelate(EdgeType::HasTask));
    commit.edges.push(EdgeWrite::Unrelate {
        from: world.key(Label::Story),
        kind: EdgeType::HasTask,
        to: task.clone(),
    });
    world.must(&commit).await;

    // Within one commit the last word on a relation holds.
    let mut commit = world.commit();
    commit.edges.push(unrelate(EdgeType::HasTask));
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    world.must(&commit).await;
    assert_eq!(world.walk(&[&story], &out, 10).await.edges.len(), 1);
    let mut commit = world.commit();
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    commit.edges.push(unrelate(EdgeType::HasTask));
    world.must(&commit).await;
    assert_eq!(world.walk(&[&story], &out, 10).await.edges, vec![]);
}

/// A deleted node takes its relations along, whoever owns them; one made again under its key
/// starts without any.
pub async fn deleting_a_node_deletes_its_relations(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, other) = (
        world.created(Label::Story).await,
        world.created(Label::Task).await,
    );
    let task = world.created(Label::Task).await;
    let mut commit = world.commit();
    commit.relate(story.clone(), EdgeType::HasTask, task.clone());
    commit.relate(story.clone(), EdgeType::HasTask, other.clone());
    commit.relate(other.clone(), EdgeType::DependsOn, task.clone());
    commit.relate(task.clone(), EdgeType::DependsOn, task.clone());
    world.must(&commit).await;
    let mut commit = world.commit();
    commit.delete(task.clone(), 1);
    world.must(&commit).await;

    let steps = [
        step(EdgeType::HasTask, Direction::Out, 1),
        step(EdgeType::DependsOn, Direction::Out, 2),
    ];
    let seen = world.walk(&[&story], &steps, 10).await;
    assert_eq!(
        seen.nodes.iter().map(|n| &n.key).collect::<Vec<_>>(),
        [&story, &other]
    );
    assert_eq!(seen.edges.len(), 1);

    let mut commit = world.commit();
    commit.create(task.clone(), "o", title("again"));
    world.must(&commit).await;
    let back = step(EdgeType::HasTask, Direction::In, 1);
    assert_eq!(world.walk(&[&task], &[back], 10).await.edges, vec![]);
}
