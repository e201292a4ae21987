//! Whether a receipt still holds: the same context, made again from the graph.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::view::{Answer, Blocks, Entry, Exclusion, Receipt};

/// Largest file, in bytes.
const MAX_FILE: u64 = 64 * 1024 * 1024;
/// Differences that are told one by one.
const TOLD: usize = 40;

/// How much of a hash the version of an answer is.
const VERSION_DIGITS: usize = 16;

/// What the parts of a graph version count, in their order.
const COUNTED: [&str; 9] = [
    "version of the story",
    "tasks",
    "changes of its tasks",
    "task runs",
    "changes of its task runs",
    "plans",
    "changes of its plans",
    "version of its context",
    "verdicts on its decisions",
];

/// A receipt that somebody kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The receipt.
    pub receipt: Receipt,
    /// The answer that it came with, if that was kept, too.
    pub answer: Option<Answer>,
    /// Where the file contradicts itself.
    pub contradictions: Vec<String>,
}

/// What came of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The same context, byte by byte; what moved in the graph meanwhile did not touch it.
    Equal {
        /// What moved.
        moved: Vec<String>,
    },
    /// The receipt does not say what the graph gives.
    Differs(Vec<String>),
    /// The graph is another one by now.
    Moved {
        /// What moved.
        moved: Vec<String>,
        /// What that did to the context.
        changes: Vec<String>,
    },
}

impl Verdict {
    /// 0, 1 or 2: equal, differs, moved.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Equal { .. } => 0,
            Self::Differs(_) => 1,
            Self::Moved { .. } => 2,
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let list = |lines: &[String]| -> String {
            let told: String = lines
                .iter()
                .take(TOLD)
                .map(|l| format!("\n  {l}"))
                .collect();
            match lines.len().saturating_sub(TOLD) {
                0 => told,
                more => format!("{told}\n  and {more} more"),
            }
        };
        match self {
            Self::Equal { moved } if moved.is_empty() => {
                "equal: the graph gives the same context, byte by byte".to_owned()
            }
            Self::Equal { moved } => format!(
                "equal: the graph gives the same context, byte by byte; it has moved on without touching it:{}",
                list(moved)
            ),
            Self::Differs(differences) => format!("differs:{}", list(differences)),
            Self::Moved { moved, changes } => format!(
                "the graph has moved on since:{}\nnow the context differs:{}",
                list(moved),
                list(changes)
            ),
        }
    }
}

/// Reads a file: what `fleet context get --json` printed, or its receipt alone. `-` is the
/// standard input.
///
/// # Errors
/// It cannot be read, or is neither: with file, line and field.
pub fn read(path: &Path) -> anyhow::Result<Kept> {
    let name = if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    let mut text = String::new();
    let mut input: Box<dyn std::io::Read> = if path == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{name} cannot be read"))?;
        Box::new(file)
    };
    let read = input.by_ref().take(MAX_FILE + 1).read_to_string(&mut text);
    let size = read.with_context(|| format!("{name} cannot be read as text"))?;
    if size as u64 > MAX_FILE {
        bail!("{name} is larger than {MAX_FILE} bytes: it is no receipt");
    }
    parse(&name, &text)
}

/// Reads a text; `name` is for messages.
fn parse(name: &str, text: &str) -> anyhow::Result<Kept> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| anyhow::anyhow!("{name}:{}:{}: no JSON: {e}", e.line(), e.column()))?;
    if value.get("receipt").is_none() {
        return Ok(Kept {
            receipt: typed(name, text)?,
            answer: None,
            contradictions: Vec::new(),
        });
    }
    let answer: Answer = typed(name, text)?;
    let contradictions = contradictions(&answer);
    let Some(receipt) = answer.receipt.clone() else {
        bail!(
            "{name}: field receipt is null: make the file with `fleet context get --json`, which asks for one"
        );
    };
    Ok(Kept {
        receipt,
        answer: Some(answer),
        contradictions,
    })
}

fn typed<T: DeserializeOwned>(name: &str, text: &str) -> anyhow::Result<T> {
    let mut reader = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let field = match path.as_str() {
            "." => "no receipt".to_owned(),
            path => format!("field {path}"),
        };
        let error = error.into_inner();
        anyhow::anyhow!(
            "{name}:{}:{}: {field}: {error}",
            error.line(),
            error.column()
        )
    })
}

