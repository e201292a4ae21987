//! Stories as they were last read, so that the next question about one (another role, task or
//! budget) need not read all of it again.
//!
//! Nothing is believed because of it: what is made from a remembered story is made together
//! with the versions that the graph has now, and only holds if those are the remembered ones.

use std::sync::{Arc, Mutex, PoisonError};

use fleet_graph::{Digested, Node};
use fleet_types::StoryId;
use lru::LruCache;

use crate::domain::StoryGraph;

/// Most bytes of all remembered stories together; a larger one is not remembered. A decision
/// takes some 700 bytes, unless its title is a long one.
const MOST_BYTES: usize = 16 << 20;

/// A story, and the versions that it was read at.
#[derive(Debug)]
pub(crate) struct Remembered {
    /// Light rows of all.
    pub graph: Arc<StoryGraph>,
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
        size_of::<Self>() + self.graph.size() + warnings.sum::<usize>()
    }
}

/// The remembered stories; the least recently asked for are forgotten.
#[derive(Debug)]
pub(crate) struct Stories(Mutex<Held>);

#[derive(Debug)]
struct Held {
    /// With the bytes that each takes.
    stories: LruCache<StoryId, (Arc<Remembered>, usize)>,
    bytes: usize,
}

impl Stories {
    pub fn new() -> Self {
        Self(Mutex::new(Held {
            stories: LruCache::unbounded(),
            bytes: 0,
        }))
    }

    /// The story, if it is remembered.
    pub fn get(&self, story: &StoryId) -> Option<Arc<Remembered>> {
        self.held(|held| held.stories.get(story).map(|(read, _)| read.clone()))
    }

    /// Remembers a story.
    pub fn put(&self, story: &StoryId, read: Remembered) {
        let bytes = read.bytes();
        if bytes > MOST_BYTES {
            // What it was is overtaken by what it has become.
            drop(self.held(|held| held.forget(story)));
            return;
        }
        let read = Arc::new(read);
        // To let go of a thousand rows takes a while: not while others wait.
        let gone = self.held(|held| {
            let mut gone = Vec::from_iter(held.forget(story));
            held.bytes += bytes;
            held.stories.put(story.clone(), (read, bytes));
            while held.bytes > MOST_BYTES {
                let oldest = held.stories.peek_lru().map(|(oldest, _)| oldest.clone());
                let oldest = oldest.expect("without any there are no bytes");
                gone.extend(held.forget(&oldest));
            }
            gone
        });
        drop(gone);
    }

    /// Forgets a story that is remembered at other versions than these.
    pub fn forget_unless(&self, story: &StoryId, digested: &Digested) {
        let gone = self.held(|held| {
            let (known, _) = held.stories.peek(story)?;
            let overtaken = known.digested != *digested;
            overtaken.then(|| held.forget(story)).flatten()
        });
        drop(gone);
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Held {
    fn forget(&mut self, story: &StoryId) -> Option<Arc<Remembered>> {
        let (read, bytes) = self.stories.pop(story)?;
        self.bytes -= bytes;
        Some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Entity, Item};

    /// A story with a title of so many bytes.
    fn story(id: &str, version: i64, title: usize) -> (StoryId, Remembered) {
        let props = serde_json::json!({ "story_id": id, "title": "t".repeat(title) });
        let item = Item::read(Entity::Story, props.as_object().unwrap().clone(), "").unwrap();
        let remembered = Remembered {
            graph: Arc::new(StoryGraph::new(item)),
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
        let stories = Stories::new();
        for id in ["s-1", "s-2", "s-3"] {
            let (id, read) = story(id, 1, MOST_BYTES / 3 - 4_096);
            stories.put(&id, read);
        }
        let [one, two, three] = ["s-1", "s-2", "s-3"].map(|id| StoryId::parse(id).unwrap());
        assert!(stories.get(&one).is_some(), "all three have room");
        let (four, read) = story("s-4", 1, 64 << 10);
        stories.put(&four, read);
        assert!(stories.get(&two).is_none(), "it was asked for longest ago");
        assert!(stories.get(&one).is_some() && stories.get(&three).is_some());
        let (five, read) = story("s-5", 1, MOST_BYTES);
        stories.put(&five, read);
        assert!(stories.get(&five).is_none() && stories.get(&four).is_some());
        let (_, read) = story("s-4", 2, MOST_BYTES);
        stories.put(&four, read);
        assert!(stories.get(&four).is_none(), "it has become endless");
        let held = stories.held(|held| held.bytes);
        assert!((MOST_BYTES / 2..MOST_BYTES).contains(&held), "{held}");
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
    fn other_versions_are_forgotten() {
        let stories = Stories::new();
        let (id, read) = story("s-1", 7, 0);
        let same = read.digested.clone();
        stories.put(&id, read);
        stories.forget_unless(&id, &same);
        assert!(stories.get(&id).is_some());
        stories.forget_unless(&id, &Digested::default());
        assert!(stories.get(&id).is_none());
        assert_eq!(stories.held(|held| held.bytes), 0);
    }
}
