//! Neo4j, NATS and Valkey from the configuration, for services that run as processes of their own.
//!
//! Opening waits for nobody: operations on a server that is away fail as unavailable, readiness
//! says for whom the process waits, and whoever watches over it goes on trying.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use fleet_cache::{Cache, Memory};
use fleet_cache_valkey as valkey;
use fleet_events::Bus;
use fleet_events_nats as nats;
use fleet_graph::Store;
use fleet_graph_neo4j as neo4j;
use secrecy::SecretString;

use crate::config::{Common, Key, Kind, Problem, Problems, Settings};
use crate::{Backends, Deps, Mounted, run};

/// Memory of a process for its own cache, unless something else is configured, in MiB.
const DEFAULT_CACHE_MIB: u16 = 64;

/// The keys of store, bus and cache; names without `FLEET_` as in the topology.
pub const BACKEND_KEYS: &[Key] = &[
    Key::new(
        "neo4j_uri",
        "NEO4J_URI",
        Kind::Text,
        "Bolt address of the graph, e.g. bolt://127.0.0.1:7687.",
    )
    .required(),
    Key::new("neo4j_user", "NEO4J_USER", Kind::Text, "User of the graph.").or("neo4j"),
    Key::new(
        "neo4j_password",
        "NEO4J_PASSWORD",
        Kind::Text,
        "Password of that user.",
    )
    .required()
    .secret(),
    Key::new(
        "neo4j_database",
        "FLEET_NEO4J_DATABASE",
        Kind::Text,
        "Database; unset: the user's own.",
    ),
    Key::new(
        "neo4j_connections",
        "FLEET_NEO4J_CONNECTIONS",
        Kind::Integer { min: 1, max: 1000 },
        "Connections to the graph at one time.",
    )
    .or("16"),
    Key::new(
        "nats_url",
        "NATS_URL",
        Kind::Text,
        "Addresses of the bus, e.g. nats://127.0.0.1:4222.",
    )
    .required(),
    Key::new(
        "nats_token",
        "FLEET_NATS_TOKEN",
        Kind::Text,
        "Token for the bus.",
    )
    .secret(),
    Key::new(
        "nats_credentials_file",
        "FLEET_NATS_CREDENTIALS_FILE",
        Kind::Path,
        "File with our credentials for the bus (.creds).",
    ),
    Key::new(
        "nats_ca_file",
        "FLEET_NATS_CA_FILE",
        Kind::Path,
        "PEM file of further authorities for the bus; set: TLS is required.",
    ),
    Key::new(
        "nats_sync_interval",
        "FLEET_NATS_SYNC_INTERVAL",
        Kind::Duration,
        "How long the bus may lose what it acknowledged: its sync_interval, 0 for always.",
    )
    .or("2m"),
    Key::new(
        "nats_replicas",
        "FLEET_NATS_REPLICAS",
        Kind::Integer { min: 1, max: 5 },
        "Replicas that each stream should have.",
    )
    .or("1"),
    Key::new(
        "nats_max_stream_mib",
        "FLEET_NATS_MAX_STREAM_MIB",
        Kind::Integer {
            min: 1,
            max: 1_000_000,
        },
        "A smaller size of each stream than the topology's, for small disks.",
    ),
    Key::new(
        "valkey_url",
        "VALKEY_URL",
        Kind::Text,
        "Address of a cache that replicas share, e.g. redis://127.0.0.1:6379, rediss:// with TLS; unset: each process keeps its own.",
    ),
    Key::new(
        "valkey_ca_file",
        "FLEET_VALKEY_CA_FILE",
        Kind::Path,
        "PEM file of the authorities of a cache with TLS; unset: the system's.",
    ),
    Key::new(
        "cache_mib",
        "FLEET_CACHE_MIB",
        Kind::Integer {
            min: 1,
            max: 65_536,
        },
        "Memory of the process for its own cache.",
    )
    .or_number(DEFAULT_CACHE_MIB),
];

/// Opens them. `seed` spreads the timers of replicas.
///
/// # Errors
/// Settings that can never work; servers that are away are none.
pub async fn open(settings: &Settings, common: &Common, seed: u64) -> Result<Backends, Problems> {
    Ok(Backends {
        store: neo4j(settings, common, settings.text("neo4j_uri"))?,
        store_name: "neo4j",
        bus: nats(settings, common, settings.text("nats_url"), seed).await?,
        bus_name: "nats",
        cache: cache(settings, common, settings.optional("valkey_url"))?,
    })
}

