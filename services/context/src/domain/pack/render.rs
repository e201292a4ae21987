//! Items as an agent reads them: only from views, so only what may be seen.

use super::RelationKind;
use super::lines::{Fragment, Lines};
use super::select::Detail;
use crate::domain::text::one_line;
use crate::domain::{Entity, Id, Tokens, View};

/// An item of a section below the head.
pub(super) fn item(
    tokens: &dyn Tokens,
    view: &View,
    run: Option<&View>,
    detail: Detail,
    affects: &[Id],
) -> Fragment {
    let lines = Lines::new(tokens);
    match (view.key().entity, detail) {
        (Entity::Task, Detail::Full) => task(lines, view, run),
        (Entity::Decision, Detail::Full) => decision(lines, view, affects),
        (Entity::Task | Entity::Decision, Detail::Min) => minimal(lines, view),
        (Entity::Plan, _) => plan(lines, view),
        (Entity::Epic, _) => epic(lines, view),
        (Entity::Relation, _) => relation(lines, view),
        (Entity::Phase, _) => step(lines, view),
        (Entity::Summary, _) => summary(lines, view),
        _ => milestone(lines, view),
    }
}

/// What a dependency of the asked task left for it.
pub(super) fn dependency(tokens: &dyn Tokens, view: &View, run: Option<&View>) -> Fragment {
    let mut lines = Lines::new(tokens);
    lines.line(&format!(
        "### {}{}{}",
        view.id(),
        title(view),
        note(view, &["status"])
    ));
    match run {
        Some(run) if has_delivered(run) => delivered(&mut lines, run),
        _ => lines.line("Nothing is delivered yet."),
    }
    lines.closed()
}

/// ` — <title>`, if there is one to see.
pub(super) fn title(view: &View) -> String {
    match one_line(view.text("title")) {
        title if title.is_empty() => title,
        title => format!(" — {title}"),
    }
}

/// `<label> <value>`, if there is a value to see.
pub(super) fn labelled(label: &str, view: &View, column: &str) -> String {
    match one_line(view.text(column)) {
        value if value.is_empty() => value,
        value => format!("{label} {value}"),
    }
}

/// What a task waits for.
pub(super) fn waits(view: &View) -> String {
    let on: Vec<String> = view.texts("depends_on").into_iter().map(one_line).collect();
    if on.is_empty() {
        return String::new();
    }
    format!("waits for {}", on.join(", "))
}

/// Acceptance criteria.
pub(super) fn criteria(lines: &mut Lines<'_>, view: &View) {
    lines.column("Acceptance criteria:", view, "acceptance_criteria");
}

fn has_delivered(run: &View) -> bool {
    ["work_commit_sha", "work_summary"]
        .iter()
        .any(|column| !one_line(run.text(column)).is_empty())
}

/// What a run has brought forth so far.
pub(super) fn delivered(lines: &mut Lines<'_>, run: &View) {
    if !has_delivered(run) {
        return;
    }
    let commit = labelled(" in commit", run, "work_commit_sha");
    let agent = labelled(" by", run, "work_agent");
    let end = match one_line(run.text("work_summary")).is_empty() {
        true => ".",
        false => ":",
    };
    lines.line(&format!("Delivered{commit}{agent}{end}"));
    lines.column("", run, "work_summary");
    lines.close();
}

/// ` (<value>, <value>)` of the columns that are to be seen.
fn note(view: &View, columns: &[&str]) -> String {
    let values = columns.iter().map(|column| match *column {
        "author_role" => labelled("by", view, column),
        "created_at" => day(view, column),
        _ => one_line(view.text(column)),
    });
    let values: Vec<String> = values.filter(|value| !value.is_empty()).collect();
    if values.is_empty() {
        return String::new();
    }
    format!(" ({})", values.join(", "))
}

/// The day of a time.
fn day(view: &View, column: &str) -> String {
    one_line(view.text(column)).chars().take(10).collect()
}

/// `on <day>`, if there is one to see.
fn on(view: &View, column: &str) -> String {
    match day(view, column) {
        day if day.is_empty() => day,
        day => format!("on {day}"),
    }
}

fn minimal(mut lines: Lines<'_>, view: &View) -> Fragment {
    let note = note(view, &["status"]);
    lines.line(&format!("- {}{}{note}", view.id(), title(view)));
    lines.open()
}

