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
        let header = |name: &str| decode_header(message.header(name).unwrap_or_default());
        let id = Self::id_of(message)?;
        let time = match message.header("ce-time") {
            Some(text) => Timestamp::parse(&decode_header(text))
                .map_err(|e| format!("header ce-time: {e}"))?,
            None => Timestamp::from_millis(0),
        };
        let aggregate_version = match message.header("ce-aggregateversion") {
            Some(text) => text
                .parse()
                .map_err(|_| format!("header ce-aggregateversion: {text:?} is not a number"))?,
            None => 0,
        };
        let kind = match message.header("ce-type") {
            Some(kind) => decode_header(kind),
            None => message.subject.clone(),
        };
        let body: serde_json::Value =
            serde_json::from_slice(&message.body).map_err(|e| format!("body is not JSON: {e}"))?;
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
            traceparent: message.header("traceparent").unwrap_or_default().to_owned(),
            subject: message.subject.clone(),
            body,
        })
    }

    /// The id that the event in `message` has, or gets because its producer gave none. Who
    /// publishes a message again (a replay) sends this along as `ce-id`, so that it stays the
    /// same event.
    pub fn id_of(message: &RawMessage) -> Result<EventId, String> {
        match message
            .header("ce-id")
            .or_else(|| message.header("Nats-Msg-Id"))
        {
            Some(id) => EventId::parse(&decode_header(id)).or_else(|_| derived_id(message)),
            None => derived_id(message),
        }
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
        ("ce-source", encode_header(&event.source)),
        ("ce-type", encode_header(&event.subject)),
        ("ce-subject", encode_header(&event.aggregate)),
        ("ce-time", event.time.rfc3339()),
        ("ce-aggregateversion", event.aggregate_version.to_string()),
        ("ce-correlationid", encode_header(&event.correlation)),
        ("ce-datacontenttype", "application/json".to_owned()),
    ];
    if !event.causation.is_empty() {
        headers.push(("ce-causationid", encode_header(&event.causation)));
    }
    // Not an attribute of CloudEvents: sent as it is, or not at all.
    if !event.traceparent.is_empty() && event.traceparent.bytes().all(|b| b.is_ascii_graphic()) {
        headers.push(("traceparent", event.traceparent.clone()));
    }
    headers
}

/// A text as the value of a header: whatever is not printable ASCII, and space, double quote
/// and percent, is percent-encoded (the NATS binding of CloudEvents).
pub fn encode_header(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'%');
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if plain(byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = std::fmt::Write::write_fmt(&mut encoded, format_args!("%{byte:02X}"));
        }
    }
    encoded
}

/// The text of a header value. What is not properly encoded is taken as it is, since foreign
/// producers do not encode.
pub fn decode_header(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%')
            .then(|| value.get(at + 1..at + 3))
            .flatten()
            .filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| value.to_owned())
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
        let event_type = P::SUBJECT
            .split_once('.')
            .map_or(P::SUBJECT, |(_, rest)| rest);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_survive_whatever_they_hold() {
        for text in [
            "",
            "s-1",
            "a b",
            "é\n\"%41\"",
            "100%",
            "日本",
            "\r\nEvil: yes",
        ] {
            let encoded = encode_header(text);
            assert!(encoded.bytes().all(|b| b.is_ascii_graphic()), "{encoded}");
            assert_eq!(decode_header(&encoded), text);
        }
        assert_eq!(encode_header("a b"), "a%20b");
        for foreign in ["100%", "%zz", "%", "a b", "%ff"] {
            assert_eq!(decode_header(foreign), foreign);
        }
    }

    #[test]
    fn an_event_reads_back_as_it_was_written() {
        let time = Timestamp::from_millis(1_762_603_200_123);
        let event = OutboxEvent {
            id: EventId::parse("ev-1").unwrap(),
            subject: "planning.story.created".to_owned(),
            source: "fleet-planning".to_owned(),
            aggregate: "s-1".to_owned(),
            aggregate_version: 3,
            time,
            payload: r#"{"story_id":"s-1"}"#.to_owned(),
            correlation: "größe 1\n".to_owned(),
            causation: String::new(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        };
        let message = RawMessage {
            stream: "PLANNING_EVENTS".to_owned(),
            sequence: 7,
            subject: event.subject.clone(),
            headers: headers(&event)
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect(),
            body: event.payload.clone().into_bytes(),
        };
        let read = Event::from_parts(&message).unwrap();
        assert_eq!(
            (read.id, read.time, read.aggregate_version),
            (event.id, time, 3)
        );
        assert_eq!(read.correlation, event.correlation);
        assert_eq!(read.traceparent, event.traceparent);
        assert_eq!((read.kind, read.source), (event.subject, event.source));

        let mut foreign = RawMessage {
            headers: vec![],
            ..message
        };
        assert_eq!(
            Event::from_parts(&foreign).unwrap().id.as_str(),
            "ev-PLANNING_EVENTS-7"
        );
        assert_eq!(Event::from_parts(&foreign).unwrap().time.millis(), 0);
        for (bad, complaint) in [
            ("[]", "not a JSON object"),
            ("{", "not JSON"),
            ("", "not JSON"),
        ] {
            foreign.body = bad.as_bytes().to_vec();
            assert!(
                Event::from_parts(&foreign).unwrap_err().contains(complaint),
                "{bad}"
            );
        }
        foreign.headers = vec![("CE-Time".to_owned(), "yesterday".to_owned())];
        assert!(
            Event::from_parts(&foreign)
                .unwrap_err()
                .starts_with("header ce-time")
        );
    }
}
