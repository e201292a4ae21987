//! WatchTasks: one tail of the workflow's events for the whole process, told to every
//! watcher; a snapshot first, taken after the watcher began to listen, so that nothing falls
//! between the two.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use fleet_events::{Bus, decode, payload};
use fleet_graph::{Deadline, Index, Label, MAX_PAGE, NodeKey, ReadError, Scan};
use fleet_proto::workflow::v1 as pb;
use fleet_service::{Call, Fault, Tasks};
use fleet_types::{Role, StoryId, TaskId, Violations};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::engine::{Engine, Stored};
use crate::grpc::render;
use crate::rows::{HopRow, run_key};

/// What a caller of WatchTasks gets.
pub(crate) type Watch = ReceiverStream<Result<pb::WatchTasksResponse, Status>>;

/// The events behind changes. A task that became free says so by being assigned.
const SUBJECTS: [&str; 2] = ["workflow.state.changed", "workflow.task.assigned"];
/// Changes that a watcher may be behind before it is told to start again.
const BEHIND: usize = 1_024;
/// Messages between a watcher's task and its connection.
const IN_FLIGHT: usize = 64;
/// How long bus and store may take.
const WITHIN: Duration = Duration::from_secs(5);
/// Pause before a lost tail is opened again.
const REOPEN: Duration = Duration::from_millis(500);

#[derive(Clone)]
enum Told {
    Change(Arc<(Stored, Option<pb::StateTransitionDto>)>),
    /// Something may have been missed: whoever watches has to start again.
    Lost,
}

/// All watchers of a process.
pub(crate) struct Hub {
    engine: Arc<Engine>,
    told: broadcast::Sender<Told>,
    /// Whether the tail is open.
    live: watch::Sender<bool>,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Hub {
    /// At most `watchers` at a time.
    pub fn new(engine: Arc<Engine>, watchers: usize, shutdown: CancellationToken) -> Self {
        Self {
            engine,
            told: broadcast::Sender::new(BEHIND),
            live: watch::Sender::new(false),
            places: Arc::new(Semaphore::new(watchers)),
            shutdown,
        }
    }

    /// Follows the events and tells the watchers, until shutdown.
    pub async fn run(&self, bus: Arc<dyn Bus>) {
        let stream = fleet_topology::stream("WORKFLOW_EVENTS").expect("the topology has it");
        while !self.shutdown.is_cancelled() {
            let opened = bus.tail(stream, &SUBJECTS, Deadline::after(WITHIN)).await;
            if let Ok(mut tail) = opened {
                self.live.send_replace(true);
                loop {
                    let message = tokio::select! {
                        biased;
                        () = self.shutdown.cancelled() => return,
                        message = tail.next() => message,
                    };
                    let told = match message {
                        Err(_) => break,
                        Ok(message) if self.told.receiver_count() > 0 => self.look(&message).await,
                        Ok(_) => Ok(None),
                    };
                    match told {
                        Ok(Some(told)) => {
                            // Nobody listening is fine.
                            let _ = self.told.send(told);
                        }
                        Ok(None) => {}
                        Err(error) => {
                            tracing::warn!(%error, "watchers start again: a change could not be read");
                            let _ = self.told.send(Told::Lost);
                        }
                    }
                }
                self.live.send_replace(false);
                let _ = self.told.send(Told::Lost);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(REOPEN) => {}
            }
        }
    }

    /// The task that an event is about, as it is now. One read.
    async fn look(&self, message: &fleet_events::RawMessage) -> Result<Option<Told>, ReadError> {
        let Ok(event) = decode(message) else {
            return Ok(None);
        };
        let Ok(task) = TaskId::parse(&event.aggregate) else {
            return Ok(None);
        };
        let hop = event
            .payload::<payload::StateChanged>()
            .ok()
            .filter(|changed| changed.seq > 0);
        let mut keys = vec![run_key(&task)];
        if let Some(changed) = &hop {
            keys.push(NodeKey::new(
                Label::TaskTransition,
                format!("{task}/{:08}", changed.seq),
            ));
        }
        let store = self.engine.committer.store();
        let mut found = store.get(&keys, Deadline::after(WITHIN)).await?.into_iter();
        let Some(node) = found.next().flatten() else {
            return Ok(None);
        };
        let stored = self.engine.stored(&node)?;
        let hop = match found.next().flatten() {
            Some(node) => Some(render::hop(&HopRow::read(&node)?)?),
            None => None,
        };
        Ok(Some(Told::Change(Arc::new((stored, hop)))))
    }

    /// A new watcher.
    pub async fn watch(
        self: &Arc<Self>,
        tasks: &Tasks,
        call: &Call,
        message: pb::WatchTasksRequest,
    ) -> Result<Watch, Fault> {
        let mut v = Violations::new();
        let role: Option<Role> = v.parse_optional("role", &message.role);
        let story: Option<StoryId> = v.parse_optional("story_id", &message.story_id);
        v.into_result()?;
        let place = self
            .places
            .clone()
            .try_acquire_owned()
            .map_err(|_| Fault::Exhausted {
                message: "as many watchers as this server takes; try again later".to_owned(),
            })?;
        let told = self.told.subscribe();
        let mut live = self.live.subscribe();
        let wait = call.deadline.left().min(WITHIN);
        let opened = tokio::time::timeout(wait, live.wait_for(|live| *live)).await;
        if !matches!(opened, Ok(Ok(_))) {
            return Err(Fault::Unavailable { dependency: "bus" });
        }
        let (out, watched) = mpsc::channel(IN_FLIGHT);
        let watcher = Watcher {
            hub: self.clone(),
            filter: Filter { role, story },
            told,
            out,
            known: HashSet::new(),
            _place: place,
        };
        tasks.spawn("watch_tasks", watcher.run());
        Ok(ReceiverStream::new(watched))
    }
}

struct Filter {
    role: Option<Role>,
    story: Option<StoryId>,
}

struct Watcher {
    hub: Arc<Hub>,
    filter: Filter,
    told: broadcast::Receiver<Told>,
    out: mpsc::Sender<Result<pb::WatchTasksResponse, Status>>,
    /// The tasks that matched when they were told last.
    known: HashSet<TaskId>,
    _place: OwnedSemaphorePermit,
}

/// The caller is gone.
struct Gone;

impl Watcher {
    async fn run(mut self) {
        let shutdown = self.hub.shutdown.clone();
        let out = self.out.clone();
        let ended = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(Fault::Unavailable { dependency: "this server (it stops)" }),
            () = out.closed() => return,
            ended = self.tell() => ended,
        };
        if let Err(fault) = ended {
            // A caller who does not even read this learns it from the closed stream.
            let _ = out.send_timeout(Err(fault.into()), WITHIN).await;
        }
    }

