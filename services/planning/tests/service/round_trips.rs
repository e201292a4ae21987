//! How often each call goes to the store, and what happens when the store fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use fleet_graph::conformance::{Read, Watch, Watched};
use fleet_graph::{Commit, CommitError, Label, NodeKey, Owner, Unavailable};
use fleet_planning::Config;
use fleet_proto::planning::v2 as pb;
use fleet_service::{Backends, ServerSettings};
use fleet_testing::pulled_plug;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::ask::{
    self, STATES, dependency, go, move_request, refused, story_request, task_request,
};
use crate::fleet::{Fleet, Replica};

/// Counts what planning asks of its store, and fails it on demand.
#[derive(Default)]
struct Eyes {
    reads: AtomicU32,
    commits: AtomicU32,
    /// So many commits of planning lose a race that nobody runs.
    conflicts: AtomicU32,
    /// So many reads and commits find the store away.
    outages: AtomicU32,
}

impl Eyes {
    fn away(&self) -> Result<(), Unavailable> {
        if one_of(&self.outages) {
            return Err(pulled_plug());
        }
        Ok(())
    }

    /// Reads and commits since the last look.
    fn trips(&self) -> (u32, u32) {
        (
            self.reads.swap(0, Ordering::SeqCst),
            self.commits.swap(0, Ordering::SeqCst),
        )
    }
}

/// Takes one of so many that are left, if there is one.
fn one_of(left: &AtomicU32) -> bool {
    let down = |left: u32| left.checked_sub(1);
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down)
        .is_ok()
}

#[async_trait]
impl Watch for Eyes {
    async fn before_read(&self, _read: Read<'_>) -> Result<(), Unavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.away()
    }

