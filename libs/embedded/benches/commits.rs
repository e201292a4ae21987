//! Durable commits a second at several concurrencies, beside what one sync of this disk costs.
//!
//! `cargo bench -p fleet-embedded` (optionally `-- SECONDS`). A transition is what a step of a
//! task writes: one read of three nodes, one node created and three updated, a relationship
//! and three events; "relayed" adds the relay: the events go to the log and leave the outbox.
//! "writer" is the processor time of the writing thread for each, which does not depend on
//! what else the machine does.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand"
)]

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fleet_embedded::{Embedded, Options};
use fleet_graph::{
    Commit, Deadline, EdgeType, Label, NodeKey, OutboxEvent, Owner, Props, Store, props,
};
use fleet_types::{Clock, EventId, Timestamp};
use serde_json::json;
use uuid::Uuid;

#[derive(Debug)]
struct BenchClock(Instant);

impl Clock for BenchClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_762_603_200_000).plus(self.0.elapsed())
    }
}

fn main() {
    let seconds = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(3);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    println!(
        "{:<34}{:>10}{:>10}{:>10}{:>10}{:>12}",
        "", "per s", "p50 µs", "p99 µs", "max µs", "writer µs"
    );
    sync_floor();
    for concurrency in [1, 16, 64] {
        for relay in [false, true] {
            runtime.block_on(transitions(
                concurrency,
                relay,
                Duration::from_secs(seconds),
            ));
        }
    }
    runtime.block_on(reads(Duration::from_secs(seconds)));
}

fn sync_floor() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut file = std::fs::File::create(dir.path().join("floor")).unwrap();
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        let at = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        times.push(at.elapsed());
    }
    report("write 4 KiB + fdatasync (floor)", begin.elapsed(), times);
}

/// CPU time of a thread of this process so far; nothing where the system does not tell.
fn cpu_of(thread: &str) -> Option<Duration> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if name.trim() == thread {
            let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            return Some(Duration::from_nanos(
                text.split_whitespace().next()?.parse().ok()?,
            ));
        }
    }
    None
}

