//! Reading a mapping part by part: what is missing, misspelt or of the wrong shape is reported
//! with its line.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::time::Duration;

use fleet_yaml::{Findings, Key, Node, Value};

use super::source::At;

/// The entries of a mapping, taken one by one; what is left in the end is unknown.
pub(super) struct Fields<'a> {
    what: String,
    line: u64,
    entries: &'a [(Key, Node)],
    asked: BTreeSet<&'static str>,
}

impl<'a> Fields<'a> {
    pub fn of(what: &str, node: &'a Node, findings: &mut Findings) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            findings.add(
                node.line,
                format!("{what}: a mapping, not {}", node.value.kind()),
            );
            return None;
        };
        let line = node.line;
        Some(Self {
            what: what.to_owned(),
            line,
            entries,
            asked: BTreeSet::new(),
        })
    }

    pub fn optional(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.insert(key);
        self.entries
            .iter()
            .find(|(k, _)| k.text == key)
            .map(|(_, node)| node)
    }

    pub fn required(&mut self, key: &'static str, findings: &mut Findings) -> Option<&'a Node> {
        let line = self.line;
        if self.required_at(key, line, findings) {
            self.optional(key)
        } else {
            None
        }
    }

    pub fn required_at(&mut self, key: &'static str, line: u64, findings: &mut Findings) -> bool {
        let found = self.optional(key).is_some();
        if !found {
            findings.add(line, format!("{}: `{key}` is missing", self.what));
        }
        found
    }

    pub fn text(&mut self, key: &'static str, findings: &mut Findings) -> Option<At<String>> {
        let what = format!("{}: {key}", self.what);
        self.optional(key)
            .and_then(|node| name(node, &what, findings))
    }

    pub fn word<T: FromStr<Err = fleet_types::UnknownWord>>(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
    ) -> Option<At<T>> {
        let At { line, value } = self.text(key, findings)?;
        match value.parse() {
            Ok(value) => Some(At { line, value }),
            Err(error) => {
                findings.add(line, format!("{}: {error}", self.what));
                None
            }
        }
    }

    pub fn finish(self, findings: &mut Findings) {
        let mut known = self.asked.iter().copied().collect::<Vec<_>>().join(", ");
        for (i, (key, _)) in self.entries.iter().enumerate() {
            if !self.asked.contains(key.text.as_str()) {
                let what = &self.what;
                let found = &key.text;
                if known.is_empty() {
                    known = "nothing".to_owned();
                }
                findings.add(
                    key.line,
                    format!("{what}: unknown key {found:?}; known: {known}"),
                );
            } else if self.entries[..i].iter().any(|(k, _)| k.text == key.text) {
                findings.add(
                    key.line,
                    format!("{}: {} is there twice", self.what, key.text),
                );
            }
        }
    }
}

pub(super) fn name(node: &Node, what: &str, findings: &mut Findings) -> Option<At<String>> {
    match &node.value {
        Value::Text(text) => Some(At {
            line: node.line,
            value: text.clone(),
        }),
        other => {
            findings.add(node.line, format!("{what}: a word, not {}", other.kind()));
            None
        }
    }
}

pub(super) fn names(node: &Node, what: &str, findings: &mut Findings) -> Vec<At<String>> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            findings.add(node.line, format!("{what}: an empty list"));
            Vec::new()
        }
        Value::List(items) => items
            .iter()
            .filter_map(|n| name(n, what, findings))
            .collect(),
        _ => name(node, what, findings).into_iter().collect(),
    }
}

pub(super) fn words<T: FromStr<Err = fleet_types::UnknownWord>>(
    node: &Node,
    what: &str,
    findings: &mut Findings,
) -> Vec<T> {
    let parse = |At { line, value }: At<String>, findings: &mut Findings| match value.parse() {
        Ok(word) => Some(word),
        Err(error) => {
            findings.add(line, format!("transition: {error}"));
            None
        }
    };
    names(node, what, findings)
        .into_iter()
        .filter_map(|n| parse(n, findings))
        .collect()
}

pub(super) fn count(node: &Node, what: &str, findings: &mut Findings) -> Option<i64> {
    match node.value {
        Value::Int(n) if (1..=100_000).contains(&n) => Some(n),
        _ => {
            findings.add(node.line, format!("{what}: a number from 1 to 100000"));
            None
        }
    }
}

/// A number with a unit: `90s`, `30m`, `8h`, `2d`; from one second to 365 days.
pub(super) fn duration(node: &Node, what: &str, findings: &mut Findings) -> Option<Duration> {
    let parsed = match &node.value {
        Value::Text(text) => parse_duration(text),
        _ => None,
    };
    if parsed.is_none() {
        findings.add(
            node.line,
            format!("{what}: a time such as 90s, 30m, 8h or 2d, to 365d"),
        );
    }
    parsed
}

fn parse_duration(text: &str) -> Option<Duration> {
    let at = text.len().checked_sub(1)?;
    let seconds = match text.get(at..)? {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u64 = text.get(..at)?.parse().ok()?;
    let seconds = number.checked_mul(seconds)?;
    (1..=365 * 86_400)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}
