//! `fleet up` on its own disk, killed again and again while people and agents work: what it
//! acknowledged is there, every step was said once, and stories end as they should.
//!
//! Every choice follows from a seed that is printed; `FLEET_TEST_SEED` takes it again.
//! `FLEET_TEST_CHAOS_ROUNDS` kills more often.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests"
)]
#![allow(missing_docs, reason = "the names of helpers say it")]
#![allow(
    dead_code,
    reason = "the helpers are shared with the tests of the workflow"
)]

#[path = "../../../workflow/tests/chaos/crew.rs"]
mod crew;
#[path = "../../../workflow/tests/chaos/dice.rs"]
mod dice;
#[path = "../../../workflow/tests/chaos/process.rs"]
mod process;
#[path = "../../../workflow/tests/chaos/verdict.rs"]
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fleet_embedded::{Embedded, Options};
use fleet_events::fault;
use fleet_graph::Deadline;
use fleet_proto::planning::v2 as pb;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::SystemClock;
use tempfile::TempDir;
use tokio::time::Instant;
use tonic::transport::Channel;

use crew::{Doors, PATIENCE, Walked, Walker};
use dice::Dice;
use process::{Program, log_in};
use verdict::{CHECKED, Heard, check_events, gather};

const WRITERS: u64 = 8;
/// Kills at any moment; between them one at each fault point.
const ROUNDS: u64 = 8;

/// The way of a story that nobody disturbs.
const WAY: [&str; 9] = [
    "DRAFT",
    "PO_REVIEW",
    "READY_FOR_PLANNING",
    "PLANNED",
    "READY_FOR_EXECUTION",
    "IN_PROGRESS",
    "CODE_REVIEW",
    "TESTING",
    "READY_TO_REVIEW",
];

/// Both services of one process.
#[derive(Clone)]
struct Fleet {
    planning: Doors,
    workflow: Doors,
}

/// A number by which all four ports are free.
fn free_offset() -> u16 {
    let begin = std::process::id() % 9_000;
    (0..1_000)
        .map(|n| u16::try_from(1 + (begin + n * 11) % 9_000).unwrap())
        .find(|offset| {
            [50_054, 50_056, 20_054, 20_056]
                .iter()
                .all(|port| TcpListener::bind(("127.0.0.1", port + offset)).is_ok())
        })
        .expect("four free ports")
}

