//! Changed bytes: either the start is refused and names the file, or nothing that was
//! acknowledged is lost or changed.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests are tests"
)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use common::*;
use fleet_embedded::{Embedded, OpenError};
use fleet_events::{Parked, RawMessage};
use fleet_graph::{
    Branch, Direction, EdgeType, Index, ReadError, Scan, Search, SearchIndex, Sketch,
};
use fleet_topology::{CONSUMERS, Consumer};

/// Repeatable numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

/// A consumer of what the tests publish.
fn planning_consumer() -> &'static Consumer {
    CONSUMERS
        .iter()
        .find(|c| c.stream == "PLANNING_EVENTS")
        .unwrap()
}

/// Writes into every table.
async fn fill(embedded: &Embedded, stories: std::ops::Range<u64>) {
    let (store, bus) = (embedded.store(), embedded.bus());
    for n in stories {
        let mut commit = plan_story(n);
        commit.answers = Some(fleet_graph::Answer {
            consumer: "c".to_owned(),
            event: fleet_types::EventId::parse(&format!("ev-answered-{n}")).unwrap(),
        });
        commit.request = Some(fleet_graph::Request {
            key: fleet_graph::RequestKey {
                method: "m".to_owned(),
                principal: "p".to_owned(),
                request_id: n.to_string(),
            },
            fingerprint: "f".to_owned(),
            response: vec![7; 30],
        });
        if n % 10 > 0 {
            commit.relate(
                story(n),
                fleet_graph::EdgeType::HasTransition,
                story(n - n % 10),
            );
        }
        store.commit(&commit, soon()).await.unwrap();
        if n % 3 == 0 {
            let said = event(&format!("ev-{n}"), "planning.story.transitioned");
            assert!(bus.publish(&[said], soon()).await.remove(0).is_ok());
        }
        if n % 20 == 0 {
            bus.park(&parked(n), soon()).await.unwrap();
        }
    }
    // Some are settled, some are not.
    let mut pulled = bus.subscribe(planning_consumer(), soon()).await.unwrap();
    for (n, delivery) in (0..).zip(pulled.fetch(10, Duration::ZERO).await.unwrap()) {
        if n % 2 == 1 {
            delivery.ack().await.unwrap();
        }
    }
}

/// A reader who has seen nothing yet: what it is sent depends on nobody's acknowledgements.
fn fresh_reader() -> &'static Consumer {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!("damage-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Box::leak(Box::new(Consumer {
        name: name.leak(),
        ..*planning_consumer()
    }))
}

fn parked(n: u64) -> Parked {
    Parked {
        sequence: 0,
        stream: "PLANNING_EVENTS".to_owned(),
        consumer: "c".to_owned(),
        reason: "why".to_owned(),
        deliveries: 8,
        parked_at: "2025-11-08T12:00:00.000Z".to_owned(),
        message: RawMessage {
            stream: "PLANNING_EVENTS".to_owned(),
            sequence: n,
            subject: "planning.story.created".to_owned(),
            headers: vec![("ce-id".to_owned(), format!("ev-{n}"))],
            body: vec![1, 2, 3],
        },
    }
}

