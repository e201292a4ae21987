//! What the cases have in common: fresh ids, handles, small builders.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_types::{EventId, Timestamp};
use serde_json::json;
use uuid::Uuid;

use crate::{
    Branch, Commit, CommitError, Deadline, Digest, Digested, Direction, EdgeType, Label, Node,
    NodeKey, OutboxEvent, Owner, Path, Props, Receipt, Request, RequestKey, Sketch, Sketched, Step,
    Store, Subgraph, Walk,
};

/// Where an adapter keeps its data.
#[async_trait]
pub trait Place: Send + Sync {
    /// A handle on the data for this deployment, with its own connections, as another replica
    /// would have it. Every handle of one place sees the same data.
    async fn open(&self, deployment: &str) -> Arc<dyn Store>;
}

/// How long a call may take before a case gives up. Generous: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// A deadline for one call.
pub(super) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// One case's corner of the world: two replicas of one deployment, and ids of its own.
pub(super) struct World {
    /// One replica.
    pub(super) a: Arc<dyn Store>,
    /// Another replica.
    pub(super) b: Arc<dyn Store>,
    /// The deployment of both.
    pub(super) deployment: String,
    run: String,
    next: AtomicU64,
}

/// A fresh id.
#[expect(
    clippy::disallowed_methods,
    reason = "a test's ids need no port, only to be fresh"
)]
pub(super) fn fresh() -> Uuid {
    Uuid::now_v7()
}

impl World {
    /// Two migrated handles with a fresh deployment.
    pub(super) async fn open(place: &dyn Place) -> Self {
        let run = fresh().simple().to_string();
        let deployment = format!("t{run}");
        let a = place.open(&deployment).await;
        let b = place.open(&deployment).await;
        a.migrate(soon()).await.unwrap();
        Self {
            a,
            b,
            deployment,
            run,
            next: AtomicU64::new(0),
        }
    }

    /// A word that no other case uses.
    pub(super) fn word(&self, stem: &str) -> String {
        format!("{stem}-{}", self.run)
    }

    /// A key that is not used yet.
    pub(super) fn key(&self, label: Label) -> NodeKey {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        NodeKey::new(label, format!("x-{}-{n:06}", self.run))
    }

    /// An event id that is not used yet.
    pub(super) fn event_id(&self) -> EventId {
        EventId::mint(fresh())
    }

    /// An empty commit of planning.
    pub(super) fn commit(&self) -> Commit {
        Commit::new(fresh(), Owner::Planning, at(0))
    }

    /// An empty commit of another service.
    pub(super) fn commit_of(&self, writer: Owner) -> Commit {
        Commit {
            writer,
            ..self.commit()
        }
    }

    /// A single word for searches that no other case uses.
    pub(super) fn term(&self, stem: &str) -> String {
        format!("{stem}{}", self.run)
    }

    /// An event with every field filled.
    pub(super) fn event(&self, payload: &str) -> OutboxEvent {
        OutboxEvent {
            id: self.event_id(),
            subject: "planning.story.created".into(),
            source: "fleet-planning".into(),
            aggregate: format!("s-{}", self.run),
            aggregate_version: 3,
            time: at(17),
            payload: payload.into(),
            correlation: "corr-1".into(),
            causation: "ev-cause".into(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        }
    }

    /// A request under an id of this case.
    pub(super) fn request(&self, id: &str, fingerprint: &str, response: &[u8]) -> Request {
        Request {
            key: RequestKey {
                method: "fleet.planning.v2.PlanningService/CreateStory".into(),
                principal: format!("somebody-{}", self.run),
                request_id: id.into(),
            },
            fingerprint: fingerprint.into(),
            response: response.to_vec(),
        }
    }

    /// Creates one node, which must succeed.
    pub(super) async fn created(&self, label: Label) -> NodeKey {
        let key = self.key(label);
        let mut commit = self.commit();
        commit.create(key.clone(), key.id(), title("first"));
        self.must(&commit).await;
        key
    }

    /// Moves a node from `expected` to the next version, which must succeed.
    pub(super) async fn moved(&self, key: &NodeKey, expected: i64) {
        let mut commit = self.commit();
        commit.update(key.clone(), expected, key.id(), title("moved on"));
        self.must(&commit).await;
    }

    /// Applies a commit that must succeed.
    pub(super) async fn must(&self, commit: &Commit) -> Receipt {
        self.a
            .commit(commit, soon())
            .await
            .expect("a commit that should succeed")
    }

    /// Applies a commit that must be rejected.
    pub(super) async fn must_not(&self, commit: &Commit) -> CommitError {
        self.a
            .commit(commit, soon())
            .await
            .expect_err("a commit that should be rejected")
    }

    /// One node, seen from the other replica.
    pub(super) async fn node(&self, key: &NodeKey) -> Option<Node> {
        let mut found = self.b.get(std::slice::from_ref(key), soon()).await.unwrap();
        assert_eq!(found.len(), 1, "one answer per key");
        found.pop().flatten()
    }

    /// The version of a node; 0 if there is none.
    pub(super) async fn version(&self, key: &NodeKey) -> i64 {
        self.node(key).await.map_or(0, |node| node.version)
    }

    /// Every event that is pending, oldest first.
    pub(super) async fn pending(&self) -> Vec<OutboxEvent> {
        self.b
            .pending(Timestamp::from_millis(i64::MAX), 1_000, soon())
            .await
            .unwrap()
    }

    /// A sketch that must succeed, seen from the other replica.
    pub(super) async fn sketch(&self, root: &NodeKey, branches: &[Branch]) -> Sketched {
        let sketch = Sketch {
            root: root.clone(),
            branches: branches.to_vec(),
        };
        let seen = self.b.sketch(&sketch, soon()).await.unwrap();
        assert_eq!(seen.branches.len(), branches.len(), "one for each branch");
        seen
    }

    /// A digest that must succeed, seen from the other replica.
    pub(super) async fn digest(&self, root: &NodeKey, paths: &[Path]) -> Digested {
        let digest = Digest {
            root: root.clone(),
            paths: paths.to_vec(),
        };
        let (seen, nodes) = self.b.digest(&digest, &[], soon()).await.unwrap();
        assert_eq!(nodes, vec![], "no keys, no nodes");
        assert_eq!(seen.paths.len(), paths.len(), "one for each path");
        seen
    }

    /// A walk that must succeed, seen from the other replica.
    pub(super) async fn walk(&self, roots: &[&NodeKey], steps: &[Step], max: usize) -> Subgraph {
        let roots = roots.iter().map(|key| (*key).clone()).collect();
        let walk = Walk {
            roots,
            steps: steps.to_vec(),
            max_nodes: max,
        };
        self.b.walk(&walk, soon()).await.unwrap()
    }
}

/// A point in time: so many milliseconds after the suite's epoch.
pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + millis)
}

/// Properties with one title.
pub(super) fn title(text: &str) -> Props {
    object(json!({ "title": text }))
}

/// Properties from a JSON object.
pub(super) fn object(value: serde_json::Value) -> Props {
    match value {
        serde_json::Value::Object(map) => map,
        other => panic!("an object, not {other}"),
    }
}

/// One step of a walk.
pub(super) fn step(edge: EdgeType, direction: Direction, hops: usize) -> Step {
    Step {
        edge,
        direction,
        hops,
    }
}

/// Asserts that a value matches a pattern (with an optional condition), and shows it if not.
macro_rules! assert_is {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {
        match $value {
            $pattern $(if $guard)? => {}
            other => panic!("expected {}, got {other:?}", stringify!($pattern $(if $guard)?)),
        }
    };
}
pub(super) use assert_is;
