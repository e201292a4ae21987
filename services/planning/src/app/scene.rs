//! What a decision sees: the store as it is, the time, fresh ids, and on whose behalf.

use std::sync::Arc;

use fleet_events::{Origin, payload::Payload};
use fleet_graph::{
    Commit, Deadline, Direction, EdgeType, Label, Node, NodeKey, OutboxEvent, Owner, ReadError,
    Step, Store, Subgraph, Walk,
};
use fleet_service::races::word;
use fleet_service::{Fault, Found};
use fleet_types::{Ids, StoryId, Timestamp};

use super::rows;
use crate::domain::{MAX_TASKS, Task};

/// One look at the world.
pub struct Scene {
    /// For reads.
    pub store: Arc<dyn Store>,
    /// Fresh ids.
    pub ids: Arc<dyn Ids>,
    /// When this decision is made.
    pub now: Timestamp,
    /// On whose behalf; where events say they come from.
    pub origin: Origin,
    /// Until when.
    pub deadline: Deadline,
    /// What the Definition of Ready must reach.
    pub dor_threshold: i32,
}

impl Scene {
    /// Reads these nodes; one round trip, none if there are no keys.
    pub async fn get(&self, keys: Vec<NodeKey>) -> Result<Found, Fault> {
        Ok(Found::get(&*self.store, keys, self.deadline).await?)
    }

    /// Reads tasks together with their stories; one round trip.
    pub async fn with_stories(&self, tasks: Vec<NodeKey>) -> Result<Found, Fault> {
        let steps = vec![Step {
            edge: EdgeType::HasTask,
            direction: Direction::In,
            hops: 1,
        }];
        let max_nodes = 2 * tasks.len();
        let found = self
            .walk(Walk {
                roots: tasks,
                steps,
                max_nodes,
            })
            .await?;
        Ok(found.nodes.into_iter().collect())
    }

    /// Reads all tasks of a story; one round trip. Read the story before them: then its
    /// version, expected by the commit, proves that none of them has changed since.
    pub async fn tasks_of(&self, story: &StoryId) -> Result<Vec<Task>, Fault> {
        let limit = usize::try_from(MAX_TASKS).expect("a small constant");
        let found = self
            .walk(Walk {
                roots: vec![rows::story(story)],
                steps: vec![Step {
                    edge: EdgeType::HasTask,
                    direction: Direction::Out,
                    hops: 1,
                }],
                // The story itself, and one more to see that there are too many.
                max_nodes: limit + 2,
            })
            .await?;
        let tasks = found
            .nodes
            .iter()
            .filter(|node| node.key.label() == Label::Task);
        Ok(tasks
            .map(Node::row)
            .collect::<Result<_, _>>()
            .map_err(ReadError::from)?)
    }

    async fn walk(&self, walk: Walk) -> Result<Subgraph, Fault> {
        let found = self.store.walk(&walk, self.deadline).await?.whole()?;
        if found.truncated {
            return Err(Fault::internal(format!(
                "more than {} nodes around {:?}",
                walk.max_nodes, walk.roots
            )));
        }
        Ok(found)
    }

    /// A commit of planning with nothing in it yet.
    pub fn commit(&self) -> Box<Commit> {
        Box::new(Commit::new(self.ids.uuid(), Owner::Planning, self.now))
    }

    /// An event for the outbox.
    pub fn event<P: Payload>(&self, aggregate: &str, version: i64, payload: &P) -> OutboxEvent {
        self.origin
            .event(&*self.ids, self.now, aggregate, version, payload)
    }
}

/// Refuses if the caller expects another version than the one there is.
pub fn check_version(what: &NodeKey, expected: Option<i64>, current: i64) -> Result<(), Fault> {
    match expected {
        Some(expected) if expected != current => {
            let what = format!("{} {}", word(what.label()), what.id());
            Err(Fault::stale_version(what, expected, current))
        }
        _ => Ok(()),
    }
}