fn contradictions(answer: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    let mut expect = |what: &str, of_answer: &str, of_receipt: &str| {
        if of_answer != of_receipt {
            found.push(format!(
                "in the file: {what} is {of_answer}, but the receipt says {of_receipt}"
            ));
        }
    };
    if let Some(receipt) = &answer.receipt {
        let hash = sha256(&answer.context);
        expect("the SHA-256 of context", &hash, &receipt.hash);
        expect("hash", &answer.hash, &receipt.hash);
        let version = receipt.hash.get(..VERSION_DIGITS);
        expect("version", &answer.version, version.unwrap_or_default());
        expect(
            "graph_version",
            &answer.graph_version,
            &receipt.graph_version,
        );
        let numbers = [
            ("token_count", answer.token_count, receipt.token_count),
            ("token_budget", answer.token_budget, receipt.token_budget),
        ];
        for (what, a, b) in numbers {
            expect(what, &a.to_string(), &b.to_string());
        }
    }
    found
}

pub(super) fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares what was kept with what the graph gives now.
///
/// # Errors
/// The answer has no receipt.
pub fn compare(kept: &Kept, answer: &Answer) -> anyhow::Result<Verdict> {
    let now = receipt_of(answer)?;
    let then = &kept.receipt;
    let moved = moves(&then.graph_version, &now.graph_version);
    let mut rules = kept.contradictions.clone();
    rules.extend(impossible(&then.graph_version, &now.graph_version));
    rules.extend(repeated(then, now));
    for (what, then, now) in [
        ("policy_version", &then.policy_version, &now.policy_version),
        (
            "tokenizer_version",
            &then.tokenizer_version,
            &now.tokenizer_version,
        ),
    ] {
        if then != now {
            rules.push(format!("{what}: the receipt says {then}, now it is {now}"));
        }
    }
    let mut changes = changes(then, now);
    // They are the same text, cut and named otherwise: no graph moves them without it.
    let of_text = kept.answer.iter().flat_map(|then| beside(then, answer));
    if then.hash == now.hash {
        rules.extend(of_text);
    } else {
        changes.extend(of_text);
    }
    if !rules.is_empty() {
        rules.extend(
            moved
                .iter()
                .map(|what| format!("the graph has moved: {what}")),
        );
        rules.extend(changes);
        return Ok(Verdict::Differs(rules));
    }
    Ok(match (changes.is_empty(), moved.is_empty()) {
        (true, _) => Verdict::Equal { moved },
        (false, true) => Verdict::Differs(changes),
        (false, false) => Verdict::Moved { moved, changes },
    })
}

/// The graph has grown beyond the budget: what moved, if it did.
///
/// # Errors
/// The answer has no receipt.
pub fn outgrown(kept: &Kept, answer: &Answer, why: &str) -> anyhow::Result<Verdict> {
    let (then, now) = (&kept.receipt.graph_version, receipt_of(answer)?);
    let moved = moves(then, &now.graph_version);
    let mut rules = kept.contradictions.clone();
    rules.extend(impossible(then, &now.graph_version));
    let changes = vec![why.to_owned()];
    Ok(if moved.is_empty() || !rules.is_empty() {
        Verdict::Differs([rules, changes].concat())
    } else {
        Verdict::Moved { moved, changes }
    })
}

fn receipt_of(answer: &Answer) -> anyhow::Result<&Receipt> {
    let receipt = answer.receipt.as_ref();
    receipt.context("the service answered without a receipt")
}

/// How answers of the same text differ beside it.
fn beside(then: &Answer, now: &Answer) -> Vec<String> {
    type Part = fn(&Blocks) -> &String;
    let mut found = Vec::new();
    if then.scopes != now.scopes {
        let (then, now) = (then.scopes.join(", "), now.scopes.join(", "));
        found.push(format!("scopes: {then} → {now}"));
    }
    let block = |of: &Answer, part: Part| of.blocks.as_ref().map(part).cloned();
    let blocks: [(&str, Part); 3] = [
        ("system", |blocks| &blocks.system),
        ("context", |blocks| &blocks.context),
        ("tools", |blocks| &blocks.tools),
    ];
    for (name, part) in blocks {
        if block(then, part) != block(now, part) {
            found.push(format!("blocks.{name}: another text"));
        }
    }
    found
}

/// Parts of a graph version that are ahead of now: versions only grow, so no graph of ours ever
/// said them.
fn impossible(then: &str, now: &str) -> Vec<String> {
    let parts = COUNTED
        .iter()
        .zip(then.split('.').zip(now.split('.')))
        .filter(|(_, (then, now))| then != now);
    let ahead = parts.filter_map(|(what, (then, now))| {
        let (old, new) = (then.parse::<u64>(), now.parse::<u64>());
        match (old, new) {
            (Ok(old), Ok(new)) if old <= new => None,
            (Err(_), _) => Some(format!(
                "graph_version: {what} is {then}, which is no number"
            )),
            _ => Some(format!(
                "graph_version: {what} is {then} in the receipt, but only {now} now"
            )),
        }
    });
    ahead.collect()
}

