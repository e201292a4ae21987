//! The one place that knows what things are called and where they listen: services,
//! ports, environment keys, streams, subjects and consumers, as typed constants.
//!
//! They are written in `topology.toml` at the root of the repository; the build script
//! turns that file into the constants of this crate and stops the build, naming the
//! entry, when it contradicts itself. This crate does no I/O and depends on nothing.

include!(concat!(env!("OUT_DIR"), "/topology.rs"));

/// A process that serves one gRPC contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// Directory under `services/`, Kubernetes workload and Service, for example
    /// `planning`.
    pub name: &'static str,
    /// Crate and binary, for example `fleet-planning`.
    pub package: &'static str,
    /// Image without registry and tag, for example `swe-ai-fleet/planning`.
    pub image: &'static str,
    /// Full name of the gRPC service, as in reflection and health checks.
    pub grpc_service: &'static str,
    /// Where gRPC is served, in a pod and on a laptop.
    pub grpc_port: u16,
    /// Where the admin listener is on a laptop; in a pod it is [`POD_ADMIN_PORT`].
    pub admin_port: u16,
    /// The store keys it reads, see [`ENV_KEYS`].
    pub env_keys: &'static [&'static str],
}

/// An environment key by which services find a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvKey {
    /// Name, for example `NEO4J_URI`.
    pub name: &'static str,
    /// Whether the value is never shown and comes from a secret.
    pub secret: bool,
    /// Value inside the cluster; `None` for secrets.
    pub in_cluster: Option<&'static str>,
}

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory only.
    Memory,
}

/// What a full stream does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discard {
    /// It refuses the publisher.
    New,
    /// It drops its oldest message.
    Old,
}

/// A JetStream stream. How many replicas it has is configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// Name, for example `PLANNING_EVENTS`.
    pub name: &'static str,
    /// Patterns of the subjects it stores; those of two streams never overlap.
    pub subjects: &'static [&'static str],
    /// How long a message is kept, in seconds.
    pub max_age_secs: u64,
    /// Total size limit in bytes.
    pub max_bytes: u64,
    /// Limit of the number of messages.
    pub max_messages: u64,
    /// Largest message, headers included, in bytes.
    pub max_message_bytes: u32,
    /// How long the server recognises a message id, in seconds.
    pub duplicate_window_secs: u64,
    /// Where messages are kept.
    pub storage: Storage,
    /// What happens when a limit of size or count is reached.
    pub discard: Discard,
}

/// A subject somebody publishes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Name, for example `planning.story.created`.
    pub name: &'static str,
    /// Name of the stream that stores it.
    pub stream: &'static str,
    /// Name of the service that publishes it.
    pub publisher: &'static str,
    /// Names of the durable consumers that get it.
    pub consumers: &'static [&'static str],
}

/// A durable pull consumer, shared by all replicas of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumer {
    /// Durable name, for example `planning-workflow-events`.
    pub name: &'static str,
    /// Name of the service that reads it.
    pub service: &'static str,
    /// Name of the stream it reads.
    pub stream: &'static str,
    /// The subjects it gets, without wildcards.
    pub filter_subjects: &'static [&'static str],
    /// After how many seconds without a sign of life a message is delivered again.
    pub ack_wait_secs: u64,
    /// How many messages may be unacknowledged at once.
    pub max_ack_pending: u32,
    /// After how many deliveries a message is parked.
    pub max_deliveries: u32,
}

impl Stream {
    /// Whether the stream stores `subject` (a subject without wildcards).
    #[must_use]
    pub fn stores(&self, subject: &str) -> bool {
        self.subjects
            .iter()
            .any(|pattern| matches(pattern, subject))
    }
}

/// The service of that name.
#[must_use]
pub fn service(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

/// The stream of that name.
#[must_use]
pub fn stream(name: &str) -> Option<&'static Stream> {
    STREAMS.iter().find(|stream| stream.name == name)
}

/// The consumer of that durable name.
#[must_use]
pub fn consumer(name: &str) -> Option<&'static Consumer> {
    CONSUMERS.iter().find(|consumer| consumer.name == name)
}

/// The entry of a listed subject.
#[must_use]
pub fn subject(name: &str) -> Option<&'static Subject> {
    SUBJECTS.iter().find(|subject| subject.name == name)
}

/// The stream that stores `subject`, listed or not (`parked.…` is not); there is at most
/// one.
#[must_use]
pub fn stream_of(subject: &str) -> Option<&'static Stream> {
    STREAMS.iter().find(|stream| stream.stores(subject))
}

/// The consumers a service reads.
pub fn consumers_of(service: &str) -> impl Iterator<Item = &'static Consumer> {
    CONSUMERS
        .iter()
        .filter(move |consumer| consumer.service == service)
}

/// NATS matching: `*` is one token, `>` at the end is one or more.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(expected), Some(token)) if expected == "*" || expected == token => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "../build/model.rs"]
#[allow(
    dead_code,
    missing_docs,
    reason = "shared with the build script, which reads all of it"
)]
mod model;

#[cfg(test)]
mod tests;
