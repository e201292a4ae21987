//! Planning as it is served: real processes on the embedded backends and on real servers.

use fleet_graph::conformance::test_server;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet_embedded::{Embedded, Options};
use fleet_events::{ConsumerSettings, Event, Origin, Tail, decode, payload::Payload};
use fleet_events_nats::NatsBus;
use fleet_graph::{
    Commit, Deadline, Direction, EdgeType, Label, NodeKey, Owner, Props, Step, Walk,
};
use fleet_graph_neo4j::Neo4j;
use fleet_planning::{Config, start};
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{Backends, Deps, Process, ServerSettings, Streams, SystemClock, SystemIds};
use fleet_topology::Stream;
use fleet_types::{Clock as _, EventId, Ids as _};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::Channel;

pub type Client = PlanningServiceClient<Channel>;

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// The servers of one test.
pub struct Fleet {
    deployment: String,
    place: Place,
}

enum Place {
    Embedded {
        database: Embedded,
        _dir: TempDir,
    },
    Real {
        nats: String,
        neo4j: fleet_graph_neo4j::Settings,
    },
}

/// One process of planning.
pub struct Replica {
    pub deps: Deps,
    pub process: Process,
    pub client: Client,
}

impl Fleet {
    pub fn embedded() -> Self {
        let dir = TempDir::new().unwrap();
        let options = Options::new(Arc::new(SystemClock));
        let database = Embedded::open(dir.path(), options).unwrap();
        Self {
            deployment: "default".to_owned(),
            place: Place::Embedded {
                database,
                _dir: dir,
            },
        }
    }

