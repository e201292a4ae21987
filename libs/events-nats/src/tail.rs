//! Following a stream: an ordered consumer of this process alone.

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use async_trait::async_trait;
use fleet_events::{RawMessage, Tail};
use fleet_graph::{Deadline, Unavailable};
use futures::StreamExt;
use tokio::time::timeout_at;

use crate::{
    link::{Link, away},
    wire::header_list,
};

pub(crate) struct Follow {
    link: Link,
    stream: &'static str,
    messages: pull::Ordered,
}

impl Follow {
    pub(crate) async fn open(
        link: Link,
        stream: &'static fleet_topology::Stream,
        subjects: &[&str],
        deadline: Deadline,
    ) -> Result<Self, Unavailable> {
        let on_server = link.names.stream(stream.name);
        // From a place, not from "new": a consumer that has to be made again before its first
        // message must not skip what was said meanwhile.
        let last = link.stream_info(stream.name, deadline).await?.state.last_sequence;
        let config = pull::OrderedConfig {
            filter_subjects: link.names.subjects(subjects),
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: last + 1 },
            ..Default::default()
        };
        let opened = async {
            let consumer = link
                .context
                .create_consumer_on_stream(config, &on_server)
                .await
                .map_err(|error| away(error.to_string()))?;
            consumer.messages().await.map_err(|error| away(error.to_string()))
        };
        let messages = timeout_at(deadline.instant(), opened)
            .await
            .map_err(|_| away("the tail could not be opened within the deadline"))??;
        Ok(Self { link, stream: stream.name, messages })
    }
}

#[async_trait]
impl Tail for Follow {
    async fn next(&mut self) -> Result<RawMessage, Unavailable> {
        let message = match self.messages.next().await {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(away(error.to_string())),
            None => return Err(away("the tail has ended")),
        };
        let sequence = message.info().map_err(|error| away(error.to_string()))?.stream_sequence;
        Ok(RawMessage {
            stream: self.stream.to_owned(),
            sequence,
            subject: self.link.names.plain(&message.subject).to_owned(),
            headers: header_list(message.headers.as_ref()),
            body: message.payload.to_vec(),
        })
    }
}
