//! One change of UpdateContext on what is there.

use fleet_graph::{Guard, NodeKey, Versioned};
use fleet_service::races::word;
use fleet_service::{Fault, Found, Reason};
use fleet_types::DecisionId;
use serde::de::DeserializeOwned;

use super::UpdateContext;
use crate::app::{Edit, NewDecision, Scene, ends};
use crate::record::{
    CONTEXT_UPDATED, Change, DecisionPatch, DecisionStatus, MilestonePatch, Operation, Patch,
    SummaryPatch,
};
use crate::rows::{self, DecisionRow, EventRow, ReviewSeen, SummaryRow};

/// What a milestone is that does not say.
const MILESTONE: &str = "milestone";

/// One change with its place in the call.
struct One<'a> {
    call: &'a UpdateContext,
    change: &'a Change,
    index: usize,
    key: NodeKey,
}

/// What a change meets.
enum Meets<T> {
    /// Nothing, as it should be.
    Nothing,
    /// Something that it may change.
    Row(Versioned<T>),
}

/// Applies a change; gives it in words, `None` if everything is like that already.
pub fn apply(
    call: &UpdateContext,
    found: &Found,
    scene: &Scene,
    edit: &mut Edit<'_>,
    (index, change): (usize, &Change),
) -> Result<Option<String>, Fault> {
    let key = call.key(change);
    let one = One {
        call,
        change,
        index,
        key,
    };
    let done = match &change.patch {
        Patch::Decision(id, patch) => one.decision(found, scene, edit, id, patch)?,
        Patch::Milestone(patch) => one.milestone(found, scene, edit, patch)?,
        Patch::Summary(patch) => one.summary(found, scene, edit, patch)?,
    };
    Ok(done.map(|verb| format!("{verb} {}", one.what())))
}

