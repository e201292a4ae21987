//! What others say: in any order, more than once, too early, or broken.

use fleet_events::payload::StoryTransitioned;
use fleet_graph::{Index, Scan};
use fleet_proto::workflow::v1 as pb;
use fleet_types::StoryId;

use crate::support::{Released, World, act, claim, commit, fact, on_every_backend, soon};

on_every_backend!(
    agents_report_their_work,
    poison_is_parked_and_stops_nobody,
    work_on_a_task_not_known_yet_waits_for_it,
    a_carried_over_story_rests_and_goes_on,
    any_order_of_a_story_ends_in_the_same_state,
);

async fn agents_report_their_work(world: World) {
    let story = world.released(&[&[], &[]]).await;
    let (task, other) = (&story.tasks[0], &story.tasks[1]);
    let mut api = world.client();
    for task in [task, other] {
        api.claim_task(claim(task, "developer", "dev-1"))
            .await
            .unwrap();
    }
    // Flat, and nested with the older names: both are understood.
    let flat = format!(
        r#"{{"task_id":"{task}","action":"commit_code","actor_role":"developer","agent_id":"dev-1",
            "claim_epoch":1,"commit_sha":"abc","timestamp":"2025-11-08T12:00:00Z"}}"#
    );
    let nested = format!(
        r#"{{"task_id":"{other}","action_performed":"COMMIT_CODE","role":"developer",
            "result":{{"success":true,"operations_count":3,"reasoning":"did it",
            "artifacts":{{"commit_sha":"def","files_changed":["a.rs"]}}}},
            "timestamp":"2025-11-08T12:00:00Z"}}"#
    );
    world.say_raw("agent.work.completed", &flat).await;
    world.say_raw("agent.work.completed", &nested).await;
    world.reaches(task, "pending_arch_review").await;
    world.reaches(other, "pending_arch_review").await;
    // Said again under another event id: known, and nothing happens.
    world.say_raw("agent.work.completed", &flat).await;
    // Under an older claim: parked with the reason.
    api.request_validation(crate::support::reject(
        task,
        "architect",
        "arch-1",
        "reject_design",
        "please do it again",
    ))
    .await
    .unwrap();
    api.claim_task(claim(task, "developer", "dev-2"))
        .await
        .unwrap();
    let stale = flat
        .replace("abc", "other")
        .replace("\"dev-1\"", "\"dev-2\"");
    world.say_raw("agent.work.completed", &stale).await;
    let parked = world.parked("StaleEpoch").await;
    assert!(parked.reason.contains("implementing"), "{}", parked.reason);
    assert_eq!(world.state(task).await.current_state, "implementing");
    let parked = world.bus.parked(0, 100, soon()).await.unwrap();
    assert_eq!(parked.len(), 1, "the repetition was not parked: {parked:?}");
    world.stop().await;
}

async fn poison_is_parked_and_stops_nobody(world: World) {
    let story = Released::new(&[&[]]);
    for body in ["not json", "[]", r#"{"story_id":"s-1"}"#] {
        world.say_raw("planning.story.transitioned", body).await;
    }
    let unknown = r#"{"task_id":"T-1","action":"make_coffee","actor_role":"developer","timestamp":"2025-11-08T12:00:00Z"}"#;
    world.say_raw("agent.work.completed", unknown).await;
    let circle = StoryTransitioned {
        tasks: {
            let mut tasks = story.specs();
            tasks[0].depends_on = vec![story.tasks[0].clone()];
            tasks
        },
        ..story.release(1, "PLANNED")
    };
    world
        .say("fleet-planning", story.id.as_str(), 1, &circle)
        .await;
    world
        .say(
            "fleet-planning",
            story.id.as_str(),
            1,
            &story.release(1, "PLANNED"),
        )
        .await;
    world.reaches(&story.tasks[0], "todo").await;
    for words in [
        "not JSON",
        "not a JSON object",
        "missing field",
        "make_coffee",
        "in a circle",
    ] {
        let parked = world.parked(words).await;
        assert!(parked.deliveries >= 1);
    }
    world.stop().await;
}

