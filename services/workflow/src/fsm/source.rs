//! From YAML to what a file says, with every unknown key and word, missing part and wrong
//! shape reported. What the words refer to is the business of [`super::build`].

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_types::{Action, Role};
use fleet_yaml::{Findings, Key, Node, Value};

use super::fields::{Fields, count, duration, name, names, words};
use super::machine::{BackTo, Guard, Kind, OnDue, Outcome, Timer};

/// Most states of a machine.
const MAX_STATES: usize = 200;

/// A value with its line.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub line: u64,
    pub value: T,
}

/// The file as it was written.
#[derive(Debug, Default)]
pub(super) struct Source {
    pub name: String,
    pub initial: Option<At<String>>,
    pub escalation: Option<At<String>>,
    pub min_feedback_chars: usize,
    pub max_rejections: Option<i64>,
    pub max_lease: Duration,
    pub states: Vec<StateSource>,
    pub transitions: Vec<TransitionSource>,
}

#[derive(Debug)]
pub(super) struct StateSource {
    pub line: u64,
    pub name: String,
    pub kind: Option<Kind>,
    pub role: Option<Role>,
    pub expects: Option<At<Action>>,
    pub artifact: Option<String>,
    pub timer: Option<At<Timer>>,
    pub rework: bool,
    pub outcome: Option<Outcome>,
}

#[derive(Debug)]
pub(super) enum FromSource {
    States(Vec<At<String>>),
    AnyNonTerminal,
}

#[derive(Debug)]
pub(super) struct TransitionSource {
    pub line: u64,
    pub from: FromSource,
    pub except: Vec<At<String>>,
    pub action: Option<Action>,
    pub roles: Vec<Role>,
    pub to: Option<At<String>>,
    pub back_to: Option<BackTo>,
    pub via: Option<At<Action>>,
    pub claim: Option<ClaimSource>,
    pub guards: BTreeSet<Guard>,
}

#[derive(Debug)]
pub(super) struct ClaimSource {
    pub line: u64,
    pub lease: Option<Duration>,
    pub returns_to: Option<At<String>>,
}

/// Reads the text; `None` if it is not even YAML.
pub(super) fn read(text: &str, findings: &mut Findings) -> Option<Source> {
    let root = fleet_yaml::parse(text, findings)?;
    let mut top = Fields::of("the file", &root, findings)?;
    let mut source = Source {
        max_lease: Duration::from_secs(8 * 3600),
        ..Source::default()
    };
    if let Some(version) = top.required("version", findings) {
        fleet_yaml::version(version, findings);
    }
    source.name = top
        .text("name", findings)
        .map_or_else(String::new, |name| name.value);
    source.initial = top
        .required("initial", findings)
        .and_then(|n| name(n, "initial", findings));
    source.escalation = top
        .optional("escalation")
        .and_then(|n| name(n, "escalation", findings));
    source.min_feedback_chars = 10;
    if let Some(node) = top.optional("limits") {
        limits(node, &mut source, findings);
    }
    if let Some(node) = top.required("states", findings) {
        source.states = states(node, findings);
    }
    if let Some(node) = top.required("transitions", findings) {
        source.transitions = transitions(node, findings);
    }
    top.finish(findings);
    Some(source)
}

fn limits(node: &Node, source: &mut Source, findings: &mut Findings) {
    let Some(mut fields) = Fields::of("limits", node, findings) else {
        return;
    };
    if let Some(node) = fields.optional("min_feedback_chars")
        && let Some(n) = count(node, "limits.min_feedback_chars", findings)
    {
        source.min_feedback_chars = usize::try_from(n).unwrap_or(usize::MAX);
    }
    if let Some(node) = fields.optional("max_rejections") {
        source.max_rejections = count(node, "limits.max_rejections", findings);
    }
    if let Some(node) = fields.optional("max_lease")
        && let Some(lease) = duration(node, "limits.max_lease", findings)
    {
        source.max_lease = lease;
    }
    fields.finish(findings);
}

fn states(node: &Node, findings: &mut Findings) -> Vec<StateSource> {
    let Value::Map(entries) = &node.value else {
        findings.add(
            node.line,
            format!("states: a mapping of states, not {}", node.value.kind()),
        );
        return Vec::new();
    };
    if entries.len() > MAX_STATES {
        findings.add(
            node.line,
            format!("{} states; at most {MAX_STATES}", entries.len()),
        );
        return Vec::new();
    }
    let mut seen: Vec<StateSource> = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        if !is_state_name(&key.text) {
            let found = &key.text;
            findings.add(
                key.line,
                format!("state {found:?}: names are lower snake case"),
            );
        }
        if let Some(first) = seen.iter().find(|state| state.name == key.text) {
            let line = first.line;
            findings.add(
                key.line,
                format!("state {} is there already, in line {line}", key.text),
            );
            continue;
        }
        if let Some(state) = state(key, node, findings) {
            seen.push(state);
        }
    }
    seen
}

