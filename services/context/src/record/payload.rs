//! Payloads: JSON from outside, strictly read. Size and depth are checked before anything is
//! built from it.

use std::fmt;
use std::str::FromStr;

use fleet_types::{DecisionId, Violations, text};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use super::{CONTEXT_UPDATED, DecisionPatch, Kind, MilestonePatch, Patch, SummaryPatch};

/// Longest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Deepest nesting; the object itself is the first level.
pub const MAX_DEPTH: usize = 8;
/// Most entries of a list.
pub const MAX_LIST: usize = 100;
/// Longest word for a kind of thing, in bytes.
const MAX_WORD_BYTES: usize = 100;

/// Names by which a thing is identified or owned: given by the call, never by a payload.
const IDENTITY: &[&str] = &[
    "id",
    "node_id",
    "decision_id",
    "event_id",
    "milestone_id",
    "summary_id",
    "entity_id",
    "entity_type",
    "operation",
    "story_id",
    "case_id",
    "task_id",
    "subtask_id",
    "created_at",
    "updated_at",
    "deleted_at",
    "version",
    "role",
    "actor",
    "author_role",
    "author_agent",
];

/// Reads the payload of a change of one kind of thing, `id` being a decision's; `field` names
/// the payload in the request. `None` if it violates anything.
pub fn patch(
    v: &mut Violations,
    field: &str,
    kind: Kind,
    decision: Option<&DecisionId>,
    payload: &str,
) -> Option<Patch> {
    let mut fields = Fields {
        before: v.iter().count(),
        v,
        path: field,
        left: object(payload),
    };
    let patch = match (kind, decision) {
        (Kind::Decision, Some(id)) => {
            let patch = DecisionPatch {
                title: fields.text("title", true),
                rationale: fields.text("rationale", false),
                status: fields.word("status"),
                decision_type: fields.kind("decision_type"),
                alternatives: fields.texts("alternatives"),
                affects: fields.ids("affects"),
                depends_on: fields.ids("depends_on"),
                supersedes: fields.ids("supersedes"),
                alternative_of: fields.ids("alternative_of"),
            };
            for (name, to) in patch.decisions().filter(|(_, to)| *to == id) {
                fields.wrong(name, format!("{to} is the decision itself"));
            }
            Patch::Decision(id.clone(), Box::new(patch))
        }
        (Kind::Decision, None) => return None,
        (Kind::Milestone, _) => {
            let event_type = fields.kind("event_type");
            if event_type.as_deref() == Some(CONTEXT_UPDATED) {
                fields.wrong("event_type", "is kept for the record of changes");
            }
            let description = fields.text("description", true);
            Patch::Milestone(MilestonePatch {
                event_type,
                description,
            })
        }
        (Kind::Summary, _) => Patch::Summary(SummaryPatch {
            text: fields.text("text", true),
        }),
    };
    fields.finish().then_some(patch)
}

/// What is known of an object, name by name.
struct Fields<'a> {
    v: &'a mut Violations,
    before: usize,
    path: &'a str,
    left: Result<Vec<(String, Value)>, String>,
}