async fn work_on_a_task_not_known_yet_waits_for_it(world: World) {
    let story = Released::new(&[&[]]);
    let task = &story.tasks[0];
    let early = format!(
        r#"{{"task_id":"{task}","action":"claim_task","actor_role":"developer","agent_id":"dev-1",
            "timestamp":"2025-11-08T12:00:00Z"}}"#
    );
    world.say_raw("agent.work.completed", &early).await;
    world
        .say(
            "fleet-planning",
            story.id.as_str(),
            1,
            &story.release(1, "PLANNED"),
        )
        .await;
    let state = world.reaches(task, "implementing").await;
    assert_eq!(state.holder_agent_id, "dev-1");
    world.stop().await;
}

async fn a_carried_over_story_rests_and_goes_on(world: World) {
    let story = world.released(&[&[], &[], &[1]]).await;
    let (done, held, blocked) = (&story.tasks[0], &story.tasks[1], &story.tasks[2]);
    let mut api = world.client();
    api.claim_task(claim(done, "developer", "dev-1"))
        .await
        .unwrap();
    api.request_validation(commit(done, "dev-1", "abc"))
        .await
        .unwrap();
    api.request_validation(act(done, "architect", "arch-1", "approve_design"))
        .await
        .unwrap();
    api.request_validation(act(done, "qa", "qa-1", "approve_tests"))
        .await
        .unwrap();
    api.request_validation(act(done, "po", "po-1", "approve_story"))
        .await
        .unwrap();
    api.claim_task(claim(held, "developer", "dev-1"))
        .await
        .unwrap();

    let over = story.moved("IN_PROGRESS", "CARRY_OVER", 1, Vec::new());
    world
        .say("fleet-planning", story.id.as_str(), 7, &over)
        .await;
    world.reaches(held, "suspended").await;
    world.reaches(blocked, "suspended").await;
    assert_eq!(world.state(done).await.current_state, "done");
    let late = api
        .request_validation(commit(held, "dev-1", "abc"))
        .await
        .unwrap_err();
    assert_eq!(fact(&late, "current_state"), "suspended");
    let next = pb::GetNextActionsRequest {
        task_id: held.to_string(),
        role: "developer".to_owned(),
        agent_id: String::new(),
    };
    assert_eq!(
        api.get_next_actions(next)
            .await
            .unwrap()
            .into_inner()
            .why_not_code,
        "SUSPENDED"
    );

    let again = story.release(2, "CARRY_OVER");
    world
        .say("fleet-planning", story.id.as_str(), 8, &again)
        .await;
    let state = world.reaches(held, "todo").await;
    assert_eq!((state.execution, state.holder_agent_id.as_str()), (2, ""));
    let state = world.reaches(blocked, "todo").await;
    assert_eq!(state.blocked_by, [held.to_string()]);
    // What is left of the second execution completes it; what was done counts.
    for task in [held, blocked] {
        api.request_validation(act(task, "po", "po-1", "discard_task"))
            .await
            .unwrap_or_else(|e| panic!("{e}"));
    }
    let said = world
        .hears(story.id.as_str(), "workflow.story.completed", 1)
        .await;
    assert_eq!(
        (&said[0].body["execution"], &said[0].body["tasks_done"]),
        (&2.into(), &1.into())
    );

    // A reset cancels, and the next release begins anew.
    let reset = world.released(&[&[]]).await;
    let task = &reset.tasks[0];
    api.claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap();
    let draft = reset.moved("IN_PROGRESS", "DRAFT", 1, Vec::new());
    world
        .say("fleet-planning", reset.id.as_str(), 9, &draft)
        .await;
    world.reaches(task, "cancelled").await;
    world
        .say(
            "fleet-planning",
            reset.id.as_str(),
            12,
            &reset.release(2, "PLANNED"),
        )
        .await;
    let state = world.reaches(task, "todo").await;
    assert_eq!((state.execution, state.claim_epoch), (2, 1));
    world.stop().await;
}

