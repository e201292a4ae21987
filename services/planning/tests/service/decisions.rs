//! Verdicts on decisions: the first one stands.

use fleet_proto::planning::v2 as pb;
use fleet_topology::streams;
use tonic::Code;

use crate::ask::{self, fields, refused};
use crate::fleet::{Fleet, on_every_backend};

on_every_backend!(the_first_verdict_stands, of_two_verdicts_at_once_one_stands);

fn approve(story: &str, decision: &str) -> pb::ApproveDecisionRequest {
    pb::ApproveDecisionRequest {
        story_id: story.into(),
        decision_id: decision.into(),
        approved_by: "po".into(),
        ..Default::default()
    }
}

fn reject(story: &str, decision: &str) -> pb::RejectDecisionRequest {
    pb::RejectDecisionRequest {
        story_id: story.into(),
        decision_id: decision.into(),
        rejected_by: "po".into(),
        reason: "too dear".into(),
        ..Default::default()
    }
}

async fn the_first_verdict_stands(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let mut heard = replica.listen(&streams::PLANNING_EVENTS).await;
    let story = ask::story(client).await.story_id;
    let yes = replica.decide(Some(&story)).await;
    let no = replica.decide(None).await;
    let foreign = replica.decide(Some("s-another")).await;

    refused(
        client.approve_decision(approve("s-no", &yes)).await,
        Code::NotFound,
        "NOT_FOUND",
        &["s-no"],
    );
    refused(
        client.approve_decision(approve(&story, "DEC-no")).await,
        Code::NotFound,
        "NOT_FOUND",
        &["DEC-no"],
    );
    refused(
        client.reject_decision(reject(&story, &foreign)).await,
        Code::NotFound,
        "NOT_FOUND",
        &[&foreign],
    );
    let blank = pb::RejectDecisionRequest {
        reason: " ".into(),
        ..reject(&story, "x")
    };
    assert_eq!(
        fields(client.reject_decision(blank).await),
        ["reason", "decision_id"]
    );

    let remark = pb::ApproveDecisionRequest {
        comment: Some("fine".into()),
        ..approve(&story, &yes)
    };
    let first = client.approve_decision(remark).await.unwrap().into_inner();
    assert!(
        first.success && first.message.ends_with("approved"),
        "{}",
        first.message
    );
    let again = client
        .approve_decision(approve(&story, &yes))
        .await
        .unwrap()
        .into_inner();
    assert!(
        again.message.contains("already, by po"),
        "{}",
        again.message
    );
    let facts = refused(
        client.reject_decision(reject(&story, &yes)).await,
        Code::FailedPrecondition,
        "DECISION_CONTRADICTED",
        &["approved by po"],
    );
    assert_eq!(facts["current_state"], "approved");
    client.reject_decision(reject(&story, &no)).await.unwrap();
    refused(
        client.approve_decision(approve(&story, &no)).await,
        Code::FailedPrecondition,
        "DECISION_CONTRADICTED",
        &["rejected by po"],
    );

    heard
        .until(|events| {
            events
                .iter()
                .any(|e| e.kind == "planning.decision.rejected")
        })
        .await;
    let approved = heard.of("planning.decision.approved", &yes);
    assert_eq!(approved.len(), 1);
    assert_eq!(
        (&approved[0].body["comment"], &approved[0].body["story_id"]),
        (&"fine".into(), &story.as_str().into())
    );
    assert_eq!(
        heard.of("planning.decision.rejected", &no)[0].body["reason"],
        "too dear"
    );
    replica.stop().await;
}

async fn of_two_verdicts_at_once_one_stands(fleet: &Fleet) {
    let (one, two) = (fleet.replica().await, fleet.replica().await);
    let client = &mut one.client.clone();
    let mut heard = one.listen(&streams::PLANNING_EVENTS).await;
    let story = ask::story(client).await.story_id;
    for verdicts in 1..=6 {
        let decision = one.decide(Some(&story)).await;
        let (mut left, mut right) = (one.client.clone(), two.client.clone());
        let (yes, no) = tokio::join!(
            left.approve_decision(approve(&story, &decision)),
            right.reject_decision(reject(&story, &decision)),
        );
        let contradicted = &["first verdict stands"];
        match (yes, no) {
            (Ok(_), no) => refused(
                no,
                Code::FailedPrecondition,
                "DECISION_CONTRADICTED",
                contradicted,
            ),
            (yes, Ok(_)) => refused(
                yes,
                Code::FailedPrecondition,
                "DECISION_CONTRADICTED",
                contradicted,
            ),
            both => panic!("{both:?}"),
        };
        let judged = |e: &fleet_events::Event| e.kind.starts_with("planning.decision.");
        heard
            .until(|events| events.iter().filter(|e| judged(e)).count() >= verdicts)
            .await;
        let about = heard
            .events
            .iter()
            .filter(|e| judged(e) && e.aggregate == decision);
        assert_eq!(about.count(), 1, "one verdict is told");
    }
    one.stop().await;
    two.stop().await;
}
