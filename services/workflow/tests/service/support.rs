//! The service as it runs: over gRPC on loopback, on the embedded stores or on real servers,
//! with one or several replicas.

use std::sync::{Arc, Mutex};

use fleet_events::payload::{Payload, ReleasedTask, StoryTransitioned};
use fleet_events::{Bus, Event, Origin, Parked, decode};
use fleet_graph::{OutboxEvent, Store};
use fleet_proto::workflow::v1 as pb;
use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
use fleet_service::{Backends, Deps, Process, ServerSettings, Streams, SystemClock, SystemIds};
use fleet_testing::Place;
use fleet_types::{Clock, EventId, Ids, StoryId, TaskId, Timestamp};
use fleet_workflow::Config;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

pub type Client = WorkflowOrchestrationServiceClient<Channel>;

pub use fleet_testing::{PATIENCE, soon};

/// Where the service keeps its things in a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Embedded,
    Servers,
}

/// The same test on every backend: `async fn(World)`, named once.
macro_rules! on_every_backend {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = crate::support::World::on(crate::support::On::Embedded).await {
                    super::$name(world).await;
                }
            })+
        }
        mod servers {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = crate::support::World::on(crate::support::On::Servers).await {
                    super::$name(world).await;
                }
            })+
        }
    };
}
pub(crate) use on_every_backend;

/// One process of the service.
pub struct Replica {
    pub process: Process,
    pub deps: Deps,
    pub client: Client,
}

/// The service with everything round it.
pub struct World {
    pub replicas: Vec<Replica>,
    pub bus: Arc<dyn Bus>,
    pub store: Arc<dyn Store>,
    heard: Arc<Mutex<Vec<Event>>>,
    place: Place,
}

impl World {
    /// One replica with the defaults; `None` if the servers are not there.
    pub async fn on(on: On) -> Option<Self> {
        Self::with(on, 1, Config::default(), ServerSettings::default).await
    }

    pub async fn with(
        on: On,
        replicas: usize,
        config: Config,
        server: impl Fn() -> ServerSettings,
    ) -> Option<Self> {
        Self::watched(on, replicas, config, server, |_, store| store).await
    }

    /// As [`Self::with`]; what each replica, by its number, has for a store is said by `watch`.
    pub async fn watched(
        on: On,
        replicas: usize,
        config: Config,
        server: impl Fn() -> ServerSettings,
        watch: impl Fn(usize, Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Option<Self> {
        let place = match on {
            On::Embedded => Place::embedded(),
            On::Servers => Place::real("w")?,
        };
        let mut all = Vec::new();
        for number in 0..replicas {
            let mut backends = place.backends().await;
            if all.is_empty() {
                backends.store.migrate(soon()).await.unwrap();
                assert_eq!(backends.bus.apply(soon()).await.unwrap(), []);
            }
            backends.store = watch(number, backends.store);
            all.push(replica(backends, place.deployment(), config.clone(), server()).await);
        }
        let (bus, store) = (all[0].deps.bus.clone(), all[0].deps.store.clone());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let world = Self {
            replicas: all,
            bus,
            store,
            heard,
            place,
        };
        world.listen().await;
        Some(world)
    }

    /// Collects everything that the service says.
    async fn listen(&self) {
        let stream = fleet_topology::stream("WORKFLOW_EVENTS").unwrap();
        let mut tail = self
            .bus
            .tail(stream, &["workflow.>"], soon())
            .await
            .unwrap();
        let heard = self.heard.clone();
        let shutdown = self.replicas[0].process.tasks.shutdown_token();
        self.replicas[0]
            .process
            .tasks
            .spawn("test_listener", async move {
                loop {
                    let next = tokio::select! {
                        () = shutdown.cancelled() => return,
                        next = tail.next() => next,
                    };
                    let Ok(message) = next else { return };
                    heard.lock().unwrap().push(decode(&message).unwrap());
                }
            });
    }

    pub fn client(&self) -> Client {
        self.replicas[0].client.clone()
    }

    /// The events about something that were said so far, as `subject` without its first word.
    pub fn heard(&self, aggregate: &str) -> Vec<Event> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|event| event.aggregate == aggregate)
            .cloned()
            .collect()
    }

