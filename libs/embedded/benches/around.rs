//! What is read around a story, what is found, and what being findable costs a commit.
//!
//! `cargo bench -p fleet-embedded --bench around` (optionally `-- OTHERS`, the number of other
//! stories, each with five tasks). The story has 1,000 decisions of 2 KB that lead to each other
//! and to its 100 tasks. Every line is measured again with the other stories there: they should
//! make no difference. "cpu" is the mean processor time of the whole process for each, which
//! does not depend on what else the machine does.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a measurement, run by hand"
)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_embedded::{Embedded, Options};
use fleet_graph::{
    Branch, Columns, Commit, Deadline, Digest, Direction::Out, EdgeType, Label, NodeKey, Owner,
    Search, SearchIndex, Sketch, Step, Store, Walk, props,
};
use fleet_types::{Clock, Timestamp};
use serde_json::json;
use uuid::Uuid;

const DECISIONS: usize = 1_000;
const TASKS: usize = 100;
const ROUNDS: usize = 60;

#[derive(Debug)]
struct BenchClock(Instant);

impl Clock for BenchClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_762_603_200_000).plus(self.0.elapsed())
    }
}

fn main() {
    let others = std::env::args()
        .skip(1)
        .find_map(|arg| arg.parse().ok())
        .unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(others));
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(60))
}

struct Bench {
    store: Arc<dyn Store>,
    commits: u64,
}

fn key(label: Label, id: String) -> NodeKey {
    NodeKey::new(label, id)
}

fn task(story: &str, n: usize) -> NodeKey {
    key(Label::Task, format!("T-{story}-{n:04}"))
}

fn decision(n: usize) -> NodeKey {
    key(Label::Decision, format!("DEC-{n:06}"))
}

/// A text of so many words out of a thousand; always the same.
fn text(seed: usize, words: usize) -> String {
    (0..words)
        .map(|at| format!("word{} ", (seed * 31 + at * at * 7) % 1_000))
        .collect()
}

impl Bench {
    fn commit(&mut self, owner: Owner) -> Commit {
        self.commits += 1;
        let id = Uuid::from_u64_pair(1, self.commits);
        Commit::new(id, owner, Timestamp::from_millis(1))
    }

    async fn done(&self, commit: &Commit) {
        self.store.commit(commit, deadline()).await.unwrap();
    }

    /// A story with its tasks.
    fn plan(commit: &mut Commit, story: &str, tasks: usize) {
        let node = key(Label::Story, story.to_owned());
        commit.create(
            node.clone(),
            story,
            props(&json!({ "title": story, "state": "DRAFT" })),
        );
        for n in 0..tasks {
            let row = json!({
                "title": format!("Task {n} {}", text(n, 5)), "description": text(n, 40),
                "story_id": story, "status": "todo",
            });
            commit
                .create(task(story, n), format!("{n:06}"), props(&row))
                .relate(node.clone(), EdgeType::HasTask, task(story, n));
        }
    }

    async fn fill(&mut self) {
        let mut commit = self.commit(Owner::Planning);
        Self::plan(&mut commit, "s-1", TASKS);
        self.done(&commit).await;
        for some in (0..DECISIONS).collect::<Vec<_>>().chunks(250) {
            let mut commit = self.commit(Owner::Context);
            for &n in some {
                let row = json!({
                    "title": format!("Decision {n} {}", text(n, 6)), "rationale": text(n, 220),
                    "status": "ACCEPTED", "decision_type": "ARCHITECTURE", "story_id": "s-1",
                    "tokens_title": 9, "tokens_rationale": 450, "tokens_by": "o200k/1",
                });
                commit
                    .create(decision(n), format!("{n:06}"), props(&row))
                    .relate(
                        key(Label::Story, "s-1".to_owned()),
                        EdgeType::HasDecision,
                        decision(n),
                    )
                    .relate(decision(n), EdgeType::Affects, task("s-1", n % TASKS));
                if n > 0 {
                    commit.relate(decision(n), EdgeType::DependsOn, decision(n / 2));
                }
            }
            self.done(&commit).await;
        }
    }

    async fn crowd(&mut self, others: usize) {
        let begin = Instant::now();
        for some in (0..others).collect::<Vec<_>>().chunks(150) {
            let mut commit = self.commit(Owner::Planning);
            for other in some {
                Self::plan(&mut commit, &format!("s-1{other:06}"), 5);
            }
            self.done(&commit).await;
        }
        let took = begin.elapsed();
        println!(
            "{others} other stories written in {:.1} s",
            took.as_secs_f64()
        );
    }
}

fn sketch() -> Sketch {
    const LIGHT: &[&str] = &[
        "title",
        "status",
        "tokens_title",
        "tokens_rationale",
        "tokens_by",
    ];
    let light = |path, edges| Branch {
        columns: Columns::Only(LIGHT),
        edges,
        ..Branch::new(path)
    };
    Sketch {
        root: key(Label::Story, "s-1".to_owned()),
        branches: vec![
            light(
                vec![(EdgeType::HasDecision, Out)],
                vec![
                    EdgeType::Affects,
                    EdgeType::DependsOn,
                    EdgeType::Supersedes,
                    EdgeType::AlternativeOf,
                ],
            ),
            light(vec![(EdgeType::HasTask, Out)], vec![EdgeType::DependsOn]),
            light(
                vec![(EdgeType::HasTask, Out), (EdgeType::HasRun, Out)],
                vec![],
            ),
            light(vec![(EdgeType::HasContext, Out)], vec![]),
        ],
    }
}

