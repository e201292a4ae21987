//! Stories that are large, tangled or damaged.

use std::collections::BTreeSet;

use fleet_graph::{EdgeType, Label, NodeWrite};
use fleet_proto::context::v1 as pb;
use serde_json::json;

use crate::seed::{Seed, at, key, props};
use crate::world::{World, ask, on_every_backend, soon};

on_every_backend!(
    cycles_and_edges_to_what_is_gone_do_no_harm,
    one_damaged_row_is_left_out_and_named,
    a_row_that_is_no_node_any_more_is_left_out_too,
    a_row_that_goes_bad_is_left_out_from_then_on,
    neither_graph_nor_search_fails_for_one_damaged_row,
    ids_that_begin_alike_never_mix,
    five_thousand_decisions_are_chosen_from,
);

fn with_receipt(request: pb::GetContextRequest) -> pb::GetContextRequest {
    pb::GetContextRequest {
        include_receipt: true,
        ..request
    }
}

async fn cycles_and_edges_to_what_is_gone_do_no_harm(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    let task = format!("T-{}", world.tag);
    seed.task(&task, "developer", &[]).await;
    for n in 0..4 {
        seed.decision(&id(n), n, json!({})).await;
    }
    // A ring of dependencies, one of supersession, one that points to itself.
    for (from, kind, to) in [
        (0, EdgeType::DependsOn, 1),
        (1, EdgeType::DependsOn, 2),
        (2, EdgeType::DependsOn, 0),
        (0, EdgeType::Supersedes, 1),
        (1, EdgeType::Supersedes, 0),
        (2, EdgeType::AlternativeOf, 2),
        (2, EdgeType::DependsOn, 3),
    ] {
        seed.relate(&id(from), kind, key(Label::Decision, id(to)))
            .await;
    }
    seed.relate(&id(0), EdgeType::Affects, key(Label::Task, &*task))
        .await;
    seed.relate(&id(3), EdgeType::Affects, key(Label::Task, &*task))
        .await;
    let story = seed.story.clone();
    let question = || with_receipt(ask(&story, "architect", "DESIGN"));
    let before = a.must(question()).await;
    assert_eq!(before.warnings, Vec::<String>::new());

    // Its trace stays, and edges that end there.
    let (ord, gone) = (
        format!("{}|{}", at(103), id(3)),
        json!({
            "decision_id": id(3), "story_id": seed.story, "title": "", "rationale": "",
            "status": "APPROVED", "created_at": at(103), "updated_at": at(400),
            "deleted_at": at(400),
        }),
    );
    let target = key(Label::Decision, id(3));
    seed.apply(|commit| {
        commit.nodes.push(NodeWrite::Update {
            key: target,
            expected: 2,
            ord,
            props: props(gone),
        });
    })
    .await;
    let after = a.must(question()).await;
    assert!(!after.context.contains(&id(3)), "{}", after.context);
    let session = a
        .client
        .clone()
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: seed.story.clone(),
            roles: vec!["developer".to_owned(), "po".to_owned()],
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    let stats = session.stats.unwrap();
    assert_eq!(
        (stats.decisions, stats.decision_edges, stats.impacts),
        (3, 6, 1)
    );
    let developer = &session.packs["developer"];
    let decisions: Vec<_> = developer.decisions.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(decisions, [id(0).as_str()], "what has a say in its task");
    assert_eq!(developer.decision_deps.len(), 2);
    let near = a
        .client
        .clone()
        .get_graph_relationships(pb::GetGraphRelationshipsRequest {
            node_id: id(0),
            node_type: "Decision".to_owned(),
            depth: 99,
            role: "po".to_owned(),
            max_nodes: 0,
        })
        .await
        .unwrap()
        .into_inner();
    assert!(near.neighbors.iter().all(|node| node.id != id(3)));
    assert_eq!(
        near.relationships
            .iter()
            .filter(|r| r.r#type == "DEPENDS_ON")
            .count(),
        3
    );
    a.stop().await;
}

async fn one_damaged_row_is_left_out_and_named(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    seed.decision(&id(0), 0, json!({})).await;
    seed.decision(&id(1), 1, json!({"status": 7})).await;
    // Damage that only shows when it is read whole.
    seed.decision(&id(2), 2, json!({"rationale": [1, 2]})).await;
    let bad_task = format!("T-{}-bad", world.tag);
    let good_task = format!("T-{}-good", world.tag);
    seed.task(&good_task, "developer", &[]).await;
    let mut commit = fleet_graph::Commit::new(
        fleet_types::Ids::uuid(&fleet_service::SystemIds),
        fleet_graph::Owner::Planning,
        fleet_types::Clock::now(&fleet_service::SystemClock),
    );
    let row = json!({"task_id": bad_task, "story_id": seed.story, "title": ["no", "text"]});
    commit
        .create(key(Label::Task, &*bad_task), at(2), props(row))
        .relate(
            key(Label::Story, &*seed.story),
            EdgeType::HasTask,
            key(Label::Task, &*bad_task),
        );
    store.commit(&commit, soon()).await.unwrap();

    let answer = a
        .must(with_receipt(ask(&seed.story, "architect", "BUILD")))
        .await;
    assert!(answer.context.contains(&id(0)) && answer.context.contains(&good_task));
    assert!(!answer.context.contains(&id(1)) && !answer.context.contains(&id(2)));
    let told = answer.warnings.join("\n");
    for left_out in [id(1), id(2), bad_task.clone()] {
        assert!(told.contains(&left_out), "{told}");
    }
    assert!(
        answer
            .warnings
            .iter()
            .all(|w| w.contains("could not be read"))
    );
    let metrics = a.metrics.encode();
    assert!(metrics.contains("fleet_context_corrupt_rows_total{kind=\"Decision\"}"));
    assert!(metrics.contains("fleet_context_corrupt_rows_total{kind=\"Task\"}"));
    // It is kept with its warnings.
    a.store.trips();
    let kept = a
        .must(with_receipt(ask(&seed.story, "architect", "BUILD")))
        .await;
    assert_eq!((kept, a.store.trips()), (answer, 1));
    let session = a
        .client
        .clone()
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: seed.story.clone(),
            roles: vec!["architect".to_owned()],
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(session.warnings.len(), 3, "{:?}", session.warnings);
    assert_eq!(session.packs["architect"].decisions.len(), 1);
    a.stop().await;
}

/// Its version cannot be told, so that it takes a second look to know that nothing moved.
async fn a_row_that_is_no_node_any_more_is_left_out_too(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let (good, bad) = (
        format!("T-{}-good", world.tag),
        format!("T-{}-bad", world.tag),
    );
    seed.task(&good, "developer", &[]).await;
    seed.task(&bad, "developer", &[]).await;
    a.store.damage(key(Label::Task, &*bad));
    a.store.trips();
    let answer = a.must(ask(&seed.story, "developer", "BUILD")).await;
    assert_eq!(a.store.trips(), 4);
    assert!(answer.context.contains(&good) && !answer.context.contains(&bad));
    let warning = format!("Task/{bad} could not be read and was left out");
    assert_eq!(answer.warnings, [warning]);
    let kept = a.must(ask(&seed.story, "developer", "BUILD")).await;
    assert_eq!((kept, a.store.trips()), (answer, 1));
    a.stop().await;
}

/// What was read well before and is remembered lightly is left out as well.
async fn a_row_that_goes_bad_is_left_out_from_then_on(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    for n in 0..2 {
        seed.decision(&id(n), n, json!({})).await;
    }
    let task = format!("T-{}", world.tag);
    seed.task(&task, "qa", &[]).await;
    seed.relate(&id(1), EdgeType::Affects, key(Label::Task, &*task))
        .await;
    let asked = |token_budget: i32| pb::GetContextRequest {
        token_budget,
        ..ask(&seed.story, "architect", "DESIGN")
    };
    // It is none of a developer's business, so nobody has read it whole yet.
    let before = a.must(ask(&seed.story, "developer", "BUILD")).await;
    assert!(before.context.contains(&id(0)) && !before.context.contains(&id(1)));
    assert_eq!(before.warnings, Vec::<String>::new());
    a.store.damage(key(Label::Decision, id(1)));
    let after = a.must(asked(3_000)).await;
    assert!(after.context.contains(&id(0)) && !after.context.contains(&id(1)));
    let warning = format!("Decision/{} could not be read and was left out", id(1));
    assert_eq!(after.warnings, [warning]);
    a.stop().await;
}

async fn neither_graph_nor_search_fails_for_one_damaged_row(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let word = format!("w{}", world.tag);
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    let titled = || json!({"title": format!("Use {word}")});
    for n in 0..3 {
        seed.decision(&id(n), n, titled()).await;
    }
    seed.relate(&id(0), EdgeType::DependsOn, key(Label::Decision, id(1)))
        .await;
    let task = |n: usize| format!("T-{}-{n}-{word}", world.tag);
    for n in 0..2 {
        seed.task(&task(n), "developer", &[]).await;
        seed.run(&task(n), json!({"state": "pending_qa"})).await;
    }
    // Of another story, which the architect may see for its type alone.
    let mut other = Seed::story(&*store, &format!("s-{}-b", world.tag)).await;
    other.decision(&id(3), 3, titled()).await;
    seed.relate(&id(0), EdgeType::DependsOn, key(Label::Decision, id(3)))
        .await;
    for n in [1, 3] {
        a.store.damage(key(Label::Decision, id(n)));
    }
    a.store.damage(key(Label::TaskRun, task(0)));
    let told = |key: String| format!("{key} could not be read and was left out");
    let decision = |n: usize| told(format!("Decision/{}", id(n)));
    let run = told(format!("TaskRun/{}", task(0)));

    let near = async |id: String, kind: &str, role: &str| {
        let request = pb::GetGraphRelationshipsRequest {
            node_id: id,
            node_type: kind.to_owned(),
            depth: 2,
            role: role.to_owned(),
            max_nodes: 0,
        };
        let answer = a.client.clone().get_graph_relationships(request).await;
        answer.unwrap().into_inner()
    };
    for (role, warnings, hidden) in [
        ("po", vec![run.clone(), decision(1), decision(3)], 0),
        ("architect", vec![run.clone(), decision(1)], 1),
        ("developer", vec![run.clone(), decision(1)], 1),
    ] {
        let answer = near(seed.story.clone(), "Story", role).await;
        assert_eq!(
            (answer.warnings, answer.hidden),
            (warnings, hidden),
            "{role}"
        );
        let ids: BTreeSet<&str> = answer.neighbors.iter().map(|n| n.id.as_str()).collect();
        assert!(
            ids.contains(&*id(0)) && ids.contains(&*id(2)),
            "{role}: {ids:?}"
        );
        assert!(
            ids.contains(&*task(0)) && !ids.contains(&*id(1)),
            "{role}: {ids:?}"
        );
    }
    // Where it is found only from a decision, it may be of any story.
    let answer = near(id(0), "Decision", "developer").await;
    assert_eq!(
        answer.warnings,
        [decision(1)],
        "the story leads there as well"
    );

    let find = async |story: &str, role: &str| {
        let request = pb::SearchDecisionsRequest {
            query: word.clone(),
            story_id: story.to_owned(),
            role: role.to_owned(),
            limit: 0,
        };
        let answer = a.client.clone().search_decisions(request).await;
        answer.unwrap().into_inner()
    };
    let story = seed.story.as_str();
    for (of, role, warnings) in [
        (story, "developer", vec![run.clone(), decision(1)]),
        // It may not know the alternatives, in which the word might be.
        (story, "qa", vec![run.clone()]),
        ("", "architect", vec![]),
        ("", "po", vec![run, decision(1), decision(3)]),
    ] {
        let found = find(of, role).await;
        assert_eq!(found.warnings, warnings, "{role}");
        let hits = found.decisions.iter();
        let ids: Vec<_> = hits
            .map(|hit| hit.decision.as_ref().unwrap().id.clone())
            .collect();
        assert_eq!(ids, [id(0), id(2)], "{role}");
        if role != "architect" {
            let states = found
                .tasks
                .iter()
                .map(|hit| &*hit.task.as_ref().unwrap().status);
            assert_eq!(states.collect::<Vec<_>>(), ["todo", "pending_qa"], "{role}");
        }
    }
    for kind in ["Decision", "TaskRun"] {
        let line = format!("fleet_context_corrupt_rows_total{{kind=\"{kind}\"}}");
        assert!(a.counted(&line) > 0, "{kind}");
    }
    a.stop().await;
}

async fn ids_that_begin_alike_never_mix(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let short = format!("s-{}1", world.tag);
    let long = format!("s-{}10", world.tag);
    let mut stories = Vec::new();
    for (story, word) in [(&short, "aardvark"), (&long, "buffalo")] {
        let mut seed = Seed::story(&*store, story).await;
        let tail = story.trim_start_matches("s-");
        seed.task(&format!("T-{tail}"), "developer", &[]).await;
        seed.decision(
            &format!("DEC-{tail}"),
            1,
            json!({"title": format!("The {word} decision")}),
        )
        .await;
        seed.milestone("m-1", 1, &format!("a {word} happened"))
            .await;
        seed.summary("sum-1", 1, &format!("all about the {word}"))
            .await;
        stories.push(seed.story);
    }
    let answers = [
        a.must(ask(&short, "architect", "DESIGN")).await.context,
        a.must(ask(&long, "architect", "DESIGN")).await.context,
    ];
    assert!(answers[0].contains("aardvark") && !answers[0].contains("buffalo"));
    assert!(answers[1].contains("buffalo") && !answers[1].contains("aardvark"));
    let query = |story: &str| pb::SearchDecisionsRequest {
        query: "decision".to_owned(),
        story_id: story.to_owned(),
        role: "developer".to_owned(),
        limit: 0,
    };
    for (story, word) in [(&short, "aardvark"), (&long, "buffalo")] {
        let found = a
            .client
            .clone()
            .search_decisions(query(story))
            .await
            .unwrap();
        let found = found.into_inner().decisions;
        assert_eq!(found.len(), 1);
        let title = &found[0].decision.as_ref().unwrap().title;
        assert!(title.contains(word), "{title}");
    }
    a.stop().await;
}

async fn five_thousand_decisions_are_chosen_from(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let task = format!("T-{}", world.tag);
    seed.task(&task, "developer", &[]).await;
    let id = |n: usize| format!("DEC-{}-{n:05}", world.tag);
    for batch in 0..25 {
        let mut commit = seed.change(|_| {});
        for n in batch * 200..(batch + 1) * 200 {
            seed.put_decision(&mut commit, &id(n), n, json!({}));
        }
        store.commit(&commit, soon()).await.unwrap();
        seed.moved();
    }
    seed.relate(&id(17), EdgeType::Affects, key(Label::Task, &*task))
        .await;
    a.store.trips();
    let answer = a
        .must(pb::GetContextRequest {
            subtask_id: task.clone(),
            token_budget: 2_000,
            ..with_receipt(ask(&seed.story, "developer", "BUILD"))
        })
        .await;
    assert_eq!(a.store.trips(), 2);
    assert!(answer.token_count <= 2_000, "{}", answer.token_count);
    assert!(
        answer.context.contains(&id(17)),
        "what has a say in the task"
    );
    let receipt = answer.receipt.unwrap();
    let of = |kind: &str| -> BTreeSet<&str> {
        let included = receipt.included.iter().map(|i| (&i.kind, i.id.as_str()));
        let excluded = receipt.excluded.iter().map(|e| (&e.kind, e.id.as_str()));
        let all = included.chain(excluded).filter(|(k, _)| *k == kind);
        all.map(|(_, id)| id).collect()
    };
    assert_eq!(of("decision").len(), 5_000, "in + out = all");
    let entries = receipt.included.len() + receipt.excluded.len();
    assert_eq!(entries, 5_000 + 2, "each once, with story and task");
    a.stop().await;
}
