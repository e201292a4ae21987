//! Planning as it is served: real processes on the embedded backends and on real servers.

use std::time::Duration;

use fleet_events::{ConsumerSettings, Event, Origin, Tail, decode, payload::Payload};
use fleet_graph::{Commit, Direction, EdgeType, Label, NodeKey, Owner, Props, Step, Walk};
use fleet_planning::{Config, start};
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{Backends, Deps, Process, ServerSettings, Streams, SystemClock, SystemIds};
use fleet_testing::{Place, ready, serve, stop};
use fleet_topology::Stream;
use fleet_types::{Clock as _, EventId, Ids as _};
use tonic::transport::Channel;

pub use fleet_testing::{PATIENCE, eventually, soon};

pub type Client = PlanningServiceClient<Channel>;

/// The servers of one test.
pub struct Fleet(Place);

/// One process of planning.
pub struct Replica {
    pub deps: Deps,
    pub process: Process,
    pub client: Client,
}

impl Fleet {
    pub fn embedded() -> Self {
        Self(Place::embedded())
    }

    /// `None` says what is missing, or fails if the environment demands it.
    pub fn real() -> Option<Self> {
        Place::real("plan").map(Self)
    }

    pub async fn backends(&self) -> Backends {
        self.0.backends().await
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
        let process = fleet_testing::process();
        let deps = process.attach(backends, Streams::Apply, self.0.deployment());
        let mounted = start(deps.clone(), config).unwrap();
        let address = serve(&process, mounted, settings(&process)).await;
        ready(&process).await;
        let client = Client::connect(format!("http://{address}")).await.unwrap();
        Replica {
            deps,
            process,
            client,
        }
    }

    /// Removes what the test left on shared servers.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

impl Replica {
    pub async fn stop(self) {
        stop(self.process).await;
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
        fleet_testing::on_every_backend!(crate::fleet::Fleet: $($name),+);
    };
}
pub(crate) use on_every_backend;
