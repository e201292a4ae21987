//! The envelope: CloudEvents 1.0, NATS binding, binary mode. The body is the flat JSON of the
//! payload; everything about the event itself travels in headers.

use fleet_graph::OutboxEvent;
use fleet_types::{EventId, Ids, Timestamp};
use serde::de::DeserializeOwned;

use crate::{RawMessage, payload::Payload};

/// CloudEvents `specversion`.
pub const SPEC_VERSION: &str = "1.0";

/// A received event with its envelope read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `ce-id`: unique for ever.
    pub id: EventId,
    /// `ce-type`: equals the subject for everything the fleet says.
    pub kind: String,
    /// `ce-source`: who said it.
    pub source: String,
    /// `ce-subject`: what it is about.
    pub aggregate: String,
    /// `ce-aggregateversion`; 0 if the sender does not count.
    pub aggregate_version: i64,
    /// `ce-time`.
    pub time: Timestamp,
    /// `ce-correlationid`.
    pub correlation: String,
    /// `ce-causationid`.
    pub causation: String,
    /// W3C `traceparent`; empty if none.
    pub traceparent: String,
    /// The subject it came on.
    pub subject: String,
    /// The JSON body.
    pub body: serde_json::Value,
}

impl Event {
    /// Reads headers and body. Foreign producers (agents of older versions) may leave out
    /// everything but `ce-id`: the id then comes from `Nats-Msg-Id`, or is derived from the
    /// message's place in its stream, which is stable over redeliveries.
    pub fn from_parts(message: &RawMessage) -> Result<Self, String> {
        let header = |name: &str| message.header(name).unwrap_or_default().to_owned();
        let id = match message.header("ce-id").or_else(|| message.header("Nats-Msg-Id")) {
            Some(id) => EventId::parse(id).or_else(|_| derived_id(message))?,
            None => derived_id(message)?,
        };
        let time = match message.header("ce-time") {
            Some(text) => Timestamp::parse(text).map_err(|e| format!("header ce-time: {e}"))?,
            None => Timestamp::from_millis(0),
        };
        let aggregate_version = match message.header("ce-aggregateversion") {
            Some(text) => text
                .parse()
                .map_err(|_| format!("header ce-aggregateversion: {text:?} is not a number"))?,
            None => 0,
        };
        let kind = match message.header("ce-type") {
            Some(kind) => kind.to_owned(),
            None => message.subject.clone(),
        };
        let body: serde_json::Value = serde_json::from_slice(&message.body)
            .map_err(|e| format!("body is not JSON: {e}"))?;
        if !body.is_object() {
            return Err("body is not a JSON object".to_owned());
        }
        Ok(Self {
            id,
            kind,
            source: header("ce-source"),
            aggregate: header("ce-subject"),
            aggregate_version,
            time,
            correlation: header("ce-correlationid"),
            causation: header("ce-causationid"),
            traceparent: header("traceparent"),
            subject: message.subject.clone(),
            body,
        })
    }

    /// The body as a typed payload; the error names the field and is a reason to park.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(&self.body).map_err(|e| format!("payload of {}: {e}", self.kind))
    }
}

/// Headers of an event as it goes on the bus.
pub fn headers(event: &OutboxEvent) -> Vec<(&'static str, String)> {
    let mut headers = vec![
        ("Nats-Msg-Id", event.id.to_string()),
        ("ce-specversion", SPEC_VERSION.to_owned()),
        ("ce-id", event.id.to_string()),
        ("ce-source", event.source.clone()),
        ("ce-type", event.subject.clone()),
        ("ce-subject", event.aggregate.clone()),
        ("ce-time", event.time.rfc3339()),
        ("ce-aggregateversion", event.aggregate_version.to_string()),
        ("ce-correlationid", event.correlation.clone()),
        ("ce-datacontenttype", "application/json".to_owned()),
    ];
    if !event.causation.is_empty() {
        headers.push(("ce-causationid", event.causation.clone()));
    }
    if !event.traceparent.is_empty() {
        headers.push(("traceparent", event.traceparent.clone()));
    }
    headers
}

fn derived_id(message: &RawMessage) -> Result<EventId, String> {
    let text = format!("ev-{}-{}", message.stream, message.sequence);
    EventId::parse(&text).map_err(|e| format!("event id {e}"))
}

/// Where events come from: who says them and what led to them. One for each handled request
/// or consumed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// CloudEvents `source`, e.g. `fleet-planning`.
    pub source: &'static str,
    /// One id from the first request to the last effect.
    pub correlation: String,
    /// The event or request that caused this; empty if none.
    pub causation: String,
    /// W3C trace context; empty if none.
    pub traceparent: String,
}

impl Origin {
    /// The origin of everything that handling `event` causes.
    pub fn caused_by(source: &'static str, event: &Event) -> Self {
        let correlation = match event.correlation.as_str() {
            "" => event.id.to_string(),
            given => given.to_owned(),
        };
        Self {
            source,
            correlation,
            causation: event.id.to_string(),
            traceparent: event.traceparent.clone(),
        }
    }

    /// An event for the outbox. The body is the flat payload plus `event_type`, the subject
    /// without its first word.
    pub fn event<P: Payload>(
        &self,
        ids: &dyn Ids,
        time: Timestamp,
        aggregate: &str,
        aggregate_version: i64,
        payload: &P,
    ) -> OutboxEvent {
        let mut body = fleet_graph::props(payload);
        let event_type = P::SUBJECT.split_once('.').map_or(P::SUBJECT, |(_, rest)| rest);
        body.insert("event_type".to_owned(), event_type.into());
        OutboxEvent {
            id: EventId::mint(ids.uuid()),
            subject: P::SUBJECT.to_owned(),
            source: self.source.to_owned(),
            aggregate: aggregate.to_owned(),
            aggregate_version,
            time,
            payload: serde_json::Value::Object(body).to_string(),
            correlation: self.correlation.clone(),
            causation: self.causation.clone(),
            traceparent: self.traceparent.clone(),
        }
    }
}
