//! TransitionPhase: compares where the story is, once.

use fleet_graph::{EdgeType, Label};
use fleet_proto::context::v1 as pb;
use serde_json::json;
use tonic::Code;

use crate::ask::{key, refused, story, version};
use crate::world::{World, on_every_backend};

on_every_backend!(
    a_story_goes_from_phase_to_phase_and_each_step_once,
    many_at_once_make_one_step,
);

fn step(story: &str, from: &str, to: &str) -> pb::TransitionPhaseRequest {
    pb::TransitionPhaseRequest {
        story_id: story.to_owned(),
        from_phase: from.to_owned(),
        to_phase: to.to_owned(),
        rationale: "It is time".into(),
        ..Default::default()
    }
}

async fn a_story_goes_from_phase_to_phase_and_each_step_once(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&mut replica.client.clone(), story(&replica).await);
    let mut heard = replica.listen_to_context().await;
    let before = version(&replica, &story_id).await;
    let wrong = client
        .transition_phase(step(&story_id, "TEST", "DOC"))
        .await;
    let facts = refused(
        wrong,
        Code::FailedPrecondition,
        "PHASE_MISMATCH",
        &[&story_id, "DESIGN", "TEST"],
    );
    assert_eq!(facts["current_phase"], "DESIGN");

    let first = client
        .transition_phase(step(&story_id, "design", "Build"))
        .await;
    let first = first.unwrap().into_inner();
    assert_eq!(first.current_phase, "BUILD");
    assert_eq!(first.version, before + 1);
    let again = client
        .transition_phase(step(&story_id, "DESIGN", "BUILD"))
        .await;
    assert_eq!(again.unwrap().into_inner(), first, "the first answer again");
    assert_eq!(
        version(&replica, &story_id).await,
        first.version,
        "without effect"
    );
    let said = heard
        .until("context.events.updated", |body| {
            body["changed"] == json!(["phase:BUILD"])
        })
        .await;
    assert_eq!(said.body["version"], first.version);

    let third = client
        .transition_phase(step(&story_id, "BUILD", "DOCS"))
        .await;
    assert_eq!(third.unwrap().into_inner().current_phase, "DOC");
    let late = client
        .transition_phase(step(&story_id, "DESIGN", "BUILD"))
        .await;
    refused(late, Code::FailedPrecondition, "PHASE_MISMATCH", &["DOC"]);
    let steps = replica
        .children(key(Label::Story, &story_id), EdgeType::HasPhase)
        .await;
    let steps: Vec<_> = steps
        .iter()
        .map(|node| {
            (
                &node.props["seq"],
                &node.props["from_phase"],
                &node.props["to_phase"],
            )
        })
        .collect();
    let (one, two) = (json!(1), json!(2));
    let (design, build, doc) = (json!("DESIGN"), json!("BUILD"), json!("DOC"));
    assert_eq!(steps, [(&one, &design, &build), (&two, &build, &doc)]);
    replica.stop().await;
}

async fn many_at_once_make_one_step(world: &World) {
    let (one, two) = (world.replica().await, world.replica().await);
    let story_id = story(&one).await;
    let calls = (0..8).map(|i| {
        let mut client = if i % 2 == 0 {
            one.client.clone()
        } else {
            two.client.clone()
        };
        let request = step(&story_id, "DESIGN", "BUILD");
        async move { client.transition_phase(request).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let steps = one
        .ids(key(Label::Story, &story_id), EdgeType::HasPhase)
        .await;
    assert_eq!(steps, [format!("{story_id}/1")]);
    one.stop().await;
    two.stop().await;
}
