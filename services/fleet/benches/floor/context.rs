//! What an agent's context costs: from the cache beside one small read and a bare call,
//! made anew beside a walk of the whole story, and how it grows with the story and not with
//! the graph.

use std::time::{Duration, Instant};

use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::echo::Echo;
use crate::neo4j::Bare;
use crate::play::Clients;
use crate::product::Product;
use crate::real::{Servers, TURNS, Turns, quiet};
use crate::report::{Report, median_of, quantile, short};

/// Decisions of the story that is measured.
const DECISIONS: usize = 1_000;
/// Contexts from the cache in one turn.
const CACHED: usize = 200;
/// Contexts made anew in one turn.
const FRESH: usize = 20;
/// Decisions in one UpdateContext.
const BATCH: usize = 100;

/// The service, and a number that makes each question a new one.
struct Context {
    client: ContextServiceClient<Channel>,
    story: String,
    task: String,
    asked: i32,
}

impl Context {
    async fn connect(uri: &str, story: &str, task: &str) -> Self {
        let endpoint = Endpoint::from_shared(uri.to_owned())
            .unwrap()
            .tcp_nodelay(true);
        let channel = endpoint.connect().await.unwrap();
        Self {
            client: ContextServiceClient::new(channel),
            story: story.to_owned(),
            task: task.to_owned(),
            asked: 0,
        }
    }

    fn ask(&self, token_budget: i32) -> pb::GetContextRequest {
        pb::GetContextRequest {
            story_id: self.story.clone(),
            role: "developer".into(),
            phase: "BUILD".into(),
            subtask_id: self.task.clone(),
            token_budget,
            ..Default::default()
        }
    }

    /// The same context every time.
    async fn again(&mut self) -> pb::GetContextResponse {
        let ask = self.ask(4_000);
        self.client.get_context(ask).await.unwrap().into_inner()
    }

    /// A context that nobody asked for before: every budget is a question of its own.
    async fn anew(&mut self) -> pb::GetContextResponse {
        self.asked += 1;
        let ask = self.ask(4_000 + self.asked);
        self.client.get_context(ask).await.unwrap().into_inner()
    }

    /// A change of the story's context, by which everything kept of it is overtaken.
    async fn change(&mut self) {
        self.asked += 1;
        let change = pb::ContextChange {
            operation: "UPSERT".into(),
            entity_type: "SUMMARY".into(),
            entity_id: "so-far".into(),
            payload: format!(r#"{{"text":"Measured {} times."}}"#, self.asked),
            ..Default::default()
        };
        let update = pb::UpdateContextRequest {
            story_id: self.story.clone(),
            role: "architect".into(),
            changes: vec![change],
            ..Default::default()
        };
        self.client.update_context(update).await.unwrap();
    }

    async fn rehydrate(&mut self) {
        let ask = pb::RehydrateSessionRequest {
            case_id: self.story.clone(),
            roles: ["architect", "developer", "qa", "devops", "data"]
                .map(str::to_owned)
                .into(),
            include_timeline: true,
            include_summaries: true,
            ..Default::default()
        };
        let answer = self.client.rehydrate_session(ask).await.unwrap();
        assert_eq!(answer.into_inner().packs.len(), 5);
    }

    /// Decisions number `from` to `to` − 1: each with a say in the task, most resting on
    /// the one before.
    async fn decide(&mut self, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            let end = to.min(at + BATCH);
            let changes = (at..end).map(|n| self.decision(n)).collect();
            let update = pb::UpdateContextRequest {
                story_id: self.story.clone(),
                role: "architect".into(),
                changes,
                ..Default::default()
            };
            self.client.update_context(update).await.unwrap();
            at = end;
        }
    }

