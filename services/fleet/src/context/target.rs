//! Where the context service is: a server by its address, the process that has a data directory
//! open, or, if nobody has it open, this process for the time of one command.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_service::cli::{self, Invocation};
use fleet_service::config::Problems;
use fleet_service::{MAX_SEND_BYTES, Process, SystemClock, SystemIds};
use fleet_topology::services::CONTEXT;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::calls::connect;
use crate::remote::Remote;
use crate::stack::{Stack, open_embedded};

/// How long the service of this process may take to begin.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long it has to end.
const DRAIN: Duration = Duration::from_secs(5);

/// The file that a data directory is known by.
const DATABASE: &str = "fleet.db";
/// Where demos keep their data.
const DEMOS: &str = ".fleet";

/// Where to ask.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// A context server, e.g. http://127.0.0.1:50051, or https://… with TLS; without it, that of
    /// the data directory.
    #[arg(long, global = true, value_name = "URI")]
    pub server: Option<String>,
    /// PEM file of the authorities of a server with TLS [default: the system's].
    #[arg(long, global = true, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The data directory of `fleet up` or `fleet demo` [default: .fleet/data; without it the
    /// server on this machine, else .fleet/demo-N if there is only one].
    #[arg(long, env = "FLEET_DATA", global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Which deployment the data directory is of.
    #[arg(
        long,
        global = true,
        env = "FLEET_DEPLOYMENT",
        default_value = "default"
    )]
    pub deployment: String,
}

/// A way to the context service.
pub struct Access {
    /// Its client.
    pub client: ContextServiceClient<Channel>,
    /// Serves it, if this process does.
    local: Option<Stack>,
}

impl Access {
    /// Opens the way.
    ///
    /// # Errors
    /// Nobody serves there; or a data directory that holds nothing, or whose owner cannot be
    /// asked.
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        if let Some(uri) = &target.server {
            return Self::remote(uri, target).await;
        }
        let named = target.data.as_deref();
        let data = named.unwrap_or(Path::new(crate::DEFAULT_DATA));
        match (Self::on(data, target).await?, named) {
            (Some(access), _) => Ok(access),
            (None, Some(_)) => bail!(
                "{} holds no database; name the directory with --data, or a server with --server",
                data.display()
            ),
            (None, None) => {
                let usual = format!("http://127.0.0.1:{}", CONTEXT.grpc_port);
                match Self::remote(&usual, target).await {
                    Ok(access) => Ok(access),
                    Err(nobody) => Self::on_a_demo(nobody, target).await,
                }
            }
        }
    }

    /// On the data of the only demo; several are for the user to choose from.
    async fn on_a_demo(nobody: anyhow::Error, target: &Target) -> anyhow::Result<Self> {
        let demos = demos(Path::new(DEMOS));
        let Some(newest) = demos.last() else {
            return Err(nobody);
        };
        if demos.len() > 1 {
            return Err(nobody.context(format!(
                "{} does not exist, and there are {} demos; ask the newest with --data {}",
                crate::DEFAULT_DATA,
                demos.len(),
                newest.display()
            )));
        }
        crate::note(&format!(
            "{} does not exist, and nobody serves: this is {}",
            crate::DEFAULT_DATA,
            newest.display()
        ));
        Self::on(newest, target).await?.ok_or(nobody)
    }

    /// On a data directory; `None` if it holds nothing.
    async fn on(data: &Path, target: &Target) -> anyhow::Result<Option<Self>> {
        let owner = fleet_embedded::owner(data)
            .with_context(|| format!("{} cannot be read", data.display()))?;
        match owner {
            Some(owner) if owner.note.is_empty() => bail!(
                "{} is in use by process {}, which does not say where it serves: wait until it ends, or name its context server with --server",
                data.display(),
                owner.pid
            ),
            Some(owner) => Self::served_by(&owner.note, data, target).await.map(Some),
            None if data.join(DATABASE).exists() => {
                Self::local(data, &target.deployment).await.map(Some)
            }
            None => Ok(None),
        }
    }

    async fn remote(uri: &str, target: &Target) -> anyhow::Result<Self> {
        let channel = connect(uri, target.ca_file.as_deref()).await.with_context(|| {
            if uri.starts_with("https:") {
                "no context service there that can be trusted: name it as its certificate does with --server https://NAME:PORT, and the PEM file of its authority with --ca-file"
            } else {
                "no context service there: start one with `fleet up`, name another with --server, or a data directory with --data"
            }
        })?;
        Ok(Self {
            client: client(channel),
            local: None,
        })
    }

    /// The process that has the directory open; its admin listener is at `note`.
    async fn served_by(note: &str, data: &Path, target: &Target) -> anyhow::Result<Self> {
        let uri = context_of(note).await?;
        let secured = uri.starts_with("https:");
        if secured && target.ca_file.is_none() {
            bail!(
                "{} is in use by a process that serves context with TLS on {uri}: name the PEM file of its authority with --ca-file; if its certificate is not for this address, name it as the certificate does with --server https://NAME:PORT",
                data.display()
            );
        }
        // An authority that is named for servers with TLS does not keep from one without.
        let ca_file = target.ca_file.as_deref().filter(|_| secured);
        let channel = connect(&uri, ca_file).await.with_context(|| {
            let way = match secured {
                false => "name its context server with --server",
                true => {
                    "it serves TLS: name it as its certificate does with --server https://NAME:PORT"
                }
            };
            format!(
                "the process that has {} open is not reached; {way}",
                data.display()
            )
        })?;
        Ok(Self {
            client: client(channel),
            local: None,
        })
    }

    async fn local(data: &Path, deployment: &str) -> anyhow::Result<Self> {
        let config = config()?;
        let grpc = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port on loopback")?;
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        let embedded = open_embedded(data, deployment).await?;
        let stack = Stack::reading(process, embedded, grpc, &config, deployment)?;
        let client = async {
            let ready = stack.process.readiness.clone();
            tokio::time::timeout(READY_WITHIN, ready.ready())
                .await
                .context("the context service did not become ready")?;
            let uri = stack.uri(CONTEXT.name).context("context is not served")?;
            anyhow::Ok(client(connect(&uri, None).await?))
        }
        .await;
        match client {
            Ok(client) => Ok(Self {
                client,
                local: Some(stack),
            }),
            Err(e) => {
                stack.stop(DRAIN).await;
                Err(e)
            }
        }
    }

    /// Ends what was begun for this command.
    pub async fn close(self) {
        drop(self.client);
        if let Some(stack) = self.local {
            stack.stop(DRAIN).await;
        }
    }
}

