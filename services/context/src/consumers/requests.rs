//! Requests by event. Each is answered, once, in the commit of its effect; a refusal is an
//! answer, too.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::{
    RehydrateAnswered, RehydrateRequest, UpdateAnswered, UpdateChange, UpdateRequest,
};
use fleet_events::{Event, HandleError, Handler, Origin, applied};
use fleet_graph::{Commit, Deadline, OutboxEvent};
use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault};
use serde_json::Value;

use super::failed;
use crate::app::{App, Ended, SOURCE, Scene, Updated};
use crate::grpc::parse;

const CONSUMER: &str = fleet_topology::consumers::CONTEXT_REQUESTS.name;
const UPDATE: &str = "context.update.request";
const REHYDRATE: &str = "context.rehydrate.request";
const SUCCESS: &str = "success";
const ERROR: &str = "error";
/// How much of a wrong id an answer gives back, in characters.
const SHOWN_CHARS: usize = 128;
/// Longest error or remark of an answer, in characters.
const MOST_CHARS: usize = 4_000;
/// Most remarks of an answer.
const MOST_REMARKS: usize = 100;

/// Handler of the consumer `context-requests`.
pub struct Requests(pub Arc<App>);

#[async_trait]
impl Handler for Requests {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        match event.kind.as_str() {
            UPDATE => self.update(event, deadline).await,
            REHYDRATE => self.rehydrate(event, deadline).await,
            _ => Err(HandleError::unknown(event)),
        }
    }
}

impl Requests {
    async fn update(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let app = &self.0;
        let call = call(event, deadline);
        let asked = asked_update(event);
        let command = asked.and_then(|asked| parse::update_context(&asked, &call));
        let outcome = match command {
            Ok(command) => {
                let origin = Origin::caused_by(SOURCE, event);
                let complete = |scene: &Scene, outcome: &Updated, commit: &mut Commit| {
                    commit.event(updated(event, scene, outcome));
                    commit.answers = Some(event.answered_by(CONSUMER));
                };
                app.run(&command, &origin, deadline, complete).await
            }
            Err(fault) => Err(Ended::Fault(fault)),
        };
        match outcome {
            Ok(_) | Err(Ended::AlreadyApplied) => Ok(()),
            Err(Ended::Fault(fault)) if is_answer(&fault) => {
                self.say(event, deadline, |scene| not_updated(event, scene, &fault))
                    .await
            }
            Err(Ended::Fault(fault)) => Err(failed(fault)),
        }
    }

    async fn rehydrate(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let call = call(event, deadline);
        let packs = match asked_packs(event) {
            Ok(asked) => crate::read::rehydrate_session(&self.0, &call, asked).await,
            Err(fault) => Err(fault),
        };
        match packs {
            Ok(packs) if packs.bundle_id.is_empty() => {
                self.say(event, deadline, |scene| not_kept(event, scene, &packs))
                    .await
            }
            Ok(packs) => {
                self.say(event, deadline, |scene| rehydrated(event, scene, &packs))
                    .await
            }
            Err(fault) if is_answer(&fault) => {
                self.say(event, deadline, |scene| {
                    not_rehydrated(event, scene, &fault)
                })
                .await
            }
            Err(fault) => Err(failed(fault)),
        }
    }

    /// Answers, without any other effect.
    async fn say(
        &self,
        event: &Event,
        deadline: Deadline,
        say: impl Fn(&Scene) -> OutboxEvent,
    ) -> Result<(), HandleError> {
        let scene = self.0.scene(Origin::caused_by(SOURCE, event), deadline);
        let mut commit = scene.commit();
        commit.event(say(&scene));
        commit.answers = Some(event.answered_by(CONSUMER));
        applied(self.0.committer.commit(*commit, deadline).await)
    }
}

/// The event as a call of nobody in particular: whoever may publish on the bus is trusted.
fn call(event: &Event, deadline: Deadline) -> Call {
    let mut call = Call::local(event.kind.clone(), deadline);
    call.correlation = match event.correlation.as_str() {
        "" => event.id.to_string(),
        given => given.to_owned(),
    };
    call
}

/// Whether a failure is an answer to who asked; anything else passes by itself.
fn is_answer(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Invalid(_)
            | Fault::NotFound { .. }
            | Fault::AlreadyExists { .. }
            | Fault::Precondition { .. }
            | Fault::Denied { .. }
            | Fault::Aborted {
                reason: fleet_service::Reason::StaleVersion,
                ..
            }
    )
}

