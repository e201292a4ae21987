//! Sketches: columns, paths, order, bounds, where relations lead.

use serde_json::json;

use super::world::{Place, World, assert_is, object, soon, title};
use crate::{
    Branch, Columns, Commit, Digest,
    Direction::{self, In, Out},
    Edge,
    EdgeType::{self, Affects, AlternativeOf, Contains, DependsOn, HasDecision, HasTask},
    EdgeWrite, Label, MAX_BRANCHES, MAX_PATH, MAX_WALK_NODES, NodeKey, Owner, Path, Props, Reached,
    ReadError, Search, SearchIndex, Sketch,
};

fn branch(path: &[(EdgeType, Direction)]) -> Branch {
    Branch::new(path.to_vec())
}

fn keys(reached: &Reached) -> Vec<&NodeKey> {
    assert_eq!(reached.corrupt, vec![]);
    reached.keys().collect()
}

fn edge(from: &NodeKey, kind: EdgeType, to: &NodeKey) -> Edge {
    Edge {
        from: from.clone(),
        kind,
        to: to.clone(),
        props: Props::new(),
    }
}

/// The root has all its columns, what is reached those asked for; what a node lacks it lacks.
pub async fn a_sketch_has_the_columns_asked_for(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, full, bare) = (
        world.key(Label::Story),
        world.key(Label::Task),
        world.key(Label::Task),
    );
    let props = object(json!({
        "title": "Ünïcödé 🦀", "weight": 7, "share": 0.5, "done": false,
        "words": ["b", "", "a"], "numbers": [3, -1], "nothing": [], "empty": "",
        "id": "a property may be called id", "key": "or key", "ord": "or ord", "version": 99,
        "label": "or label", "nul": "a\0b", "text": "x".repeat(5_000),
    }));
    let mut commit = world.commit();
    commit
        .create(story.clone(), "story", props.clone())
        .create(full.clone(), "a", title("first"))
        .create(bare.clone(), "b", Props::new())
        .relate(story.clone(), HasTask, full.clone())
        .relate(story.clone(), HasTask, bare.clone());
    world.must(&commit).await;
    let mut commit = world.commit();
    commit.update(full.clone(), 1, "a", props.clone());
    world.must(&commit).await;

    const SOME: &[&str] = &[
        "missing", "weight", "words", "nothing", "share", "done", "empty", "nul",
    ];
    const CONFUSING: &[&str] = &["version", "ord", "key", "label", "id", "id"];
    let with = |columns| Branch {
        columns,
        ..branch(&[(HasTask, Out)])
    };
    let seen = world
        .sketch(
            &story,
            &[
                with(Columns::All),
                with(Columns::Only(SOME)),
                with(Columns::Only(CONFUSING)),
                with(Columns::Only(&[])),
            ],
        )
        .await;
    let root = seen.root.unwrap();
    assert_eq!((&root.key, root.version), (&story, 1));
    assert_eq!((root.ord.as_str(), &root.props), ("story", &props));
    for (reached, columns) in
        seen.branches
            .iter()
            .zip([None, Some(SOME), Some(CONFUSING), Some(&[])])
    {
        assert_eq!(keys(reached), [&full, &bare]);
        assert!(!reached.truncated);
        assert_eq!(
            reached.edges,
            vec![],
            "relations only where they are wanted"
        );
        let Some(columns) = columns else {
            assert_eq!(reached.nodes[0].props, props);
            assert_eq!(reached.nodes[1].props, Props::new());
            let places: Vec<_> = reached.nodes.iter().map(|n| (n.version, &*n.ord)).collect();
            assert_eq!(places, [(2, "a"), (1, "b")]);
            assert_eq!(reached.light, vec![]);
            continue;
        };
        assert_eq!(reached.nodes, vec![]);
        let value = |name: &&str| props.get(*name).cloned().unwrap_or_default();
        let wanted: Vec<_> = columns.iter().map(value).collect();
        let nothing = vec![serde_json::Value::Null; columns.len()];
        let found: Vec<_> = reached
            .light
            .iter()
            .map(|n| (n.version, &n.values))
            .collect();
        assert_eq!(found, [(2, &wanted), (1, &nothing)], "{columns:?}");
        let versions = reached.versions();
        assert_eq!((versions.nodes, versions.sum), (2, 3));
    }

    let seen = world.sketch(&story, &[]).await;
    assert_eq!(seen.root, Some(root), "a root alone");
    let none = world.key(Label::Story);
    let seen = world
        .sketch(&none, &[with(Columns::All), branch(&[(Contains, In)])])
        .await;
    assert_eq!(seen.root, None);
    assert_eq!(seen.branches, vec![Reached::default(); 2]);
}