fn client(channel: Channel) -> ContextServiceClient<Channel> {
    ContextServiceClient::new(channel).max_decoding_message_size(MAX_SEND_BYTES)
}

/// Context's settings as `fleet up` takes them from the environment and its file: the same
/// scopes and policies hold. What else the environment says is the business of services.
fn config() -> Result<fleet_context::Config, Problems> {
    let keys = crate::up::keys();
    let matches = cli::command("up", "", &keys).get_matches_from(["up"]);
    let environment = cli::environment()
        .filter(|(name, _)| name.starts_with("FLEET_CONTEXT_") || name == "FLEET_CONFIG");
    match cli::settings(&matches, &keys, environment)? {
        Invocation::Serve(settings) => Ok(fleet_context::Config::from_settings(&settings)),
        Invocation::Print(_) => unreachable!("nobody asked for it"),
    }
}

/// The directories of demos that hold data, oldest first.
fn demos(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return Vec::new();
    };
    let number = |entry: std::fs::DirEntry| -> Option<(u32, PathBuf)> {
        let name = entry.file_name();
        let number = name.to_str()?.strip_prefix("demo-")?.parse().ok()?;
        let path = entry.path();
        path.join(DATABASE).exists().then_some((number, path))
    };
    let mut found: Vec<_> = entries.flatten().filter_map(number).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

/// The context server of the process whose admin listener is at `note`.
async fn context_of(note: &str) -> anyhow::Result<String> {
    let services = Remote::new(note)?.call("GET", "/services").await?;
    let none =
        "the process that has the directory open serves no context: name a server with --server";
    let mut services: BTreeMap<String, String> = serde_json::from_str(&services.context(none)?)?;
    services.remove(CONTEXT.name).context(none)
}