    fn decision(&self, n: usize) -> pb::ContextChange {
        let id = |n: usize| format!("DEC-{}-{n}", self.story);
        let depends_on: Vec<String> = (!n.is_multiple_of(5))
            .then(|| id(n - 1))
            .into_iter()
            .collect();
        let affects: Vec<&String> = n
            .is_multiple_of(3)
            .then_some(&self.task)
            .into_iter()
            .collect();
        let rationale = format!("Because of measurement {n}: {}", "it has to be said at the length that a rationale has in practice, which is a few lines of text. ".repeat(3));
        pb::ContextChange {
            operation: "CREATE".into(),
            entity_type: "DECISION".into(),
            entity_id: id(n),
            payload: serde_json::json!({
                "title": format!("Decision number {n} about the card form"),
                "rationale": rationale,
                "decision_type": "TECHNICAL",
                "depends_on": depends_on,
                "affects": affects,
            })
            .to_string(),
            reason: "measured".into(),
        }
    }

    /// The median of some contexts that are made anew, each of a changed story.
    async fn fresh(&mut self) -> Duration {
        let mut times = Vec::new();
        for turn in 0..=2 * FRESH {
            self.change().await;
            let at = Instant::now();
            self.anew().await;
            if turn > FRESH {
                times.push(at.elapsed());
            }
        }
        quantile(&times, 0.5)
    }
}

/// A story that was asked about while it was small, and then with a thousand decisions.
pub struct Measured {
    context: Context,
    empty: Duration,
    before: Duration,
}

/// On the real servers.
pub async fn neo4j(
    servers: &Servers,
    product: &Product,
    clients: &Clients,
    bare: &Bare,
    epic: &str,
    report: &mut Report,
) -> Measured {
    let story = clients.story(epic, 10).await;
    let mut context = Context::connect(&product.context, &story.id, &story.tasks[0]).await;
    context.again().await;
    let empty = context.fresh().await;
    context.decide(0, DECISIONS).await;
    quiet().await;
    cached(&mut context, bare, report).await;
    let before = made_anew(servers, product, &mut context, bare, report).await;
    let mut times = Vec::new();
    for _ in 0..40 {
        let at = Instant::now();
        context.rehydrate().await;
        times.push(at.elapsed());
    }
    report.note(
        "RehydrateSession of 5 roles, Neo4j, p50",
        short(quantile(&times, 0.5)),
    );
    Measured {
        context,
        empty,
        before,
    }
}

impl Measured {
    /// When the graph has so many more stories.
    pub async fn beside(&mut self, others: usize, report: &mut Report) {
        let after = self.context.fresh().await;
        let what = format!("a known story that changed, beside {others} others, Neo4j");
        let ratio = after.as_secs_f64() / self.before.as_secs_f64();
        report.number(
            &what,
            short(after),
            short(self.before),
            "≤ 1.2 ×".into(),
            ratio <= 1.2,
        );
    }

    /// When the story itself has grown.
    pub async fn grown(mut self, report: &mut Report) {
        self.context.decide(DECISIONS, 5 * DECISIONS).await;
        quiet().await;
        let large = self.context.fresh().await;
        let figures = [self.empty, self.before, large].map(short).join(", ");
        report.note(
            "  known and changed, 0, 1,000, 5,000 decisions, Neo4j",
            figures,
        );
    }
}

async fn cached(context: &mut Context, bare: &Bare, report: &mut Report) {
    let answer = context.again().await;
    let echo = Echo::default();
    echo.answer("/fleet.context.v1.ContextService/GetContext", &answer);
    let uri = echo.start().await;
    let mut bounced = Context::connect(&uri, &context.story, &context.task).await;
    let mut turns = Turns::default();
    for turn in 0..=TURNS {
        let (mut ours, mut least, mut bounce) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..CACHED {
            let at = Instant::now();
            context.again().await;
            ours.push(at.elapsed());
            let at = Instant::now();
            assert!(bare.version(&context.story).await > 1);
            let read = at.elapsed();
            let at = Instant::now();
            bounced.again().await;
            bounce.push(at.elapsed());
            least.push(read + at.elapsed());
        }
        turns.add(turn, ours, least, bounce);
    }
    let what = format!(
        "GetContext from the cache, {} tokens, c1, p50",
        answer.token_count
    );
    report.ratio(&what, &turns.ours, &turns.least, 1.5);
    let bounce = short(median_of(&turns.bounce));
    report.note("  of the floor: a bare call", bounce);
}

