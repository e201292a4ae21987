//! Stories as they were last read, so that the next question about one (another role, task or
//! budget) need not read all of it again.
//!
//! Nothing is believed because of it: what is made from a remembered story is made together
//! with the versions that the graph has now, and only holds if those are the remembered ones.
//!
//! Of a story that changed, what is remembered of its decisions is a [`Base`]: those that did not
//! change need not be read again. That it was enough is told by the story's context, which counts
//! its decisions and their versions.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use fleet_graph::{Digested, Node, Versions};
use fleet_types::StoryId;
use lru::LruCache;

use super::version::counted;
use crate::domain::pack::{DecisionEdge, StoryGraph, WholeRows};
use crate::domain::{Entity, Id, Item};

/// Most bytes of the whole rows of one story; more are not remembered.
const MOST_WHOLE: usize = 1 << 20;

/// A story, and the versions that it was read at.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// Light rows of all; decisions in order of their ids.
    pub graph: Arc<StoryGraph>,
    /// The versions of the decisions, in that order.
    pub versions: Vec<i64>,
    /// Rows that were read whole.
    pub whole: WholeRows,
    /// The versions of all that.
    pub digested: Digested,
    /// The context's own row.
    pub context: Option<Node>,
    /// What was said about the reading.
    pub warnings: Vec<String>,
}

impl Remembered {
    fn bytes(&self) -> usize {
        let warnings = self
            .warnings
            .iter()
            .map(|told| told.len() + size_of::<String>());
        size_of::<Self>()
            + self.graph.size()
            + self.versions.len() * size_of::<i64>()
            + bytes_of(&self.whole)
            + warnings.sum::<usize>()
    }
}

fn bytes_of(rows: &WholeRows) -> usize {
    let entry = size_of::<(crate::domain::Key, Arc<Item>)>();
    rows.values().map(|item| item.size() + entry).sum()
}

/// These rows, unless they are too much.
pub(crate) fn worth_keeping(rows: &WholeRows) -> WholeRows {
    match bytes_of(rows) <= MOST_WHOLE {
        true => rows.clone(),
        false => WholeRows::new(),
    }
}

/// Decisions with where they lead.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// With their versions.
    pub rows: Vec<(Item, i64)>,
    /// What starts at them.
    pub edges: Vec<DecisionEdge>,
}

impl Decided {
    /// What a digest would say of them.
    pub fn versions(&self) -> Versions {
        Versions {
            nodes: self.rows.len() as u64,
            sum: self.rows.iter().map(|(_, version)| version).sum(),
        }
    }

    /// In order of their ids.
    pub fn sort(&mut self) {
        self.rows.sort_by(|(a, _), (b, _)| a.id().cmp(b.id()));
    }
}

/// What was known of a story's decisions before it changed.
#[derive(Debug)]
pub(crate) struct Base {
    /// The version of the story's context then: what changed later says a larger one.
    pub since: i64,
    decided: Decided,
    whole: WholeRows,
}

impl Base {
    /// From what is remembered of the story; `None` if that does not say how old it is, or if
    /// nothing would tell whether it is enough.
    pub fn of(read: Arc<Remembered>) -> Option<Self> {
        let context = read.context.as_ref()?;
        counted(context)?;
        let since = context.version;
        // Nobody else has it, mostly.
        let (graph, versions, mut whole) = match Arc::try_unwrap(read) {
            Ok(read) => (read.graph, read.versions, read.whole),
            Err(read) => (
                read.graph.clone(),
                read.versions.clone(),
                read.whole.clone(),
            ),
        };
        let graph = Arc::unwrap_or_clone(graph);
        whole.retain(|key, _| key.entity == Entity::Decision);
        Some(Self {
            since,
            decided: Decided {
                rows: graph.decisions.into_iter().zip(versions).collect(),
                edges: graph.edges,
            },
            whole,
        })
    }

    /// The decisions as they are now, in order of ids, from what was read of those that changed;
    /// with the whole rows that still hold.
    pub fn with(self, newer: Decided) -> (Decided, WholeRows) {
        let Self {
            decided: older,
            mut whole,
            ..
        } = self;
        let changed = newer.rows.iter().map(|(row, _)| row.key().id.clone());
        let changed: BTreeSet<Id> = changed.collect();
        whole.retain(|key, _| !changed.contains(&key.id));
        let of_older = |edge: &DecisionEdge| !changed.contains(&edge.from);
        let mut now = newer;
        let older_edges = older.edges.into_iter().filter(of_older);
        now.edges.extend(older_edges);
        let unchanged = |(row, _): &(Item, i64)| !changed.contains(&row.key().id);
        now.rows.extend(older.rows.into_iter().filter(unchanged));
        now.sort();
        (now, whole)
    }
}

/// The remembered stories; the least recently asked for are forgotten.
#[derive(Debug)]
pub(crate) struct Stories(Mutex<Held>);

#[derive(Debug)]
struct Held {
    stories: LruCache<StoryId, Entry>,
    /// Of all of them.
    bytes: usize,
    /// Most of all of them together; a larger story is not remembered. A decision takes some 700
    /// bytes, unless its title is a long one.
    most_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    read: Arc<Remembered>,
    bytes: usize,
    /// Whether the story is known to have changed since.
    overtaken: bool,
}

impl Stories {
    /// That take at most so many bytes.
    pub fn new(most_bytes: usize) -> Self {
        Self(Mutex::new(Held {
            stories: LruCache::unbounded(),
            bytes: 0,
            most_bytes,
        }))
    }

    /// The story, if it is remembered and may still be like that.
    pub fn get(&self, story: &StoryId) -> Option<Arc<Remembered>> {
        self.held(|held| {
            let entry = held.stories.get(story)?;
            (!entry.overtaken).then(|| entry.read.clone())
        })
    }

