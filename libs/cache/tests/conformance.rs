//! The suite of the cache port, on the adapter inside the process, plain and measured.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use fleet_cache::{Cache, Measured, Memory, Metrics, conformance::Place};

const MAX_BYTES: usize = 64 << 20;

/// A cache for each deployment.
#[derive(Default)]
struct InProcess(Mutex<HashMap<String, Arc<dyn Cache>>>);

#[async_trait]
impl Place for InProcess {
    async fn open(&self, deployment: &str) -> Arc<dyn Cache> {
        let mut caches = self.0.lock().unwrap();
        let cache = caches.entry(deployment.to_owned()).or_insert_with(|| {
            let memory = Arc::new(Memory::new(MAX_BYTES));
            Arc::new(Measured::new(memory, Metrics::default()))
        });
        cache.clone()
    }

    async fn lost(&self) -> Vec<Arc<dyn Cache>> {
        Vec::new()
    }
}

async fn in_process() -> Option<InProcess> {
    Some(InProcess::default())
}

fleet_cache::conformance_tests!(in_process);
