//! The calls that change a task.

use fleet_graph::Request;
use fleet_proto::workflow::v1 as pb;
use fleet_service::{Call, Fault, Idempotency, idempotent};
use fleet_types::{Action, Role, TaskId};
use prost::Message;

use super::faults::{self, Refused};
use super::{identity, parse, render};
use crate::domain::{Command, Rejection};
use crate::engine::{Ask, Attempt, Cause, ChangeError, Done, Engine, SOURCE};

/// RequestValidation.
pub(super) async fn request_validation(
    engine: &Engine,
    call: &Call,
    mut message: pb::RequestValidationRequest,
) -> Result<pb::RequestValidationResponse, Fault> {
    let request_id = std::mem::take(&mut message.request_id);
    let act = parse::act(&engine.machine, &message, &request_id)?;
    let (actor, refusal) = identity::actor(call, act.role, &act.agent);
    let (action, task) = (act.action, act.task);
    let command = Command::Act {
        actor,
        action,
        handed: act.handed,
        epoch: act.epoch,
    };
    let change = Change {
        engine,
        call,
        task: &task,
        command: &command,
        expected_version: act.expected_version,
        refusal,
        attempt: Some(action),
    };
    let answer = |done: &Done| {
        let run = &done.run;
        let state = engine.machine.name_of(run.state);
        let status = if action.is_rejection() {
            "rejected"
        } else {
            "accepted"
        };
        pb::RequestValidationResponse {
            status: status.to_owned(),
            message: format!("{action}: task {} is in {state}", run.task),
            current_state: state.to_owned(),
            next_role: render::role(run.role_in_charge(&engine.machine)),
            next_action: render::required_action(&engine.machine, run),
            workflow_completed: run.is_over(&engine.machine),
            version: done.version,
            claim_epoch: run.claim_epoch,
            lease_until_ms: render::lease_until_ms(run),
        }
    };
    change.run(&request_id, &message, answer).await
}

/// ClaimTask.
pub(super) async fn claim(
    engine: &Engine,
    call: &Call,
    mut message: pb::ClaimTaskRequest,
) -> Result<pb::ClaimTaskResponse, Fault> {
    let request_id = std::mem::take(&mut message.request_id);
    let claim = parse::claim(&message, &request_id)?;
    let (actor, refusal) = identity::actor(call, claim.role, &claim.agent);
    let command = Command::Claim {
        actor,
        lease: claim.lease,
    };
    let change = Change {
        engine,
        call,
        task: &claim.task,
        command: &command,
        expected_version: claim.expected_version,
        refusal,
        attempt: None,
    };
    let answer = |done: &Done| {
        let run = &done.run;
        let state = engine.machine.name_of(run.state);
        let until = run
            .claim
            .as_ref()
            .map_or(run.updated_at, |claim| claim.lease_until);
        pb::ClaimTaskResponse {
            claimed: true,
            message: format!("{} holds task {} until {until}", claim.agent, run.task),
            current_state: state.to_owned(),
            // A renewed claim was made when the task came into its state.
            claimed_at: run.waiting_since.seconds(),
            version: done.version,
            claim_epoch: run.claim_epoch,
            lease_until_ms: render::lease_until_ms(run),
            action: run.last_action.to_string(),
        }
    };
    change.run(&request_id, &message, answer).await
}

/// RenewClaim.
pub(super) async fn renew(
    engine: &Engine,
    call: &Call,
    mut message: pb::RenewClaimRequest,
) -> Result<pb::RenewClaimResponse, Fault> {
    let request_id = std::mem::take(&mut message.request_id);
    let hold = parse::renew(&message, &request_id)?;
    let (actor, refusal) = identity::actor(call, hold.role, &hold.agent);
    let command = Command::Renew {
        actor,
        epoch: hold.epoch,
        lease: hold.lease,
    };
    let change = Change {
        engine,
        call,
        task: &hold.task,
        command: &command,
        expected_version: None,
        refusal,
        attempt: None,
    };
    let answer = |done: &Done| {
        let until = done.run.due_at.unwrap_or(done.run.updated_at);
        pb::RenewClaimResponse {
            claim_epoch: done.run.claim_epoch,
            lease_until_ms: render::lease_until_ms(&done.run),
            current_state: engine.machine.name_of(done.run.state).to_owned(),
            message: format!("{} holds task {} until {until}", hold.agent, done.run.task),
            version: done.version,
        }
    };
    change.run(&request_id, &message, answer).await
}