impl Fleet {
    /// From an idea to "ready to review". Every change is asked for until it is acknowledged.
    async fn story(&self, id: &str, dice: &Dice) -> (String, Vec<Walked>) {
        let story = format!("s-{id}");
        self.create(&story).await;
        let tasks = [format!("T-{id}-1"), format!("T-{id}-2")];
        self.task(&story, &tasks[0], &[]).await;
        self.task(&story, &tasks[1], &tasks[..1]).await;
        for target in &WAY[1..5] {
            self.transition(&story, target).await;
        }
        let walks = (0..)
            .zip(&tasks)
            .map(|(n, task)| Walker::new(&self.workflow, dice.fork(n), task, None).walk());
        let walked = futures::future::join_all(walks).await;
        let until = Instant::now() + PATIENCE;
        while self.state(&story).await != "READY_TO_REVIEW" {
            assert!(
                Instant::now() < until,
                "{story} is {}",
                self.state(&story).await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        (story, walked)
    }

    async fn create(&self, story: &str) {
        let request = pb::CreateStoryRequest {
            title: format!("Receipts {story}"),
            brief: "As a customer I want a receipt so that I can prove what I paid.".to_owned(),
            created_by: "po".to_owned(),
            request_id: format!("{story}-create"),
            acceptance_criteria: vec!["Given a payment, a receipt is sent.".to_owned()],
            without_epic: true,
            story_id: Some(story.to_owned()),
            ..pb::CreateStoryRequest::default()
        };
        let create = async |c| planning(c).create_story(request.clone()).await;
        let created = self
            .planning
            .ask(&request.request_id, 0, create)
            .await
            .story
            .unwrap();
        assert_eq!((&*created.story_id, &*created.state), (story, "DRAFT"));
    }

    async fn task(&self, story: &str, task: &str, depends_on: &[String]) {
        let request = pb::CreateTaskRequest {
            story_id: story.to_owned(),
            title: format!("Part {task}"),
            priority: 1,
            request_id: format!("{task}-create"),
            depends_on: depends_on.to_vec(),
            task_id: Some(task.to_owned()),
            ..pb::CreateTaskRequest::default()
        };
        let create = async |c| planning(c).create_task(request.clone()).await;
        let created = self
            .planning
            .ask(&request.request_id, 0, create)
            .await
            .task
            .unwrap();
        assert_eq!(created.task_id, task);
    }

    async fn transition(&self, story: &str, target: &str) {
        let request = pb::TransitionStoryRequest {
            story_id: story.to_owned(),
            target_state: target.to_owned(),
            transitioned_by: "po".to_owned(),
            request_id: format!("{story}-{target}"),
            override_reason: "good enough".to_owned(),
            ..pb::TransitionStoryRequest::default()
        };
        let transition = async |c| planning(c).transition_story(request.clone()).await;
        let moved = self
            .planning
            .ask(&request.request_id, 0, transition)
            .await
            .story
            .unwrap();
        assert_eq!(moved.state, target, "{story}");
    }

    async fn state(&self, story: &str) -> String {
        let request = pb::GetStoryRequest {
            story_id: story.to_owned(),
        };
        let get = async |c| planning(c).get_story(request.clone()).await;
        self.planning
            .ask(&format!("get {story}"), 0, get)
            .await
            .state
    }

    /// The story went its way, each step once. Gives the ids of the events that told of it.
    async fn check_history(&self, story: &str) -> Vec<String> {
        let request = pb::GetStoryHistoryRequest {
            story_id: story.to_owned(),
            ..pb::GetStoryHistoryRequest::default()
        };
        let history = async |c| planning(c).get_story_history(request.clone()).await;
        let entries = self
            .planning
            .ask(&format!("history of {story}"), 0, history)
            .await
            .entries;
        let way: Vec<&str> = entries
            .iter()
            .map(|entry| entry.to_state.as_str())
            .collect();
        assert_eq!(way, WAY, "{story}");
        for (n, entry) in (1..).zip(&entries) {
            assert_eq!(entry.seq, n, "{story}");
        }
        entries.into_iter().map(|entry| entry.event_id).collect()
    }
}

fn planning(channel: Channel) -> PlanningServiceClient<Channel> {
    PlanningServiceClient::new(channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_that_is_killed_again_and_again_loses_nothing() {
    let dice = Dice::thrown("fleet");
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let offset = free_offset();
    let arguments = [
        "up",
        "--data",
        data.to_str().unwrap(),
        "--port-offset",
        &offset.to_string(),
    ];
    let log = log_in(directory.path(), "fleet");
    let binary = env!("CARGO_BIN_EXE_fleet");
    let mut program = Program::new(binary, &arguments, &[], 20_054 + offset, log);
    program.up().await;
    let fleet = Fleet {
        planning: Doors::to(&[50_054 + offset]),
        workflow: Doors::to(&[50_056 + offset]),
    };

    let over = AtomicBool::new(false);
    let number = AtomicU64::new(0);
    let writer = async || {
        let mut stories = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let n = number.fetch_add(1, Ordering::Relaxed);
            stories.push(
                fleet
                    .story(&format!("chaos-{n}"), &dice.fork(1_000 + n))
                    .await,
            );
        }
        stories
    };
    let writers = futures::future::join_all((0..WRITERS).map(|_| writer()));
    let mut choice = dice.fork(0);
    let nemesis = async {
        for round in 0..rounds() {
            // Graph and bus are one database here: events do not go by way of the outbox.
            let points = fault::POINTS.iter();
            let mut points = points.filter(|point| !fault::RELAY_POINTS.contains(point));
            let n = points.clone().count();
            let point = points.nth(usize::try_from(round).unwrap() % n).unwrap();
            let nth = 1 + choice.below(5);
            program.kill();
            program.start(Some(&format!("{point}:{nth}")));
            // A release build has no such points.
            let died = cfg!(not(debug_assertions)) || program.died(PATIENCE).await;
            assert!(died, "{point}:{nth} is never reached");
            program.up().await;
            tokio::time::sleep(Duration::from_millis(choice.below(1_200))).await;
            program.kill();
            program.up().await;
        }
        over.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(writers, nemesis);
    let mut acknowledged: BTreeMap<String, Vec<Walked>> = written.into_iter().flatten().collect();
    // And when it is left alone, it works as ever.
    acknowledged.extend([fleet.story("after", &dice.fork(1)).await]);

    let hops = gather(&fleet.workflow, &acknowledged).await;
    let mut moves = BTreeSet::new();
    for story in acknowledged.keys() {
        moves.extend(fleet.check_history(story).await);
    }
    assert_eq!(
        moves.len(),
        acknowledged.len() * WAY.len(),
        "each move has its own event"
    );
    program.stop().await;
    let database = said_everything(&mut program, &data).await;
    check_streams(&database, &acknowledged, &hops, &moves).await;
    database.close().await;
    program.check_log();
    let changes: usize = acknowledged
        .values()
        .flatten()
        .map(|walked| walked.acknowledged)
        .sum();
    println!(
        "{} stories, {changes} acknowledged changes of tasks, {} hops, each said once",
        acknowledged.len(),
        hops.len()
    );
}

fn rounds() -> u64 {
    match std::env::var("FLEET_TEST_CHAOS_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("FLEET_TEST_CHAOS_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// The database, when nothing waits in the outbox any more.
async fn said_everything(program: &mut Program, data: &Path) -> Embedded {
    let until = Instant::now() + PATIENCE;
    loop {
        let database = Embedded::open(data, Options::new(Arc::new(SystemClock))).unwrap();
        let soon = Deadline::after(Duration::from_secs(10));
        let (waiting, _) = database.store().backlog(soon).await.unwrap();
        if waiting == 0 {
            return database;
        }
        database.close().await;
        drop(database);
        assert!(Instant::now() < until, "{waiting} events are never said");
        program.up().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        program.stop().await;
    }
}

async fn check_streams(
    database: &Embedded,
    acknowledged: &BTreeMap<String, Vec<Walked>>,
    hops: &verdict::Hops,
    moves: &BTreeSet<String>,
) {
    let stream = &fleet_topology::streams::WORKFLOW_EVENTS;
    let mut heard = Heard::new(database.bus(), "chaos-workflow", stream, CHECKED);
    heard.catch_up().await;
    check_events(hops, acknowledged, heard.events.values());

    let stream = &fleet_topology::streams::PLANNING_EVENTS;
    let subjects = &["planning.story.created", "planning.story.transitioned"];
    let mut heard = Heard::new(database.bus(), "chaos-planning", stream, subjects);
    heard.catch_up().await;
    let mut said = BTreeSet::new();
    for event in heard.events.values() {
        assert!(
            said.insert(event.id.to_string()),
            "{} {} was said twice",
            event.kind,
            event.id
        );
    }
    let lost: Vec<_> = moves.difference(&said).collect();
    let made_up: Vec<_> = said.difference(moves).collect();
    assert!(
        lost.is_empty() && made_up.is_empty(),
        "lost {lost:?}, made up {made_up:?}"
    );

    let soon = Deadline::after(PATIENCE);
    let parked = database.bus().parked(0, 10, soon).await.unwrap();
    let told: Vec<_> = parked.iter().map(|p| (&p.consumer, &p.reason)).collect();
    assert!(told.is_empty(), "{told:?}");
}
