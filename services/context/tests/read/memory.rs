//! What a process remembers of a story saves reading and changes nothing.

use std::sync::Arc;

use fleet_context::Config;
use fleet_proto::context::v1 as pb;
use fleet_testing::Gone;
use serde_json::{Value, json};
use tonic::Code;

use crate::seed::Seed;
use crate::world::{Replica, World, ask, code, on_every_backend};

on_every_backend!(
    who_remembers_answers_as_who_does_not,
    only_what_changed_is_read_again,
);

async fn update(a: &Replica, story: &str, changes: Vec<pb::ContextChange>) {
    let update = pb::UpdateContextRequest {
        story_id: story.to_owned(),
        role: "architect".to_owned(),
        changes,
        ..pb::UpdateContextRequest::default()
    };
    a.client.clone().update_context(update).await.unwrap();
}

fn change(operation: &str, entity: &str, id: &str, payload: &Value) -> pb::ContextChange {
    pb::ContextChange {
        operation: operation.to_owned(),
        entity_type: entity.to_owned(),
        entity_id: id.to_owned(),
        payload: payload.to_string(),
        reason: "because".to_owned(),
    }
}

/// Remembers nothing of any story, and keeps no answers.
async fn forgetful(world: &World) -> Replica {
    let config = Config {
        story_memory: 0,
        ..Config::default()
    };
    let mut backends = world.backends().await;
    backends.cache = Arc::new(Gone);
    world.replica_with(backends, config).await
}

/// Decisions come, change, lose and find relations, and go, among other changes; after each the
/// same question gives the same bytes and the same receipt.
async fn who_remembers_answers_as_who_does_not(world: &World) {
    let (a, b) = (world.replica().await, forgetful(world).await);
    let store = world.backends().await.store;
    let seed = Seed::bare(&*store, &format!("s-{}", world.tag)).await;
    let task = format!("T-{}", world.tag);
    seed.task(&task, "architect", &[]).await;
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    let upsert = |n: usize, payload: Value| change("UPSERT", "DECISION", &id(n), &payload);
    let first: Vec<_> = (0..12)
        .map(|n| {
            upsert(
                n,
                json!({ "title": format!("Decision {n}"), "rationale": "x ".repeat(n) }),
            )
        })
        .collect();
    let steps = [
        first,
        vec![change(
            "UPSERT",
            "SUMMARY",
            "so-far",
            &json!({ "text": "Begun." }),
        )],
        vec![upsert(3, json!({ "title": "Another title" }))],
        vec![upsert(
            12,
            json!({ "title": "New", "depends_on": [id(3)], "affects": [&task] }),
        )],
        vec![
            upsert(0, json!({ "depends_on": [id(12)] })),
            upsert(12, json!({ "depends_on": [] })),
        ],
        vec![change("DELETE", "DECISION", &id(5), &json!({}))],
        vec![change(
            "CREATE",
            "MILESTONE",
            "m-1",
            &json!({ "description": "Half way." }),
        )],
        vec![upsert(
            13,
            json!({ "title": "Newer", "supersedes": [id(2)] }),
        )],
        vec![
            upsert(13, json!({ "rationale": "It is better." })),
            upsert(1, json!({ "title": "One" })),
        ],
    ];
    for (n, changes) in steps.into_iter().enumerate() {
        // Written by either: what the other remembers is overtaken without its doing.
        let writer = if n % 2 == 0 { &a } else { &b };
        update(writer, &seed.story, changes).await;
        for (role, budget) in [("architect", 2_000), ("developer", 700)] {
            let asked = || pb::GetContextRequest {
                include_receipt: true,
                token_budget: budget,
                ..ask(&seed.story, role, "DESIGN")
            };
            let (ours, theirs) = (a.must(asked()).await, b.must(asked()).await);
            assert_eq!(ours.context, theirs.context, "step {n}, {role}");
            assert_eq!(ours.graph_version, theirs.graph_version);
            assert_eq!((ours.warnings, theirs.warnings), (vec![], vec![]));
            let (ours, theirs) = (ours.receipt.unwrap(), theirs.receipt.unwrap());
            assert_eq!(ours, theirs, "step {n}, {role}");
        }
    }
    a.stop().await;
    b.stop().await;
}

async fn only_what_changed_is_read_again(world: &World) {
    let (a, b) = (world.replica().await, forgetful(world).await);
    let store = world.backends().await.store;
    let seed = Seed::bare(&*store, &format!("s-{}", world.tag)).await;
    let id = |n: usize| format!("DEC-{}-{n:02}", world.tag);
    let decision =
        |n: usize, title: &str| change("UPSERT", "DECISION", &id(n), &json!({ "title": title }));
    let all = (0..40).map(|n| decision(n, "As it was")).collect();
    update(&a, &seed.story, all).await;
    let asked = |token_budget: i32| pb::GetContextRequest {
        token_budget,
        ..ask(&seed.story, "architect", "DESIGN")
    };
    a.must(asked(8_000)).await;
    a.store.light_rows();
    update(
        &a,
        &seed.story,
        vec![decision(7, "As it is"), decision(40, "New")],
    )
    .await;
    a.store.trips();
    let now = a.must(asked(8_000)).await;
    assert_eq!((a.store.trips(), a.store.light_rows()), (2, 2));
    assert!(now.context.contains("As it is") && now.context.contains("New"));
    b.store.trips();
    let again = b.must(asked(8_001)).await;
    assert_eq!((b.store.trips(), b.store.light_rows()), (2, 41));
    assert_eq!(now.context, again.context);
    // Who remembers nothing reads all of it for each question.
    b.must(asked(8_002)).await;
    assert_eq!((b.store.trips(), b.store.light_rows()), (2, 41));
    a.must(asked(8_002)).await;
    assert_eq!((a.store.trips(), a.store.light_rows()), (1, 0));
    // A refusal holds only for what is there now, and costs nobody what is remembered.
    let wrong = pb::GetContextRequest {
        subtask_id: format!("T-{}-none", world.tag),
        ..asked(8_003)
    };
    assert_eq!(code(a.get(wrong).await), Code::NotFound);
    assert_eq!((a.store.trips(), a.store.light_rows()), (1, 41));
    a.must(asked(8_003)).await;
    assert_eq!((a.store.trips(), a.store.light_rows()), (1, 0));
    a.stop().await;
    b.stop().await;
}
