//! `fleet parked`: messages that a consumer could not digest.
//!
//! On a NATS server the command talks to the server. On an embedded database it opens the data
//! directory, or, while another process has it, asks that process by its admin listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::extract::{self, Query, State};
use axum::http::{StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use clap::Subcommand;
use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use fleet_events::{Bus, Drift, Parked};
use fleet_graph::Deadline;
use serde::{Deserialize, Serialize};

use crate::remote::Remote;
use crate::stack::open_embedded;

/// How long the bus may take to answer.
const WITHIN: Duration = Duration::from_secs(10);
/// Most parked messages in one answer.
const PAGE: usize = 200;

/// Where the parked messages are.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// A NATS server; without it, the embedded database of --data.
    #[arg(long, global = true, env = "NATS_URL", value_name = "URL")]
    pub nats: Option<String>,
    /// The data directory of `fleet up` or `fleet demo`.
    #[arg(long, env = "FLEET_DATA", global = true, value_name = "DIR", default_value = crate::DEFAULT_DATA)]
    pub data: PathBuf,
    /// Which deployment, where several share servers.
    #[arg(
        long,
        global = true,
        env = "FLEET_DEPLOYMENT",
        default_value = "default"
    )]
    pub deployment: String,
}

/// What to do with parked messages.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// A line for each: number, consumer, subject, deliveries, reason.
    List {
        /// One JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// One whole: headers, body, reason.
    Show {
        /// Its number.
        number: u64,
    },
    /// Sends it again to the consumer that parked it, and to no other.
    Replay {
        /// Its number.
        number: u64,
    },
    /// Removes it for good.
    Drop {
        /// Its number.
        number: u64,
        /// Yes, for good.
        #[arg(long)]
        yes: bool,
    },
}

