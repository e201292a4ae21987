//! Tasks, what they wait for, and when they are frozen.

use fleet_graph::{Commit, EdgeType, Label, NodeKey, Owner};
use fleet_proto::planning::v2 as pb;
use fleet_service::{SystemClock, SystemIds};
use fleet_topology::streams;
use fleet_types::{Clock as _, Ids as _};
use tonic::Code;

use crate::ask::{self, STATES, dependency, fields, go, refused};
use crate::fleet::{Fleet, on_every_backend, soon};

on_every_backend!(
    tasks_change_until_they_are_released,
    a_cycle_is_reported_as_its_path,
    closed_parents_take_nothing
);

async fn tasks_change_until_they_are_released(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let id = ask::story(client).await.story_id;
    let task = ask::task(client, &id, "Part", &[]).await;
    let update = pb::UpdateTaskRequest {
        task_id: task.task_id.clone(),
        description: Some("In detail".into()),
        r#type: Some("BUG_FIX".into()),
        estimated_hours: Some(5),
        priority: Some(2),
        role: Some("architect".into()),
        acceptance_criteria: Some(pb::TextList {
            items: vec!["It works".into()],
        }),
        updated_by: "bob".into(),
        expected_version: Some(1),
        ..Default::default()
    };
    let before = ask::get(client, &id).await.version;
    let changed = client
        .update_task(update.clone())
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    assert_eq!(
        (
            changed.version,
            changed.r#type.as_str(),
            changed.role.as_str()
        ),
        (2, "bug_fix", "architect")
    );
    assert_eq!(ask::get_task(client, &task.task_id).await, changed);
    assert_eq!(ask::get(client, &id).await.version, before + 1);
    let facts = refused(
        client.update_task(update.clone()).await,
        Code::Aborted,
        "STALE_VERSION",
        &["version 2, not 1"],
    );
    assert_eq!(facts["current_version"], "2");
    let same = pb::UpdateTaskRequest {
        expected_version: None,
        ..update.clone()
    };
    let same = client.update_task(same).await.unwrap().into_inner();
    assert!(same.message.contains("already") && same.task.unwrap().version == 2);
    let wrong = pb::UpdateTaskRequest {
        priority: Some(0),
        estimated_hours: Some(-1),
        ..update.clone()
    };
    assert_eq!(
        fields(client.update_task(wrong).await),
        ["estimated_hours", "priority"]
    );

    let other = ask::task(client, &id, "Other", &[]).await.task_id;
    for state in STATES {
        go(client, &id, state).await;
    }
    let frozen = &["READY_FOR_EXECUTION", "frozen"];
    let update = pb::UpdateTaskRequest {
        expected_version: None,
        title: Some("Late".into()),
        ..update
    };
    let facts = refused(
        client.update_task(update.clone()).await,
        Code::FailedPrecondition,
        "TASKS_FROZEN",
        frozen,
    );
    assert_eq!(
        (facts["current_state"].as_str(), facts["subject"].as_str()),
        ("READY_FOR_EXECUTION", id.as_str())
    );
    let late = client
        .create_task(ask::task_request(&id, "Late", &[]))
        .await;
    refused(late, Code::FailedPrecondition, "TASKS_FROZEN", frozen);
    let late = client
        .add_task_dependency(dependency(&task.task_id, &other))
        .await;
    refused(late, Code::FailedPrecondition, "TASKS_FROZEN", frozen);
    go(client, &id, "CARRY_OVER").await;
    client.update_task(update).await.unwrap();
    client
        .add_task_dependency(dependency(&task.task_id, &other))
        .await
        .unwrap();
    replica.stop().await;
}

