//! Many at once: every task has one winner, and every loser knows who won.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use fleet_graph::conformance::{Read, Watch, Watched};
use fleet_graph::{Index, Store, Unavailable};
use fleet_service::ServerSettings;
use fleet_types::TaskId;
use fleet_workflow::Config;
use tokio::sync::Notify;
use tonic::Code;

use crate::support::{On, Released, World, act, claim, commit, fact, why};

const CLIENTS: usize = 64;

async fn every_task_has_one_winner(on: On, tasks: usize) {
    let Some(world) = World::with(on, 2, Config::default(), ServerSettings::default).await else {
        return;
    };
    let none: &[usize] = &[];
    let mut all = Vec::new();
    for _ in 0..tasks.div_ceil(250) {
        let story = Released::new(&vec![none; 250.min(tasks)]);
        world
            .say(
                "fleet-planning",
                story.id.as_str(),
                1,
                &story.release(1, "PLANNED"),
            )
            .await;
        all.extend(story.tasks);
    }
    for task in &all {
        world.reaches(task, "todo").await;
    }
    let all = Arc::new(all);
    let (won, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut racers = Vec::new();
    for i in 0..CLIENTS {
        let mut api = world.replicas[i % 2].client.clone();
        let (all, won, lost) = (all.clone(), won.clone(), lost.clone());
        racers.push(
            world.replicas[0]
                .process
                .tasks
                .supervised("racer", async move {
                    // Eight start at each eighth of the tasks and go through a quarter of
                    // them: sixteen fight for each task.
                    for j in 0..all.len() / 4 {
                        let task = &all[(j + (i / 8) * all.len() / 8) % all.len()];
                        match api
                            .claim_task(claim(task, "developer", &format!("dev-{i}")))
                            .await
                        {
                            Ok(_) => won.fetch_add(1, Ordering::Relaxed),
                            Err(status) => {
                                assert_eq!(
                                    why(&status),
                                    (Code::Aborted, "CLAIM_HELD".to_owned()),
                                    "{status:?}"
                                );
                                assert!(!fact(&status, "lease_until").is_empty());
                                lost.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                    Ok(())
                }),
        );
    }
    for racer in futures::future::join_all(racers).await {
        racer.unwrap();
    }
    assert_eq!(
        won.load(Ordering::Relaxed),
        all.len(),
        "one winner for each task"
    );
    assert!(lost.load(Ordering::Relaxed) > 0, "there was a race");
    let mut holders: BTreeMap<String, usize> = BTreeMap::new();
    for task in all.iter() {
        let state = world.state(task).await;
        assert_eq!((state.claim_epoch, state.history.len()), (1, 2));
        *holders.entry(state.holder_agent_id).or_default() += 1;
    }
    assert!(holders.len() > 1, "more than one agent won something");
    world.stop().await;
}

/// All tasks of a story end at once, at two replicas: the story is completed once, with all
/// of them counted.
async fn a_story_whose_tasks_end_at_once_is_completed_once(on: On) {
    let Some(world) = World::with(on, 2, Config::default(), ServerSettings::default).await else {
        return;
    };
    let none: &[usize] = &[];
    let story = world.released(&[none; 12]).await;
    let mut enders = Vec::new();
    for (i, task) in story.tasks.iter().cloned().enumerate() {
        let mut api = world.replicas[i % 2].client.clone();
        enders.push(
            world.replicas[0]
                .process
                .tasks
                .supervised("ender", async move {
                    if i % 3 == 0 {
                        api.request_validation(act(&task, "po", "po-1", "discard_task"))
                            .await
                            .unwrap();
                        return Ok(());
                    }
                    api.claim_task(claim(&task, "developer", "dev-1"))
                        .await
                        .unwrap();
                    api.request_validation(commit(&task, "dev-1", "abc"))
                        .await
                        .unwrap();
                    api.request_validation(act(&task, "architect", "arch-1", "approve_design"))
                        .await
                        .unwrap();
                    api.request_validation(act(&task, "qa", "qa-1", "approve_tests"))
                        .await
                        .unwrap();
                    api.request_validation(act(&task, "po", "po-1", "approve_story"))
                        .await
                        .unwrap();
                    Ok(())
                }),
        );
    }
    for ender in futures::future::join_all(enders).await {
        ender.unwrap();
    }
    let over = world
        .hears(story.id.as_str(), "workflow.story.completed", 1)
        .await;
    assert_eq!(over.len(), 1);
    assert_eq!(
        (
            &over[0].body["tasks_done"],
            &over[0].body["tasks_cancelled"]
        ),
        (&8.into(), &4.into())
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn race_embedded() {
    every_task_has_one_winner(On::Embedded, 100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn race_servers() {
    every_task_has_one_winner(On::Servers, 1_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_embedded() {
    a_story_whose_tasks_end_at_once_is_completed_once(On::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_servers() {
    a_story_whose_tasks_end_at_once_is_completed_once(On::Servers).await;
}

/// Holds up the first read of a task until it is let go.
#[derive(Default)]
struct Late {
    task: OnceLock<TaskId>,
    held: AtomicBool,
    scanned: Notify,
    go: Notify,
}

#[async_trait]
impl Watch for Late {
    async fn before_read(&self, read: Read<'_>) -> Result<(), Unavailable> {
        if let (Read::Get(keys), Some(task)) = (read, self.task.get())
            && keys.iter().any(|key| key.id() == task.as_str())
            && !self.held.swap(true, Ordering::SeqCst)
        {
            self.go.notified().await;
        }
        Ok(())
    }

    async fn after_read(&self, read: Read<'_>) {
        if read == Read::Scan(Index::TaskTransitionsByTask) && self.task.get().is_some() {
            self.scanned.notify_one();
        }
    }
}

/// The two reads behind a state are not one: the history is read, the task changes, the task is
/// read.
async fn a_state_never_lacks_its_last_step(on: On) {
    let late = Arc::new(Late::default());
    let watched = late.clone();
    let watch = move |place, store| match place {
        0 => Arc::new(Watched::new(store, watched.clone())) as Arc<dyn Store>,
        _ => store,
    };
    let config = Config::default();
    let Some(world) = World::watched(on, 2, config, ServerSettings::default, watch).await else {
        return;
    };
    let story = world.released(&[&[]]).await;
    let task = &story.tasks[0];
    late.task.set(task.clone()).unwrap();
    let (_, state) = tokio::join!(
        async {
            late.scanned.notified().await;
            let mut other = world.replicas[1].client.clone();
            let claim = claim(task, "developer", "dev-1");
            other.claim_task(claim).await.unwrap();
            late.go.notify_one();
        },
        world.state(task)
    );
    assert_eq!(state.current_state, "implementing");
    let last = state.history.last().expect("it was claimed");
    assert_eq!(last.to_state, state.current_state);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_never_lacks_its_last_step_embedded() {
    a_state_never_lacks_its_last_step(On::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_never_lacks_its_last_step_servers() {
    a_state_never_lacks_its_last_step(On::Servers).await;
}