impl One<'_> {
    /// The thing in words.
    fn what(&self) -> String {
        format!("{} {}", word(self.key.label()), self.change.id)
    }

    fn field(&self, name: &str) -> String {
        format!("changes[{}].payload.{name}", self.index)
    }

    /// What is there, if the operation fits it.
    fn meets<T: DeserializeOwned>(
        &self,
        found: &Found,
        foreign: impl Fn(&T) -> bool,
        deleted: impl Fn(&T) -> bool,
    ) -> Result<Meets<T>, Fault> {
        let Some(row) = found.find::<T>(&self.key)? else {
            return match self.change.operation {
                Operation::Create | Operation::Upsert => Ok(Meets::Nothing),
                Operation::Update | Operation::Delete => {
                    Err(Fault::not_found(word(self.key.label()), &self.change.id))
                }
            };
        };
        let at = format!("changes[{}]: {}", self.index, self.what());
        if self.change.operation == Operation::Create {
            return Err(Fault::AlreadyExists {
                reason: Reason::AlreadyExists,
                message: format!("{at} is there already"),
            });
        }
        if foreign(&row.value) {
            return Err(ends::foreign(&at, &self.change.id, &self.call.story_id));
        }
        if deleted(&row.value) {
            return Err(ends::deleted(&at, &self.change.id));
        }
        Ok(Meets::Row(row))
    }

    /// What a new thing cannot be without.
    fn required(&self, name: &str, given: Option<&String>) -> Result<String, Fault> {
        given.cloned().ok_or_else(|| {
            let problem = format!("is required: there is no {} yet", self.what());
            Fault::invalid(&self.field(name), problem)
        })
    }

    fn decision(
        &self,
        found: &Found,
        scene: &Scene,
        edit: &mut Edit<'_>,
        id: &DecisionId,
        patch: &DecisionPatch,
    ) -> Result<Option<&'static str>, Fault> {
        let story = &self.call.story_id;
        let foreign = |row: &DecisionRow| row.story_id != *story;
        let before = match self.meets(found, foreign, |row| row.deleted_at.is_some())? {
            Meets::Nothing => {
                self.check_step(None, patch.status)?;
                let new = NewDecision {
                    title: self.required("title", patch.title.as_ref())?,
                    author_role: self.call.role.as_str().to_owned(),
                    author_agent: self.author(),
                    ..NewDecision::default()
                };
                let mut row = new.row(story, id, scene);
                row.task_id = self.task();
                patch.apply_to(&mut row);
                self.sign_decision(&mut row);
                edit.decision(None, row, self.change.canonical());
                return Ok(Some("created"));
            }
            Meets::Row(before) => before,
        };
        let mut row = before.value.clone();
        let verb = if self.change.operation == Operation::Delete {
            row.erase(scene.now);
            "deleted"
        } else {
            let review = rows::review(story, id);
            let verdict = found.find::<ReviewSeen>(&review)?;
            let verdict = verdict.and_then(|review| review.value.status());
            // Planning has the verdict before it is heard here.
            let status = verdict.map_or(row.status, |verdict| row.status.under(verdict));
            self.check_step(Some(status), patch.status)?;
            patch.apply_to(&mut row);
            if row == before.value {
                return Ok(None);
            }
            if words_of(&row) != words_of(&before.value) {
                if found.node(&review).is_some() {
                    return Err(self.judged(status));
                }
                edit.guard(Guard::Absent(review));
            }
            "updated"
        };
        row.updated_at = scene.now;
        self.sign_decision(&mut row);
        edit.decision(Some(&before), row, self.change.canonical());
        Ok(Some(verb))
    }

    /// What was judged stays as the product owner saw it.
    fn judged(&self, status: DecisionStatus) -> Fault {
        let message = format!(
            "changes[{}]: {} was judged, and is {status}; its words stay as they were then: record \
             a new decision that supersedes it",
            self.index,
            self.what()
        );
        Fault::precondition(Reason::DecisionContradicted, message)
            .with("subject", &self.change.id)
            .with("current_state", status)
    }

    /// The status may follow the one there is; what is new is proposed.
    fn check_step(
        &self,
        from: Option<DecisionStatus>,
        to: Option<DecisionStatus>,
    ) -> Result<(), Fault> {
        let Some(to) = to else { return Ok(()) };
        let (is, allowed): (&str, &[DecisionStatus]) = match from {
            Some(from) if from == to => return Ok(()),
            Some(from) if from.may_become(to) => return Ok(()),
            Some(from) => (from.as_str(), from.allowed()),
            None if to == DecisionStatus::Proposed => return Ok(()),
            None => ("new", &[DecisionStatus::Proposed]),
        };
        let words: Vec<&str> = allowed.iter().map(|status| status.as_str()).collect();
        let next = match words.as_slice() {
            [] => "which is final".to_owned(),
            words => format!("it can become {}", words.join(" or ")),
        };
        let (at, what) = (self.field("status"), self.what());
        let message = format!("{at}: {what} is {is}, {next}, not {to}");
        Err(Fault::precondition(Reason::DecisionState, message)
            .with("subject", &self.change.id)
            .with("current_status", is)
            .with("allowed", words.join(",")))
    }

    fn milestone(
        &self,
        found: &Found,
        scene: &Scene,
        edit: &mut Edit<'_>,
        patch: &MilestonePatch,
    ) -> Result<Option<&'static str>, Fault> {
        let before =
            match self.meets(found, |_: &EventRow| false, |row| row.deleted_at.is_some())? {
                Meets::Nothing => {
                    let kind = patch.event_type.as_deref().unwrap_or(MILESTONE);
                    let row = EventRow {
                        event_id: self.change.id.clone(),
                        story_id: self.call.story_id.clone(),
                        event_type: kind.to_owned(),
                        description: self.required("description", patch.description.as_ref())?,
                        actor: self.call.by.clone(),
                        actor_role: self.call.role.as_str().to_owned(),
                        task_id: self.task(),
                        at: scene.now,
                        updated_at: scene.now,
                        change_reason: self.change.reason.clone(),
                        stated_at: self.call.stated_at.clone(),
                        deleted_at: None,
                        tokens_description: 0,
                        tokens_by: String::new(),
                    };
                    edit.event(None, row, self.change.canonical());
                    return Ok(Some("created"));
                }
                Meets::Row(before) => before,
            };
        if before.value.event_type == CONTEXT_UPDATED {
            let message = format!(
                "changes[{}]: {} is the record of a change; nobody changes that",
                self.index,
                self.what()
            );
            let fault = Fault::precondition(Reason::RecordKept, message);
            return Err(fault.with("subject", &self.change.id));
        }
        let mut row = before.value.clone();
        let verb = if self.change.operation == Operation::Delete {
            row.description.clear();
            row.deleted_at = Some(scene.now);
            "deleted"
        } else {
            set(&mut row.event_type, patch.event_type.as_ref());
            set(&mut row.description, patch.description.as_ref());
            if row == before.value {
                return Ok(None);
            }
            "updated"
        };
        row.updated_at = scene.now;
        row.change_reason.clone_from(&self.change.reason);
        row.stated_at.clone_from(&self.call.stated_at);
        edit.event(Some(&before), row, self.change.canonical());
        Ok(Some(verb))
    }

    fn summary(
        &self,
        found: &Found,
        scene: &Scene,
        edit: &mut Edit<'_>,
        patch: &SummaryPatch,
    ) -> Result<Option<&'static str>, Fault> {
        let deleted = |row: &SummaryRow| row.deleted_at.is_some();
        let before = match self.meets(found, |_| false, deleted)? {
            Meets::Nothing => None,
            Meets::Row(before) => Some(before),
        };
        let (mut row, verb) = match &before {
            None => {
                let row = SummaryRow {
                    summary_id: self.change.id.clone(),
                    story_id: self.call.story_id.clone(),
                    text: self.required("text", patch.text.as_ref())?,
                    author_role: self.call.role.as_str().to_owned(),
                    author_agent: self.author(),
                    created_at: scene.now,
                    updated_at: scene.now,
                    changed_by_role: String::new(),
                    change_reason: String::new(),
                    stated_at: String::new(),
                    deleted_at: None,
                    tokens_text: 0,
                    tokens_by: String::new(),
                };
                (row, "created")
            }
            Some(before) if self.change.operation == Operation::Delete => {
                let mut row = before.value.clone();
                row.text.clear();
                row.deleted_at = Some(scene.now);
                (row, "deleted")
            }
            Some(before) => {
                let mut row = before.value.clone();
                set(&mut row.text, patch.text.as_ref());
                if row == before.value {
                    return Ok(None);
                }
                (row, "updated")
            }
        };
        row.updated_at = scene.now;
        row.changed_by_role = self.call.role.as_str().to_owned();
        row.change_reason.clone_from(&self.change.reason);
        row.stated_at.clone_from(&self.call.stated_at);
        edit.summary(before.as_ref(), row, self.change.canonical());
        Ok(Some(verb))
    }

    /// Who, role, reason and time of the change stay with the decision.
    fn sign_decision(&self, row: &mut DecisionRow) {
        row.changed_by_role = self.call.role.as_str().to_owned();
        row.change_reason.clone_from(&self.change.reason);
        row.stated_at.clone_from(&self.call.stated_at);
    }

    fn task(&self) -> String {
        let task = self.call.task_id.as_ref();
        task.map(ToString::to_string).unwrap_or_default()
    }

    /// The caller, where he is more than his role.
    fn author(&self) -> String {
        if self.call.by == self.call.role.as_str() {
            String::new()
        } else {
            self.call.by.clone()
        }
    }
}

/// What a product owner judges.
fn words_of(row: &DecisionRow) -> (&str, &str, &str, &[String]) {
    let (title, rationale, kind) = (&row.title, &row.rationale, &row.decision_type);
    (title, rationale, kind, &row.alternatives)
}

impl DecisionPatch {
    /// Puts what is named into a row.
    fn apply_to(&self, row: &mut DecisionRow) {
        set(&mut row.title, self.title.as_ref());
        set(&mut row.rationale, self.rationale.as_ref());
        set(&mut row.status, self.status.as_ref());
        set(&mut row.decision_type, self.decision_type.as_ref());
        set(&mut row.alternatives, self.alternatives.as_ref());
        set(&mut row.affects, self.affects.as_ref());
        set(&mut row.depends_on, self.depends_on.as_ref());
        set(&mut row.supersedes, self.supersedes.as_ref());
        set(&mut row.alternative_of, self.alternative_of.as_ref());
    }
}

fn set<T: Clone>(field: &mut T, new: Option<&T>) {
    if let Some(new) = new {
        field.clone_from(new);
    }
}
