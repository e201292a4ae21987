//! The port, put together.

use std::time::Duration;

use async_nats::jetstream::{
    self, ErrorCode,
    stream::{DeleteStatus, RawMessageErrorKind},
};
use async_trait::async_trait;
use fleet_events::{
    Bus, Drift, Fill, PARKED_STREAM, Parked, PublishError, Published, Subscription, Tail,
};
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use fleet_topology::{Consumer, Stream, streams::FLEET_PARKED};
use serde_json::json;
use tokio::time::timeout_at;

use crate::{
    ConnectError, Settings,
    link::{ApiError, Link, away},
    publish::unavailable,
    pull::Pull,
    tail::Follow,
    wire::{parked_message, read_parked, replayed_message},
};

/// The bus on a NATS server (or cluster). Clones share the connection.
#[derive(Clone)]
pub struct NatsBus {
    link: Link,
}

impl NatsBus {
    /// A bus that connects in the background and goes on trying, now and whenever the
    /// connection is lost. Fails only if the settings can never work.
    pub async fn connect(settings: Settings) -> Result<Self, ConnectError> {
        Ok(Self {
            link: Link::open(settings).await?,
        })
    }

    /// Waits until everything that was sent is on its way (answers to messages have no
    /// acknowledgement of their own); for the end of a process.
    pub async fn flush(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.link.up(deadline).await?;
        match timeout_at(deadline.instant(), self.link.client.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(away(error.to_string())),
            Err(_) => Err(away("not flushed within the deadline")),
        }
    }

    /// How full each stream is, in percent of its narrowest limit (size or count).
    pub async fn fill(&self, deadline: Deadline) -> Result<Vec<(&'static str, u8)>, Unavailable> {
        let mut fill = Vec::new();
        for stream in fleet_topology::STREAMS {
            let info = self.link.stream_info(stream.name, deadline).await?;
            let share = |used: u64, limit: i64| match u64::try_from(limit) {
                Ok(limit) if limit > 0 => used.saturating_mul(100) / limit,
                _ => 0,
            };
            let bytes = share(info.state.bytes, info.config.max_bytes);
            let messages = share(info.state.messages, info.config.max_messages);
            fill.push((
                stream.name,
                u8::try_from(bytes.max(messages)).unwrap_or(u8::MAX),
            ));
        }
        Ok(fill)
    }

    /// The stored message at, or if `next` after, a place in a stream.
    async fn stored(
        &self,
        stream: &str,
        sequence: u64,
        next: bool,
        deadline: Deadline,
    ) -> Result<Option<jetstream::message::StreamMessage>, Unavailable> {
        self.link.up(deadline).await?;
        let on_server = self.link.names.stream(stream);
        let read = async {
            let stream = self
                .link
                .context
                .get_stream_no_info(&on_server)
                .await
                .map_err(|error| away(error.to_string()))?;
            let mut request = stream.raw_message_builder().sequence(sequence);
            if next {
                request = request.next_by_subject(self.link.names.subject("parked.>"));
            }
            match request.send().await {
                Ok(message) => Ok(Some(message)),
                Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
                Err(error) => Err(away(error.to_string())),
            }
        };
        timeout_at(deadline.instant(), read)
            .await
            .unwrap_or_else(|_| Err(away("no answer within the deadline")))
    }

    async fn read_parked(
        &self,
        message: &jetstream::message::StreamMessage,
        deadline: Deadline,
    ) -> Result<Parked, Unavailable> {
        let (mut parked, elsewhere) =
            read_parked(message.sequence, &message.headers, &message.payload);
        if elsewhere {
            let (stream, sequence) = (parked.stream.clone(), parked.message.sequence);
            let original = self.stored(&stream, sequence, false, deadline).await?;
            if let Some(original) = original {
                parked.message.body = original.payload.to_vec();
            }
        }
        Ok(parked)
    }
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(
        &self,
        events: &[OutboxEvent],
        deadline: Deadline,
    ) -> Vec<Result<Published, PublishError>> {
        self.link.publish_events(events, deadline).await
    }

    /// A consumer that does not exist is created (it may have been deleted with its server's
    /// disk); one that does is left as it is, whatever the topology says: that is `apply`.
    async fn subscribe(
        &self,
        consumer: &'static Consumer,
        deadline: Deadline,
    ) -> Result<Box<dyn Subscription>, Unavailable> {
        self.link.ensure_consumer(consumer, deadline).await?;
        let pull = Pull::open(self.link.clone(), consumer.stream, consumer.name, deadline).await?;
        Ok(Box::new(pull))
    }

    async fn tail(
        &self,
        stream: &'static Stream,
        subjects: &[&str],
        deadline: Deadline,
    ) -> Result<Box<dyn Tail>, Unavailable> {
        Ok(Box::new(
            Follow::open(self.link.clone(), stream, subjects, deadline).await?,
        ))
    }

    async fn park(&self, parked: &Parked, deadline: Deadline) -> Result<(), Unavailable> {
        let message = parked_message(parked, self.link.max_message(&FLEET_PARKED));
        let subject = self.link.names.parked(&parked.stream, &parked.consumer);
        let plain = self.link.names.plain(&subject);
        self.link
            .put(plain, message, deadline)
            .await
            .map_err(unavailable)?;
        Ok(())
    }

    async fn parked(
        &self,
        after: u64,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Parked>, Unavailable> {
        let mut found: Vec<Parked> = Vec::new();
        let mut from = after.saturating_add(1);
        while found.len() < limit {
            let Some(message) = self.stored(PARKED_STREAM, from, true, deadline).await? else {
                break;
            };
            from = message.sequence + 1;
            found.push(self.read_parked(&message, deadline).await?);
        }
        Ok(found)
    }

    async fn replay_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable> {
        let Some(message) = self
            .stored(PARKED_STREAM, sequence, false, deadline)
            .await?
        else {
            return Ok(false);
        };
        let parked = self.read_parked(&message, deadline).await?;
        let subject = parked.message.subject.clone();
        self.link
            .put(&subject, replayed_message(&parked), deadline)
            .await
            .map_err(unavailable)?;
        self.drop_parked(sequence, deadline).await?;
        Ok(true)
    }

    async fn drop_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable> {
        let subject = format!(
            "STREAM.MSG.DELETE.{}",
            self.link.names.stream(PARKED_STREAM)
        );
        let request = json!({ "seq": sequence, "no_erase": true });
        match self
            .link
            .api::<DeleteStatus>(subject, &request, deadline)
            .await
        {
            Ok(status) => Ok(status.success),
            Err(ApiError::Refused(error))
                if matches!(
                    error.error_code(),
                    ErrorCode::STREAM_MESSAGE_DELETE_FAILED
                        | ErrorCode::NO_MESSAGE_FOUND
                        | ErrorCode::SEQUENCE_NOT_FOUND
                ) =>
            {
                Ok(false)
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn drift(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        self.link.drift(deadline).await
    }

    async fn apply(&self, deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        self.link.apply(deadline).await
    }

    async fn fill(&self, deadline: Deadline) -> Result<Vec<Fill>, Unavailable> {
        self.link.fill(deadline).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        if !self.link.is_up() {
            return Err(self.link.down());
        }
        let account: serde_json::Value = self
            .link
            .api("INFO".to_owned(), &json!({}), deadline)
            .await?;
        tracing::trace!(%account, "bus answers");
        Ok(())
    }

    fn epoch(&self) -> u64 {
        self.link.epoch()
    }

    fn sync_interval(&self) -> Duration {
        self.link.settings.sync_interval
    }
}
