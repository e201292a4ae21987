//! A story follows the news of the work on its tasks, in any order.

use std::sync::Arc;

use fleet_events::payload::{StateChanged, StoryCompleted};
use fleet_events::{Event, HandleError, Handler, RawMessage, decode, headers};
use fleet_graph::OutboxEvent;
use fleet_planning::{WorkflowEvents, app::App};
use fleet_proto::planning::v2 as pb;
use fleet_service::{Races, ServerSettings, SystemClock};
use fleet_topology::streams;
use fleet_types::{Action, Clock as _, EventId, Role, StoryId, TaskId};

use crate::ask::{self, STATES, get, get_task, go, history, released};
use crate::fleet::{Fleet, Replica, eventually, impatient, on_every_backend, soon, workflow_event};

on_every_backend!(
    the_news_of_a_story_move_it_on,
    any_order_with_repetitions_ends_in_the_same_state,
    an_older_execution_is_superseded,
    what_cannot_be_digested_is_parked,
);

fn step(task: &pb::Task, execution: i64, seq: i64, from: &str, to: &str) -> StateChanged {
    let action = match to {
        "implementing" => Action::ClaimTask,
        "done" => Action::AutoComplete,
        "cancelled" => Action::DiscardTask,
        _ => Action::CommitCode,
    };
    StateChanged {
        task_id: TaskId::parse(&task.task_id).unwrap(),
        story_id: StoryId::parse(&task.story_id).unwrap(),
        execution,
        from_state: from.into(),
        to_state: to.into(),
        action,
        actor_role: Role::Developer,
        agent_id: None,
        role_in_charge: None,
        required_action: None,
        feedback: None,
        retry_count: 0,
        seq,
        timestamp: SystemClock.now(),
    }
}

fn completed(story: &str, execution: i64) -> StoryCompleted {
    StoryCompleted {
        story_id: StoryId::parse(story).unwrap(),
        execution,
        tasks_done: 1,
        tasks_cancelled: 0,
        timestamp: SystemClock.now(),
    }
}

/// The handler without its loop.
fn handler(replica: &Replica) -> WorkflowEvents {
    let deps = &replica.deps;
    let metrics = fleet_planning::Metrics::default();
    WorkflowEvents::new(Arc::new(App {
        store: deps.store.clone(),
        committer: deps.committer.clone(),
        clock: deps.clock.clone(),
        ids: deps.ids.clone(),
        tasks: deps.tasks.clone(),
        dor_threshold: 80,
        races: Races::new(deps.ids.clone(), 32, metrics.lost_races()),
        metrics,
    }))
}

/// As it comes from the bus.
fn received(event: &OutboxEvent) -> Event {
    let headers = headers(event)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let message = RawMessage {
        stream: "WORKFLOW_EVENTS".into(),
        sequence: 1,
        subject: event.subject.clone(),
        headers,
        body: event.payload.clone().into_bytes(),
    };
    decode(&message).unwrap()
}

async fn reaches(replica: &Replica, story: &str, state: &str) -> pb::Story {
    eventually(state, || {
        let mut client = replica.client.clone();
        async move { Some(get(&mut client, story).await).filter(|story| story.state == state) }
    })
    .await
}

