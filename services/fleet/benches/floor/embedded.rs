//! On the embedded database: how many transitions a second when sixteen callers share its
//! syncs, and a page of stories beside the same page of a hundred times as many.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_embedded::{Embedded, Options};
use fleet_graph::{Commit, Deadline, Label, NodeKey, Owner, Store};
use fleet_proto::planning::v2::ListStoriesRequest;
use fleet_service::SystemClock;
use fleet_types::Clock as _;

use crate::machine;
use crate::play::{Clients, STEPS};
use crate::product::Product;
use crate::report::{Report, quantile, short};

const CALLERS: usize = 16;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 3;
const STORIES: usize = 2;
const TASKS: usize = 500;

/// `fleet up` on a data directory.
pub async fn up(data: &Path) -> Product {
    Product::up(&["--data", data.to_str().unwrap()], &[])
        .ready()
        .await
}

/// Transitions a second through gRPC.
pub async fn throughput(report: &mut Report) {
    let data = machine::scratch("throughput");
    let product = up(&data).await;
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(Clients::connect(&product.planning, &product.workflow).await);
    }
    let epic = connections[0].epic().await;
    let (mut rates, mut times, mut syncs, mut cpu) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms.
    for round in 0..=ROUNDS {
        let mut made = tokio::task::JoinSet::new();
        for n in 0..STORIES {
            let (clients, epic) = (connections[n % CONNECTIONS].clone(), epic.clone());
            made.spawn(async move { clients.story(&epic, TASKS).await.tasks });
        }
        let tasks: Vec<String> = made.join_all().await.into_iter().flatten().collect();
        let total = tasks.len() * STEPS;
        let synced = machine::syncs(Duration::from_millis(500));
        let shared = Arc::new(std::sync::Mutex::new(tasks));
        let ticks = product.ticks();
        let begin = Instant::now();
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..CALLERS {
            let (clients, shared) = (connections[n % CONNECTIONS].clone(), shared.clone());
            callers.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let task = shared.lock().unwrap().pop();
                    let Some(task) = task else { return times };
                    let mut epoch = 0;
                    for step in 0..STEPS {
                        let at = Instant::now();
                        epoch = clients.step(&task, step, epoch).await;
                        times.push(at.elapsed());
                    }
                }
            });
        }
        let walked: Vec<Duration> = callers.join_all().await.into_iter().flatten().collect();
        #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
        let rate = total as f64 / begin.elapsed().as_secs_f64();
        if round > 0 {
            rates.push(rate);
            times.extend(walked);
            syncs.extend(synced);
            if let (Some(before), Some(after)) = (ticks, product.ticks()) {
                #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
                cpu.push((after - before) as f64 * 10_000.0 / total as f64);
            }
        }
    }
    rates.sort_by(f64::total_cmp);
    let rate = rates[rates.len() / 2];
    let sync = quantile(&syncs, 0.5);
    let alone = 1.0 / sync.as_secs_f64();
    report.number(
        "transitions a second through gRPC, embedded, c16",
        format!("{rate:.0}/s"),
        format!("{alone:.0} fdatasync/s"),
        "≥ 3000/s".into(),
        rate >= 3_000.0,
    );
    let rounds: Vec<String> = rates.iter().map(|rate| format!("{rate:.0}")).collect();
    report.note("  rounds, per second", rounds.join(" "));
    let quantiles = [0.5, 0.99, 1.0].map(|share| short(quantile(&times, share)));
    report.note("  latency p50, p99, max", quantiles.join(", "));
    report.note(
        "  transitions for each sync that fits into the time",
        format!("{:.1}", rate / alone),
    );
    let used: Vec<String> = cpu.iter().map(|micros| format!("{micros:.0} µs")).collect();
    report.note(
        "  CPU of the process for a transition (rounds)",
        used.join(" "),
    );
    product.stop().await;
    let _ = std::fs::remove_dir_all(data);
}

/// A page of 100 stories among 1,000 and among 100,000.
pub async fn listing(report: &mut Report) {
    let data = machine::scratch("listing");
    let product = up(&data).await;
    let clients = Clients::connect(&product.planning, &product.workflow).await;
    let epic = clients.epic().await;
    let story = clients.draft(&epic).await;
    product.stop().await;
    let mut found = Vec::new();
    for (from, to) in [(0, 1_000), (1_000, 100_000)] {
        let embedded = Embedded::open(&data, Options::new(Arc::new(SystemClock))).unwrap();
        copies(&*embedded.store(), &story, from, to).await;
        embedded.close().await;
        let product = up(&data).await;
        let clients = Clients::connect(&product.planning, &product.workflow).await;
        found.push(pages(&clients).await);
        product.stop().await;
    }
    compare("embedded", &found[0], &found[1], report);
    let _ = std::fs::remove_dir_all(data);
}

/// Writes copies of a story, numbers `from` to `to` − 1, as the product would.
pub async fn copies(store: &dyn Store, story: &str, from: usize, to: usize) {
    let soon = || Deadline::after(Duration::from_secs(60));
    let key = NodeKey::new(Label::Story, story);
    let node = store.get(&[key], soon()).await.unwrap().remove(0).unwrap();
    let numbers: Vec<usize> = (from..to).collect();
    for some in numbers.chunks(500) {
        let mut commit = Commit::new(uuid::Uuid::now_v7(), Owner::Planning, SystemClock.now());
        for n in some {
            let id = format!("s-copy-{n}");
            let mut props = node.props.clone();
            props.insert("story_id".into(), id.clone().into());
            let ord = format!("9|{:07}", 1_000_000 + n);
            commit.create(NodeKey::new(Label::Story, id), ord, props);
        }
        store.commit(&commit, soon()).await.unwrap();
    }
}

/// Times of the first page and of one in the middle.
pub struct Pages {
    total: i32,
    first: Vec<Duration>,
    middle: Vec<Duration>,
}

/// Pages of 100 as a caller sees them.
pub async fn pages(clients: &Clients) -> Pages {
    let mut planning = clients.planning.clone();
    let first = ListStoriesRequest {
        limit: 100,
        ..Default::default()
    };
    let answer = planning
        .list_stories(first.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.stories.len(), 100);
    let total = answer.total_count;
    let before = ListStoriesRequest {
        offset: total / 2,
        ..first.clone()
    };
    let token = planning
        .list_stories(before)
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let middle = ListStoriesRequest {
        page_token: token,
        ..first.clone()
    };
    let mut pages = Pages {
        total,
        first: Vec::new(),
        middle: Vec::new(),
    };
    for n in 0..350 {
        for (ask, times) in [(&first, &mut pages.first), (&middle, &mut pages.middle)] {
            let at = Instant::now();
            let answer = planning
                .list_stories(ask.clone())
                .await
                .unwrap()
                .into_inner();
            if n >= 50 {
                times.push(at.elapsed());
            }
            assert_eq!((answer.stories.len(), answer.total_count), (100, total));
        }
    }
    pages
}

/// Few beside many.
pub fn compare(store: &str, few: &Pages, many: &Pages, report: &mut Report) {
    for (which, ours, least) in [
        ("first", &many.first, &few.first),
        ("a middle", &many.middle, &few.middle),
    ] {
        let what = format!(
            "ListStories, {which} page of 100, {store}, {} beside {} stories",
            many.total, few.total
        );
        report.ratio(
            &what,
            std::slice::from_ref(ours),
            std::slice::from_ref(least),
            1.5,
        );
    }
}
