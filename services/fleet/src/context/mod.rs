//! `fleet context`: what agents are told, how two such contexts differ, whether a receipt still
//! holds, and the graph behind them.

mod diff;
mod draw;
mod show;
mod target;
mod verify;
mod view;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use fleet_proto::context::v1::{
    GetContextRequest, GetGraphRelationshipsRequest, GetReceiptRequest,
};
use tonic::{Code, Status};

use crate::calls::explain;
use diff::{Pair, Side};
pub use show::{Paint, context as painted, sections};
use target::Access;
pub use target::Target;
use verify::{Kept, Verdict};
use view::Graph;
pub use view::{Answer, Exclusion, Receipt};

/// Exit code of `verify` when it cannot tell: the file is no receipt, or nobody serves.
const CANNOT_TELL: u8 = 3;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the context that an agent would be given, and its receipt.
    Get(Get),
    /// Compare the contexts of two roles, of two phases, or two that were given out before.
    Diff(Diff),
    /// Make the context of a receipt again from the graph. Exit code: 0 equal, 1 differs, 2 the
    /// graph has moved on since, 3 cannot be told.
    Verify {
        /// What `fleet context get --json` printed, or its receipt alone; `-` is the standard
        /// input.
        #[arg(value_name = "RECEIPT.json")]
        file: PathBuf,
    },
    /// Draw what is near a node.
    Graph {
        /// Its id: PROJ-…, E-…, s-…, T-… or DEC-….
        #[arg(long, value_name = "ID")]
        node: String,
        /// Steps, 1 to 3.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(i32).range(1..=3))]
        depth: i32,
        /// As whom; without it, as the product owner.
        #[arg(long, default_value = "", hide_default_value = true)]
        role: String,
        /// In which language.
        #[arg(long, value_enum, default_value_t = Language::Mermaid)]
        format: Language,
    },
}

/// Which context.
#[derive(Debug, clap::Args)]
pub struct Get {
    /// The story.
    #[arg(long, value_name = "ID")]
    story: String,
    /// Who it is for.
    #[arg(long)]
    role: String,
    /// What is being done: DESIGN, BUILD, TEST or DOC.
    #[arg(long)]
    phase: String,
    /// The task that is worked on.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    task: String,
    /// Most tokens; without it, the role's default.
    #[arg(long, value_name = "TOKENS", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i32).range(0..))]
    budget: i32,
    /// An older answer will do while the store is away.
    #[arg(long)]
    stale: bool,
    /// Print the answer as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Which contexts.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The story.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    story: String,
    /// One role, or two to compare: developer,qa.
    #[arg(long, value_delimiter = ',', value_name = "ROLE[,ROLE]")]
    role: Vec<String>,
    /// One phase, or two to compare: DESIGN,BUILD.
    #[arg(long, value_delimiter = ',', value_name = "PHASE[,PHASE]")]
    phase: Vec<String>,
    /// Two hashes (or the first 16 digits of them) of contexts that are still kept.
    #[arg(long, value_delimiter = ',', value_name = "HASH,HASH")]
    version: Vec<String>,
    /// The task that is worked on.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    task: String,
    /// Most tokens; without it, the role's default.
    #[arg(long, value_name = "TOKENS", default_value_t = 0, hide_default_value = true, value_parser = clap::value_parser!(i32).range(0..))]
    budget: i32,
}

/// A language for graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Mermaid, for Markdown.
    Mermaid,
    /// DOT, for Graphviz.
    Dot,
    /// One JSON object.
    Json,
}

/// Runs the command.
///
/// # Errors
/// Words that make no sense together, nobody who serves, or a refusal of the service.
pub async fn run(target: &Target, command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Get(get) => self::get(target, get).await,
        Command::Diff(diff) => self::diff(target, diff).await,
        Command::Verify { file } => {
            let verdict = self::verify(target, file).await;
            Ok(verdict.unwrap_or_else(|e| crate::fail(&e, CANNOT_TELL)))
        }
        Command::Graph {
            node,
            depth,
            role,
            format,
        } => {
            let request = GetGraphRelationshipsRequest {
                node_id: node.clone(),
                node_type: draw::node_type(node)?.to_owned(),
                depth: *depth,
                role: role.clone(),
                ..GetGraphRelationshipsRequest::default()
            };
            graph(target, request, *format).await
        }
    }
}