/// The request, as the call would have it.
fn asked_update(event: &Event) -> Result<pb::UpdateContextRequest, Fault> {
    let asked: UpdateRequest = event.payload().map_err(|e| Fault::invalid("payload", e))?;
    let change = |change: UpdateChange| pb::ContextChange {
        operation: change.operation,
        entity_type: change.entity_type,
        entity_id: change.entity_id,
        payload: match change.payload {
            Value::Null => String::new(),
            Value::String(text) => text,
            object => object.to_string(),
        },
        reason: change.reason,
    };
    Ok(pb::UpdateContextRequest {
        story_id: asked.story_id,
        task_id: asked.task_id,
        role: asked.role,
        changes: asked.changes.into_iter().map(change).collect(),
        timestamp: asked.timestamp.unwrap_or_default(),
        request_id: String::new(),
        expected_version: asked.expected_version,
    })
}

fn asked_packs(event: &Event) -> Result<pb::RehydrateSessionRequest, Fault> {
    let asked: RehydrateRequest = event.payload().map_err(|e| Fault::invalid("payload", e))?;
    Ok(pb::RehydrateSessionRequest {
        case_id: asked.case_id,
        roles: asked.roles,
        include_timeline: asked.include_timeline,
        include_summaries: asked.include_summaries,
        persist_bundle: true,
        ..Default::default()
    })
}

/// The story as it was named; it may be anything.
fn named(event: &Event, field: &str) -> String {
    let named = event.body.get(field).and_then(Value::as_str);
    let shown = named.unwrap_or_default().chars();
    shown
        .filter(|c| !c.is_control())
        .take(SHOWN_CHARS)
        .collect()
}

fn updated(event: &Event, scene: &Scene, outcome: &Updated) -> OutboxEvent {
    let said = UpdateAnswered {
        story_id: named(event, "story_id"),
        status: SUCCESS.to_owned(),
        version: outcome.version,
        hash: outcome.hash.clone(),
        warnings: outcome.warnings.clone(),
        error: String::new(),
        request: event.id.to_string(),
        timestamp: scene.now,
    };
    scene.event(&said.story_id, outcome.version, &said)
}

fn not_updated(event: &Event, scene: &Scene, fault: &Fault) -> OutboxEvent {
    let said = UpdateAnswered {
        story_id: named(event, "story_id"),
        status: ERROR.to_owned(),
        version: 0,
        hash: String::new(),
        warnings: Vec::new(),
        error: words(scene, &fault.to_string()),
        request: event.id.to_string(),
        timestamp: scene.now,
    };
    scene.event(&said.story_id, 0, &said)
}

fn rehydrated(event: &Event, scene: &Scene, packs: &pb::RehydrateSessionResponse) -> OutboxEvent {
    let stats = packs.stats.clone().unwrap_or_default();
    let count = |count: i32| u64::try_from(count).unwrap_or_default();
    let said = RehydrateAnswered {
        case_id: packs.case_id.clone(),
        status: SUCCESS.to_owned(),
        generated_at_ms: packs.generated_at_ms,
        packs_count: u64::try_from(packs.packs.len()).unwrap_or(u64::MAX),
        bundle_id: packs.bundle_id.clone(),
        decisions: count(stats.decisions),
        decision_edges: count(stats.decision_edges),
        impacts: count(stats.impacts),
        events: count(stats.events),
        roles: stats.roles,
        warnings: remarks(scene, &packs.warnings),
        error: String::new(),
        request: event.id.to_string(),
        timestamp: scene.now,
    };
    scene.event(&said.case_id, 0, &said)
}

fn not_rehydrated(event: &Event, scene: &Scene, fault: &Fault) -> OutboxEvent {
    no_packs(event, scene, words(scene, &fault.to_string()), Vec::new())
}

/// Packs that nobody can fetch are none: their warnings say why.
fn not_kept(event: &Event, scene: &Scene, packs: &pb::RehydrateSessionResponse) -> OutboxEvent {
    let error = "the packs are not kept; ask for fewer roles, or again later".to_owned();
    no_packs(event, scene, error, remarks(scene, &packs.warnings))
}

fn no_packs(event: &Event, scene: &Scene, error: String, warnings: Vec<String>) -> OutboxEvent {
    let said = RehydrateAnswered {
        case_id: named(event, "case_id"),
        status: ERROR.to_owned(),
        generated_at_ms: 0,
        packs_count: 0,
        bundle_id: String::new(),
        decisions: 0,
        decision_edges: 0,
        impacts: 0,
        events: 0,
        roles: Vec::new(),
        warnings,
        error,
        request: event.id.to_string(),
        timestamp: scene.now,
    };
    scene.event(&said.case_id, 0, &said)
}

/// What was wrong, without secrets, not endless.
fn words(scene: &Scene, said: &str) -> String {
    let words = scene.redacted(said);
    words.chars().take(MOST_CHARS).collect()
}

/// Remarks, likewise.
fn remarks(scene: &Scene, warnings: &[String]) -> Vec<String> {
    let first = warnings.iter().take(MOST_REMARKS);
    first.map(|warning| words(scene, warning)).collect()
}
