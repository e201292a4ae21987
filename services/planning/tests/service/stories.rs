//! The hierarchy, a story's content and its way through the gates.

use fleet_graph::{Direction, EdgeType, Label, NodeKey, Step, Walk};
use fleet_proto::planning::v2 as pb;
use fleet_topology::streams;
use tonic::Code;

use crate::ask::{self, fields, go, history, move_request, refused, story_request};
use crate::fleet::{Fleet, Replica, on_every_backend, soon};

on_every_backend!(
    a_story_travels_through_its_gates,
    content_changes_only_while_it_is_written,
    what_is_wrong_is_said,
);

/// The ids of what `from` points at.
async fn children(replica: &Replica, from: NodeKey, edge: EdgeType) -> Vec<String> {
    let steps = vec![Step {
        edge,
        direction: Direction::Out,
        hops: 1,
    }];
    let walk = Walk {
        roots: vec![from.clone()],
        steps,
        max_nodes: 100,
    };
    let found = replica.deps.store.walk(&walk, soon()).await.unwrap();
    found
        .nodes
        .iter()
        .filter(|n| n.key != from)
        .map(|n| n.key.id().to_owned())
        .collect()
}

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
