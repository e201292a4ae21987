//! Callers that hang up: what their calls did is said all the same.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet_proto::workflow::v1 as pb;
use fleet_service::{ServerSettings, Streams};
use fleet_testing::{Place, ready, serve};
use fleet_workflow::{Config, start};
use futures::StreamExt;
use tonic::Request;

use super::crew::{Doors, PATIENCE, Workflow, release};
use super::dice::Dice;
use super::verdict::{CHECKED, Heard, trail};

const STORIES: u64 = 20;
const TASKS: u64 = 5;
/// Calls on each task.
const CALLS: u64 = 20;
/// Callers at a time.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_impatient_callers_lose_no_event() {
    let dice = Dice::thrown("hangups");
    let place = Place::embedded();
    let bus = place.backends().await.bus;
    let process = fleet_testing::process();
    let deps = process.attach(place.backends().await, Streams::Apply, place.deployment());
    let mounted = start(deps, Config::default()).unwrap();
    let address = serve(&process, mounted, ServerSettings::default()).await;
    ready(&process).await;
    let doors = Doors::to(&[address.port()]);

    let story = |s: u64| format!("s-{s}");
    let task = |s: u64, t: u64| format!("T-{s}-{t}");
    for s in 0..STORIES {
        let tasks: Vec<_> = (0..TASKS).map(|t| (task(s, t), Vec::new())).collect();
        release(&*bus, &story(s), &tasks).await;
        for (task, _) in &tasks {
            doors.until(task, "released", |_| true).await;
        }
    }

    // What callers were told of: claims by their epoch, and how many were given back.
    let claims = Mutex::new(BTreeSet::new());
    let (given_back, silent) = (AtomicU64::new(0), AtomicU64::new(0));
    let calls = (0..STORIES * TASKS).map(|n| {
        let (task, mut dice) = (task(n / TASKS, n % TASKS), dice.fork(n));
        let (doors, claims, given_back, silent) = (&doors, &claims, &given_back, &silent);
        async move {
            for _ in 0..CALLS {
                // From a quarter of a millisecond to more than every call takes.
                let longest = 250 << dice.below(12);
                let patience = Duration::from_micros(dice.below(longest));
                // Some say how long they wait, others just go.
                let told = dice.once_in(2).then_some(patience);
                let call = async {
                    if dice.once_in(2) {
                        let epoch = claim(doors, &task, told).await?;
                        claims.lock().unwrap().insert((task.clone(), epoch));
                    } else {
                        give_back(doors, &task, told).await?;
                        given_back.fetch_add(1, Ordering::Relaxed);
                    }
                    Some(())
                };
                if let Ok(None) | Err(_) = tokio::time::timeout(patience, call).await {
                    silent.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    futures::stream::iter(calls)
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<()>>()
        .await;

    // The bodies of the last calls end by themselves; then everything is history.
    let drained = process.stop(PATIENCE).await;
    assert!(drained.is_complete(), "{drained:?}");
    let process = fleet_testing::process();
    let deps = process.attach(place.backends().await, Streams::Apply, place.deployment());
    let mounted = start(deps, Config::default()).unwrap();
    let address = serve(&process, mounted, ServerSettings::default()).await;
    let doors = Doors::to(&[address.port()]);

    let mut ids = BTreeSet::new();
    let mut hops = 0;
    for s in 0..STORIES {
        for (_, hop) in trail(&doors, &story(s)).await {
            hops += 1;
            ids.insert(hop.event_id);
        }
    }
    assert_eq!(ids.len(), hops, "each hop has an event of its own");
    let stream = &fleet_topology::streams::WORKFLOW_EVENTS;
    let mut heard = Heard::new(bus, "chaos-check", stream, CHECKED);
    heard.until_said(&ids).await;
    assert_eq!(
        heard.events.len(),
        hops,
        "nothing is said that did not happen"
    );
    let steps = hops - usize::try_from(STORIES * TASKS).unwrap();
    let told =
        claims.into_inner().unwrap().len() + usize::try_from(given_back.into_inner()).unwrap();
    println!(
        "{} of 2000 calls without a good answer; {steps} steps, {told} told",
        silent.into_inner()
    );
    assert!(
        0 < told && told < steps,
        "some callers waited long enough, others did not"
    );
    process.stop(PATIENCE).await;
}

/// The epoch of the claim, if there was an answer and it was yes.
async fn claim(doors: &Doors, task: &str, told: Option<Duration>) -> Option<i64> {
    let mut request = Request::new(pb::ClaimTaskRequest {
        task_id: task.to_owned(),
        agent_id: "dev".to_owned(),
        role: "developer".to_owned(),
        ..pb::ClaimTaskRequest::default()
    });
    if let Some(told) = told {
        request.set_timeout(told);
    }
    let answer = Workflow::new(doors.channel(0)).claim_task(request).await;
    answer.ok().map(|answer| answer.into_inner().claim_epoch)
}

async fn give_back(doors: &Doors, task: &str, told: Option<Duration>) -> Option<()> {
    let mut request = Request::new(pb::ReleaseClaimRequest {
        task_id: task.to_owned(),
        agent_id: "dev".to_owned(),
        role: "developer".to_owned(),
        ..pb::ReleaseClaimRequest::default()
    });
    if let Some(told) = told {
        request.set_timeout(told);
    }
    Workflow::new(doors.channel(0))
        .release_claim(request)
        .await
        .ok()
        .map(|_| ())
}
