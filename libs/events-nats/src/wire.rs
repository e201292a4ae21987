//! Messages as the server has them: headers, limits, and how a parked message is written.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use fleet_events::{Event, Parked, RawMessage, TARGET_CONSUMER, decode_header, encode_header};

/// Headers the server reads; copies of a message must not carry them along as they are.
const SERVER_PREFIX: &str = "nats-";
/// Where a parked message keeps them.
const KEPT_PREFIX: &str = "Fleet-Kept-";

const PARKED_STREAM: &str = "Fleet-Parked-Stream";
const PARKED_SEQUENCE: &str = "Fleet-Parked-Sequence";
const PARKED_SUBJECT: &str = "Fleet-Parked-Subject";
const PARKED_CONSUMER: &str = "Fleet-Parked-Consumer";
const PARKED_REASON: &str = "Fleet-Parked-Reason";
const PARKED_DELIVERIES: &str = "Fleet-Parked-Deliveries";
const PARKED_AT: &str = "Fleet-Parked-At";
/// Set if there was no room for the body beside the headers; it is in the original stream.
const PARKED_BODY_ELSEWHERE: &str = "Fleet-Parked-Body-Elsewhere";

/// What is left free for the headers of a parked copy when an event is published.
pub(crate) const ROOM_FOR_PARKING: usize = 8 * 1024;

/// Headers in the form of the client, with the bytes they take on the wire. Names and values
/// that cannot be written are left out: they can only come from a foreign producer by other
/// means than this server.
pub(crate) fn header_map<'h>(
    headers: impl IntoIterator<Item = (&'h str, &'h str)>,
) -> (HeaderMap, usize) {
    let mut map = HeaderMap::new();
    // "NATS/1.0\r\n" and the empty line.
    let mut bytes = 12;
    for (name, value) in headers {
        if let (Ok(name_on_wire), Ok(value_on_wire)) =
            (name.parse::<HeaderName>(), value.parse::<HeaderValue>())
        {
            bytes += name.len() + value.len() + 4;
            map.append(name_on_wire, value_on_wire);
        }
    }
    (map, bytes)
}

