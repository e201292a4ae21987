//! StreamContextUpdates: a snapshot, then what changes, as far as the role may hear of it.

use fleet_context::Config;
use fleet_events::Origin;
use fleet_events::payload::ContextUpdated;
use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::stream_context_updates_response::Kind;
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Clock as _, StoryId};
use tonic::Code;

use crate::seed::{Seed, key};
use crate::world::{World, code, next, on_every_backend, soon};

on_every_backend!(
    a_watcher_gets_the_state_and_then_every_change,
    a_watcher_hears_of_what_its_role_may_see,
    what_cannot_be_read_ends_no_other_stream,
);

fn watch(story: &str, role: &str) -> pb::StreamContextUpdatesRequest {
    pb::StreamContextUpdatesRequest {
        story_id: story.to_owned(),
        role: role.to_owned(),
    }
}

fn change(story: &str, kind: &str, id: &str, payload: &str) -> pb::UpdateContextRequest {
    pb::UpdateContextRequest {
        story_id: story.to_owned(),
        role: "architect".to_owned(),
        changes: vec![pb::ContextChange {
            operation: "CREATE".to_owned(),
            entity_type: kind.to_owned(),
            entity_id: id.to_owned(),
            payload: payload.to_owned(),
            reason: String::new(),
        }],
        ..pb::UpdateContextRequest::default()
    }
}

async fn a_watcher_gets_the_state_and_then_every_change(world: &World) {
    let (a, b) = (world.replica().await, world.replica().await);
    let store = world.backends().await.store;
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let other = Seed::story(&*store, &format!("s-{}0", world.tag)).await;
    let story = seed.story.as_str();
    let mut client = a.client.clone();
    let mut updates = client
        .stream_context_updates(watch(story, "developer"))
        .await
        .unwrap()
        .into_inner();
    let snapshot = next(&mut updates).await;
    assert_eq!(snapshot.kind(), Kind::Snapshot);
    assert_eq!((snapshot.version, snapshot.phase.as_str()), (1, "DESIGN"));
    assert_eq!((snapshot.decisions, snapshot.changed.len()), (0, 0));

    // Made by another replica; the other story's is not told.
    let mut elsewhere = b.client.clone();
    let payload = r#"{"title": "Use it", "rationale": "It is there"}"#;
    for (of, id) in [(&*other.story, "b"), (story, "a")] {
        let id = format!("DEC-{}-{id}", world.tag);
        let made = change(of, "DECISION", &id, payload);
        elsewhere.update_context(made).await.unwrap();
    }
    let told = next(&mut updates).await;
    assert_eq!((told.kind(), told.story_id.as_str()), (Kind::Change, story));
    assert_eq!(told.version, 2);
    assert_eq!(told.changed, [format!("decision:DEC-{}-a", world.tag)]);
    assert_eq!(told.hash.len(), 16);
    assert_ne!(told.graph_version, snapshot.graph_version);
    let mut again = client
        .stream_context_updates(watch(story, "po"))
        .await
        .unwrap()
        .into_inner();
    let snapshot = next(&mut again).await;
    assert_eq!((snapshot.version, snapshot.decisions), (2, 1));
    assert_eq!(snapshot.graph_version, told.graph_version);

    let moved = pb::TransitionPhaseRequest {
        story_id: story.to_owned(),
        from_phase: "DESIGN".to_owned(),
        to_phase: "BUILD".to_owned(),
        ..pb::TransitionPhaseRequest::default()
    };
    elsewhere.transition_phase(moved).await.unwrap();
    for updates in [&mut updates, &mut again] {
        let mut told = next(updates).await;
        while told.version < 3 {
            told = next(updates).await;
        }
        assert_eq!((told.version, told.phase.as_str()), (3, "BUILD"));
        assert!(
            told.changed.contains(&"phase:BUILD".to_owned()),
            "{:?}",
            told.changed
        );
    }
    let refused = client.stream_context_updates(watch("s-nobody", "po")).await;
    assert_eq!(code(refused), Code::NotFound);
    let refused = client.stream_context_updates(watch("nobody", "boss")).await;
    assert_eq!(code(refused), Code::InvalidArgument);
    drop((updates, again));
    a.stop().await;
    b.stop().await;
}

