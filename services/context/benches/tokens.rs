//! Counting tokens cold and warm, and making a context of a big story.
//!
//! `cargo bench -p fleet-context --bench tokens`

#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::unwrap_used, reason = "a bench may fail")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleet_context::domain::pack::WholeRows;
use fleet_context::domain::{
    Ask, Assembler, CachedTokens, DecisionEdge, Entity, Item, O200k, Phase, Policies, Redaction,
    RelationKind, Scopes, StoryGraph, Tokens, column_tokens,
};
use fleet_types::Role;
use serde_json::{Value, json};

const SENTENCE: &str = "Mails leave through the outbox, so that one commit holds both the token \
and the mail; the relay sends at least once, and `mail_id` keeps it from being sent twice. ";

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn per_second(bytes: usize, time: Duration) -> f64 {
    let megabytes = f64::from(u32::try_from(bytes).unwrap()) / 1e6;
    megabytes / time.as_secs_f64()
}

fn counting() {
    // Contents as items have them: some hundred bytes to some thousand.
    let texts: Vec<String> = (0..2_000)
        .map(|n| format!("> {n}: {}\n\n", SENTENCE.repeat(1 + n % 12)))
        .collect();
    let bytes = texts.iter().map(String::len).sum();
    let cached = CachedTokens::new(O200k, NonZeroUsize::new(65_536).unwrap());
    O200k.count("the tables are read once");
    let all = || {
        let start = Instant::now();
        let sum: u64 = texts.iter().map(|t| u64::from(cached.count(t))).sum();
        assert!(sum > 0);
        start.elapsed()
    };
    let cold = all();
    let warm = median((0..21).map(|_| all()).collect());
    println!("counting, cold: {:8.1} MB/s", per_second(bytes, cold));
    println!("counting, warm: {:8.1} MB/s", per_second(bytes, warm));
}

fn item(entity: Entity, row: &Value, light: bool, counted_by: &str) -> Item {
    let mut props = row.as_object().unwrap().clone();
    if light {
        let columns: Vec<_> = entity.light_columns().collect();
        props.retain(|name, _| columns.contains(&name.as_str()) || name.starts_with("tokens_"));
    }
    Item::read(entity, props, counted_by).unwrap()
}

fn making(decisions: usize) {
    let redaction = Redaction {
        version: "bench",
        redact: fleet_redact::redact,
    };
    let (policies, scopes) = (Policies::shipped(redaction), Scopes::shipped());
    let by = policies.counted_by();
    let story = json!({"story_id": "s-1", "title": "A story", "brief": SENTENCE.repeat(4)});
    let rows: Vec<Value> = (0..decisions)
        .map(|n| {
            let rationale = format!("{n}: {}", SENTENCE.repeat(2 + n % 5));
            json!({
                "decision_id": format!("DEC-0193a0c4-7b1e-7cc0-8000-{n:012}"), "story_id": "s-1",
                "title": format!("Decision number {n}"), "status": "APPROVED",
                "created_at": format!("2025-11-{:02}T00:00:00.000Z", 1 + n % 28),
                "tokens_rationale": column_tokens(&O200k, &rationale), "tokens_by": by,
                "rationale": rationale,
            })
        })
        .collect();
    let mut graph = StoryGraph::new(item(Entity::Story, &story, true, &by));
    graph.decisions = rows
        .iter()
        .map(|row| item(Entity::Decision, row, true, &by))
        .collect();
    graph.edges = (1..decisions)
        .map(|n| DecisionEdge {
            from: graph.decisions[n].key().id.clone(),
            kind: RelationKind::DependsOn,
            to: graph.decisions[n / 2].key().id.clone(),
        })
        .collect();
    let whole: WholeRows = rows
        .iter()
        .map(|row| item(Entity::Decision, row, false, &by))
        .chain([item(Entity::Story, &story, false, &by)])
        .map(|item| (item.key().clone(), Arc::new(item)))
        .collect();
    let tokens = CachedTokens::new(O200k, NonZeroUsize::new(65_536).unwrap());
    let rules = Assembler {
        policies: &policies,
        scopes: &scopes,
        tokens: &tokens,
    };
    let ask = Ask {
        role: Role::Architect,
        phase: Phase::Design,
        task: None,
        budget: None,
    };
    let once = || {
        let start = Instant::now();
        let selection = rules.select(&graph, &ask).unwrap();
        let chosen = start.elapsed();
        let wanted: WholeRows = selection
            .fetch()
            .filter_map(|key| Some((key.clone(), whole.get(key)?.clone())))
            .collect();
        let start = Instant::now();
        let pack = rules.assemble(&selection, &wanted, "v").unwrap();
        assert!(pack.token_count <= pack.receipt.budget);
        (
            chosen,
            start.elapsed(),
            wanted.len(),
            pack.receipt.included.len(),
        )
    };
    let runs: Vec<_> = (0..51).map(|_| once()).collect();
    let chosen = median(runs.iter().map(|r| r.0).collect());
    let made = median(runs.iter().map(|r| r.1).collect());
    let (_, _, read, told) = runs[0];
    println!(
        "{decisions} decisions: chosen in {chosen:.1?}, made in {made:.1?} ({read} read, {told} told)"
    );
}

fn main() {
    counting();
    for decisions in [0, 1_000, 5_000] {
        making(decisions);
    }
}