    /// Waits until `n` events of a subject about something were said; gives them.
    pub async fn hears(&self, aggregate: &str, subject: &str, n: usize) -> Vec<Event> {
        self.eventually(&format!("{n} {subject} about {aggregate}"), async || {
            let all = self.heard(aggregate);
            let these: Vec<Event> = all.into_iter().filter(|e| e.subject == subject).collect();
            (these.len() >= n).then_some(these)
        })
        .await
    }

    /// Waits for a state.
    pub async fn eventually<T>(&self, what: &str, check: impl AsyncFn() -> Option<T>) -> T {
        fleet_testing::eventually(what, check).await
    }

    /// Says something as another service would.
    pub async fn say<P: Payload>(
        &self,
        source: &'static str,
        aggregate: &str,
        version: i64,
        payload: &P,
    ) {
        let event = self.event(source, aggregate, version, payload);
        self.publish(event).await;
    }

    pub fn event<P: Payload>(
        &self,
        source: &'static str,
        aggregate: &str,
        version: i64,
        payload: &P,
    ) -> OutboxEvent {
        let origin = Origin {
            source,
            correlation: "test".to_owned(),
            causation: String::new(),
            traceparent: String::new(),
        };
        origin.event(&SystemIds, SystemClock.now(), aggregate, version, payload)
    }

    /// Says anything at all.
    pub async fn say_raw(&self, subject: &str, body: &str) {
        self.publish(OutboxEvent {
            id: EventId::mint(SystemIds.uuid()),
            subject: subject.to_owned(),
            source: "test".to_owned(),
            aggregate: "test".to_owned(),
            aggregate_version: 0,
            time: SystemClock.now(),
            payload: body.to_owned(),
            correlation: "test".to_owned(),
            causation: String::new(),
            traceparent: String::new(),
        })
        .await;
    }

    pub async fn publish(&self, event: OutboxEvent) {
        for outcome in self.bus.publish(&[event], soon()).await {
            outcome.unwrap();
        }
    }

    /// Waits until something is parked whose reason has these words.
    pub async fn parked(&self, words: &str) -> Parked {
        self.eventually(&format!("parked: {words}"), async || {
            let parked = self.bus.parked(0, 1_000, soon()).await.unwrap();
            parked
                .into_iter()
                .find(|parked| parked.reason.contains(words))
        })
        .await
    }

    pub async fn state(&self, task: &TaskId) -> pb::GetWorkflowStateResponse {
        let request = pb::GetWorkflowStateRequest {
            task_id: task.to_string(),
        };
        self.client()
            .get_workflow_state(request)
            .await
            .unwrap()
            .into_inner()
    }

    /// Waits until a task is in a state; gives it.
    pub async fn reaches(&self, task: &TaskId, state: &str) -> pb::GetWorkflowStateResponse {
        self.eventually(&format!("{task} in {state}"), async || {
            let request = pb::GetWorkflowStateRequest {
                task_id: task.to_string(),
            };
            let found = self
                .client()
                .get_workflow_state(request)
                .await
                .ok()?
                .into_inner();
            (found.current_state == state).then_some(found)
        })
        .await
    }

    /// A story whose tasks are there: one for each entry, with the places of those that it
    /// builds on.
    pub async fn released(&self, tasks: &[&[usize]]) -> Released {
        let story = Released::new(tasks);
        self.say(
            "fleet-planning",
            story.id.as_str(),
            5,
            &story.release(1, "PLANNED"),
        )
        .await;
        for task in &story.tasks {
            self.reaches(task, "todo").await;
        }
        story
    }

    pub async fn stop(self) {
        for replica in self.replicas {
            fleet_testing::stop(replica.process).await;
        }
        self.place.close().await;
    }
}

async fn replica(
    backends: Backends,
    deployment: &str,
    config: Config,
    server: ServerSettings,
) -> Replica {
    let process = fleet_testing::process();
    let deps = process.attach(backends, Streams::Apply, deployment);
    let mounted = fleet_workflow::start(deps.clone(), config).unwrap();
    let address = fleet_testing::serve(&process, mounted, server).await;
    fleet_testing::ready(&process).await;
    let channel = Channel::from_shared(format!("http://{address}"))
        .unwrap()
        .connect()
        .await
        .unwrap();
    Replica {
        process,
        deps,
        client: Client::new(channel),
    }
}

