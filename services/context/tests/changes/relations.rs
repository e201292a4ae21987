//! Relations of decisions: lists in the payload, relationships in the graph.

use fleet_graph::{EdgeType, Label};
use fleet_proto::context::v1 as pb;
use serde_json::json;
use tonic::Code;

use crate::ask::{apply, change, create, fields, key, refused, story, task};
use crate::world::{World, on_every_backend};

on_every_backend!(
    relations_are_what_the_lists_say,
    cycles_among_decisions_do_no_harm
);

async fn relations_are_what_the_lists_say(world: &World) {
    let replica = world.replica().await;
    let (client, story_id, other) = (
        &replica.client,
        story(&replica).await,
        story(&replica).await,
    );
    let (one, two) = (
        task(&replica, &story_id, "One").await,
        task(&replica, &story_id, "Two").await,
    );
    let dec = |n: &str| format!("DEC-{story_id}-{n}");
    let (a, b, c) = (dec("a"), dec("b"), dec("c"));
    let set =
        |id: &str, payload: serde_json::Value| vec![change("UPSERT", "DECISION", id, &payload)];
    // To one that the same call creates, in any order.
    apply(
        client,
        &story_id,
        vec![
            change(
                "CREATE",
                "DECISION",
                &a,
                &json!({"title": "a", "depends_on": [b], "affects": [one]}),
            ),
            change(
                "UPSERT",
                "DECISION",
                &b,
                &json!({"title": "b", "supersedes": [c]}),
            ),
            create(&c, "c"),
        ],
    )
    .await
    .unwrap();
    let edges = |id: &str, edge| replica.ids(key(Label::Decision, id), edge);
    assert_eq!(edges(&a, EdgeType::DependsOn).await, [b.as_str()]);
    assert_eq!(edges(&b, EdgeType::Supersedes).await, [c.as_str()]);
    // Lists replace; what is not named stays.
    let payload = json!({"affects": [two], "alternative_of": [b], "depends_on": []});
    apply(client, &story_id, set(&a, payload)).await.unwrap();
    assert_eq!(edges(&a, EdgeType::Affects).await, [two]);
    assert_eq!(edges(&a, EdgeType::AlternativeOf).await, [b.as_str()]);
    assert!(edges(&a, EdgeType::DependsOn).await.is_empty());
    apply(client, &story_id, set(&a, json!({"title": "A"})))
        .await
        .unwrap();
    assert_eq!(edges(&a, EdgeType::AlternativeOf).await, [b.as_str()]);

    let foreign = format!("DEC-{other}");
    apply(client, &other, vec![create(&foreign, "x")])
        .await
        .unwrap();
    let theirs = task(&replica, &other, "Theirs").await;
    let refusals = [
        (json!({"affects": ["T-none"]}), Code::NotFound, "NOT_FOUND"),
        (
            json!({"affects": [theirs]}),
            Code::FailedPrecondition,
            "PARENT_MISMATCH",
        ),
        (
            json!({"depends_on": ["DEC-none"]}),
            Code::NotFound,
            "NOT_FOUND",
        ),
        (
            json!({"supersedes": [foreign]}),
            Code::FailedPrecondition,
            "PARENT_MISMATCH",
        ),
    ];
    for (payload, code, reason) in refusals {
        refused(
            apply(client, &story_id, set(&a, payload)).await,
            code,
            reason,
            &[],
        );
    }
    let itself = apply(client, &story_id, set(&a, json!({"depends_on": [a]}))).await;
    assert_eq!(fields(itself)[0].0, "changes[0].payload.depends_on");
    let theirs = apply(client, &story_id, set(&foreign, json!({"title": "mine"}))).await;
    refused(
        theirs,
        Code::FailedPrecondition,
        "PARENT_MISMATCH",
        &["changes[0]", &foreign],
    );

    // Who leads to what is deleted keeps that; nobody leads there anew.
    let gone = apply(
        client,
        &story_id,
        vec![
            change("DELETE", "DECISION", &c, &json!(null)),
            change("UPDATE", "DECISION", &a, &json!({"depends_on": [c]})),
        ],
    )
    .await;
    refused(
        gone,
        Code::FailedPrecondition,
        "DELETED",
        &["changes[1].payload.depends_on", &c],
    );
    apply(
        client,
        &story_id,
        vec![change("DELETE", "DECISION", &c, &json!(null))],
    )
    .await
    .unwrap();
    assert_eq!(edges(&b, EdgeType::Supersedes).await, [c.as_str()]);
    refused(
        apply(client, &story_id, set(&a, json!({"depends_on": [c]}))).await,
        Code::FailedPrecondition,
        "DELETED",
        &[],
    );
    apply(
        client,
        &story_id,
        vec![change("DELETE", "DECISION", &b, &json!(null))],
    )
    .await
    .unwrap();
    assert!(
        edges(&b, EdgeType::Supersedes).await.is_empty(),
        "its own are gone"
    );
    replica.stop().await;
}

async fn cycles_among_decisions_do_no_harm(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let dec = |n: usize| format!("DEC-{story_id}-{n}");
    let ring = (0..5).map(|n| {
        let next = dec((n + 1) % 5);
        change(
            "CREATE",
            "DECISION",
            &dec(n),
            &json!({"title": "x", "depends_on": [next]}),
        )
    });
    apply(client, &story_id, ring.collect()).await.unwrap();
    let all = (0..5).map(|n| change("UPDATE", "DECISION", &dec(n), &json!({"title": "y"})));
    apply(client, &story_id, all.collect()).await.unwrap();
    apply(
        client,
        &story_id,
        vec![change("DELETE", "DECISION", &dec(2), &json!(null))],
    )
    .await
    .unwrap();
    let pack = pb::RehydrateSessionRequest {
        case_id: story_id,
        roles: vec!["architect".into()],
        ..Default::default()
    };
    let packs = client
        .clone()
        .rehydrate_session(pack)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(packs.packs["architect"].decisions.len(), 4);
    replica.stop().await;
}