    /// `None` says what is missing, or fails if the environment demands it.
    pub fn real() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nats = test_server("nats", "FLEET_TEST_NATS_URL")?;
        let uri = test_server("neo4j", "FLEET_TEST_NEO4J_URI")?;
        let user = std::env::var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".to_owned());
        let password = std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap_or_default();
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let deployment = format!("plan{}-{next}", std::process::id());
        let mut neo4j = fleet_graph_neo4j::Settings::new(uri, user, password.into());
        neo4j.deployment.clone_from(&deployment);
        Some(Self {
            deployment,
            place: Place::Real { nats, neo4j },
        })
    }

    pub async fn backends(&self) -> Backends {
        match &self.place {
            Place::Embedded { database, .. } => Backends {
                store: database.store(),
                store_name: "embedded",
                bus: database.bus(),
                bus_name: "embedded-bus",
                cache: fleet_service::backends::memory(),
            },
            Place::Real { nats, neo4j } => {
                let settings = fleet_events_nats::Settings {
                    deployment: self.deployment.clone(),
                    // The topology's sizes are reserved by the server, for every test again.
                    max_stream_bytes: Some(16 << 20),
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

    /// Starts a process, as one of any number on the same servers.
    pub async fn replica(&self) -> Replica {
        self.replica_with(Config::default(), |_| ServerSettings::default())
            .await
    }

    pub async fn replica_with(
        &self,
        config: Config,
        settings: impl FnOnce(&Process) -> ServerSettings,
    ) -> Replica {
        self.replica_on(self.backends().await, config, settings)
            .await
    }

    pub async fn replica_on(
        &self,
        backends: Backends,
        config: Config,
        settings: impl FnOnce(&Process) -> ServerSettings,
    ) -> Replica {
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        let deps = process.attach(backends, Streams::Apply, &self.deployment);
        let mounted = start(deps.clone(), config).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = settings(&process);
        let address = process.serve(mounted, listener, settings).unwrap();
        tokio::time::timeout(PATIENCE, process.readiness.ready())
            .await
            .expect("ready in time");
        let client = Client::connect(format!("http://{address}")).await.unwrap();
        Replica {
            deps,
            process,
            client,
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

impl Replica {
    pub async fn stop(self) {
        let drained = self.process.stop(Duration::from_secs(10)).await;
        assert!(drained.is_complete(), "{drained:?}");
    }

    /// Everything that is said on `stream` from now on.
    pub async fn listen(&self, stream: &'static Stream) -> Heard {
        let tail = self.deps.bus.tail(stream, &[], soon()).await.unwrap();
        Heard {
            tail,
            events: Vec::new(),
        }
    }

    /// Says something in the name of the workflow.
    pub async fn say<P: Payload>(&self, payload: &P, id: Option<&EventId>) -> EventId {
        let event = workflow_event(payload, id);
        let id = event.id.clone();
        let published = self.deps.bus.publish(&[event], soon()).await;
        published.into_iter().next().unwrap().unwrap();
        id
    }

    /// Records a decision in the name of the context service.
    pub async fn decide(&self, story: Option<&str>) -> String {
        let id = format!("DEC-{}", SystemIds.uuid());
        let mut props = Props::new();
        props.insert("decision_id".into(), id.as_str().into());
        if let Some(story) = story {
            props.insert("story_id".into(), story.into());
        }
        let now = SystemClock.now();
        let mut commit = Commit::new(SystemIds.uuid(), Owner::Context, now);
        commit.create(NodeKey::new(Label::Decision, &id), now.rfc3339(), props);
        self.deps.store.commit(&commit, soon()).await.unwrap();
        id
    }
}

/// An event as the workflow says it.
pub fn workflow_event<P: Payload>(payload: &P, id: Option<&EventId>) -> fleet_graph::OutboxEvent {
    let origin = Origin {
        source: "fleet-workflow",
        correlation: "c-1".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    };
    let mut event = origin.event(&SystemIds, SystemClock.now(), "T-1", 1, payload);
    if let Some(id) = id {
        event.id = id.clone();
    }
    event
}

/// What was heard on a stream.
pub struct Heard {
    tail: Box<dyn Tail>,
    pub events: Vec<Event>,
}

impl Heard {
    /// Listens until `enough` of what was heard so far.
    pub async fn until(&mut self, enough: impl Fn(&[Event]) -> bool) -> &[Event] {
        let listening = async {
            while !enough(&self.events) {
                let message = self.tail.next().await.unwrap();
                self.events.push(decode(&message).unwrap());
            }
        };
        let heard = tokio::time::timeout(PATIENCE, listening).await;
        if heard.is_err() {
            let kinds: Vec<_> = self
                .events
                .iter()
                .map(|e| (&e.kind, &e.aggregate))
                .collect();
            panic!("did not hear enough: {kinds:?}");
        }
        &self.events
    }

    pub fn of(&self, kind: &str, aggregate: &str) -> Vec<&Event> {
        self.events
            .iter()
            .filter(|e| e.kind == kind && e.aggregate == aggregate)
            .collect()
    }
}

/// The ids of what `from` points at.
pub async fn children(replica: &Replica, from: NodeKey, edge: EdgeType) -> Vec<String> {
    let steps = vec![Step {
        edge,
        direction: Direction::Out,
        hops: 1,
    }];
    let walk = Walk {
        roots: vec![from.clone()],
        steps,
        max_nodes: 100,
    };
    let found = replica.deps.store.walk(&walk, soon()).await.unwrap();
    found
        .nodes
        .iter()
        .filter(|n| n.key != from)
        .map(|n| n.key.id().to_owned())
        .collect()
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

/// A consumer that does not wait long before it parks.
pub fn impatient() -> Config {
    let quick = fleet_events::Backoff {
        first: Duration::from_millis(20),
        max: Duration::from_millis(100),
    };
    let consumer = ConsumerSettings {
        backoff: quick,
        not_yet_known_backoff: quick,
        not_yet_known_for: Duration::from_secs(10),
        ..ConsumerSettings::default()
    };
    Config {
        consumer,
        ..Config::default()
    }
}

/// Runs the same tests on every backend that there is.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let fleet = crate::fleet::Fleet::embedded();
                super::$name(&fleet).await;
                fleet.close().await;
            })+
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(fleet) = crate::fleet::Fleet::real() {
                    super::$name(&fleet).await;
                    fleet.close().await;
                }
            })+
        }
    };
}
pub(crate) use on_every_backend;
