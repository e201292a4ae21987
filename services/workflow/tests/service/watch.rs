//! WatchTasks: a snapshot, then everything that changes, with nothing in between lost.

use std::collections::BTreeSet;

use fleet_proto::workflow::v1 as pb;
use fleet_service::ServerSettings;
use fleet_workflow::Config;
use tonic::{Code, Streaming};

use crate::support::{On, World, act, claim, commit, on_every_backend};

on_every_backend!(a_watcher_sees_the_snapshot_and_every_change);

async fn next(watch: &mut Streaming<pb::WatchTasksResponse>) -> pb::WatchTasksResponse {
    let next = tokio::time::timeout(crate::support::PATIENCE, watch.message()).await;
    next.expect("in time").unwrap().expect("the stream goes on")
}

async fn a_watcher_sees_the_snapshot_and_every_change(world: World) {
    let story = world.released(&[&[], &[]]).await;
    let task = &story.tasks[0];
    let mut api = world.client();
    let request = |role: &str| pb::WatchTasksRequest {
        role: role.to_owned(),
        story_id: story.id.to_string(),
    };
    let mut all = api.watch_tasks(request("")).await.unwrap().into_inner();
    let mut architects = api
        .watch_tasks(request("architect"))
        .await
        .unwrap()
        .into_inner();
    for _ in 0..2 {
        let message = next(&mut all).await;
        assert_eq!(message.kind(), pb::WatchKind::Snapshot);
        assert_eq!(message.task.unwrap().current_state, "todo");
    }
    assert_eq!(next(&mut all).await.kind(), pb::WatchKind::SnapshotEnd);
    assert_eq!(
        next(&mut architects).await.kind(),
        pb::WatchKind::SnapshotEnd
    );

    api.claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap();
    let mut work = commit(task, "dev-1", "abc");
    work.claim_epoch = Some(1);
    api.request_validation(work).await.unwrap();
    // What is told of a task is how it is by then: for a role it comes, before it goes.
    let came = next(&mut architects).await;
    assert!(came.matches);
    api.request_validation(act(task, "architect", "arch-1", "approve_design"))
        .await
        .unwrap();
    // In whatever order they come; those of the snapshot may come once more.
    let mut seqs = BTreeSet::new();
    while !(2..=7).all(|seq| seqs.contains(&seq)) {
        let message = next(&mut all).await;
        assert_eq!(message.kind(), pb::WatchKind::Change);
        if let Some(hop) = message.transition {
            seqs.insert(hop.seq);
        }
    }
    assert!(seqs.iter().all(|seq| *seq <= 7));
    let mut left = next(&mut architects).await;
    while left.matches {
        left = next(&mut architects).await;
    }
    assert_eq!(left.task.unwrap().role_in_charge, "qa");
    drop((all, architects));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_so_many_places_and_a_stop_ends_the_streams() {
    let config = Config {
        max_watchers: 1,
        ..Config::default()
    };
    let world = World::with(On::Embedded, 1, config, ServerSettings::default)
        .await
        .unwrap();
    let mut api = world.client();
    let mut first = api
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(next(&mut first).await.kind(), pb::WatchKind::SnapshotEnd);
    let second = api
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap_err();
    assert_eq!(second.code(), Code::ResourceExhausted);
    world.stop().await;
    let ended = first.message().await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
}
