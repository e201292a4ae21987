//! One tail of every stream that says something about stories, for the whole process: it looks
//! once at what an event is about and tells all who watch that story.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fleet_events::{Bus, Event, RawMessage, decode};
use fleet_graph::{Deadline, Node, NodeKey, ReadError, Store, Walk};
use fleet_types::StoryId;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::heard::Heard;
use super::items::{self, Corrupt};
use super::metrics::ReadMetrics;
use super::version::{Seen, digest_of, graph_version};
use crate::domain::{Entity, Item, Key};
use crate::rows;

const UPDATED: &str = "context.events.updated";

/// The stream of which only watchers want to hear.
const WORKFLOW: &str = "WORKFLOW_EVENTS";

/// What is followed, by stream.
pub(crate) const FOLLOWED: [(&str, &[&str]); 3] = [
    ("CONTEXT", &[UPDATED]),
    (WORKFLOW, &["workflow.state.changed"]),
    (
        "PLANNING_EVENTS",
        &[
            "planning.story.updated",
            "planning.story.transitioned",
            "planning.task.created",
            "planning.plan.approved",
        ],
    ),
];

/// Changes that a watcher may be behind before it is told to start again.
const BEHIND: usize = 1_024;
/// Things that one event may be about; a call changes at most so many.
const MOST_CHANGED: usize = 1_000;
/// How long bus and store may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(5);
/// Pause before a lost tail is opened again.
const REOPEN: Duration = Duration::from_millis(500);

/// A change of a story, as all of its watchers are told.
#[derive(Debug)]
pub(crate) struct Change {
    pub story: StoryId,
    /// Of the story's context.
    pub version: i64,
    pub phase: String,
    pub hash: String,
    pub graph_version: String,
    pub changed: Vec<Changed>,
}

/// One thing that changed.
#[derive(Debug)]
pub(crate) struct Changed {
    /// `decision:DEC-…`, ….
    pub word: String,
    /// What decides who may hear of it; `None`: it is gone, or does not read as its kind.
    pub item: Option<Item>,
}

#[derive(Debug, Clone)]
pub(crate) enum Told {
    Change(Arc<Change>),
    /// A change of this story could not be read: whoever watches it has to start again.
    Missed(StoryId),
    /// Anything may have been missed: whoever watches has to start again.
    Lost,
}

/// All watchers of a process.
pub(crate) struct Hub {
    store: Arc<dyn Store>,
    counted_by: String,
    metrics: ReadMetrics,
    told: broadcast::Sender<Told>,
    /// How many tails are open.
    live: watch::Sender<usize>,
    places: Arc<Semaphore>,
    watched: Arc<Mutex<HashMap<StoryId, usize>>>,
    /// What all of that says about versions.
    pub heard: Heard,
    pub shutdown: CancellationToken,
}

/// A place among the watchers, and the story it is for.
pub(crate) struct Seat {
    pub told: broadcast::Receiver<Told>,
    story: StoryId,
    watched: Arc<Mutex<HashMap<StoryId, usize>>>,
    _place: OwnedSemaphorePermit,
}

/// What an event of any of these streams says about whom.
#[derive(Deserialize)]
struct About {
    story_id: StoryId,
    #[serde(default)]
    task_id: Option<String>,
    #[serde(default)]
    plan_id: Option<String>,
    #[serde(default)]
    version: i64,
    #[serde(default)]
    hash: String,
    #[serde(default)]
    changed: Vec<String>,
}

