//! A durable pull consumer. We keep our own account of what was asked for: a fetch asks for
//! what is missing to the caller's room and returns with the first messages; the rest of the
//! request stays with the server until it is used up or expires.

use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber, jetstream};
use async_trait::async_trait;
use fleet_events::{Delivery, RawMessage, Subscription};
use fleet_graph::{Deadline, Unavailable};
use futures::{FutureExt, StreamExt};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use crate::{
    link::{Link, away},
    wire::header_list,
};

/// How long a request for messages stays with the server.
const REQUEST_FOR: Duration = Duration::from_secs(30);

/// One opened consumer.
pub(crate) struct Pull {
    link: Link,
    /// The plain name of its stream.
    stream: &'static str,
    next: String,
    inbox: String,
    messages: Subscriber,
    /// Messages asked for and not had yet.
    outstanding: usize,
    /// The connection under which they were asked for.
    epoch: u64,
    /// When the server last gave a sign of life here.
    heard: Instant,
}

impl Pull {
    pub(crate) async fn open(
        link: Link,
        stream: &'static str,
        consumer: &str,
        deadline: Deadline,
    ) -> Result<Self, Unavailable> {
        let inbox = link.client.new_inbox();
        let subscribed = timeout_at(deadline.instant(), link.client.subscribe(inbox.clone()));
        let messages = match subscribed.await {
            Ok(Ok(messages)) => messages,
            Ok(Err(error)) => return Err(away(error.to_string())),
            Err(_) => return Err(away("subscribing took too long")),
        };
        let next = format!(
            "$JS.API.CONSUMER.MSG.NEXT.{}.{consumer}",
            link.names.stream(stream)
        );
        let epoch = link.epoch();
        Ok(Self {
            link,
            stream,
            next,
            inbox,
            messages,
            outstanding: 0,
            epoch,
            heard: Instant::now(),
        })
    }

    async fn ask(&mut self, count: usize) -> Result<(), Unavailable> {
        let heartbeat = self.link.settings.heartbeat.min(REQUEST_FOR / 2);
        let request = json!({
            "batch": count,
            "expires": u64::try_from(REQUEST_FOR.as_nanos()).unwrap_or(u64::MAX),
            "idle_heartbeat": u64::try_from(heartbeat.as_nanos()).unwrap_or(u64::MAX),
        });
        let (next, inbox) = (self.next.clone(), self.inbox.clone());
        let sent = self
            .link
            .client
            .publish_with_reply(next, inbox, request.to_string().into());
        match tokio::time::timeout(self.link.settings.connect_within, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(away(error.to_string())),
            Err(_) => return Err(away("the client does not get rid of its requests")),
        }
        if self.outstanding == 0 {
            self.heard = Instant::now();
        }
        self.outstanding += count;
        Ok(())
    }

    /// Takes a message of the inbox: a delivery, or a word of the server about our requests.
    fn take(&mut self, message: Message) -> Result<Option<Box<dyn Delivery>>, Unavailable> {
        self.heard = Instant::now();
        match message.status {
            None => {}
            Some(StatusCode::IDLE_HEARTBEAT) => return Ok(None),
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.give_up(&message);
                return Ok(None);
            }
            Some(StatusCode::REQUEST_TERMINATED) => {
                let why = message.description.clone().unwrap_or_default();
                let lower = why.to_ascii_lowercase();
                if lower.contains("batch completed") {
                    self.give_up(&message);
                    return Ok(None);
                }
                return Err(away(format!("the server ended the requests: {why}")));
            }
            Some(StatusCode::NO_RESPONDERS) => {
                return Err(away("the consumer does not exist (any more)"));
            }
            Some(other) => {
                let why = message.description.clone().unwrap_or_default();
                return Err(away(format!("the server answered {other} {why}")));
            }
        }
        self.outstanding = self.outstanding.saturating_sub(1);
        let message = jetstream::Message {
            message,
            context: self.link.context.clone(),
        };
        match NatsDelivery::read(self.link.clone(), self.stream, &message) {
            Ok(delivery) => Ok(Some(Box::new(delivery))),
            Err(problem) => {
                tracing::warn!(problem, "something that is no delivery came to a consumer");
                Ok(None)
            }
        }
    }

    /// A request is over with so many messages missing.
    fn give_up(&mut self, status: &Message) {
        let pending = status
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Pending-Messages"))
            .and_then(|pending| pending.as_str().parse().ok())
            .unwrap_or(self.outstanding);
        self.outstanding = self.outstanding.saturating_sub(pending);
    }
}

