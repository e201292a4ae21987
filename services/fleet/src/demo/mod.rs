//! `fleet demo`: a story travels from idea to "ready to review", through the real services
//! over gRPC on loopback, on durable embedded storage.

mod client;
mod document;
mod narrator;
mod report;
mod script;
mod settle;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fleet_service::{Process, SystemClock, SystemIds};
use fleet_topology::services::{CONTEXT, PLANNING, WORKFLOW};
use tokio::net::TcpListener;

use crate::stack::{Bound, Opened, Plan, Stack, open_embedded};
use client::Fleet;
use document::Document;
use narrator::{Narrator, Voice};
use report::Summary;
use settle::Ear;

const EXAMPLE: &str = include_str!("../../../../examples/stories/guest-checkout.md");
/// How long the demo waits for its own services.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long its services have to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Options of the demo.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// A story document (Markdown with YAML front matter, see docs/story-format.md); without
    /// it, a built-in example.
    file: Option<PathBuf>,
    /// Where the data goes; by default a fresh directory .fleet/demo-N.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print nothing but one JSON object at the end.
    #[arg(long)]
    json: bool,
}

/// Plays the demo.
///
/// # Errors
/// A document that is refused, a data directory in use, or a service that does not do what it
/// should.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let document = match &options.file {
        Some(path) => document::read(path)?,
        None => document::parse("examples/stories/guest-checkout.md".as_ref(), EXAMPLE)?,
    };
    let data = match &options.data {
        Some(data) => data.clone(),
        None => fresh_directory()?,
    };
    let steps = script::FIXED_STEPS + document.tasks.len() as u64;
    let narrator = Narrator::new(options.json, steps);
    let stack = start(&data).await?;
    let played = play(&stack, &document, &narrator, &data).await;
    let drained = stack.stop(DRAIN).await;
    narrator.finish();
    let mut summary = played?;
    anyhow::ensure!(
        drained.is_complete(),
        "these did not end in time: {}",
        drained.left.join(", ")
    );
    summary.seconds = (narrator.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    if options.json {
        crate::out(&serde_json::to_string(&summary)?);
        return Ok(());
    }
    narrator.block(&farewell(&summary, &data));
    Ok(())
}

/// What was played, in numbers, and what to try next.
fn farewell(summary: &Summary, data: &Path) -> String {
    let at = shell_word(&data.display().to_string());
    let story = &summary.story_id;
    let task = summary.contexts.first().map(|given| &given.task_id);
    let task = task.map_or(String::new(), |id| format!(" --task {id}"));
    format!(
        "\n{} tasks, {} hops, {} rework, {} lease taken over; {} contexts; {} events published, {} parked; {:.1} s\n\n\
         The data is in {at}; what each agent was told, with its receipt, is in\n{}. Now try:\n  \
         fleet context get --story {story} --role developer --phase BUILD{task} --data {at}\n  \
         fleet context diff --story {story} --role developer,qa --phase BUILD{task} --data {at}\n  \
         fleet context graph --node {story} --data {at}\n  \
         fleet up --data {at}                    serve it: context on 50051, planning on 50054, workflow on 50056\n  \
         grpcurl -plaintext -d '{{\"story_id\":\"{story}\"}}' localhost:50054 fleet.planning.v2.PlanningService/GetStory\n  \
         fleet fsm graph deploy/k8s/00-foundation/config/workflow.fsm.yaml    the way of a task, drawn\n  \
         fleet demo my-story.md                  your own story (docs/story-format.md)",
        summary.tasks,
        summary.hops,
        summary.reworks,
        summary.lease_takeovers,
        summary.contexts.len(),
        summary.events_published,
        summary.events_parked,
        summary.seconds,
        shell_word(&summary.contexts_in.display().to_string()),
    )
}

/// A word that a shell takes as it is.
fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// The services on free ports, on embedded storage.
async fn start(data: &Path) -> anyhow::Result<Stack> {
    let mut bound = Vec::new();
    for service in [PLANNING.name, WORKFLOW.name, CONTEXT.name] {
        let grpc = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port on loopback")?;
        bound.push(Bound {
            service,
            grpc,
            admin: None,
        });
    }
    let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
    let embedded = open_embedded(data, "default").await?;
    let opened = Opened::embedded(embedded, data);
    let stack = Stack::start(process, opened, bound, Plan::defaults("default")?)?;
    let ready = stack.process.readiness.clone();
    tokio::time::timeout(READY_WITHIN, ready.ready())
        .await
        .context("the services did not become ready")?;
    Ok(stack)
}

async fn play(
    stack: &Stack,
    document: &Document,
    narrator: &Narrator,
    data: &Path,
) -> anyhow::Result<Summary> {
    let uri = |service: &str| {
        stack
            .uri(service)
            .with_context(|| format!("{service} is not served"))
    };
    let ear = Ear::listen(stack).await?;
    let fleet = Fleet::connect(
        &uri(PLANNING.name)?,
        &uri(WORKFLOW.name)?,
        &uri(CONTEXT.name)?,
    )
    .await?;
    narrator.say(
        Voice::Fleet,
        &format!(
            "planning on {}, workflow on {}, context on {}",
            uri(PLANNING.name)?,
            uri(WORKFLOW.name)?,
            uri(CONTEXT.name)?
        ),
    );
    let outcome = script::play(&fleet, document, narrator, data).await?;
    narrator.step("The audit trail");
    let (table, hops) = report::audit_trail(&fleet, &outcome).await?;
    narrator.block(&table);
    let (events_published, events_parked) = ear.settled(stack).await?;
    Ok(Summary {
        story_id: outcome.story_id,
        story_state: outcome.story_state,
        tasks: outcome.tasks.len(),
        hops,
        reworks: outcome.reworks,
        lease_takeovers: outcome.lease_takeovers,
        events_published,
        events_parked,
        seconds: 0.0,
        contexts: outcome.contexts,
        contexts_in: outcome.contexts_in,
        decision: outcome.decision,
    })
}

/// The first of .fleet/demo-1, .fleet/demo-2, … that does not exist yet.
fn fresh_directory() -> anyhow::Result<PathBuf> {
    let parent = PathBuf::from(".fleet");
    std::fs::create_dir_all(&parent)
        .context("cannot make the directory .fleet here; choose one with --data")?;
    for n in 1..100_000 {
        let path = parent.join(format!("demo-{n}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("cannot make {}", path.display())),
        }
    }
    anyhow::bail!("there are 100000 demo directories in .fleet; remove some")
}