async fn the_news_of_a_story_move_it_on(fleet: &Fleet) {
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let client = &mut one.client.clone();
    let mut heard = two.listen(&streams::PLANNING_EVENTS).await;
    let (story, tasks) = released(client, 2).await;
    let id = story.story_id.as_str();
    let claim = one
        .say(&step(&tasks[0], 1, 2, "todo", "implementing"), None)
        .await;
    let working = reaches(&one, id, "IN_PROGRESS").await;
    assert_eq!(working.version, story.version + 1);
    one.say(&step(&tasks[1], 1, 2, "todo", "implementing"), None)
        .await;
    one.say(&step(&tasks[0], 1, 9, "po_approved", "done"), None)
        .await;
    one.say(&step(&tasks[1], 1, 9, "escalated", "cancelled"), None)
        .await;
    one.say(&completed(id, 1), None).await;
    reaches(&two, id, "READY_TO_REVIEW").await;
    for (task, status) in tasks.iter().zip(["completed", "cancelled"]) {
        eventually(status, || {
            let mut client = one.client.clone();
            async move {
                Some(get_task(&mut client, &task.task_id).await)
                    .filter(|task| task.status == status)
            }
        })
        .await;
    }
    let entries = history(client, id).await;
    let hops: Vec<_> = entries[5..]
        .iter()
        .map(|e| (e.actor.as_str(), e.to_state.as_str(), e.execution))
        .collect();
    let states = ["IN_PROGRESS", "CODE_REVIEW", "TESTING", "READY_TO_REVIEW"];
    assert_eq!(hops, states.map(|state| ("system", state, 1)));
    heard
        .until(|events| {
            events
                .iter()
                .any(|e| e.body["to_state"] == "READY_TO_REVIEW")
        })
        .await;
    let said: Vec<_> = heard
        .of("planning.story.transitioned", id)
        .into_iter()
        .skip(4)
        .collect();
    assert_eq!(said.len(), 4, "one event per hop");
    assert_eq!(said[0].causation, claim.as_str());
    assert_eq!(said[0].correlation, "c-1", "what it all belongs to goes on");
    let versions: Vec<_> = said.iter().map(|e| e.aggregate_version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    one.stop().await;
    two.stop().await;
}

async fn any_order_with_repetitions_ends_in_the_same_state(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let handler = handler(&replica);
    // Every order of four news, each order with its first one repeated at every later place.
    let mut orders: Vec<Vec<usize>> = vec![vec![]];
    for _ in 0..4 {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                (0..4)
                    .filter(|i| !order.contains(i))
                    .map(|i| [order.clone(), vec![i]].concat())
                    .collect::<Vec<_>>()
            })
            .collect();
    }
    assert_eq!(orders.len(), 24);
    for (n, order) in orders.into_iter().enumerate() {
        let (story, tasks) = released(client, 2).await;
        let id = story.story_id.as_str();
        let news = [
            received(&workflow_event(
                &step(&tasks[0], 1, 2, "todo", "implementing"),
                None,
            )),
            received(&workflow_event(
                &step(&tasks[0], 1, 8, "done", "todo"),
                None,
            )),
            received(&workflow_event(
                &step(&tasks[0], 1, 9, "po_approved", "done"),
                None,
            )),
            received(&workflow_event(&completed(id, 1), None)),
        ];
        let mut order = order;
        let first = order[0];
        order.insert(1 + n % 4, first);
        order.push(order[1]);
        for i in &order {
            match handler.handle(&news[*i], soon()).await {
                Ok(()) | Err(HandleError::AlreadyApplied) => {}
                Err(other) => panic!("{other} in order {order:?}"),
            }
        }
        let story = get(client, id).await;
        assert_eq!(story.state, "READY_TO_REVIEW", "order {order:?}");
        assert_eq!(
            get_task(client, &tasks[0].task_id).await.status,
            "completed",
            "order {order:?}"
        );
        assert_eq!(get_task(client, &tasks[1].task_id).await.status, "todo");
        let walked: Vec<_> = history(client, id)
            .await
            .into_iter()
            .skip(5)
            .map(|e| e.to_state)
            .collect();
        assert_eq!(
            walked,
            ["IN_PROGRESS", "CODE_REVIEW", "TESTING", "READY_TO_REVIEW"],
            "order {order:?}"
        );
        // Somebody takes it back to work: a repetition does not walk it away again.
        go(client, id, "IN_PROGRESS").await;
        handler.handle(&news[3], soon()).await.unwrap();
        handler.handle(&news[0], soon()).await.unwrap();
        assert_eq!(get(client, id).await.state, "IN_PROGRESS");
    }
    replica.stop().await;
}