fn is_state_name(name: &str) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=64).contains(&name.len())
        && name.bytes().all(letter)
        && name.as_bytes()[0].is_ascii_lowercase()
        && name != ANY_NON_TERMINAL
}

const ANY_NON_TERMINAL: &str = "any_non_terminal";

fn state(key: &Key, node: &Node, findings: &mut Findings) -> Option<StateSource> {
    let what = format!("state {}", key.text);
    let mut fields = Fields::of(&what, node, findings)?;
    let mut state = StateSource {
        line: key.line,
        name: key.text.clone(),
        kind: None,
        role: None,
        expects: None,
        artifact: None,
        timer: None,
        rework: false,
        outcome: None,
    };
    if fields.required_at("kind", key.line, findings) {
        state.kind = fields.word("kind", findings).map(|kind| kind.value);
    }
    state.role = fields.word("role", findings).map(|role| role.value);
    state.expects = fields.word("expects", findings);
    state.artifact = fields.text("artifact", findings).map(|text| text.value);
    state.outcome = fields
        .word("outcome", findings)
        .map(|outcome| outcome.value);
    if let Some(node) = fields.optional("rework") {
        match node.value {
            Value::Bool(rework) => state.rework = rework,
            _ => findings.add(node.line, format!("{what}: rework: true or false")),
        }
    }
    if let Some(node) = fields.optional("timer") {
        state.timer = timer(&what, node, findings);
    }
    fields.finish(findings);
    Some(state)
}

fn timer(what: &str, node: &Node, findings: &mut Findings) -> Option<At<Timer>> {
    let what = format!("{what}: timer");
    let mut fields = Fields::of(&what, node, findings)?;
    let after = fields
        .required("after", findings)
        .and_then(|n| duration(n, &format!("{what}: after"), findings));
    let then: Option<At<OnDue>> = if fields.required_at("then", node.line, findings) {
        fields.word("then", findings)
    } else {
        None
    };
    fields.finish(findings);
    Some(At {
        line: node.line,
        value: Timer {
            after: after?,
            then: then?.value,
        },
    })
}

fn transitions(node: &Node, findings: &mut Findings) -> Vec<TransitionSource> {
    let Value::List(items) = &node.value else {
        let kind = node.value.kind();
        findings.add(
            node.line,
            format!("transitions: a list of transitions, not {kind}"),
        );
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|node| transition(node, findings))
        .collect()
}

fn transition(node: &Node, findings: &mut Findings) -> Option<TransitionSource> {
    let mut fields = Fields::of("transition", node, findings)?;
    let from = fields
        .required("from", findings)
        .map(|n| names(n, "from", findings));
    let from = match from.as_deref() {
        Some([At { value, .. }]) if value == ANY_NON_TERMINAL => FromSource::AnyNonTerminal,
        _ => FromSource::States(from.unwrap_or_default()),
    };
    let except = fields
        .optional("except")
        .map(|n| names(n, "except", findings));
    if except.is_some() && !matches!(from, FromSource::AnyNonTerminal) {
        findings.add(
            node.line,
            format!("except goes with from: {ANY_NON_TERMINAL}"),
        );
    }
    let action = if fields.required_at("action", node.line, findings) {
        fields.word("action", findings).map(|action| action.value)
    } else {
        None
    };
    let roles = fields
        .required("role", findings)
        .map(|n| words(n, "role", findings))
        .unwrap_or_default();
    let to = fields.optional("to").and_then(|n| name(n, "to", findings));
    let via: Option<At<Action>> = fields.word("via", findings);
    match (&to, &via) {
        (None, None) => findings.add(node.line, "transition: `to` or `via` is missing"),
        (Some(_), Some(_)) => findings.add(node.line, "transition: `to` and `via` at once"),
        _ => {}
    }
    let back_to = fields.word("back_to", findings).map(|word| word.value);
    let claim = fields.optional("claim").and_then(|n| claim(n, findings));
    let guards = fields
        .optional("guards")
        .map(|n| words(n, "guard", findings).into_iter().collect())
        .unwrap_or_default();
    fields.finish(findings);
    let except = except.unwrap_or_default();
    Some(TransitionSource {
        line: node.line,
        from,
        except,
        action,
        roles,
        to,
        back_to,
        via,
        claim,
        guards,
    })
}

fn claim(node: &Node, findings: &mut Findings) -> Option<ClaimSource> {
    let mut fields = Fields::of("claim", node, findings)?;
    let lease = fields
        .required("lease", findings)
        .and_then(|n| duration(n, "claim: lease", findings));
    let returns_to = fields
        .required("returns_to", findings)
        .and_then(|n| name(n, "claim: returns_to", findings));
    fields.finish(findings);
    Some(ClaimSource {
        line: node.line,
        lease,
        returns_to,
    })
}