    /// What is remembered of a story that has changed since, for the last time.
    pub fn take_overtaken(&self, story: &StoryId) -> Option<Arc<Remembered>> {
        self.held(|held| {
            let entry = held.stories.peek(story)?;
            entry.overtaken.then(|| held.forget(story)).flatten()
        })
    }

    /// Remembers a story.
    pub fn put(&self, story: &StoryId, read: Remembered) {
        let bytes = read.bytes();
        let read = Arc::new(read);
        // To let go of a thousand rows takes a while: not while others wait.
        let gone = self.held(|held| {
            // What it was is overtaken by what it has become.
            let mut gone = Vec::from_iter(held.forget(story));
            if bytes > held.most_bytes {
                return gone;
            }
            held.bytes += bytes;
            let entry = Entry {
                read,
                bytes,
                overtaken: false,
            };
            held.stories.put(story.clone(), entry);
            while held.bytes > held.most_bytes {
                let oldest = held.stories.peek_lru().map(|(oldest, _)| oldest.clone());
                let oldest = oldest.expect("without any there are no bytes");
                gone.extend(held.forget(&oldest));
            }
            gone
        });
        drop(gone);
    }

    /// Says which versions a story has now: remembered at others, it is only good for
    /// [`Self::take_overtaken`].
    pub fn now_at(&self, story: &StoryId, digested: &Digested) {
        self.overtake_if(story, |read| read.digested != *digested);
    }

    /// Says that a story has changed, whatever it is like now.
    pub fn overtake(&self, story: &StoryId) {
        self.overtake_if(story, |_| true);
    }

    fn overtake_if(&self, story: &StoryId, changed: impl FnOnce(&Remembered) -> bool) {
        self.held(|held| {
            if let Some(entry) = held.stories.peek_mut(story) {
                entry.overtaken |= changed(&entry.read);
            }
        });
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn forget(&mut self, story: &StoryId) -> Option<Arc<Remembered>> {
        let entry = self.stories.pop(story)?;
        self.bytes -= entry.bytes;
        Some(entry.read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 16 << 20;
    use crate::domain::{Entity, Item};

    /// A story with a title of so many bytes.
    fn story(id: &str, version: i64, title: usize) -> (StoryId, Remembered) {
        let props = serde_json::json!({ "story_id": id, "title": "t".repeat(title) });
        let item = Item::read(Entity::Story, props.as_object().unwrap().clone(), "").unwrap();
        let remembered = Remembered {
            graph: Arc::new(StoryGraph::new(item)),
            versions: Vec::new(),
            whole: WholeRows::new(),
            digested: Digested {
                root: Some(version),
                paths: Vec::new(),
            },
            context: None,
            warnings: Vec::new(),
        };
        (StoryId::parse(id).unwrap(), remembered)
    }

    #[test]
    fn the_least_recently_asked_for_makes_room_and_the_endless_is_not_kept() {
        let stories = Stories::new(MOST);
        for id in ["s-1", "s-2", "s-3"] {
            let (id, read) = story(id, 1, MOST / 3 - 4_096);
            stories.put(&id, read);
        }
        let [one, two, three] = ["s-1", "s-2", "s-3"].map(|id| StoryId::parse(id).unwrap());
        assert!(stories.get(&one).is_some(), "all three have room");
        let (four, read) = story("s-4", 1, 64 << 10);
        stories.put(&four, read);
        assert!(stories.get(&two).is_none(), "it was asked for longest ago");
        assert!(stories.get(&one).is_some() && stories.get(&three).is_some());
        let (five, read) = story("s-5", 1, MOST);
        stories.put(&five, read);
        assert!(stories.get(&five).is_none() && stories.get(&four).is_some());
        let (_, read) = story("s-4", 2, MOST);
        stories.put(&four, read);
        assert!(stories.get(&four).is_none(), "it has become endless");
        let held = stories.held(|held| held.bytes);
        assert!((MOST / 2..MOST).contains(&held), "{held}");
    }

    #[test]
    fn a_story_takes_what_its_rows_take() {
        let (_, read) = story("s-1", 1, 0);
        let empty = read.bytes();
        let mut graph = Arc::unwrap_or_clone(read.graph.clone());
        for n in 0..1_000 {
            let row = serde_json::json!({
                "decision_id": format!("DEC-{n:040}"), "story_id": "s-1", "title": "t".repeat(100),
            });
            let row = Item::read(Entity::Decision, row.as_object().unwrap().clone(), "").unwrap();
            graph.edges.push(crate::domain::DecisionEdge {
                from: row.key().id.clone(),
                kind: crate::domain::RelationKind::DependsOn,
                to: "DEC-2".into(),
            });
            graph.decisions.push(row);
        }
        let graph = Arc::new(graph);
        let grown = Remembered { graph, ..read }.bytes() - empty;
        // At the least the texts, at the most what any allocator would make of them.
        assert!((185_000..1_000_000).contains(&grown), "{grown}");
    }

    #[test]
    fn what_was_overtaken_is_only_a_base() {
        let stories = Stories::new(MOST);
        let (id, read) = story("s-1", 7, 0);
        let same = read.digested.clone();
        stories.put(&id, read);
        stories.now_at(&id, &same);
        assert!(stories.get(&id).is_some() && stories.take_overtaken(&id).is_none());
        stories.now_at(&id, &Digested::default());
        assert!(stories.get(&id).is_none());
        assert!(stories.take_overtaken(&id).is_some());
        assert!(stories.take_overtaken(&id).is_none());
        assert_eq!(stories.held(|held| held.bytes), 0);
    }
}
