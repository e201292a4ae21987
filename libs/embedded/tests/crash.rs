//! A process killed at any moment loses nothing that it acknowledged.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use common::*;
use fleet_embedded::{Embedded, Point};
use fleet_topology::Consumer;

const DIR: &str = "FLEET_TEST_CRASH_DIR";
const ROUND: &str = "FLEET_TEST_CRASH_ROUND";
/// `before:N` or `after:N`: the process ends itself at the Nth commit.
const ABORT: &str = "FLEET_TEST_CRASH_ABORT";

/// Not a test: what the killed process does.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let round: u64 = std::env::var(ROUND).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(write_until_killed(Path::new(&dir), round));
}

async fn write_until_killed(dir: &Path, round: u64) {
    let mut options = options();
    options.backfill_pages = 60;
    if let Ok(abort) = std::env::var(ABORT) {
        let (point, nth) = abort.split_once(':').unwrap();
        let point = if point == "before" {
            Point::BeforeCommit
        } else {
            Point::AfterCommit
        };
        let left = AtomicU64::new(nth.parse().unwrap());
        options.fault = Some(Arc::new(move |at| {
            if at == point && left.fetch_sub(1, Ordering::Relaxed) == 1 {
                std::process::abort();
            }
        }));
    }
    let embedded = Embedded::open(dir, options).unwrap();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..4u64 {
        if worker % 2 == 1 {
            // Store and bus as one: acknowledged is published.
            let (store, _) = embedded.store_and_bus();
            workers.spawn(async move {
                for n in 0.. {
                    let n = round * 1_000_000 + worker * 100_000 + n;
                    let receipt = store.commit(&plan_story(n), soon()).await.unwrap();
                    assert!(receipt.on_bus);
                    say(&format!("published {n}"));
                }
            });
            continue;
        }
        let (store, bus) = (embedded.store(), embedded.bus());
        workers.spawn(async move {
            for n in 0.. {
                let n = round * 1_000_000 + worker * 100_000 + n;
                let commit = plan_story(n);
                store.commit(&commit, soon()).await.unwrap();
                say(&format!("committed {n}"));
                bus.publish(&commit.events, soon()).await.remove(0).unwrap();
                say(&format!("published {n}"));
                if n.is_multiple_of(2) {
                    let id = commit.events[0].id.clone();
                    store.remove(&[id], soon()).await.unwrap();
                    say(&format!("removed {n}"));
                }
            }
        });
    }
    workers.join_all().await;
}

/// One whole line at once, past the test harness's capture.
fn say(line: &str) {
    std::io::stdout()
        .lock()
        .write_all(format!("\n{line}\n").as_bytes())
        .unwrap();
}

fn start(dir: &Path, round: u64, abort: Option<&str>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(abort) = abort {
        command.env(ABORT, abort);
    }
    command.spawn().unwrap()
}

/// What the child said: for each number, what was acknowledged.
type Said = BTreeMap<u64, BTreeSet<String>>;

/// Reads lines until `enough`, kills the child and reads what it still said.
fn run(mut child: Child, enough: usize, said: &mut Said) {
    let mut lines = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let Ok(line) = line else { break };
        let Some((word, n)) = line.split_once(' ') else {
            continue;
        };
        if !["committed", "published", "removed"].contains(&word) {
            continue;
        }
        if let Ok(n) = n.parse() {
            said.entry(n).or_default().insert(word.to_owned());
            lines += 1;
        }
        if lines == enough {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
}

async fn check(dir: &Path, said: &Said, reader: &'static Consumer) {
    let begin = Instant::now();
    let embedded = open(dir);
    assert!(
        begin.elapsed() < Duration::from_secs(5),
        "open took {:?}",
        begin.elapsed()
    );
    let (store, bus) = (embedded.store(), embedded.bus());
    let later = time().plus(Duration::from_secs(60));
    let pending: BTreeSet<String> = store
        .pending(later, 1_000_000, soon())
        .await
        .unwrap()
        .into_iter()
        .map(|event| event.id.to_string())
        .collect();
    let mut logged = BTreeSet::new();
    let mut pulled = bus.subscribe(reader, soon()).await.unwrap();
    loop {
        let batch = pulled.fetch(500, Duration::ZERO).await.unwrap();
        if batch.is_empty() {
            break;
        }
        for delivery in batch {
            let id = delivery.message().header("ce-id").unwrap().to_owned();
            assert!(logged.insert(id.clone()), "{id} is in the log twice");
            delivery.ack().await.unwrap();
        }
    }
    let numbers: Vec<u64> = said.keys().copied().collect();
    for some in numbers.chunks(500) {
        let keys: Vec<_> = some.iter().map(|n| story(*n)).collect();
        for (n, node) in some.iter().zip(store.get(&keys, soon()).await.unwrap()) {
            let node = node.unwrap_or_else(|| panic!("story {n} was acknowledged and is lost"));
            assert_eq!((node.version, node.props), (1, story_props(*n, "DRAFT")));
            let (id, words) = (format!("ev-{n}"), &said[n]);
            assert!(
                pending.contains(&id) || logged.contains(&id),
                "event {n} is lost"
            );
            if words.contains("published") {
                assert!(
                    logged.contains(&id),
                    "published event {n} is not in the log"
                );
            }
            if words.contains("removed") {
                assert!(!pending.contains(&id), "removed event {n} is back");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Said::new();
    for (round, enough) in (0u64..).zip([1, 7, 40, 133, 251, 90, 17, 400]) {
        run(start(dir.path(), round, None), enough, &mut said);
        check(dir.path(), &said, reader(format!("check-{round}"))).await;
    }
    println!(
        "{} commits acknowledged over 8 kills, none lost",
        said.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_before_or_after_the_commit_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Said::new();
    let aborts = [
        "before:1",
        "after:1",
        "before:20",
        "after:20",
        "before:77",
        "after:78",
    ];
    for (round, abort) in (0u64..).zip(aborts) {
        run(start(dir.path(), round, Some(abort)), usize::MAX, &mut said);
        check(dir.path(), &said, reader(format!("check-{}", 100 + round))).await;
    }
}