/// One to three steps, each along its kind and its way; what is reached twice is there once.
pub async fn branches_follow_their_paths(place: &dyn Place) {
    let world = World::open(place).await;
    let epic = world.created(Label::Epic).await;
    let (s1, s2) = (
        world.created(Label::Story).await,
        world.created(Label::Story).await,
    );
    let mut tasks = Vec::new();
    for _ in 0..4 {
        tasks.push(world.created(Label::Task).await);
    }
    let [t1, t2, t3, t4] = [&tasks[0], &tasks[1], &tasks[2], &tasks[3]];
    let mut commit = world.commit();
    for (from, kind, to) in [
        (&epic, Contains, &s1),
        (&epic, Contains, &s2),
        (&s1, HasTask, t1),
        (&s1, HasTask, t2),
        (&s2, HasTask, t3),
        (t1, DependsOn, t3),
        (t2, DependsOn, t3),
        (t3, DependsOn, t4),
    ] {
        commit.relate(from.clone(), kind, to.clone());
    }
    world.must(&commit).await;

    type Case<'a> = (&'a NodeKey, &'a [(EdgeType, Direction)], &'a [&'a NodeKey]);
    let cases: &[Case<'_>] = &[
        (&s1, &[(HasTask, Out)], &[t1, t2]),
        (&s1, &[(HasTask, In)], &[]),
        (&s1, &[(DependsOn, Out)], &[]),
        (&s1, &[(HasTask, Out), (DependsOn, Out)], &[t3]),
        (
            &s1,
            &[(HasTask, Out), (DependsOn, Out), (DependsOn, Out)],
            &[t4],
        ),
        (
            &s1,
            &[(HasTask, Out), (DependsOn, Out), (HasTask, In)],
            &[&s2],
        ),
        (&s1, &[(Contains, In)], &[&epic]),
        // Back to where it began, along the way it came.
        (&s1, &[(Contains, In), (Contains, Out)], &[&s1, &s2]),
        (
            &s1,
            &[(Contains, In), (Contains, Out), (HasTask, Out)],
            &[t1, t2, t3],
        ),
        (
            &s1,
            &[(HasTask, Out), (HasTask, In), (HasTask, Out)],
            &[t1, t2],
        ),
        (t4, &[(DependsOn, In), (DependsOn, In)], &[t1, t2]),
        (
            t4,
            &[(DependsOn, In), (DependsOn, In), (HasTask, In)],
            &[&s1],
        ),
        (t4, &[(DependsOn, Out), (DependsOn, In), (HasTask, In)], &[]),
    ];
    for (root, path, expected) in cases {
        let seen = world.sketch(root, &[branch(path), branch(path)]).await;
        assert_eq!(keys(&seen.branches[0]), *expected, "{root} {path:?}");
        assert_eq!(
            seen.branches[0], seen.branches[1],
            "a branch asked for twice"
        );
        let digest = world.digest(root, &[path.to_vec()]).await;
        assert_eq!(
            digest.paths[0].nodes,
            expected.len() as u64,
            "{root} {path:?}"
        );
    }
    // Many branches at once do not disturb each other.
    let all: Vec<_> = cases.iter().filter(|(root, ..)| *root == &s1).collect();
    let branches: Vec<_> = all.iter().map(|(_, path, _)| branch(path)).collect();
    let seen = world.sketch(&s1, &branches).await;
    for ((_, path, expected), reached) in all.iter().zip(&seen.branches) {
        assert_eq!(keys(reached), *expected, "{path:?}");
    }
    // A ring with a node that points to itself, all the way round and on.
    let mut commit = world.commit();
    commit
        .relate(t4.clone(), DependsOn, t3.clone())
        .relate(t4.clone(), DependsOn, t4.clone());
    world.must(&commit).await;
    let path = [(DependsOn, Out), (DependsOn, Out), (DependsOn, Out)];
    let seen = world.sketch(t3, &[branch(&path)]).await;
    assert_eq!(keys(&seen.branches[0]), [t3, t4]);
}

/// In order of (`ord`, key) or backwards, whatever the order of writing; a limit keeps the
/// first of that order and says that it cut.
pub async fn branches_are_ordered_and_cut(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let mut expected = Vec::new();
    let mut commit = world.commit();
    for n in 0..30_usize {
        let task = world.key(Label::Task);
        // Five tasks for each ord, and no ord in the order of the keys.
        let ord = format!("{:03}", (n * 7) % 6);
        commit.create(task.clone(), ord.clone(), title(&ord));
        commit.relate(story.clone(), HasTask, task.clone());
        commit.relate(task.clone(), DependsOn, task.clone());
        expected.push((ord, task));
    }
    commit.nodes.reverse();
    world.must(&commit).await;
    expected.sort();
    let all = branch(&[(HasTask, Out)]);
    for newest_first in [false, true] {
        if newest_first {
            expected.reverse();
        }
        for (max_nodes, truncated) in [(1, true), (7, true), (29, true), (30, false), (31, false)] {
            let wanted = Branch {
                newest_first,
                max_nodes,
                columns: Columns::Only(&["title"]),
                edges: vec![DependsOn],
                ..all.clone()
            };
            let seen = world.sketch(&story, &[wanted]).await;
            let reached = &seen.branches[0];
            let kept = &expected[..max_nodes.min(30)];
            let found: Vec<_> = reached
                .light
                .iter()
                .map(|n| (n.values[0].as_str().unwrap().to_owned(), n.key.clone()))
                .collect();
            assert_eq!(
                (&*found, reached.truncated),
                (kept, truncated),
                "{max_nodes}"
            );
            let mut own: Vec<_> = kept
                .iter()
                .map(|(_, key)| edge(key, DependsOn, key))
                .collect();
            own.sort_by(|x, y| x.from.cmp(&y.from));
            assert_eq!(reached.edges, own, "of what was kept alone");
        }
    }
    // Bounds are those of each branch.
    let one = Branch {
        max_nodes: 1,
        ..all.clone()
    };
    let seen = world.sketch(&story, &[one.clone(), all.clone(), one]).await;
    let sizes: Vec<_> = seen
        .branches
        .iter()
        .map(|b| (b.nodes.len(), b.truncated))
        .collect();
    assert_eq!(sizes, [(1, true), (30, false), (1, true)]);
}

/// What is new since somebody looked: where a property is a whole number above that, and
/// nothing else; bounds count what is left.
pub async fn what_is_new_is_asked_for_alone(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let values = [
        json!(1),
        json!(5),
        json!(6),
        json!(7),
        json!(null),
        json!("9"),
        json!(["9"]),
        json!(true),
        json!(-3),
    ];
    let mut commit = world.commit();
    let mut all = Vec::new();
    for (n, value) in values.into_iter().enumerate() {
        let task = world.key(Label::Task);
        let props = object(json!({ "title": format!("{n}"), "changed_in": value }));
        commit.create(task.clone(), format!("{n}"), props);
        commit.relate(story.clone(), HasTask, task.clone());
        all.push(task);
    }
    world.must(&commit).await;
    let above = |than, max_nodes, columns| Branch {
        above: Some(("changed_in", than)),
        max_nodes,
        columns,
        ..branch(&[(HasTask, Out)])
    };
    for columns in [Columns::All, Columns::Only(&["title"])] {
        for (than, max_nodes, expected, truncated) in [
            (5, 10, &all[2..4], false),
            (5, 2, &all[2..4], false),
            (5, 1, &all[2..3], true),
            (7, 10, &[][..], false),
            (0, 10, &all[..4], false),
            (i64::MIN, 3, &all[..3], true),
        ] {
            let wanted = above(than, max_nodes, columns);
            let seen = world.sketch(&story, &[wanted]).await;
            let reached = &seen.branches[0];
            assert_eq!(keys(reached), expected.iter().collect::<Vec<_>>(), "{than}");
            assert_eq!(reached.truncated, truncated, "{than}, at most {max_nodes}");
        }
    }
}

/// Relations that start at what is reached, of the kinds asked for, wherever they end; what
/// was deleted or undone leaves none.
pub async fn a_sketch_tells_where_relations_lead(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, other) = (
        world.created(Label::Story).await,
        world.created(Label::Story).await,
    );
    let (task, far) = (
        world.created(Label::Task).await,
        world.created(Label::Task).await,
    );
    let decisions: Vec<_> = (0..4).map(|_| world.key(Label::Decision)).collect();
    let [d1, d2, d3, d4] = [&decisions[0], &decisions[1], &decisions[2], &decisions[3]];
    let mut commit = world.commit_of(Owner::Context);
    for decision in &decisions {
        commit.create(decision.clone(), decision.id(), title("decided"));
    }
    for decision in [d1, d2, d3] {
        commit.relate(story.clone(), HasDecision, decision.clone());
    }
    commit.relate(other, HasDecision, d4.clone());
    // A ring, a decision that rests on itself, and ends outside the story.
    for (from, kind, to) in [
        (d1, DependsOn, d2),
        (d2, DependsOn, d3),
        (d3, DependsOn, d1),
        (d1, DependsOn, d1),
        (d1, DependsOn, d4),
        (d4, DependsOn, d1),
        (d1, AlternativeOf, d2),
        (d2, Affects, &far),
    ] {
        commit.relate(from.clone(), kind, to.clone());
    }
    let why = object(json!({ "why": "it's `so`", "weight": 3 }));
    let reason = Edge {
        props: why,
        ..edge(d1, Affects, &task)
    };
    commit.edges.push(EdgeWrite::Relate(reason.clone()));
    world.must(&commit).await;

    let with = |edges: &[EdgeType]| Branch {
        edges: edges.to_vec(),
        columns: Columns::Only(&[]),
        ..branch(&[(HasDecision, Out)])
    };
    let ring = [
        edge(d1, DependsOn, d1),
        edge(d1, DependsOn, d2),
        edge(d1, DependsOn, d4),
        edge(d2, DependsOn, d3),
        edge(d3, DependsOn, d1),
    ];
    let sorted = |mut edges: Vec<Edge>| {
        edges.sort_by(|a, b| (&a.from, a.kind, &a.to).cmp(&(&b.from, b.kind, &b.to)));
        edges
    };
    let seen = world
        .sketch(
            &story,
            &[
                with(&[]),
                with(&[DependsOn]),
                with(&[AlternativeOf, Affects, DependsOn]),
                with(&[HasTask]),
            ],
        )
        .await;
    for reached in &seen.branches {
        assert_eq!(keys(reached), [d1, d2, d3]);
    }
    assert_eq!(seen.branches[0].edges, vec![]);
    assert_eq!(seen.branches[1].edges, sorted(ring.to_vec()));
    let more = [
        reason.clone(),
        edge(d2, Affects, &far),
        edge(d1, AlternativeOf, d2),
    ];
    let all = sorted(ring.iter().chain(&more).cloned().collect());
    assert_eq!(seen.branches[2].edges, all);
    assert_eq!(seen.branches[3].edges, vec![]);
    // Asked for twice is asked for once; two branches to one node tell its relations both.
    let affected = Branch {
        edges: vec![Affects],
        ..branch(&[(HasDecision, Out), (DependsOn, Out)])
    };
    let seen = world
        .sketch(&story, &[with(&[DependsOn, DependsOn]), affected.clone()])
        .await;
    assert_eq!(seen.branches[0].edges, sorted(ring.to_vec()));
    assert_eq!(keys(&seen.branches[1]), [d1, d2, d3, d4]);
    assert_eq!(
        seen.branches[1].edges,
        sorted(vec![reason, edge(d2, Affects, &far)])
    );

    let mut commit = world.commit();
    commit.delete(far, 1);
    world.must(&commit).await;
    let mut commit = world.commit_of(Owner::Context);
    commit.delete(d3.clone(), 1);
    commit.edges.push(EdgeWrite::Unrelate {
        from: d1.clone(),
        kind: Affects,
        to: task,
    });
    world.must(&commit).await;
    let seen = world
        .sketch(
            &story,
            &[with(&[AlternativeOf, Affects, DependsOn]), affected],
        )
        .await;
    assert_eq!(keys(&seen.branches[0]), [d1, d2]);
    let left = vec![
        ring[0].clone(),
        ring[1].clone(),
        ring[2].clone(),
        edge(d1, AlternativeOf, d2),
    ];
    assert_eq!(seen.branches[0].edges, sorted(left));
    assert_eq!(
        (keys(&seen.branches[1]), &seen.branches[1].edges),
        (vec![d1, d2, d4], &vec![])
    );
}

