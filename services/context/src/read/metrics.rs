//! What reading counts.

use fleet_service::SharedRegistry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;

/// What became of a question for a context.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    /// `kept`, `made`, `joined` or `stale`.
    from: &'static str,
}

/// The kind of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    /// Its label.
    kind: &'static str,
}

/// Counters of the reading side.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReadMetrics {
    served: Family<Served, Counter>,
    corrupt: Family<Kind, Counter>,
    moved: Counter,
}

impl ReadMetrics {
    pub fn register(&self, registry: &SharedRegistry) {
        registry.with(|r| {
            r.register(
                "fleet_context_packs",
                "Contexts served: kept from before, made anew, made for another caller at the same time, or stale",
                self.served.clone(),
            );
            r.register(
                "fleet_context_corrupt_rows",
                "Stored rows that were left out of an answer because they could not be read",
                self.corrupt.clone(),
            );
            r.register(
                "fleet_context_moved_reads",
                "Reads that began again because the story changed meanwhile",
                self.moved.clone(),
            );
        });
    }

    pub fn served(&self, from: &'static str) {
        self.served.get_or_create(&Served { from }).inc();
    }

    pub fn corrupt(&self, label: fleet_graph::Label) {
        let kind = label.as_str();
        self.corrupt.get_or_create(&Kind { kind }).inc();
    }

    pub fn moved(&self) {
        self.moved.inc();
    }
}
