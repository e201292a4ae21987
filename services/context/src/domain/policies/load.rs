//! Strict reading of the policy file.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use fleet_types::Role;
use fleet_yaml::{Findings, Node, Report, Value};

use super::{Entity, Grant, Policies, Redaction, RowRule, Rows, SHIPPED_POLICIES};
use crate::domain::scopes::role as role_word;
use crate::domain::versions::short_hash;
use crate::domain::yaml;
use crate::domain::{ColumnKind, RENDER_VERSION};

type Grants = BTreeMap<(Role, Entity), Grant>;

impl Policies {
    /// Reads a file; `file` is its name in messages.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn load(file: &str, text: &str, redaction: Redaction) -> Result<Self, Report> {
        let mut findings = Findings::default();
        let grants = fleet_yaml::parse(text, &mut findings)
            .map(|root| read(&root, &mut findings))
            .unwrap_or_default();
        findings.into_report(file)?;
        let content = canonical(&grants);
        let version = short_hash(&["policies/1", RENDER_VERSION, redaction.version, &content]);
        Ok(Self {
            grants,
            redaction,
            version,
        })
    }

    /// The policies that come with the service.
    pub fn shipped(redaction: Redaction) -> Self {
        Self::load("context_policies.yaml", SHIPPED_POLICIES, redaction)
            .expect("a test reads the shipped file")
    }
}

fn canonical(grants: &Grants) -> String {
    let mut text = String::new();
    for ((role, entity), grant) in grants {
        text.push_str(&format!("{role} {entity}: {:?}", grant.columns));
        for rule in &grant.rules {
            text.push_str(&format!(" {:?} {:?}", rule.rows, rule.only));
        }
        text.push('\n');
    }
    text
}

fn read(root: &Node, findings: &mut Findings) -> Grants {
    let mut grants = Grants::new();
    let [version, roles] = yaml::parts(root, "the file", ["version", "roles"], findings);
    if let Some(version) = version {
        fleet_yaml::version(version, findings);
    }
    let Some(roles) = roles else { return grants };
    let mut seen = BTreeSet::new();
    let mut same: Vec<(u64, Role, Role)> = Vec::new();
    for (key, node) in yaml::entries(roles, "roles", findings) {
        let Some(role) = role_word(key.line, &key.text, "roles", findings) else {
            continue;
        };
        if !seen.insert(role) {
            findings.add(key.line, format!("roles: {role} is there twice"));
            continue;
        }
        let what = role.to_string();
        if let Value::Text(other) = &node.value {
            let other = other.strip_prefix("as ").unwrap_or_default();
            if let Some(other) = role_word(node.line, other, &what, findings) {
                same.push((node.line, role, other));
            }
            continue;
        }
        for (key, node) in yaml::entries(node, &what, findings) {
            let Some(entity) = yaml::word::<Entity>(key.line, &key.text, &what, findings) else {
                continue;
            };
            let grant = grant(role, entity, node, findings);
            match grants.entry((role, entity)) {
                Entry::Occupied(_) => {
                    findings.add(key.line, format!("{what}: {entity} is there twice"));
                }
                Entry::Vacant(place) => {
                    if let Some(grant) = grant {
                        place.insert(grant);
                    }
                }
            }
        }
    }
    let plain = |grants: &Grants, role| grants.keys().any(|(r, _)| *r == role);
    for (line, role, other) in same {
        if !plain(&grants, other) || role == other {
            let message = format!("{role}: `as {other}`: {other} has no rules of its own");
            findings.add(line, message);
            continue;
        }
        for entity in Entity::ALL {
            if let Some(grant) = grants.get(&(other, *entity)).cloned() {
                grants.insert((role, *entity), grant);
            }
        }
    }
    grants
}

fn grant(role: Role, entity: Entity, node: &Node, findings: &mut Findings) -> Option<Grant> {
    let what = format!("{role}: {entity}");
    if matches!(&node.value, Value::Text(word) if word == "none") {
        return None;
    }
    let [rows, names] = yaml::parts(node, &what, ["rows", "columns"], findings);
    let rules = rows
        .map(|rows| rules(entity, rows, &what, findings))
        .unwrap_or_default();
    let mut columns = BTreeSet::new();
    for (line, name) in names
        .map(|names| yaml::words(names, &what, findings))
        .unwrap_or_default()
    {
        match entity.column(name) {
            Some(column) => {
                columns.insert(column.name);
            }
            None => findings.add(line, format!("{what}: {}", unknown_column(entity, name))),
        }
    }
    let id = entity.id_column();
    if let Some(names) = names
        && !columns.contains(id)
    {
        findings.add(names.line, format!("{what}: column {id} is missing"));
    }
    Some(Grant { rules, columns })
}

fn unknown_column(entity: Entity, name: &str) -> String {
    let known: Vec<_> = entity.columns().iter().map(|c| c.name).collect();
    format!(
        "unknown column {:?}; known: {}",
        name.chars().take(64).collect::<String>(),
        known.join(", ")
    )
}

/// `all`, `story`, or a list of these and of `{rows: …, where: {column: [values]}}`.
fn rules(entity: Entity, node: &Node, what: &str, findings: &mut Findings) -> Vec<RowRule> {
    let nodes = match &node.value {
        Value::List(items) if items.is_empty() => {
            findings.add(node.line, format!("{what}: rows: an empty list"));
            return Vec::new();
        }
        Value::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let mut found = Vec::new();
    for node in nodes {
        found.extend(rule(entity, node, what, findings));
    }
    found
}

fn rule(entity: Entity, node: &Node, what: &str, findings: &mut Findings) -> Option<RowRule> {
    if !matches!(node.value, Value::Map(_)) {
        let only = BTreeMap::new();
        let rows = rows(node, what, findings)?;
        return Some(RowRule { rows, only });
    }
    let [place, filter] = yaml::parts(node, what, ["rows", "where"], findings);
    let rows = place.and_then(|node| rows(node, what, findings));
    let mut only = BTreeMap::new();
    if let Some(filter) = filter {
        let what = format!("{what}: where");
        let fields = yaml::entries(filter, &what, findings);
        if fields.is_empty() {
            findings.add(filter.line, format!("{what}: names no column"));
        }
        for (key, values) in fields {
            let Some(column) = entity.column(&key.text) else {
                let message = format!("{what}: {}", unknown_column(entity, &key.text));
                findings.add(key.line, message);
                continue;
            };
            // What is chosen by must be readable before anything is chosen.
            if !column.light || column.kind == ColumnKind::Number {
                let message = format!("{what}: {} cannot be chosen by", column.name);
                findings.add(key.line, message);
                continue;
            }
            let values = yaml::words(values, &what, findings).into_iter();
            let values = values.map(|(_, value)| value.to_ascii_lowercase());
            only.insert(column.name, values.collect());
        }
    }
    Some(RowRule { rows: rows?, only })
}

fn rows(node: &Node, what: &str, findings: &mut Findings) -> Option<Rows> {
    match &node.value {
        Value::Text(word) if word == "all" => Some(Rows::All),
        Value::Text(word) if word == "story" => Some(Rows::Story),
        _ => {
            findings.add(node.line, format!("{what}: rows: all or story"));
            None
        }
    }
}
