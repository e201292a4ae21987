//! Turns for those who lost a race.
//!
//! Whoever changes something tries at once: most of the time nobody else is there. The losers
//! of a process queue up, and only the first of them tries again: he competes with newcomers
//! and other replicas, not with the whole crowd.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use fleet_graph::{Deadline, NodeKey};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many queues there are; keys share them, which costs a wait at worst.
const QUEUES: usize = 64;

/// Queues by what is fought for. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Turns(Arc<[Arc<Mutex<()>>]>);

/// The right to try next, until it is dropped. Nobody holds two, so nobody waits in a circle.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedMutexGuard<()>);

impl Default for Turns {
    fn default() -> Self {
        Self((0..QUEUES).map(|_| Arc::default()).collect())
    }
}

impl Turns {
    /// Waits until it is our turn at `key`; `None` if the deadline passes first.
    pub(super) async fn of(&self, key: &NodeKey, deadline: Deadline) -> Option<Turn> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let queues = u64::try_from(self.0.len()).expect("a small constant");
        let queue = usize::try_from(hasher.finish() % queues).expect("less than a small constant");
        let queue = self.0[queue].clone();
        let turn = tokio::time::timeout(deadline.left(), queue.lock_owned());
        turn.await.ok().map(Turn)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use fleet_graph::Label;

    use super::*;

    #[tokio::test]
    async fn one_at_a_time_per_key_and_not_past_the_deadline() {
        let turns = Turns::default();
        let key = |id: &str| NodeKey::new(Label::Story, id);
        let long = || Deadline::after(Duration::from_secs(10));
        let first = turns.of(&key("s-1"), long()).await.unwrap();
        let late = Deadline::after(Duration::from_millis(1));
        assert!(turns.of(&key("s-1"), late).await.is_none(), "it is taken");
        drop(first);
        assert!(turns.of(&key("s-1"), long()).await.is_some());
    }
}
