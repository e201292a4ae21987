//! The outbox, and what only time makes useless.

use fleet_types::{EventId, Timestamp};

use super::world::{Place, World, assert_is, at, soon};
use crate::{Answer, Commit, CommitError, OutboxEvent, Receipt, Request};

/// A commit at `time` with so many events.
async fn committed(world: &World, time: Timestamp, events: usize) -> Vec<OutboxEvent> {
    let mut commit = world.commit();
    commit.time = time;
    for n in 0..events {
        let mut event = world.event(&format!("{{\"n\":{n},\"text\":\"é🦀\"}}"));
        event.time = time;
        commit.event(event);
    }
    world.must(&commit).await;
    commit.events
}

fn ids(events: &[OutboxEvent]) -> Vec<EventId> {
    events.iter().map(|event| event.id.clone()).collect()
}

/// Pending events come oldest commit first, in the order of their commit, whole, and only
/// those that are older than asked.
pub async fn events_stay_pending_until_published(place: &dyn Place) {
    let world = World::open(place).await;
    assert_eq!(world.a.backlog(soon()).await.unwrap(), (0, None));
    let late = committed(&world, at(300), 12).await;
    let early = committed(&world, at(100), 2).await;
    let mut bare = world.commit();
    bare.time = at(200);
    bare.event(OutboxEvent {
        aggregate_version: 0,
        causation: String::new(),
        traceparent: String::new(),
        payload: "{}".into(),
        ..world.event("")
    });
    world.must(&bare).await;
    let all: Vec<_> = [early.clone(), bare.events, late].concat();
    assert_eq!(world.pending().await, all);
    assert_eq!(world.a.backlog(soon()).await.unwrap(), (15, Some(at(100))));

    assert_eq!(
        world.a.pending(at(300), 100, soon()).await.unwrap(),
        all[..3]
    );
    assert_eq!(world.a.pending(at(301), 100, soon()).await.unwrap(), all);
    assert_eq!(world.a.pending(at(301), 5, soon()).await.unwrap(), all[..5]);
    assert_eq!(world.a.pending(at(100), 5, soon()).await.unwrap(), vec![]);

    world
        .a
        .mark_published(&ids(&all[1..4]), at(400), soon())
        .await
        .unwrap();
    world
        .b
        .mark_published(&[world.event_id()], at(400), soon())
        .await
        .unwrap();
    world.b.mark_published(&[], at(400), soon()).await.unwrap();
    let left: Vec<_> = [&all[..1], &all[4..]].concat();
    assert_eq!(world.pending().await, left);
    assert_eq!(world.b.backlog(soon()).await.unwrap(), (12, Some(at(100))));
    world.a.remove(&ids(&left[1..]), soon()).await.unwrap();
    world.a.remove(&ids(&left[1..]), soon()).await.unwrap();
    assert_eq!(world.pending().await, left[..1]);
    assert_eq!(world.b.backlog(soon()).await.unwrap(), (1, Some(at(100))));
}

/// What a process committed and did not relay is there for another one.
pub async fn a_crash_before_the_relay_loses_nothing(place: &dyn Place) {
    let world = World::open(place).await;
    let World {
        a, b, deployment, ..
    } = &world;
    let mut commit = world.commit();
    commit
        .event(world.event("{}"))
        .event(world.event("{\"n\":2}"));
    a.commit(&commit, soon()).await.unwrap();
    // `a` says nothing more; another handle and one opened later both have it all.
    assert_eq!(b.pending(at(1), 10, soon()).await.unwrap(), commit.events);
    let later = place.open(deployment).await;
    assert_eq!(
        later.pending(at(1), 10, soon()).await.unwrap(),
        commit.events
    );
    later
        .mark_published(&ids(&commit.events), at(2), soon())
        .await
        .unwrap();
    assert_eq!(b.pending(at(1), 10, soon()).await.unwrap(), vec![]);
}