/// Developers who see decisions of one type, and nothing else but the story.
const ONE_TYPE: &str = "
version: 1
roles:
  developer:
    story: {rows: story, columns: [story_id, title]}
    decision:
      rows: [{rows: story, where: {decision_type: [ARCHITECTURE]}}]
      columns: [decision_id, title]
";

async fn a_watcher_hears_of_what_its_role_may_see(world: &World) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("policies.yaml");
    std::fs::write(&file, ONE_TYPE).unwrap();
    let config = Config {
        policies_file: Some(file),
        ..Config::default()
    };
    let a = world.replica_with(world.backends().await, config).await;
    let store = world.backends().await.store;
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let story = seed.story.as_str();
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    let mut client = a.client.clone();
    let mut decide = async |n: usize, of_type: &str| {
        let payload = format!(
            r#"{{"title": "Use it", "rationale": "It is there", "decision_type": "{of_type}"}}"#
        );
        let made = change(story, "DECISION", &id(n), &payload);
        client.update_context(made).await.unwrap();
    };
    for (n, of_type) in [(0, "ARCHITECTURE"), (1, "QUALITY"), (2, "ARCHITECTURE")] {
        decide(n, of_type).await;
    }
    let mut gone = change(story, "DECISION", &id(2), "");
    gone.changes[0].operation = "DELETE".to_owned();
    a.client.clone().update_context(gone).await.unwrap();

    let mut watcher = a.client.clone();
    let updates = watcher.stream_context_updates(watch(story, "developer"));
    let mut updates = updates.await.unwrap().into_inner();
    let snapshot = next(&mut updates).await;
    assert_eq!(snapshot.version, 5);
    assert_eq!(
        snapshot.decisions, 1,
        "neither the other type nor the deleted one"
    );
    decide(3, "QUALITY").await;
    decide(4, "ARCHITECTURE").await;
    for (version, changed) in [(6, vec![]), (7, vec![format!("decision:{}", id(4))])] {
        let mut told = next(&mut updates).await;
        while told.version < version {
            // What the snapshot says already may be told again.
            told = next(&mut updates).await;
        }
        assert_eq!((told.version, told.changed), (version, changed));
    }
    let refused = watcher.stream_context_updates(watch(story, "po")).await;
    assert_eq!(code(refused), Code::PermissionDenied, "no word of it");
    drop(updates);
    a.stop().await;
}

async fn what_cannot_be_read_ends_no_other_stream(world: &World) {
    let (a, b) = (world.replica().await, world.replica().await);
    let store = world.backends().await.store;
    let (bad, good) = (format!("s-{}-bad", world.tag), format!("s-{}", world.tag));
    for story in [&bad, &good] {
        Seed::story(&*store, story).await;
    }
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    let payload = r#"{"title": "Use it", "rationale": "It is there"}"#;
    a.store.damage(key(Label::Decision, id(0)));
    let mut client = a.client.clone();
    let mut watchers = Vec::new();
    for story in [&bad, &good] {
        let updates = client.stream_context_updates(watch(story, "po"));
        let mut updates = updates.await.unwrap().into_inner();
        assert_eq!(next(&mut updates).await.kind(), Kind::Snapshot);
        watchers.push(updates);
    }
    let [of_bad, of_good] = &mut watchers[..] else {
        panic!("two")
    };
    // The change is told, without what cannot be read of it.
    let mut both = change(&bad, "DECISION", &id(0), payload);
    let second = change(&bad, "DECISION", &id(1), payload).changes;
    both.changes.extend(second);
    let mut elsewhere = b.client.clone();
    elsewhere.update_context(both).await.unwrap();
    let told = next(of_bad).await;
    assert_eq!((told.version, told.phase.as_str()), (2, "DESIGN"));
    assert_eq!(told.changed, [format!("decision:{}", id(1))]);
    let line = "fleet_context_corrupt_rows_total{kind=\"Decision\"}";
    assert!(a.counted(line) > 0);

    // Without the context nothing can be told: to who watches that story.
    a.store.damage(key(Label::StoryContext, &*bad));
    for (story, n) in [(&bad, 2), (&good, 3)] {
        let made = change(story, "DECISION", &id(n), payload);
        elsewhere.update_context(made).await.unwrap();
    }
    let told = next(of_good).await;
    assert_eq!(told.changed, [format!("decision:{}", id(3))]);
    let ended = tokio::time::timeout(crate::world::PATIENCE, of_bad.message()).await;
    let ended = ended.expect("in time").unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable, "{ended}");
    drop(watchers);
    a.stop().await;
    b.stop().await;
}

