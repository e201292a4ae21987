//! Where the services of a test keep their things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fleet_embedded::{Embedded, Options};
use fleet_events_nats::NatsBus;
use fleet_graph::Unavailable;
use fleet_graph::conformance::test_server;
use fleet_graph_neo4j::Neo4j;
use fleet_service::{Backends, SystemClock};
use tempfile::TempDir;

/// What a store says that was cut off.
pub fn pulled_plug() -> Unavailable {
    Unavailable {
        store: "embedded",
        reason: "pulled the plug".to_owned(),
        retryable: true,
    }
}

/// Streams of a test on a shared server: the topology's sizes are reserved by it, for every
/// test again.
const MAX_STREAM_BYTES: u64 = 16 << 20;

/// The backends of one test, shared by all its processes.
pub struct Place {
    deployment: String,
    on: On,
}

enum On {
    Embedded {
        database: Embedded,
        _dir: TempDir,
    },
    Real {
        nats: String,
        neo4j: fleet_graph_neo4j::Settings,
    },
}

impl Place {
    /// A database of its own.
    pub fn embedded() -> Self {
        let dir = TempDir::new().unwrap();
        let options = Options::new(Arc::new(SystemClock));
        let database = Embedded::open(dir.path(), options).unwrap();
        Self {
            deployment: "default".to_owned(),
            on: On::Embedded {
                database,
                _dir: dir,
            },
        }
    }

    /// A deployment of its own, whose name begins with `prefix`, on the Neo4j and NATS that the
    /// environment names. `None` says what is missing, or fails if the environment demands it.
    pub fn real(prefix: &str) -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nats = test_server("nats", "FLEET_TEST_NATS_URL")?;
        let uri = test_server("neo4j", "FLEET_TEST_NEO4J_URI")?;
        let user = std::env::var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".to_owned());
        let password = std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap_or_default();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let deployment = format!("{prefix}{}-{next}", std::process::id());
        let mut neo4j = fleet_graph_neo4j::Settings::new(uri, user, password.into());
        neo4j.deployment.clone_from(&deployment);
        Some(Self {
            deployment,
            on: On::Real { nats, neo4j },
        })
    }

    /// The deployment that its processes are of.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// The backends of one more process; each has a cache in its memory.
    pub async fn backends(&self) -> Backends {
        match &self.on {
            On::Embedded { database, .. } => {
                let (store, bus) = database.store_and_bus();
                Backends {
                    store,
                    store_name: "embedded",
                    bus,
                    bus_name: "embedded-bus",
                    cache: fleet_service::backends::memory(),
                }
            }
            On::Real { nats, neo4j } => {
                let settings = fleet_events_nats::Settings {
                    deployment: self.deployment.clone(),
                    max_stream_bytes: Some(MAX_STREAM_BYTES),
                    ..fleet_events_nats::Settings::new(nats.as_str())
                };
                Backends {
                    store: Arc::new(Neo4j::connect(neo4j.clone()).unwrap()),
                    store_name: "neo4j",
                    bus: Arc::new(NatsBus::connect(settings).await.unwrap()),
                    bus_name: "nats",
                    cache: fleet_service::backends::memory(),
                }
            }
        }
    }

    /// Removes what the test left on shared servers.
    pub async fn close(&self) {
        let On::Real { nats, .. } = &self.on else {
            return;
        };
        let jetstream = async_nats::jetstream::new(async_nats::connect(nats).await.unwrap());
        let prefix = self.deployment.to_ascii_uppercase();
        for stream in fleet_topology::STREAMS {
            jetstream
                .delete_stream(format!("{prefix}_{}", stream.name))
                .await
                .unwrap();
        }
    }
}
