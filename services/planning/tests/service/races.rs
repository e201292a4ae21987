//! The same request twice, and different ones at once, at two replicas.

use std::collections::BTreeSet;

use fleet_proto::planning::v2 as pb;
use fleet_topology::streams;
use futures::future::join_all;
use tonic::Code;

use crate::ask::{self, STATES, go, history, move_request, refused, story_request};
use crate::fleet::{Fleet, on_every_backend};

on_every_backend!(
    a_repeated_request_has_one_effect_and_one_answer,
    crowds_at_one_story_all_get_through,
    a_release_names_exactly_the_tasks_that_there_are,
    a_caller_who_hangs_up_cuts_nothing_in_half,
);

async fn a_repeated_request_has_one_effect_and_one_answer(fleet: &Fleet) {
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let clients = [one.client.clone(), two.client.clone()];
    let client = &mut one.client.clone();
    let mut heard = one.listen(&streams::PLANNING_EVENTS).await;
    let epic = ask::epic(client).await.epic_id;

    // Eight at once, four at each replica.
    macro_rules! at_once {
        ($call:ident, $request:expr) => {{
            let calls = (0..8usize).map(|i| {
                let (mut client, request) = (clients[i % 2].clone(), $request.clone());
                async move { client.$call(request).await.unwrap().into_inner() }
            });
            let answers = join_all(calls).await;
            for answer in &answers[1..] {
                assert_eq!(
                    answer, &answers[0],
                    "every repetition gets the first answer"
                );
            }
            answers.into_iter().next().unwrap()
        }};
    }
    let project = pb::CreateProjectRequest {
        name: "Once".into(),
        request_id: format!("p {epic}"),
        ..Default::default()
    };
    let project = at_once!(create_project, project).project.unwrap();
    let request = pb::CreateEpicRequest {
        project_id: project.project_id.clone(),
        title: "Once".into(),
        request_id: "e".into(),
        ..Default::default()
    };
    let request = pb::CreateEpicRequest {
        request_id: format!("e {epic}"),
        ..request
    };
    at_once!(create_epic, request);
    let epics = pb::ListEpicsRequest {
        project_id: Some(project.project_id),
        ..Default::default()
    };
    assert_eq!(
        client
            .list_epics(epics)
            .await
            .unwrap()
            .into_inner()
            .total_count,
        1
    );

    let request = pb::CreateStoryRequest {
        request_id: format!("s {epic}"),
        ..story_request(&epic)
    };
    let story = at_once!(create_story, request).story.unwrap();
    let list = pb::ListStoriesRequest {
        epic_id: Some(epic.clone()),
        ..Default::default()
    };
    assert_eq!(
        client
            .list_stories(list)
            .await
            .unwrap()
            .into_inner()
            .total_count,
        1
    );
    let id = story.story_id.as_str();

    let other = pb::CreateStoryRequest {
        title: "Another".into(),
        ..request
    };
    refused(
        client.create_story(other).await,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
        &["request_id"],
    );
    let task = pb::CreateTaskRequest {
        request_id: format!("t {epic}"),
        ..ask::task_request(id, "Once", &[])
    };
    at_once!(create_task, task);
    let tasks = pb::ListTasksRequest {
        story_id: Some(id.to_owned()),
        ..Default::default()
    };
    assert_eq!(
        client
            .list_tasks(tasks)
            .await
            .unwrap()
            .into_inner()
            .total_count,
        1
    );
    let update = pb::UpdateStoryRequest {
        story_id: id.into(),
        title: Some("Export all".into()),
        updated_by: "ana".into(),
        request_id: format!("u {epic}"),
        ..Default::default()
    };
    let updated = at_once!(update_story, update).story.unwrap();
    let moved = pb::TransitionStoryRequest {
        request_id: format!("m {epic}"),
        ..move_request(id, "PO_REVIEW")
    };
    let answer = at_once!(transition_story, moved);
    assert_eq!(answer.story.unwrap().version, updated.version + 1);
    // The same words much later, when the state would not allow them any more.
    go(client, id, "READY_FOR_PLANNING").await;
    let again = client.transition_story(moved).await.unwrap().into_inner();
    assert_eq!(
        again.story.unwrap().state,
        "PO_REVIEW",
        "what was answered then"
    );
    assert_eq!(history(client, id).await.len(), 3);
    let plan = pb::ApprovePlanRequest {
        story_id: id.into(),
        approved_by: "po".into(),
        request_id: format!("a {epic}"),
        ..Default::default()
    };
    assert_eq!(at_once!(approve_plan, plan).plan_version, 1);
    // Failures are not remembered.
    let early = pb::TransitionStoryRequest {
        request_id: format!("x {epic}"),
        ..move_request(id, "READY_FOR_EXECUTION")
    };
    assert_eq!(
        client
            .transition_story(early.clone())
            .await
            .unwrap_err()
            .code(),
        Code::FailedPrecondition
    );
    go(client, id, "PLANNED").await;
    client.transition_story(early).await.unwrap();

    heard
        .until(|events| {
            events
                .iter()
                .any(|e| e.body["to_state"] == "READY_FOR_EXECUTION")
        })
        .await;
    assert_eq!(heard.of("planning.story.created", id).len(), 1);
    assert_eq!(heard.of("planning.story.updated", id).len(), 1);
    assert_eq!(heard.of("planning.plan.approved", id).len(), 1);
    assert_eq!(heard.of("planning.story.transitioned", id).len(), 4);
    one.stop().await;
    two.stop().await;
}