async fn get(target: &Target, get: &Get) -> anyhow::Result<ExitCode> {
    let request = GetContextRequest {
        story_id: get.story.clone(),
        role: get.role.clone(),
        phase: get.phase.clone(),
        subtask_id: get.task.clone(),
        token_budget: get.budget,
        include_receipt: true,
        allow_stale: get.stale,
    };
    let access = Access::open(target).await?;
    let answer = ask(&access, request).await;
    access.close().await;
    let answer = answer.map_err(|s| explain(&s))?;
    if get.json {
        crate::out(&serde_json::to_string_pretty(&answer)?);
        return Ok(ExitCode::SUCCESS);
    }
    let paint = Paint::of_stdout();
    crate::out(&show::context(&answer.context, paint));
    crate::out(show::receipt(&answer, paint).trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn ask(access: &Access, request: GetContextRequest) -> Result<Answer, Status> {
    let answer = access.client.clone().get_context(request).await?;
    Ok(answer.into_inner().into())
}

async fn diff(target: &Target, diff: &Diff) -> anyhow::Result<ExitCode> {
    let pair = diff::pair(&diff.role, &diff.phase, &diff.version)?;
    if let Pair::Versions(_) = pair {
        if !(diff.story.is_empty() && diff.task.is_empty() && diff.budget == 0) {
            bail!("--version A,B names both contexts: leave --story, --task and --budget out");
        }
    } else if diff.story.is_empty() {
        bail!("say which story with --story");
    }
    let access = Access::open(target).await?;
    let sides = both(&access, diff, pair).await;
    access.close().await;
    let [old, new] = sides?;
    crate::out(diff::render(&old, &new, Paint::of_stdout()).trim_end());
    Ok(ExitCode::SUCCESS)
}

async fn both(access: &Access, diff: &Diff, pair: Pair) -> anyhow::Result<[Side; 2]> {
    let made = async |role: &str, phase: &str, name: &str| {
        let request = GetContextRequest {
            story_id: diff.story.clone(),
            role: role.to_owned(),
            phase: phase.to_owned(),
            subtask_id: diff.task.clone(),
            token_budget: diff.budget,
            include_receipt: true,
            allow_stale: false,
        };
        let answer = ask(access, request)
            .await
            .map_err(|s| explain(&s).context(format!("{role} in {phase}")))?;
        side(name, answer.context, answer.receipt)
    };
    match pair {
        Pair::Roles([a, b], phase) => {
            Ok([made(&a, &phase, &a).await?, made(&b, &phase, &b).await?])
        }
        Pair::Phases(role, [a, b]) => Ok([made(&role, &a, &a).await?, made(&role, &b, &b).await?]),
        Pair::Versions([a, b]) => Ok([kept(access, &a).await?, kept(access, &b).await?]),
    }
}

/// A context that was given out before, while it is kept.
async fn kept(access: &Access, hash: &str) -> anyhow::Result<Side> {
    let request = GetReceiptRequest {
        hash: hash.to_owned(),
    };
    let answer = access.client.clone().get_receipt(request).await;
    let answer = answer
        .map_err(|s| {
            let forgotten = s.code() == Code::NotFound;
            let error = explain(&s);
            if forgotten {
                error.context("contexts are kept for a time by the server that gave them out")
            } else {
                error
            }
        })?
        .into_inner();
    side(hash, answer.context, answer.receipt.map(Receipt::from))
}

fn side(name: &str, context: String, receipt: Option<Receipt>) -> anyhow::Result<Side> {
    Ok(Side {
        name: name.to_owned(),
        context,
        receipt: receipt.context("the service answered without a receipt")?,
    })
}

async fn verify(target: &Target, file: &Path) -> anyhow::Result<ExitCode> {
    let kept = verify::read(file)?;
    let access = Access::open(target).await?;
    let verdict = verdict(&access, &kept).await;
    access.close().await;
    let verdict = verdict?;
    crate::out(&show::harmless(&verdict.text()));
    Ok(ExitCode::from(verdict.exit_code()))
}

async fn verdict(access: &Access, kept: &Kept) -> anyhow::Result<Verdict> {
    let receipt = &kept.receipt;
    let request = GetContextRequest {
        story_id: receipt.story_id.clone(),
        role: receipt.role.clone(),
        phase: receipt.phase.clone(),
        subtask_id: receipt.subtask_id.clone(),
        token_budget: receipt.token_budget,
        include_receipt: true,
        allow_stale: false,
    };
    match ask(access, request.clone()).await {
        Ok(now) => verify::compare(kept, &now),
        // The head may have outgrown the budget: then the default shows where the graph is.
        Err(refusal) if refusal.code() == Code::InvalidArgument => {
            let request = GetContextRequest {
                token_budget: 0,
                ..request
            };
            let now = ask(access, request).await;
            let now = now.map_err(|_| explain(&refusal))?;
            let why = format!("it is refused now: {}", refusal.message());
            verify::outgrown(kept, &now, &why)
        }
        Err(status) => Err(explain(&status)),
    }
}

async fn graph(
    target: &Target,
    request: GetGraphRelationshipsRequest,
    format: Language,
) -> anyhow::Result<ExitCode> {
    let access = Access::open(target).await?;
    let answer = access.client.clone().get_graph_relationships(request).await;
    access.close().await;
    let graph = Graph::from(answer.map_err(|s| explain(&s))?.into_inner());
    let text = match format {
        Language::Mermaid => draw::mermaid(&graph),
        Language::Dot => draw::dot(&graph),
        Language::Json => serde_json::to_string_pretty(&graph)?,
    };
    crate::out(text.trim_end());
    if format != Language::Json && (graph.truncated || graph.hidden > 0) {
        let left_out = match (graph.truncated, graph.hidden) {
            (true, 0) => "there is more than fits".to_owned(),
            (true, hidden) => {
                format!("there is more than fits, and {hidden} nodes are hidden from this role")
            }
            (false, hidden) => format!("{hidden} nodes are hidden from this role"),
        };
        crate::note(&left_out);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