fn report(what: &str, elapsed: Duration, mut times: Vec<Duration>) {
    let writer = match cpu_of("fleet-writer") {
        Some(cpu) => (cpu.as_micros() / times.len() as u128).to_string(),
        None => String::new(),
    };
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    let rate = times.len() as f64 / elapsed.as_secs_f64();
    println!(
        "{what:<34}{rate:>10.0}{:>10}{:>10}{:>10}{writer:>12}",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn transitions(concurrency: usize, relay: bool, length: Duration) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let embedded = Embedded::open(
        dir.path(),
        Options::new(Arc::new(BenchClock(Instant::now()))),
    )
    .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (events, queue) = tokio::sync::mpsc::channel(4096);
    let relaying = tokio::task::JoinSet::from_iter([relay_until_closed(embedded.clone(), queue)]);
    let mut workers = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for worker in 0..concurrency {
        let events = relay.then(|| events.clone());
        workers.spawn(work(embedded.store(), worker, events, Arc::clone(&stop)));
    }
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let times: Vec<Duration> = workers.join_all().await.into_iter().flatten().collect();
    drop(events);
    relaying.join_all().await;
    let what = format!(
        "transition c{concurrency}{}",
        if relay { ", relayed" } else { "" }
    );
    report(&what, begin.elapsed(), times);
    embedded.close().await;
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

fn row(state: &str, n: u64) -> Props {
    props(&json!({
        "story_id": "s-01a208ff-042d-73c0-8c5e-5df0600dfe99", "state": state, "n": n,
        "waiting_for": "developer", "holder": "agent-dev-1", "kind": "claim",
        "deployment": "default", "due": "2025-11-08T12:00:00.000Z",
        "feedback": "Tests are missing for the empty case. ".repeat(4),
        "task_id": "T-01a208ff-042d-73c0-8c5e-5df0600dfe99",
    }))
}

async fn work(
    store: Arc<dyn Store>,
    worker: usize,
    events: Option<tokio::sync::mpsc::Sender<Vec<OutboxEvent>>>,
    stop: Arc<AtomicBool>,
) -> Vec<Duration> {
    let run = NodeKey::new(Label::TaskRun, format!("T-{worker}"));
    let story = NodeKey::new(Label::StoryRun, format!("s-{worker}/1"));
    let timer = NodeKey::new(Label::Timer, format!("timer-{worker}"));
    let id = |n: u64| Uuid::from_u64_pair(n, worker as u64);
    let mut first = Commit::new(id(0), Owner::Workflow, Timestamp::from_millis(1));
    for key in [&run, &story, &timer] {
        first.create(key.clone(), format!("2025|{worker}"), row("TODO", 0));
    }
    store.commit(&first, deadline()).await.unwrap();
    let mut times = Vec::new();
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let begin = Instant::now();
        let keys = [run.clone(), story.clone(), timer.clone()];
        let found = store.get(&keys, deadline()).await.unwrap();
        let hop = NodeKey::new(Label::TaskTransition, format!("T-{worker}/{n}"));
        let mut commit = Commit::new(id(n), Owner::Workflow, Timestamp::from_millis(1));
        commit.create(hop.clone(), format!("{n:012}"), row("DONE", n));
        let state = if n % 2 == 0 { "TODO" } else { "IMPLEMENTING" };
        for (key, node) in keys.into_iter().zip(found) {
            commit.update(
                key,
                node.unwrap().version,
                format!("2025|{worker}"),
                row(state, n),
            );
        }
        commit.relate(run.clone(), EdgeType::HasHop, hop);
        for (k, subject) in [
            "workflow.state.changed",
            "workflow.task.assigned",
            "workflow.validation.required",
        ]
        .into_iter()
        .enumerate()
        {
            commit.event(event(subject, &format!("ev-{worker}-{n}-{k}")));
        }
        store.commit(&commit, deadline()).await.unwrap();
        times.push(begin.elapsed());
        if let Some(events) = &events {
            events.send(commit.events).await.unwrap();
        }
    }
    times
}

fn event(subject: &str, id: &str) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(id).unwrap(),
        subject: subject.to_owned(),
        source: "fleet-workflow".to_owned(),
        aggregate: "T-01a208ff-042d-73c0-8c5e-5df0600dfe99".to_owned(),
        aggregate_version: 7,
        time: Timestamp::from_millis(1_762_603_200_000),
        payload: json!({"task_id": "T-1", "story_id": "s-1", "text": "x".repeat(250)}).to_string(),
        correlation: "01a208ff-042d-73c0-8c5e-5df0600dfe99".to_owned(),
        causation: "01a208ff-042d-73c0-8c5e-5df0600dfe99".to_owned(),
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
    }
}

/// What the relay does: whatever is there goes to the bus as one batch, then leaves the outbox.
async fn relay_until_closed(
    embedded: Embedded,
    mut queue: tokio::sync::mpsc::Receiver<Vec<OutboxEvent>>,
) {
    let (store, bus) = (embedded.store(), embedded.bus());
    let mut batches = Vec::new();
    while queue.recv_many(&mut batches, 64).await > 0 {
        let events: Vec<OutboxEvent> = batches.drain(..).flatten().collect();
        for published in bus.publish(&events, deadline()).await {
            published.unwrap();
        }
        let ids: Vec<EventId> = events.into_iter().map(|event| event.id).collect();
        store.remove(&ids, deadline()).await.unwrap();
    }
}

async fn reads(length: Duration) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let embedded = Embedded::open(
        dir.path(),
        Options::new(Arc::new(BenchClock(Instant::now()))),
    )
    .unwrap();
    let store = embedded.store();
    let key = NodeKey::new(Label::TaskRun, "T-1");
    let mut first = Commit::new(Uuid::nil(), Owner::Workflow, Timestamp::from_millis(1));
    first.create(key.clone(), "1", row("TODO", 0));
    store.commit(&first, deadline()).await.unwrap();
    let keys = [key];
    let begin = Instant::now();
    let mut times = Vec::new();
    while begin.elapsed() < length {
        let at = Instant::now();
        store.get(&keys, deadline()).await.unwrap();
        times.push(at.elapsed());
    }
    report("get one node, c1", begin.elapsed(), times);
    embedded.close().await;
    let begin = Instant::now();
    let mut times = Vec::new();
    for _ in 0..20 {
        let options = Options::new(Arc::new(BenchClock(Instant::now())));
        let at = Instant::now();
        let embedded = Embedded::open(dir.path(), options).unwrap();
        times.push(at.elapsed());
        embedded.close().await;
    }
    report("open a small database, verified", begin.elapsed(), times);
}
