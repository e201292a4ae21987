//! What the database holds, in numbers: kept by the writing thread, stored with every
//! transaction in one row. It gives totals without counting, and shows at the next start
//! whether a row went missing: the sum of all checksums of a table must come out the same.

use std::collections::BTreeMap;

use fleet_graph::Label;
use fleet_topology::STREAMS;
use serde::{Deserialize, Serialize};

/// Tables whose rows are accounted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Nodes,
    Edges,
    Outbox,
    Inbox,
    Requests,
    Commits,
    Log,
    Parked,
    Consumers,
    Deliveries,
}

impl Table {
    pub(crate) const ALL: [Self; 10] = [
        Self::Nodes,
        Self::Edges,
        Self::Outbox,
        Self::Inbox,
        Self::Requests,
        Self::Commits,
        Self::Log,
        Self::Parked,
        Self::Consumers,
        Self::Deliveries,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Edges => "edges",
            Self::Outbox => "outbox",
            Self::Inbox => "inbox",
            Self::Requests => "requests",
            Self::Commits => "commits",
            Self::Log => "log",
            Self::Parked => "parked",
            Self::Consumers => "consumers",
            Self::Deliveries => "deliveries",
        }
    }
}

/// How many rows, and the sum of their checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) rows: i64,
    pub(crate) sum: i64,
}

/// The state of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct StreamState {
    /// The last sequence given out.
    pub(crate) last: u64,
    /// Messages stored.
    pub(crate) rows: u64,
    /// Bytes of subjects, headers and bodies stored.
    pub(crate) bytes: u64,
}

/// All of it. Small and `Copy`, so that a member of a group can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ledger {
    /// Counts transactions.
    pub(crate) seq: u64,
    /// The last row number given to a node.
    pub(crate) last_node: i64,
    tables: [Tally; Table::ALL.len()],
    labels: [i64; Label::ALL.len()],
    pub(crate) streams: [StreamState; STREAMS.len()],
}

impl Ledger {
    pub(crate) fn empty() -> Self {
        Self {
            seq: 0,
            last_node: 0,
            tables: [Tally::default(); Table::ALL.len()],
            labels: [0; Label::ALL.len()],
            streams: [StreamState::default(); STREAMS.len()],
        }
    }

    pub(crate) fn added(&mut self, table: Table, crc: i64) {
        let tally = &mut self.tables[table as usize];
        tally.rows += 1;
        tally.sum = tally.sum.wrapping_add(crc);
    }

    pub(crate) fn removed(&mut self, table: Table, crc: i64) {
        let tally = &mut self.tables[table as usize];
        tally.rows -= 1;
        tally.sum = tally.sum.wrapping_sub(crc);
    }

    pub(crate) fn replaced(&mut self, table: Table, old: i64, new: i64) {
        let tally = &mut self.tables[table as usize];
        tally.sum = tally.sum.wrapping_sub(old).wrapping_add(new);
    }

    pub(crate) fn table(&self, table: Table) -> Tally {
        self.tables[table as usize]
    }

    pub(crate) fn label_mut(&mut self, label: Label) -> &mut i64 {
        &mut self.labels[label as usize]
    }

    pub(crate) fn label(&self, label: Label) -> u64 {
        u64::try_from(self.labels[label as usize]).unwrap_or(0)
    }

    /// As it is stored: by name, so that the closed lists may grow.
    pub(crate) fn to_text(self) -> String {
        let stored = Stored {
            last_node: self.last_node,
            tables: Table::ALL
                .iter()
                .map(|&t| (t.name(), self.table(t)))
                .collect(),
            labels: Label::ALL
                .iter()
                .map(|&l| (l.as_str(), self.labels[l as usize]))
                .collect(),
            streams: STREAMS
                .iter()
                .zip(self.streams)
                .map(|(s, state)| (s.name, state))
                .collect(),
        };
        serde_json::to_string(&stored).expect("numbers under names are JSON")
    }

    pub(crate) fn from_text(seq: u64, text: &str) -> Result<Self, serde_json::Error> {
        let stored: Stored<'_> = serde_json::from_str(text)?;
        let mut ledger = Self::empty();
        ledger.seq = seq;
        ledger.last_node = stored.last_node;
        for table in Table::ALL {
            ledger.tables[table as usize] =
                stored.tables.get(table.name()).copied().unwrap_or_default();
        }
        for &label in Label::ALL {
            ledger.labels[label as usize] = stored
                .labels
                .get(label.as_str())
                .copied()
                .unwrap_or_default();
        }
        for (state, stream) in ledger.streams.iter_mut().zip(STREAMS) {
            *state = stored.streams.get(stream.name).copied().unwrap_or_default();
        }
        Ok(ledger)
    }
}

#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    last_node: i64,
    #[serde(borrow)]
    tables: BTreeMap<&'a str, Tally>,
    #[serde(borrow)]
    labels: BTreeMap<&'a str, i64>,
    #[serde(borrow)]
    streams: BTreeMap<&'a str, StreamState>,
}
