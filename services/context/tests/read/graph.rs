//! GetGraphRelationships and SearchDecisions.

use std::collections::BTreeSet;

use fleet_graph::{Commit, EdgeType, Label, Owner};
use fleet_proto::context::v1 as pb;
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Clock as _, Ids as _};
use serde_json::json;
use tonic::Code;

use crate::seed::{Seed, at, key, props};
use crate::world::{World, code, on_every_backend, soon};

on_every_backend!(
    a_neighbourhood_is_what_the_role_may_see,
    nodes_that_share_an_id_are_told_apart,
    hits_come_by_weight,
    what_may_not_be_seen_neither_displaces_hits_nor_counts,
);

async fn a_neighbourhood_is_what_the_role_may_see(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let sibling = Seed::story(&*store, &format!("s-{}-b", world.tag)).await;
    let (project, epic) = (format!("PROJ-{}", world.tag), format!("E-{}", world.tag));
    let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
    let row = json!({"project_id": project, "name": "The project", "description": "", "owner": "ana",
        "status": "active", "created_at": at(0), "updated_at": at(0)});
    commit.create(key(Label::Project, &*project), at(0), props(row));
    let row = json!({"epic_id": epic, "project_id": project, "title": "The epic",
        "description": "", "status": "active", "created_at": at(0), "updated_at": at(0)});
    commit.create(key(Label::Epic, &*epic), at(0), props(row));
    commit.relate(
        key(Label::Project, &*project),
        EdgeType::HasEpic,
        key(Label::Epic, &*epic),
    );
    for story in [&seed.story, &sibling.story] {
        let story = key(Label::Story, story.as_str());
        commit.relate(key(Label::Epic, &*epic), EdgeType::Contains, story);
    }
    store.commit(&commit, soon()).await.unwrap();
    let (first, second) = (format!("T-{}-1", world.tag), format!("T-{}-2", world.tag));
    seed.task(&first, "developer", &[]).await;
    seed.task(&second, "developer", &[&first]).await;
    let decision = format!("DEC-{}", world.tag);
    seed.decision(&decision, 1, json!({})).await;
    seed.relate(&decision, EdgeType::Affects, key(Label::Task, &*second))
        .await;

    let near = async |kind: &str, id: &str, depth: i32, role: &str, max_nodes: i32| {
        let request = pb::GetGraphRelationshipsRequest {
            node_id: id.to_owned(),
            node_type: kind.to_owned(),
            depth,
            role: role.to_owned(),
            max_nodes,
        };
        let answer = a.client.clone().get_graph_relationships(request).await;
        answer.map(|answer| answer.into_inner())
    };
    let ids = |answer: &pb::GetGraphRelationshipsResponse| -> BTreeSet<String> {
        answer.neighbors.iter().map(|n| n.id.clone()).collect()
    };
    let set = |ids: &[&str]| -> BTreeSet<String> { ids.iter().map(|i| (*i).to_owned()).collect() };

    let story = near("story", &seed.story, 1, "po", 0).await.unwrap();
    assert!(story.success && !story.truncated && story.hidden == 0);
    let node = story.node.as_ref().unwrap();
    assert_eq!(
        (node.r#type.as_str(), &node.labels[..]),
        ("Story", &["Story".to_owned()][..])
    );
    assert_eq!(node.title, format!("Title of {}", seed.story));
    assert_eq!(
        node.properties["acceptance_criteria"],
        "[\"it works\",\"it is fast\"]"
    );
    assert_eq!(ids(&story), set(&[&epic, &first, &second, &decision]));
    let kinds: Vec<_> = story.neighbors.iter().map(|n| n.r#type.as_str()).collect();
    assert_eq!(kinds, ["Decision", "Epic", "Task", "Task"], "sorted");
    let edges: BTreeSet<_> = story
        .relationships
        .iter()
        .map(|r| {
            (
                r.from_node_id.as_str(),
                r.r#type.as_str(),
                r.to_node_id.as_str(),
            )
        })
        .collect();
    assert!(edges.contains(&(epic.as_str(), "CONTAINS", seed.story.as_str())));
    assert!(edges.contains(&(seed.story.as_str(), "HAS_TASK", first.as_str())));

    let far = near("Story", &seed.story, 3, "po", 0).await.unwrap();
    let found = ids(&far);
    assert!(found.contains(&project) && found.contains(&sibling.story));
    let types: BTreeSet<_> = far
        .relationships
        .iter()
        .map(|r| r.r#type.as_str())
        .collect();
    for kind in [
        "HAS_EPIC",
        "CONTAINS",
        "HAS_TASK",
        "HAS_DECISION",
        "DEPENDS_ON",
        "AFFECTS",
    ] {
        assert!(types.contains(kind), "{kind}: {types:?}");
    }
    // The developer sees nothing above the story, and is told how much that is.
    let developer = near("Story", &seed.story, 3, "developer", 0).await.unwrap();
    assert_eq!(ids(&developer), set(&[&first, &second, &decision]));
    assert_eq!(
        developer.hidden, 1,
        "the epic; what is behind it is not looked at"
    );
    // The architect sees epic and project through the story, and not its sibling.
    let architect = near("Story", &seed.story, 2, "architect", 0).await.unwrap();
    let found = ids(&architect);
    assert!(found.contains(&epic) && found.contains(&project));
    assert!(!found.contains(&sibling.story) && architect.hidden == 1);
    assert_eq!(
        code(near("Epic", &epic, 1, "developer", 0).await),
        Code::PermissionDenied
    );
    assert_eq!(
        ids(&near("Project", &project, 1, "po", 0).await.unwrap()),
        set(&[&epic])
    );

    let task = near("TASK", &second, 1, "qa", 0).await.unwrap();
    assert_eq!(ids(&task), set(&[&seed.story, &first, &decision]));
    let few = near("Story", &seed.story, 2, "po", 3).await.unwrap();
    assert!(few.truncated);
    assert_eq!(few.neighbors.len(), 2, "with the node itself");
    assert_eq!(few, near("Story", &seed.story, 2, "po", 3).await.unwrap());
    a.stop().await;
}

async fn nodes_that_share_an_id_are_told_apart(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let stories = [format!("s-{}-1", world.tag), format!("s-{}-10", world.tag)];
    let (epic, task) = (format!("E-{}", world.tag), format!("T-{}", world.tag));
    let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
    let project = format!("PROJ-{}", world.tag);
    let row = json!({"epic_id": epic, "project_id": project, "title": "The epic",
        "description": "", "status": "active", "created_at": at(0), "updated_at": at(0)});
    commit.create(key(Label::Epic, &*epic), at(0), props(row));
    for story in &stories {
        let mut seed = Seed::story(&*store, story).await;
        seed.milestone("m-1", 1, "something").await;
        seed.summary("m-1", 1, "all of it").await;
        if story == &stories[0] {
            seed.task(&task, "developer", &[]).await;
            seed.run(&task, json!({})).await;
        }
        commit.relate(
            key(Label::Epic, &*epic),
            EdgeType::Contains,
            key(Label::Story, story),
        );
    }
    store.commit(&commit, soon()).await.unwrap();

    let request = pb::GetGraphRelationshipsRequest {
        node_id: epic.clone(),
        node_type: "Epic".to_owned(),
        depth: 3,
        role: "po".to_owned(),
        max_nodes: 0,
    };
    let answer = a.client.clone().get_graph_relationships(request).await;
    let answer = answer.unwrap().into_inner();
    let nodes = answer.node.iter().chain(&answer.neighbors);
    let nodes: Vec<_> = nodes.map(|n| (n.r#type.as_str(), n.id.as_str())).collect();
    let apart: BTreeSet<_> = nodes.iter().copied().collect();
    assert_eq!(apart.len(), nodes.len(), "{nodes:?}");
    let whole = |story: &str| format!("{story}/m-1");
    let (one, other) = (whole(&stories[0]), whole(&stories[1]));
    for node in [
        ("Event", one.as_str()),
        ("Event", &other),
        ("Summary", &one),
        ("Summary", &other),
        ("Task", &task),
        ("TaskRun", &task),
    ] {
        assert!(apart.contains(&node), "{node:?} in {nodes:?}");
    }
    let edges: Vec<_> = answer
        .relationships
        .iter()
        .map(|r| {
            let from = (r.from_type.as_str(), r.from_node_id.as_str());
            let to = (r.to_type.as_str(), r.to_node_id.as_str());
            assert!(apart.contains(&from) && apart.contains(&to), "{r:?}");
            (from, r.r#type.as_str(), to)
        })
        .collect();
    for edge in [
        (
            ("Story", stories[0].as_str()),
            "HAS_EVENT",
            ("Event", one.as_str()),
        ),
        (("Story", &stories[1]), "HAS_EVENT", ("Event", &other)),
        (("Story", &stories[1]), "HAS_SUMMARY", ("Summary", &other)),
        (("Task", &task), "HAS_RUN", ("TaskRun", &task)),
    ] {
        assert_eq!(
            edges.iter().filter(|e| **e == edge).count(),
            1,
            "{edge:?}: {edges:?}"
        );
    }
    a.stop().await;
}

async fn hits_come_by_weight(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let word = format!("w{}", world.tag);
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    for (n, row) in [
        json!({"title": format!("Use {word} everywhere")}),
        json!({"rationale": format!("since {} is fast", word.to_uppercase())}),
        json!({"alternatives": [format!("not {word}")]}),
        json!({"title": "Something else"}),
    ]
    .into_iter()
    .enumerate()
    {
        seed.decision(&id(n), n, row).await;
    }
    let task = format!("T-{}-{word}", world.tag);
    seed.task(&task, "developer", &[]).await;
    seed.run(&task, json!({"state": "pending_qa"})).await;
    seed.relate(&id(0), EdgeType::Affects, key(Label::Task, &*task))
        .await;
    let find = async |query: String, story: &str, role: &str, limit: i32| {
        let request = pb::SearchDecisionsRequest {
            query,
            story_id: story.to_owned(),
            role: role.to_owned(),
            limit,
        };
        let answer = a.client.clone().search_decisions(request).await;
        answer.unwrap().into_inner()
    };
    let found = |answer: &pb::SearchDecisionsResponse| -> Vec<String> {
        let hits = answer.decisions.iter();
        hits.map(|hit| hit.decision.as_ref().unwrap().id.clone())
            .collect()
    };
    let all = find(word.clone(), &seed.story, "developer", 0).await;
    assert_eq!(found(&all), [id(0), id(1), id(2)]);
    assert!(
        all.decisions
            .windows(2)
            .all(|pair| pair[0].weight > pair[1].weight)
    );
    assert_eq!(
        all.decisions[0].decision.as_ref().unwrap().affects,
        std::slice::from_ref(&task)
    );
    assert_eq!(all.tasks.len(), 1);
    assert_eq!(all.tasks[0].task.as_ref().unwrap().status, "pending_qa");
    assert_eq!((&all.tasks[0].story_id, all.more), (&seed.story, false));
    let one = find(word.clone(), &seed.story, "developer", 1).await;
    assert_eq!((found(&one), one.more), (vec![id(0)], true));
    // All words must occur.
    let both = find(format!("{word}, FAST!"), &seed.story, "developer", 0).await;
    assert_eq!(found(&both), [id(1)]);
    // Everywhere: who sees every story finds it, who does not finds nothing.
    assert_eq!(found(&find(word.clone(), "", "po", 0).await).len(), 3);
    let nothing = find(word.clone(), "", "developer", 0).await;
    assert!(nothing.decisions.is_empty() && nothing.tasks.is_empty());
    a.stop().await;
}

/// Heavier decisions that the architect may not see are many; what he may see is found anyway.
/// Nobody learns from the answer that there are others.
async fn what_may_not_be_seen_neither_displaces_hits_nor_counts(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let word = format!("w{}", world.tag);
    let id = |n: usize| format!("DEC-{}-{n:03}", world.tag);
    let mut commit = seed.change(|_| {});
    for n in 0..150 {
        let row = json!({"decision_type": "QUALITY", "title": format!("{word} {word} {word}")});
        seed.put_decision(&mut commit, &id(n), n, row);
    }
    for n in [150, 151] {
        let row = json!({"rationale": format!("since {word} is fast")});
        seed.put_decision(&mut commit, &id(n), n, row);
    }
    store.commit(&commit, soon()).await.unwrap();
    seed.moved();
    let find = async |story: &str, role: &str, limit: i32| {
        let request = pb::SearchDecisionsRequest {
            query: word.clone(),
            story_id: story.to_owned(),
            role: role.to_owned(),
            limit,
        };
        let answer = a.client.clone().search_decisions(request).await;
        let answer = answer.unwrap().into_inner();
        let hits = answer.decisions.into_iter();
        let ids: Vec<String> = hits.map(|hit| hit.decision.unwrap().id).collect();
        (ids, answer.more)
    };
    assert_eq!(
        find("", "architect", 0).await,
        (vec![id(150), id(151)], false)
    );
    assert_eq!(find("", "architect", 1).await, (vec![id(150)], true));
    a.store.trips();
    assert_eq!(find("", "developer", 1).await, (vec![], false));
    assert_eq!(a.store.trips(), 0, "there is nothing to ask for");
    let (own, more) = find(&seed.story, "developer", 100).await;
    assert_eq!((own.len(), more), (100, true));
    a.stop().await;
}
