//! How two contexts differ: line by line, and by what each receipt says went in.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::bail;
use console::Style;
use similar::{ChangeTag, TextDiff};

use super::show::{Paint, harmless, used};
use super::view::Receipt;

/// Unchanged lines around a change.
const AROUND: usize = 3;

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pair {
    /// Two roles in the same phase.
    Roles([String; 2], String),
    /// Two phases of the same role.
    Phases(String, [String; 2]),
    /// Two contexts that were given out before.
    Versions([String; 2]),
}

/// Says what is to be compared, or why that cannot be said.
///
/// # Errors
/// Not exactly one of the three has two values, or another one is missing.
pub fn pair(roles: &[String], phases: &[String], versions: &[String]) -> anyhow::Result<Pair> {
    let two = |values: &[String]| -> Option<[String; 2]> { values.to_vec().try_into().ok() };
    for (flag, values) in [
        ("--role", roles),
        ("--phase", phases),
        ("--version", versions),
    ] {
        if values.len() > 2 {
            bail!(
                "{flag} has {} values; two contexts are compared",
                values.len()
            );
        }
        if values.iter().any(String::is_empty) {
            bail!("{flag} has an empty value");
        }
        if values.len() == 2 && values[0] == values[1] {
            bail!(
                "{flag} says {} twice: there is nothing to compare",
                values[0]
            );
        }
    }
    match (roles, phases, two(versions)) {
        ([], [], Some(versions)) => Ok(Pair::Versions(versions)),
        (_, _, Some(_)) => {
            bail!("--version A,B names both contexts: leave --role and --phase out")
        }
        _ if versions.len() == 1 => bail!("--version takes two hashes: --version A,B"),
        ([a, b], [phase], _) => Ok(Pair::Roles([a.clone(), b.clone()], phase.clone())),
        ([role], [a, b], _) => Ok(Pair::Phases(role.clone(), [a.clone(), b.clone()])),
        ([_, _], [_, _], _) => {
            bail!("--role and --phase have two values each: compare one thing at a time")
        }
        ([_, _], [], _) => bail!("two roles are compared in one phase: say which with --phase"),
        ([], [_, _], _) => bail!("two phases are compared for one role: say which with --role"),
        _ => bail!(
            "exactly one of --role, --phase and --version takes two values, e.g. --role developer,qa --phase BUILD"
        ),
    }
}

/// A context that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// What it is called.
    pub name: String,
    /// Its text.
    pub context: String,
    /// What went into it and what did not.
    pub receipt: Receipt,
}

/// The difference between two contexts.
pub fn render(old: &Side, new: &Side, paint: Paint) -> String {
    let mut out = lines(old, new, paint);
    let (came_and_went, same) = items(old, new, paint);
    if let Some(table) = came_and_went {
        let _ = writeln!(out, "\n{table}");
    } else {
        out.push('\n');
    }
    let _ = writeln!(out, "{same} items are in both");
    for side in [old, new] {
        let _ = writeln!(out, "{}: {}", harmless(&side.name), used(&side.receipt));
    }
    out
}

fn lines(old: &Side, new: &Side, paint: Paint) -> String {
    let (before, after) = (harmless(&old.context), harmless(&new.context));
    if before == after {
        return format!(
            "the texts of {} and {} are the same\n",
            harmless(&old.name),
            harmless(&new.name)
        );
    }
    let (minus, plus) = (Style::new().red(), Style::new().green());
    let (head, place) = (Style::new().bold(), Style::new().cyan());
    let mut out = String::new();
    for (mark, side) in [("---", old), ("+++", new)] {
        let title = format!("{mark} {}", harmless(&side.name));
        let _ = writeln!(out, "{}", paint.with(&head, &title));
    }
    let diff = TextDiff::from_lines(&before, &after);
    for hunk in diff.unified_diff().context_radius(AROUND).iter_hunks() {
        let _ = writeln!(out, "{}", paint.with(&place, &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let line = format!("{}{}", change.tag(), change.value().trim_end_matches('\n'));
            let line = match change.tag() {
                ChangeTag::Delete => paint.with(&minus, &line),
                ChangeTag::Insert => paint.with(&plus, &line),
                ChangeTag::Equal => line,
            };
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

/// What a receipt says of each item: where it is, or why it is not there.
fn fates(receipt: &Receipt) -> BTreeMap<(&str, &str), (bool, String)> {
    let mut fates = BTreeMap::new();
    for item in &receipt.excluded {
        let why = match item.detail.as_str() {
            "" => item.reason.clone(),
            detail => format!("{}: {detail}", item.reason),
        };
        fates.insert((item.kind.as_str(), item.id.as_str()), (false, why));
    }
    for item in &receipt.included {
        let place = format!("{}, {} tokens", item.section, item.tokens);
        fates.insert((item.kind.as_str(), item.id.as_str()), (true, place));
    }
    fates
}

/// A table of the items that are in one of them only, if any, and how many are in both.
fn items(old: &Side, new: &Side, paint: Paint) -> (Option<comfy_table::Table>, usize) {
    let (before, after) = (fates(&old.receipt), fates(&new.receipt));
    let mut table = paint.table(["", "item", &harmless(&old.name), &harmless(&new.name)]);
    let mut same = 0;
    let absent = (false, "not a candidate".to_owned());
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    for key in keys {
        let (was, is) = (
            before.get(key).unwrap_or(&absent),
            after.get(key).unwrap_or(&absent),
        );
        let mark = match (was.0, is.0) {
            (true, true) => {
                same += 1;
                continue;
            }
            (false, false) => continue,
            (true, false) => "-",
            (false, true) => "+",
        };
        let (kind, id) = key;
        table.add_row([
            mark.to_owned(),
            harmless(&format!("{kind} {id}")),
            harmless(&was.1),
            harmless(&is.1),
        ]);
    }
    (table.row_count().gt(&0).then_some(table), same)
}