/// What no store needs to be asked about is refused by every adapter in the same way.
pub async fn reads_around_a_node_are_bounded(place: &dyn Place) {
    let world = World::open(place).await;
    let root = world.created(Label::Story).await;
    let long: Path = vec![(DependsOn, Out); MAX_PATH];
    let too_long: Path = vec![(DependsOn, Out); MAX_PATH + 1];
    let nodes = |max_nodes| Branch {
        max_nodes,
        ..Branch::new(long.clone())
    };
    let columns = |names| Branch {
        columns: Columns::Only(names),
        ..Branch::new(long.clone())
    };
    let above = |name| Branch {
        above: Some((name, 0)),
        ..Branch::new(long.clone())
    };
    for branches in [
        vec![Branch::new(long.clone()); MAX_BRANCHES + 1],
        vec![Branch::new(too_long.clone())],
        vec![Branch::new(Path::new())],
        vec![columns(&["title", "n] //"])],
        vec![columns(&["1st"])],
        vec![columns(&[""])],
        vec![columns(&["title"; crate::MAX_COLUMNS + 1])],
        vec![above("n > 0 OR 1 ")],
        vec![above("")],
        vec![nodes(0)],
        vec![nodes(5), nodes(MAX_WALK_NODES + 1)],
    ] {
        let sketch = Sketch {
            root: root.clone(),
            branches,
        };
        assert_is!(
            world.a.sketch(&sketch, soon()).await,
            Err(ReadError::Invalid(_))
        );
    }
    for paths in [
        vec![long.clone(); MAX_BRANCHES + 1],
        vec![too_long],
        vec![Path::new()],
    ] {
        let digest = Digest {
            root: root.clone(),
            paths,
        };
        let refused = world
            .a
            .digest(&digest, std::slice::from_ref(&root), soon())
            .await;
        assert_is!(refused, Err(ReadError::Invalid(_)));
    }
    let most = vec![nodes(MAX_WALK_NODES); MAX_BRANCHES];
    assert!(world.sketch(&root, &most).await.root.is_some());
    let digest = world.digest(&root, &vec![long; MAX_BRANCHES]).await;
    assert_eq!(digest.root, Some(1));
}

