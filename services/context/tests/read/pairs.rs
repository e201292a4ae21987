//! Whatever one call writes, every other reads: planning's and context's alike.

use fleet_context::Config;
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;

use crate::world::{World, ask, on_every_backend, stop};

on_every_backend!(what_is_written_is_read_everywhere);

async fn what_is_written_is_read_everywhere(world: &World) {
    let plan = world.planning().await;
    let config = Config {
        planning_uri: Some(plan.address.clone()),
        ..Config::default()
    };
    let a = world.replica_with(world.backends().await, config).await;
    let (mut context, mut other) = (a.client.clone(), plan.client.clone());

    // CreateStory, CreateTask → planning, GetContext, RehydrateSession, the graph.
    let story = context
        .create_story(pb::CreateStoryRequest {
            title: "Heron story".to_owned(),
            description: "As a reader I want herons because they are quiet".to_owned(),
            initial_phase: "BUILD".to_owned(),
            ..pb::CreateStoryRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .story_id;
    let known = other
        .get_story(planning::GetStoryRequest {
            story_id: story.clone(),
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(known.title, "Heron story");
    let answer = a.must(ask(&story, "developer", "BUILD")).await;
    assert!(answer.context.contains("Heron story"), "{}", answer.context);

    let task = context
        .create_task(pb::CreateTaskRequest {
            story_id: story.clone(),
            title: "Build the nest".to_owned(),
            description: "with twigs".to_owned(),
            role: "DEV".to_owned(),
            ..pb::CreateTaskRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .task_id;
    let with_task = pb::GetContextRequest {
        subtask_id: task.clone(),
        ..ask(&story, "developer", "BUILD")
    };
    let answer = a.must(with_task.clone()).await;
    assert!(answer.context.contains("Build the nest") && answer.context.contains("with twigs"));

    // AddProjectDecision and UpdateContext → all that reads.
    let decision = context
        .add_project_decision(pb::AddProjectDecisionRequest {
            story_id: story.clone(),
            decision_type: "ARCHITECTURE".to_owned(),
            title: "Nest on a tree".to_owned(),
            rationale: "Foxes cannot climb".to_owned(),
            alternatives_considered: "On the ground".to_owned(),
            affects: vec![task.clone()],
            ..pb::AddProjectDecisionRequest::default()
        })
        .await
        .unwrap()
        .into_inner()
        .decision_id;
    let change = |entity_type: &str, id: &str, payload: &str| pb::ContextChange {
        operation: "CREATE".to_owned(),
        entity_type: entity_type.to_owned(),
        entity_id: id.to_owned(),
        payload: payload.to_owned(),
        reason: "as agreed".to_owned(),
    };
    let second = format!("DEC-{}", world.tag);
    context
        .update_context(pb::UpdateContextRequest {
            story_id: story.clone(),
            role: "architect".to_owned(),
            changes: vec![
                change(
                    "DECISION",
                    &second,
                    &format!(r#"{{"title": "Use oak", "rationale": "It lasts", "depends_on": ["{decision}"]}}"#),
                ),
                change("MILESTONE", "m-1", r#"{"event_type": "laid", "description": "The first egg"}"#),
                change("SUMMARY", "s-1", r#"{"text": "All quiet so far"}"#),
            ],
            ..pb::UpdateContextRequest::default()
        })
        .await
        .unwrap();
    let answer = a.must(with_task).await;
    assert!(
        answer.context.contains("Nest on a tree"),
        "{}",
        answer.context
    );
    assert!(answer.context.contains("Foxes cannot climb"));
    let design = a.must(ask(&story, "architect", "DESIGN")).await;
    for words in [
        "Use oak",
        "It lasts",
        "The first egg",
        "All quiet so far",
        "On the ground",
    ] {
        assert!(
            design.context.contains(words),
            "{words} in {}",
            design.context
        );
    }
    let session = context
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: story.clone(),
            roles: vec!["developer".to_owned(), "architect".to_owned()],
            include_timeline: true,
            include_summaries: true,
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(session.packs["developer"].decisions[0].id, decision);
    let architect = &session.packs["architect"];
    assert_eq!(architect.case_header.as_ref().unwrap().phase, "BUILD");
    assert!(
        architect
            .milestones
            .iter()
            .any(|m| m.description == "The first egg")
    );
    assert_eq!(architect.last_summary, "All quiet so far");
    assert_eq!(session.stats.unwrap().decision_edges, 1);
    let near = context
        .get_graph_relationships(pb::GetGraphRelationshipsRequest {
            node_id: story.clone(),
            node_type: "Story".to_owned(),
            depth: 2,
            role: "po".to_owned(),
            max_nodes: 0,
        })
        .await
        .unwrap()
        .into_inner();
    let titles: Vec<_> = near.neighbors.iter().map(|n| n.title.as_str()).collect();
    for title in ["Build the nest", "Nest on a tree", "Use oak"] {
        assert!(titles.contains(&title), "{titles:?}");
    }
    let found = context
        .search_decisions(pb::SearchDecisionsRequest {
            query: "oak".to_owned(),
            story_id: story.clone(),
            role: "developer".to_owned(),
            limit: 0,
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.decisions[0].decision.as_ref().unwrap().id, second);

    // Planning's own writes → context.
    other
        .approve_plan(planning::ApprovePlanRequest {
            story_id: story.clone(),
            title: Some("Spring".to_owned()),
            description: Some("Before the frost".to_owned()),
            roles: vec!["developer".to_owned()],
            approved_by: "pia".to_owned(),
            comment: Some("go".to_owned()),
            ..planning::ApprovePlanRequest::default()
        })
        .await
        .unwrap();
    let planned = a.must(ask(&story, "architect", "DESIGN")).await;
    assert!(planned.context.contains("Spring"), "{}", planned.context);
    other
        .update_story(planning::UpdateStoryRequest {
            story_id: story.clone(),
            title: Some("Egret story".to_owned()),
            updated_by: "ana".to_owned(),
            ..planning::UpdateStoryRequest::default()
        })
        .await
        .unwrap();
    let renamed = a.must(ask(&story, "architect", "DESIGN")).await;
    assert!(renamed.context.contains("Egret story"));
    assert!(!renamed.context.contains("Heron story"));
    a.stop().await;
    stop(plan.process).await;
}
