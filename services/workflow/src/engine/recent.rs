//! Tasks as this process itself last wrote them, so that the next step of a task needs no read.
//!
//! Nothing is believed because of it: a change that is decided on a remembered task expects
//! its version, so the commit notices if somebody else was faster; and a refusal is never
//! given on a remembered task, but decided again on what is stored.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use fleet_types::TaskId;
use lru::LruCache;

use super::Stored;

/// Tasks that are remembered; the least recently written ones are forgotten.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(4_096).expect("is not zero");

/// The tasks that are remembered.
pub(crate) struct Recent(Mutex<LruCache<TaskId, Stored>>);

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

impl Recent {
    /// The task as it was last written, if that is remembered. It is forgotten at once: what
    /// becomes of it is remembered by whoever succeeds with it.
    pub fn take(&self, task: &TaskId) -> Option<Stored> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop(task)
    }

    /// Remembers a task as it was just written.
    pub fn put(&self, stored: Stored) {
        let task = stored.run.task.clone();
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(task, stored);
    }
}
