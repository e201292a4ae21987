//! Claims: one holder at a time, renewed, given back, taken over, fenced.

use fleet_events::payload::ClaimExpired;
use fleet_proto::workflow::v1 as pb;
use fleet_types::TaskId;
use tonic::Code;

use crate::support::{World, claim, commit, fact, on_every_backend, why};

on_every_backend!(
    a_claim_is_held_renewed_and_given_back,
    an_expired_claim_is_taken_over_and_fenced
);

fn renew(task: &TaskId, agent: &str, epoch: Option<i64>) -> pb::RenewClaimRequest {
    pb::RenewClaimRequest {
        task_id: task.to_string(),
        agent_id: agent.to_owned(),
        role: "developer".to_owned(),
        claim_epoch: epoch,
        ..Default::default()
    }
}

fn give_back(task: &TaskId, agent: &str, epoch: Option<i64>) -> pb::ReleaseClaimRequest {
    pb::ReleaseClaimRequest {
        task_id: task.to_string(),
        agent_id: agent.to_owned(),
        role: "developer".to_owned(),
        claim_epoch: epoch,
        reason: "the day is over".to_owned(),
        ..Default::default()
    }
}

async fn a_claim_is_held_renewed_and_given_back(world: World) {
    let story = world.released(&[&[]]).await;
    let task = &story.tasks[0];
    let mut api = world.client();
    let first = api
        .claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap()
        .into_inner();

    let lost = api
        .claim_task(claim(task, "developer", "dev-2"))
        .await
        .unwrap_err();
    assert_eq!(why(&lost), (Code::Aborted, "CLAIM_HELD".to_owned()));
    assert_eq!(
        fact(&lost, "lease_until_ms"),
        first.lease_until_ms.to_string()
    );
    assert_eq!(fact(&lost, "holder_agent_id"), "dev-1");
    let lost = api
        .request_validation(commit(task, "dev-2", "abc"))
        .await
        .unwrap_err();
    assert_eq!(why(&lost), (Code::Aborted, "CLAIM_HELD".to_owned()));

    let again = api
        .claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.claim_epoch, first.claim_epoch);
    assert!(again.lease_until_ms >= first.lease_until_ms);
    let renewed = api
        .renew_claim(renew(task, "dev-1", Some(1)))
        .await
        .unwrap()
        .into_inner();
    assert!(renewed.lease_until_ms >= again.lease_until_ms);
    let lost = api
        .renew_claim(renew(task, "dev-2", None))
        .await
        .unwrap_err();
    assert_eq!(why(&lost), (Code::Aborted, "CLAIM_HELD".to_owned()));
    let stale = api
        .renew_claim(renew(task, "dev-1", Some(9)))
        .await
        .unwrap_err();
    assert_eq!(why(&stale), (Code::Aborted, "CLAIM_STALE".to_owned()));
    assert_eq!(fact(&stale, "claim_epoch"), "1");

    let back = api
        .release_claim(give_back(task, "dev-1", Some(1)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(back.current_state, "todo");
    let state = world.state(task).await;
    assert_eq!((state.holder_agent_id.as_str(), state.claim_epoch), ("", 1));
    let last = state.history.last().unwrap();
    assert_eq!(
        (last.action.as_str(), last.feedback.as_str()),
        ("release_claim", "the day is over")
    );
    let second = api
        .claim_task(claim(task, "developer", "dev-2"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(second.claim_epoch, 2);
    world.stop().await;
}

async fn an_expired_claim_is_taken_over_and_fenced(world: World) {
    let story = world.released(&[&[], &[]]).await;
    let mut api = world.client();
    // One runs out and is swept, in its own time and without anybody's help.
    let task = &story.tasks[0];
    let mut short = claim(task, "developer", "dev-1");
    short.lease_seconds = Some(1);
    api.claim_task(short).await.unwrap();
    let free = world.reaches(task, "todo").await;
    assert_eq!(free.history.last().unwrap().action, "expire_claim");
    let said = world
        .hears(task.as_str(), "workflow.claim.expired", 1)
        .await;
    let said: ClaimExpired = said[0].payload().unwrap();
    assert_eq!(
        (said.agent_id.as_str(), said.claim_epoch, said.taken_over_by),
        ("dev-1", 1, None)
    );

    // The next holder's epoch is another, and the old holder is told so.
    api.claim_task(claim(task, "developer", "dev-2"))
        .await
        .unwrap();
    let mut late = commit(task, "dev-1", "abc");
    late.claim_epoch = Some(1);
    let late = api.request_validation(late).await.unwrap_err();
    assert_eq!(late.code(), Code::Aborted);
    let mut work = commit(task, "dev-2", "abc");
    work.claim_epoch = Some(1);
    let stale = api.request_validation(work.clone()).await.unwrap_err();
    assert_eq!(why(&stale), (Code::Aborted, "CLAIM_STALE".to_owned()));
    work.claim_epoch = Some(2);
    api.request_validation(work).await.unwrap();
    world.stop().await;
}
