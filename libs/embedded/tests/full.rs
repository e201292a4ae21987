//! No room: writes are refused before they are acknowledged, and work again once there is.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::*;
use fleet_embedded::{Embedded, Options};
use fleet_graph::{CommitError, Store, Unavailable};
use fleet_types::{Clock, Timestamp};

/// Many commits at once; gives the numbers of those that were acknowledged.
async fn write(store: &Arc<dyn Store>, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let mut tasks = tokio::task::JoinSet::new();
    for n in numbers {
        let store = Arc::clone(store);
        tasks.spawn(async move {
            match store.commit(&plan_story(n), soon()).await {
                Ok(_) => Some(n),
                Err(CommitError::Unavailable(Unavailable {
                    retryable: true, ..
                })) => None,
                Err(other) => panic!("{other}"),
            }
        });
    }
    let mut done: Vec<u64> = tasks.join_all().await.into_iter().flatten().collect();
    done.sort_unstable();
    done
}

/// Writes until nothing is accepted any more.
async fn fill(store: &Arc<dyn Store>, from: u64) -> Vec<u64> {
    let mut done = Vec::new();
    for round in 0..1_000 {
        let first = from + round * 40;
        let accepted = write(store, first..first + 40).await;
        if accepted.is_empty() {
            return done;
        }
        done.extend(accepted);
    }
    panic!("it never filled up");
}

async fn all_there(embedded: &Embedded, numbers: &[u64]) {
    for some in numbers.chunks(500) {
        let keys: Vec<_> = some.iter().map(|n| story(*n)).collect();
        let found = embedded.store().get(&keys, soon()).await.unwrap();
        for (n, node) in some.iter().zip(found) {
            assert!(node.is_some(), "story {n} was acknowledged and is lost");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_refuses_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options();
    small.max_bytes = Some(1024 * 1024);
    let embedded = Embedded::open(dir.path(), small).unwrap();
    let mut done = fill(&embedded.store(), 0).await;
    assert!(done.len() > 40, "only {} fit", done.len());
    all_there(&embedded, &done).await;
    // Room is made by deleting, although there is none.
    for n in done.drain(..done.len() / 2) {
        let mut gone = commit(1_000_000 + n);
        gone.delete(story(n), 1).delete(task(n), 1);
        if embedded.store().commit(&gone, soon()).await.is_err() {
            continue;
        }
        let id = create_story(n).events[0].id.clone();
        embedded.store().remove(&[id], soon()).await.unwrap();
    }
    let more = write(&embedded.store(), 500_000..500_010).await;
    assert_eq!(more.len(), 10);
    done.extend(more);
    all_there(&embedded, &done).await;
    embedded.close().await;
    all_there(&open(dir.path()), &done).await;
}

/// Time that somebody moves.
#[derive(Debug)]
struct Moved(Mutex<Timestamp>);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Where commits put their events on the bus themselves, nothing else makes room there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_database_is_rid_of_old_messages_by_those_who_write() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Moved(Mutex::new(time())));
    let mut small = Options::new(clock.clone());
    small.max_bytes = Some(1024 * 1024);
    let embedded = Embedded::open(dir.path(), small).unwrap();
    let (store, _) = embedded.store_and_bus();
    let done = fill(&store, 0).await;
    assert!(done.len() > 40, "only {} fit", done.len());
    let stream = fleet_topology::stream("PLANNING_EVENTS").unwrap();
    let old = Duration::from_secs(stream.max_age_secs + 61);
    *clock.0.lock().unwrap() = time().plus(old);
    let more = write(&store, 500_000..500_010).await;
    assert_eq!(more.len(), 10, "old messages made room");
    all_there(&embedded, &done).await;
    all_there(&embedded, &more).await;
    embedded.close().await;
}

/// A small file system of its own, if this process may mount one.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        made.is_ok_and(|output| output.status.success())
            .then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_recovers() {
    let Some(disk) = Mounted::new(6) else {
        println!("not exercised: full disk (no right to mount a file system)");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 * 1024 * 1024]).unwrap();
    let data = disk.path().join("data");
    let embedded = Embedded::open(&data, options()).unwrap();
    let mut done = fill(&embedded.store(), 0).await;
    assert!(!done.is_empty());
    all_there(&embedded, &done).await;
    std::fs::remove_file(&ballast).unwrap();
    let more = write(&embedded.store(), 900_000..900_020).await;
    assert_eq!(more.len(), 20, "it recovers by itself");
    done.extend(more);
    all_there(&embedded, &done).await;
    embedded.close().await;
    all_there(&open(&data), &done).await;
}