/// ReleaseClaim.
pub(super) async fn release(
    engine: &Engine,
    call: &Call,
    mut message: pb::ReleaseClaimRequest,
) -> Result<pb::ReleaseClaimResponse, Fault> {
    let request_id = std::mem::take(&mut message.request_id);
    let hold = parse::release(&message, &request_id)?;
    let (actor, refusal) = identity::actor(call, hold.role, &hold.agent);
    let command = Command::GiveBack {
        actor,
        epoch: hold.epoch,
        reason: hold.reason,
    };
    let change = Change {
        engine,
        call,
        task: &hold.task,
        command: &command,
        expected_version: None,
        refusal,
        attempt: Some(Action::ReleaseClaim),
    };
    let answer = |done: &Done| {
        let state = engine.machine.name_of(done.run.state);
        pb::ReleaseClaimResponse {
            current_state: state.to_owned(),
            message: format!(
                "{} gave task {} back; it is in {state}",
                hold.agent, done.run.task
            ),
            version: done.version,
        }
    };
    change.run(&request_id, &message, answer).await
}

/// One changing call.
struct Change<'a> {
    engine: &'a Engine,
    call: &'a Call,
    task: &'a TaskId,
    command: &'a Command,
    expected_version: Option<i64>,
    /// Why the caller may not act like this.
    refusal: Option<String>,
    /// What is tried, for messages and records; `None` = to claim.
    attempt: Option<Action>,
}

impl Change<'_> {
    /// Carries it out, once for each request id. One round trip more with a request id.
    async fn run<Req: Message, Res: Message + Default>(
        self,
        request_id: &str,
        request: &Req,
        answer: impl Fn(&Done) -> Res + Sync,
    ) -> Result<Res, Fault> {
        let store = &**self.engine.committer.store();
        let body = |idempotency| self.once(idempotency, &answer);
        idempotent(store, self.call, request_id, request, body).await
    }

    async fn once<Res: Message + Default>(
        &self,
        idempotency: Option<Idempotency>,
        answer: &(impl Fn(&Done) -> Res + Sync),
    ) -> Result<Res, Fault> {
        let cause = Cause {
            origin: self.call.origin(SOURCE),
            deadline: self.call.deadline,
            answers: None,
        };
        let ask = Ask {
            task: self.task,
            command: self.command,
            expected_version: self.expected_version,
            refusal: self.refusal.as_deref(),
            cause: &cause,
        };
        let record = |done: &Done| -> Option<Request> {
            idempotency
                .as_ref()
                .map(|idempotency| idempotency.record(&answer(done)))
        };
        match self.engine.change(&ask, &record).await {
            Ok(done) => Ok(answer(&done)),
            Err(ChangeError::Rejected { rejection, stored }) => {
                Err(self.refuse(Refused { rejection, stored }, &cause).await)
            }
            Err(ChangeError::NotAllowed { reason, stored }) => {
                let denied = self.deny(&reason, &stored, &cause).await;
                Err(denied.err().unwrap_or_else(|| {
                    Fault::denied(fleet_service::Reason::RoleNotAllowed, reason)
                }))
            }
            Err(error) => Err(faults::change(self.task.as_str(), error)),
        }
    }

    async fn refuse(&self, refused: Refused, cause: &Cause) -> Fault {
        let Refused { rejection, stored } = refused;
        if faults::is_denial(&rejection)
            && let Err(fault) = self.deny(&faults::denial(&rejection), &stored, cause).await
        {
            return fault;
        }
        if matches!(rejection, Rejection::HeldByOther { .. }) {
            self.engine.metrics.lost_claim();
        }
        faults::rejection(&self.engine.machine, &stored.run, self.attempt, &rejection)
    }

    /// A refusal because of who asks is answered only once it is recorded.
    async fn deny(
        &self,
        reason: &str,
        stored: &crate::engine::Stored,
        cause: &Cause,
    ) -> Result<(), Fault> {
        let (role, agent, principal) = self.who();
        let attempt = Attempt {
            role,
            action: self.attempt.unwrap_or(Action::ClaimTask),
            agent: &agent,
            principal,
            reason,
        };
        self.engine
            .record_violation(stored, &attempt, cause)
            .await
            .map_err(Fault::from)
    }

    /// Who acts: the role, the agent, and the caller as the history would name it.
    fn who(&self) -> (Role, String, &str) {
        match self.command {
            Command::Act { actor, .. }
            | Command::Claim { actor, .. }
            | Command::Renew { actor, .. }
            | Command::GiveBack { actor, .. } => (
                actor.role,
                actor
                    .agent
                    .as_ref()
                    .map_or_else(String::new, ToString::to_string),
                &actor.principal,
            ),
            _ => (Role::System, String::new(), ""),
        }
    }
}
