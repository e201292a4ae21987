//! The consumers that are open in this process, and the thread that writes their places down.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fleet_graph::{Deadline, Unavailable};
use fleet_topology::Consumer;

use super::{consumer::Shared, cursor};
use crate::{
    error::away,
    open::{Core, OWN_WRITES},
};

/// An acknowledgement is on disk at most so much later. Losing it means a second delivery.
const FLUSH_AFTER: Duration = Duration::from_millis(500);

/// All of it.
pub(crate) struct Registry {
    consumers: Mutex<HashMap<&'static str, Arc<Shared>>>,
    signal: Arc<Signal>,
}

/// How consumers call the thread.
#[derive(Default)]
pub(crate) struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Default, Clone, Copy)]
struct SignalState {
    dirty: bool,
    urgent: bool,
    stop: bool,
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is something to write: soon, or now.
    pub(crate) fn dirty(&self, urgent: bool) {
        let mut state = self.lock();
        if !state.dirty || (urgent && !state.urgent) {
            state.dirty = true;
            state.urgent |= urgent;
            self.changed.notify_one();
        }
    }

    /// Waits without end for something to write, then a little for more. `true`: stop after
    /// it.
    fn wait(&self) -> bool {
        let mut state = self
            .changed
            .wait_while(self.lock(), |state| !state.dirty && !state.stop)
            .unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + FLUSH_AFTER;
        while !state.urgent && !state.stop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.dirty = false;
        state.urgent = false;
        state.stop
    }
}

impl Registry {
    pub(crate) fn new() -> Self {
        Self {
            consumers: Mutex::default(),
            signal: Arc::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Arc<Shared>>> {
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The consumer, read from the database when it is opened for the first time.
    pub(crate) async fn consumer(
        &self,
        core: &Arc<Core>,
        consumer: &'static Consumer,
        deadline: Deadline,
    ) -> Result<Arc<Shared>, Unavailable> {
        if let Some(shared) = self.lock().get(consumer.name) {
            return Ok(Arc::clone(shared));
        }
        let stream = fleet_topology::stream(consumer.stream)
            .ok_or_else(|| away(format!("there is no stream {}", consumer.stream), false))?;
        let cursor = core
            .readers
            .read::<_, _, Unavailable>(deadline, move |conn| {
                cursor::load(conn, consumer.name, stream.name)
            })
            .await?;
        let fresh = Shared::new(
            Arc::clone(core),
            Arc::clone(&self.signal),
            consumer,
            stream,
            cursor,
        )?;
        // Another task may have been faster: then its consumer is the one.
        Ok(Arc::clone(
            self.lock()
                .entry(consumer.name)
                .or_insert_with(|| Arc::new(fresh)),
        ))
    }

    pub(crate) fn stop(&self) {
        self.signal.lock().stop = true;
        self.signal.changed.notify_one();
    }

    /// Runs on a thread of its own.
    pub(crate) fn flush_until_stopped(&self, core: &Core) {
        loop {
            let stop = self.signal.wait();
            self.flush(core);
            if stop {
                return;
            }
        }
    }

    fn flush(&self, core: &Core) {
        let now = core.clock.now();
        let open: Vec<Arc<Shared>> = self.lock().values().cloned().collect();
        let (open, changes): (Vec<_>, Vec<_>) = open
            .into_iter()
            .filter_map(|shared| shared.take_change(now).map(|change| (shared, change)))
            .unzip();
        if changes.is_empty() {
            return;
        }
        let changes = Arc::new(changes);
        let written = core.writer.submit_blocking(Deadline::after(OWN_WRITES), {
            let changes = Arc::clone(&changes);
            move |tx| {
                changes
                    .iter()
                    .try_for_each(|change| cursor::store(tx, change))
                    .map(Ok::<_, std::convert::Infallible>)
            }
        });
        if let Err(away) = written {
            tracing::warn!(reason = away.reason, "acknowledgements are not written yet");
            for (shared, change) in open.iter().zip(changes.iter()) {
                shared.put_back(change);
            }
            self.signal.dirty(false);
        }
    }
}