/// What is to be the same whatever the order: states, executions, and how the latest
/// execution of the story stands.
async fn picture(world: &World, story: &Released) -> Vec<String> {
    let mut picture = Vec::new();
    for task in &story.tasks {
        let state = world.state(task).await;
        picture.push(format!(
            "{} {} {:?}",
            state.current_state,
            state.execution,
            state.blocked_by.len()
        ));
    }
    let filter = vec![story.id.as_str().into()];
    let page = world
        .store
        .scan(&Scan::new(Index::StoryRunsByStory, filter, 100), soon())
        .await
        .unwrap();
    let latest = page
        .nodes
        .iter()
        .max_by_key(|node| node.props["execution"].as_i64())
        .unwrap();
    let fields = ["execution", "phase", "total", "done", "cancelled"];
    picture.push(
        fields
            .map(|field| latest.props[field].to_string())
            .join(" "),
    );
    picture
}

async fn any_order_of_a_story_ends_in_the_same_state(world: World) {
    // Released, carried over, released, reset, released: five events, each said twice, in
    // orders that are permutations of each other.
    let history = |story: &Released| {
        vec![
            story.release(1, "PLANNED"),
            story.moved("IN_PROGRESS", "CARRY_OVER", 1, Vec::new()),
            story.release(2, "CARRY_OVER"),
            story.moved("IN_PROGRESS", "DRAFT", 2, Vec::new()),
            story.release(3, "PLANNED"),
        ]
    };
    let orders: [[usize; 5]; 8] = [
        [0, 1, 2, 3, 4],
        [4, 3, 2, 1, 0],
        [2, 0, 4, 1, 3],
        [1, 0, 3, 2, 4],
        [3, 4, 1, 2, 0],
        [0, 2, 4, 1, 3],
        [4, 0, 1, 2, 3],
        [1, 3, 0, 2, 4],
    ];
    let mut expected: Option<Vec<String>> = None;
    for order in orders {
        let story = Released::new(&[&[], &[0], &[]]);
        let events = history(&story);
        let version = |i: usize| i64::try_from(i).unwrap();
        for i in order.into_iter().chain(order) {
            let event = world.event("fleet-planning", story.id.as_str(), version(i), &events[i]);
            // The very same event again, then the next.
            world.publish(event.clone()).await;
            handled(&world, &story.id, &event.id).await;
        }
        let found = picture(&world, &story).await;
        match &expected {
            None => expected = Some(found),
            Some(expected) => assert_eq!(&found, expected, "order {order:?}"),
        }
    }
    assert_eq!(expected.unwrap()[0], "todo 3 0");
    world.stop().await;
}

/// Waits until the consumer has handled everything about a story that was said before: a
/// marker behind it, of a story of its own, is handled one at a time or later.
async fn handled(world: &World, _: &StoryId, event: &fleet_types::EventId) {
    let key = fleet_graph::Answer {
        consumer: "workflow-planning-events".to_owned(),
        event: event.clone(),
    };
    world
        .eventually(&format!("{event} is handled"), async || {
            // The inbox refuses what it has seen.
            let mut commit = fleet_graph::Commit::new(
                uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1, 1)),
                fleet_graph::Owner::Workflow,
                fleet_types::Timestamp::from_millis(1),
            );
            commit.answers = Some(key.clone());
            commit.guard(fleet_graph::Guard::Present(fleet_graph::NodeKey::new(
                fleet_graph::Label::Story,
                "s-nobody-at-all",
            )));
            match world.store.commit(&commit, soon()).await {
                Err(fleet_graph::CommitError::AlreadyApplied) => Some(()),
                _ => None,
            }
        })
        .await;
}
