//! A durable consumer: one state shared by all who open it in this process.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fleet_events::{Delivery, RawMessage, Subscription};
use fleet_graph::{Deadline, Unavailable};
use fleet_topology::{Consumer, Stream};
use fleet_types::Timestamp;
use rusqlite::Connection;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    cursor::{self, Change, Cursor, Stored},
    log,
    registry::Signal,
};
use crate::{
    error::away,
    open::{Core, OWN_WRITES},
};

/// So many changes are written at once, without waiting for more.
const FLUSH_ROWS: usize = 1_024;

/// A message that is not settled.
#[derive(Debug, Clone, Copy)]
struct Open {
    /// How often it was delivered.
    count: u64,
    phase: Phase,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Somebody is at work on it, until then.
    Held(Instant),
    /// It comes again then.
    Waiting(Instant),
}

impl Phase {
    fn due(self) -> Instant {
        match self {
            Self::Held(at) | Self::Waiting(at) => at,
        }
    }
}

#[derive(Debug)]
struct State {
    /// Everything up to here is settled.
    floor: u64,
    /// Everything up to here was looked at.
    read: u64,
    /// Not settled; never more than the consumer allows.
    open: BTreeMap<u64, Open>,
    /// Settled above the floor.
    done: BTreeSet<u64>,
    /// Changed since the last write.
    touched: BTreeSet<u64>,
    written_floor: u64,
}

/// The consumer.
pub(crate) struct Shared {
    core: Arc<Core>,
    signal: Arc<Signal>,
    consumer: &'static Consumer,
    stream: &'static Stream,
    /// Its place among all streams.
    place: usize,
    head: watch::Receiver<u64>,
    state: Mutex<State>,
    /// Held while the log is read, so that two readers do not take the same messages.
    reading: tokio::sync::Mutex<()>,
    wake: Notify,
}

