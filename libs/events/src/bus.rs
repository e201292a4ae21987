//! The bus as a port: publish, durable shared consumers, parked messages, tails.

use std::time::Duration;

use async_trait::async_trait;
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use fleet_topology::{Consumer, Stream};

use crate::Event;

/// A header by which a replayed message names the only consumer it is meant for; the others
/// acknowledge and skip it.
pub const TARGET_CONSUMER: &str = "Fleet-Target-Consumer";

/// What the bus said to one published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its place in the stream.
    pub sequence: u64,
    /// Whether the stream had it already (same event id).
    pub duplicate: bool,
}

/// Why an event is not on the bus.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PublishError {
    /// The bus is away or did not acknowledge in time; publish again under the same id.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The stream is full (it discards new messages, never old ones); publish again later.
    #[error("stream of {subject} is full")]
    StreamFull {
        /// The subject.
        subject: String,
    },
    /// No stream takes this subject, or the event breaks a limit of the server.
    #[error("{subject} was refused by the bus: {reason}")]
    Refused {
        /// The subject.
        subject: String,
        /// What the bus said.
        reason: String,
    },
}

/// A message as it was fetched: its envelope may not be readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawMessage {
    /// The stream it is in.
    pub stream: String,
    /// Its place there.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers, in order.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl RawMessage {
    /// The first header of that name (case-insensitive).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A message in the hands of a consumer. Dropping it without an answer lets the bus deliver
/// it again after the consumer's ack wait.
#[async_trait]
pub trait Delivery: Send + Sync {
    /// The message.
    fn message(&self) -> &RawMessage;
    /// How often it was delivered to this consumer, this time included; at least 1.
    fn deliveries(&self) -> u64;
    /// Done with it.
    async fn ack(&self) -> Result<(), Unavailable>;
    /// Not now: deliver it again after `delay`.
    async fn retry(&self, delay: Duration) -> Result<(), Unavailable>;
    /// Still at work: restarts the ack wait.
    async fn in_progress(&self) -> Result<(), Unavailable>;
    /// Never again for this consumer.
    async fn terminate(&self) -> Result<(), Unavailable>;
}

/// A durable pull consumer, shared by all replicas that open it.
#[async_trait]
pub trait Subscription: Send {
    /// Waits at most `wait` for the first message, then gives what is there, at most `max`
    /// (maybe none). An error means that the subscription must be opened again.
    async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Box<dyn Delivery>>, Unavailable>;

    /// Gives back at once what the bus has sent and nobody fetched. Dropping the subscription
    /// does, too, but only after the consumer's ack wait.
    async fn close(&mut self) {}
}

/// Everything that is said from now on, in stream order, to this process alone; nothing is
/// acknowledged and nothing is redelivered.
#[async_trait]
pub trait Tail: Send {
    /// The next message; waits until there is one.
    async fn next(&mut self) -> Result<RawMessage, Unavailable>;
}

/// A message that a consumer could not digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// Its place in the stream of parked messages.
    pub sequence: u64,
    /// The stream it came from.
    pub stream: String,
    /// The consumer that parked it.
    pub consumer: String,
    /// Why, as the handler said.
    pub reason: String,
    /// How often it was delivered before it was parked.
    pub deliveries: u64,
    /// When, RFC 3339.
    pub parked_at: String,
    /// The message as it was (its original subject, headers and body).
    pub message: RawMessage,
}

/// How the streams and consumers on a server differ from the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Drift {
    /// To be created.
    Missing {
        /// `stream` or `consumer`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// To be updated.
    Different {
        /// `stream` or `consumer`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Each setting with its value there and the wanted one.
        changes: Vec<String>,
    },
    /// Cannot be updated in place; a human decides.
    Immutable {
        /// `stream` or `consumer`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Each setting with its value there and the wanted one.
        changes: Vec<String>,
    },
}

/// How full a stream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// The stream, by its name in the topology.
    pub stream: &'static str,
    /// Messages stored.
    pub messages: u64,
    /// How many it takes.
    pub max_messages: u64,
    /// Bytes stored, as the adapter counts them.
    pub bytes: u64,
    /// How many it takes.
    pub max_bytes: u64,
}

impl Fill {
    /// Of the limit that is nearer, how much is used, in percent.
    pub fn percent(&self) -> u64 {
        let share = |used: u64, limit: u64| match limit {
            0 => 0,
            limit => used.saturating_mul(100) / limit,
        };
        share(self.messages, self.max_messages).max(share(self.bytes, self.max_bytes))
    }
}

/// The bus. Adapters: `fleet-events-nats`, `fleet-embedded`; each passes [`crate::conformance`].
#[async_trait]
pub trait Bus: Send + Sync {
    /// Publishes with many acknowledgements in flight; one result for each event, in order.
    /// Never gives up halfway: every event has its own answer by the deadline.
    async fn publish(
        &self,
        events: &[OutboxEvent],
        deadline: Deadline,
    ) -> Vec<Result<Published, PublishError>>;

    /// Opens a durable consumer. One that does not exist is created and starts with the oldest
    /// message of its stream; one that does goes on where it was.
    async fn subscribe(
        &self,
        consumer: &'static Consumer,
        deadline: Deadline,
    ) -> Result<Box<dyn Subscription>, Unavailable>;

    /// Follows a stream from now on, on these subjects of its (none = all).
    async fn tail(
        &self,
        stream: &'static Stream,
        subjects: &[&str],
        deadline: Deadline,
    ) -> Result<Box<dyn Tail>, Unavailable>;

    /// Stores a message among the parked ones; acknowledged means durable. The same message
    /// (stream, sequence, consumer) is stored once.
    async fn park(&self, parked: &Parked, deadline: Deadline) -> Result<(), Unavailable>;

    /// Parked messages with a sequence greater than `after`, at most `limit`.
    async fn parked(
        &self,
        after: u64,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Parked>, Unavailable>;

    /// Publishes a parked message again on its subject for its consumer alone
    /// ([`TARGET_CONSUMER`]), then removes it. `false` if there is none with this sequence.
    async fn replay_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable>;

    /// Removes a parked message for good. `false` if there is none with this sequence.
    async fn drop_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable>;

    /// Compares streams and consumers with the topology.
    async fn drift(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable>;

    /// Creates what is missing and updates what differs; never deletes. Gives what is left
    /// ([`Drift::Immutable`]).
    async fn apply(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable>;

    /// How full each stream is that is there.
    async fn fill(&self, deadline: Deadline) -> Result<Vec<Fill>, Unavailable>;

    /// Whether the bus answers.
    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable>;

    /// A number that changes whenever the connection was lost and made again, so that the
    /// relay knows that a server may have lost what it had not synced.
    fn epoch(&self) -> u64;

    /// How long after its acknowledgement an event may still be lost by a crash of the
    /// server's machine; zero if it syncs before it acknowledges.
    fn sync_interval(&self) -> Duration;
}

/// Reads the envelope of a raw message; the error is a reason to park it.
pub fn decode(message: &RawMessage) -> Result<Event, String> {
    Event::from_parts(message)
}