#[async_trait]
impl Subscription for Pull {
    async fn fetch(
        &mut self,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Box<dyn Delivery>>, Unavailable> {
        let max = max.max(1);
        let until = Instant::now() + wait;
        let silence = 2 * self.link.settings.heartbeat + Duration::from_secs(1);
        let mut got: Vec<Box<dyn Delivery>> = Vec::new();
        loop {
            let epoch = self.link.epoch();
            if epoch != self.epoch {
                // The server forgot our requests with the old connection.
                self.epoch = epoch;
                self.outstanding = 0;
            }
            if !got.is_empty() {
                match self.messages.next().now_or_never() {
                    Some(Some(message)) => match self.take(message) {
                        Ok(delivery) => got.extend(delivery),
                        // What we have comes first; the problem shows again.
                        Err(problem) => {
                            tracing::debug!(%problem, "consumer has a problem");
                            self.outstanding = 0;
                            return Ok(got);
                        }
                    },
                    Some(None) | None => return Ok(got),
                }
                if got.len() >= max {
                    return Ok(got);
                }
                continue;
            }
            let up = self.link.is_up();
            if up && self.outstanding < max.div_ceil(2) {
                self.ask(max - self.outstanding).await?;
            }
            let quiet_until = self.heard + silence;
            let next = if self.outstanding > 0 {
                until.min(quiet_until)
            } else {
                until
            };
            tokio::select! {
                biased;
                message = self.messages.next() => match message {
                    Some(message) => got.extend(self.take(message)?),
                    None => return Err(away("the subscription is closed")),
                },
                () = self.link.change(next.saturating_duration_since(Instant::now())) => {}
            }
            let now = Instant::now();
            if got.is_empty() && self.outstanding > 0 && now >= self.heard + silence {
                return Err(away("no heartbeat of the consumer"));
            }
            if got.is_empty() && now >= until {
                return if self.link.is_up() {
                    Ok(got)
                } else {
                    Err(self.link.down())
                };
            }
        }
    }

    async fn close(&mut self) {
        let closing = async {
            // Ends the stream behind what is already on its way.
            self.messages.drain().await.ok()?;
            while let Some(message) = self.messages.next().await {
                if message.status.is_none()
                    && let Ok(Some(delivery)) = self.take(message)
                {
                    delivery.retry(Duration::ZERO).await.ok()?;
                }
            }
            self.link.client.flush().await.ok()
        };
        if tokio::time::timeout(Duration::from_secs(1), closing)
            .await
            .is_err()
        {
            tracing::debug!("a subscription was not closed in time; its messages come later");
        }
    }
}

/// A message in our hands.
struct NatsDelivery {
    link: Link,
    message: RawMessage,
    reply: String,
    deliveries: u64,
}

impl NatsDelivery {
    fn read(link: Link, stream: &str, message: &jetstream::Message) -> Result<Self, String> {
        let reply = message
            .reply
            .as_ref()
            .ok_or("no reply subject")?
            .to_string();
        let info = message.info().map_err(|e| e.to_string())?;
        let raw = RawMessage {
            stream: stream.to_owned(),
            sequence: info.stream_sequence,
            subject: link.names.plain(&message.subject).to_owned(),
            headers: header_list(message.headers.as_ref()),
            body: message.payload.to_vec(),
        };
        let deliveries = u64::try_from(info.delivered).unwrap_or(1).max(1);
        Ok(Self {
            link,
            message: raw,
            reply,
            deliveries,
        })
    }
}

#[async_trait]
impl Delivery for NatsDelivery {
    fn message(&self) -> &RawMessage {
        &self.message
    }

    fn deliveries(&self) -> u64 {
        self.deliveries
    }

    async fn ack(&self) -> Result<(), Unavailable> {
        self.link.send(&self.reply, b"+ACK").await
    }

    async fn retry(&self, delay: Duration) -> Result<(), Unavailable> {
        if delay.is_zero() {
            return self.link.send(&self.reply, b"-NAK").await;
        }
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.link
            .send(
                &self.reply,
                format!("-NAK {{\"delay\": {nanos}}}").as_bytes(),
            )
            .await
    }

    async fn in_progress(&self) -> Result<(), Unavailable> {
        self.link.send(&self.reply, b"+WPI").await
    }

    async fn terminate(&self) -> Result<(), Unavailable> {
        self.link.send(&self.reply, b"+TERM").await
    }
}
