//! Publishing: one request with an acknowledgement for each message, many at once, repeated
//! under the same message id until the deadline.

use std::time::Duration;

use async_nats::{
    HeaderMap, Request,
    client::RequestErrorKind,
    jetstream::{ErrorCode, publish::PublishAck, response::Response},
};
use fleet_events::{Backoff, PublishError, Published, headers};
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use futures::StreamExt;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    link::{Link, away},
    names::is_subject,
    wire::{Outgoing, ROOM_FOR_PARKING, header_map},
};

/// The first attempt never waits longer for its acknowledgement.
const LONGEST_FIRST_WAIT: Duration = Duration::from_secs(2);
/// Nor any other than this.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What one attempt came to.
enum Attempt {
    Acknowledged(Published),
    Refused(String),
    Full,
    Again(String),
}

impl Link {
    /// Publishes events, each with its own answer.
    pub(crate) async fn publish_events(
        &self,
        events: &[OutboxEvent],
        deadline: Deadline,
    ) -> Vec<Result<Published, PublishError>> {
        let publishes: Vec<_> = events
            .iter()
            .map(|event| self.publish_event(event, deadline))
            .collect();
        futures::stream::iter(publishes)
            .buffered(self.settings.window.max(1))
            .collect()
            .await
    }

    async fn publish_event(
        &self,
        event: &OutboxEvent,
        deadline: Deadline,
    ) -> Result<Published, PublishError> {
        let refused = |reason: String| PublishError::Refused {
            subject: event.subject.clone(),
            reason,
        };
        let stream = match fleet_topology::stream_of(&event.subject) {
            Some(stream) if is_subject(&event.subject) => stream,
            _ => return Err(refused("no stream takes this subject".to_owned())),
        };
        let list = headers(event);
        let (headers, header_bytes) =
            header_map(list.iter().map(|(name, value)| (*name, value.as_str())));
        let bytes = header_bytes + event.payload.len();
        let limit = self.max_message(stream) - ROOM_FOR_PARKING;
        if bytes > limit {
            return Err(refused(format!(
                "{bytes} bytes with headers; at most {limit}"
            )));
        }
        let message = Outgoing {
            headers,
            body: event.payload.clone().into_bytes(),
        };
        self.put(&event.subject, message, deadline).await
    }

    /// The largest message that a stream stores, headers included.
    pub(crate) fn max_message(&self, stream: &fleet_topology::Stream) -> usize {
        let stream = usize::try_from(stream.max_message_bytes).unwrap_or(usize::MAX);
        // Zero before the first connection.
        match self.client.max_payload() {
            0 => stream,
            server => server.min(stream),
        }
        .max(2 * ROOM_FOR_PARKING)
    }

    /// Publishes one message on a plain subject; acknowledged means stored.
    pub(crate) async fn put(
        &self,
        subject: &str,
        message: Outgoing,
        deadline: Deadline,
    ) -> Result<Published, PublishError> {
        let on_server = self.names.subject(subject);
        let body = bytes::Bytes::from(message.body);
        let mut attempt = 0;
        loop {
            attempt += 1;
            self.up(deadline).await?;
            let room = timeout_at(deadline.instant(), self.pace.window.acquire());
            let Ok(Ok(room)) = room.await else {
                return Err(away("too many publishes wait for their acknowledgement").into());
            };
            let wait = self.ack_wait(attempt).min(deadline.left());
            let asked_at = Instant::now();
            let until = asked_at + wait;
            let asked = self.ask(&on_server, message.headers.clone(), body.clone(), wait);
            let outcome = match timeout_at(until, asked).await {
                Ok(outcome) => outcome,
                Err(_) => Attempt::Again(format!("no acknowledgement within {wait:?}")),
            };
            drop(room);
            self.pace.note(asked_at.elapsed());
            let problem = match outcome {
                Attempt::Acknowledged(published) => return Ok(published),
                Attempt::Full => {
                    return Err(PublishError::StreamFull {
                        subject: subject.to_owned(),
                    });
                }
                Attempt::Refused(reason) => {
                    return Err(PublishError::Refused {
                        subject: subject.to_owned(),
                        reason,
                    });
                }
                Attempt::Again(problem) => problem,
            };
            let delay = self.settings.backoff.delay(attempt, self.settings.seed);
            if delay >= deadline.left() {
                return Err(away(problem).into());
            }
            sleep(delay).await;
        }
    }

    /// How long an attempt waits: long enough for a server that is merely slow, else its
    /// repetitions would slow it further.
    fn ack_wait(&self, attempt: u64) -> Duration {
        let first = self.settings.ack_within;
        let waits = Backoff {
            first: self
                .pace
                .reasonable()
                .clamp(first, first.max(LONGEST_FIRST_WAIT)),
            max: first.max(LONGEST_WAIT),
        };
        waits.plain(attempt)
    }

    async fn ask(
        &self,
        subject: &str,
        headers: HeaderMap,
        body: bytes::Bytes,
        wait: Duration,
    ) -> Attempt {
        let request = Request::new()
            .headers(headers)
            .payload(body)
            .timeout(Some(wait));
        let answer = match self.client.send_request(subject.to_owned(), request).await {
            Ok(answer) => answer,
            Err(error) => {
                return match error.kind() {
                    RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
                        Attempt::Refused(error.to_string())
                    }
                    RequestErrorKind::NoResponders => Attempt::Again(
                        "no stream listens (it is still starting, or was never applied)".to_owned(),
                    ),
                    RequestErrorKind::TimedOut | RequestErrorKind::Other => {
                        Attempt::Again(error.to_string())
                    }
                };
            }
        };
        match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
            Ok(Response::Ok(ack)) => Attempt::Acknowledged(Published {
                sequence: ack.sequence,
                duplicate: ack.duplicate,
            }),
            Ok(Response::Err { error }) => classify(&error),
            Err(error) => Attempt::Again(format!("acknowledgement does not read: {error}")),
        }
    }
}

/// Limits of the stream or of the account are ours to wait for, limits of the message are its
/// own fault, and everything else is the server's.
fn classify(error: &async_nats::jetstream::Error) -> Attempt {
    let text = error.to_string();
    match error.error_code() {
        ErrorCode::STREAM_STORE_FAILED if text.contains("maximum") => Attempt::Full,
        ErrorCode::INSUFFICIENT_RESOURCES
        | ErrorCode::STORAGE_RESOURCES_EXCEEDED
        | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => Attempt::Full,
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM => {
            Attempt::Refused(text)
        }
        _ if (400..500).contains(&error.code()) => Attempt::Refused(text),
        _ => Attempt::Again(text),
    }
}

/// For callers to whom every failure is one of the bus.
pub(crate) fn unavailable(error: PublishError) -> Unavailable {
    match error {
        PublishError::Unavailable(away) => away,
        PublishError::StreamFull { .. } => away(error.to_string()),
        PublishError::Refused { .. } => Unavailable {
            retryable: false,
            ..away(error.to_string())
        },
    }
}
