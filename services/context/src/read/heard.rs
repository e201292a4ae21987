//! Which versions of stories were heard of: what is kept and surely older need not be compared
//! with the store. Only a hint: what was not heard of is found out by asking.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use fleet_graph::{Commit, Label, NodeWrite};
use fleet_types::StoryId;
use lru::LruCache;

use super::version::Seen;

/// Stories that are remembered, the last ones heard of.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).expect("not zero");

/// The newest versions that were heard of.
#[derive(Debug)]
pub(crate) struct Heard(Mutex<LruCache<StoryId, Seen>>);

impl Heard {
    pub fn new() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }

    /// Somebody said that a story is at these versions; 0 is no news.
    pub fn note(&self, story: &StoryId, seen: Seen) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = heard.get_or_insert_mut(story.clone(), Seen::default);
        known.story = known.story.max(seen.story);
        known.context = known.context.max(seen.context);
    }

    /// A story was seen at these versions, whatever was said: what somebody says by mistake
    /// costs time once.
    pub fn settle(&self, story: &StoryId, seen: Seen) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = heard.get_mut(story) {
            *known = seen;
        }
    }

    /// Whether what was made from this version of the graph is surely older than the story.
    pub fn overtook(&self, story: &StoryId, graph_version: &str) -> bool {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(heard) = heard.get(story) else {
            return false;
        };
        let made = Seen::of(graph_version);
        made.is_none_or(|made| made.story < heard.story || made.context < heard.context)
    }
}

/// The context that a commit writes, and its version once that is done.
pub(crate) fn written(commit: &Commit) -> Option<(StoryId, Seen)> {
    let (key, context) = commit.nodes.iter().find_map(|write| match write {
        NodeWrite::Create { key, .. } if key.label() == Label::StoryContext => Some((key, 1)),
        NodeWrite::Update { key, expected, .. } if key.label() == Label::StoryContext => {
            Some((key, expected + 1))
        }
        _ => None,
    })?;
    let story = StoryId::parse(key.id()).ok()?;
    Some((story, Seen { story: 0, context }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_surely_older_was_overtaken() {
        let heard = Heard::new();
        let story = StoryId::parse("s-1").unwrap();
        let version = "7.2.3.1.4.0.0.9.5";
        assert!(!heard.overtook(&story, version), "nothing heard of it");
        for (at_story, context, overtaken) in [(7, 9, false), (6, 0, false), (0, 10, true)] {
            let seen = Seen {
                story: at_story,
                context,
            };
            heard.note(&story, seen);
            assert_eq!(heard.overtook(&story, version), overtaken, "{seen:?}");
        }
        assert!(!heard.overtook(&story, "7.2.3.1.4.0.0.10.5"));
        assert!(heard.overtook(&story, "no version"));
        let ten = Seen {
            story: 7,
            context: 10,
        };
        let mistaken = Seen {
            story: i64::MAX,
            context: i64::MAX,
        };
        heard.note(&story, mistaken);
        heard.settle(&story, ten);
        assert!(!heard.overtook(&story, "7.2.3.1.4.0.0.10.5"));
        let other = StoryId::parse("s-10").unwrap();
        assert!(!heard.overtook(&other, version));
    }
}