impl Fields<'_> {
    fn wrong(&mut self, name: &str, problem: impl fmt::Display) {
        self.v.add(format!("{}.{name}", self.path), problem);
    }

    fn take(&mut self, name: &str) -> Option<Value> {
        let left = self.left.as_mut().ok()?;
        let at = left.iter().position(|(found, _)| found == name)?;
        Some(left.swap_remove(at).1)
    }

    fn string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            other => {
                self.wrong(name, format!("is {}; must be a text", shape(&other)));
                None
            }
        }
    }

    fn text(&mut self, name: &str, required: bool) -> Option<String> {
        let given = self.string(name)?;
        match text(&given) {
            Ok("") if required => self.wrong(name, "must not be blank"),
            Ok(trimmed) => return Some(trimmed.to_owned()),
            Err(problem) => self.wrong(name, problem),
        }
        None
    }

    /// A short text in one line.
    fn kind(&mut self, name: &str) -> Option<String> {
        let word = self.text(name, true)?;
        if word.len() <= MAX_WORD_BYTES && !word.contains(char::is_control) {
            return Some(word);
        }
        let problem = format!("must be one line of at most {MAX_WORD_BYTES} bytes");
        self.wrong(name, problem);
        None
    }

    fn word<T>(&mut self, name: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let word = self.string(name)?;
        word.trim().parse().map_err(|e| self.wrong(name, e)).ok()
    }

    fn list(&mut self, name: &str) -> Option<Vec<String>> {
        let items = match self.take(name)? {
            Value::Array(items) => items,
            other => {
                self.wrong(
                    name,
                    format!("is {}; must be a list of texts", shape(&other)),
                );
                return None;
            }
        };
        if items.len() > MAX_LIST {
            let problem = format!("has {} entries; at most {MAX_LIST}", items.len());
            self.wrong(name, problem);
            return None;
        }
        let mut texts = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => {
                    let problem = format!("is {}; must be a text", shape(&other));
                    self.wrong(&format!("{name}[{i}]"), problem);
                }
            }
        }
        Some(texts)
    }

    fn texts(&mut self, name: &str) -> Option<Vec<String>> {
        let mut kept = Vec::new();
        for (i, given) in self.list(name)?.into_iter().enumerate() {
            match text(&given) {
                Ok("") => self.wrong(&format!("{name}[{i}]"), "must not be blank"),
                Ok(trimmed) => kept.push(trimmed.to_owned()),
                Err(problem) => self.wrong(&format!("{name}[{i}]"), problem),
            }
        }
        Some(kept)
    }

    /// Ids, each once, in the order given.
    fn ids<T>(&mut self, name: &str) -> Option<Vec<T>>
    where
        T: FromStr + PartialEq,
        T::Err: fmt::Display,
    {
        let mut ids = Vec::new();
        for (i, given) in self.list(name)?.into_iter().enumerate() {
            match given.trim().parse::<T>() {
                Ok(id) if !ids.contains(&id) => ids.push(id),
                Ok(_) => {}
                Err(problem) => self.wrong(&format!("{name}[{i}]"), problem),
            }
        }
        Some(ids)
    }

    /// Whether nothing was wrong and nothing is left.
    fn finish(self) -> bool {
        let Self {
            v,
            before,
            path,
            left,
        } = self;
        match left {
            Err(problem) => v.add(path, problem),
            Ok(left) => {
                for (name, _) in left {
                    let shown: String = name.chars().take(64).filter(|c| !c.is_control()).collect();
                    let problem = if IDENTITY.contains(&name.as_str()) {
                        "is given by the call, never by a payload"
                    } else {
                        "is not known"
                    };
                    v.add(format!("{path}.{shown}"), problem);
                }
            }
        }
        v.iter().count() == before
    }
}

fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The entries of a JSON object, each name once.
fn object(payload: &str) -> Result<Vec<(String, Value)>, String> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(format!(
            "is {} bytes long; at most {MAX_PAYLOAD_BYTES}",
            payload.len()
        ));
    }
    if depth(payload) > MAX_DEPTH {
        return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
    }
    let entries: Entries = serde_json::from_str(payload).map_err(|e| {
        // What others say of an error may hold the content.
        let own = e.to_string();
        if own.starts_with("names ") || own.starts_with("has ") {
            return own;
        }
        format!(
            "is not a JSON object (line {}, column {})",
            e.line(),
            e.column()
        )
    })?;
    Ok(entries.0)
}

/// How deep a text nests, were it JSON. One pass, no memory.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b'{' | b'[' => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if entries.iter().any(|(known, _)| *known == name) {
                        let shown: String = name.chars().take(64).collect();
                        let problem = format!("names {shown:?} twice");
                        return Err(serde::de::Error::custom(problem));
                    }
                    // More names than there are fields and identities are wrong anyway; this
                    // keeps a hostile payload from making the search above slow.
                    if entries.len() >= 64 {
                        return Err(serde::de::Error::custom("has too many names"));
                    }
                    entries.push((name, value));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
