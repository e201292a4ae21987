//! How often each call goes to the store, and what happens when the store fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, GraphStore, Hits, Index, Label, Node, NodeKey,
    Outbox, OutboxEvent, Owner, Page, PastRequest, Pruning, ReadError, Receipt, RequestKey, Scan,
    Search, Sketch, Sketched, Store, Subgraph, Total, Unavailable, Walk,
};
use fleet_planning::Config;
use fleet_proto::planning::v2 as pb;
use fleet_service::{Backends, ServerSettings};
use fleet_types::{EventId, Timestamp};
use serde_json::Value;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::ask::{
    self, STATES, dependency, go, move_request, refused, story_request, task_request,
};
use crate::fleet::{Fleet, Replica};

/// A store that counts what planning asks of it, and fails on demand.
struct Watched {
    inner: Arc<dyn Store>,
    reads: AtomicU32,
    commits: AtomicU32,
    /// So many commits of planning lose a race that nobody runs.
    conflicts: AtomicU32,
    /// So many reads and commits find the store away.
    outages: AtomicU32,
}

impl Watched {
    fn away(&self) -> Result<(), Unavailable> {
        let down = |left: u32| left.checked_sub(1);
        let out = self
            .outages
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, down);
        out.map_or(Ok(()), |_| {
            let reason = "pulled the plug".to_owned();
            Err(Unavailable {
                store: "embedded",
                reason,
                retryable: true,
            })
        })
    }

    fn read(&self) -> Result<(), Unavailable> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.away()
    }

    /// Reads and commits since the last look.
    fn trips(&self) -> (u32, u32) {
        (
            self.reads.swap(0, Ordering::SeqCst),
            self.commits.swap(0, Ordering::SeqCst),
        )
    }
}

#[async_trait]
impl GraphStore for Watched {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        self.inner.migrate(deadline).await
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        if commit.writer == Owner::Planning {
            self.commits.fetch_add(1, Ordering::SeqCst);
            self.away()?;
            let down = |left: u32| left.checked_sub(1);
            if self
                .conflicts
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, down)
                .is_ok()
            {
                let key = NodeKey::new(Label::Story, "s-busy");
                return Err(CommitError::Conflict {
                    key,
                    expected: 6,
                    found: 7,
                });
            }
        }
        self.inner.commit(commit, deadline).await
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        self.read()?;
        self.inner.get(keys, deadline).await
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        self.read()?;
        self.inner.past_request(key, deadline).await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        self.read()?;
        self.inner.scan(scan, deadline).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        self.read()?;
        self.inner.counts(listings, deadline).await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        self.read()?;
        self.inner.walk(walk, deadline).await
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        self.read()?;
        self.inner.sketch(sketch, deadline).await
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        self.read()?;
        self.inner.digest(digest, keys, deadline).await
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        self.read()?;
        self.inner.search(search, deadline).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.inner.ping(deadline).await
    }
}

#[async_trait]
impl Outbox for Watched {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        self.inner.pending(older_than, limit, deadline).await
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError> {
        self.inner.mark_published(ids, at, deadline).await
    }

    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError> {
        self.inner.unpublish(since, deadline).await
    }

    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError> {
        self.inner.remove(ids, deadline).await
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.inner.remove_published(before, limit, deadline).await
    }

    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        self.inner.backlog(deadline).await
    }
}

#[async_trait]
impl Pruning for Watched {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        self.inner.prune(inbox, requests, limit, deadline).await
    }
}

async fn watched() -> (Fleet, Replica, Arc<Watched>) {
    let fleet = Fleet::embedded();
    let backends = fleet.backends().await;
    let store = Arc::new(Watched {
        inner: backends.store.clone(),
        reads: AtomicU32::new(0),
        commits: AtomicU32::new(0),
        conflicts: AtomicU32::new(0),
        outages: AtomicU32::new(0),
    });
    let backends = Backends {
        store: store.clone(),
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
