//! What is malformed is refused, every violation named at once, before anything is read.

use fleet_proto::context::v1 as pb;
use serde_json::{Value, json};
use tonic::Code;

use crate::ask::{apply, change, create, fields, refused, story, update, version};
use crate::world::{World, on_every_backend};

on_every_backend!(
    updates_name_every_violation,
    payloads_are_strict_and_bounded,
    what_others_own_names_the_call_that_changes_it,
    other_calls_name_every_violation,
    unknown_stories_are_not_found,
);

fn names(found: &[(String, String)]) -> Vec<&str> {
    found.iter().map(|(field, _)| field.as_str()).collect()
}

async fn updates_name_every_violation(world: &World) {
    let replica = world.replica().await;
    let mut client = replica.client.clone();
    let wrong = pb::UpdateContextRequest {
        story_id: "S 1".into(),
        task_id: "x".into(),
        role: "boss".into(),
        changes: vec![
            change("REPLACE", "DECISION", "DEC-1", &json!({"title": "x"})),
            change("CREATE", "THING", "x", &json!({})),
            change("CREATE", "DECISION", "D-1", &json!({"title": "x"})),
            change("CREATE", "SUMMARY", "a b", &json!({"text": "x"})),
            change("CREATE", "SUMMARY", "ok", &json!({"text": ""})),
            change("UPDATE", "SUMMARY", "ok", &json!({"text": "x"})),
            change("CREATE", "MILESTONE", "m", &json!({"event_type": "x"})),
            change("UPDATE", "MILESTONE", "m2", &Value::Null),
            change("DELETE", "MILESTONE", "m3", &json!({"description": "x"})),
            pb::ContextChange::default(),
        ],
        timestamp: "yesterday".into(),
        request_id: "\u{7}".into(),
        expected_version: Some(-1),
    };
    let found = fields(client.update_context(wrong).await);
    let expected = [
        "request_id",
        "story_id",
        "task_id",
        "role",
        "timestamp",
        "expected_version",
        "changes[0].operation",
        "changes[1].entity_type",
        "changes[2].entity_id",
        "changes[3].entity_id",
        "changes[4].payload.text",
        "changes[5].entity_id",
        "changes[6].payload.description",
        "changes[7].payload",
        "changes[8].payload",
        "changes[9].operation",
        "changes[9].entity_type",
    ];
    assert_eq!(names(&found), expected, "{found:#?}");
    let none = fields(client.update_context(update("s-1", Vec::new())).await);
    assert_eq!(names(&none), ["changes"]);
    let nobody = pb::UpdateContextRequest {
        role: String::new(),
        ..update("s-1", vec![create("DEC-1", "x")])
    };
    assert_eq!(
        names(&fields(client.update_context(nobody).await)),
        ["role"]
    );
    replica.stop().await;
}

async fn payloads_are_strict_and_bounded(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let before = version(&replica, &story_id).await;
    let deep = format!("{{\"title\": {}{}}}", "[".repeat(50_000), "]".repeat(10));
    let big = format!("{{\"title\": \"{}\"}}", "x".repeat(64 * 1024));
    let cases = [
        ("{", "changes[0].payload"),
        ("[1]", "changes[0].payload"),
        ("\"x\"", "changes[0].payload"),
        ("{\"title\": \"a\", \"title\": \"b\"}", "changes[0].payload"),
        (deep.as_str(), "changes[0].payload"),
        (big.as_str(), "changes[0].payload"),
        ("{\"title\": \"a\\u0000b\"}", "changes[0].payload.title"),
        (
            "{\"title\": \"x\", \"status\": \"DONE\"}",
            "changes[0].payload.status",
        ),
        (
            "{\"title\": \"x\", \"decision_id\": \"DEC-2\"}",
            "changes[0].payload.decision_id",
        ),
        (
            "{\"title\": \"x\", \"story_id\": \"s-2\"}",
            "changes[0].payload.story_id",
        ),
        (
            "{\"title\": \"x\", \"colour\": 1}",
            "changes[0].payload.colour",
        ),
        (
            "{\"title\": \"x\", \"affects\": [\"T-1\", 2]}",
            "changes[0].payload.affects[1]",
        ),
        (
            "{\"title\": \"x\", \"supersedes\": [\"DEC-1\"]}",
            "changes[0].payload.supersedes",
        ),
    ];
    for (payload, field) in cases {
        let mut wrong = create("DEC-1", "x");
        wrong.payload = payload.to_owned();
        let found = fields(apply(client, &story_id, vec![wrong]).await);
        let shown: String = payload.chars().take(60).collect();
        assert_eq!(names(&found), [field], "{shown}: {found:?}");
    }
    assert_eq!(version(&replica, &story_id).await, before);
    replica.stop().await;
}