/// Processor time of all threads of this process so far; nothing where the system does not tell.
fn cpu() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        return Duration::ZERO;
    };
    let nanos = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

/// Measures one call many times.
async fn measure<T>(what: &str, mut call: impl AsyncFnMut(usize) -> T) {
    let mut times = Vec::new();
    let before = cpu();
    for round in 0..ROUNDS {
        let begin = Instant::now();
        call(round).await;
        times.push(begin.elapsed().as_micros());
    }
    let used = cpu().saturating_sub(before).as_micros() / ROUNDS as u128;
    times.sort_unstable();
    println!(
        "{what:<52}{:>10}{:>10}{used:>10}",
        times[ROUNDS / 2],
        times[ROUNDS * 95 / 100]
    );
}

async fn reads(bench: &Bench) {
    let store = &bench.store;
    let root = key(Label::Story, "s-1".to_owned());
    let sketch = sketch();
    measure("sketch, 1,000 decisions, light", async |_| {
        let seen = store.sketch(&sketch, deadline()).await.unwrap();
        assert_eq!(
            (seen.branches[0].nodes.len(), seen.branches[0].edges.len()),
            (1_000, 1_999)
        );
    })
    .await;
    let mut whole = sketch.clone();
    for branch in &mut whole.branches {
        branch.columns = Columns::All;
    }
    measure("sketch, 1,000 decisions, all columns", async |_| {
        store.sketch(&whole, deadline()).await.unwrap()
    })
    .await;
    let step = |edge, hops| Step {
        edge,
        direction: Out,
        hops,
    };
    let walk = Walk {
        roots: vec![root.clone()],
        steps: vec![step(EdgeType::HasDecision, 1), step(EdgeType::Affects, 1)],
        max_nodes: 5_000,
    };
    measure("walk, 1,000 decisions and their tasks", async |_| {
        store.walk(&walk, deadline()).await.unwrap()
    })
    .await;
    let paths: Vec<_> = sketch.branches.iter().map(|b| b.path.clone()).collect();
    let digest = Digest {
        root: root.clone(),
        paths,
    };
    let keys: Vec<_> = (0..20).map(decision).collect();
    measure("digest of the same, 20 keys", async |_| {
        store.digest(&digest, &keys, deadline()).await.unwrap()
    })
    .await;
    let small = Digest {
        root: root.clone(),
        paths: digest.paths[1..].to_vec(),
    };
    measure("digest of the tasks and runs, no keys", async |_| {
        store.digest(&small, &[], deadline()).await.unwrap()
    })
    .await;
    measure("get one node", async |_| {
        store
            .get(std::slice::from_ref(&root), deadline())
            .await
            .unwrap()
    })
    .await;
    for (what, index, terms, story) in [
        (
            "search, three words, all decisions",
            SearchIndex::Decisions,
            "word7 word31 word38",
            None,
        ),
        (
            "search, one word, tasks of the story",
            SearchIndex::Tasks,
            "word7",
            Some("s-1"),
        ),
        (
            "search, one word, all tasks",
            SearchIndex::Tasks,
            "word7",
            None,
        ),
        (
            "search, a word that all tasks have",
            SearchIndex::Tasks,
            "task",
            None,
        ),
    ] {
        let search = Search {
            index,
            terms: fleet_graph::terms(terms).collect(),
            story_id: story.map(str::to_owned),
            limit: 20,
        };
        measure(what, async |_| {
            store.search(&search, deadline()).await.unwrap()
        })
        .await;
    }
}

async fn writes(bench: &mut Bench, run: &str) {
    let row = json!({
        "title": text(3, 6), "description": text(4, 40), "story_id": format!("s-{run}"),
        "status": "todo", "state": "x",
    });
    for label in [Label::StoryTransition, Label::Task] {
        let mut commits: Vec<_> = (0..2 * ROUNDS)
            .map(|_| bench.commit(Owner::Planning))
            .collect();
        for (n, commit) in commits.iter_mut().enumerate() {
            let mut row = props(&row);
            row.insert("status".to_owned(), json!(n));
            let key = key(label, format!("{run}-{}", n % ROUNDS));
            match n < ROUNDS {
                true => commit.create(key, "o", row),
                false => commit.update(key, 1, "o", row),
            };
        }
        let created = format!("commit that creates one {label}");
        measure(&created, async |n| bench.done(&commits[n]).await).await;
        let updated = format!("commit that updates one {label}, same words");
        measure(&updated, async |n| bench.done(&commits[ROUNDS + n]).await).await;
    }
}

async fn run(others: usize) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let options = Options::new(Arc::new(BenchClock(Instant::now())));
    let embedded = Embedded::open(dir.path(), options.clone()).unwrap();
    let mut bench = Bench {
        store: embedded.store(),
        commits: 0,
    };
    bench.fill().await;
    println!("{:<52}{:>10}{:>10}{:>10}", "", "p50 µs", "p95 µs", "cpu µs");
    reads(&bench).await;
    writes(&mut bench, "alone").await;
    bench.crowd(others).await;
    reads(&bench).await;
    writes(&mut bench, "crowded").await;
    drop(bench);
    embedded.close().await;
    let begin = Instant::now();
    let mut complete = options;
    complete.verify_up_to = u64::MAX;
    let embedded = Embedded::open(dir.path(), complete).unwrap();
    println!(
        "open, verified completely, in {:.1} s",
        begin.elapsed().as_secs_f64()
    );
    embedded.close().await;
}
