//! Random calls at two replicas: whatever comes of them, no story ends in an illegal state,
//! and what is stored, what is told and what was answered agree.
//!
//! The seed is printed; `FLEET_TEST_SEED` runs one again.

use std::collections::BTreeMap;

use fleet_planning::domain::{StoryState, allowed, frozen};
use fleet_proto::planning::v2 as pb;
use fleet_service::SystemIds;
use fleet_topology::streams;
use fleet_types::Ids as _;
use futures::future::join_all;
use tonic::Code;

use crate::ask::{self, get, history};
use crate::fleet::{Client, Fleet, on_every_backend};

on_every_backend!(random_calls_leave_a_consistent_world);

const STORIES: usize = 3;
const CALLERS: usize = 4;
const CALLS: usize = 60;

/// SplitMix64: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).unwrap()
    }
}

/// One call.
async fn call(
    client: &mut Client,
    dice: &mut Dice,
    stories: &[String],
) -> Result<(), tonic::Status> {
    let story = &stories[dice.roll(stories.len())];
    let tasks = pb::ListTasksRequest {
        story_id: Some(story.clone()),
        ..Default::default()
    };
    let tasks = client.list_tasks(tasks).await?.into_inner().tasks;
    let (one, other) = (dice.roll(tasks.len().max(1)), dice.roll(tasks.len().max(1)));
    match dice.roll(10) {
        0..=4 => {
            // Mostly a move that the state allows, as it was a moment ago.
            let state: StoryState = get(client, story).await.state.parse().unwrap();
            let moves = allowed(state);
            let to = match dice.roll(8) {
                0 => StoryState::ALL[dice.roll(StoryState::ALL.len())],
                _ if moves.is_empty() => StoryState::Draft,
                n => moves[if n < 6 { 0 } else { dice.roll(moves.len()) }],
            };
            let wish = pb::TransitionStoryRequest {
                reason: "because".into(),
                override_reason: if dice.roll(2) == 0 {
                    String::new()
                } else {
                    "because".into()
                },
                ..ask::move_request(story, to.as_str())
            };
            client.transition_story(wish).await.map(drop)
        }
        5 | 6 => client
            .create_task(ask::task_request(story, "Part", &[]))
            .await
            .map(drop),
        7 if one != other => {
            let wish = ask::dependency(&tasks[one].task_id, &tasks[other].task_id);
            client.add_task_dependency(wish).await.map(drop)
        }
        8 if !tasks.is_empty() => {
            let wish = pb::UpdateTaskRequest {
                task_id: tasks[one].task_id.clone(),
                priority: Some(i32::try_from(dice.roll(5)).unwrap() + 1),
                updated_by: "ana".into(),
                ..Default::default()
            };
            client.update_task(wish).await.map(drop)
        }
        _ => {
            let items = (0..dice.roll(4))
                .map(|i| format!("Line {i} is shown"))
                .collect();
            let wish = pb::UpdateStoryRequest {
                story_id: story.clone(),
                acceptance_criteria: Some(pb::TextList { items }),
                updated_by: "ana".into(),
                ..Default::default()
            };
            client.update_story(wish).await.map(drop)
        }
    }
}

async fn random_calls_leave_a_consistent_world(fleet: &Fleet) {
    let seed = match std::env::var("FLEET_TEST_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => SystemIds.random(),
    };
    println!("FLEET_TEST_SEED={seed}");
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let client = &mut one.client.clone();
    let mut heard = one.listen(&streams::PLANNING_EVENTS).await;
    let mut stories = Vec::new();
    for _ in 0..STORIES {
        stories.push(ask::story(client).await.story_id);
    }
    let stories = &stories;
    let outcomes = join_all((0..CALLERS).map(|caller| {
        let mut client = if caller % 2 == 0 {
            one.client.clone()
        } else {
            two.client.clone()
        };
        let mut dice = Dice(seed.wrapping_add(caller as u64));
        async move {
            let mut codes: BTreeMap<String, usize> = BTreeMap::new();
            for _ in 0..CALLS {
                let code = match call(&mut client, &mut dice, stories).await {
                    Ok(()) => Code::Ok,
                    Err(status) => status.code(),
                };
                let expected = matches!(code, Code::Ok | Code::FailedPrecondition);
                assert!(
                    expected,
                    "{code:?} is no answer to a call without expected_version"
                );
                *codes.entry(format!("{code:?}")).or_default() += 1;
            }
            codes
        }
    }))
    .await;
    println!("{outcomes:?}");

    for id in stories {
        let story = get(client, id).await;
        let entries = history(client, id).await;
        let mut releases = 0;
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(entry.seq, i64::try_from(i).unwrap() + 1);
            let to: StoryState = entry.to_state.parse().unwrap();
            if i > 0 {
                assert_eq!(entry.from_state, entries[i - 1].to_state, "no gap");
                let from: StoryState = entry.from_state.parse().unwrap();
                assert!(allowed(from).contains(&to), "{from} -> {to}");
            }
            releases += i64::from(to == StoryState::ReadyForExecution);
            assert_eq!(entry.execution, releases);
        }
        let last = entries.last().unwrap();
        assert_eq!((&last.to_state, story.execution), (&story.state, releases));
        let tasks = pb::ListTasksRequest {
            story_id: Some(id.clone()),
            limit: 1000,
            ..Default::default()
        };
        let tasks = client.list_tasks(tasks).await.unwrap().into_inner().tasks;
        let state: StoryState = story.state.parse().unwrap();
        assert!(!frozen(state) || state == StoryState::Archived || !tasks.is_empty());

        // What was told is what happened, once each, with versions that grow.
        let moves = entries.len() - 1;
        let is_move =
            |e: &fleet_events::Event| e.aggregate == *id && e.kind == "planning.story.transitioned";
        heard
            .until(|events| events.iter().filter(|e| is_move(e)).count() >= moves)
            .await;
        let mut told: Vec<_> = heard.events.iter().filter(|e| is_move(e)).collect();
        told.sort_by_key(|e| e.aggregate_version);
        let ids: Vec<_> = told.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(
            ids,
            entries[1..]
                .iter()
                .map(|e| e.event_id.as_str())
                .collect::<Vec<_>>()
        );
        assert!(told.is_sorted_by(|a, b| a.aggregate_version < b.aggregate_version));
        // Every change is one version: creation, moves, edits and changes of tasks.
        let version = usize::try_from(story.version).unwrap();
        let changes = |events: &[fleet_events::Event]| {
            let kinds = ["planning.story.updated", "planning.task.created"];
            let ours = events
                .iter()
                .filter(|e| kinds.contains(&e.kind.as_str()) && e.body["story_id"] == id.as_str());
            1 + moves + ours.count()
        };
        heard.until(|events| changes(events) >= version).await;
        assert_eq!(changes(&heard.events), version);
    }
    one.stop().await;
    two.stop().await;
}
