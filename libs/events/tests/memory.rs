//! The bus in memory passes the suite of the bus: the other tests may believe it.

mod fakes;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fakes::MemoryBus;
use fleet_events::{Bus, conformance::Place};

struct Memory(Arc<MemoryBus>);

#[async_trait]
impl Place for Memory {
    fn bus(&self) -> Arc<dyn Bus> {
        self.0.clone()
    }
}

async fn place() -> Option<Memory> {
    Some(Memory(MemoryBus::new(Duration::ZERO)))
}

fleet_events::conformance_tests!(place);
