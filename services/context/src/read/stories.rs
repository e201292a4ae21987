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

/// Most items of all remembered stories together, at one or two KiB each; a story with more is
/// not remembered.
const MOST_ITEMS: usize = 10_000;

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
    fn items(&self) -> usize {
        let graph = &self.graph;
        let rows = [
            &graph.plans,
            &graph.tasks,
            &graph.runs,
            &graph.decisions,
            &graph.reviews,
            &graph.milestones,
            &graph.phases,
            &graph.summaries,
        ];
        1 + rows.into_iter().map(Vec::len).sum::<usize>() + graph.edges.len() / 4
    }
}

/// The remembered stories; the least recently asked for are forgotten.
#[derive(Debug)]
pub(crate) struct Stories(Mutex<Held>);

#[derive(Debug)]
struct Held {
    stories: LruCache<StoryId, Arc<Remembered>>,
    items: usize,
}

impl Stories {
    pub fn new() -> Self {
        Self(Mutex::new(Held {
            stories: LruCache::unbounded(),
            items: 0,
        }))
    }

    /// The story, if it is remembered.
    pub fn get(&self, story: &StoryId) -> Option<Arc<Remembered>> {
        self.held(|held| held.stories.get(story).cloned())
    }

    /// Remembers a story.
    pub fn put(&self, story: &StoryId, read: Remembered) {
        let items = read.items();
        if items > MOST_ITEMS {
            return;
        }
        self.held(|held| {
            held.items += items;
            if let Some(old) = held.stories.put(story.clone(), Arc::new(read)) {
                held.items -= old.items();
            }
            while held.items > MOST_ITEMS {
                let (_, oldest) = held
                    .stories
                    .pop_lru()
                    .expect("without any there are no items");
                held.items -= oldest.items();
            }
        });
    }

    /// Forgets a story that is remembered at other versions than these.
    pub fn forget_unless(&self, story: &StoryId, digested: &Digested) {
        self.held(|held| {
            let known = held.stories.peek(story);
            if known.is_some_and(|known| known.digested != *digested)
                && let Some(old) = held.stories.pop(story)
            {
                held.items -= old.items();
            }
        });
    }

    fn held<T>(&self, look: impl FnOnce(&mut Held) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Entity, Item};

    fn story(id: &str, version: i64, edges: usize) -> (StoryId, Remembered) {
        let props = serde_json::json!({ "story_id": id, "title": "t" });
        let item = Item::read(Entity::Story, props.as_object().unwrap(), "").unwrap();
        let mut graph = StoryGraph::new(item);
        let edge = crate::domain::DecisionEdge {
            from: "DEC-1".into(),
            kind: crate::domain::RelationKind::DependsOn,
            to: "DEC-2".into(),
        };
        graph.edges = vec![edge; edges];
        let remembered = Remembered {
            graph: Arc::new(graph),
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
            let (id, read) = story(id, 1, 4 * (MOST_ITEMS / 3 - 1));
            stories.put(&id, read);
        }
        let [one, two, three] = ["s-1", "s-2", "s-3"].map(|id| StoryId::parse(id).unwrap());
        assert!(stories.get(&one).is_some(), "all three have room");
        let (four, read) = story("s-4", 1, 4 * 10);
        stories.put(&four, read);
        assert!(stories.get(&two).is_none(), "it was asked for longest ago");
        assert!(stories.get(&one).is_some() && stories.get(&three).is_some());
        let (five, read) = story("s-5", 1, 4 * MOST_ITEMS);
        stories.put(&five, read);
        assert!(stories.get(&five).is_none() && stories.get(&four).is_some());
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
        assert_eq!(stories.held(|held| held.items), 0);
    }
}
