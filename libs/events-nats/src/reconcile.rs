//! Streams and consumers as the topology wants them: what differs, and making it so.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    consumer::{self, AckPolicy, DeliverPolicy},
    stream::{self, DiscardPolicy, RetentionPolicy, StorageType},
};
use fleet_events::{Drift, Fill};
use fleet_graph::{Deadline, Unavailable};
use fleet_topology::{CONSUMERS, Consumer, Discard, STREAMS, Storage, Stream};
use serde_json::json;

use crate::link::{ApiError, Link};

const STREAM: &str = "stream";
const CONSUMER: &str = "consumer";

/// What one thing on the server is to become.
enum Step<C> {
    Create(C),
    Update(C, Vec<String>),
    Refuse(Vec<String>),
}

impl<C> Step<C> {
    fn drift(&self, kind: &'static str, name: &str) -> Drift {
        let name = name.to_owned();
        match self {
            Self::Create(_) => Drift::Missing { kind, name },
            Self::Update(_, changes) => Drift::Different {
                kind,
                name,
                changes: changes.clone(),
            },
            Self::Refuse(changes) => Drift::Immutable {
                kind,
                name,
                changes: changes.clone(),
            },
        }
    }
}

/// Notes what differs, and sets it.
fn set<T: PartialEq + std::fmt::Debug>(
    changes: &mut Vec<String>,
    setting: &str,
    there: &mut T,
    wanted: T,
) {
    if *there != wanted {
        changes.push(format!("{setting}: {there:?}, wanted {wanted:?}"));
        *there = wanted;
    }
}

impl Link {
    pub(crate) async fn stream_info(
        &self,
        plain: &str,
        deadline: Deadline,
    ) -> Result<stream::Info, ApiError> {
        let subject = format!("STREAM.INFO.{}", self.names.stream(plain));
        self.api(subject, &json!({}), deadline).await
    }

    async fn consumer_info(
        &self,
        consumer: &Consumer,
        deadline: Deadline,
    ) -> Result<consumer::Info, ApiError> {
        let stream = self.names.stream(consumer.stream);
        self.api(
            format!("CONSUMER.INFO.{stream}.{}", consumer.name),
            &json!({}),
            deadline,
        )
        .await
    }

