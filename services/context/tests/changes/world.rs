//! Context and planning as they are served, on one set of backends.

use std::time::Duration;

use fleet_context::rows::DecisionRow;
use fleet_context::{Config, start};
use fleet_events::payload::Payload;
use fleet_events::{Backoff, ConsumerSettings, Event, Origin, Tail, decode};
use fleet_graph::{
    Branch, Digest, Direction, EdgeType, Label, Node, NodeKey, OutboxEvent, Sketch, Step, Store,
    Walk,
};
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_service::{Backends, Deps, Process, ServerSettings, Streams, SystemClock, SystemIds};
use fleet_testing::{Place, ready, serve, stop};
use fleet_topology::{Stream, streams};
use fleet_types::{Clock as _, EventId, Ids as _};
use serde_json::Value;
use tonic::transport::Channel;

pub use fleet_testing::{PATIENCE, eventually, soon};

pub type Client = ContextServiceClient<Channel>;
pub type PlanningClient = PlanningServiceClient<Channel>;

/// The servers of one test.
pub struct World(Place);

/// One process that serves context, with planning beside it.
pub struct Replica {
    pub deps: Deps,
    pub process: Process,
    pub client: Client,
    pub planning: PlanningClient,
}

type Settings = fn(&Process) -> ServerSettings;

impl World {
    pub fn embedded() -> Self {
        Self(Place::embedded())
    }

    /// `None` says what is missing, or fails if the environment demands it.
    pub fn real() -> Option<Self> {
        Place::real("ctxw").map(Self)
    }

    pub async fn backends(&self) -> Backends {
        self.0.backends().await
    }

    /// A process, as one of any number on the same servers.
    pub async fn replica(&self) -> Replica {
        self.replica_with(impatient(), |_| ServerSettings::default())
            .await
    }

    pub async fn replica_with(&self, mut config: Config, settings: Settings) -> Replica {
        let process = fleet_testing::process();
        let backends = self.backends().await;
        let deps = process.attach(backends, Streams::Apply, self.0.deployment());
        let planning =
            fleet_planning::start(deps.clone(), fleet_planning::Config::default()).unwrap();
        let address = serve(&process, planning, settings(&process)).await;
        if config.planning_uri.is_none() {
            config.planning_uri = Some(format!("http://{address}"));
        }
        let mounted = start(deps.clone(), config).unwrap();
        let served = serve(&process, mounted, settings(&process)).await;
        ready(&process).await;
        Replica {
            deps,
            process,
            client: Client::connect(format!("http://{served}")).await.unwrap(),
            planning: PlanningClient::connect(format!("http://{address}"))
                .await
                .unwrap(),
        }
    }

    /// Removes what the test left on shared servers.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// Consumers that do not wait long before they park.
pub fn impatient() -> Config {
    let quick = Backoff {
        first: Duration::from_millis(20),
        max: Duration::from_millis(100),
    };
    Config {
        consumer: ConsumerSettings {
            backoff: quick,
            not_yet_known_backoff: quick,
            not_yet_known_for: Duration::from_secs(10),
            ..ConsumerSettings::default()
        },
        ..Config::default()
    }
}

impl Replica {
    pub async fn stop(self) {
        stop(self.process).await;
    }

    pub async fn node(&self, key: NodeKey) -> Option<Node> {
        let nodes = self.deps.store.get(&[key], soon()).await.unwrap();
        nodes.into_iter().next().flatten()
    }

    /// A property of a node that must be there.
    pub async fn prop(&self, key: NodeKey, name: &str) -> Value {
        let node = self.node(key.clone()).await;
        let node = node.unwrap_or_else(|| panic!("{key} is not there"));
        node.props.get(name).cloned().unwrap_or(Value::Null)
    }

    /// What `from` points at by `edge`, nodes and all.
    pub async fn children(&self, from: NodeKey, edge: EdgeType) -> Vec<Node> {
        let steps = vec![Step {
            edge,
            direction: Direction::Out,
            hops: 1,
        }];
        let walk = Walk {
            roots: vec![from.clone()],
            steps,
            max_nodes: 5_000,
        };
        let found = self.deps.store.walk(&walk, soon()).await.unwrap();
        // A relation to itself is one, too.
        let to: Vec<_> = found.edges.iter().map(|edge| edge.to.clone()).collect();
        let mut nodes = found.nodes;
        nodes.retain(|node| to.contains(&node.key));
        nodes
    }