/// Published events can be made pending again from a point in time on, until they are removed.
pub async fn published_events_come_back_or_go(place: &dyn Place) {
    let world = World::open(place).await;
    let events = committed(&world, at(0), 6).await;
    for (n, id) in ids(&events).into_iter().enumerate() {
        let when = at(1_000 * i64::try_from(n).unwrap());
        world.a.mark_published(&[id], when, soon()).await.unwrap();
    }
    assert_eq!(world.pending().await, vec![]);
    assert_eq!(world.b.unpublish(at(5_001), soon()).await.unwrap(), 0);
    assert_eq!(world.b.unpublish(at(4_000), soon()).await.unwrap(), 2);
    assert_eq!(world.pending().await, events[4..], "in their old place");
    assert_eq!(world.a.backlog(soon()).await.unwrap(), (2, Some(at(0))));

    assert_eq!(
        world
            .a
            .remove_published(at(2_000), 100, soon())
            .await
            .unwrap(),
        2
    );
    assert_eq!(
        world
            .a
            .remove_published(at(99_000), 1, soon())
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        world
            .b
            .remove_published(at(99_000), 100, soon())
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        world
            .b
            .remove_published(at(99_000), 100, soon())
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        world.pending().await,
        events[4..],
        "pending events are not removed by age"
    );
    world
        .b
        .mark_published(&ids(&events[4..]), at(7_000), soon())
        .await
        .unwrap();
    assert_eq!(world.b.unpublish(at(0), soon()).await.unwrap(), 2);
}

/// Two deployments on one store: neither sees, publishes, revives or removes the other's.
pub async fn deployments_do_not_see_each_others_events(place: &dyn Place) {
    let (ours, theirs) = (World::open(place).await, World::open(place).await);
    assert_ne!(ours.deployment, theirs.deployment);
    let (mine, his) = (
        committed(&ours, at(0), 3).await,
        committed(&theirs, at(0), 3).await,
    );
    assert_eq!(
        (ours.pending().await, theirs.pending().await),
        (mine.clone(), his.clone())
    );
    ours.a
        .mark_published(&ids(&his), at(1), soon())
        .await
        .unwrap();
    ours.a.remove(&ids(&his), soon()).await.unwrap();
    assert_eq!(theirs.pending().await, his);
    theirs
        .a
        .mark_published(&ids(&his), at(1), soon())
        .await
        .unwrap();
    assert_eq!(ours.a.unpublish(at(0), soon()).await.unwrap(), 0);
    assert_eq!(
        ours.a.remove_published(at(100), 10, soon()).await.unwrap(),
        0
    );
    assert_eq!(ours.a.backlog(soon()).await.unwrap().0, 3);
    assert_eq!(theirs.a.backlog(soon()).await.unwrap().0, 0);
    assert_eq!(theirs.a.unpublish(at(0), soon()).await.unwrap(), 3);
    assert_eq!(theirs.pending().await, his);
}

/// A commit with an answer and a request.
fn remembered(world: &World, time: Timestamp, n: usize) -> (Answer, Request, Commit) {
    let answer = Answer {
        consumer: world.word("consumer"),
        event: world.event_id(),
    };
    let request = world.request(&format!("r-{n}"), "print", b"answer");
    let mut commit = world.commit();
    commit.time = time;
    commit.answers = Some(answer.clone());
    commit.request = Some(request.clone());
    (answer, request, commit)
}

/// Old inbox rows and requests go, in bounded steps; young ones stay and still count.
pub async fn pruning_takes_only_what_is_old(place: &dyn Place) {
    let world = World::open(place).await;
    let old: Vec<_> = (0..5)
        .map(|n| remembered(&world, at(n), n as usize))
        .collect();
    let young = remembered(&world, at(1_000), 99);
    for (_, _, commit) in old.iter().chain([&young]) {
        world.must(commit).await;
    }
    let never = at(-1);
    assert_eq!(world.a.prune(never, never, 100, soon()).await.unwrap(), 0);
    let again = |answer: &Answer| {
        let mut commit = world.commit();
        commit.answers = Some(answer.clone());
        commit
    };
    // Inbox rows alone first, two at a time.
    assert!(world.a.prune(at(1_000), never, 2, soon()).await.unwrap() >= 2);
    let mut left = 0;
    for (answer, request, _) in &old {
        match world.a.commit(&again(answer), soon()).await {
            Err(CommitError::AlreadyApplied) => left += 1,
            other => assert_is!(other, Ok(Receipt { .. })),
        }
        assert_is!(
            world.b.past_request(&request.key, soon()).await,
            Ok(Some(_))
        );
    }
    assert_eq!(left, 3, "at most the limit of each kind");
    while world
        .a
        .prune(at(1_000), at(1_000), 2, soon())
        .await
        .unwrap()
        > 0
    {}
    for (answer, request, _) in &old {
        assert_eq!(
            world.b.past_request(&request.key, soon()).await.unwrap(),
            None
        );
        assert_is!(world.a.commit(&again(answer), soon()).await, Ok(_));
    }
    let (answer, request, _) = young;
    assert_is!(
        world.must_not(&again(&answer)).await,
        CommitError::AlreadyApplied
    );
    let mut replay = world.commit();
    replay.request = Some(request);
    assert_is!(world.must_not(&replay).await, CommitError::Replayed { .. });
}
