//! Watches how full the streams of the bus are, so that somebody is told long before a stream
//! refuses its publishers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use fleet_events::{Bus, Fill};
use fleet_graph::Deadline;
use fleet_topology::STREAM_ALARM_PERCENT;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::{SharedRegistry, Tasks};

/// How often the bus is asked, and how soon again when it is away.
const EVERY: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(5);
/// How long it has to answer.
const WITHIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: &'static str,
}

type Percent = Family<StreamLabel, Gauge>;

/// Looks as long as the process lives.
pub(crate) fn watch_fill(tasks: &Tasks, metrics: &SharedRegistry, bus: &Arc<dyn Bus>) {
    let percent = Percent::default();
    metrics.with(|registry| {
        registry.register(
            "fleet_stream_fill_percent",
            "Used share of the nearer limit of a stream",
            percent.clone(),
        );
    });
    let bus = bus.clone();
    tasks.keep("stream_fill", move |shutdown| {
        let (bus, percent) = (bus.clone(), percent.clone());
        async move {
            let mut over = BTreeSet::new();
            loop {
                let pause = match bus.fill(Deadline::after(WITHIN)).await {
                    Ok(fill) => {
                        for stream in &fill {
                            note(stream, &mut over, &percent);
                        }
                        EVERY
                    }
                    // That the bus is away is said elsewhere.
                    Err(away) => {
                        tracing::debug!(error = %away, "streams cannot be looked at");
                        AGAIN
                    }
                };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
        }
    });
}

/// Measures a stream; warns once when it comes over the alarm.
fn note(fill: &Fill, over: &mut BTreeSet<&'static str>, percent: &Percent) {
    let used = fill.percent();
    let label = StreamLabel {
        stream: fill.stream,
    };
    percent
        .get_or_create(&label)
        .set(i64::try_from(used).unwrap_or(i64::MAX));
    if used < u64::from(STREAM_ALARM_PERCENT) {
        over.remove(fill.stream);
    } else if over.insert(fill.stream) {
        tracing::warn!(
            stream = fill.stream,
            percent = used,
            messages = fill.messages,
            bytes = fill.bytes,
            "stream fills up: at 100 it refuses its publishers"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_limit_counts_and_the_alarm_is_said_once() {
        let (mut over, percent) = (BTreeSet::new(), Percent::default());
        let mut fill = Fill {
            stream: "PLANNING_EVENTS",
            messages: 10,
            max_messages: 1_000,
            bytes: 69,
            max_bytes: 100,
        };
        let label = StreamLabel {
            stream: fill.stream,
        };
        note(&fill, &mut over, &percent);
        assert!(over.is_empty());
        assert_eq!(percent.get_or_create(&label).get(), 69);
        fill.messages = 700;
        note(&fill, &mut over, &percent);
        note(&fill, &mut over, &percent);
        assert_eq!(over.len(), 1);
        fill.messages = 0;
        note(&fill, &mut over, &percent);
        assert!(over.is_empty());
        fill.max_bytes = 0;
        assert_eq!(fill.percent(), 0, "a stream without limit is never full");
    }
}