    async fn tell(&mut self) -> Result<(), Fault> {
        if self.snapshot().await?.is_err() {
            return Ok(());
        }
        loop {
            match self.told.recv().await {
                Ok(Told::Change(change)) => {
                    if self.change(&change.0, change.1.clone()).await.is_err() {
                        return Ok(());
                    }
                }
                Ok(Told::Lost) | Err(broadcast::error::RecvError::Closed) => {
                    return Err(Fault::Unavailable { dependency: "bus" });
                }
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    let message =
                        format!("the watcher reads too slowly and missed {missed} changes");
                    return Err(Fault::Exhausted { message });
                }
            }
        }
    }

    /// Every task that matches. One read for each 1,000 tasks of the story, or of each state
    /// in which it may be the role's turn.
    async fn snapshot(&mut self) -> Result<Result<(), Gone>, Fault> {
        let machine = self.hub.engine.machine.clone();
        let listings: Vec<Scan> = match (&self.filter.story, self.filter.role) {
            (Some(story), _) => {
                vec![Scan::new(
                    Index::TaskRunsByStory,
                    vec![story.as_str().into()],
                    MAX_PAGE,
                )]
            }
            (None, None) => vec![Scan::new(Index::TaskRuns, Vec::new(), MAX_PAGE)],
            // Any role may stand in for the developer of a task.
            (None, Some(role)) => machine
                .states()
                .filter(|(_, state)| {
                    state.role == Some(role) || state.role == Some(Role::Developer)
                })
                .map(|(_, state)| {
                    Scan::new(
                        Index::TaskRunsByState,
                        vec![state.name.as_str().into()],
                        MAX_PAGE,
                    )
                })
                .collect(),
        };
        for mut scan in listings {
            loop {
                let store = self.hub.engine.committer.store().clone();
                let page = store.scan(&scan, Deadline::after(WITHIN)).await?;
                for node in &page.nodes {
                    let stored = self.hub.engine.stored(node).map_err(Fault::internal)?;
                    if !self.matches(&stored) {
                        continue;
                    }
                    self.known.insert(stored.run.task.clone());
                    let message = self.message(pb::WatchKind::Snapshot, Some(&stored), None, true);
                    if self.out.send(Ok(message)).await.is_err() {
                        return Ok(Err(Gone));
                    }
                }
                match page.nodes.last() {
                    Some(last) if page.more => scan.after = Some(last.ord.clone()),
                    _ => break,
                }
            }
        }
        let end = self.message(pb::WatchKind::SnapshotEnd, None, None, false);
        Ok(self.out.send(Ok(end)).await.map_err(|_| Gone))
    }

    async fn change(
        &mut self,
        stored: &Stored,
        hop: Option<pb::StateTransitionDto>,
    ) -> Result<(), Gone> {
        let matches = self.matches(stored);
        let knew = if matches {
            !self.known.insert(stored.run.task.clone())
        } else {
            self.known.remove(&stored.run.task)
        };
        if !matches && !knew {
            return Ok(());
        }
        let message = self.message(pb::WatchKind::Change, Some(stored), hop, matches);
        self.out.send(Ok(message)).await.map_err(|_| Gone)
    }

    fn matches(&self, stored: &Stored) -> bool {
        let machine = &self.hub.engine.machine;
        let Filter { role, story } = &self.filter;
        story
            .as_ref()
            .is_none_or(|story| *story == stored.run.story)
            && role.is_none_or(|role| stored.run.role_in_charge(machine) == Some(role))
    }

    fn message(
        &self,
        kind: pb::WatchKind,
        stored: Option<&Stored>,
        transition: Option<pb::StateTransitionDto>,
        matches: bool,
    ) -> pb::WatchTasksResponse {
        let machine = &self.hub.engine.machine;
        pb::WatchTasksResponse {
            kind: kind.into(),
            task: stored.map(|stored| render::view(machine, &stored.run, stored.version)),
            transition,
            matches,
        }
    }
}