/// Items that the receipt lists more or less often than the one of now, which has them, too.
fn repeated(then: &Receipt, now: &Receipt) -> Vec<String> {
    let mut found = Vec::new();
    for (what, then, now) in [
        ("included", times(&then.included), times(&now.included)),
        ("excluded", times(&then.excluded), times(&now.excluded)),
    ] {
        for ((kind, id), times) in then {
            let usual = now.get(&(kind, id)).copied().unwrap_or(1);
            if times != usual {
                found.push(format!(
                    "{what}: {kind} {id} is listed {times} times instead of {usual}"
                ));
            }
        }
    }
    found
}

fn times<T: Named>(items: &[T]) -> BTreeMap<(&str, &str), usize> {
    let mut times = BTreeMap::new();
    for item in items {
        *times.entry(item.name()).or_default() += 1;
    }
    times
}

/// What has kind and id.
trait Named {
    fn name(&self) -> (&str, &str);
}

impl Named for Entry {
    fn name(&self) -> (&str, &str) {
        (&self.kind, &self.id)
    }
}

impl Named for Exclusion {
    fn name(&self) -> (&str, &str) {
        (&self.kind, &self.id)
    }
}

/// What moved between two versions of the graph.
fn moves(then: &str, now: &str) -> Vec<String> {
    if then == now {
        return Vec::new();
    }
    let parts = |version: &str| -> Vec<String> { version.split('.').map(str::to_owned).collect() };
    let (old, new) = (parts(then), parts(now));
    if old.len() != COUNTED.len() || new.len() != COUNTED.len() {
        return vec![format!("version {then} → {now}")];
    }
    let pairs = COUNTED.iter().zip(old.iter().zip(&new));
    pairs
        .filter(|(_, (old, new))| old != new)
        .map(|(what, (old, new))| format!("{what}: {old} → {new}"))
        .collect()
}

fn changes(then: &Receipt, now: &Receipt) -> Vec<String> {
    let mut changes = Vec::new();
    if then.hash != now.hash {
        changes.push(format!("hash: {} → {}", then.hash, now.hash));
    }
    for (what, then, now) in [
        ("token_budget", then.token_budget, now.token_budget),
        ("token_count", then.token_count, now.token_count),
        ("head_tokens", then.head_tokens, now.head_tokens),
    ] {
        if then != now {
            changes.push(format!("{what}: {then} → {now}"));
        }
    }
    changes.extend(differing(
        "included",
        &included(then),
        &included(now),
        scored,
    ));
    changes.extend(differing(
        "excluded",
        &excluded(then),
        &excluded(now),
        detailed,
    ));
    if changes.is_empty() && (&then.included, &then.excluded) != (&now.included, &now.excluded) {
        changes.push("the same items in another order".to_owned());
    }
    changes
}

/// Items by kind and id; each with its place in short, and as it is.
type Fates<'a, T> = BTreeMap<(&'a str, &'a str), (&'a str, &'a T)>;

fn included(receipt: &Receipt) -> Fates<'_, Entry> {
    let items = receipt.included.iter();
    items
        .map(|item| (item.name(), (&*item.section, item)))
        .collect()
}

fn excluded(receipt: &Receipt) -> Fates<'_, Exclusion> {
    let items = receipt.excluded.iter();
    items
        .map(|item| (item.name(), (&*item.reason, item)))
        .collect()
}

/// How an item in the same section differs.
fn scored(then: &Entry, now: &Entry) -> String {
    let mut parts = Vec::new();
    for (what, then, now) in [
        ("tokens", i64::from(then.tokens), i64::from(now.tokens)),
        ("score", then.score, now.score),
    ] {
        if then != now {
            parts.push(format!("{what} {then} → {now}"));
        }
    }
    if parts.is_empty() {
        parts.push("another path, or other parts of the score".to_owned());
    }
    parts.join(", ")
}

/// How an item that is left out for the same reason differs.
fn detailed(then: &Exclusion, now: &Exclusion) -> String {
    format!("{:?} → {:?}", then.detail, now.detail)
}

fn differing<T: PartialEq>(
    what: &str,
    then: &Fates<'_, T>,
    now: &Fates<'_, T>,
    how: impl Fn(&T, &T) -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    for (key @ (kind, id), (place, item)) in then {
        match now.get(key) {
            None => found.push(format!("- {what}: {kind} {id} ({place})")),
            Some((_, other)) if other == item => {}
            Some((other, _)) if other != place => {
                found.push(format!("~ {what}: {kind} {id}: {place} → {other}"));
            }
            Some((_, other)) => {
                let how = how(item, other);
                found.push(format!("~ {what}: {kind} {id} ({place}): {how}"));
            }
        }
    }
    for (key @ (kind, id), (place, _)) in now {
        if !then.contains_key(key) {
            found.push(format!("+ {what}: {kind} {id} ({place})"));
        }
    }
    found
}
