//! Executions that are known to be under way, so that the news of each further claim need no
//! read of the story.
//!
//! An execution that has begun has begun for good: a story comes back to READY_FOR_EXECUTION
//! only with the next one. So what is remembered here never grows wrong, only old.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use fleet_types::StoryId;
use lru::LruCache;

/// Stories that are remembered; the least recently asked for are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");

/// The newest execution of each story that is known to have begun.
pub(super) struct Begun(Mutex<LruCache<StoryId, i64>>);

impl Default for Begun {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Begun {
    /// Whether this execution, or a later one, is known to have begun.
    pub fn contains(&self, story: &StoryId, execution: i64) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(story).is_some_and(|newest| *newest >= execution)
    }

    /// Remembers that it has.
    pub fn insert(&self, story: &StoryId, execution: i64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = known.get_or_insert_mut_ref(story, || execution);
        *newest = execution.max(*newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_execution_never_hides_a_newer_one() {
        let (begun, story) = (Begun::default(), StoryId::parse("s-1").unwrap());
        assert!(!begun.contains(&story, 1));
        begun.insert(&story, 2);
        begun.insert(&story, 1);
        assert!(begun.contains(&story, 1) && begun.contains(&story, 2));
        assert!(!begun.contains(&story, 3), "the next one must be read");
    }
}