async fn crowds_at_one_story_all_get_through(fleet: &Fleet) {
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let clients = [one.client.clone(), two.client.clone()];
    let client = &mut one.client.clone();
    let id = &ask::story(client).await.story_id;
    let first = &ask::task(client, id, "First", &[]).await.task_id;
    let made = join_all((0..24usize).map(|i| {
        let mut client = clients[i % 2].clone();
        async move {
            ask::task(&mut client, id, &format!("Part {i}"), &[first])
                .await
                .task_id
        }
    }))
    .await;
    assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 24);
    let story = ask::get(client, id).await;
    assert_eq!(story.version, 1 + 25, "one version per change");

    // With an expected version only one gets through, and the others are told the new one.
    let rivals = join_all((0..8usize).map(|i| {
        let mut client = clients[i % 2].clone();
        let request = pb::UpdateStoryRequest {
            story_id: id.clone(),
            title: Some(format!("Title {i}")),
            updated_by: "ana".into(),
            expected_version: Some(story.version),
            ..Default::default()
        };
        async move { client.update_story(request).await }
    }))
    .await;
    let (won, lost): (Vec<_>, Vec<_>) = rivals.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 7));
    for refusal in lost {
        let facts = refused(refusal, Code::Aborted, "STALE_VERSION", &[]);
        assert_eq!(facts["current_version"], (story.version + 1).to_string());
    }

    // Two halves of a cycle at once: one of them is refused, whoever it is.
    let (a, b) = (&made[0], &made[1]);
    let (mut left, mut right) = (one.client.clone(), two.client.clone());
    let (ab, ba) = (ask::dependency(a, b), ask::dependency(b, a));
    let (x, y) = tokio::join!(left.add_task_dependency(ab), right.add_task_dependency(ba));
    assert!(x.is_ok() != y.is_ok(), "{x:?} {y:?}");
    refused(
        if x.is_ok() { y } else { x },
        Code::FailedPrecondition,
        "DEPENDENCY_CYCLE",
        &[" -> "],
    );
    one.stop().await;
    two.stop().await;
}

async fn a_release_names_exactly_the_tasks_that_there_are(fleet: &Fleet) {
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let mut heard = one.listen(&streams::PLANNING_EVENTS).await;
    for round in 0..4 {
        let client = &mut one.client.clone();
        let id = &ask::story(client).await.story_id;
        ask::task(client, id, "There", &[]).await;
        for state in &STATES[..3] {
            go(client, id, state).await;
        }
        let (mut releaser, adder) = (one.client.clone(), two.client.clone());
        let additions = join_all((0..4).map(|i| {
            let (mut adder, request) = (
                adder.clone(),
                ask::task_request(id, &format!("Late {i}"), &[]),
            );
            async move { adder.create_task(request).await }
        }));
        let release = releaser.transition_story(move_request(id, STATES[3]));
        let (added, released) = tokio::join!(additions, release);
        released.unwrap();
        for refusal in added.into_iter().filter(Result::is_err) {
            refused(
                refusal,
                Code::FailedPrecondition,
                "TASKS_FROZEN",
                &["READY_FOR_EXECUTION"],
            );
        }
        let tasks = pb::ListTasksRequest {
            story_id: Some(id.clone()),
            ..Default::default()
        };
        let tasks = client.list_tasks(tasks).await.unwrap().into_inner().tasks;
        let tasks: BTreeSet<_> = tasks.into_iter().map(|task| task.task_id).collect();
        let is_release =
            |e: &fleet_events::Event| e.aggregate == *id && e.body["to_state"] == STATES[3];
        heard.until(|events| events.iter().any(is_release)).await;
        let said = heard.events.iter().find(|e| is_release(e)).unwrap();
        let said: BTreeSet<_> = said.body["tasks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|task| task["task_id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(said, tasks, "round {round}");
    }
    one.stop().await;
    two.stop().await;
}

async fn a_caller_who_hangs_up_cuts_nothing_in_half(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let mut heard = replica.listen(&streams::PLANNING_EVENTS).await;
    let epic = &ask::epic(client).await.epic_id;
    let hung_up = join_all((0..40u64).map(|i| {
        let mut client = replica.client.clone();
        async move {
            let patience = std::time::Duration::from_micros(200 * (i + 1));
            let _ = tokio::time::timeout(patience, client.create_story(story_request(epic))).await;
        }
    }));
    hung_up.await;
    let last = client
        .create_story(story_request(epic))
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap();
    // Whatever exists was said, once, and has its history; whatever was said exists.
    let stories = crate::fleet::eventually("quiet", || {
        let mut client = client.clone();
        let busy = replica.process.tasks.live("CreateStory") > 0;
        async move {
            let request = pb::ListStoriesRequest {
                epic_id: Some(epic.clone()),
                ..Default::default()
            };
            let stories = client
                .list_stories(request)
                .await
                .unwrap()
                .into_inner()
                .stories;
            (!busy).then_some(stories)
        }
    })
    .await;
    assert!(stories.iter().any(|story| story.story_id == last.story_id));
    let ids: BTreeSet<_> = stories.into_iter().map(|story| story.story_id).collect();
    let created = |events: &[fleet_events::Event]| -> Vec<String> {
        let ours = events
            .iter()
            .filter(|e| e.kind == "planning.story.created" && e.body["epic_id"] == epic.as_str());
        ours.map(|e| e.aggregate.clone()).collect()
    };
    heard
        .until(|events| created(events).len() >= ids.len())
        .await;
    let said = created(&heard.events);
    assert_eq!(said.len(), ids.len());
    assert_eq!(said.into_iter().collect::<BTreeSet<_>>(), ids);
    for id in &ids {
        assert_eq!(history(client, id).await.len(), 1);
    }
    replica.stop().await;
}
