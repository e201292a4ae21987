//! When this process should next look at the timers.
//!
//! The timers themselves are stored; this only lets a process that set one itself wake at the
//! right moment instead of at its next sweep.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fleet_types::Timestamp;
use tokio::sync::Notify;

/// The earliest due time that this process knows of.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    next: Mutex<Option<Timestamp>>,
    earlier: Notify,
}

impl Alarm {
    /// Something is due then.
    pub fn at(&self, due: Timestamp) {
        let mut next = self.next();
        if next.is_none_or(|next| due < next) {
            *next = Some(due);
            self.earlier.notify_one();
        }
    }

    /// The earliest known due time; forgets it.
    pub fn take(&self) -> Option<Timestamp> {
        self.next().take()
    }

    /// The earliest known due time.
    pub fn peek(&self) -> Option<Timestamp> {
        *self.next()
    }

    /// Waits until an earlier due time is known.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }

    fn next(&self) -> MutexGuard<'_, Option<Timestamp>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
