//! Short ways to ask for things, and to read what was refused.

use fleet_proto::planning::v2 as pb;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::fleet::Client;

pub const STATES: [&str; 4] = [
    "PO_REVIEW",
    "READY_FOR_PLANNING",
    "PLANNED",
    "READY_FOR_EXECUTION",
];

pub fn story_request(epic: &str) -> pb::CreateStoryRequest {
    pb::CreateStoryRequest {
        epic_id: epic.to_owned(),
        without_epic: epic.is_empty(),
        title: "Export invoices".into(),
        brief: "As an accountant I want to export invoices so that audits are quick".into(),
        created_by: "ana".into(),
        acceptance_criteria: vec![
            "A file is offered".into(),
            "It opens in a spreadsheet".into(),
        ],
        constraints: vec!["Depends on nothing".into()],
        size: "M".into(),
        ..Default::default()
    }
}

pub fn task_request(story: &str, title: &str, depends_on: &[&str]) -> pb::CreateTaskRequest {
    pb::CreateTaskRequest {
        story_id: story.to_owned(),
        title: title.to_owned(),
        depends_on: depends_on.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

pub fn move_request(story: &str, to: &str) -> pb::TransitionStoryRequest {
    pb::TransitionStoryRequest {
        story_id: story.to_owned(),
        target_state: to.to_owned(),
        transitioned_by: "ana".into(),
        ..Default::default()
    }
}

pub fn dependency(task: &str, on: &str) -> pb::AddTaskDependencyRequest {
    pb::AddTaskDependencyRequest {
        task_id: task.to_owned(),
        depends_on_task_id: on.to_owned(),
        changed_by: "ana".into(),
        ..Default::default()
    }
}

pub async fn project(client: &mut Client) -> pb::Project {
    let request = pb::CreateProjectRequest {
        name: "Shop".into(),
        ..Default::default()
    };
    client
        .create_project(request)
        .await
        .unwrap()
        .into_inner()
        .project
        .unwrap()
}

pub async fn epic(client: &mut Client) -> pb::Epic {
    let project_id = project(client).await.project_id;
    let request = pb::CreateEpicRequest {
        project_id,
        title: "Invoices".into(),
        ..Default::default()
    };
    client
        .create_epic(request)
        .await
        .unwrap()
        .into_inner()
        .epic
        .unwrap()
}

pub async fn story(client: &mut Client) -> pb::Story {
    client
        .create_story(story_request(""))
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap()
}

pub async fn get(client: &mut Client, story: &str) -> pb::Story {
    let request = pb::GetStoryRequest {
        story_id: story.to_owned(),
    };
    client.get_story(request).await.unwrap().into_inner()
}

pub async fn task(client: &mut Client, story: &str, title: &str, depends_on: &[&str]) -> pb::Task {
    let request = task_request(story, title, depends_on);
    client
        .create_task(request)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap()
}

pub async fn get_task(client: &mut Client, task: &str) -> pb::Task {
    let request = pb::GetTaskRequest {
        task_id: task.to_owned(),
    };
    client
        .get_task(request)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap()
}

pub async fn go(client: &mut Client, story: &str, to: &str) -> pb::Story {
    let request = move_request(story, to);
    client
        .transition_story(request)
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap()
}

/// A story with so many independent tasks, released.
pub async fn released(client: &mut Client, tasks: usize) -> (pb::Story, Vec<pb::Task>) {
    let id = story(client).await.story_id;
    let mut made = Vec::new();
    for i in 0..tasks {
        made.push(task(client, &id, &format!("Part {i}"), &[]).await);
    }
    for state in STATES {
        go(client, &id, state).await;
    }
    (get(client, &id).await, made)
}

pub async fn history(client: &mut Client, story: &str) -> Vec<pb::StoryHistoryEntry> {
    let request = pb::GetStoryHistoryRequest {
        story_id: story.to_owned(),
        ..Default::default()
    };
    client
        .get_story_history(request)
        .await
        .unwrap()
        .into_inner()
        .entries
}

/// What a refusal says to programs: reason and metadata.
pub fn facts(status: &Status) -> (String, std::collections::HashMap<String, String>) {
    let info = status
        .get_details_error_info()
        .expect("every failure has an ErrorInfo");
    assert_eq!(info.domain, "fleet");
    (info.reason, info.metadata)
}

pub fn refused<T: std::fmt::Debug>(
    outcome: Result<T, Status>,
    code: Code,
    reason: &str,
    mentions: &[&str],
) -> std::collections::HashMap<String, String> {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), code, "{status:?}");
    let (found, metadata) = facts(&status);
    assert_eq!(found, reason, "{status:?}");
    for part in mentions {
        assert!(
            status.message().contains(part),
            "{part:?} in {:?}",
            status.message()
        );
    }
    if code == Code::NotFound {
        let resource = status
            .get_details_resource_info()
            .expect("names the resource");
        assert!(
            mentions
                .iter()
                .any(|part| resource.resource_name.contains(part)),
            "{resource:?}"
        );
    }
    if code == Code::FailedPrecondition {
        assert!(status.get_details_precondition_failure().is_some());
    }
    metadata
}

/// The fields that an INVALID_ARGUMENT names.
pub fn fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let status = outcome.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().expect("names the fields");
    bad.field_violations
        .into_iter()
        .map(|violation| violation.field)
        .collect()
}
