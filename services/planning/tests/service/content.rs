//! A story's content, its epic and its plans.

use fleet_graph::{EdgeType, Label, NodeKey};
use fleet_proto::planning::v2 as pb;
use fleet_topology::streams;
use tonic::Code;

use crate::ask::{self, go, move_request, refused};
use crate::fleet::{Fleet, children, on_every_backend};

on_every_backend!(content_changes_only_while_it_is_written);

async fn content_changes_only_while_it_is_written(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let mut heard = replica.listen(&streams::PLANNING_EVENTS).await;
    let story = ask::story(client).await;
    let id = story.story_id.as_str();
    assert_eq!((story.epic_id.as_str(), story.dor_score), ("", 100));
    let (first, second) = (ask::epic(client).await, ask::epic(client).await);
    let update = pb::UpdateStoryRequest {
        story_id: id.to_owned(),
        title: Some("Export all invoices".into()),
        size: Some(String::new()),
        epic_id: Some(first.epic_id.clone()),
        acceptance_criteria: Some(pb::TextList::default()),
        updated_by: "bob".into(),
        expected_version: Some(1),
        ..Default::default()
    };
    let updated = client
        .update_story(update.clone())
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap();
    assert_eq!((updated.version, updated.dor_score), (2, 55));
    assert_eq!(
        (updated.size.as_str(), &updated.epic_id),
        ("", &first.epic_id)
    );
    assert_eq!(ask::get(client, id).await, updated);
    let stale = client.update_story(update.clone()).await;
    let facts = refused(stale, Code::Aborted, "STALE_VERSION", &["version 2, not 1"]);
    assert_eq!(facts["current_version"], "2");
    let same = pb::UpdateStoryRequest {
        expected_version: Some(2),
        ..update.clone()
    };
    let same = client.update_story(same).await.unwrap().into_inner();
    assert_eq!(same.story.unwrap().version, 2, "nothing changed");
    assert!(same.message.contains("already"), "{}", same.message);

    // It moves from epic to epic, also when its content is closed.
    go(client, id, "PO_REVIEW").await;
    let over = pb::TransitionStoryRequest {
        override_reason: "trust me".into(),
        ..move_request(id, "READY_FOR_PLANNING")
    };
    client.transition_story(over).await.unwrap();
    let to_second = pb::UpdateStoryRequest {
        story_id: id.to_owned(),
        epic_id: Some(second.epic_id.clone()),
        updated_by: "bob".into(),
        ..Default::default()
    };
    client.update_story(to_second).await.unwrap();
    let contains = |epic: &str| NodeKey::new(Label::Epic, epic);
    assert!(
        children(&replica, contains(&first.epic_id), EdgeType::Contains)
            .await
            .is_empty()
    );
    assert_eq!(
        children(&replica, contains(&second.epic_id), EdgeType::Contains).await,
        [id]
    );
    let closed = pb::UpdateStoryRequest {
        expected_version: None,
        title: Some("Late".into()),
        ..update.clone()
    };
    let facts = refused(
        client.update_story(closed).await,
        Code::FailedPrecondition,
        "STORY_STATE",
        &["READY_FOR_PLANNING", "DRAFT and PO_REVIEW"],
    );
    assert_eq!(facts["current_state"], "READY_FOR_PLANNING");
    let reset = pb::TransitionStoryRequest {
        reason: "unclear".into(),
        ..move_request(id, "DRAFT")
    };
    client.transition_story(reset).await.unwrap();
    let again = pb::UpdateStoryRequest {
        expected_version: None,
        brief: Some("Short".into()),
        ..update
    };
    client.update_story(again).await.unwrap();
    heard
        .until(|events| {
            events
                .iter()
                .filter(|e| e.kind == "planning.story.updated")
                .count()
                == 3
        })
        .await;
    let said = heard.of("planning.story.updated", id);
    assert_eq!(
        said[0].body["changed"],
        serde_json::json!(["title", "size", "acceptance_criteria", "epic_id"])
    );
    assert_eq!(
        (&said[0].body["version"], &said[0].body["updated_by"]),
        (&2.into(), &"bob".into())
    );

    // A plan is the next version, and needs no tasks.
    let plan = |roles: &[&str]| pb::ApprovePlanRequest {
        story_id: id.to_owned(),
        approved_by: "po".into(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Default::default()
    };
    let first = client
        .approve_plan(plan(&["DEV", "tester", "developer"]))
        .await
        .unwrap()
        .into_inner();
    let next = client.approve_plan(plan(&[])).await.unwrap().into_inner();
    assert_eq!((first.plan_version, next.plan_version), (1, 2));
    heard
        .until(|events| {
            events
                .iter()
                .filter(|e| e.kind == "planning.plan.approved")
                .count()
                == 2
        })
        .await;
    let said = heard.of("planning.plan.approved", id);
    assert_eq!(
        said[0].body["roles"],
        serde_json::json!(["developer", "qa"])
    );
    assert_eq!(said[1].body["plan_id"], next.plan_id.as_str());
    let plans = children(&replica, NodeKey::new(Label::Story, id), EdgeType::HasPlan).await;
    assert_eq!(plans.len(), 2);
    let other = ask::story(client).await.story_id;
    let foreign = pb::CreateTaskRequest {
        plan_id: Some(first.plan_id.clone()),
        ..ask::task_request(&other, "x", &[])
    };
    refused(
        client.create_task(foreign).await,
        Code::FailedPrecondition,
        "PARENT_MISMATCH",
        &[&first.plan_id],
    );
    let own = pb::CreateTaskRequest {
        plan_id: Some(first.plan_id.clone()),
        ..ask::task_request(id, "x", &[])
    };
    let task = client
        .create_task(own)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    assert_eq!(task.plan_id, Some(first.plan_id));
    replica.stop().await;
}
