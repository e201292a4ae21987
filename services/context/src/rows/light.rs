//! A decision in short: what is looked at of each of a thousand of them before any is chosen, in
//! one text. A store gives one property of many nodes far sooner than ten.

use std::borrow::Cow;

use serde::Deserialize;

use super::DecisionRow;

/// What [`DecisionRow::light`] holds: these, in this order, as a JSON list. Rows that were
/// written before there was such a text have none; then the columns themselves are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LightDecision<'a> {
    /// `title`.
    #[serde(borrow)]
    pub title: Cow<'a, str>,
    /// `status`.
    pub status: &'a str,
    /// `created_at`.
    pub created_at: &'a str,
    /// `tokens_rationale`.
    pub tokens_rationale: u32,
    /// `tokens_by`.
    #[serde(borrow)]
    pub tokens_by: Cow<'a, str>,
    /// Whether it has a `deleted_at`.
    pub deleted: bool,
    /// `affects`.
    pub affects: Vec<&'a str>,
    /// `depends_on`.
    pub depends_on: Vec<&'a str>,
    /// `supersedes`.
    pub supersedes: Vec<&'a str>,
    /// `alternative_of`.
    pub alternative_of: Vec<&'a str>,
}

impl<'a> LightDecision<'a> {
    /// Reads the text; `None` if it is none.
    pub fn read(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl DecisionRow {
    /// The text that belongs into [`Self::light`].
    pub fn lightly(&self) -> String {
        let parts = (
            &self.title,
            self.status,
            self.created_at,
            self.tokens_rationale,
            &self.tokens_by,
            self.deleted_at.is_some(),
            &self.affects,
            &self.depends_on,
            &self.supersedes,
            &self.alternative_of,
        );
        serde_json::to_string(&parts).expect("texts, numbers and lists of texts")
    }
}