async fn made_anew(
    servers: &Servers,
    product: &Product,
    context: &mut Context,
    bare: &Bare,
    report: &mut Report,
) -> Duration {
    // It reads everything for every question.
    let forgetful = servers
        .up_with(&[("FLEET_CONTEXT_STORY_MEMORY", "0")])
        .await;
    let mut unknown = Context::connect(&forgetful.context, &context.story, &context.task).await;
    let mut turns = Turns::default();
    let (mut others, mut unknowns) = (Turns::default(), Turns::default());
    for turn in 0..=TURNS {
        let (mut ours, mut other, mut least) = (Vec::new(), Vec::new(), Vec::new());
        let mut read = Vec::new();
        for _ in 0..FRESH {
            context.change().await;
            let at = Instant::now();
            context.anew().await;
            ours.push(at.elapsed());
            let at = Instant::now();
            context.anew().await;
            other.push(at.elapsed());
            let at = Instant::now();
            unknown.anew().await;
            read.push(at.elapsed());
            let at = Instant::now();
            assert!(bare.whole(&context.story).await >= DECISIONS);
            least.push(at.elapsed());
        }
        turns.add(turn, ours, least.clone(), Vec::new());
        others.add(turn, other, least.clone(), Vec::new());
        unknowns.add(turn, read, least, Vec::new());
    }
    report.ratio(
        &format!("GetContext of an unknown story, {DECISIONS} decisions; a whole walk, p50"),
        &unknowns.ours,
        &unknowns.least,
        1.0,
    );
    report.ratio(
        "GetContext of a known story that changed, p50",
        &turns.ours,
        &turns.least,
        1.0,
    );
    report.ratio(
        "GetContext, another question about the same version, p50",
        &others.ours,
        &others.least,
        1.0,
    );
    // What the changes take is taken off again.
    let calls = 15 * FRESH as u32;
    let first = spent(&forgetful, &mut unknown, calls, true, false).await;
    forgetful.stop().await;
    let changes = spent(product, context, calls, false, true).await;
    let changed = spent(product, context, calls, true, true)
        .await
        .saturating_sub(changes);
    let other = spent(product, context, calls, true, false).await;
    for (what, each) in [
        ("of an unknown story", first),
        ("of a known story that changed", changed),
        ("of the same version", other),
    ] {
        report.number(
            &format!("  CPU of the process for one {what}"),
            short(each),
            String::new(),
            "≤ 5 ms".into(),
            each <= Duration::from_millis(5),
        );
    }
    median_of(&turns.ours)
}

/// CPU time of the process for each of so many rounds.
async fn spent(
    product: &Product,
    context: &mut Context,
    rounds: u32,
    ask: bool,
    change: bool,
) -> Duration {
    quiet().await;
    let ticks = product.ticks().unwrap_or_default();
    for _ in 0..rounds {
        if change {
            context.change().await;
        }
        if ask {
            context.anew().await;
        }
    }
    let spent = product.ticks().unwrap_or_default() - ticks;
    Duration::from_millis(10 * spent) / rounds
}

/// On the embedded database.
pub async fn embedded(report: &mut Report) {
    let data = crate::machine::scratch("context");
    let path = data.to_str().unwrap();
    let product = Product::up(&["--data", path], &[]).ready().await;
    let clients = Clients::connect(&product.planning, &product.workflow).await;
    let epic = clients.epic().await;
    let story = clients.story(&epic, 10).await;
    let mut context = Context::connect(&product.context, &story.id, &story.tasks[0]).await;
    context.again().await;
    let mut figures = vec![context.fresh().await];
    for (from, to) in [(0, DECISIONS), (DECISIONS, 5 * DECISIONS)] {
        context.decide(from, to).await;
        quiet().await;
        figures.push(context.fresh().await);
    }
    let mut times = Vec::new();
    for _ in 0..CACHED {
        let at = Instant::now();
        context.again().await;
        times.push(at.elapsed());
    }
    report.note(
        "GetContext from the cache, embedded, p50",
        short(quantile(&times, 0.5)),
    );
    let figures = figures
        .into_iter()
        .map(short)
        .collect::<Vec<_>>()
        .join(", ");
    report.note(
        "  known and changed, 0, 1,000, 5,000 decisions, embedded",
        figures,
    );
    product.stop().await;
    let _ = std::fs::remove_dir_all(data);
}
