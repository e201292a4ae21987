//! What the relay and the consumers count.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The one label: which consumer.
pub(crate) type ByConsumer = [(&'static str, &'static str); 1];

/// Counters of one process; clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) published: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) publish_failures: Counter,
    pub(crate) stream_full: Counter,
    pub(crate) overflow: Counter,
    pub(crate) swept: Counter,
    pub(crate) unpublished: Counter,
    pub(crate) pruned: Counter,
    pub(crate) backlog: Gauge,
    pub(crate) oldest: Gauge<f64, AtomicU64>,
    pub(crate) handled: Family<ByConsumer, Counter>,
    pub(crate) retried: Family<ByConsumer, Counter>,
    pub(crate) redelivered: Family<ByConsumer, Counter>,
    pub(crate) parked: Family<ByConsumer, Counter>,
    pub(crate) age: Family<ByConsumer, Histogram, fn() -> Histogram>,
    // Families cannot be summed up from outside.
    pub(crate) handled_sum: Counter,
    pub(crate) redelivered_sum: Counter,
    pub(crate) parked_sum: Counter,
}

/// The counters as plain numbers, since the start of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events that the bus acknowledged as new.
    pub published: u64,
    /// Events that the bus had already.
    pub duplicates: u64,
    /// Attempts to publish an event that failed.
    pub publish_failures: u64,
    /// Events that the sweeper, not the commit that caused them, brought to the bus.
    pub swept: u64,
    /// Events for which there was no room between commit and relay.
    pub overflow: u64,
    /// Deliveries that a handler digested.
    pub handled: u64,
    /// Deliveries that were not the first of their message.
    pub redelivered: u64,
    /// Messages that were parked.
    pub parked: u64,
    /// Events in the outbox, when it was last looked at.
    pub backlog: u64,
}

fn ages() -> Histogram {
    Histogram::new([
        0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3_600.0,
    ])
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            published: Counter::default(),
            duplicates: Counter::default(),
            publish_failures: Counter::default(),
            stream_full: Counter::default(),
            overflow: Counter::default(),
            swept: Counter::default(),
            unpublished: Counter::default(),
            pruned: Counter::default(),
            backlog: Gauge::default(),
            oldest: Gauge::default(),
            handled: Family::default(),
            retried: Family::default(),
            redelivered: Family::default(),
            parked: Family::default(),
            age: Family::new_with_constructor(ages as fn() -> Histogram),
            handled_sum: Counter::default(),
            redelivered_sum: Counter::default(),
            parked_sum: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes everything visible in `registry`; once per registry.
    pub fn register(&self, registry: &mut Registry) {
        let events = registry.sub_registry_with_prefix("fleet_events");
        events.register(
            "published",
            "Events the bus took as new",
            self.published.clone(),
        );
        events.register(
            "duplicates",
            "Events the bus had already",
            self.duplicates.clone(),
        );
        events.register(
            "publish_failures",
            "Attempts to publish an event that failed",
            self.publish_failures.clone(),
        );
        events.register(
            "stream_full",
            "Events refused because their stream is full",
            self.stream_full.clone(),
        );
        events.register("handled", "Deliveries digested", self.handled.clone());
        events.register("retried", "Deliveries put off", self.retried.clone());
        events.register(
            "redelivered",
            "Deliveries that were not the first",
            self.redelivered.clone(),
        );
        events.register(
            "parked",
            "Messages given up and kept aside",
            self.parked.clone(),
        );
        events.register(
            "age_seconds",
            "From the event to its effect",
            self.age.clone(),
        );
        let outbox = registry.sub_registry_with_prefix("fleet_outbox");
        outbox.register(
            "overflow",
            "Events left to the sweeper for want of room",
            self.overflow.clone(),
        );
        outbox.register(
            "swept",
            "Events published by the sweeper",
            self.swept.clone(),
        );
        outbox.register(
            "unpublished",
            "Events said again because the bus may have lost them",
            self.unpublished.clone(),
        );
        outbox.register(
            "pruned",
            "Inbox, request and marker rows removed by age",
            self.pruned.clone(),
        );
        outbox.register(
            "backlog_events",
            "Committed events the bus does not have",
            self.backlog.clone(),
        );
        outbox.register(
            "oldest_seconds",
            "Age of the oldest of them",
            self.oldest.clone(),
        );
    }

    /// The counters as plain numbers.
    pub fn counts(&self) -> Counts {
        Counts {
            published: self.published.get(),
            duplicates: self.duplicates.get(),
            publish_failures: self.publish_failures.get(),
            swept: self.swept.get(),
            overflow: self.overflow.get(),
            handled: self.handled_sum.get(),
            redelivered: self.redelivered_sum.get(),
            parked: self.parked_sum.get(),
            backlog: u64::try_from(self.backlog.get()).unwrap_or(0),
        }
    }

    pub(crate) fn count_handled(&self, consumer: &'static str, age: std::time::Duration) {
        self.handled_sum.inc();
        self.handled.get_or_create(&[("consumer", consumer)]).inc();
        self.age
            .get_or_create(&[("consumer", consumer)])
            .observe(age.as_secs_f64());
    }

    pub(crate) fn count_retried(&self, consumer: &'static str) {
        self.retried.get_or_create(&[("consumer", consumer)]).inc();
    }

    pub(crate) fn count_redelivered(&self, consumer: &'static str) {
        self.redelivered_sum.inc();
        self.redelivered
            .get_or_create(&[("consumer", consumer)])
            .inc();
    }

    pub(crate) fn count_parked(&self, consumer: &'static str) {
        self.parked_sum.inc();
        self.parked.get_or_create(&[("consumer", consumer)]).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_stable_and_clones_count_together() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let other = metrics.clone();
        other.count_parked("one");
        other.count_handled("one", std::time::Duration::from_millis(2));
        other.published.inc();
        let counts = metrics.counts();
        assert_eq!((counts.parked, counts.handled, counts.published), (1, 1, 1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "fleet_events_published_total 1",
            "fleet_events_parked_total{consumer=\"one\"} 1",
            "fleet_events_handled_total{consumer=\"one\"} 1",
            "fleet_outbox_backlog_events 0",
            "fleet_outbox_oldest_seconds 0.0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
