//! Many writers of one story, at two replicas.

use std::collections::BTreeSet;

use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use tonic::Code;

use crate::ask::{apply, create, key, refused, story, update, version};
use crate::world::{World, on_every_backend};

on_every_backend!(
    versions_grow_strictly_under_a_crowd,
    the_loser_of_a_race_is_told_the_winners_version,
    an_expected_version_is_the_current_one_or_refused,
    a_repeated_request_has_one_effect,
    stories_whose_ids_begin_alike_stay_apart,
);

async fn versions_grow_strictly_under_a_crowd(world: &World) {
    let (one, two) = (world.replica().await, world.replica().await);
    let story_id = story(&one).await;
    let before = version(&one, &story_id).await;
    let calls = (0..20).map(|i| {
        let client = if i % 2 == 0 { &one.client } else { &two.client };
        let id = format!("DEC-{story_id}-{i}");
        let story_id = &story_id;
        async move {
            apply(client, story_id, vec![create(&id, "x")])
                .await
                .unwrap()
        }
    });
    let answers = futures::future::join_all(calls).await;
    let versions: BTreeSet<i64> = answers.iter().map(|a| i64::from(a.version)).collect();
    let expected: BTreeSet<i64> = (before + 1..=before + 20).collect();
    assert_eq!(versions, expected, "each its own, none left out");
    assert_eq!(version(&two, &story_id).await, before + 20);
    one.stop().await;
    two.stop().await;
}

async fn the_loser_of_a_race_is_told_the_winners_version(world: &World) {
    let (one, two) = (world.replica().await, world.replica().await);
    let story_id = story(&one).await;
    for round in 0..5 {
        let before = version(&one, &story_id).await;
        let calls = [(&one, "a"), (&two, "b")].map(|(replica, who)| {
            let id = format!("DEC-{story_id}-{round}-{who}");
            let request = pb::UpdateContextRequest {
                expected_version: Some(before),
                ..update(&story_id, vec![create(&id, "x")])
            };
            let mut client = replica.client.clone();
            async move { client.update_context(request).await }
        });
        let answers = futures::future::join_all(calls).await;
        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1), "{lost:?}");
        let winner = won.into_iter().next().unwrap().unwrap().into_inner();
        let loser = lost.into_iter().next().unwrap();
        let facts = refused(loser, Code::Aborted, "STALE_VERSION", &[&story_id]);
        assert_eq!(facts["current_version"], winner.version.to_string());
    }
    one.stop().await;
    two.stop().await;
}

async fn an_expected_version_is_the_current_one_or_refused(world: &World) {
    let replica = world.replica().await;
    let (mut client, story_id) = (replica.client.clone(), story(&replica).await);
    let current = version(&replica, &story_id).await;
    let with = |id: &str, expected: i64| pb::UpdateContextRequest {
        expected_version: Some(expected),
        ..update(&story_id, vec![create(id, "x")])
    };
    for wrong in [0, current - 1, current + 1] {
        let outcome = client.update_context(with("DEC-no", wrong)).await;
        let facts = refused(outcome, Code::Aborted, "STALE_VERSION", &[&story_id]);
        assert_eq!(facts["current_version"], current.to_string());
    }
    let id = format!("DEC-{story_id}");
    let right = client
        .update_context(with(&id, current))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(i64::from(right.version), current + 1);
    replica.stop().await;
}

async fn a_repeated_request_has_one_effect(world: &World) {
    let (one, two) = (world.replica().await, world.replica().await);
    let story_id = story(&one).await;
    let before = version(&one, &story_id).await;
    let id = format!("DEC-{story_id}");
    let request = pb::UpdateContextRequest {
        request_id: format!("u {story_id}"),
        ..update(&story_id, vec![create(&id, "x")])
    };
    let calls = (0..8).map(|i| {
        let mut client = if i % 2 == 0 {
            one.client.clone()
        } else {
            two.client.clone()
        };
        let request = request.clone();
        async move { client.update_context(request).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(version(&one, &story_id).await, before + 1);
    let other = pb::UpdateContextRequest {
        role: "qa".into(),
        ..request
    };
    let other = one.client.clone().update_context(other).await;
    refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED", &[]);
    one.stop().await;
    two.stop().await;
}

async fn stories_whose_ids_begin_alike_stay_apart(world: &World) {
    let replica = world.replica().await;
    let short = story(&replica).await;
    let long = format!("{short}0");
    let wanted = pb::CreateStoryRequest {
        story_id: long.clone(),
        title: "x".into(),
        description: "y".into(),
        ..Default::default()
    };
    replica.client.clone().create_story(wanted).await.unwrap();
    crate::ask::quiet(&replica, &long).await;
    let before = version(&replica, &short).await;
    let id = format!("DEC-{long}");
    apply(
        &replica.client,
        &long,
        vec![create(&id, "Of the longer one")],
    )
    .await
    .unwrap();
    assert_eq!(version(&replica, &short).await, before);
    let theirs = apply(&replica.client, &short, vec![create(&id, "x")]).await;
    refused(theirs, Code::AlreadyExists, "ALREADY_EXISTS", &[&id]);
    let pack = pb::RehydrateSessionRequest {
        case_id: short,
        roles: vec!["architect".into()],
        ..Default::default()
    };
    let packs = replica
        .client
        .clone()
        .rehydrate_session(pack)
        .await
        .unwrap()
        .into_inner();
    assert!(packs.packs["architect"].decisions.is_empty());
    let title = replica.prop(key(Label::Decision, &id), "title").await;
    assert_eq!(title, "Of the longer one");
    replica.stop().await;
}
