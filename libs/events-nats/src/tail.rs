//! Following a stream: an ordered consumer of this process alone, made again behind the last
//! message whenever the server forgets it.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_trait::async_trait;
use fleet_events::{RawMessage, Tail};
use fleet_graph::{Deadline, Unavailable};
use futures::StreamExt;
use tokio::time::{Instant, timeout_at};

use crate::{
    link::{Link, away},
    wire::header_list,
};

/// How long a tail tries to go on by itself before it says that it cannot.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Follow {
    link: Link,
    stream: &'static str,
    subjects: Vec<String>,
    /// The place of the last message given out (or skipped).
    after: u64,
    messages: Option<pull::Ordered>,
}

impl Follow {
    pub(crate) async fn open(
        link: Link,
        stream: &'static fleet_topology::Stream,
        subjects: &[&str],
        deadline: Deadline,
    ) -> Result<Self, Unavailable> {
        // From a place, not from "new": when the consumer has to be made again, what was said
        // meanwhile must not be skipped.
        let after = link
            .stream_info(stream.name, deadline)
            .await?
            .state
            .last_sequence;
        let subjects = link.names.subjects(subjects);
        let mut follow = Self {
            link,
            stream: stream.name,
            subjects,
            after,
            messages: None,
        };
        follow.messages = Some(follow.consume(deadline).await?);
        Ok(follow)
    }

    async fn consume(&mut self, deadline: Deadline) -> Result<pull::Ordered, Unavailable> {
        self.link.up(deadline).await?;
        let config = pull::OrderedConfig {
            filter_subjects: self.subjects.clone(),
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.after + 1,
            },
            ..Default::default()
        };
        let stream = self.link.names.stream(self.stream);
        let opened = async {
            let consumer = self
                .link
                .context
                .create_consumer_on_stream(config, &stream)
                .await
                .map_err(|error| away(error.to_string()))?;
            consumer
                .messages()
                .await
                .map_err(|error| away(error.to_string()))
        };
        timeout_at(deadline.instant(), opened)
            .await
            .map_err(|_| away("the tail could not be opened within the deadline"))?
    }

    /// The next message of the consumer; an error of it means that it has to be made again.
    async fn take(&mut self) -> Result<RawMessage, Unavailable> {
        let messages = match &mut self.messages {
            Some(messages) => messages,
            None => {
                let deadline = Deadline::after(self.link.settings.connect_within);
                let opened = self.consume(deadline).await?;
                self.messages.insert(opened)
            }
        };
        let message = match messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(away(error.to_string())),
            None => return Err(away("the consumer of the tail has ended")),
        };
        let sequence = message
            .info()
            .map_err(|error| away(error.to_string()))?
            .stream_sequence;
        Ok(RawMessage {
            stream: self.stream.to_owned(),
            sequence,
            subject: self.link.names.plain(&message.subject).to_owned(),
            headers: header_list(message.headers.as_ref()),
            body: message.payload.to_vec(),
        })
    }
}

#[async_trait]
impl Tail for Follow {
    /// After an error the tail may be asked again: it goes on where it was.
    async fn next(&mut self) -> Result<RawMessage, Unavailable> {
        let mut trouble: Option<Instant> = None;
        let mut failures = 0;
        loop {
            match self.take().await {
                Ok(message) if message.sequence <= self.after => {}
                Ok(message) => {
                    self.after = message.sequence;
                    return Ok(message);
                }
                Err(problem) => {
                    self.messages = None;
                    let since = *trouble.get_or_insert_with(Instant::now);
                    if since.elapsed() > PATIENCE {
                        return Err(problem);
                    }
                    tracing::debug!(%problem, stream = self.stream, "tail is opened again");
                    failures += 1;
                    let settings = &self.link.settings;
                    tokio::time::sleep(settings.backoff.delay(failures, settings.seed)).await;
                }
            }
        }
    }
}
