//! Context as it is served, with planning beside it: on the embedded backends, and on Neo4j,
//! NATS and Valkey where the environment names them.

use std::sync::Arc;

use fleet_cache::{Cache, Memory};
use fleet_context::{Config, start};
use fleet_graph::conformance::test_server;
use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{Backends, Process, ServerSettings, Streams, SystemIds};
use fleet_testing::{Place, ready, serve};
use fleet_types::Ids as _;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use crate::store::Eyes;

pub use fleet_testing::{PATIENCE, eventually, soon, stop};

pub type Client = ContextServiceClient<Channel>;

/// The servers of one test.
pub struct World {
    place: Place,
    /// In every id of the test: they share a database.
    pub tag: String,
    cache: Cached,
}

/// One cache for all processes of a test.
enum Cached {
    Memory(Arc<Memory>),
    Valkey(String),
}

/// One process of context.
pub struct Replica {
    pub store: Arc<Eyes>,
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
        Self {
            place: Place::embedded(),
            tag: tag(),
            cache: Cached::Memory(Arc::new(Memory::new(64 << 20))),
        }
    }

    /// `None` says what is missing, or fails if the environment demands it.
    pub fn real() -> Option<Self> {
        let place = Place::real("ctx")?;
        let valkey = test_server("valkey", "FLEET_TEST_VALKEY_URL")?;
        Some(Self {
            place,
            tag: tag(),
            cache: Cached::Valkey(valkey),
        })
    }

    pub async fn backends(&self) -> Backends {
        let cache: Arc<dyn Cache> = match &self.cache {
            Cached::Memory(memory) => memory.clone(),
            Cached::Valkey(url) => {
                let settings = fleet_cache_valkey::Settings {
                    deployment: self.place.deployment().to_owned(),
                    ..fleet_cache_valkey::Settings::new(url.as_str())
                };
                Arc::new(fleet_cache_valkey::Valkey::connect(&settings).unwrap())
            }
        };
        Backends {
            cache,
            ..self.place.backends().await
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
        let (store, watched) = Eyes::on(backends.store);
        backends.store = watched;
        let process = fleet_testing::process();
        let deps = process.attach(backends, Streams::Apply, self.place.deployment());
        let metrics = deps.metrics.clone();
        let mounted = start(deps, config).unwrap();
        let address = serve(&process, mounted, settings).await;
        ready(&process).await;
        let client = Client::connect(format!("http://{address}")).await.unwrap();
        Replica {
            store,
            process,
            client,
            metrics,
        }
    }

    pub async fn planning(&self) -> Planning {
        let process = fleet_testing::process();
        let backends = self.backends().await;
        let deps = process.attach(backends, Streams::Apply, self.place.deployment());
        let mounted = fleet_planning::start(deps, fleet_planning::Config::default()).unwrap();
        let address = serve(&process, mounted, ServerSettings::default()).await;
        ready(&process).await;
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
        self.place.close().await;
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

/// Runs the same tests on every backend that there is.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        fleet_testing::on_every_backend!(crate::world::World: $($name),+);
    };
}

pub(crate) use on_every_backend;
