//! Walks: kinds, directions, hops, cycles, bounds.

use super::world::{Place, World, assert_is, soon, step, title};
use crate::{
    Direction::{In, Out},
    EdgeType::{Contains, DependsOn, HasEpic, HasTask},
    Label, MAX_STEPS, MAX_WALK_NODES, NodeKey, ReadError, Step, Subgraph, Walk,
};

/// The keys and the ends of a subgraph; asserts its order and that no edge hangs loose.
fn shape(seen: &Subgraph) -> (Vec<&NodeKey>, Vec<(&NodeKey, &NodeKey)>) {
    let nodes: Vec<_> = seen.nodes.iter().map(|node| &node.key).collect();
    assert!(
        nodes.is_sorted_by(|x, y| x < y),
        "each node once, in order of its key"
    );
    let order: Vec<_> = seen
        .edges
        .iter()
        .map(|e| (&e.from, e.kind, &e.to))
        .collect();
    assert!(
        order.is_sorted_by(|x, y| x < y),
        "each edge once, in order of (from, kind, to)"
    );
    for edge in &seen.edges {
        assert!(
            nodes.contains(&&edge.from) && nodes.contains(&&edge.to),
            "no loose end: {edge:?}"
        );
    }
    (nodes, seen.edges.iter().map(|e| (&e.from, &e.to)).collect())
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// Each step goes on from what the step before reached, along one kind, one way.
pub async fn walks_follow_kind_and_direction(place: &dyn Place) {
    let world = World::open(place).await;
    let project = world.created(Label::Project).await;
    let epic = world.created(Label::Epic).await;
    let [s1, s2] = [
        world.created(Label::Story).await,
        world.created(Label::Story).await,
    ];
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(world.created(Label::Task).await);
    }
    let [t1, t2, t3, t4] = [&tasks[0], &tasks[1], &tasks[2], &tasks[3]];
    let mut commit = world.commit();
    commit.relate(project.clone(), HasEpic, epic.clone());
    commit
        .relate(epic.clone(), Contains, s1.clone())
        .relate(epic.clone(), Contains, s2.clone());
    commit
        .relate(s1.clone(), HasTask, t1.clone())
        .relate(s1.clone(), HasTask, t2.clone());
    commit.relate(s2.clone(), HasTask, t3.clone());
    commit
        .relate(t1.clone(), DependsOn, t2.clone())
        .relate(t2.clone(), DependsOn, t3.clone());
    commit.relate(t3.clone(), DependsOn, t4.clone());
    world.must(&commit).await;

    let seen = world.walk(&[&project], &[], 10).await;
    assert_eq!(shape(&seen), (vec![&project], vec![]));
    assert_eq!(seen.nodes[0].props, title("first"));
    assert_eq!(seen.nodes[0].version, 1);
    let down = [
        step(HasEpic, Out, 1),
        step(Contains, Out, 1),
        step(HasTask, Out, 1),
    ];
    let seen = world.walk(&[&project], &down, 100).await;
    let (nodes, edges) = shape(&seen);
    assert_eq!(nodes, sorted(vec![&project, &epic, &s1, &s2, t1, t2, t3]));
    assert_eq!(edges.len(), 6, "only the kinds that were walked");
    assert!(!seen.truncated);

    let seen = world
        .walk(
            &[&s1],
            &[step(HasTask, Out, 1), step(DependsOn, Out, 1)],
            100,
        )
        .await;
    let (nodes, edges) = shape(&seen);
    assert_eq!(nodes, sorted(vec![&s1, t1, t2, t3]));
    assert_eq!(
        edges,
        sorted(vec![(&s1, t1), (&s1, t2), (t1, t2), (t2, t3)])
    );
    // The next step starts from what was reached at any hop of the step before.
    let seen = world
        .walk(&[t1], &[step(DependsOn, Out, 2), step(HasTask, In, 1)], 100)
        .await;
    let (nodes, edges) = shape(&seen);
    assert_eq!(nodes, sorted(vec![t1, t2, t3, &s1, &s2]));
    assert_eq!(
        edges,
        sorted(vec![(t1, t2), (t2, t3), (&s1, t2), (&s2, t3)])
    );
    let seen = world.walk(&[t4], &[step(DependsOn, In, 8)], 100).await;
    assert_eq!(shape(&seen).0, sorted(vec![t1, t2, t3, t4]));
    let seen = world.walk(&[t1], &[step(DependsOn, Out, 2)], 100).await;
    assert_eq!(
        shape(&seen).0,
        sorted(vec![t1, t2, t3]),
        "so many hops and no more"
    );
    // A step that reaches nothing ends the walk; a missing root is left out, a repeated one once.
    let seen = world
        .walk(&[t4], &[step(HasTask, Out, 1), step(DependsOn, In, 1)], 100)
        .await;
    assert_eq!(shape(&seen), (vec![t4], vec![]));
    let none = world.key(Label::Task);
    let seen = world
        .walk(&[&none, t4, t1, t4], &[step(DependsOn, In, 1)], 100)
        .await;
    assert_eq!(shape(&seen), (sorted(vec![t1, t3, t4]), vec![(t3, t4)]));
    let seen = world.walk(&[&none], &[step(DependsOn, In, 1)], 100).await;
    assert_eq!(seen, Subgraph::default());
    assert_eq!(
        world.walk(&[], &[step(DependsOn, In, 1)], 100).await,
        Subgraph::default()
    );
    // Several roots that meet, and both ways along one kind.
    let both = [step(DependsOn, Out, 1), step(DependsOn, In, 1)];
    let seen = world.walk(&[t1, t3], &both, 100).await;
    let (nodes, edges) = shape(&seen);
    assert_eq!((nodes, edges.len()), (sorted(vec![t1, t2, t3, t4]), 2));
}