/// Everything a user can see, as text.
async fn everything(embedded: &Embedded) -> Result<BTreeMap<String, String>, String> {
    let (store, bus) = (embedded.store(), embedded.bus());
    let mut seen = BTreeMap::new();
    let mut scan = Scan::new(Index::Stories, vec![], 1000);
    scan.total = true;
    let page = store.scan(&scan, soon()).await.map_err(|e| e.to_string())?;
    seen.insert("total".to_owned(), format!("{:?}", page.total));
    for node in page.nodes {
        seen.insert(node.key.path(), format!("{node:?}"));
    }
    let by_state = Scan::new(Index::StoriesByState, vec!["DRAFT".into()], 1000);
    let page = store
        .scan(&by_state, soon())
        .await
        .map_err(|e| e.to_string())?;
    seen.insert("drafts".to_owned(), page.nodes.len().to_string());
    for page in 0..7 {
        let search = Search {
            index: SearchIndex::Tasks,
            terms: vec!["page".to_owned(), page.to_string()],
            story_id: None,
            limit: 1000,
        };
        let hits = store.search(&search, soon()).await;
        let hits = hits.map_err(|e| e.to_string())?;
        seen.insert(format!("page {page}"), format!("{hits:?}"));
    }
    let out = Branch {
        edges: vec![EdgeType::HasTransition, EdgeType::HasTask],
        ..Branch::new(vec![(EdgeType::HasTransition, Direction::In)])
    };
    let sketch = Sketch {
        root: story(0),
        branches: vec![out],
    };
    let sketch = store.sketch(&sketch, soon()).await;
    let sketch = sketch.map_err(|e| e.to_string())?;
    seen.insert("sketch".to_owned(), format!("{sketch:?}"));
    let later = time().plus(Duration::from_secs(60));
    for event in store
        .pending(later, 10_000, soon())
        .await
        .map_err(|e| e.to_string())?
    {
        seen.insert(format!("outbox {}", event.id), format!("{event:?}"));
    }
    for parked in bus
        .parked(0, 1000, soon())
        .await
        .map_err(|e| e.to_string())?
    {
        seen.insert(format!("parked {}", parked.sequence), format!("{parked:?}"));
    }
    let mut pulled = bus
        .subscribe(fresh_reader(), soon())
        .await
        .map_err(|e| e.to_string())?;
    loop {
        let batch = pulled
            .fetch(100, Duration::ZERO)
            .await
            .map_err(|e| e.to_string())?;
        if batch.is_empty() {
            return Ok(seen);
        }
        for delivery in batch {
            let message = delivery.message();
            seen.insert(format!("log {}", message.sequence), format!("{message:?}"));
        }
    }
}

/// Files as a killed process leaves them, while nobody writes.
fn photograph(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    ["fleet.db", "fleet.db-wal", "fleet.ack"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), fs::read(dir.join(name)).ok()?)))
        .collect()
}

fn develop(files: &BTreeMap<String, Vec<u8>>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    dir
}

/// What became of a start.
enum Verdict {
    Refused,
    Whole,
}

async fn judge(
    files: &BTreeMap<String, Vec<u8>>,
    whole: &BTreeMap<String, String>,
    how: &str,
) -> Verdict {
    let dir = develop(files);
    match Embedded::open(dir.path(), options()) {
        Err(refusal) => {
            let text = refusal.to_string();
            assert!(text.contains("fleet.db"), "{how}: {text}");
            assert!(
                matches!(
                    refusal,
                    OpenError::Damaged { .. } | OpenError::Foreign { .. }
                ),
                "{how}: {text}"
            );
            for (name, bytes) in files.iter().filter(|(name, _)| *name != "fleet.ack") {
                assert_eq!(
                    &fs::read(dir.path().join(name)).unwrap(),
                    bytes,
                    "{how}: {name} was changed"
                );
            }
            Verdict::Refused
        }
        Ok(embedded) => {
            assert_eq!(everything(&embedded).await.as_ref(), Ok(whole), "{how}");
            Verdict::Whole
        }
    }
}

async fn flip_many(
    files: &BTreeMap<String, Vec<u8>>,
    whole: &BTreeMap<String, String>,
    name: &str,
    rounds: u64,
    seed: u64,
) -> (u64, u64) {
    let mut dice = Dice(seed);
    let (mut refused, mut harmless) = (0, 0);
    for _ in 0..rounds {
        let mut damaged = files.clone();
        let bytes = damaged.get_mut(name).unwrap();
        let at = dice.roll(bytes.len() as u64) as usize;
        let with = 1 + dice.roll(255) as u8;
        bytes[at] ^= with;
        match judge(&damaged, whole, &format!("{name} byte {at} ^ {with:#x}")).await {
            Verdict::Refused => refused += 1,
            Verdict::Whole => harmless += 1,
        }
    }
    println!("{name}: {refused} refused, {harmless} harmless (seed {seed})");
    (refused, harmless)
}

