//! A context and its receipt as a person reads them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use console::Style;

use super::view::{Answer, Entry, Receipt};

/// Excluded items that are named for each reason; the rest is counted.
const NAMED: usize = 8;
/// Width of tables where there is no terminal to ask.
const PLAIN_WIDTH: u16 = 120;

/// How to write: with colours on a terminal, without anywhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// Whether colours are wanted.
    pub coloured: bool,
    /// Columns of the terminal; `None` where there is none.
    pub width: Option<u16>,
}

impl Paint {
    /// As standard output is: a terminal or not, and whether its owner wants colours
    /// (`NO_COLOR`).
    pub fn of_stdout() -> Self {
        let term = console::Term::stdout();
        Self {
            coloured: console::colors_enabled(),
            width: term.is_term().then(|| term.size().1),
        }
    }

    /// `text` in a style, if colours are wanted.
    pub fn with(self, style: &Style, text: &str) -> String {
        if self.coloured {
            style.clone().force_styling(true).apply_to(text).to_string()
        } else {
            text.to_owned()
        }
    }

    /// An empty table with these columns.
    pub fn table<const N: usize>(self, header: [&str; N]) -> Table {
        let mut table = Table::new();
        table
            .load_preset(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(self.width.unwrap_or(PLAIN_WIDTH))
            .set_header(header);
        table
    }
}

/// The styles that sections take in turn, so that neighbours differ.
fn palette() -> [Style; 6] {
    [
        Style::new().cyan(),
        Style::new().yellow(),
        Style::new().green(),
        Style::new().magenta(),
        Style::new().blue(),
        Style::new().red(),
    ]
}

/// Text of others, without what would change the terminal it is shown on.
pub fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .collect()
}

/// The context, each section in a colour of its own; the headings are bold.
pub fn context(text: &str, paint: Paint) -> String {
    let text = harmless(text);
    if !paint.coloured {
        return text;
    }
    let palette = palette();
    let mut style = Style::new();
    let mut sections = 0;
    let mut out = String::with_capacity(text.len() * 2);
    for line in text.lines() {
        // What people and agents wrote is quoted: only our own headings begin like this.
        let painted = if line.starts_with("# ") || line == "---" {
            style = Style::new();
            paint.with(&Style::new().bold(), line)
        } else if line.starts_with("## ") {
            style = palette[sections % palette.len()].clone();
            sections += 1;
            paint.with(&style.clone().bold(), line)
        } else if line.is_empty() {
            String::new()
        } else {
            paint.with(&style, line)
        };
        out.push_str(&painted);
        out.push('\n');
    }
    out
}

/// The receipt of an answer: what went in, what did not and why, and what it was made from.
pub fn receipt(answer: &Answer, paint: Paint) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(out, "{name:<8} {}", harmless(value));
    };
    if let Some(receipt) = &answer.receipt {
        line("budget", &used(receipt));
        line("graph", &receipt.graph_version);
        line("policy", &receipt.policy_version);
        line("counted", &receipt.tokenizer_version);
    }
    line("scopes", &answer.scopes.join(", "));
    line("hash", &answer.hash);
    let stale = "an older answer: the store is away, and it may have been overtaken";
    let stale = answer.stale.then(|| ("stale", stale.to_owned()));
    let warnings = answer.warnings.iter();
    for (name, value) in stale
        .into_iter()
        .chain(warnings.map(|w| ("warning", harmless(w))))
    {
        let line = format!("{name:<8} {value}");
        let _ = writeln!(out, "{}", paint.with(&Style::new().yellow(), &line));
    }
    let Some(receipt) = &answer.receipt else {
        return out;
    };
    let mut tables = format!("{}\n", included(receipt, paint));
    if !receipt.excluded.is_empty() {
        let _ = writeln!(tables, "{}", excluded(receipt, paint));
    }
    tables + &out
}

/// How much of the budget was used.
pub fn used(receipt: &Receipt) -> String {
    let used = i64::from(receipt.token_count);
    let of = i64::from(receipt.token_budget);
    let percent = if of > 0 { used * 100 / of } else { 0 };
    format!(
        "{used} of {of} tokens used ({percent} %), {} of them the mandatory head",
        receipt.head_tokens
    )
}

/// Tokens of each section, in the order of the context.
pub fn sections(receipt: &Receipt) -> Vec<(String, i64)> {
    let mut sections: Vec<(String, i64)> = Vec::new();
    for entry in &receipt.included {
        let tokens = i64::from(entry.tokens);
        match sections.iter_mut().find(|(name, _)| *name == entry.section) {
            Some((_, sum)) => *sum += tokens,
            None => sections.push((entry.section.clone(), tokens)),
        }
    }
    sections
}

fn included(receipt: &Receipt, paint: Paint) -> Table {
    let mut table = paint.table(["section", "included", "score", "tokens"]);
    if let Some(column) = table.column_mut(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for entry in &receipt.included {
        table.add_row([
            harmless(&entry.section),
            harmless(&format!("{} {}", entry.kind, entry.id)),
            score(entry),
            entry.tokens.to_string(),
        ]);
    }
    table
}

fn score(entry: &Entry) -> String {
    if entry.score_parts.is_empty() {
        return entry.score.to_string();
    }
    // The weightiest first.
    let mut parts: Vec<(&String, &i64)> = entry.score_parts.iter().collect();
    parts.sort_by_key(|(name, n)| (-**n, *name));
    let parts = parts.iter().map(|(name, n)| format!("{name} {n}"));
    let parts: Vec<String> = parts.collect();
    format!("{} = {}", entry.score, harmless(&parts.join(" + ")))
}

fn excluded(receipt: &Receipt, paint: Paint) -> Table {
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for item in &receipt.excluded {
        let detail = match item.detail.as_str() {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        let said = harmless(&format!("{} {}{detail}", item.kind, item.id));
        reasons.entry(&item.reason).or_default().push(said);
    }
    let mut table = paint.table(["excluded for", "items", "which"]);
    for (reason, mut items) in reasons {
        let count = items.len();
        items.truncate(NAMED);
        if count > NAMED {
            items.push(format!("and {} more; --json names all", count - NAMED));
        }
        table.add_row([harmless(reason), count.to_string(), items.join("\n")]);
    }
    table
}
