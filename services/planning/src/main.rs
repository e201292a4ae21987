//! Planning as a process of its own, on Neo4j and NATS. Any number of replicas.

use std::process::ExitCode;
use std::sync::Arc;

use fleet_events_nats::NatsBus;
use fleet_graph_neo4j::Neo4j;
use fleet_planning::{Config, KEYS, start};
use fleet_service::config::{Common, Key, Kind, Problem, Problems, Settings};
use fleet_service::{Backends, run};
use secrecy::SecretString;

const NEO4J_CONNECTIONS: Kind = Kind::Integer { min: 1, max: 1_000 };
const STREAM_REPLICAS: Kind = Kind::Integer { min: 1, max: 5 };

/// How the servers are reached.
const SERVERS: [Key; 7] = [
    Key::new(
        "neo4j_uri",
        fleet_topology::env_keys::NEO4J_URI,
        Kind::Text,
        "Bolt address of the graph.",
    )
    .required(),
    Key::new(
        "neo4j_user",
        fleet_topology::env_keys::NEO4J_USER,
        Kind::Text,
        "User of the graph.",
    )
    .or("neo4j"),
    Key::new(
        "neo4j_password",
        fleet_topology::env_keys::NEO4J_PASSWORD,
        Kind::Text,
        "Password of that user.",
    )
    .required()
    .secret(),
    Key::new(
        "neo4j_connections",
        "FLEET_NEO4J_CONNECTIONS",
        NEO4J_CONNECTIONS,
        "Most connections to the graph at one time.",
    )
    .or("16"),
    Key::new(
        "nats_url",
        fleet_topology::env_keys::NATS_URL,
        Kind::Text,
        "Address of the event bus.",
    )
    .required(),
    Key::new(
        "nats_sync_interval",
        "FLEET_NATS_SYNC_INTERVAL",
        Kind::Duration,
        "How long the bus may lose what it acknowledged; 0s if it syncs always.",
    )
    .or("0s"),
    Key::new(
        "stream_replicas",
        "FLEET_STREAM_REPLICAS",
        STREAM_REPLICAS,
        "Replicas of each stream on the bus.",
    )
    .or("1"),
];

fn main() -> ExitCode {
    let own: Vec<Key> = SERVERS.iter().chain(KEYS).copied().collect();
    let name = fleet_topology::services::PLANNING.name;
    run(name, &own, open, |deps, settings| {
        start(deps, Config::from_settings(settings))
    })
}

/// Neither server is waited for: readiness says who is missing.
async fn open(settings: &Settings, common: &Common, seed: u64) -> Result<Backends, Problems> {
    let password = SecretString::from(settings.text("neo4j_password").to_owned());
    let (uri, user) = (settings.text("neo4j_uri"), settings.text("neo4j_user"));
    let store = Neo4j::connect(fleet_graph_neo4j::Settings {
        deployment: common.deployment.clone(),
        max_connections: settings.count("neo4j_connections"),
        ..fleet_graph_neo4j::Settings::new(uri, user, password)
    })
    .map_err(|e| Problem(format!("NEO4J_URI: {e}")))?;
    let bus = NatsBus::connect(fleet_events_nats::Settings {
        deployment: common.deployment.clone(),
        name: fleet_topology::services::PLANNING.package.to_owned(),
        sync_interval: settings.duration("nats_sync_interval"),
        replicas: settings.count("stream_replicas"),
        seed,
        ..fleet_events_nats::Settings::new(settings.text("nats_url"))
    })
    .await
    .map_err(|e| Problem(format!("NATS_URL: {e}")))?;
    Ok(Backends {
        store: Arc::new(store),
        store_name: "neo4j",
        bus: Arc::new(bus),
        bus_name: "nats",
    })
}
