//! What others say becomes part of the context, once.

use fleet_events::payload::StateChanged;
use fleet_graph::{EdgeType, Label, OutboxEvent};
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use fleet_types::{Action, AgentId, Clock as _, Role, StoryId, TaskId};
use serde_json::{Value, json};

use crate::ask::{key, quiet, story, task, version};
use crate::world::{Replica, World, eventually, on_every_backend, raw, said, soon};

on_every_backend!(
    what_planning_says_is_told,
    councils_write_their_decisions_down,
    work_is_told_and_ordinary_hops_are_not,
    news_that_come_again_change_nothing,
    news_of_an_unknown_story_wait_for_it,
);

/// The milestones of a story, as (type, description).
async fn told(replica: &Replica, story: &str) -> Vec<(String, String)> {
    let events = replica
        .children(key(Label::Story, story), EdgeType::HasEvent)
        .await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    events
        .iter()
        .map(|node| {
            (
                text(&node.props["event_type"]),
                text(&node.props["description"]),
            )
        })
        .collect()
}

async fn tells(replica: &Replica, story: &str, kind: &str) -> String {
    eventually(kind, || async {
        let told = told(replica, story).await;
        let mut like = told.into_iter().filter(|(found, _)| found == kind);
        like.next().map(|(_, words)| words)
    })
    .await
}

fn hop(story: &str, task: &str, to: &str, action: Action, feedback: Option<&str>) -> StateChanged {
    StateChanged {
        task_id: TaskId::parse(task).unwrap(),
        story_id: StoryId::parse(story).unwrap(),
        execution: 1,
        from_state: "before".into(),
        to_state: to.into(),
        action,
        actor_role: Role::Qa,
        agent_id: AgentId::parse("agent-1").ok(),
        role_in_charge: None,
        required_action: None,
        feedback: feedback.map(str::to_owned),
        retry_count: 0,
        seq: 1,
        timestamp: fleet_service::SystemClock.now(),
    }
}

async fn what_planning_says_is_told(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let mut heard = replica.listen_to_context().await;
    let mut planning = replica.planning.clone();
    let edit = planning::UpdateStoryRequest {
        story_id: story_id.clone(),
        title: Some("Export all invoices".into()),
        updated_by: "ana".into(),
        ..Default::default()
    };
    planning.update_story(edit).await.unwrap();
    let label = json!([format!("story:{story_id}")]);
    heard
        .until("context.events.updated", |body| body["changed"] == label)
        .await;
    let step = planning::TransitionStoryRequest {
        story_id: story_id.clone(),
        target_state: "PO_REVIEW".into(),
        transitioned_by: "ana".into(),
        ..Default::default()
    };
    planning.transition_story(step).await.unwrap();
    let plan = planning::ApprovePlanRequest {
        story_id: story_id.clone(),
        approved_by: "pia".into(),
        ..Default::default()
    };
    planning.approve_plan(plan).await.unwrap();
    let words = tells(&replica, &story_id, "plan_approved").await;
    assert!(words.contains("pia"), "{words}");
    let words = tells(&replica, &story_id, "story_transitioned").await;
    assert!(words.contains("DRAFT"), "{words}");
    replica.stop().await;
}

async fn councils_write_their_decisions_down(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let one = task(&replica, &story_id, "One").await;
    let two = task(&replica, &story_id, "Two").await;
    let named = format!("DEC-{story_id}-named");
    let event = raw(
        "orchestration.deliberation.completed",
        &json!({
            "story_id": story_id,
            "task_id": one,
            "decisions": [
                {"rationale": "Queues decouple.\nThey do.", "affected_subtask": two, "role": "architect"},
                {"id": named, "type": "SECURITY", "title": "Encrypt", "affected_subtask": "T-gone"},
            ],
            "timestamp": "2026-01-01T00:00:00Z",
        }),
    );
    let mut heard = replica.listen_to_context().await;
    replica.publish(&event).await;
    heard
        .until("context.decision.added", |body| {
            body["decision_id"] == named
        })
        .await;
    let derived = key(Label::Decision, &format!("DEC-{one}-0"));
    assert_eq!(
        replica.prop(derived.clone(), "title").await,
        "Queues decouple."
    );
    assert_eq!(
        replica.prop(derived.clone(), "decision_type").await,
        "TECHNICAL"
    );
    assert_eq!(
        replica.prop(derived.clone(), "author_role").await,
        "architect"
    );
    assert_eq!(replica.ids(derived, EdgeType::Affects).await, [two]);
    let named = key(Label::Decision, &named);
    assert_eq!(
        replica.prop(named.clone(), "decision_type").await,
        "SECURITY"
    );
    assert!(replica.ids(named, EdgeType::Affects).await.is_empty());
    let decisions = replica
        .ids(key(Label::Story, &story_id), EdgeType::HasDecision)
        .await;
    assert_eq!(decisions.len(), 2);
    // A decision of the architect turns up in the developer's next context.
    let context = pb::GetContextRequest {
        story_id,
        role: "developer".into(),
        phase: "BUILD".into(),
        ..Default::default()
    };
    let context = replica.client.clone().get_context(context).await.unwrap();
    let context = context.into_inner().context;
    assert!(context.contains("Queues decouple."), "{context}");
    replica.stop().await;
}