async fn an_older_execution_is_superseded(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let handler = handler(&replica);
    let (story, tasks) = released(client, 1).await;
    let id = story.story_id.as_str();
    let handle = async |event: OutboxEvent| handler.handle(&received(&event), soon()).await;
    let cancelled = step(&tasks[0], 1, 5, "todo", "cancelled");
    handle(workflow_event(&cancelled, None)).await.unwrap();
    assert_eq!(
        get_task(client, &tasks[0].task_id).await.status,
        "cancelled"
    );
    go(client, id, "CARRY_OVER").await;
    handle(workflow_event(&completed(id, 1), None))
        .await
        .unwrap();
    assert_eq!(
        get(client, id).await.state,
        "CARRY_OVER",
        "it left execution"
    );
    assert_eq!(go(client, id, STATES[3]).await.execution, 2);
    let before = get(client, id).await;
    handle(workflow_event(&completed(id, 1), None))
        .await
        .unwrap();
    handle(workflow_event(
        &step(&tasks[0], 1, 4, "todo", "implementing"),
        None,
    ))
    .await
    .unwrap();
    assert_eq!(get(client, id).await, before);
    let early = handle(workflow_event(&completed(id, 3), None)).await;
    assert!(
        matches!(early, Err(HandleError::NotYetKnown { .. })),
        "{early:?}"
    );
    // The run begins anew, or a review is claimed first: both are work.
    handle(workflow_event(
        &step(&tasks[0], 2, 6, "cancelled", "todo"),
        None,
    ))
    .await
    .unwrap();
    assert_eq!(get_task(client, &tasks[0].task_id).await.status, "todo");
    assert_eq!(
        get(client, id).await.state,
        STATES[3],
        "nobody works on it yet"
    );
    let mut review = step(&tasks[0], 2, 8, "pending_arch_review", "arch_reviewing");
    review.action = Action::ClaimReview;
    handle(workflow_event(&review, None)).await.unwrap();
    assert_eq!(get(client, id).await.state, "IN_PROGRESS");
    replica.stop().await;
}

async fn what_cannot_be_digested_is_parked(fleet: &Fleet) {
    let settings = |_: &fleet_service::Process| ServerSettings::default();
    let replica = fleet.replica_with(impatient(), settings).await;
    let client = &mut replica.client.clone();
    let (story, tasks) = released(client, 1).await;
    let claim = workflow_event(&step(&tasks[0], 1, 2, "todo", "implementing"), None);
    let bad = |payload: &str| {
        let id = EventId::mint(replica.deps.ids.uuid());
        OutboxEvent {
            id,
            payload: payload.to_owned(),
            ..claim.clone()
        }
    };
    // A story that is not known yet, poison, and behind them something ordinary.
    let name = story.story_id.trim_start_matches("s-").to_owned();
    let (later_story, later_task) = (format!("s-later.{name}"), format!("T-later.{name}"));
    let mut unborn = tasks[0].clone();
    (unborn.story_id, unborn.task_id) = (later_story.clone(), later_task.clone());
    let events = [
        workflow_event(&step(&unborn, 1, 2, "todo", "implementing"), None),
        bad("this is no JSON"),
        bad("[1]"),
        bad(r#"{"task_id": "T-1"}"#),
        claim.clone(),
    ];
    for published in replica.deps.bus.publish(&events, soon()).await {
        published.unwrap();
    }
    reaches(&replica, &story.story_id, "IN_PROGRESS").await;
    let parked = eventually("parking", || async {
        let parked = replica.deps.bus.parked(0, 100, soon()).await.unwrap();
        (parked.len() == 3).then_some(parked)
    })
    .await;
    let mut reasons: Vec<_> = parked.iter().map(|parked| parked.reason.as_str()).collect();
    reasons.sort_unstable();
    assert!(reasons[0].contains("body is not JSON: "), "{reasons:?}");
    assert!(reasons[1].contains("not a JSON object"), "{reasons:?}");
    assert!(
        reasons[2].contains("payload of workflow.state.changed: missing field"),
        "{reasons:?}"
    );
    assert!(
        parked
            .iter()
            .all(|parked| parked.consumer == "planning-workflow-events")
    );

    // What was about something unknown waits for it.
    let request = pb::CreateStoryRequest {
        story_id: Some(later_story.clone()),
        ..ask::story_request("")
    };
    client.create_story(request).await.unwrap();
    let request = pb::CreateTaskRequest {
        task_id: Some(later_task),
        ..ask::task_request(&later_story, "Part", &[])
    };
    client.create_task(request).await.unwrap();
    for state in STATES {
        go(client, &later_story, state).await;
    }
    reaches(&replica, &later_story, "IN_PROGRESS").await;
    assert_eq!(
        replica.deps.bus.parked(0, 100, soon()).await.unwrap().len(),
        3
    );
    replica.stop().await;
}
