//! What is wrong with a call is said, all of it.

use fleet_proto::planning::v2 as pb;
use tonic::Code;

use crate::ask::{self, fields, move_request, refused, story_request};
use crate::fleet::{Fleet, on_every_backend};

on_every_backend!(what_is_wrong_is_said);

async fn what_is_wrong_is_said(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let not_found = |id: &'static str| (Code::NotFound, "NOT_FOUND", id);
    macro_rules! unknown {
        ($call:ident, $request:expr, $id:literal) => {{
            let (code, reason, id) = not_found($id);
            refused(client.$call($request).await, code, reason, &[id]);
        }};
    }
    unknown!(
        get_project,
        pb::GetProjectRequest {
            project_id: "PROJ-no".into()
        },
        "PROJ-no"
    );
    unknown!(
        get_epic,
        pb::GetEpicRequest {
            epic_id: "E-no".into()
        },
        "E-no"
    );
    unknown!(
        get_story,
        pb::GetStoryRequest {
            story_id: "s-no".into()
        },
        "s-no"
    );
    unknown!(
        get_task,
        pb::GetTaskRequest {
            task_id: "T-no".into()
        },
        "T-no"
    );
    unknown!(
        get_readiness,
        pb::GetReadinessRequest {
            story_id: "s-no".into()
        },
        "s-no"
    );
    unknown!(
        get_story_history,
        pb::GetStoryHistoryRequest {
            story_id: "s-no".into(),
            ..Default::default()
        },
        "s-no"
    );
    unknown!(
        create_epic,
        pb::CreateEpicRequest {
            project_id: "PROJ-no".into(),
            title: "x".into(),
            ..Default::default()
        },
        "PROJ-no"
    );
    unknown!(create_story, story_request("E-no"), "E-no");
    unknown!(transition_story, move_request("s-no", "PO_REVIEW"), "s-no");
    unknown!(create_task, ask::task_request("s-no", "x", &[]), "s-no");
    unknown!(
        update_story,
        pb::UpdateStoryRequest {
            story_id: "s-no".into(),
            title: Some("x".into()),
            updated_by: "a".into(),
            ..Default::default()
        },
        "s-no"
    );
    unknown!(
        update_task,
        pb::UpdateTaskRequest {
            task_id: "T-no".into(),
            title: Some("x".into()),
            updated_by: "a".into(),
            ..Default::default()
        },
        "T-no"
    );
    unknown!(
        approve_plan,
        pb::ApprovePlanRequest {
            story_id: "s-no".into(),
            approved_by: "a".into(),
            ..Default::default()
        },
        "s-no"
    );
    let story = ask::story(client).await.story_id;
    let epicless = pb::UpdateStoryRequest {
        story_id: story.clone(),
        epic_id: Some("E-no".into()),
        updated_by: "a".into(),
        ..Default::default()
    };
    unknown!(update_story, epicless, "E-no");
    unknown!(
        create_task,
        ask::task_request(&story, "x", &["T-no"]),
        "T-no"
    );
    let plan = pb::CreateTaskRequest {
        plan_id: Some("PL-no".into()),
        ..ask::task_request(&story, "x", &[])
    };
    unknown!(create_task, plan, "PL-no");

    // Chosen ids, once each.
    let name = story.trim_start_matches("s-");
    let chosen = pb::CreateStoryRequest {
        story_id: Some(format!("s-mine.{name}")),
        ..story_request("")
    };
    let mine = client
        .create_story(chosen.clone())
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap();
    assert_eq!(mine.story_id, format!("s-mine.{name}"));
    refused(
        client.create_story(chosen).await,
        Code::AlreadyExists,
        "ALREADY_EXISTS",
        &[&mine.story_id],
    );
    let chosen = pb::CreateTaskRequest {
        task_id: Some(format!("T-mine.{name}")),
        ..ask::task_request(&story, "x", &[])
    };
    client.create_task(chosen.clone()).await.unwrap();
    refused(
        client.create_task(chosen).await,
        Code::AlreadyExists,
        "ALREADY_EXISTS",
        &["T-mine."],
    );

    // Every field that is wrong is named, whatever is wrong with it.
    assert_eq!(
        fields(
            client
                .create_project(pb::CreateProjectRequest {
                    name: " ".into(),
                    owner: "a\u{1}".into(),
                    ..Default::default()
                })
                .await
        ),
        ["name", "owner"]
    );
    assert_eq!(
        fields(client.create_story(pb::CreateStoryRequest::default()).await),
        ["epic_id", "title", "brief", "created_by"]
    );
    assert_eq!(
        fields(
            client
                .get_story(pb::GetStoryRequest {
                    story_id: "PROJ-1".into()
                })
                .await
        ),
        ["story_id"]
    );
    assert_eq!(
        fields(
            client
                .transition_story(move_request("s-1", "NIRVANA"))
                .await
        ),
        ["target_state"]
    );
    let long = pb::CreateStoryRequest {
        brief: "é".repeat(33 * 1024),
        ..story_request("")
    };
    assert_eq!(fields(client.create_story(long).await), ["brief"]);
    let unknown = pb::ListStoriesRequest {
        state_filter: Some("x".into()),
        ..Default::default()
    };
    assert_eq!(fields(client.list_stories(unknown).await), ["state_filter"]);
    let unknown = pb::ListEpicsRequest {
        status_filter: Some("x".into()),
        project_id: Some("s-1".into()),
        ..Default::default()
    };
    assert_eq!(
        fields(client.list_epics(unknown).await),
        ["project_id", "status_filter"]
    );
    let stale = pb::TransitionStoryRequest {
        expected_version: Some(9),
        ..move_request(&mine.story_id, "PO_REVIEW")
    };
    let facts = refused(
        client.transition_story(stale).await,
        Code::Aborted,
        "STALE_VERSION",
        &["version 1, not 9"],
    );
    assert_eq!(facts["current_version"], "1");
    replica.stop().await;
}