/// A story with its tasks.
#[derive(Debug, Clone)]
pub struct Released {
    pub id: StoryId,
    pub tasks: Vec<TaskId>,
    builds_on: Vec<Vec<usize>>,
}

impl Released {
    pub fn new(tasks: &[&[usize]]) -> Self {
        let tag = SystemIds.uuid().simple().to_string();
        Self {
            id: StoryId::parse(&format!("s-{tag}")).unwrap(),
            tasks: (0..tasks.len())
                .map(|i| TaskId::parse(&format!("T-{tag}-{i}")).unwrap())
                .collect(),
            builds_on: tasks.iter().map(|on| on.to_vec()).collect(),
        }
    }

    pub fn specs(&self) -> Vec<ReleasedTask> {
        let specs = self
            .tasks
            .iter()
            .zip(&self.builds_on)
            .map(|(task, on)| ReleasedTask {
                task_id: task.clone(),
                priority: 1,
                role: None,
                depends_on: on.iter().map(|i| self.tasks[*i].clone()).collect(),
                title: String::new(),
            });
        specs.collect()
    }

    pub fn release(&self, execution: i64, from: &str) -> StoryTransitioned {
        self.moved(from, "READY_FOR_EXECUTION", execution, self.specs())
    }

    pub fn moved(
        &self,
        from: &str,
        to: &str,
        execution: i64,
        tasks: Vec<ReleasedTask>,
    ) -> StoryTransitioned {
        StoryTransitioned {
            story_id: self.id.clone(),
            from_state: from.to_owned(),
            to_state: to.to_owned(),
            transitioned_by: "po".to_owned(),
            reason: String::new(),
            execution,
            tasks,
            timestamp: Timestamp::from_millis(1_762_603_200_000),
        }
    }
}

pub fn claim(task: &TaskId, role: &str, agent: &str) -> pb::ClaimTaskRequest {
    pb::ClaimTaskRequest {
        task_id: task.to_string(),
        agent_id: agent.to_owned(),
        role: role.to_owned(),
        ..Default::default()
    }
}

pub fn act(task: &TaskId, role: &str, agent: &str, action: &str) -> pb::RequestValidationRequest {
    pb::RequestValidationRequest {
        task_id: task.to_string(),
        role: role.to_owned(),
        action: action.to_owned(),
        agent_id: agent.to_owned(),
        ..Default::default()
    }
}

pub fn commit(task: &TaskId, agent: &str, sha: &str) -> pb::RequestValidationRequest {
    let artifacts = [
        ("commit_sha", sha),
        ("branch", "main"),
        ("files_changed", "a.rs, b.rs"),
        ("tool", "x"),
    ];
    let artifacts = artifacts.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let result = pb::WorkResult {
        success: true,
        artifacts,
        reasoning: "did it".to_owned(),
        ..Default::default()
    };
    pb::RequestValidationRequest {
        result: Some(result),
        ..act(task, "developer", agent, "commit_code")
    }
}

pub fn reject(
    task: &TaskId,
    role: &str,
    agent: &str,
    action: &str,
    words: &str,
) -> pb::RequestValidationRequest {
    let result = pb::WorkResult {
        feedback: words.to_owned(),
        ..Default::default()
    };
    pb::RequestValidationRequest {
        result: Some(result),
        ..act(task, role, agent, action)
    }
}

/// Code and reason of a refusal.
pub fn why(status: &Status) -> (Code, String) {
    let reason = status
        .get_details_error_info()
        .map_or_else(String::new, |info| info.reason);
    (status.code(), reason)
}

/// A fact that came with a refusal.
pub fn fact(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info();
    info.and_then(|info| info.metadata.get(key).cloned())
        .unwrap_or_default()
}

/// The fields that a refusal names.
pub fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request();
    request.map_or_else(Vec::new, |r| {
        r.field_violations.into_iter().map(|v| v.field).collect()
    })
}