/// Who does not read is not waited for, and learns that something is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_reads_too_slowly_starts_again() {
    let world = World::embedded();
    let a = world.replica().await;
    let backends = world.backends().await;
    let seed = Seed::story(&*backends.store, "s-1").await;
    let mut client = a.client.clone();
    let mut slow = client
        .stream_context_updates(watch("s-1", "qa"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut slow).await.kind(), Kind::Snapshot);
    let mut quick = client
        .stream_context_updates(watch("s-1", "qa"))
        .await
        .unwrap()
        .into_inner();
    let reading = async move { while next(&mut quick).await.version < 1_999 {} };
    let story = StoryId::parse(&seed.story).unwrap();
    let origin = Origin {
        source: "fleet-context",
        correlation: String::new(),
        causation: String::new(),
        traceparent: String::new(),
    };
    // More than the connection, its queue and the hub hold together.
    let filler = "x".repeat(8_000);
    let saying = async {
        for batch in 0..20 {
            let events: Vec<_> = (0..100)
                .map(|n| {
                    let payload = ContextUpdated {
                        story_id: story.clone(),
                        version: batch * 100 + n,
                        changed: vec!["story:s-1".to_owned()],
                        hash: filler.clone(),
                        timestamp: SystemClock.now(),
                    };
                    origin.event(
                        &SystemIds,
                        SystemClock.now(),
                        "s-1",
                        batch * 100 + n,
                        &payload,
                    )
                })
                .collect();
            for published in backends.bus.publish(&events, soon()).await {
                published.unwrap();
            }
        }
    };
    // Behind this all of it was told.
    tokio::join!(reading, saying);
    let ended = loop {
        let told = tokio::time::timeout(crate::world::PATIENCE, slow.message()).await;
        match told.expect("in time") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ends with a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::ResourceExhausted, "{ended}");
    drop((slow, client));
    a.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_so_many_places_and_a_stop_ends_the_streams() {
    let world = World::embedded();
    let config = Config {
        max_watchers: 1,
        ..Config::default()
    };
    let a = world.replica_with(world.backends().await, config).await;
    let store = world.backends().await.store;
    Seed::story(&*store, "s-1").await;
    let mut client = a.client.clone();
    let mut first = client
        .stream_context_updates(watch("s-1", "qa"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut first).await.kind(), Kind::Snapshot);
    let second = client.stream_context_updates(watch("s-1", "qa")).await;
    assert_eq!(code(second), Code::ResourceExhausted);
    // A place that was given back is there again.
    drop(first);
    let mut third = crate::world::eventually("a free place", || {
        let mut client = client.clone();
        async move {
            let stream = client.stream_context_updates(watch("s-1", "qa")).await;
            stream.ok().map(tonic::Response::into_inner)
        }
    })
    .await;
    assert_eq!(next(&mut third).await.kind(), Kind::Snapshot);
    drop(client);
    a.stop().await;
    let ended = third.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}
