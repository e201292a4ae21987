//! Requests by event are answered by event, once, also when they are refused.

use std::sync::Arc;

use fleet_graph::Label;
use fleet_testing::Gone;
use serde_json::{Value, json};

use crate::ask::{key, story, version};
use crate::world::{World, on_every_backend, raw};

on_every_backend!(
    updates_are_answered_in_the_commit_of_their_effect,
    refusals_are_answers,
    packs_are_put_together_and_kept,
    packs_that_cannot_be_kept_are_no_success,
);

const UPDATE: &str = "context.update.request";
const UPDATED: &str = "context.update.response";

async fn updates_are_answered_in_the_commit_of_their_effect(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let before = version(&replica, &story_id).await;
    let mut heard = replica.listen_to_context().await;
    let id = format!("DEC-{story_id}");
    let event = raw(
        UPDATE,
        &json!({
            "story_id": story_id,
            "role": "architect",
            "changes": [
                {"operation": "CREATE", "entity_type": "DECISION", "entity_id": id,
                 "payload": {"title": "An object"}, "reason": "because"},
                {"operation": "CREATE", "entity_type": "SUMMARY", "entity_id": "x",
                 "payload": "{\"text\": \"As text\"}"},
            ],
            "expected_version": before,
        }),
    );
    replica.publish(&event).await;
    let answer = heard
        .until(UPDATED, |body| body["story_id"] == story_id.as_str())
        .await;
    assert_eq!(answer.body["status"], "success", "{}", answer.body);
    assert_eq!(answer.body["version"], before + 1);
    assert_eq!(answer.body["request"], event.id.as_str());
    assert_eq!(answer.body["hash"].as_str().unwrap().len(), 16);
    assert_eq!(answer.causation, event.id.as_str());
    assert_eq!(answer.correlation, "c-1");
    assert_eq!(
        replica.prop(key(Label::Decision, &id), "title").await,
        "An object"
    );

    let app = fleet_context::app(&replica.deps, &crate::world::impatient()).unwrap();
    crate::commute::hear(&app, &event).await.unwrap();
    assert_eq!(version(&replica, &story_id).await, before + 1, "once");
    replica.stop().await;
}

async fn refusals_are_answers(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let before = version(&replica, &story_id).await;
    let mut heard = replica.listen_to_context().await;
    let change = json!({"operation": "CREATE", "entity_type": "SUMMARY", "entity_id": "x",
                        "payload": {"text": "x"}});
    let cases: [(Value, &str); 6] = [
        (
            json!({"story_id": story_id, "role": "qa", "changes": []}),
            "changes",
        ),
        (json!({"story_id": story_id, "changes": "x"}), "payload"),
        (json!({"story_id": 7}), "payload"),
        (
            json!({"story_id": "s-none", "role": "qa", "changes": [change]}),
            "does not exist",
        ),
        (
            json!({"story_id": story_id, "role": "qa", "changes": [change], "expected_version": 99}),
            "version",
        ),
        (
            json!({"story_id": story_id, "role": "qa", "changes": [
                {"operation": "UPDATE", "entity_type": "CASE", "entity_id": "x"}]}),
            "UpdateStory",
        ),
    ];
    for (body, part) in cases {
        let event = raw(UPDATE, &body);
        replica.publish(&event).await;
        let answer = heard
            .until(UPDATED, |said| said["request"] == event.id.as_str())
            .await;
        assert_eq!(answer.body["status"], "error", "{}", answer.body);
        assert_eq!(answer.body["version"], 0);
        let error = answer.body["error"].as_str().unwrap();
        assert!(error.contains(part), "{part}: {error}");
    }
    assert_eq!(version(&replica, &story_id).await, before);
    replica.stop().await;
}

async fn packs_are_put_together_and_kept(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let mut heard = replica.listen_to_context().await;
    let event = raw(
        "context.rehydrate.request",
        &json!({"case_id": story_id, "roles": ["architect", "DEV"], "include_timeline": true}),
    );
    replica.publish(&event).await;
    let of = |said: &Value| said["request"] == event.id.as_str();
    let answer = heard.until("context.rehydrate.response", of).await;
    assert_eq!(answer.body["status"], "success", "{}", answer.body);
    assert_eq!(answer.body["packs_count"], 2);
    let bundle = answer.body["bundle_id"].as_str().unwrap().to_owned();
    let kept = fleet_proto::context::v1::RehydrateSessionRequest {
        bundle_id: bundle,
        ..Default::default()
    };
    let kept = replica
        .client
        .clone()
        .rehydrate_session(kept)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kept.case_id, story_id);
    assert_eq!(kept.packs.len(), 2);

    let event = raw(
        "context.rehydrate.request",
        &json!({"case_id": "s-none", "roles": ["qa"]}),
    );
    replica.publish(&event).await;
    let of = |said: &Value| said["request"] == event.id.as_str();
    let answer = heard.until("context.rehydrate.response", of).await;
    assert_eq!(answer.body["status"], "error");
    assert_eq!(answer.body["case_id"], "s-none");
    replica.stop().await;
}

async fn packs_that_cannot_be_kept_are_no_success(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let mut deps = replica.deps.clone();
    deps.cache = Arc::new(Gone);
    let app = fleet_context::app(&deps, &crate::world::impatient()).unwrap();
    let mut heard = replica.listen_to_context().await;
    let event = raw(
        "context.rehydrate.request",
        &json!({"case_id": story_id, "roles": ["qa"]}),
    );
    crate::commute::hear(&app, &event).await.unwrap();
    let of = |said: &Value| said["request"] == event.id.as_str();
    let answer = heard.until("context.rehydrate.response", of).await;
    assert_eq!(answer.body["status"], "error", "{}", answer.body);
    assert_eq!(
        (&answer.body["bundle_id"], &answer.body["packs_count"]),
        (&json!(""), &json!(0))
    );
    let error = answer.body["error"].as_str().unwrap();
    assert!(error.contains("not kept"), "{error}");
    let warning = answer.body["warnings"][0].as_str().unwrap();
    assert!(warning.contains("cache is away"), "{warning}");
    replica.stop().await;
}
