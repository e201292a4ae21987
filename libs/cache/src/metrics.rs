//! What a cache counts.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::{Cache, CacheError, Key, Stored, Usage};

/// The one label: which use of the cache.
type ByNamespace = [(&'static str, &'static str); 1];
type Counters = Family<ByNamespace, Counter>;

/// Counters of one cache; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    hits: Counters,
    misses: Counters,
    errors: Counters,
    stored: Counters,
    not_kept: Counters,
    read_bytes: Counters,
    written_bytes: Counters,
    held_bytes: Gauge,
    held_entries: Gauge,
    evicted: Counter,
}

impl Metrics {
    /// Makes everything visible in `registry`; once per registry.
    pub fn register(&self, registry: &mut Registry) {
        let cache = registry.sub_registry_with_prefix("fleet_cache");
        cache.register("hits", "Reads that found a value", self.hits.clone());
        cache.register("misses", "Reads that found none", self.misses.clone());
        cache.register("errors", "Calls that failed", self.errors.clone());
        cache.register("stored", "Values kept", self.stored.clone());
        cache.register(
            "not_kept",
            "Values too large, or without time",
            self.not_kept.clone(),
        );
        cache.register(
            "read_bytes",
            "Bytes of values found",
            self.read_bytes.clone(),
        );
        cache.register(
            "written_bytes",
            "Bytes of values kept",
            self.written_bytes.clone(),
        );
        cache.register(
            "held_bytes",
            "Memory that values in the process take",
            self.held_bytes.clone(),
        );
        cache.register(
            "held_entries",
            "Values in the process",
            self.held_entries.clone(),
        );
        cache.register(
            "evicted",
            "Values in the process that had to make room",
            self.evicted.clone(),
        );
    }
}

/// A cache that counts what is done with it.
pub struct Measured {
    cache: Arc<dyn Cache>,
    metrics: Metrics,
}

impl Measured {
    /// Counts the calls of `cache` in `metrics`.
    pub fn new(cache: Arc<dyn Cache>, metrics: Metrics) -> Self {
        Self { cache, metrics }
    }

    fn looked<T>(&self, key: &Key, result: Result<T, CacheError>) -> Result<T, CacheError> {
        if result.is_err() {
            count(&self.metrics.errors, key, 1);
        }
        result
    }

    fn measure(&self) {
        let Some(usage) = self.cache.usage() else {
            return;
        };
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.held_bytes.set(number(usage.bytes));
        self.metrics.held_entries.set(number(usage.entries));
        let evicted = self.metrics.evicted.inner();
        evicted.fetch_max(usage.evicted, Ordering::Relaxed);
    }
}

fn count(counters: &Counters, key: &Key, by: usize) {
    let label = [("namespace", key.namespace().as_str())];
    counters.get_or_create(&label).inc_by(by as u64);
}

#[async_trait]
impl Cache for Measured {
    fn name(&self) -> &'static str {
        self.cache.name()
    }

    async fn get(&self, key: &Key, within: Duration) -> Result<Option<Bytes>, CacheError> {
        let found = self.looked(key, self.cache.get(key, within).await)?;
        match &found {
            Some(value) => {
                count(&self.metrics.hits, key, 1);
                count(&self.metrics.read_bytes, key, value.len());
            }
            None => count(&self.metrics.misses, key, 1),
        }
        Ok(found)
    }

    async fn set(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
        within: Duration,
    ) -> Result<Stored, CacheError> {
        let bytes = value.len();
        let stored = self.looked(key, self.cache.set(key, value, ttl, within).await)?;
        match stored {
            Stored::Kept => {
                count(&self.metrics.stored, key, 1);
                count(&self.metrics.written_bytes, key, bytes);
            }
            Stored::NotKept => count(&self.metrics.not_kept, key, 1),
        }
        self.measure();
        Ok(stored)
    }

    async fn delete(&self, key: &Key, within: Duration) -> Result<(), CacheError> {
        self.looked(key, self.cache.delete(key, within).await)?;
        self.measure();
        Ok(())
    }

    async fn ping(&self, within: Duration) -> Result<(), CacheError> {
        self.cache.ping(within).await
    }

    fn usage(&self) -> Option<Usage> {
        self.cache.usage()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memory, Namespace};

    #[tokio::test]
    async fn names_are_stable_and_calls_are_counted() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let cache = Measured::new(Arc::new(Memory::new(1000)), metrics);
        let key = Key::new(Namespace::new("pack")).text("s-1");
        let (minute, within) = (Duration::from_secs(60), Duration::from_secs(1));
        assert_eq!(cache.get(&key, within).await, Ok(None));
        for value in ["12345", "1234567"] {
            let value = Bytes::from_static(value.as_bytes());
            cache.set(&key, value, minute, within).await.unwrap();
        }
        let large = Bytes::from(vec![0; 2000]);
        let other = Key::new(Namespace::new("pack")).text("s-2");
        let stored = cache.set(&other, large, minute, within).await;
        assert_eq!(stored, Ok(Stored::NotKept));
        let third = Key::new(Namespace::new("receipt")).text("r");
        let wide = Bytes::from(vec![0; 700]);
        cache.get(&key, within).await.unwrap();
        cache.set(&third, wide, minute, within).await.unwrap();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "fleet_cache_hits_total{namespace=\"pack\"} 1",
            "fleet_cache_misses_total{namespace=\"pack\"} 1",
            "fleet_cache_stored_total{namespace=\"pack\"} 2",
            "fleet_cache_stored_total{namespace=\"receipt\"} 1",
            "fleet_cache_not_kept_total{namespace=\"pack\"} 1",
            "fleet_cache_read_bytes_total{namespace=\"pack\"} 7",
            "fleet_cache_written_bytes_total{namespace=\"pack\"} 12",
            "fleet_cache_held_entries 1",
            "fleet_cache_evicted_total 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