fn lock(watched: &Mutex<HashMap<StoryId, usize>>) -> MutexGuard<'_, HashMap<StoryId, usize>> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hub {
    /// At most `watchers` at a time.
    pub fn new(
        store: Arc<dyn Store>,
        counted_by: String,
        metrics: ReadMetrics,
        watchers: usize,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            store,
            counted_by,
            metrics,
            told: broadcast::Sender::new(BEHIND),
            live: watch::Sender::new(0),
            places: Arc::new(Semaphore::new(watchers)),
            watched: Arc::default(),
            heard: Heard::new(),
            shutdown,
        }
    }

    /// Follows the streams and tells the watchers, until shutdown.
    pub async fn run(&self, bus: Arc<dyn Bus>) {
        self.live.send_replace(0);
        let each = FOLLOWED.map(|(stream, subjects)| self.follow(&*bus, stream, subjects));
        futures::future::join_all(each).await;
    }

    async fn follow(&self, bus: &dyn Bus, stream: &str, subjects: &[&str]) {
        let stream = fleet_topology::stream(stream).expect("the topology has it");
        while !self.shutdown.is_cancelled() {
            let opened = bus.tail(stream, subjects, Deadline::after(WITHIN)).await;
            if let Ok(mut tail) = opened {
                self.live.send_modify(|live| *live += 1);
                loop {
                    let message = tokio::select! {
                        biased;
                        () = self.shutdown.cancelled() => return,
                        message = tail.next() => message,
                    };
                    let Ok(message) = message else { break };
                    // There is one for every step of every task, and only watchers care.
                    if stream.name == WORKFLOW && lock(&self.watched).is_empty() {
                        continue;
                    }
                    self.hear(&message).await;
                }
                self.live.send_modify(|live| *live -= 1);
                let _ = self.told.send(Told::Lost);
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = tokio::time::sleep(REOPEN) => {}
            }
        }
    }

    async fn hear(&self, message: &RawMessage) {
        let Ok(event) = decode(message) else { return };
        let Ok(about) = event.payload::<About>() else {
            return;
        };
        // Other events do not say which version of the node they speak of.
        let (mut seen, said) = (Seen::default(), about.version);
        match event.subject.as_str() {
            UPDATED => seen.context = said,
            "planning.story.updated" => seen.story = said,
            _ => {}
        }
        self.heard.note(&about.story_id, seen);
        if !lock(&self.watched).contains_key(&about.story_id) {
            return;
        }
        let story = about.story_id.clone();
        let told = match self.look(&event, about).await {
            Ok(Some(change)) => Told::Change(Arc::new(change)),
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%story, %error, "its watchers start again: a change could not be read");
                Told::Missed(story)
            }
        };
        // Nobody listening is fine.
        let _ = self.told.send(told);
    }

    /// What an event is about, as it is now. One read; two more if a row of it cannot be read.
    async fn look(&self, event: &Event, about: About) -> Result<Option<Change>, ReadError> {
        let of_context = event.subject == UPDATED;
        let story = about.story_id;
        let words = match (of_context, about.task_id, about.plan_id) {
            (true, ..) => about.changed,
            (false, Some(task), _) => vec![format!("task:{task}")],
            (false, None, Some(plan)) => vec![format!("plan:{plan}")],
            (false, None, None) => vec![format!("story:{story}")],
        };
        let mut keys = vec![rows::context(&story)];
        let words: Vec<(String, Option<usize>)> = words
            .into_iter()
            .take(MOST_CHANGED)
            .map(|word| {
                let at = key_of(&story, &word).map(|key| {
                    keys.push(key);
                    keys.len() - 1
                });
                (word, at)
            })
            .collect();
        let deadline = Deadline::after(WITHIN);
        let digest = digest_of(&story);
        let (digested, nodes) = match self.store.digest(&digest, &keys, deadline).await {
            Err(ReadError::Corrupt(_)) => {
                // In the order in which a digest reads: the versions last.
                let nodes = self.readable(&keys, deadline).await?;
                let (digested, _) = self.store.digest(&digest, &[], deadline).await?;
                (digested, nodes)
            }
            read => read?,
        };
        let Some(graph_version) = graph_version(&digested) else {
            return Ok(None);
        };
        let context = nodes.first().and_then(Option::as_ref);
        let changed = words
            .into_iter()
            .map(|(word, at)| Changed {
                item: at.and_then(|at| self.item(nodes.get(at)?.as_ref()?)),
                word,
            })
            .collect();
        let now = context.map_or(0, |node| node.version);
        Ok(Some(Change {
            // What was read may be newer than what was said; then that is told, too.
            version: if of_context { about.version } else { now },
            phase: phase_of(context),
            hash: if of_context {
                about.hash
            } else {
                String::new()
            },
            graph_version,
            changed,
            story,
        }))
    }

    /// The nodes with these keys, the context's first, as far as they can be read. Without the
    /// context there is nothing to tell.
    async fn readable(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        let walk = Walk {
            roots: keys.to_vec(),
            steps: Vec::new(),
            max_nodes: keys.len(),
        };
        let found = self.store.walk(&walk, deadline).await?;
        for row in found.corrupt {
            if keys.first() == Some(&row.key) {
                return Err(row.into());
            }
            self.left_out(&Corrupt::from(&row));
        }
        let nodes = found.nodes.into_iter();
        let nodes: HashMap<NodeKey, Node> = nodes.map(|node| (node.key.clone(), node)).collect();
        Ok(keys.iter().map(|key| nodes.get(key).cloned()).collect())
    }

    fn item(&self, node: &Node) -> Option<Item> {
        let read = items::item(node.clone(), &self.counted_by);
        read.inspect_err(|corrupt| self.left_out(corrupt)).ok()
    }

    fn left_out(&self, corrupt: &Corrupt) {
        self.metrics.corrupt(corrupt.key.label());
        let (key, problem) = (&corrupt.key, &corrupt.problem);
        tracing::warn!(%key, problem, "a change of a row that cannot be read is not told");
    }

    /// A place for one more watcher of a story; `None`: there is none.
    pub fn sit(&self, story: &StoryId) -> Option<Seat> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        *lock(&self.watched).entry(story.clone()).or_default() += 1;
        Some(Seat {
            told: self.told.subscribe(),
            story: story.clone(),
            watched: self.watched.clone(),
            _place: place,
        })
    }

    /// Waits until every stream is followed; `false` if that takes longer than `wait`.
    pub async fn is_live(&self, wait: Duration) -> bool {
        let mut live = self.live.subscribe();
        let all = live.wait_for(|live| *live == FOLLOWED.len());
        matches!(tokio::time::timeout(wait, all).await, Ok(Ok(_)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut watched = lock(&self.watched);
        if let Some(count) = watched.get_mut(&self.story) {
            *count -= 1;
            if *count == 0 {
                watched.remove(&self.story);
            }
        }
    }
}

/// The phase that a story's context is in; empty without one.
pub(crate) fn phase_of(context: Option<&Node>) -> String {
    let phase = context.and_then(|node| node.props.get("phase")?.as_str());
    phase.unwrap_or_default().to_owned()
}

/// Where that of which a word speaks is stored.
fn key_of(story: &StoryId, word: &str) -> Option<NodeKey> {
    let (kind, id) = word.split_once(':')?;
    let entity = match kind {
        "decision" => Entity::Decision,
        "task" => Entity::Task,
        "milestone" => Entity::Milestone,
        "summary" => Entity::Summary,
        "story" | "phase" => Entity::Story,
        "plan" => Entity::Plan,
        "epic" => Entity::Epic,
        _ => return None,
    };
    // A phase is the story's: who sees the one hears of the other.
    let id = if entity == Entity::Story {
        story.as_str()
    } else {
        id
    };
    items::node_key(story, &Key::new(entity, id))
}
