//! All services in one process, on the store and bus that were asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fleet_embedded::{Embedded, OpenError, Options};
use fleet_service::config::{COMMON_KEYS, Common, Problem, Problems, Settings, mask_userinfo};
use fleet_service::{
    Backends, Deps, Drained, Mounted, Process, ServerSettings, Streams, SystemClock, backends,
};
use fleet_topology::services;
use tokio::net::TcpListener;

use crate::calls::reachable;

/// What a stack stands on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The data directory of the embedded database.
    pub data: PathBuf,
    /// A NATS server, if the bus is to be a real one.
    pub nats: Option<String>,
    /// A Neo4j server, if the graph is to be a real one; then the bus is real, too.
    pub neo4j: Option<String>,
    /// A Valkey server, if the cache is to be a real one.
    pub valkey: Option<String>,
}

/// Store, bus and cache, opened.
pub struct Opened {
    /// For services.
    pub backends: Backends,
    /// The embedded database, if it is part of them.
    pub embedded: Option<Embedded>,
    /// Where everything is, for people.
    pub description: String,
}

impl Ground {
    /// What the settings of `fleet up` ask for.
    ///
    /// # Errors
    /// A combination that cannot work.
    pub fn from_settings(settings: &Settings) -> Result<Self, Problems> {
        let ground = Self {
            data: settings
                .path("data")
                .unwrap_or_else(|| PathBuf::from(crate::DEFAULT_DATA)),
            nats: settings.optional("nats").map(str::to_owned),
            neo4j: settings.optional("neo4j").map(str::to_owned),
            valkey: settings.optional("valkey").map(str::to_owned),
        };
        if ground.neo4j.is_some() && ground.nats.is_none() {
            let problem =
                "--neo4j needs --nats: a graph that replicas share takes a bus that they share";
            return Err(Problem(problem.to_owned()).into());
        }
        if ground.neo4j.is_some() && settings.optional("neo4j_password").is_none() {
            let problem =
                "--neo4j needs a password: set NEO4J_PASSWORD (and NEO4J_USER, if it is not neo4j)";
            return Err(Problem(problem.to_owned()).into());
        }
        Ok(ground)
    }

    /// Opens store, bus and cache. Real servers are connected to in the background: they may come
    /// later. The embedded database is open, and owned by this process, when this returns.
    ///
    /// # Errors
    /// Settings that can never work; a data directory that is damaged or in use.
    pub async fn open(
        &self,
        settings: &Settings,
        common: &Common,
        seed: u64,
    ) -> anyhow::Result<Opened> {
        let bus = match &self.nats {
            Some(url) => Some(backends::nats(settings, common, url, seed).await?),
            None => None,
        };
        let cache = backends::cache(settings, common, self.valkey.as_deref())?;
        if let (Some(uri), Some(bus), Some(url)) = (&self.neo4j, &bus, &self.nats) {
            let store = backends::neo4j(settings, common, uri)?;
            return Ok(Opened {
                backends: Backends {
                    store,
                    store_name: "neo4j",
                    bus: bus.clone(),
                    bus_name: "nats",
                    cache,
                },
                embedded: None,
                description: self.describe(&format!(
                    "graph on {}, events on {}",
                    mask_userinfo(uri),
                    mask_userinfo(url)
                )),
            });
        }
        let embedded = open_embedded(&self.data, &common.deployment).await?;
        let plain = embedded.store();
        let mut opened = Opened::embedded(embedded, &self.data);
        if let (Some(bus), Some(url)) = (bus, &self.nats) {
            // Its events go by the outbox to a bus that is another's.
            opened.backends.store = plain;
            opened.backends.bus = bus;
            opened.backends.bus_name = "nats";
            opened.description = format!(
                "graph in {}, events on {}",
                self.data.display(),
                mask_userinfo(url)
            );
        }
        opened.backends.cache = cache;
        opened.description = self.describe(&opened.description);
        Ok(opened)
    }

    /// Where store and bus are, and the cache, without passwords.
    fn describe(&self, store_and_bus: &str) -> String {
        match &self.valkey {
            None => store_and_bus.to_owned(),
            Some(url) => format!("{store_and_bus}, cache on {}", mask_userinfo(url)),
        }
    }
}

