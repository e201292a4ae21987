//! Where the context service is: a server by its address, the process that has a data directory
//! open, or, if nobody has it open, this process for the time of one command.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_service::{MAX_SEND_BYTES, Process, SystemClock, SystemIds};
use fleet_topology::services::CONTEXT;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use crate::calls::{connect, reachable};
use crate::remote::Remote;
use crate::stack::{Bound, Opened, Plan, Stack, open_embedded};

/// How long the service of this process may take to begin.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How long it has to end.
const DRAIN: Duration = Duration::from_secs(5);

/// Where to ask.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// A context server, e.g. http://127.0.0.1:50051; without it, that of the data directory.
    #[arg(long, global = true, value_name = "URI")]
    pub server: Option<String>,
    /// The data directory of `fleet up` or `fleet demo` [default: .fleet/data].
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
            return Self::remote(uri).await;
        }
        let named = target.data.as_deref();
        let data = named.unwrap_or(Path::new(crate::DEFAULT_DATA));
        let owner = fleet_embedded::owner(data)
            .with_context(|| format!("{} cannot be read", data.display()))?;
        match owner {
            Some(owner) if owner.note.is_empty() => bail!(
                "{} is in use by process {}, which does not say where it serves: wait until it ends, or name its context server with --server",
                data.display(),
                owner.pid
            ),
            Some(owner) => Self::remote(&served_by(&owner.note).await?).await,
            None if data.join("fleet.db").exists() => Self::local(data, &target.deployment).await,
            None if named.is_some() => bail!(
                "{} holds no database; name the directory with --data, or a server with --server",
                data.display()
            ),
            None => Self::remote(&format!("http://127.0.0.1:{}", CONTEXT.grpc_port)).await,
        }
    }

    async fn remote(uri: &str) -> anyhow::Result<Self> {
        let channel = connect(uri).await.with_context(|| {
            "no context service there: start one with `fleet up`, name another with --server, or a data directory with --data"
        })?;
        Ok(Self {
            client: client(channel),
            local: None,
        })
    }

    async fn local(data: &Path, deployment: &str) -> anyhow::Result<Self> {
        let grpc = TcpListener::bind("127.0.0.1:0")
            .await
            .context("no free port on loopback")?;
        let bound = vec![Bound {
            service: CONTEXT.name,
            grpc,
            admin: None,
        }];
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        let opened = Opened::embedded(open_embedded(data, deployment).await?, data);
        let stack = Stack::start(process, opened, bound, Plan::defaults(deployment)?)?;
        let client = async {
            let ready = stack.process.readiness.clone();
            tokio::time::timeout(READY_WITHIN, ready.ready())
                .await
                .context("the context service did not become ready")?;
            let uri = stack.uri(CONTEXT.name).context("context is not served")?;
            anyhow::Ok(client(connect(&uri).await?))
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

/// The context server of the process whose admin listener is at `note`.
async fn served_by(note: &str) -> anyhow::Result<String> {
    let services = Remote::new(note)?.call("GET", "/services").await?;
    let none =
        "the process that has the directory open serves no context: name a server with --server";
    let services: BTreeMap<String, SocketAddr> = serde_json::from_str(&services.context(none)?)?;
    let address = reachable(*services.get(CONTEXT.name).context(none)?);
    Ok(format!("http://{address}"))
}