async fn what_others_own_names_the_call_that_changes_it(world: &World) {
    let replica = world.replica().await;
    for (kind, call) in [
        ("CASE", "UpdateStory"),
        ("plan", "ApprovePlan"),
        ("SUBTASK", "CreateTask"),
    ] {
        let asked = vec![
            create("DEC-1", "x"),
            change("UPDATE", kind, "x", &json!({"a": 1})),
        ];
        let found = fields(apply(&replica.client, "s-1", asked).await);
        assert_eq!(names(&found), ["changes[1].entity_type"]);
        assert!(found[0].1.contains(call), "{found:?}");
    }
    replica.stop().await;
}

async fn other_calls_name_every_violation(world: &World) {
    let replica = world.replica().await;
    let mut client = replica.client.clone();
    let story = pb::CreateStoryRequest {
        story_id: "x".into(),
        title: " ".into(),
        description: String::new(),
        initial_phase: "LUNCH".into(),
        created_by: "system".into(),
        ..Default::default()
    };
    let found = fields(client.create_story(story).await);
    assert_eq!(
        names(&found),
        [
            "story_id",
            "title",
            "description",
            "initial_phase",
            "created_by"
        ]
    );
    let task = pb::CreateTaskRequest {
        story_id: String::new(),
        task_id: "T-1".into(),
        title: String::new(),
        role: "system".into(),
        dependencies: vec!["T-1".into(), "x".into()],
        priority: -1,
        estimated_hours: -1,
        ..Default::default()
    };
    let found = fields(client.create_task(task).await);
    assert_eq!(
        names(&found),
        [
            "story_id",
            "title",
            "role",
            "dependencies[0]",
            "dependencies[1]",
            "priority",
            "estimated_hours"
        ]
    );
    assert!(found[3].1.contains("T-1 -> T-1"), "{found:?}");
    let decision = pb::AddProjectDecisionRequest {
        story_id: "s-".into(),
        metadata: [("colour", "red"), ("role", "boss"), ("affects", "T-1, x")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        supersedes: vec!["x".into()],
        affects: vec!["y".into()],
        ..Default::default()
    };
    let found = fields(client.add_project_decision(decision).await);
    assert_eq!(
        names(&found),
        [
            "story_id",
            "decision_type",
            "title",
            "metadata.affects[1]",
            "metadata.colour",
            "metadata.role",
            "affects[0]",
            "supersedes[0]"
        ]
    );
    let step = pb::TransitionPhaseRequest {
        story_id: "x".into(),
        from_phase: "BUILD".into(),
        to_phase: "build".into(),
        ..Default::default()
    };
    let found = fields(client.transition_phase(step).await);
    assert_eq!(names(&found), ["story_id", "to_phase"]);
    replica.stop().await;
}

async fn unknown_stories_are_not_found(world: &World) {
    let replica = world.replica().await;
    let mut client = replica.client.clone();
    let nowhere = "s-nowhere";
    let outcome = apply(&client, nowhere, vec![create("DEC-1", "x")]).await;
    refused(outcome, Code::NotFound, "NOT_FOUND", &["story", nowhere]);
    let step = pb::TransitionPhaseRequest {
        story_id: nowhere.into(),
        from_phase: "DESIGN".into(),
        to_phase: "BUILD".into(),
        ..Default::default()
    };
    refused(
        client.transition_phase(step).await,
        Code::NotFound,
        "NOT_FOUND",
        &[nowhere],
    );
    let decision = pb::AddProjectDecisionRequest {
        story_id: nowhere.into(),
        decision_type: "X".into(),
        title: "x".into(),
        ..Default::default()
    };
    let outcome = client.add_project_decision(decision).await;
    refused(outcome, Code::NotFound, "NOT_FOUND", &[nowhere]);
    let task = pb::CreateTaskRequest {
        story_id: nowhere.into(),
        title: "x".into(),
        ..Default::default()
    };
    refused(
        client.create_task(task).await,
        Code::NotFound,
        "NOT_FOUND",
        &[nowhere],
    );
    replica.stop().await;
}