impl Opened {
    /// Graph and bus in one embedded database.
    pub fn embedded(embedded: Embedded, data: &Path) -> Self {
        let (store, bus) = embedded.store_and_bus();
        Self {
            backends: Backends {
                store,
                store_name: "embedded",
                bus,
                bus_name: "embedded-bus",
                cache: backends::memory(),
            },
            embedded: Some(embedded),
            description: format!("graph and events in {}", data.display()),
        }
    }
}

/// Opens a data directory; if another process has it, says which and how to go on.
///
/// # Errors
/// The directory is in use, damaged, or cannot be written.
pub async fn open_embedded(data: &Path, deployment: &str) -> anyhow::Result<Embedded> {
    let options = Options {
        deployment: deployment.to_owned(),
        ..Options::new(Arc::new(SystemClock))
    };
    let dir = data.to_owned();
    let opened = tokio::task::spawn_blocking(move || Embedded::open(&dir, options)).await?;
    opened.map_err(|e| match &e {
        OpenError::Owned { dir, pid, .. } => anyhow::anyhow!(
            "{} is in use by process {pid}: stop that process (kill {pid}), or choose another directory with --data",
            dir.display()
        ),
        OpenError::Io { path, .. } if path.exists() && !path.is_dir() => anyhow::anyhow!(
            "{} is not a directory: choose another with --data",
            path.display()
        ),
        OpenError::Io { path, .. } => {
            let cure = format!(
                "{} cannot hold the data: choose another directory with --data",
                path.display()
            );
            anyhow::Error::new(e).context(cure)
        }
        _ => anyhow::Error::new(e),
    })
}

/// The listeners of one service.
pub struct Bound {
    /// Name as in the topology.
    pub service: &'static str,
    /// For gRPC.
    pub grpc: TcpListener,
    /// For the admin pages.
    pub admin: Option<TcpListener>,
}

/// A running stack.
pub struct Stack {
    /// The process that it runs in.
    pub process: Process,
    /// What the services were given.
    pub deps: Deps,
    /// Each service with the address of its gRPC server.
    pub addresses: Vec<(&'static str, SocketAddr)>,
    embedded: Option<Embedded>,
    /// Whether its servers speak TLS.
    secured: bool,
}

/// How the services of a stack are set up.
#[derive(Clone)]
pub struct Plan {
    /// Planning's settings.
    pub planning: fleet_planning::Config,
    /// Workflow's settings.
    pub workflow: fleet_workflow::Config,
    /// Context's settings. Planning is that of this stack, if it serves it and nothing else is
    /// said.
    pub context: fleet_context::Config,
    /// Limits, identity and TLS of every server.
    pub server: ServerSettings,
    /// Which deployment this is.
    pub deployment: String,
    /// What `/config` shows.
    pub shown: serde_json::Value,
}

impl Plan {
    /// Everything as it is unless told otherwise; no identities.
    ///
    /// # Errors
    /// None, unless a default is wrong.
    pub fn defaults(deployment: &str) -> anyhow::Result<Self> {
        let keys = [
            COMMON_KEYS,
            fleet_planning::KEYS,
            fleet_workflow::KEYS,
            fleet_context::KEYS,
        ];
        let settings = Settings::load(&keys.concat(), None, [], &[])?;
        Ok(Self {
            planning: fleet_planning::Config::from_settings(&settings),
            workflow: fleet_workflow::Config::from_settings(&settings),
            context: fleet_context::Config::from_settings(&settings),
            server: ServerSettings::default(),
            deployment: deployment.to_owned(),
            shown: serde_json::Value::Null,
        })
    }