/// What is around a node whose id begins another's id is its own.
pub async fn similar_ids_do_not_mix(place: &dyn Place) {
    let world = World::open(place).await;
    let (stem, term) = (world.word("s"), world.term("w"));
    let ids = ["1", "10", "1/0"].map(|tail| format!("{stem}-{tail}"));
    let stories: Vec<_> = ids
        .iter()
        .map(|id| NodeKey::new(Label::Story, id))
        .collect();
    let mut made = Vec::new();
    let mut commit: Commit = world.commit();
    for (n, story) in stories.iter().enumerate() {
        commit.create(story.clone(), "o", title(story.id()));
        for at in 0..=n {
            let task = NodeKey::new(Label::Task, format!("{}-{at}", story.id()));
            let props = object(json!({ "title": term, "story_id": story.id() }));
            commit.create(task.clone(), "o", props);
            commit.relate(story.clone(), HasTask, task.clone());
            made.push((story, task));
        }
    }
    world.must(&commit).await;
    for story in &stories {
        let mut own: Vec<_> = made
            .iter()
            .filter(|(of, _)| *of == story)
            .map(|(_, key)| key)
            .collect();
        own.sort();
        let seen = world.sketch(story, &[branch(&[(HasTask, Out)])]).await;
        assert_eq!(seen.root.unwrap().key, *story);
        assert_eq!(keys(&seen.branches[0]), own);
        let digest = world.digest(story, &[vec![(HasTask, Out)]]).await;
        assert_eq!(
            (digest.root, digest.paths[0].nodes),
            (Some(1), own.len() as u64)
        );
        let search = Search {
            index: SearchIndex::Tasks,
            terms: vec![term.clone()],
            story_id: Some(story.id().to_owned()),
            limit: 10,
        };
        let hits = world.b.search(&search, soon()).await.unwrap();
        assert_eq!(hits.nodes.iter().map(|n| &n.key).collect::<Vec<_>>(), own);
    }
    let none = NodeKey::new(Label::Story, format!("{}0", stories[1].id()));
    assert_eq!(world.sketch(&none, &[]).await.root, None);
}