    pub async fn ids(&self, from: NodeKey, edge: EdgeType) -> Vec<String> {
        let nodes = self.children(from, edge).await;
        nodes.iter().map(|node| node.key.id().to_owned()).collect()
    }

    /// Everything that is said on `stream` from now on.
    pub async fn listen(&self, stream: &'static Stream) -> Heard {
        let tail = self.deps.bus.tail(stream, &[], soon()).await.unwrap();
        Heard {
            tail,
            events: Vec::new(),
        }
    }

    /// What context says from now on.
    pub async fn listen_to_context(&self) -> Heard {
        self.listen(&streams::CONTEXT).await
    }

    /// Publishes an event.
    pub async fn publish(&self, event: &OutboxEvent) {
        let published = self
            .deps
            .bus
            .publish(std::slice::from_ref(event), soon())
            .await;
        published.into_iter().next().unwrap().unwrap();
    }
}

/// What the row of a story's context counts of its decisions is what there is of them: readers
/// tell by it whether they saw all of a commit. And what a decision says in short is what it
/// says, and when it changed is one of the context's versions.
pub async fn assert_in_step(store: &dyn Store, story: &str) {
    let keys = [NodeKey::new(Label::StoryContext, story)];
    let digest = Digest {
        root: NodeKey::new(Label::Story, story),
        paths: vec![vec![(EdgeType::HasDecision, Direction::Out)]],
    };
    let (digested, nodes) = store.digest(&digest, &keys, soon()).await.unwrap();
    let there = digested.paths[0];
    let context = nodes.into_iter().next().flatten();
    let counted = |name: &str| {
        context
            .as_ref()
            .map_or(Some(0), |row| row.props.get(name)?.as_i64())
    };
    assert_eq!(
        (counted("decisions"), counted("decision_versions")),
        (i64::try_from(there.nodes).ok(), Some(there.sum)),
    );
    let sketch = Sketch {
        root: digest.root,
        branches: vec![Branch::new(vec![(EdgeType::HasDecision, Direction::Out)])],
    };
    let seen = store.sketch(&sketch, soon()).await.unwrap();
    for node in &seen.branches[0].nodes {
        let row: DecisionRow = serde_json::from_value(node.props.clone().into()).unwrap();
        assert_eq!(row.light, row.lightly(), "{}", node.key);
        let version = context.as_ref().map_or(0, |context| context.version);
        assert!((1..=version).contains(&row.changed_in), "{}", node.key);
    }
}

/// An event as somebody says it.
pub fn said<P: Payload>(payload: &P) -> OutboxEvent {
    let origin = Origin {
        source: "tests",
        correlation: "c-1".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    };
    origin.event(&SystemIds, SystemClock.now(), "tests", 1, payload)
}

/// An event of a kind that the fleet only hears.
pub fn raw(subject: &str, payload: &Value) -> OutboxEvent {
    OutboxEvent {
        id: EventId::mint(SystemIds.uuid()),
        subject: subject.to_owned(),
        source: "tests".to_owned(),
        aggregate: "tests".to_owned(),
        aggregate_version: 1,
        time: SystemClock.now(),
        payload: payload.to_string(),
        correlation: "c-1".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

/// What was heard on a stream.
pub struct Heard {
    tail: Box<dyn Tail>,
    pub events: Vec<Event>,
}

impl Heard {
    /// Listens until an event of this kind is like that.
    pub async fn until(&mut self, kind: &str, like: impl Fn(&Value) -> bool) -> Event {
        let wanted = |event: &&Event| event.kind == kind && like(&event.body);
        let listening = async {
            loop {
                if let Some(event) = self.events.iter().find(wanted) {
                    return event.clone();
                }
                let message = self.tail.next().await.unwrap();
                self.events.push(decode(&message).unwrap());
            }
        };
        match tokio::time::timeout(PATIENCE, listening).await {
            Ok(event) => event,
            Err(_) => panic!("did not hear {kind}: {:#?}", self.events),
        }
    }
}

/// Runs the same tests on every backend that there is.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        fleet_testing::on_every_backend!(crate::world::World: $($name),+);
    };
}
pub(crate) use on_every_backend;