async fn work_is_told_and_ordinary_hops_are_not(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let one = task(&replica, &story_id, "One").await;
    let before = version(&replica, &story_id).await;
    let dispatched = raw(
        "orchestration.task.dispatched",
        &json!({"story_id": story_id, "task_id": one, "agent_id": "agent-7", "role": "DEV"}),
    );
    replica.publish(&dispatched).await;
    let words = tells(&replica, &story_id, "task_dispatched").await;
    assert!(
        words.contains("agent-7") && words.contains("developer"),
        "{words}"
    );
    let work = |reasoning: &str| {
        raw(
            "agent.work.completed",
            &json!({
                "task_id": one,
                "action": "commit_code",
                "actor_role": "developer",
                "agent_id": "agent-7",
                "result": {"success": true, "reasoning": reasoning, "artifacts": {"commit_sha": "abc123"}},
                "timestamp": "2026-01-01T00:00:00Z",
            }),
        )
    };
    replica.publish(&work("")).await;
    replica.publish(&work("The queue was there already.")).await;
    let words = tells(&replica, &story_id, "work_completed").await;
    assert!(
        words.contains("abc123") && words.contains("already"),
        "{words}"
    );

    replica
        .publish(&said(&hop(
            &story_id,
            &one,
            "implementing",
            Action::ClaimTask,
            None,
        )))
        .await;
    replica
        .publish(&said(&hop(
            &story_id,
            &one,
            "dev_completed",
            Action::CommitCode,
            Some("x"),
        )))
        .await;
    replica
        .publish(&said(&hop(
            &story_id,
            &one,
            "qa_failed",
            Action::RejectTests,
            Some("slow"),
        )))
        .await;
    let words = tells(&replica, &story_id, "work_rejected").await;
    assert!(words.contains("slow"), "{words}");
    replica
        .publish(&said(&hop(
            &story_id,
            &one,
            "escalated",
            Action::Escalate,
            None,
        )))
        .await;
    tells(&replica, &story_id, "task_escalated").await;
    replica
        .publish(&said(&hop(
            &story_id,
            &one,
            "done",
            Action::AutoComplete,
            None,
        )))
        .await;
    tells(&replica, &story_id, "task_done").await;
    assert_eq!(
        version(&replica, &story_id).await,
        before + 5,
        "one for each that was told"
    );
    replica.stop().await;
}

async fn news_that_come_again_change_nothing(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let one = task(&replica, &story_id, "One").await;
    let events: Vec<OutboxEvent> = vec![
        raw(
            "orchestration.deliberation.completed",
            &json!({"story_id": story_id, "task_id": one, "decisions": [{"rationale": "x"}]}),
        ),
        raw(
            "orchestration.task.dispatched",
            &json!({"story_id": story_id, "task_id": one, "agent_id": "a", "role": "qa"}),
        ),
        said(&hop(&story_id, &one, "done", Action::AutoComplete, None)),
    ];
    let before = version(&replica, &story_id).await;
    for event in &events {
        replica.publish(event).await;
    }
    let count = i64::try_from(events.len()).unwrap();
    let count_now = || async { version(&replica, &story_id).await };
    eventually("their effects", || async {
        (count_now().await == before + count).then_some(())
    })
    .await;
    let state = told(&replica, &story_id).await;
    // The bus takes a repetition for what it is; so it comes straight to the handlers.
    let app = fleet_context::app(&replica.deps, &crate::world::impatient()).unwrap();
    for _ in 0..2 {
        for event in &events {
            crate::commute::hear(&app, event).await.unwrap();
        }
    }
    assert_eq!(count_now().await, before + count);
    assert_eq!(told(&replica, &story_id).await, state);
    // What can never work is parked, and it is the only one.
    replica
        .publish(&raw("orchestration.task.dispatched", &json!({})))
        .await;
    let parked = eventually("parking", || async {
        let parked = replica.deps.bus.parked(0, 100, soon()).await.unwrap();
        (!parked.is_empty()).then_some(parked)
    })
    .await;
    assert_eq!(parked.len(), 1, "{parked:?}");
    assert!(parked[0].reason.contains("story_id"), "{parked:?}");
    replica.stop().await;
}

async fn news_of_an_unknown_story_wait_for_it(world: &World) {
    let replica = world.replica().await;
    let story_id = format!("s-late-{}", std::process::id());
    let event = raw(
        "orchestration.task.dispatched",
        &json!({"story_id": story_id, "task_id": "T-1", "agent_id": "a", "role": "qa"}),
    );
    replica.publish(&event).await;
    let wanted = pb::CreateStoryRequest {
        story_id: story_id.clone(),
        title: "x".into(),
        description: "y".into(),
        ..Default::default()
    };
    replica.client.clone().create_story(wanted).await.unwrap();
    quiet(&replica, &story_id).await;
    tells(&replica, &story_id, "task_dispatched").await;
    replica.stop().await;
}