/// Rings, a node that points to itself, and a mesh where the paths outnumber the nodes.
pub async fn walks_end_in_cycles(place: &dyn Place) {
    let world = World::open(place).await;
    let mut tasks = Vec::new();
    for _ in 0..3 {
        tasks.push(world.created(Label::Task).await);
    }
    let [x, y, z] = [&tasks[0], &tasks[1], &tasks[2]];
    let mut commit = world.commit();
    commit
        .relate(x.clone(), DependsOn, y.clone())
        .relate(y.clone(), DependsOn, z.clone());
    commit
        .relate(z.clone(), DependsOn, x.clone())
        .relate(x.clone(), DependsOn, x.clone());
    world.must(&commit).await;
    for direction in [Out, In] {
        for hops in [3, 8] {
            let seen = world
                .walk(&[x], &[step(DependsOn, direction, hops)], 100)
                .await;
            let (nodes, edges) = shape(&seen);
            assert_eq!((nodes, edges.len()), (sorted(vec![x, y, z]), 4));
        }
    }
    // Twelve tasks that all wait for each other: 12^8 paths, 12 nodes, 132 edges.
    let mesh: Vec<_> = (0..12).map(|_| world.key(Label::Task)).collect();
    let mut commit = world.commit();
    for from in &mesh {
        commit.create(from.clone(), from.id(), title("mesh"));
        for to in mesh.iter().filter(|to| *to != from) {
            commit.relate(from.clone(), DependsOn, to.clone());
        }
    }
    world.must(&commit).await;
    let steps = [step(DependsOn, Out, 8), step(DependsOn, In, 8)];
    let seen = world.walk(&[&mesh[0]], &steps, 100).await;
    assert_eq!(
        (shape(&seen).0.len(), seen.edges.len(), seen.truncated),
        (12, 132, false)
    );
}

/// A bound cuts, says so, and leaves nothing hanging; impossible bounds are refused.
pub async fn walks_are_bounded(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let mut commit = world.commit();
    for _ in 0..20 {
        let task = world.key(Label::Task);
        commit
            .create(task.clone(), "o", title("x"))
            .relate(story.clone(), HasTask, task);
    }
    world.must(&commit).await;
    let out = step(HasTask, Out, 1);
    for (bound, found, truncated) in [
        (1, 1, true),
        (20, 20, true),
        (21, 21, false),
        (99, 21, false),
    ] {
        let seen = world
            .walk(&[&story], std::slice::from_ref(&out), bound)
            .await;
        let (nodes, edges) = shape(&seen);
        assert_eq!(
            (nodes.len(), seen.truncated),
            (found, truncated),
            "bound {bound}"
        );
        assert_eq!(edges.len(), found - 1, "roots are kept first");
    }
    let refused = |steps: Vec<Step>, max_nodes| Walk {
        roots: vec![story.clone()],
        steps,
        max_nodes,
    };
    for walk in [
        refused(vec![out.clone(); MAX_STEPS + 1], 10),
        refused(vec![step(HasTask, Out, 0)], 10),
        refused(vec![step(HasTask, Out, MAX_STEPS + 1)], 10),
        refused(vec![], 0),
        refused(vec![], MAX_WALK_NODES + 1),
    ] {
        assert_is!(
            world.a.walk(&walk, soon()).await,
            Err(ReadError::Invalid(_))
        );
    }
}