impl Shared {
    pub(crate) fn new(
        core: Arc<Core>,
        signal: Arc<Signal>,
        consumer: &'static Consumer,
        stream: &'static Stream,
        cursor: Cursor,
    ) -> Result<Self, Unavailable> {
        let place = log::place(stream.name)
            .ok_or_else(|| away(format!("there is no stream {}", stream.name), false))?;
        let head = core.heads[place].clone();
        let (now, wall) = (Instant::now(), core.clock.now());
        let mut state = State {
            floor: cursor.floor,
            read: cursor.floor,
            open: BTreeMap::new(),
            done: BTreeSet::new(),
            touched: BTreeSet::new(),
            written_floor: cursor.floor,
        };
        for (sequence, stored) in cursor.above {
            match stored.due {
                Some(due) => {
                    let due = now + Timestamp::from_millis(due).since(wall);
                    let open = Open {
                        count: stored.count,
                        phase: Phase::Waiting(due),
                    };
                    state.open.insert(sequence, open);
                }
                None => {
                    state.done.insert(sequence);
                }
            }
        }
        Ok(Self {
            core,
            signal,
            consumer,
            stream,
            place,
            head,
            state: Mutex::new(state),
            reading: tokio::sync::Mutex::new(()),
            wake: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ack_wait(&self) -> Duration {
        Duration::from_secs(self.consumer.ack_wait_secs)
    }

    /// What changed since the last time, to be written.
    pub(crate) fn take_change(&self, now: Timestamp) -> Option<Change> {
        let mut state = self.lock();
        if state.touched.is_empty() && state.floor == state.written_floor {
            return None;
        }
        let touched = std::mem::take(&mut state.touched);
        let rows = touched
            .into_iter()
            .filter(|sequence| *sequence > state.floor)
            .map(|sequence| (sequence, state.stored(sequence, now)))
            .collect();
        state.written_floor = state.floor;
        Some(self.change(state.floor, rows))
    }

    fn change(&self, floor: u64, rows: Vec<(u64, Stored)>) -> Change {
        Change {
            name: self.consumer.name,
            stream: self.stream.name,
            floor,
            rows,
        }
    }

    /// It was not written after all.
    pub(crate) fn put_back(&self, change: &Change) {
        let mut state = self.lock();
        state
            .touched
            .extend(change.rows.iter().map(|(sequence, _)| *sequence));
        state.written_floor = 0;
    }

    /// Takes what is due and what is new, at most `max`.
    async fn collect(self: &Arc<Self>, max: usize) -> Result<Vec<Box<dyn Delivery>>, Unavailable> {
        let mut again = self.take_due(max);
        let mut found = Vec::new();
        if !again.is_empty() {
            match self.read_again(again.clone()).await {
                Ok(messages) => found.extend(messages.into_iter().map(Arc::new)),
                Err(away) => {
                    self.release(&again);
                    return Err(away);
                }
            }
            // What was removed from the stream for its age does not come again.
            again.retain(|(sequence, _)| {
                !found
                    .iter()
                    .any(|m: &Arc<RawMessage>| m.sequence == *sequence)
            });
            for (sequence, _) in again {
                self.settle(sequence);
            }
        }
        if found.len() < max {
            let _alone = self.reading.lock().await;
            found.extend(self.read_new(max - found.len()).await?);
        }
        let state = self.lock();
        Ok(found
            .into_iter()
            .map(|message| {
                let deliveries = state
                    .open
                    .get(&message.sequence)
                    .map_or(1, |open| open.count);
                let shared = Arc::clone(self);
                Box::new(Held {
                    shared,
                    message,
                    deliveries,
                }) as Box<dyn Delivery>
            })
            .collect())
    }

    /// Takes messages whose time has come again: their sequence and count.
    fn take_due(&self, max: usize) -> Vec<(u64, u64)> {
        let now = Instant::now();
        let until = now + self.ack_wait();
        let mut state = self.lock();
        let mut due = Vec::new();
        for (sequence, open) in &mut state.open {
            if due.len() == max {
                break;
            }
            if open.phase.due() <= now {
                open.count += 1;
                open.phase = Phase::Held(until);
                due.push((*sequence, open.count));
            }
        }
        state
            .touched
            .extend(due.iter().map(|(sequence, _)| *sequence));
        drop(state);
        if !due.is_empty() {
            self.signal.dirty(false);
        }
        due
    }

    async fn read_again(&self, due: Vec<(u64, u64)>) -> Result<Vec<RawMessage>, Unavailable> {
        let stream = self.stream;
        self.core
            .readers
            .read(Deadline::after(OWN_WRITES), move |conn| {
                let mut messages = Vec::with_capacity(due.len());
                for (sequence, _) in due {
                    messages.extend(log::read_one(conn, stream, sequence)?);
                }
                Ok(messages)
            })
            .await
    }

    /// They could not be read: they are due at once, and this was no delivery.
    fn release(&self, due: &[(u64, u64)]) {
        let now = Instant::now();
        let mut state = self.lock();
        for (sequence, count) in due {
            if let Some(open) = state.open.get_mut(sequence)
                && open.count == *count
            {
                open.count -= 1;
                open.phase = Phase::Waiting(now);
            }
        }
    }

    /// Takes messages that nobody has seen. The caller holds `reading`.
    async fn read_new(&self, max: usize) -> Result<Vec<Arc<RawMessage>>, Unavailable> {
        let (stream, subjects) = (self.stream, self.consumer.filter_subjects);
        loop {
            let last = *self.head.borrow();
            let (after, room) = {
                let state = self.lock();
                let most = self.consumer.max_ack_pending as usize;
                (state.read, most.saturating_sub(state.open.len()).min(max))
            };
            if after >= last || room == 0 {
                return Ok(Vec::new());
            }
            let wanted = |subject: &str| subjects.is_empty() || subjects.contains(&subject);
            let recent = self
                .core
                .recent
                .after(self.place, after, last, room, wanted);
            let (mut messages, read) = match recent {
                Some(found) => found,
                None => {
                    let read = move |conn: &Connection| {
                        log::read_after(conn, stream, subjects, after, last, room)
                    };
                    let deadline = Deadline::after(OWN_WRITES);
                    let found: Result<_, Unavailable> =
                        self.core.readers.read(deadline, read).await;
                    let (found, read) = found?;
                    (found.into_iter().map(Arc::new).collect(), read)
                }
            };
            let until = Instant::now() + self.ack_wait();
            let mut state = self.lock();
            // After a restart, some above the floor are known already.
            messages.retain(|m| {
                !state.done.contains(&m.sequence) && !state.open.contains_key(&m.sequence)
            });
            for message in &messages {
                state.open.insert(
                    message.sequence,
                    Open {
                        count: 1,
                        phase: Phase::Held(until),
                    },
                );
                state.touched.insert(message.sequence);
            }
            state.read = read;
            state.advance();
            let dirty = state.is_dirty();
            drop(state);
            if dirty {
                self.signal.dirty(false);
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock().open.values().map(|open| open.phase.due()).min()
    }

    /// Done with it, whoever had it.
    fn settle(&self, sequence: u64) {
        let mut state = self.lock();
        if state.open.remove(&sequence).is_none() {
            return;
        }
        let was_full = state.open.len() + 1 >= self.consumer.max_ack_pending as usize;
        state.done.insert(sequence);
        state.touched.insert(sequence);
        state.advance();
        let urgent = state.touched.len() >= FLUSH_ROWS;
        drop(state);
        self.signal.dirty(urgent);
        if was_full {
            self.wake.notify_waiters();
        }
    }

    /// Changes the phase of a message if `count` is still its last delivery.
    fn set_phase(&self, sequence: u64, count: u64, phase: Phase) -> Option<Change> {
        let now = self.core.clock.now();
        let mut state = self.lock();
        let open = state
            .open
            .get_mut(&sequence)
            .filter(|open| open.count == count)?;
        open.phase = phase;
        let row = (sequence, state.stored(sequence, now));
        Some(self.change(state.floor, vec![row]))
    }
}

impl State {
    /// Raises the floor as far as everything is settled.
    fn advance(&mut self) {
        let floor = match self.open.first_key_value() {
            Some((first, _)) => (*first - 1).min(self.read.max(self.floor)),
            None => self.read,
        };
        if floor > self.floor {
            self.floor = floor;
            self.done = self.done.split_off(&(floor + 1));
            self.touched = self.touched.split_off(&(floor + 1));
        }
    }

    fn is_dirty(&self) -> bool {
        !self.touched.is_empty() || self.floor != self.written_floor
    }

    fn stored(&self, sequence: u64, now: Timestamp) -> Stored {
        match self.open.get(&sequence) {
            None => Stored {
                count: 0,
                due: None,
            },
            // Whoever holds it is gone when this is read again.
            Some(Open {
                count,
                phase: Phase::Held(_),
            }) => Stored {
                count: *count,
                due: Some(now.millis()),
            },
            Some(Open {
                count,
                phase: Phase::Waiting(due),
            }) => {
                let due = now.plus(due.saturating_duration_since(Instant::now()));
                Stored {
                    count: *count,
                    due: Some(due.millis()),
                }
            }
        }
    }
}

/// One who pulls.
pub(crate) struct Puller {
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
}

impl Puller {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let head = shared.head.clone();
        Self { shared, head }
    }
}

#[async_trait]
impl Subscription for Puller {
    async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Box<dyn Delivery>>, Unavailable> {
        let until = Instant::now() + wait;
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            // From here on, nothing that happens is missed.
            woken.as_mut().enable();
            self.head.borrow_and_update();
            let found = self.shared.collect(max.max(1)).await?;
            if !found.is_empty() || Instant::now() >= until {
                return Ok(found);
            }
            let stop = self.shared.next_due().map_or(until, |due| due.min(until));
            tokio::select! {
                () = &mut woken => {}
                changed = self.head.changed() => changed.map_err(|_| away("closed", false))?,
                () = tokio::time::sleep_until(stop) => {}
            }
        }
    }
}

/// A message in somebody's hands.
struct Held {
    shared: Arc<Shared>,
    message: Arc<RawMessage>,
    deliveries: u64,
}

#[async_trait]
impl Delivery for Held {
    fn message(&self) -> &RawMessage {
        &self.message
    }

    fn deliveries(&self) -> u64 {
        self.deliveries
    }

    async fn ack(&self) -> Result<(), Unavailable> {
        self.shared.settle(self.message.sequence);
        Ok(())
    }

    async fn retry(&self, delay: Duration) -> Result<(), Unavailable> {
        let phase = Phase::Waiting(Instant::now() + delay);
        let Some(change) = self
            .shared
            .set_phase(self.message.sequence, self.deliveries, phase)
        else {
            // It was answered, or given to somebody else, before.
            return Ok(());
        };
        self.shared.wake.notify_waiters();
        // How often it was tried must outlive this process, or a message that kills it is
        // never parked.
        let written = self
            .shared
            .core
            .writer
            .submit(Deadline::after(OWN_WRITES), move |tx| {
                cursor::store(tx, &change).map(Ok::<_, std::convert::Infallible>)
            })
            .await?;
        match written {
            Ok(()) => Ok(()),
            Err(never) => match never {},
        }
    }

    async fn in_progress(&self) -> Result<(), Unavailable> {
        let phase = Phase::Held(Instant::now() + self.shared.ack_wait());
        // Answered before, or given to somebody else: nothing to prolong.
        let _ = self
            .shared
            .set_phase(self.message.sequence, self.deliveries, phase);
        Ok(())
    }

    async fn terminate(&self) -> Result<(), Unavailable> {
        self.shared.settle(self.message.sequence);
        Ok(())
    }
}