    async fn before_commit(&self, commit: &Commit) -> Result<(), CommitError> {
        if commit.writer != Owner::Planning {
            return Ok(());
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.away()?;
        if one_of(&self.conflicts) {
            return Err(CommitError::Conflict {
                key: NodeKey::new(Label::Story, "s-busy"),
                expected: 6,
                found: 7,
            });
        }
        Ok(())
    }
}

async fn watched() -> (Fleet, Replica, Arc<Eyes>) {
    let fleet = Fleet::embedded();
    let backends = fleet.backends().await;
    let store = Arc::new(Eyes::default());
    let backends = Backends {
        store: Arc::new(Watched::new(backends.store, store.clone())),
        ..backends
    };
    let config = Config {
        commit_attempts: 4,
        ..Config::default()
    };
    let settings = |_: &fleet_service::Process| ServerSettings::default();
    let replica = fleet.replica_on(backends, config, settings).await;
    (fleet, replica, store)
}

#[tokio::test]
async fn every_call_makes_the_round_trips_that_are_documented() {
    let (_fleet, replica, store) = watched().await;
    let client = &mut replica.client.clone();
    macro_rules! costs {
        ($reads:literal, $commits:literal, $call:ident($request:expr)) => {{
            let request = $request;
            store.trips();
            let answer = client.$call(request).await.unwrap().into_inner();
            assert_eq!(store.trips(), ($reads, $commits), stringify!($call));
            answer
        }};
    }
    let request = pb::CreateProjectRequest {
        name: "Shop".into(),
        ..Default::default()
    };
    let project_id = costs!(0, 1, create_project(request))
        .project
        .unwrap()
        .project_id;
    let request = pb::CreateEpicRequest {
        project_id: project_id.clone(),
        title: "x".into(),
        ..Default::default()
    };
    let epic = costs!(1, 1, create_epic(request)).epic.unwrap().epic_id;
    costs!(0, 1, create_story(story_request("")));
    let request = pb::CreateStoryRequest {
        request_id: "once".into(),
        ..story_request(&epic)
    };
    let id = costs!(2, 1, create_story(request.clone()))
        .story
        .unwrap()
        .story_id;
    costs!(1, 0, create_story(request));
    let request = pb::CreateStoryRequest {
        story_id: Some("s-mine".into()),
        ..story_request(&epic)
    };
    costs!(1, 1, create_story(request));
    let update = pb::UpdateStoryRequest {
        story_id: id.clone(),
        title: Some("Export all".into()),
        epic_id: Some(epic.clone()),
        updated_by: "ana".into(),
        ..Default::default()
    };
    costs!(1, 1, update_story(update.clone()));
    costs!(1, 0, update_story(update));
    let a = costs!(1, 1, create_task(task_request(&id, "A", &[])))
        .task
        .unwrap()
        .task_id;
    let b = costs!(1, 1, create_task(task_request(&id, "B", &[&a])))
        .task
        .unwrap()
        .task_id;
    let c = costs!(1, 1, create_task(task_request(&id, "C", &[&a, &b])))
        .task
        .unwrap()
        .task_id;
    let update = pb::UpdateTaskRequest {
        task_id: c.clone(),
        priority: Some(2),
        updated_by: "ana".into(),
        ..Default::default()
    };
    costs!(1, 1, update_task(update));
    let remove = pb::RemoveTaskDependencyRequest {
        task_id: c.clone(),
        depends_on_task_id: b.clone(),
        changed_by: "ana".into(),
        ..Default::default()
    };
    costs!(1, 1, remove_task_dependency(remove));
    costs!(2, 1, add_task_dependency(dependency(&c, &b)));
    for state in &STATES[..3] {
        costs!(1, 1, transition_story(move_request(&id, state)));
    }
    costs!(2, 1, transition_story(move_request(&id, STATES[3])));
    let request = pb::ApprovePlanRequest {
        story_id: id.clone(),
        approved_by: "po".into(),
        ..Default::default()
    };
    costs!(1, 1, approve_plan(request));
    let decision_id = replica.decide(Some(&id)).await;
    let request = pb::ApproveDecisionRequest {
        story_id: id.clone(),
        decision_id,
        approved_by: "po".into(),
        ..Default::default()
    };
    costs!(1, 1, approve_decision(request.clone()));
    costs!(1, 0, approve_decision(request));

    costs!(1, 0, get_project(pb::GetProjectRequest { project_id }));
    costs!(
        1,
        0,
        get_epic(pb::GetEpicRequest {
            epic_id: epic.clone()
        })
    );
    costs!(
        1,
        0,
        get_story(pb::GetStoryRequest {
            story_id: id.clone()
        })
    );
    costs!(1, 0, get_task(pb::GetTaskRequest { task_id: a }));
    costs!(
        1,
        0,
        get_readiness(pb::GetReadinessRequest {
            story_id: id.clone()
        })
    );
    costs!(1, 0, list_projects(pb::ListProjectsRequest::default()));
    costs!(1, 0, list_epics(pb::ListEpicsRequest::default()));
    costs!(
        1,
        0,
        list_stories(pb::ListStoriesRequest {
            epic_id: Some(epic),
            ..Default::default()
        })
    );
    costs!(
        1,
        0,
        list_tasks(pb::ListTasksRequest {
            story_id: Some(id.clone()),
            ..Default::default()
        })
    );
    costs!(
        1,
        0,
        get_story_history(pb::GetStoryHistoryRequest {
            story_id: id,
            ..Default::default()
        })
    );
    replica.stop().await;
}

#[tokio::test]
async fn lost_races_are_run_again_up_to_a_bound() {
    let (_fleet, replica, store) = watched().await;
    let client = &mut replica.client.clone();
    let story = ask::story(client).await.story_id;
    store.trips();
    store.conflicts.store(3, Ordering::SeqCst);
    assert_eq!(go(client, &story, "PO_REVIEW").await.version, 2);
    assert_eq!(store.trips(), (4, 4), "each attempt reads and decides anew");
    store.conflicts.store(4, Ordering::SeqCst);
    let lost = client
        .transition_story(move_request(&story, "READY_FOR_PLANNING"))
        .await;
    let facts = refused(lost, Code::Aborted, "CONCURRENT_CHANGE", &["story s-busy"]);
    assert_eq!(facts["current_version"], "7");
    assert_eq!(ask::get(client, &story).await.version, 2);
    replica.stop().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_said_at_once_and_nothing_is_half_done() {
    let (_fleet, replica, store) = watched().await;
    let client = &mut replica.client.clone();
    let story = ask::story(client).await.story_id;
    let request = pb::TransitionStoryRequest {
        request_id: "again".into(),
        ..move_request(&story, "PO_REVIEW")
    };
    store.outages.store(1, Ordering::SeqCst);
    let status = client.transition_story(request.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(status.get_details_retry_info().is_some());
    let (reason, facts) = ask::facts(&status);
    assert_eq!(
        (reason.as_str(), facts["dependency"].as_str()),
        ("DEPENDENCY_UNAVAILABLE", "embedded")
    );
    assert!(
        !status.message().contains("plug"),
        "the driver's words stay inside"
    );
    assert_eq!(ask::get(client, &story).await.version, 1);
    // The same request again does what it would have done.
    let moved = client
        .transition_story(request)
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap();
    assert_eq!((moved.state.as_str(), moved.version), ("PO_REVIEW", 2));
    replica.stop().await;
}
