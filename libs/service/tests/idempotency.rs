//! The same request has one effect and one answer, wherever and however often it arrives.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, GraphStore, Hits, Index, Node, NodeKey, Owner,
    Page, PastRequest, ReadError, Receipt, RequestKey, Scan, Search, Sketch, Sketched, Subgraph,
    Total, Unavailable, Walk,
};
use fleet_proto::workflow::v1::{RenewClaimRequest, RenewClaimResponse};
use fleet_service::{Call, Fault, Idempotency, Reason, SystemIds, idempotent};
use fleet_types::{Ids as _, Timestamp};
use serde_json::Value;

/// Keeps requests and counts effects; knows no nodes.
#[derive(Default)]
struct Requests {
    kept: Mutex<HashMap<RequestKey, PastRequest>>,
    effects: Mutex<usize>,
}

#[async_trait]
impl GraphStore for Requests {
    async fn migrate(&self, _: Deadline) -> Result<(), ReadError> {
        Ok(())
    }
    async fn commit(&self, commit: &Commit, _: Deadline) -> Result<Receipt, CommitError> {
        let mut kept = self.kept.lock().unwrap();
        if let Some(request) = &commit.request {
            match kept.get(&request.key) {
                Some(past) if past.fingerprint == request.fingerprint => {
                    return Err(CommitError::Replayed {
                        response: past.response.clone(),
                    });
                }
                Some(_) => return Err(CommitError::RequestMismatch),
                None => {}
            }
            let past = PastRequest {
                fingerprint: request.fingerprint.clone(),
                response: request.response.clone(),
            };
            kept.insert(request.key.clone(), past);
        }
        *self.effects.lock().unwrap() += 1;
        Ok(Receipt::default())
    }
    async fn get(&self, _: &[NodeKey], _: Deadline) -> Result<Vec<Option<Node>>, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn past_request(
        &self,
        key: &RequestKey,
        _: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        Ok(self.kept.lock().unwrap().get(key).cloned())
    }
    async fn scan(&self, _: &Scan, _: Deadline) -> Result<Page, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn counts(
        &self,
        _: &[(Index, Vec<Value>)],
        _: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn walk(&self, _: &Walk, _: Deadline) -> Result<Subgraph, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn sketch(&self, _: &Sketch, _: Deadline) -> Result<Sketched, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn digest(
        &self,
        _: &Digest,
        _: &[NodeKey],
        _: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn search(&self, _: &Search, _: Deadline) -> Result<Hits, ReadError> {
        Err(ReadError::Invalid("no nodes here".to_owned()))
    }
    async fn ping(&self, _: Deadline) -> Result<(), Unavailable> {
        Ok(())
    }
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

fn call() -> Call {
    Call::local(
        "fleet.workflow.v1.WorkflowOrchestrationService/RenewClaim",
        deadline(),
    )
}

fn request(task: &str) -> RenewClaimRequest {
    RenewClaimRequest {
        task_id: task.to_owned(),
        ..Default::default()
    }
}

/// The body of a handler: one commit, whose answer counts up.
async fn renew(
    store: &Requests,
    idempotency: Option<Idempotency>,
) -> Result<RenewClaimResponse, Fault> {
    let epoch = i64::try_from(*store.effects.lock().unwrap()).unwrap() + 1;
    let response = RenewClaimResponse {
        claim_epoch: epoch,
        ..Default::default()
    };
    let mut commit = Commit::new(SystemIds.uuid(), Owner::Workflow, Timestamp::from_millis(0));
    commit.request = idempotency.map(|i| i.record(&response));
    store.commit(&commit, deadline()).await?;
    Ok(response)
}

#[tokio::test]
async fn a_repeated_request_has_one_effect_and_another_one_is_refused() {
    let store = Requests::default();
    let ask = async |id: &str, task: &str| {
        idempotent(&store, &call(), id, &request(task), |i| renew(&store, i)).await
    };
    let first = ask("r-1", "T-1").await.unwrap();
    let again = ask("r-1", "T-1").await.unwrap();
    assert_eq!((first.claim_epoch, again.claim_epoch), (1, 1));
    let other = ask("r-1", "T-2").await.unwrap_err();
    assert_eq!(other.reason(), Reason::RequestIdReused);
    assert_eq!(ask("r-2", "T-1").await.unwrap().claim_epoch, 2);
    assert_eq!(
        ask("", "T-1").await.unwrap().claim_epoch,
        3,
        "no id, no memory"
    );
    assert_eq!(*store.effects.lock().unwrap(), 3);
    for bad in ["x".repeat(129), "a\nb".to_owned(), "é".to_owned()] {
        assert_eq!(
            ask(&bad, "T-1").await.unwrap_err().reason(),
            Reason::ValidationFailed,
            "{bad:?}"
        );
    }
    // Another principal's request of the same id is another request.
    let mut theirs = call();
    theirs.principal.id = "agent-2".parse().unwrap();
    let answer = idempotent(&store, &theirs, "r-1", &request("T-1"), |i| {
        renew(&store, i)
    })
    .await;
    assert_eq!(answer.unwrap().claim_epoch, 4);
}

#[tokio::test]
async fn two_at_once_get_one_answer_whether_the_commit_or_the_rules_notice() {
    let (call, request) = (call(), request("T-1"));
    // The other replica's commit lands after we looked: the store replays it.
    let store = Requests::default();
    let answer = idempotent(&store, &call, "r-1", &request, async |i| {
        renew(&store, i.clone()).await?;
        renew(&store, i).await
    });
    assert_eq!(answer.await.unwrap().claim_epoch, 1);
    // Or it changed what our rules look at, so that they refuse: it was the same request.
    let answer = idempotent(&store, &call, "r-2", &request, async |i| {
        renew(&store, i).await?;
        Err::<RenewClaimResponse, _>(Fault::aborted(Reason::ClaimHeld, "T-1 is held"))
    });
    assert_eq!(answer.await.unwrap().claim_epoch, 2);
    // A refusal of its own stays one, and is not remembered.
    let refused = idempotent(&store, &call, "r-3", &request, async |_| {
        Err::<RenewClaimResponse, _>(Fault::aborted(Reason::ClaimHeld, "T-1 is held"))
    });
    assert_eq!(refused.await.unwrap_err().reason(), Reason::ClaimHeld);
    let later = idempotent(&store, &call, "r-3", &request, |i| renew(&store, i));
    assert_eq!(later.await.unwrap().claim_epoch, 3);
}