    /// How full each stream is, against the limits that the server has for it.
    pub(crate) async fn fill(&self, deadline: Deadline) -> Result<Vec<Fill>, Unavailable> {
        let limit = |limit: i64| u64::try_from(limit).unwrap_or(0);
        let mut fill = Vec::with_capacity(STREAMS.len());
        for stream in STREAMS {
            match self.stream_info(stream.name, deadline).await {
                Ok(info) => fill.push(Fill {
                    stream: stream.name,
                    messages: info.state.messages,
                    max_messages: limit(info.config.max_messages),
                    bytes: info.state.bytes,
                    max_bytes: limit(info.config.max_bytes),
                }),
                Err(ApiError::Refused(error))
                    if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(fill)
    }

    /// The steps for every stream, then for every consumer.
    pub(crate) async fn drift(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        let mut drift = Vec::new();
        for stream in STREAMS {
            if let Some(step) = self.stream_step(stream, deadline).await? {
                drift.push(step.drift(STREAM, stream.name));
            }
        }
        for consumer in CONSUMERS {
            if let Some(step) = self.consumer_step(consumer, deadline).await? {
                drift.push(step.drift(CONSUMER, consumer.name));
            }
        }
        Ok(drift)
    }

    pub(crate) async fn apply(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        let mut left = Vec::new();
        for stream in STREAMS {
            let (verb, config) = match self.stream_step(stream, deadline).await? {
                None => continue,
                Some(Step::Create(config)) => ("CREATE", config),
                Some(Step::Update(config, changes)) => {
                    tracing::info!(stream = stream.name, ?changes, "stream is changed");
                    ("UPDATE", config)
                }
                Some(refused @ Step::Refuse(_)) => {
                    left.push(refused.drift(STREAM, stream.name));
                    continue;
                }
            };
            let subject = format!("STREAM.{verb}.{}", config.name);
            self.api::<stream::Info>(subject, &config, deadline).await?;
        }
        for consumer in CONSUMERS {
            match self.consumer_step(consumer, deadline).await? {
                None => {}
                Some(Step::Create(config)) => {
                    self.write_consumer(consumer, &config, "create", deadline)
                        .await?;
                }
                Some(Step::Update(config, changes)) => {
                    tracing::info!(consumer = consumer.name, ?changes, "consumer is changed");
                    self.write_consumer(consumer, &config, "update", deadline)
                        .await?;
                }
                Some(refused @ Step::Refuse(_)) => {
                    left.push(refused.drift(CONSUMER, consumer.name));
                }
            }
        }
        Ok(left)
    }

    /// Makes sure that a consumer exists; one that does is left as it is.
    pub(crate) async fn ensure_consumer(
        &self,
        consumer: &Consumer,
        deadline: Deadline,
    ) -> Result<(), Unavailable> {
        match self.consumer_info(consumer, deadline).await {
            Ok(_) => Ok(()),
            Err(ApiError::Refused(error))
                if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
            {
                tracing::info!(consumer = consumer.name, "consumer is created");
                let config = wanted_consumer(self, consumer, consumer::Config::default());
                match self
                    .write_consumer(consumer, &config, "create", deadline)
                    .await
                {
                    // Another replica was faster.
                    Err(ApiError::Refused(error))
                        if error.error_code() == ErrorCode::CONSUMER_ALREADY_EXISTS
                            || error.error_code() == ErrorCode::CONSUMER_NAME_EXIST =>
                    {
                        Ok(())
                    }
                    other => Ok(other?),
                }
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn write_consumer(
        &self,
        consumer: &Consumer,
        config: &consumer::Config,
        action: &str,
        deadline: Deadline,
    ) -> Result<(), ApiError> {
        let stream = self.names.stream(consumer.stream);
        let subject = format!("CONSUMER.CREATE.{stream}.{}", consumer.name);
        let request = json!({ "stream_name": stream, "config": config, "action": action });
        self.api::<consumer::Info>(subject, &request, deadline)
            .await
            .map(|_| ())
    }

    async fn stream_step(
        &self,
        stream: &Stream,
        deadline: Deadline,
    ) -> Result<Option<Step<stream::Config>>, Unavailable> {
        let there = match self.stream_info(stream.name, deadline).await {
            Ok(info) => info.config,
            Err(ApiError::Refused(error)) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                let mut changes = Vec::new();
                let blank = stream::Config {
                    name: self.names.stream(stream.name),
                    storage: storage(stream),
                    retention: RetentionPolicy::Limits,
                    ..Default::default()
                };
                return Ok(Some(Step::Create(wanted_stream(
                    self,
                    stream,
                    blank,
                    &mut changes,
                ))));
            }
            Err(other) => return Err(other.into()),
        };
        let mut immutable = Vec::new();
        set(
            &mut immutable,
            "storage",
            &mut there.storage.clone(),
            storage(stream),
        );
        set(
            &mut immutable,
            "retention",
            &mut there.retention.clone(),
            RetentionPolicy::Limits,
        );
        if !immutable.is_empty() {
            return Ok(Some(Step::Refuse(immutable)));
        }
        let mut changes = Vec::new();
        let wanted = wanted_stream(self, stream, there, &mut changes);
        Ok((!changes.is_empty()).then_some(Step::Update(wanted, changes)))
    }

    async fn consumer_step(
        &self,
        consumer: &Consumer,
        deadline: Deadline,
    ) -> Result<Option<Step<consumer::Config>>, Unavailable> {
        let there = match self.consumer_info(consumer, deadline).await {
            Ok(info) => info.config,
            Err(ApiError::Refused(error))
                if matches!(
                    error.error_code(),
                    // A plan is also made when the stream is still to be created.
                    ErrorCode::CONSUMER_NOT_FOUND | ErrorCode::STREAM_NOT_FOUND
                ) =>
            {
                let blank = consumer::Config::default();
                return Ok(Some(Step::Create(wanted_consumer(self, consumer, blank))));
            }
            Err(other) => return Err(other.into()),
        };
        let mut immutable = Vec::new();
        set(
            &mut immutable,
            "ack_policy",
            &mut there.ack_policy.clone(),
            AckPolicy::Explicit,
        );
        set(
            &mut immutable,
            "deliver_policy",
            &mut there.deliver_policy.clone(),
            DeliverPolicy::All,
        );
        set(
            &mut immutable,
            "deliver_subject",
            &mut there.deliver_subject.clone(),
            None,
        );
        if !immutable.is_empty() {
            return Ok(Some(Step::Refuse(immutable)));
        }
        let (settings, wanted) = (consumer_settings(self, consumer), there);
        let mut changes = Vec::new();
        let wanted = settings.write(wanted, &mut changes);
        Ok((!changes.is_empty()).then_some(Step::Update(wanted, changes)))
    }
}

fn storage(stream: &Stream) -> StorageType {
    match stream.storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The settings that are ours; what else the server has stays as it is.
fn wanted_stream(
    link: &Link,
    stream: &Stream,
    mut config: stream::Config,
    changes: &mut Vec<String>,
) -> stream::Config {
    let bytes = link
        .settings
        .max_stream_bytes
        .map_or(stream.max_bytes, |cap| cap.min(stream.max_bytes));
    let age = Duration::from_secs(stream.max_age_secs);
    let window = Duration::from_secs(stream.duplicate_window_secs);
    let message = i32::try_from(stream.max_message_bytes).unwrap_or(i32::MAX);
    let discard = match stream.discard {
        Discard::New => DiscardPolicy::New,
        Discard::Old => DiscardPolicy::Old,
    };
    set(
        changes,
        "subjects",
        &mut config.subjects,
        link.names.subjects(stream.subjects),
    );
    set(changes, "max_age", &mut config.max_age, age);
    set(changes, "max_bytes", &mut config.max_bytes, signed(bytes));
    set(
        changes,
        "max_messages",
        &mut config.max_messages,
        signed(stream.max_messages),
    );
    set(
        changes,
        "max_message_size",
        &mut config.max_message_size,
        message,
    );
    set(
        changes,
        "duplicate_window",
        &mut config.duplicate_window,
        window,
    );
    set(changes, "discard", &mut config.discard, discard);
    set(
        changes,
        "replicas",
        &mut config.num_replicas,
        link.settings.replicas.max(1),
    );
    config
}

struct ConsumerSettings {
    name: String,
    filter_subjects: Vec<String>,
    ack_wait: Duration,
    max_ack_pending: i64,
}

fn consumer_settings(link: &Link, consumer: &Consumer) -> ConsumerSettings {
    ConsumerSettings {
        name: consumer.name.to_owned(),
        filter_subjects: link.names.subjects(consumer.filter_subjects),
        ack_wait: Duration::from_secs(consumer.ack_wait_secs),
        max_ack_pending: i64::from(consumer.max_ack_pending),
    }
}

fn wanted_consumer(link: &Link, consumer: &Consumer, config: consumer::Config) -> consumer::Config {
    consumer_settings(link, consumer).write(config, &mut Vec::new())
}

impl ConsumerSettings {
    fn write(self, mut config: consumer::Config, changes: &mut Vec<String>) -> consumer::Config {
        // The server keeps a single filter in the other field.
        if !config.filter_subject.is_empty() {
            config.filter_subjects = vec![std::mem::take(&mut config.filter_subject)];
        }
        set(
            changes,
            "durable_name",
            &mut config.durable_name,
            Some(self.name),
        );
        set(
            changes,
            "filter_subjects",
            &mut config.filter_subjects,
            self.filter_subjects,
        );
        set(changes, "ack_wait", &mut config.ack_wait, self.ack_wait);
        set(
            changes,
            "max_ack_pending",
            &mut config.max_ack_pending,
            self.max_ack_pending,
        );
        // Past its own limit the server drops a message in silence; parking is ours.
        set(changes, "max_deliver", &mut config.max_deliver, -1);
        // It would replace ack_wait.
        set(changes, "backoff", &mut config.backoff, Vec::new());
        config
    }
}
