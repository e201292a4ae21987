//! Context as it is served, with planning beside it: on the embedded backends, and on Neo4j,
//! NATS and Valkey where the environment names them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet_cache::Memory;
use fleet_context::{Config, start};
use fleet_embedded::{Embedded, Options};
use fleet_events_nats::NatsBus;
use fleet_graph::Deadline;
use fleet_graph::conformance::test_server;
use fleet_graph_neo4j::Neo4j;
use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{Backends, Process, ServerSettings, Streams, SystemClock, SystemIds};
use fleet_types::Ids as _;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::store::Watched;

pub type Client = ContextServiceClient<Channel>;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// The servers of one test.
pub struct World {
    deployment: String,
    /// In every id of the test: they share a database.
    pub tag: String,
    place: Place,
}

enum Place {
    Embedded {
        database: Embedded,
        cache: Arc<Memory>,
        _dir: TempDir,
    },
    Real {
        nats: String,
        neo4j: fleet_graph_neo4j::Settings,
        valkey: String,
    },
}

/// One process of context.
pub struct Replica {
    pub store: Arc<Watched>,
    pub process: Process,
    pub client: Client,
    pub metrics: fleet_service::SharedRegistry,
}

/// A process of planning.
pub struct Planning {
    pub process: Process,
    pub client: PlanningServiceClient<Channel>,
    pub address: String,
}

impl World {
    pub fn embedded() -> Self {
        let dir = TempDir::new().unwrap();
        let options = Options::new(Arc::new(SystemClock));
        let database = Embedded::open(dir.path(), options).unwrap();
        Self {
            deployment: "default".to_owned(),
            tag: tag(),
            place: Place::Embedded {
                database,
                cache: Arc::new(Memory::new(64 << 20)),
                _dir: dir,
            },
        }
    }

    /// `None` says what is missing, or fails if the environment demands it.
    pub fn real() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nats = test_server("nats", "FLEET_TEST_NATS_URL")?;
        let uri = test_server("neo4j", "FLEET_TEST_NEO4J_URI")?;
        let valkey = test_server("valkey", "FLEET_TEST_VALKEY_URL")?;
        let user = std::env::var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".to_owned());
        let password = std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap_or_default();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let deployment = format!("ctx{}-{next}", std::process::id());
        let mut neo4j = fleet_graph_neo4j::Settings::new(uri, user, password.into());
        neo4j.deployment.clone_from(&deployment);
        Some(Self {
            deployment,
            tag: tag(),
            place: Place::Real {
                nats,
                neo4j,
                valkey,
            },
        })
    }

    pub async fn backends(&self) -> Backends {
        match &self.place {
            Place::Embedded {
                database, cache, ..
            } => Backends {
                store: database.store(),
                store_name: "embedded",
                bus: database.bus(),
                bus_name: "embedded-bus",
                cache: cache.clone(),
            },
            Place::Real {
                nats,
                neo4j,
                valkey,
            } => {
                let settings = fleet_events_nats::Settings {
                    deployment: self.deployment.clone(),
                    // The topology's sizes are reserved by the server, for every test again.
                    max_stream_bytes: Some(16 << 20),
                    ..fleet_events_nats::Settings::new(nats.as_str())
                };
                let cache = fleet_cache_valkey::Settings {
                    deployment: self.deployment.clone(),
                    ..fleet_cache_valkey::Settings::new(valkey.as_str())
                };
                Backends {
                    store: Arc::new(Neo4j::connect(neo4j.clone()).unwrap()),
                    store_name: "neo4j",
                    bus: Arc::new(NatsBus::connect(settings).await.unwrap()),
                    bus_name: "nats",
                    cache: Arc::new(fleet_cache_valkey::Valkey::connect(&cache).unwrap()),
                }
            }
        }
    }

    /// A process of context, as one of any number on the same servers.
    pub async fn replica(&self) -> Replica {
        self.replica_with(self.backends().await, Config::default())
            .await
    }

    pub async fn replica_with(&self, backends: Backends, config: Config) -> Replica {
        self.replica_on(backends, config, ServerSettings::default())
            .await
    }

    pub async fn replica_on(
        &self,
        mut backends: Backends,
        config: Config,
        settings: ServerSettings,
    ) -> Replica {
        let store = Watched::new(backends.store);
        backends.store = store.clone();
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        let deps = process.attach(backends, Streams::Apply, &self.deployment);
        let metrics = deps.metrics.clone();
        let mounted = start(deps, config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = process.serve(mounted, listener, settings).unwrap();
        tokio::time::timeout(PATIENCE, process.readiness.ready())
            .await
            .expect("ready in time");
        let client = Client::connect(format!("http://{address}")).await.unwrap();
        Replica {
            store,
            process,
            client,
            metrics,
        }
    }

    pub async fn planning(&self) -> Planning {
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        let backends = self.backends().await;
        let deps = process.attach(backends, Streams::Apply, &self.deployment);
        let mounted = fleet_planning::start(deps, fleet_planning::Config::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = process
            .serve(mounted, listener, ServerSettings::default())
            .unwrap();
        tokio::time::timeout(PATIENCE, process.readiness.ready())
            .await
            .expect("ready in time");
        let address = format!("http://{address}");
        let client = PlanningServiceClient::connect(address.clone())
            .await
            .unwrap();
        Planning {
            process,
            client,
            address,
        }
    }

    /// Removes what the test left on shared servers.
    pub async fn close(&self) {
        if let Place::Real { nats, .. } = &self.place {
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
}

fn tag() -> String {
    let id = SystemIds.uuid().simple().to_string();
    id[id.len() - 10..].to_owned()
}

impl Replica {
    pub async fn stop(self) {
        drop(self.client);
        stop(self.process).await;
    }

    pub async fn get(
        &self,
        request: pb::GetContextRequest,
    ) -> Result<pb::GetContextResponse, Status> {
        let answer = self.client.clone().get_context(request).await?;
        Ok(answer.into_inner())
    }

    pub async fn must(&self, request: pb::GetContextRequest) -> pb::GetContextResponse {
        let asked = format!("{request:?}");
        match self.get(request).await {
            Ok(answer) => answer,
            Err(status) => panic!("{asked}: {status}"),
        }
    }

    /// What a counter stands at.
    pub fn counted(&self, line: &str) -> u64 {
        let text = self.metrics.encode();
        let value = text.lines().find_map(|l| l.strip_prefix(line));
        value.map_or(0, |value| value.trim().parse().unwrap())
    }
}

pub async fn stop(process: Process) {
    let drained = process.stop(Duration::from_secs(10)).await;
    assert!(drained.is_complete(), "{drained:?}");
}

pub fn ask(story: &str, role: &str, phase: &str) -> pb::GetContextRequest {
    pb::GetContextRequest {
        story_id: story.to_owned(),
        role: role.to_owned(),
        phase: phase.to_owned(),
        ..pb::GetContextRequest::default()
    }
}

/// The code of a refusal.
pub fn code<T: std::fmt::Debug>(answer: Result<T, Status>) -> Code {
    answer.expect_err("refused").code()
}

pub async fn next<T: std::fmt::Debug>(stream: &mut Streaming<T>) -> T {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await;
    next.expect("in time").unwrap().expect("the stream goes on")
}

/// Waits until `probe` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs the same tests on every backend that there is.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = crate::world::World::embedded();
                super::$name(&world).await;
                world.close().await;
            })+
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = crate::world::World::real() {
                    super::$name(&world).await;
                    world.close().await;
                }
            })+
        }
    };
}

pub(crate) use on_every_backend;