/// The cache at `url`, or one in the process.
///
/// # Errors
/// Settings that can never work.
pub fn cache(
    settings: &Settings,
    common: &Common,
    url: Option<&str>,
) -> Result<Arc<dyn Cache>, Problems> {
    let Some(url) = url else {
        return Ok(memory_of(settings.count("cache_mib")));
    };
    let root_certificates = match settings.path("valkey_ca_file") {
        None => None,
        Some(file) => Some(std::fs::read(&file).map_err(|e| {
            Problem(format!(
                "FLEET_VALKEY_CA_FILE: {} cannot be read: {e}",
                file.display()
            ))
        })?),
    };
    let cache = valkey::Valkey::connect(&valkey::Settings {
        deployment: common.deployment.clone(),
        root_certificates,
        ..valkey::Settings::new(url)
    });
    Ok(Arc::new(cache.map_err(|e| problem("VALKEY_URL", &e))?))
}

/// A cache in the process, as large as it is by default.
pub fn memory() -> Arc<dyn Cache> {
    memory_of(usize::from(DEFAULT_CACHE_MIB))
}

fn memory_of(mib: usize) -> Arc<dyn Cache> {
    Arc::new(Memory::new(mib.saturating_mul(1024 * 1024)))
}

/// The graph at `uri`.
///
/// # Errors
/// Settings that can never work.
pub fn neo4j(settings: &Settings, common: &Common, uri: &str) -> Result<Arc<dyn Store>, Problems> {
    let store = neo4j::Settings {
        database: settings.optional("neo4j_database").map(ToOwned::to_owned),
        deployment: common.deployment.clone(),
        max_connections: settings.count("neo4j_connections"),
        ..neo4j::Settings::new(
            uri,
            settings.text("neo4j_user"),
            SecretString::from(settings.text("neo4j_password")),
        )
    };
    let store = neo4j::Neo4j::connect(store).map_err(|e| problem("NEO4J_URI", &e))?;
    Ok(Arc::new(store))
}

/// The bus at `url`. `seed` spreads the timers of replicas.
///
/// # Errors
/// Settings that can never work.
pub async fn nats(
    settings: &Settings,
    common: &Common,
    url: &str,
    seed: u64,
) -> Result<Arc<dyn Bus>, Problems> {
    let bus = nats::Settings {
        deployment: common.deployment.clone(),
        sync_interval: settings.duration("nats_sync_interval"),
        replicas: settings.count("nats_replicas"),
        max_stream_bytes: settings
            .optional("nats_max_stream_mib")
            .map(|_| settings.count("nats_max_stream_mib") as u64 * 1024 * 1024),
        auth: match (
            settings.optional("nats_token"),
            settings.path("nats_credentials_file"),
        ) {
            (_, Some(file)) => nats::Auth::CredentialsFile(file),
            (Some(token), None) => nats::Auth::Token(SecretString::from(token)),
            (None, None) => nats::Auth::None,
        },
        tls: nats::Tls {
            required: settings.path("nats_ca_file").is_some(),
            root_certificates: settings.path("nats_ca_file"),
            client_certificate: None,
        },
        seed,
        ..nats::Settings::new(url)
    };
    let bus = nats::NatsBus::connect(bus)
        .await
        .map_err(|e| problem("NATS_URL", &e))?;
    Ok(Arc::new(bus))
}

/// `main` of a service binary on Neo4j and NATS:
///
/// ```text
/// fn main() -> ExitCode {
///     fleet_service::main("planning", PLANNING_KEYS, |deps, settings| {
///         fleet_planning::start(deps, Config::from_settings(settings))
///     })
/// }
/// ```
pub fn main<E: Into<Box<dyn Error + Send + Sync>>>(
    service: &'static str,
    own: &[Key],
    start: impl FnOnce(Deps, &Settings) -> Result<Mounted, E>,
) -> ExitCode {
    run(service, &[BACKEND_KEYS, own].concat(), open, start)
}

fn problem(env: &str, error: &(dyn Error + 'static)) -> Problems {
    Problem(format!(
        "{env} is of no use: {}",
        crate::fault::chain(error)
    ))
    .into()
}
