//! What every context begins with: the story, and the task that is worked on.

use super::lines::{Fragment, Lines};
use super::render::{criteria, delivered, labelled, title, waits};
use crate::domain::text::one_line;
use crate::domain::{Tokens, View};

/// The story.
pub(super) fn story(tokens: &dyn Tokens, view: &View) -> Fragment {
    let mut lines = Lines::new(tokens);
    lines.line(&format!("## Story {}{}", view.id(), title(view)));
    lines.attributes(&[
        labelled("state", view, "state"),
        labelled("size", view, "size"),
        labelled("repository", view, "repository"),
        labelled("branch", view, "base_branch"),
    ]);
    lines.close();
    lines.column("", view, "brief");
    criteria(&mut lines, view);
    lines.column("Constraints:", view, "constraints");
    lines.closed()
}

/// The task that is worked on, with what the last review said.
pub(super) fn task(tokens: &dyn Tokens, view: &View, run: Option<&View>) -> Fragment {
    let mut lines = Lines::new(tokens);
    lines.line(&format!("## Your task: {}{}", view.id(), title(view)));
    let hours = match view.number("estimated_hours") {
        Some(hours) if hours > 0 => format!("estimate {hours} h"),
        _ => String::new(),
    };
    let priority = view.number("priority");
    lines.attributes(&[
        labelled("type", view, "type"),
        labelled("role", view, "role"),
        labelled("status", view, "status"),
        run.map_or_else(String::new, |run| labelled("work state", run, "state")),
        priority.map_or_else(String::new, |p| format!("priority {p}")),
        hours,
        labelled("assigned to", view, "assigned_to"),
        waits(view),
    ]);
    lines.close();
    lines.column("", view, "description");
    criteria(&mut lines, view);
    if let Some(run) = run {
        delivered(&mut lines, run);
        let label = match run.number("rejections") {
            Some(1) => "Feedback of the last review (sent back once):".to_owned(),
            Some(n) if n > 1 => format!("Feedback of the last review (sent back {n} times):"),
            _ => "Feedback of the last review:".to_owned(),
        };
        if !one_line(run.text("feedback")).is_empty() {
            lines.column(&label, run, "feedback");
        }
    }
    lines.closed()
}