/// The three shapes a directory can have: all in the log, all in the main file, and some of
/// both.
async fn shapes() -> Vec<(
    &'static str,
    BTreeMap<String, Vec<u8>>,
    BTreeMap<String, String>,
)> {
    let mut shapes = Vec::new();
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    fill(&embedded, 0..60).await;
    let files = photograph(dir.path());
    shapes.push(("log", files, everything(&embedded).await.unwrap()));
    embedded.close().await;
    let files = photograph(dir.path());
    // Pages are moved while it runs, and then the log begins again at its front.
    let mut soon_moved = options();
    soon_moved.backfill_pages = 100;
    let embedded = Embedded::open(dir.path(), soon_moved).unwrap();
    shapes.push(("main", files, everything(&embedded).await.unwrap()));
    fill(&embedded, 60..100).await;
    let files = photograph(dir.path());
    shapes.push(("both", files, everything(&embedded).await.unwrap()));
    shapes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_is_refused_or_harmless() {
    for (shape, files, whole) in shapes().await {
        println!("shape {shape}");
        assert!(matches!(judge(&files, &whole, shape).await, Verdict::Whole));
        let (refused, _) = flip_many(&files, &whole, "fleet.db", 80, 1).await;
        if shape == "main" {
            assert!(refused > 0, "a main file holds data");
        }
        if shape != "main" {
            let (refused, harmless) = flip_many(&files, &whole, "fleet.db-wal", 40, 2).await;
            assert!(refused > 0, "{harmless} harmless");
            if shape == "log" {
                assert_eq!(harmless, 0, "every byte of this log is acknowledged");
            }
        }
        let (refused, _) = flip_many(&files, &whole, "fleet.ack", 10, 3).await;
        assert_eq!(refused, 0, "there are two slots");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_lies_behind_the_last_commit_is_dropped() {
    let [(_, files, whole), ..] = &shapes().await[..] else {
        panic!("no shapes")
    };
    let wal = &files["fleet.db-wal"];
    let with_log = |log: Vec<u8>| {
        let mut files = files.clone();
        files.insert("fleet.db-wal".to_owned(), log);
        files
    };
    let mut dice = Dice(4);
    let garbage: Vec<u8> = (0..10_000).map(|_| dice.roll(256) as u8).collect();
    // The last frame again, whole but with the checksum of another place; and half of one.
    let frame = wal[wal.len() - 4120..].to_vec();
    for tail in [
        garbage,
        frame.clone(),
        frame[..2000].to_vec(),
        vec![0; 4120],
    ] {
        let verdict = judge(&with_log([&wal[..], &tail].concat()), whole, "tail").await;
        assert!(matches!(verdict, Verdict::Whole));
    }
    for cut in [1, 100, 4120, 50_000, wal.len()] {
        let verdict = judge(&with_log(wal[..wal.len() - cut].to_vec()), whole, "cut").await;
        assert!(matches!(verdict, Verdict::Refused), "{cut} bytes cut off");
    }
    let mut without = files.clone();
    without.remove("fleet.db-wal");
    let dir = develop(&without);
    let refusal = Embedded::open(dir.path(), options())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("fleet.db"), "{refusal}");
    let dir = develop(&with_log(wal[..wal.len() - 100].to_vec()));
    let refusal = Embedded::open(dir.path(), options())
        .unwrap_err()
        .to_string();
    for part in [
        "fleet.db-wal",
        "acknowledged data is missing",
        "Restore",
        "fleet.ack",
    ] {
        assert!(refusal.contains(part), "{refusal}");
    }
    // Who accepts the loss can go on.
    fs::remove_file(dir.path().join("fleet.ack")).unwrap();
    open(dir.path());
}

#[tokio::test]
async fn damage_of_a_large_clean_database_is_seen_when_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    fill(&embedded, 0..30).await;
    embedded.close().await;
    let path: PathBuf = dir.path().join("fleet.db");
    let mut bytes = fs::read(&path).unwrap();
    let title = b"\"title\":\"Story 17 ";
    let at = bytes
        .windows(title.len())
        .position(|window| window == title)
        .unwrap();
    bytes[at + 11] ^= 1;
    fs::write(&path, bytes).unwrap();
    let mut large = options();
    large.verify_up_to = 0;
    let embedded = Embedded::open(dir.path(), large.clone()).unwrap();
    let store = embedded.store();
    let error = store.get(&[story(17)], soon()).await.unwrap_err();
    assert!(
        matches!(&error, ReadError::Corrupt(row) if row.key == story(17)),
        "{error}"
    );
    assert!(store.get(&[story(16)], soon()).await.unwrap()[0].is_some());
    drop((store, embedded));
    // The default looks at once.
    let refusal = Embedded::open(dir.path(), options())
        .unwrap_err()
        .to_string();
    assert!(refusal.contains("fleet.db"), "{refusal}");
}
