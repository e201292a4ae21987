//! Stored rows that cannot be read: an answer is given without them, and says so where the role
//! may know of them.

use std::collections::BTreeMap;

use fleet_graph::NodeKey;

use super::items::Corrupt;
use super::metrics::ReadMetrics;

/// Rows that are named in warnings; more are only counted.
const MOST_NAMED: usize = 20;

/// What was left out of one answer.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(BTreeMap<NodeKey, Row>);

#[derive(Debug)]
struct Row {
    corrupt: Corrupt,
    may_be_named: bool,
}

impl LeftOut {
    /// Leaves a row out. Who may not see it whatever it says must not hear of it either; where
    /// it is found twice, one of the two will do.
    pub fn add(&mut self, corrupt: Corrupt, may_be_named: bool) {
        let row = self.0.entry(corrupt.key.clone()).or_insert(Row {
            corrupt,
            may_be_named,
        });
        row.may_be_named |= may_be_named;
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them nobody is told of by name.
    pub fn unnamed(&self) -> usize {
        self.0.values().filter(|row| !row.may_be_named).count()
    }

    /// Counts and logs all of them; warnings of those that may be named.
    pub fn told(self, metrics: &ReadMetrics) -> Vec<String> {
        let mut named = Vec::new();
        for (
            key,
            Row {
                corrupt,
                may_be_named,
            },
        ) in self.0
        {
            metrics.corrupt(key.label());
            tracing::warn!(%key, problem = corrupt.problem, "a stored row was left out");
            if may_be_named {
                named.push(corrupt.to_string());
            }
        }
        if let Some(more) = named.len().checked_sub(MOST_NAMED + 1) {
            named.truncate(MOST_NAMED);
            named.push(format!("{} more rows could not be read", more + 1));
        }
        named
    }
}
