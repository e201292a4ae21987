use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use fleet_events::{
    Bus, Delivery, Drift, Event, Fill, Parked, PublishError, Published, RawMessage, Subscription,
    TARGET_CONSUMER, Tail, headers,
};
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use fleet_topology::{Consumer, Stream};
use tokio::{sync::Notify, time::Instant};

const LARGEST: usize = 1_048_576 - 8_192;

/// How a consumer stands to one message it has had.
struct Pending {
    deliveries: u64,
    /// When it comes again.
    due: Instant,
}

struct ConsumerState {
    consumer: &'static Consumer,
    /// Sequence of the next new message.
    next: u64,
    pending: BTreeMap<u64, Pending>,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<&'static str, Vec<RawMessage>>,
    known: HashMap<(&'static str, String), u64>,
    consumers: HashMap<&'static str, ConsumerState>,
    parked: Vec<Parked>,
    parked_count: u64,
    down: bool,
    epoch: u64,
    full: HashSet<&'static str>,
    park_fails: bool,
    publishes: u64,
    subscribes: u64,
}

/// A bus in memory; clones are the same bus.
#[derive(Clone, Default)]
pub struct MemoryBus {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    sync_interval: Duration,
}

fn away() -> Unavailable {
    Unavailable {
        store: "memory",
        reason: "told to be away".to_owned(),
        retryable: true,
    }
}

impl MemoryBus {
    pub fn new(sync_interval: Duration) -> Arc<Self> {
        Arc::new(Self {
            sync_interval,
            ..Self::default()
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let outcome = change(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        outcome
    }

    /// Goes away, or comes back with a new connection.
    pub fn set_down(&self, down: bool) {
        self.change(|state| {
            if state.down && !down {
                state.epoch += 1;
            }
            state.down = down;
        });
    }

    pub fn set_full(&self, stream: &'static str, full: bool) {
        self.change(|state| {
            if full {
                state.full.insert(stream)
            } else {
                state.full.remove(stream)
            };
        });
    }

    pub fn set_park_fails(&self, fails: bool) {
        self.change(|state| state.park_fails = fails);
    }

    /// The machine of the server loses the last `count` messages that it acknowledged.
    pub fn lose_tail(&self, stream: &'static str, count: usize) {
        self.change(|state| {
            let messages = state.messages.entry(stream).or_default();
            let kept = messages.len() - count;
            messages.truncate(kept);
            let kept = kept as u64;
            state
                .known
                .retain(|(of, _), sequence| *of != stream || *sequence <= kept);
        });
    }

    /// Ids in the order stored.
    pub fn stored(&self, stream: &str) -> Vec<String> {
        self.change(|state| {
            let messages = state
                .messages
                .get(stream)
                .map(Vec::as_slice)
                .unwrap_or_default();
            messages
                .iter()
                .map(|m| m.header("ce-id").unwrap_or_default().to_owned())
                .collect()
        })
    }

    /// How many times publish was called.
    pub fn publishes(&self) -> u64 {
        self.change(|state| state.publishes)
    }

    /// How many times a subscription was opened or tried.
    pub fn subscribes(&self) -> u64 {
        self.change(|state| state.subscribes)
    }

    /// Messages that a consumer has and has not answered.
    pub fn unanswered(&self, consumer: &str) -> usize {
        self.change(|state| state.consumers.get(consumer).map_or(0, |c| c.pending.len()))
    }

    fn store(
        state: &mut State,
        subject: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    ) -> Result<Published, PublishError> {
        let subject = subject.to_owned();
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        let stream = match fleet_topology::stream_of(&subject) {
            Some(stream) if subject.bytes().all(plain) => stream.name,
            _ => {
                let reason = "no stream takes this subject".to_owned();
                return Err(PublishError::Refused { subject, reason });
            }
        };
        let size = body.len()
            + headers
                .iter()
                .map(|(n, v)| n.len() + v.len() + 4)
                .sum::<usize>();
        if size > LARGEST {
            let reason = format!("{size} bytes");
            return Err(PublishError::Refused { subject, reason });
        }
        let id = headers
            .iter()
            .find(|(n, _)| n == "Nats-Msg-Id")
            .map(|(_, v)| v.clone());
        if let Some(sequence) = id
            .as_ref()
            .and_then(|id| state.known.get(&(stream, id.clone())))
        {
            return Ok(Published {
                sequence: *sequence,
                duplicate: true,
            });
        }
        if state.full.contains(stream) {
            return Err(PublishError::StreamFull { subject });
        }
        let messages = state.messages.entry(stream).or_default();
        let sequence = messages.len() as u64 + 1;
        let stream_name = stream.to_owned();
        messages.push(RawMessage {
            stream: stream_name,
            sequence,
            subject,
            headers,
            body,
        });
        if let Some(id) = id {
            state.known.insert((stream, id), sequence);
        }
        Ok(Published {
            sequence,
            duplicate: false,
        })
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(
        &self,
        events: &[OutboxEvent],
        deadline: Deadline,
    ) -> Vec<Result<Published, PublishError>> {
        self.change(|state| state.publishes += 1);
        tokio::task::yield_now().await;
        self.change(|state| {
            events
                .iter()
                .map(|event| {
                    if state.down || deadline.left().is_zero() {
                        return Err(away().into());
                    }
                    let list = headers(event).into_iter();
                    let list = list.map(|(name, value)| (name.to_owned(), value)).collect();
                    Self::store(
                        state,
                        &event.subject,
                        list,
                        event.payload.clone().into_bytes(),
                    )
                })
                .collect()
        })
    }

    async fn subscribe(
        &self,
        consumer: &'static Consumer,
        _: Deadline,
    ) -> Result<Box<dyn Subscription>, Unavailable> {
        self.change(|state| {
            state.subscribes += 1;
            if state.down {
                return Err(away());
            }
            state
                .consumers
                .entry(consumer.name)
                .or_insert_with(|| ConsumerState {
                    consumer,
                    next: 1,
                    pending: BTreeMap::new(),
                });
            Ok(())
        })?;
        Ok(Box::new(MemorySubscription {
            bus: self.clone(),
            consumer,
        }))
    }

    async fn tail(
        &self,
        stream: &'static Stream,
        subjects: &[&str],
        _: Deadline,
    ) -> Result<Box<dyn Tail>, Unavailable> {
        let after = self.change(|state| state.messages.get(stream.name).map_or(0, Vec::len));
        let subjects = subjects
            .iter()
            .map(|subject| (*subject).to_owned())
            .collect();
        Ok(Box::new(MemoryTail {
            bus: self.clone(),
            stream: stream.name,
            subjects,
            after,
        }))
    }

    async fn park(&self, parked: &Parked, _: Deadline) -> Result<(), Unavailable> {
        self.change(|state| {
            if state.down || state.park_fails {
                return Err(away());
            }
            let same = |p: &Parked| {
                (&p.stream, p.message.sequence, &p.consumer)
                    == (&parked.stream, parked.message.sequence, &parked.consumer)
            };
            if !state.parked.iter().any(same) {
                state.parked_count += 1;
                state.parked.push(Parked {
                    sequence: state.parked_count,
                    ..parked.clone()
                });
            }
            Ok(())
        })
    }

    async fn parked(
        &self,
        after: u64,
        limit: usize,
        _: Deadline,
    ) -> Result<Vec<Parked>, Unavailable> {
        Ok(self.change(|state| {
            state
                .parked
                .iter()
                .filter(|p| p.sequence > after)
                .take(limit)
                .cloned()
                .collect()
        }))
    }

    async fn replay_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable> {
        let found = self.parked(sequence - 1, 1, deadline).await?;
        let Some(parked) = found.into_iter().find(|p| p.sequence == sequence) else {
            return Ok(false);
        };
        let mut headers = parked.message.headers.clone();
        headers.retain(|(name, _)| {
            name != "Nats-Msg-Id" && name != "ce-id" && name != TARGET_CONSUMER
        });
        let id = Event::id_of(&parked.message).unwrap();
        headers.push(("ce-id".to_owned(), id.to_string()));
        headers.push((TARGET_CONSUMER.to_owned(), parked.consumer.clone()));
        let body = parked.message.body.clone();
        self.change(|state| Self::store(state, &parked.message.subject, headers, body))
            .map_err(|_| away())?;
        self.drop_parked(sequence, deadline).await
    }

    async fn drop_parked(&self, sequence: u64, _: Deadline) -> Result<bool, Unavailable> {
        Ok(self.change(|state| {
            let before = state.parked.len();
            state.parked.retain(|p| p.sequence != sequence);
            state.parked.len() < before
        }))
    }

    async fn drift(&self, _: Deadline) -> Result<Vec<Drift>, Unavailable> {
        Ok(Vec::new())
    }

    async fn apply(&self, _: Deadline) -> Result<Vec<Drift>, Unavailable> {
        Ok(Vec::new())
    }

    async fn fill(&self, _deadline: Deadline) -> Result<Vec<Fill>, Unavailable> {
        self.change(|state| {
            if state.down {
                return Err(away());
            }
            let fill = fleet_topology::STREAMS.iter().map(|stream| {
                let messages = state.messages.get(stream.name);
                let messages = messages.map_or(&[][..], Vec::as_slice);
                Fill {
                    stream: stream.name,
                    messages: messages.len() as u64,
                    max_messages: stream.max_messages,
                    bytes: messages.iter().map(|m| m.body.len() as u64).sum(),
                    max_bytes: stream.max_bytes,
                }
            });
            Ok(fill.collect())
        })
    }

    async fn ping(&self, _: Deadline) -> Result<(), Unavailable> {
        if self.change(|state| state.down) {
            Err(away())
        } else {
            Ok(())
        }
    }

    fn epoch(&self) -> u64 {
        self.state.lock().unwrap().epoch
    }

    fn sync_interval(&self) -> Duration {
        self.sync_interval
    }
}

/// Messages with their number of deliveries, and when there may be more.
type Deliverable = (Vec<(u64, u64, RawMessage)>, Option<Instant>);

struct MemorySubscription {
    bus: MemoryBus,
    consumer: &'static Consumer,
}

impl MemorySubscription {
    /// What can be delivered now, and when there may be more.
    fn deliverable(&self, max: usize) -> Result<Deliverable, Unavailable> {
        let now = Instant::now();
        let mut state = self.bus.state.lock().unwrap();
        if state.down {
            return Err(away());
        }
        let State {
            messages,
            consumers,
            ..
        } = &mut *state;
        let messages = messages
            .get(self.consumer.stream)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let own = consumers.get_mut(self.consumer.name).expect("opened");
        let ack_wait = Duration::from_secs(own.consumer.ack_wait_secs);
        let mut found = Vec::new();
        for (sequence, pending) in &mut own.pending {
            if pending.due <= now && found.len() < max {
                pending.deliveries += 1;
                pending.due = now + ack_wait;
                let Some(message) = messages.get(usize::try_from(*sequence).unwrap() - 1) else {
                    continue;
                };
                found.push((*sequence, pending.deliveries, message.clone()));
            }
        }
        let room = usize::try_from(own.consumer.max_ack_pending).unwrap();
        while found.len() < max && own.pending.len() < room {
            let Some(message) = messages.get(usize::try_from(own.next).unwrap() - 1) else {
                break;
            };
            own.next += 1;
            if own
                .consumer
                .filter_subjects
                .contains(&message.subject.as_str())
            {
                own.pending.insert(
                    message.sequence,
                    Pending {
                        deliveries: 1,
                        due: now + ack_wait,
                    },
                );
                found.push((message.sequence, 1, message.clone()));
            }
        }
        let next = own.pending.values().map(|pending| pending.due).min();
        Ok((found, next))
    }
}

#[async_trait]
impl Subscription for MemorySubscription {
    async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Box<dyn Delivery>>, Unavailable> {
        let until = Instant::now() + wait;
        loop {
            let changed = self.bus.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (found, next) = self.deliverable(max)?;
            if !found.is_empty() {
                let deliveries = found.into_iter().map(|(sequence, deliveries, message)| {
                    let bus = self.bus.clone();
                    let consumer = self.consumer;
                    Box::new(MemoryDelivery {
                        bus,
                        consumer,
                        sequence,
                        deliveries,
                        message,
                    }) as Box<dyn Delivery>
                });
                return Ok(deliveries.collect());
            }
            if Instant::now() >= until {
                return Ok(Vec::new());
            }
            let wake = next.map_or(until, |next| next.min(until));
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }
}

struct MemoryDelivery {
    bus: MemoryBus,
    consumer: &'static Consumer,
    sequence: u64,
    deliveries: u64,
    message: RawMessage,
}

impl MemoryDelivery {
    fn answer(&self, answer: impl FnOnce(&mut BTreeMap<u64, Pending>)) -> Result<(), Unavailable> {
        self.bus.change(|state| {
            if state.down {
                return Err(away());
            }
            answer(
                &mut state
                    .consumers
                    .get_mut(self.consumer.name)
                    .expect("opened")
                    .pending,
            );
            Ok(())
        })
    }

    fn due_in(&self, delay: Duration) -> Result<(), Unavailable> {
        self.answer(|pending| {
            if let Some(pending) = pending.get_mut(&self.sequence) {
                pending.due = Instant::now() + delay;
            }
        })
    }
}

#[async_trait]
impl Delivery for MemoryDelivery {
    fn message(&self) -> &RawMessage {
        &self.message
    }

    fn deliveries(&self) -> u64 {
        self.deliveries
    }

    async fn ack(&self) -> Result<(), Unavailable> {
        self.answer(|pending| {
            pending.remove(&self.sequence);
        })
    }

    async fn retry(&self, delay: Duration) -> Result<(), Unavailable> {
        self.due_in(delay)
    }

    async fn in_progress(&self) -> Result<(), Unavailable> {
        self.due_in(Duration::from_secs(self.consumer.ack_wait_secs))
    }

    async fn terminate(&self) -> Result<(), Unavailable> {
        self.ack().await
    }
}

struct MemoryTail {
    bus: MemoryBus,
    stream: &'static str,
    subjects: Vec<String>,
    after: usize,
}

#[async_trait]
impl Tail for MemoryTail {
    async fn next(&mut self) -> Result<RawMessage, Unavailable> {
        loop {
            let changed = self.bus.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let found = {
                let state = self.bus.state.lock().unwrap();
                state
                    .messages
                    .get(self.stream)
                    .and_then(|m| m.get(self.after))
                    .cloned()
            };
            match found {
                Some(message) => {
                    self.after += 1;
                    if self.subjects.is_empty() || self.subjects.contains(&message.subject) {
                        return Ok(message);
                    }
                }
                None => changed.await,
            }
        }
    }
}