fn task(mut lines: Lines<'_>, view: &View, run: Option<&View>) -> Fragment {
    let note = note(view, &["status"]);
    lines.line(&format!("### {}{}{note}", view.id(), title(view)));
    let priority = view.number("priority");
    lines.attributes(&[
        labelled("type", view, "type"),
        labelled("role", view, "role"),
        run.map_or_else(String::new, |run| labelled("work state", run, "state")),
        priority.map_or_else(String::new, |p| format!("priority {p}")),
        labelled("assigned to", view, "assigned_to"),
        waits(view),
    ]);
    lines.close();
    lines.column("", view, "description");
    criteria(&mut lines, view);
    if let Some(run) = run {
        delivered(&mut lines, run);
    }
    lines.closed()
}

fn decision(mut lines: Lines<'_>, view: &View, affects: &[Id]) -> Fragment {
    let note = note(
        view,
        &["status", "decision_type", "author_role", "created_at"],
    );
    lines.line(&format!("### {}{}{note}", view.id(), title(view)));
    if !affects.is_empty() {
        let affects: Vec<&str> = affects.iter().map(Id::as_str).collect();
        lines.line(&format!("Affects {}.", affects.join(", ")));
    }
    lines.close();
    lines.column("", view, "rationale");
    lines.column("Alternatives considered:", view, "alternatives");
    lines.closed()
}

fn relation(mut lines: Lines<'_>, view: &View) -> Fragment {
    let words = match view.text("relation_type").parse() {
        Ok(RelationKind::DependsOn) => "rests on",
        Ok(RelationKind::Supersedes) => "takes the place of",
        Ok(RelationKind::AlternativeOf) => "was weighed against",
        Ok(RelationKind::Affects) | Err(_) => "relates to",
    };
    let end = |column: &str| match one_line(view.text(column)) {
        id if id.is_empty() => "another decision".to_owned(),
        id => id,
    };
    lines.line(&format!("- {} {words} {}", end("from_id"), end("to_id")));
    lines.open()
}

fn plan(mut lines: Lines<'_>, view: &View) -> Fragment {
    let number = view.number("number");
    let number = number.map_or_else(String::new, |n| format!(", version {n}"));
    lines.line(&format!("Plan {}{number}{}", view.id(), title(view)));
    let roles: Vec<String> = view.texts("roles").into_iter().map(one_line).collect();
    let roles = match roles.is_empty() {
        true => String::new(),
        false => format!("roles {}", roles.join(", ")),
    };
    lines.attributes(&[
        roles,
        labelled("approved by", view, "approved_by"),
        on(view, "approved_at"),
    ]);
    lines.close();
    lines.column("", view, "description");
    lines.column("Remark with the approval:", view, "comment");
    lines.closed()
}

fn epic(mut lines: Lines<'_>, view: &View) -> Fragment {
    let note = note(view, &["status"]);
    lines.line(&format!("Epic {}{}{note}", view.id(), title(view)));
    lines.close();
    lines.column("", view, "description");
    lines.closed()
}

/// `- <day> <what> by <whom>: <words>`
fn told(mut lines: Lines<'_>, view: &View, what: &str, words: &'static str) -> Fragment {
    let by = labelled(" by", view, "actor");
    let first = [day(view, "at"), format!("{what}{by}")];
    let first: Vec<_> = first.into_iter().filter(|part| !part.is_empty()).collect();
    lines.bullet(&first.join(" "), view.text(words));
    lines.open()
}

fn milestone(lines: Lines<'_>, view: &View) -> Fragment {
    let what = one_line(view.text("event_type"));
    told(lines, view, &what, "description")
}

fn step(lines: Lines<'_>, view: &View) -> Fragment {
    let from = labelled(" from", view, "from_phase");
    let to = labelled(" to", view, "to_phase");
    told(lines, view, &format!("phase{from}{to}"), "rationale")
}

fn summary(mut lines: Lines<'_>, view: &View) -> Fragment {
    let by = labelled("by", view, "author_role");
    lines.attributes(&[by, on(view, "created_at")]);
    lines.close();
    lines.column("", view, "text");
    lines.closed()
}
