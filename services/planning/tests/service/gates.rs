//! The hierarchy, and a story's way through the gates.

use fleet_graph::{EdgeType, Label, NodeKey};
use fleet_proto::planning::v2 as pb;
use fleet_topology::streams;
use tonic::Code;

use crate::ask::{self, go, history, move_request, refused, story_request};
use crate::fleet::{Fleet, children, on_every_backend};

on_every_backend!(a_story_travels_through_its_gates);

async fn a_story_travels_through_its_gates(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let mut heard = replica.listen(&streams::PLANNING_EVENTS).await;

    let project = ask::project(client).await;
    assert!(project.project_id.starts_with("PROJ-") && project.status == "active");
    assert_eq!(
        (project.version, &project.created_at),
        (1, &project.updated_at)
    );
    let request = pb::GetProjectRequest {
        project_id: project.project_id.clone(),
    };
    let found = client.get_project(request).await.unwrap().into_inner();
    assert_eq!(
        (found.project, found.success),
        (Some(project.clone()), true)
    );

    let request = pb::CreateEpicRequest {
        project_id: project.project_id.clone(),
        title: " Invoices ".into(),
        ..Default::default()
    };
    let epic = client
        .create_epic(request)
        .await
        .unwrap()
        .into_inner()
        .epic
        .unwrap();
    assert_eq!(
        (epic.title.as_str(), &epic.project_id),
        ("Invoices", &project.project_id)
    );
    let request = pb::GetEpicRequest {
        epic_id: epic.epic_id.clone(),
    };
    assert_eq!(
        client
            .get_epic(request)
            .await
            .unwrap()
            .into_inner()
            .epic
            .unwrap(),
        epic
    );

    let mut request = story_request(&epic.epic_id);
    request.acceptance_criteria.clear();
    let created = client.create_story(request).await.unwrap().into_inner();
    assert!(
        created.success && created.message.contains("created"),
        "{created:?}"
    );
    let story = created.story.unwrap();
    let id = story.story_id.as_str();
    assert_eq!(
        (story.state.as_str(), story.version, story.execution),
        ("DRAFT", 1, 0)
    );
    assert_eq!((story.dor_score, story.size.as_str()), (70, "M"));
    assert_eq!(ask::get(client, id).await, story);

    // The gate explains itself, and opens for the complete story.
    let request = pb::GetReadinessRequest {
        story_id: id.to_owned(),
    };
    let readiness = client.get_readiness(request).await.unwrap().into_inner();
    assert_eq!(
        (readiness.score, readiness.threshold, readiness.ready),
        (70, 80, false)
    );
    let missing: Vec<_> = readiness
        .criteria
        .iter()
        .filter(|c| !c.met)
        .map(|c| &c.name)
        .collect();
    assert_eq!(missing, ["acceptance_criteria"]);
    assert_eq!(
        readiness.criteria.iter().map(|c| c.weight).sum::<i32>(),
        100
    );
    go(client, id, "po_review").await;
    let refusal = client
        .transition_story(move_request(id, "READY_FOR_PLANNING"))
        .await;
    let facts = refused(
        refusal,
        Code::FailedPrecondition,
        "DOR_BELOW_THRESHOLD",
        &["70 of 80", "acceptance_criteria"],
    );
    assert_eq!(
        (facts["score"].as_str(), facts["missing"].as_str()),
        ("70", "acceptance_criteria")
    );
    let overridden = pb::TransitionStoryRequest {
        override_reason: "we know them by heart".into(),
        ..move_request(id, "READY_FOR_PLANNING")
    };
    client.transition_story(overridden).await.unwrap();
    let illegal = client.transition_story(move_request(id, "DONE")).await;
    let facts = refused(
        illegal,
        Code::FailedPrecondition,
        "STORY_STATE",
        &["READY_FOR_PLANNING", "DONE"],
    );
    assert_eq!(facts["current_state"], "READY_FOR_PLANNING");
    assert_eq!(facts["allowed"], "PLANNED,DRAFT");

    // Without tasks there is nothing to release, and that is told.
    go(client, id, "PLANNED").await;
    let refusal = client
        .transition_story(move_request(id, "READY_FOR_EXECUTION"))
        .await;
    refused(
        refusal,
        Code::FailedPrecondition,
        "STORY_NOT_RELEASABLE",
        &["no tasks"],
    );
    let before = ask::get(client, id).await;
    let a = ask::task(client, id, "Read them", &[]).await;
    let mut second = ask::task_request(id, "Write them\nall", &[&a.task_id]);
    (second.priority, second.role) = (3, "QA".into());
    let b = client
        .create_task(second)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    assert_eq!(
        (b.role.as_str(), b.priority, b.status.as_str()),
        ("qa", 3, "todo")
    );
    assert_eq!(
        ask::get(client, id).await.version,
        before.version + 2,
        "a change of tasks is a change of the story"
    );
    let story = go(client, id, "READY_FOR_EXECUTION").await;
    assert_eq!(
        (story.state.as_str(), story.execution),
        ("READY_FOR_EXECUTION", 1)
    );

    // By hand to the end, with one lap through CARRY_OVER.
    go(client, id, "CARRY_OVER").await;
    assert_eq!(go(client, id, "READY_FOR_EXECUTION").await.execution, 2);
    for state in [
        "IN_PROGRESS",
        "CODE_REVIEW",
        "TESTING",
        "READY_TO_REVIEW",
        "ACCEPTED",
        "DONE",
        "ARCHIVED",
    ] {
        assert_eq!(go(client, id, state).await.state, state);
    }
    let refusal = client
        .transition_story(pb::TransitionStoryRequest {
            reason: "no".into(),
            ..move_request(id, "DRAFT")
        })
        .await;
    let facts = refused(
        refusal,
        Code::FailedPrecondition,
        "STORY_STATE",
        &["ARCHIVED", "no other state"],
    );
    assert_eq!(facts["allowed"], "");

    // Everything is in the history, and was said, each with its own version.
    let entries = history(client, id).await;
    assert_eq!(entries.len(), 14);
    for (i, entry) in entries.iter().enumerate() {
        assert_eq!(entry.seq, i64::try_from(i).unwrap() + 1);
        let from = i
            .checked_sub(1)
            .map_or("", |before| entries[before].to_state.as_str());
        assert_eq!(entry.from_state, from);
    }
    assert_eq!(entries[2].override_reason, "we know them by heart");
    let said = |heard: &crate::fleet::Heard| heard.of("planning.story.transitioned", id).len();
    while said(&heard) < 13 {
        let seen = heard.events.len();
        heard.until(|events| events.len() > seen).await;
    }
    let created = heard.of("planning.story.created", id);
    assert_eq!(created[0].id.as_str(), entries[0].event_id);
    assert!(!created[0].correlation.is_empty());
    for (event, entry) in heard
        .of("planning.story.transitioned", id)
        .into_iter()
        .zip(&entries[1..])
    {
        assert_eq!(event.id.as_str(), entry.event_id);
        assert_eq!(event.body["to_state"], entry.to_state.as_str());
        assert_eq!(event.body["execution"], entry.execution);
        assert_eq!(event.body["event_type"], "story.transitioned");
    }
    let versions: Vec<_> = heard
        .events
        .iter()
        .filter(|e| e.aggregate == id && e.kind != "planning.story.tasks_not_ready")
        .map(|e| e.aggregate_version)
        .collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let not_ready = heard.of("planning.story.tasks_not_ready", id);
    assert_eq!(not_ready[0].body["total_tasks"], 0);
    let release = heard.of("planning.story.transitioned", id)[3];
    let tasks = release.body["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 2);
    assert_eq!(tasks[0]["task_id"], a.task_id.as_str());
    assert_eq!(tasks[1]["title"], "Write them all");
    assert_eq!(
        (&tasks[1]["role"], &tasks[1]["priority"]),
        (&"qa".into(), &3.into())
    );
    assert_eq!(tasks[1]["depends_on"][0], a.task_id.as_str());
    assert_eq!(
        heard.of("planning.task.created", &b.task_id)[0].body["type"],
        "development"
    );
    assert_eq!(
        heard
            .of("planning.project.created", &project.project_id)
            .len(),
        1
    );
    assert_eq!(heard.of("planning.epic.created", &epic.epic_id).len(), 1);

    // The graph holds together.
    let key = |label, id: &str| NodeKey::new(label, id);
    let epics = children(
        &replica,
        key(Label::Project, &project.project_id),
        EdgeType::HasEpic,
    )
    .await;
    assert_eq!(epics, [epic.epic_id.as_str()]);
    assert_eq!(
        children(
            &replica,
            key(Label::Epic, &epic.epic_id),
            EdgeType::Contains
        )
        .await,
        [id]
    );
    assert_eq!(
        children(&replica, key(Label::Story, id), EdgeType::HasTask)
            .await
            .len(),
        2
    );
    assert_eq!(
        children(&replica, key(Label::Story, id), EdgeType::HasTransition)
            .await
            .len(),
        14
    );
    let on = children(&replica, key(Label::Task, &b.task_id), EdgeType::DependsOn).await;
    assert_eq!(on, [a.task_id.as_str()]);
    replica.stop().await;
}