/// A parked message as it is shown and sent between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its number.
    pub number: u64,
    /// The stream it came from.
    pub stream: String,
    /// The consumer that parked it.
    pub consumer: String,
    /// Its subject.
    pub subject: String,
    /// Why it was parked.
    pub reason: String,
    /// How often it was delivered.
    pub deliveries: u64,
    /// When it was parked, RFC 3339.
    pub parked_at: String,
    /// Its headers.
    pub headers: Vec<(String, String)>,
    /// Its body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl From<Parked> for View {
    fn from(parked: Parked) -> Self {
        Self {
            number: parked.sequence,
            stream: parked.stream,
            consumer: parked.consumer,
            subject: parked.message.subject,
            reason: parked.reason,
            deliveries: parked.deliveries,
            parked_at: parked.parked_at,
            headers: parked.message.headers,
            body: String::from_utf8_lossy(&parked.message.body).into_owned(),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The bus is away, or there is no such message.
pub async fn run(target: &Target, command: &Command) -> anyhow::Result<()> {
    let access = Access::open(target).await?;
    let done = access.run(command).await;
    access.close().await;
    done
}

/// Says what to do on a server that nobody has prepared.
async fn has_streams(bus: &dyn Bus, deployment: &str) -> anyhow::Result<()> {
    let drift = bus.drift(Deadline::after(WITHIN)).await?;
    let parked = fleet_topology::streams::FLEET_PARKED.name;
    let missing =
        |d: &Drift| matches!(d, Drift::Missing { kind: "stream", name } if name.ends_with(parked));
    anyhow::ensure!(
        !drift.iter().any(missing),
        "the deployment {deployment} has no streams on this server: name another with --deployment or --nats, or make them with `fleet streams apply`"
    );
    Ok(())
}

/// A way to the parked messages.
enum Access {
    Bus(Arc<dyn Bus>, Option<fleet_embedded::Embedded>),
    Owner(Remote),
}

impl Access {
    async fn open(target: &Target) -> anyhow::Result<Self> {
        if let Some(url) = &target.nats {
            let bus = crate::streams::connect(url, &target.deployment).await?;
            has_streams(&*bus, &target.deployment).await?;
            return Ok(Self::Bus(bus, None));
        }
        match owner_of(&target.data)? {
            Some(remote) => Ok(Self::Owner(remote)),
            None => {
                let embedded = open_embedded(&target.data, &target.deployment).await?;
                Ok(Self::Bus(embedded.bus(), Some(embedded)))
            }
        }
    }

    async fn close(self) {
        if let Self::Bus(_, Some(embedded)) = self {
            embedded.close().await;
        }
    }

    async fn page(&self, after: u64) -> anyhow::Result<Vec<View>> {
        match self {
            Self::Bus(bus, _) => {
                let page = bus.parked(after, PAGE, Deadline::after(WITHIN)).await?;
                Ok(page.into_iter().map(View::from).collect())
            }
            Self::Owner(remote) => {
                let text = remote
                    .call("GET", &format!("/parked?after={after}"))
                    .await?;
                Ok(serde_json::from_str(&text.context(
                    "the process that has the directory open serves parked messages on a loopback address only: stop it first",
                )?)?)
            }
        }
    }

    async fn one(&self, number: u64) -> anyhow::Result<View> {
        let page = self.page(number.saturating_sub(1)).await?;
        page.into_iter()
            .find(|view| view.number == number)
            .with_context(|| none(number))
    }

    async fn change(&self, number: u64, method: &str, path: &str) -> anyhow::Result<()> {
        let found = match self {
            Self::Bus(bus, _) if method == "POST" => {
                bus.replay_parked(number, Deadline::after(WITHIN)).await?
            }
            Self::Bus(bus, _) => bus.drop_parked(number, Deadline::after(WITHIN)).await?,
            Self::Owner(remote) => remote.call(method, path).await?.is_some(),
        };
        if found { Ok(()) } else { bail!(none(number)) }
    }

    async fn run(&self, command: &Command) -> anyhow::Result<()> {
        match command {
            Command::List { json } => self.list(*json).await,
            Command::Show { number } => {
                let view = self.one(*number).await?;
                crate::out(&serde_json::to_string_pretty(&view)?);
                Ok(())
            }
            Command::Replay { number } => {
                self.change(*number, "POST", &format!("/parked/{number}/replay"))
                    .await?;
                crate::out(&format!(
                    "parked message {number} is on its way to its consumer again"
                ));
                Ok(())
            }
            Command::Drop { number, yes } => {
                let view = self.one(*number).await?;
                if !yes {
                    bail!(
                        "this removes parked message {number} ({} for {}) for good: say --yes, or look at it with `fleet parked show {number}`",
                        view.subject,
                        view.consumer
                    );
                }
                self.change(*number, "DELETE", &format!("/parked/{number}"))
                    .await?;
                crate::out(&format!("parked message {number} is gone"));
                Ok(())
            }
        }
    }

    async fn list(&self, json: bool) -> anyhow::Result<()> {
        let mut table = Table::new();
        table
            .load_preset(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_header([
                "number",
                "parked at",
                "consumer",
                "subject",
                "deliveries",
                "reason",
            ]);
        let (mut after, mut count) = (0, 0);
        loop {
            let page = self.page(after).await?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for view in page {
                count += 1;
                if json {
                    crate::out(&serde_json::to_string(&view)?);
                } else {
                    table.add_row([
                        view.number.to_string(),
                        view.parked_at,
                        view.consumer,
                        view.subject,
                        view.deliveries.to_string(),
                        view.reason,
                    ]);
                }
            }
        }
        match (json, count) {
            (true, _) => {}
            (false, 0) => crate::out("nothing is parked"),
            (false, _) => crate::out(&table.to_string()),
        }
        Ok(())
    }
}

fn none(number: u64) -> String {
    format!("there is no parked message {number}; `fleet parked list` shows those there are")
}

/// The process that has `data` open, if any; it must have said where its admin listener is.
fn owner_of(data: &Path) -> anyhow::Result<Option<Remote>> {
    let owner = fleet_embedded::owner(data)
        .with_context(|| format!("{} cannot be read", data.display()))?;
    match owner {
        None if data.join("fleet.db").exists() => Ok(None),
        None => bail!(
            "{} holds no database; name the directory with --data, or a server with --nats",
            data.display()
        ),
        Some(owner) if owner.note.is_empty() => bail!(
            "{} is in use by process {}, which has no admin listener: wait until it ends",
            data.display(),
            owner.pid
        ),
        Some(owner) => Ok(Some(Remote::new(&owner.note)?)),
    }
}

/// The admin routes by which the owner of a data directory serves this command. They ask for
/// no identity.
pub fn routes(bus: &Arc<dyn Bus>) -> Router {
    Router::new()
        .route("/parked", get(list_page))
        .route("/parked/{number}/replay", post(replay))
        .route("/parked/{number}", delete(remove))
        .with_state(bus.clone())
}

#[derive(Debug, Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn list_page(State(bus): State<Arc<dyn Bus>>, Query(query): Query<After>) -> Response {
    match bus.parked(query.after, PAGE, Deadline::after(WITHIN)).await {
        Ok(page) => {
            let views: Vec<View> = page.into_iter().map(View::from).collect();
            let body = serde_json::to_string(&views).unwrap_or_default();
            ([(CONTENT_TYPE, "application/json")], body).into_response()
        }
        Err(away) => unavailable(&away),
    }
}

async fn replay(
    State(bus): State<Arc<dyn Bus>>,
    extract::Path(number): extract::Path<u64>,
) -> Response {
    answer(bus.replay_parked(number, Deadline::after(WITHIN)).await)
}

async fn remove(
    State(bus): State<Arc<dyn Bus>>,
    extract::Path(number): extract::Path<u64>,
) -> Response {
    answer(bus.drop_parked(number, Deadline::after(WITHIN)).await)
}

fn answer(outcome: Result<bool, fleet_graph::Unavailable>) -> Response {
    match outcome {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => StatusCode::NOT_FOUND.into_response(),
        Err(away) => unavailable(&away),
    }
}

fn unavailable(away: &fleet_graph::Unavailable) -> Response {
    tracing::warn!(error = %away, "parked messages cannot be reached");
    (StatusCode::SERVICE_UNAVAILABLE, "the bus is away\n").into_response()
}
