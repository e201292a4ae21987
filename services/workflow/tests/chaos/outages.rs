//! Servers that go away: NATS in the middle of writes, Neo4j behind a proxy, both at the start.

use std::error::Error as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use fleet_graph::conformance::test_server;
use fleet_proto::workflow::v1 as pb;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use super::crew::{Doors, PATIENCE, Workflow, is_away};
use super::dice::Dice;
use super::process::free_port;
use super::proxy::{Mode, Proxy};
use super::verdict::judge;
use super::world::{Acknowledged, Story, World, count};

/// A NATS server of our own, on its own disk.
struct Nats {
    binary: PathBuf,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
}

impl Nats {
    fn stopped() -> Option<Self> {
        let binary = PathBuf::from(test_server("nats", "FLEET_TEST_NATS_SERVER")?);
        let port = free_port();
        Some(Self {
            binary,
            port,
            directory: TempDir::new().unwrap(),
            child: None,
        })
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts it, again if its port was taken meanwhile, and waits until it listens.
    async fn start(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let gone = match &mut self.child {
                Some(child) => child.try_wait().unwrap().is_some(),
                None => true,
            };
            if gone {
                let child = Command::new(&self.binary)
                    .args([
                        "-js",
                        "-a",
                        "127.0.0.1",
                        "-p",
                        &self.port.to_string(),
                        "-sd",
                    ])
                    .arg(self.directory.path())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .kill_on_drop(true)
                    .spawn();
                self.child = Some(child.unwrap());
            } else if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            assert!(Instant::now() < until, "nats-server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGKILL.
    async fn kill(&mut self) {
        self.child.take().expect("it runs").kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_while_nats_is_away_and_are_told_afterwards() {
    let Some(mut world) = World::given() else {
        return;
    };
    let Some(mut nats) = Nats::stopped() else {
        return;
    };
    let dice = Dice::thrown("nats");
    nats.start().await;
    world.nats = nats.url();
    let bus = world.applied().await;
    // One believes that the server syncs always, the other that it may lose what is young.
    let (mut one, port_one) = world.replica("one", "0s");
    let (mut two, port_two) = world.replica("two", "2m");
    tokio::join!(one.up(), two.up());
    let doors = Doors::to(&[port_one, port_two]);
    let stories: Vec<Story> = (0..8).map(|n| Story::new(&world.deployment, n)).collect();
    for story in &stories {
        story.release(&*bus).await;
    }
    for (task, _) in stories.iter().flat_map(|story| &story.tasks) {
        doors.until(task, "released", |_| true).await;
    }

    let mut acknowledged = Acknowledged::new();
    let (whole_outage, in_and_out) = stories.split_at(4);
    // From beginning to end without a bus.
    nats.kill().await;
    for (n, story) in (0..).zip(whole_outage) {
        acknowledged.insert(
            story.id.clone(),
            story.walk(&doors, &dice.fork(n), None).await,
        );
    }
    for replica in [&one, &two] {
        let (status, body) = replica.readyz().await.expect("an answer");
        assert_eq!(status, 200, "writes do not need the bus: {body}");
    }
    // And with one that comes and goes under the writes.
    let walks = async {
        let walk = async |n, story: &Story| {
            (
                story.id.clone(),
                story.walk(&doors, &dice.fork(n), None).await,
            )
        };
        futures::future::join_all((100..).zip(in_and_out).map(|(n, story)| walk(n, story))).await
    };
    let mut when = dice.fork(1_000);
    let flicker = async {
        for _ in 0..4 {
            nats.start().await;
            tokio::time::sleep(Duration::from_millis(100 + when.below(700))).await;
            nats.kill().await;
        }
        nats.start().await;
    };
    let (walked, ()) = tokio::join!(walks, flicker);
    acknowledged.extend(walked);

    let mut heard = world.heard().await;
    let hops = judge(&doors, &mut heard, &acknowledged, || world.until_consumed()).await;
    world.check_parked(&*bus).await;
    println!(
        "{} acknowledged changes, {hops} hops, each said once",
        count(&acknowledged)
    );
    for replica in [&mut one, &mut two] {
        replica.stop().await;
        replica.check_log();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_through_a_neo4j_that_comes_and_goes_are_done_once() {
    let Some(mut world) = World::given() else {
        return;
    };
    let dice = Dice::thrown("neo4j");
    let bus = world.applied().await;
    let proxy = Proxy::before(&world.neo4j, Mode::Pass).await;
    let (mut straight, port_straight) = world.replica("straight", "0s");
    world.neo4j = format!("bolt://{}", proxy.address);
    let (mut behind, port_behind) = world.replica("behind", "0s");
    tokio::join!(straight.up(), behind.up());
    let doors = Doors::to(&[port_behind, port_straight]);
    let stories: Vec<Story> = (0..6).map(|n| Story::new(&world.deployment, n)).collect();
    let walks = async {
        let walk = async |n, story: &Story| {
            story.release(&*bus).await;
            (
                story.id.clone(),
                story.walk(&doors, &dice.fork(n), Some(&bus)).await,
            )
        };
        futures::future::join_all((100..).zip(&stories).map(|(n, story)| walk(n, story))).await
    };
    let mut when = dice.fork(1_000);
    let flicker = async {
        // Replies of commits that were done get lost, too: cut while there is work.
        for round in 0..12 {
            tokio::time::sleep(Duration::from_millis(when.below(400))).await;
            proxy.set(if round % 3 == 2 {
                Mode::BlackHole
            } else {
                Mode::Reset
            });
            tokio::time::sleep(Duration::from_millis(when.below(700))).await;
            proxy.set(Mode::Pass);
        }
    };
    let (walked, ()) = tokio::join!(walks, flicker);
    let acknowledged: Acknowledged = walked.into_iter().collect();

    let mut heard = world.heard().await;
    let hops = judge(&doors, &mut heard, &acknowledged, || world.until_consumed()).await;
    world.check_parked(&*bus).await;
    println!(
        "{} acknowledged changes, {hops} hops, each said once",
        count(&acknowledged)
    );
    for replica in [&mut straight, &mut behind] {
        replica.stop().await;
        replica.check_log();
    }
    world.close().await;
}

/// How long callers give.
const GIVEN: Duration = Duration::from_secs(3);

async fn within(task: &str, doors: &Doors, claim: Option<&str>) -> (Duration, Result<i64, Status>) {
    let channel = doors.channel(0);
    let mut client = Workflow::new(channel);
    let begin = Instant::now();
    let outcome = match claim {
        None => {
            let message = pb::GetWorkflowStateRequest {
                task_id: task.to_owned(),
            };
            let mut request = Request::new(message);
            request.set_timeout(GIVEN);
            client
                .get_workflow_state(request)
                .await
                .map(|a| a.into_inner().version)
        }
        Some(request_id) => {
            let message = pb::ClaimTaskRequest {
                task_id: task.to_owned(),
                agent_id: "dev".to_owned(),
                role: "developer".to_owned(),
                request_id: request_id.to_owned(),
                ..pb::ClaimTaskRequest::default()
            };
            let mut request = Request::new(message);
            request.set_timeout(GIVEN);
            client
                .claim_task(request)
                .await
                .map(|a| a.into_inner().version)
        }
    };
    (begin.elapsed(), outcome)
}

/// Whether a caller was told that the store is away and when to come back; nobody waits longer
/// than he wanted to.
fn says_that_it_is_away((took, outcome): (Duration, Result<i64, Status>)) -> bool {
    let status = outcome.expect_err("nobody can know");
    assert!(is_away(&status), "{status:?}");
    assert!(took < GIVEN + Duration::from_secs(2), "{took:?}");
    if status.code() != Code::Unavailable || status.source().is_some() {
        return false;
    }
    let retry = status.get_error_details().retry_info().cloned();
    let delay = retry.and_then(|retry| retry.retry_delay);
    assert!(delay.is_some(), "{status:?}");
    took < GIVEN
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_say_in_time_that_neo4j_is_away() {
    let Some(mut world) = World::given() else {
        return;
    };
    let bus = world.applied().await;
    let proxy = Proxy::before(&world.neo4j, Mode::Pass).await;
    world.neo4j = format!("bolt://{}", proxy.address);
    let (mut replica, port) = world.replica("one", "0s");
    replica.up().await;
    let doors = Doors::to(&[port]);
    let story = Story::new(&world.deployment, 0);
    story.release(&*bus).await;
    let task = &story.tasks[0].0;
    doors.until(task, "released", |_| true).await;

    for (round, mode) in [Mode::BlackHole, Mode::Reset, Mode::BlackHole]
        .into_iter()
        .enumerate()
    {
        proxy.set(mode);
        let claim = format!("claim-{round}");
        // Reads and writes, at once and later, when readiness has noticed.
        let mut told = Vec::new();
        for _ in 0..3 {
            let (read, write) = tokio::join!(
                within(task, &doors, None),
                within(task, &doors, Some(&claim))
            );
            told.extend([says_that_it_is_away(read), says_that_it_is_away(write)]);
        }
        let away = |status: u16, body: &str| status == 503 && body.contains("neo4j");
        replica.until_ready_page("neo4j away", away).await;
        told.push(says_that_it_is_away(within(task, &doors, None).await));
        // On a busy machine a caller may give up at the moment in which he is answered.
        let told = told.into_iter().filter(|told| *told).count();
        assert!(told >= 4, "{mode:?}: {told} of 7 callers were told");

        proxy.set(Mode::Pass);
        replica
            .until_ready_page("neo4j back", |status, _| status == 200)
            .await;
        // The write that was refused may be asked for again, and is there once.
        let until = Instant::now() + PATIENCE;
        while let (_, Err(status)) = within(task, &doors, Some(&claim)).await {
            assert!(is_away(&status) && Instant::now() < until, "{status:?}");
        }
        let state = doors.state(task, 0).await.expect("it is known");
        assert_eq!(state.current_state, "implementing");
        assert_eq!(
            state.history.len(),
            2,
            "released and claimed: {:?}",
            state.history
        );
    }
    replica.stop().await;
    replica.check_log();
    world.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_away_at_the_start_are_waited_for() {
    let Some(mut world) = World::given() else {
        return;
    };
    let Some(mut nats) = Nats::stopped() else {
        return;
    };
    let proxy = Proxy::before(&world.neo4j, Mode::Reset).await;
    world.neo4j = format!("bolt://{}", proxy.address);
    world.nats = nats.url();
    let (mut replica, port) = world.replica("one", "0s");
    replica.start(None);
    let waits_for = |names: &'static [&'static str]| {
        move |status: u16, body: &str| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            let down: Vec<&str> = body["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["up"] == false)
                .map(|dependency| dependency["name"].as_str().unwrap())
                .collect();
            status == 503 && down == names
        }
    };
    replica
        .until_ready_page("both away", waits_for(&["neo4j", "nats"]))
        .await;
    let doors = Doors::to(&[port]);
    let (_, early) = within("T-1", &doors, None).await;
    assert_eq!(
        early.expect_err("it is not ready").code(),
        Code::Unavailable
    );

    proxy.set(Mode::Pass);
    replica
        .until_ready_page("only nats away", waits_for(&["nats"]))
        .await;
    nats.start().await;
    // The server is there, its streams are not: the page says what to do.
    let told = |status: u16, body: &str| status == 503 && body.contains("fleet streams apply");
    replica.until_ready_page("streams missing", told).await;
    let bus = world.applied().await;
    replica
        .until_ready_page("ready", |status, _| status == 200)
        .await;
    let story = Story::new(&world.deployment, 0);
    story.release(&*bus).await;
    doors.until(&story.tasks[0].0, "released", |_| true).await;
    replica.stop().await;
    replica.check_log();
}