async fn a_cycle_is_reported_as_its_path(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let mut heard = replica.listen(&streams::PLANNING_EVENTS).await;
    let id = ask::story(client).await.story_id;
    let a = ask::task(client, &id, "A", &[]).await.task_id;
    let b = ask::task(client, &id, "B", &[&a, &a]).await;
    assert_eq!(b.depends_on, [a.as_str()], "named once");
    let b = b.task_id;
    let c = ask::task(client, &id, "C", &[&b]).await.task_id;
    let refusal = client.add_task_dependency(dependency(&a, &c)).await;
    let path = [a.as_str(), c.as_str(), b.as_str(), a.as_str()];
    let facts = refused(
        refusal,
        Code::FailedPrecondition,
        "DEPENDENCY_CYCLE",
        &[&path.join(" -> ")],
    );
    assert_eq!(facts["cycle"], path.join(","));
    assert_eq!(
        fields(client.add_task_dependency(dependency(&a, &a)).await),
        ["depends_on_task_id"]
    );
    refused(
        client.add_task_dependency(dependency(&a, "T-no")).await,
        Code::NotFound,
        "NOT_FOUND",
        &["T-no"],
    );
    refused(
        client.add_task_dependency(dependency("T-no", &a)).await,
        Code::NotFound,
        "NOT_FOUND",
        &["T-no"],
    );
    let elsewhere = ask::story(client).await.story_id;
    let foreign = ask::task(client, &elsewhere, "Foreign", &[]).await.task_id;
    refused(
        client.add_task_dependency(dependency(&a, &foreign)).await,
        Code::FailedPrecondition,
        "PARENT_MISMATCH",
        &[&elsewhere],
    );
    refused(
        client
            .create_task(ask::task_request(&id, "x", &[&foreign]))
            .await,
        Code::FailedPrecondition,
        "PARENT_MISMATCH",
        &[&foreign],
    );

    // There already, gone already: no error, no effect.
    let again = client
        .add_task_dependency(dependency(&c, &b))
        .await
        .unwrap()
        .into_inner();
    assert!(again.message.contains("already") && again.task.unwrap().version == 1);
    let remove = |task: &str, on: &str, version| pb::RemoveTaskDependencyRequest {
        task_id: task.into(),
        depends_on_task_id: on.into(),
        changed_by: "ana".into(),
        expected_version: version,
        ..Default::default()
    };
    refused(
        client.remove_task_dependency(remove(&c, &b, Some(7))).await,
        Code::Aborted,
        "STALE_VERSION",
        &["7"],
    );
    refused(
        client
            .remove_task_dependency(remove(&c, "T-no", None))
            .await,
        Code::NotFound,
        "NOT_FOUND",
        &["T-no"],
    );
    let gone = client
        .remove_task_dependency(remove(&c, &b, Some(1)))
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    assert_eq!((gone.depends_on.len(), gone.version), (0, 2));
    let gone = client
        .remove_task_dependency(remove(&c, &b, None))
        .await
        .unwrap()
        .into_inner();
    assert!(gone.message.contains("no such") && gone.task.unwrap().version == 2);
    // Now the other way round closes no cycle.
    client
        .add_task_dependency(dependency(&a, &c))
        .await
        .unwrap();

    // A cycle that came in behind our back stops the release, and that is told.
    let key = NodeKey::new(Label::Task, &c);
    let node = replica
        .deps
        .store
        .get(std::slice::from_ref(&key), soon())
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let mut props = node.props.clone();
    props.insert("depends_on".into(), serde_json::json!([b]));
    let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
    commit.update(key.clone(), node.version, node.ord, props);
    commit.relate(key, EdgeType::DependsOn, NodeKey::new(Label::Task, &b));
    replica.deps.store.commit(&commit, soon()).await.unwrap();
    for state in &STATES[..3] {
        go(client, &id, state).await;
    }
    let refusal = client
        .transition_story(ask::move_request(&id, STATES[3]))
        .await;
    let facts = refused(
        refusal,
        Code::FailedPrecondition,
        "STORY_NOT_RELEASABLE",
        &[" -> "],
    );
    assert_eq!(facts["cycle"].split(',').count(), 4);
    heard
        .until(|events| {
            events
                .iter()
                .any(|e| e.kind == "planning.story.tasks_not_ready")
        })
        .await;
    let said = heard.of("planning.story.tasks_not_ready", &id);
    assert_eq!(
        (
            said[0].body["cycle"].as_array().unwrap().len(),
            &said[0].body["total_tasks"]
        ),
        (4, &3.into())
    );
    assert_eq!(ask::get(client, &id).await.state, "PLANNED");
    replica.stop().await;
}

async fn closed_parents_take_nothing(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let epic = ask::epic(client).await;
    for (label, id) in [
        (Label::Project, &epic.project_id),
        (Label::Epic, &epic.epic_id),
    ] {
        let key = NodeKey::new(label, id);
        let node = replica
            .deps
            .store
            .get(std::slice::from_ref(&key), soon())
            .await
            .unwrap()
            .remove(0)
            .unwrap();
        let mut props = node.props.clone();
        props.insert("status".into(), "archived".into());
        let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
        commit.update(key, node.version, node.ord, props);
        replica.deps.store.commit(&commit, soon()).await.unwrap();
    }
    let under = pb::CreateEpicRequest {
        project_id: epic.project_id.clone(),
        title: "x".into(),
        ..Default::default()
    };
    refused(
        client.create_epic(under).await,
        Code::FailedPrecondition,
        "PARENT_CLOSED",
        &["archived"],
    );
    let under = client.create_story(ask::story_request(&epic.epic_id)).await;
    refused(
        under,
        Code::FailedPrecondition,
        "PARENT_CLOSED",
        &[&epic.epic_id],
    );
    replica.stop().await;
}