/// Headers by name; those of one name in their order.
pub(crate) fn header_list(map: Option<&HeaderMap>) -> Vec<(String, String)> {
    let mut list: Vec<(String, String)> = map
        .into_iter()
        .flat_map(HeaderMap::iter)
        .flat_map(|(name, values)| {
            values
                .iter()
                .map(move |value| (name.to_string(), value.as_str().to_owned()))
        })
        .collect();
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

/// A message to be published, without its place on the bus.
pub(crate) struct Outgoing {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// A parked message as it is stored. Over `limit` bytes the body is left out: it stays in its
/// own stream.
pub(crate) fn parked_message(parked: &Parked, limit: usize) -> Outgoing {
    let kept: Vec<(String, String)> = parked
        .message
        .headers
        .iter()
        .map(|(name, value)| {
            if name.to_ascii_lowercase().starts_with(SERVER_PREFIX) {
                (format!("{KEPT_PREFIX}{name}"), value.clone())
            } else {
                (name.clone(), value.clone())
            }
        })
        .collect();
    let own = [
        // Stored once, however often it is parked.
        (
            "Nats-Msg-Id",
            format!(
                "parked-{}-{}-{}",
                parked.stream, parked.message.sequence, parked.consumer
            ),
        ),
        (PARKED_STREAM, encode_header(&parked.stream)),
        (PARKED_SEQUENCE, parked.message.sequence.to_string()),
        (PARKED_SUBJECT, encode_header(&parked.message.subject)),
        (PARKED_CONSUMER, encode_header(&parked.consumer)),
        (PARKED_REASON, encode_header(&parked.reason)),
        (PARKED_DELIVERIES, parked.deliveries.to_string()),
        (PARKED_AT, encode_header(&parked.parked_at)),
    ];
    let all = || {
        let own = own.iter().map(|(name, value)| (*name, value.as_str()));
        own.chain(
            kept.iter()
                .map(|(name, value)| (name.as_str(), value.as_str())),
        )
    };
    let (headers, bytes) = header_map(all());
    if bytes + parked.message.body.len() <= limit {
        return Outgoing {
            headers,
            body: parked.message.body.clone(),
        };
    }
    let (mut headers, bytes) = header_map(all());
    if bytes > limit / 2 {
        // Headers can be as large as a message: then only our own are kept.
        headers = header_map(own.iter().map(|(name, value)| (*name, value.as_str()))).0;
    }
    headers.insert(PARKED_BODY_ELSEWHERE, "true");
    Outgoing {
        headers,
        body: Vec::new(),
    }
}

/// A parked message as it was stored, and whether its body has to be fetched from its stream.
pub(crate) fn read_parked(sequence: u64, headers: &HeaderMap, body: &[u8]) -> (Parked, bool) {
    let list = header_list(Some(headers));
    let text = |name: &str| {
        let found = list.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map_or_else(String::new, |(_, value)| decode_header(value))
    };
    let number = |name: &str| text(name).parse().unwrap_or(0);
    let elsewhere = !text(PARKED_BODY_ELSEWHERE).is_empty();
    let original = list
        .iter()
        .filter_map(|(name, value)| match name.strip_prefix(KEPT_PREFIX) {
            Some(kept) => Some((kept.to_owned(), value.clone())),
            None if name.starts_with("Fleet-Parked-") => None,
            None if name.to_ascii_lowercase().starts_with(SERVER_PREFIX) => None,
            None => Some((name.clone(), value.clone())),
        })
        .collect();
    let message = RawMessage {
        stream: text(PARKED_STREAM),
        sequence: number(PARKED_SEQUENCE),
        subject: text(PARKED_SUBJECT),
        headers: original,
        body: body.to_vec(),
    };
    let parked = Parked {
        sequence,
        stream: message.stream.clone(),
        consumer: text(PARKED_CONSUMER),
        reason: text(PARKED_REASON),
        deliveries: number(PARKED_DELIVERIES),
        parked_at: text(PARKED_AT),
        message,
    };
    (parked, elsewhere)
}

/// A parked message as it is said again: the same event, for its consumer alone, under a
/// message id of its own (the server still knows the first one).
pub(crate) fn replayed_message(parked: &Parked) -> Outgoing {
    let mut headers: Vec<(String, String)> = parked
        .message
        .headers
        .iter()
        .filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            !name.starts_with(SERVER_PREFIX)
                && name != TARGET_CONSUMER.to_ascii_lowercase()
                && name != "ce-id"
        })
        .cloned()
        .collect();
    if let Ok(id) = Event::id_of(&parked.message) {
        headers.push(("ce-id".to_owned(), id.to_string()));
    }
    headers.push((TARGET_CONSUMER.to_owned(), parked.consumer.clone()));
    headers.push((
        "Nats-Msg-Id".to_owned(),
        format!(
            "replay-{}-{}-{}-{}",
            parked.stream, parked.message.sequence, parked.consumer, parked.sequence
        ),
    ));
    let (headers, _) = header_map(headers.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    Outgoing {
        headers,
        body: parked.message.body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked() -> Parked {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        Parked {
            sequence: 0,
            stream: "AGENT_WORK".to_owned(),
            consumer: "workflow-agent-work".to_owned(),
            reason: "body is not JSON:\r\n„x“".to_owned(),
            deliveries: 3,
            parked_at: "2025-11-08T12:00:00.000Z".to_owned(),
            message: RawMessage {
                stream: "AGENT_WORK".to_owned(),
                sequence: 9,
                subject: "agent.work.completed".to_owned(),
                headers: vec![
                    header("Nats-Msg-Id", "ev-1"),
                    header("X-Own", "a"),
                    header("X-Own", "b"),
                ],
                body: vec![0, 159, 146, 150],
            },
        }
    }

    #[test]
    fn a_parked_message_reads_back_as_it_was() {
        let parked = parked();
        let stored = parked_message(&parked, 1 << 20);
        let id = stored.headers.get("Nats-Msg-Id").unwrap();
        assert_eq!(id.as_str(), "parked-AGENT_WORK-9-workflow-agent-work");
        let (read, elsewhere) = read_parked(5, &stored.headers, &stored.body);
        assert!(!elsewhere);
        assert_eq!(
            read,
            Parked {
                sequence: 5,
                ..parked
            }
        );
    }

    #[test]
    fn what_does_not_fit_leaves_its_body_where_it_is() {
        let mut parked = parked();
        parked.message.body = vec![b'x'; 1 << 20];
        let stored = parked_message(&parked, 1 << 20);
        assert!(stored.body.is_empty());
        let (read, elsewhere) = read_parked(5, &stored.headers, &stored.body);
        assert!(elsewhere);
        assert_eq!(
            (read.message.sequence, read.reason),
            (9, parked.reason.clone())
        );
        assert_eq!(read.message.headers, parked.message.headers);
        parked
            .message
            .headers
            .push(("X-Huge".to_owned(), "y".repeat(1 << 20)));
        let (read, elsewhere) = {
            let stored = parked_message(&parked, 1 << 20);
            read_parked(5, &stored.headers, &stored.body)
        };
        assert!(elsewhere && read.message.headers.is_empty());
        assert_eq!(read.consumer, parked.consumer);
    }

    #[test]
    fn a_replay_is_the_same_event_under_another_message_id() {
        let mut parked = Parked {
            sequence: 4,
            ..parked()
        };
        let replay = replayed_message(&parked);
        let list = header_list(Some(&replay.headers));
        let get = |name: &str| {
            list.iter()
                .find(|(n, _)| n == name)
                .map(|(_, v)| v.as_str())
        };
        assert_eq!(get("ce-id"), Some("ev-1"));
        assert_eq!(get(TARGET_CONSUMER), Some("workflow-agent-work"));
        assert_eq!(
            get("Nats-Msg-Id"),
            Some("replay-AGENT_WORK-9-workflow-agent-work-4")
        );
        parked.message.headers.clear();
        let list = header_list(Some(&replayed_message(&parked).headers));
        assert!(list.contains(&("ce-id".to_owned(), "ev-AGENT_WORK-9".to_owned())));
    }
}