    /// Starts a service of this binary.
    fn mount(&self, service: &str, deps: Deps) -> anyhow::Result<Mounted> {
        match service {
            name if name == services::PLANNING.name => {
                Ok(fleet_planning::start(deps, self.planning.clone())?)
            }
            name if name == services::WORKFLOW.name => {
                Ok(fleet_workflow::start(deps, self.workflow.clone())?)
            }
            name if name == services::CONTEXT.name => {
                Ok(fleet_context::start(deps, self.context.clone())?)
            }
            name => anyhow::bail!("{name} is not part of this binary"),
        }
    }
}

impl Stack {
    /// Starts the services that listeners are bound for.
    ///
    /// # Errors
    /// A service that refuses to start, e.g. because its state machine is not sound.
    pub fn start(
        process: Process,
        opened: Opened,
        mut bound: Vec<Bound>,
        mut plan: Plan,
    ) -> anyhow::Result<Self> {
        let mut addresses = Vec::new();
        for bound in &bound {
            addresses.push((bound.service, bound.grpc.local_addr()?));
        }
        // Context asks planning.
        bound.sort_by_key(|bound| bound.service != services::PLANNING.name);
        let deps = process.attach(opened.backends, Streams::Apply, &plan.deployment);
        let mut mounted = Vec::with_capacity(bound.len());
        for bound in &bound {
            let service = plan.mount(bound.service, deps.clone())?;
            if bound.service == services::PLANNING.name && plan.context.planning_uri.is_none() {
                let way = process.serve_within(service.clone(), plan.server.clone())?;
                plan.context.planning = Some(way);
            }
            mounted.push(service);
        }
        let secured = plan.server.tls.is_some();
        for (mounted, Bound { grpc, admin, .. }) in mounted.into_iter().zip(bound) {
            process.serve(mounted, grpc, plan.server.clone())?;
            if let Some(admin) = admin {
                let mut more = directory(&addresses, secured);
                // These routes change things and ask for no identity: for this machine only.
                if admin.local_addr()?.ip().is_loopback() {
                    more = more.merge(crate::parked::routes(&deps.bus));
                }
                process.serve_admin(admin, &plan.shown, more)?;
            }
        }
        Ok(Self {
            process,
            deps,
            addresses,
            embedded: opened.embedded,
            secured,
        })
    }

    /// Serves context on what a data directory holds, to be read: nothing in it changes, and
    /// what waits there for a bus or a consumer goes on waiting.
    ///
    /// # Errors
    /// Scopes or policies that are wrong.
    pub fn reading(
        process: Process,
        embedded: Embedded,
        grpc: TcpListener,
        context: &fleet_context::Config,
        deployment: &str,
    ) -> anyhow::Result<Self> {
        let addresses = vec![(services::CONTEXT.name, grpc.local_addr()?)];
        let backends = Backends {
            // Not the bus's: who knows which bus the events are for.
            store: embedded.store(),
            store_name: "embedded",
            bus: embedded.bus(),
            bus_name: "embedded-bus",
            cache: backends::memory(),
        };
        let deps = process.attach_for_reading(backends, deployment);
        let mounted = fleet_context::start_for_reading(&deps, context)?;
        process.serve(mounted, grpc, ServerSettings::default())?;
        Ok(Self {
            process,
            deps,
            addresses,
            embedded: Some(embedded),
            secured: false,
        })
    }

    /// The address of a service's gRPC server, as a URI.
    pub fn uri(&self, service: &str) -> Option<String> {
        let (_, address) = self.addresses.iter().find(|(name, _)| *name == service)?;
        Some(uri(*address, self.secured))
    }

    /// Stops everything and closes the database.
    pub async fn stop(self, within: Duration) -> Drained {
        let drained = self.process.stop(within).await;
        if let Some(embedded) = self.embedded {
            embedded.close().await;
        }
        drained
    }

    /// Says something about this process to whoever finds its data directory in use.
    pub fn note(&self, note: &str) {
        if let Some(Err(e)) = self
            .embedded
            .as_ref()
            .map(|embedded| embedded.set_owner_note(note))
        {
            tracing::warn!(error = %e, "cannot leave a note in the data directory");
        }
    }
}

fn uri(address: SocketAddr, secured: bool) -> String {
    let scheme = if secured { "https" } else { "http" };
    format!("{scheme}://{address}")
}

/// The admin route that says where on this machine the gRPC server of each service is, as URIs:
/// for whoever found out about this process by its data directory.
fn directory(addresses: &[(&'static str, SocketAddr)], secured: bool) -> axum::Router {
    let uris = addresses.iter();
    let services: BTreeMap<&str, String> = uris
        .map(|(service, address)| (*service, uri(reachable(*address), secured)))
        .collect();
    axum::Router::new().route(
        "/services",
        axum::routing::get(move || std::future::ready(axum::Json(services.clone()))),
    )
}
