//! What a rejection of the domain is to a caller.

use fleet_service::{Fault, Reason};

use crate::domain::{Rejection, StoryState};

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        let message = rejection.to_string();
        let refuse = |reason, subject: &dyn std::fmt::Display| {
            Self::precondition(reason, message.clone()).with("subject", subject)
        };
        match &rejection {
            Rejection::IllegalMove {
                story,
                from,
                allowed,
                ..
            } => refuse(Reason::StoryState, story)
                .with("current_state", from)
                .with("allowed", list(allowed.iter().map(|state| state.as_str()))),
            Rejection::ReasonRequired { .. } => Self::invalid("reason", message),
            Rejection::NotReady {
                story,
                threshold,
                readiness,
            } => refuse(Reason::DorBelowThreshold, story)
                .with("current_state", StoryState::PoReview)
                .with("score", readiness.score())
                .with("threshold", threshold)
                .with(
                    "missing",
                    list(readiness.missing().map(|criterion| criterion.name)),
                ),
            Rejection::NoTasks { story } => {
                refuse(Reason::StoryNotReleasable, story).with("total_tasks", 0)
            }
            Rejection::Cycle { story, cycle } => refuse(Reason::DependencyCycle, story)
                .with("cycle", list(cycle.iter().map(|task| task.as_str()))),
            Rejection::Frozen { story, state } => {
                refuse(Reason::TasksFrozen, story).with("current_state", state)
            }
            Rejection::NotEditable { story, state } => {
                refuse(Reason::StoryState, story).with("current_state", state)
            }
            Rejection::Archived { story } => {
                refuse(Reason::StoryState, story).with("current_state", StoryState::Archived)
            }
            Rejection::ForeignDependency { task, .. } => refuse(Reason::ParentMismatch, task),
            Rejection::TooMany { story, limit, .. } => {
                refuse(Reason::StoryFull, story).with("limit", limit)
            }
            Rejection::ProjectClosed { project, status } => {
                refuse(Reason::ParentClosed, project).with("current_state", status)
            }
            Rejection::EpicClosed { epic, status } => {
                refuse(Reason::ParentClosed, epic).with("current_state", status)
            }
            Rejection::VerdictStands {
                decision, verdict, ..
            } => refuse(Reason::DecisionContradicted, decision).with("current_state", verdict),
        }
    }
}

fn list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(",")
}
