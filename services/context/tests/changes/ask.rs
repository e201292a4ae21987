//! Short ways to ask for things, and to read what was refused.

use std::collections::HashMap;

use fleet_graph::{Label, NodeKey};
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use serde_json::{Value, json};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt as _;

use crate::world::{Client, Replica, eventually};

pub fn key(label: Label, id: &str) -> NodeKey {
    NodeKey::new(label, id)
}

/// A story, created through context; its own news have been taken in.
pub async fn story(replica: &Replica) -> String {
    let request = pb::CreateStoryRequest {
        title: "Export invoices".into(),
        description: "As an accountant I want to export invoices".into(),
        ..Default::default()
    };
    let created = replica.client.clone().create_story(request).await.unwrap();
    let story = created.into_inner().story_id;
    quiet(replica, &story).await;
    story
}

/// Waits until the news of the story's creation have been taken in.
pub async fn quiet(replica: &Replica, story: &str) {
    eventually("the milestone of the creation", || async {
        let story = key(Label::Story, story);
        let events = replica
            .children(story, fleet_graph::EdgeType::HasEvent)
            .await;
        let told = |kind: &str| {
            let mut kinds = events
                .iter()
                .filter_map(|node| node.props.get("event_type"));
            kinds.any(|found| found == kind)
        };
        told("story_created").then_some(())
    })
    .await;
}

pub async fn task(replica: &Replica, story: &str, title: &str) -> String {
    // The news of it make a version of the context, too.
    let before = version(replica, story).await;
    let request = pb::CreateTaskRequest {
        story_id: story.to_owned(),
        title: title.to_owned(),
        ..Default::default()
    };
    let created = replica.client.clone().create_task(request).await.unwrap();
    let task = created.into_inner().task_id;
    eventually("the news of the task", || async {
        (version(replica, story).await != before).then_some(())
    })
    .await;
    task
}

pub async fn planned(replica: &Replica, story: &str) -> planning::Story {
    let request = planning::GetStoryRequest {
        story_id: story.to_owned(),
    };
    let found = replica.planning.clone().get_story(request).await;
    found.unwrap().into_inner()
}

pub async fn version(replica: &Replica, story: &str) -> i64 {
    let node = replica.node(key(Label::StoryContext, story)).await;
    node.map_or(0, |node| node.version)
}

pub fn change(operation: &str, kind: &str, id: &str, payload: &Value) -> pb::ContextChange {
    pb::ContextChange {
        operation: operation.to_owned(),
        entity_type: kind.to_owned(),
        entity_id: id.to_owned(),
        payload: match payload {
            Value::Null => String::new(),
            payload => payload.to_string(),
        },
        reason: String::new(),
    }
}

pub fn create(id: &str, title: &str) -> pb::ContextChange {
    change("CREATE", "DECISION", id, &json!({"title": title}))
}

pub fn update(story: &str, changes: Vec<pb::ContextChange>) -> pb::UpdateContextRequest {
    pb::UpdateContextRequest {
        story_id: story.to_owned(),
        role: "architect".into(),
        changes,
        ..Default::default()
    }
}

pub async fn apply(
    client: &Client,
    story: &str,
    changes: Vec<pb::ContextChange>,
) -> Result<pb::UpdateContextResponse, Status> {
    let mut client = client.clone();
    let answer = client.update_context(update(story, changes)).await;
    answer.map(Response::into_inner)
}

/// What a refusal says to programs.
pub fn refused<T: std::fmt::Debug>(
    outcome: Result<T, Status>,
    code: Code,
    reason: &str,
    mentions: &[&str],
) -> HashMap<String, String> {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("says the reason");
    assert_eq!(
        (info.domain.as_str(), info.reason.as_str()),
        ("fleet", reason),
        "{status:?}"
    );
    for part in mentions {
        let message = status.message();
        assert!(message.contains(part), "{part:?} in {message:?}");
    }
    info.metadata
}

/// The fields that an INVALID_ARGUMENT names, with what is wrong.
pub fn fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<(String, String)> {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().expect("names the fields");
    let violations = bad.field_violations.into_iter();
    violations.map(|v| (v.field, v.description)).collect()
}
