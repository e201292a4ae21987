//! Any order of a history, with repetitions, ends in the same state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use fleet_context::app::App;
use fleet_context::{
    AgentWork, Config, OrchestratorEvents, PlanningEvents, Requests, WorkflowEvents, app,
};
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::{
    Commit, Direction, EdgeType, Label, NodeKey, OutboxEvent, Owner, Props, Step, Walk,
};
use fleet_service::{Process, Streams, SystemIds};
use fleet_types::{EventId, Ids as _, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{assert_in_step, soon};

/// Lets the handler of its subject hear an event, without the bus.
pub async fn hear(app: &Arc<App>, event: &OutboxEvent) -> Result<(), HandleError> {
    let heard = Event {
        id: event.id.clone(),
        kind: event.subject.clone(),
        source: event.source.clone(),
        aggregate: event.aggregate.clone(),
        aggregate_version: event.aggregate_version,
        time: event.time,
        correlation: event.correlation.clone(),
        causation: event.causation.clone(),
        traceparent: event.traceparent.clone(),
        subject: event.subject.clone(),
        body: serde_json::from_str(&event.payload).unwrap(),
    };
    let (first, rest) = event.subject.split_once('.').unwrap();
    let handler: Box<dyn Handler> = match (first, rest) {
        ("planning", _) => Box::new(PlanningEvents(app.clone())),
        ("workflow", _) => Box::new(WorkflowEvents(app.clone())),
        ("orchestration", _) => Box::new(OrchestratorEvents(app.clone())),
        ("agent", _) => Box::new(AgentWork(app.clone())),
        ("context", _) => Box::new(Requests(app.clone())),
        (other, _) => panic!("{other}"),
    };
    handler.handle(&heard, soon()).await
}

/// One thing that may have been said, by its kind and a number that tells it apart.
#[derive(Debug, Clone, Copy)]
enum Said {
    Created,
    Updated(u8),
    Moved(u8),
    TaskCreated(u8),
    PlanApproved(u8),
    Council(u8),
    Unnamed(u8),
    Judged(u8),
    Dispatched(u8),
    Done(u8),
    Worked(u8),
}

fn any_said() -> impl Strategy<Value = Said> {
    prop_oneof![
        Just(Said::Created),
        any::<u8>().prop_map(Said::Updated),
        any::<u8>().prop_map(Said::Moved),
        any::<u8>().prop_map(Said::TaskCreated),
        any::<u8>().prop_map(Said::PlanApproved),
        (0..4_u8).prop_map(Said::Council),
        (0..4_u8).prop_map(Said::Unnamed),
        (0..4_u8).prop_map(Said::Judged),
        any::<u8>().prop_map(Said::Dispatched),
        any::<u8>().prop_map(Said::Done),
        any::<u8>().prop_map(Said::Worked),
    ]
}

/// The event; the same thing is always the same event.
fn event(said: Said) -> OutboxEvent {
    let at = |n: u8| Timestamp::from_millis(1_750_000_000_000 + 1_000 * i64::from(n));
    let (subject, n, mut body): (&str, u8, Value) = match said {
        Said::Created => (
            "planning.story.created",
            0,
            json!({"title": "x", "created_by": "ana"}),
        ),
        Said::Updated(n) => (
            "planning.story.updated",
            n,
            json!({"version": 2, "changed": ["title"], "updated_by": "ana"}),
        ),
        Said::Moved(n) => (
            "planning.story.transitioned",
            n,
            json!({"from_state": "DRAFT", "to_state": "PO_REVIEW", "transitioned_by": "ana"}),
        ),
        Said::TaskCreated(n) => (
            "planning.task.created",
            n,
            json!({"task_id": "T-1", "title": "x", "type": "development", "priority": 1}),
        ),
        Said::PlanApproved(n) => (
            "planning.plan.approved",
            n,
            json!({"plan_id": format!("PL-{n}"), "roles": ["qa"], "approved_by": "pia"}),
        ),
        Said::Council(n) => (
            "orchestration.deliberation.completed",
            n,
            json!({"task_id": "T-1", "decisions": [
                {"id": format!("DEC-{n}"), "title": format!("Council {n}"), "rationale": "Because."},
            ]}),
        ),
        // Several councils about one task give the same names.
        Said::Unnamed(n) => (
            "orchestration.deliberation.completed",
            n + 100,
            json!({"task_id": "T-1", "decisions": [
                {"title": format!("Unnamed {n}")},
                {"title": format!("Unnamed {n} too"), "affected_subtask": "T-2"},
            ]}),
        ),
        // Planning judges a decision once.
        Said::Judged(n) if n % 2 == 0 => (
            "planning.decision.approved",
            n,
            json!({"decision_id": format!("DEC-{n}"), "approved_by": "pia", "comment": null}),
        ),
        Said::Judged(n) => (
            "planning.decision.rejected",
            n,
            json!({"decision_id": format!("DEC-{n}"), "rejected_by": "pia", "reason": "no"}),
        ),
        Said::Dispatched(n) => (
            "orchestration.task.dispatched",
            n,
            json!({"task_id": "T-1", "agent_id": "agent-1", "role": "qa"}),
        ),
        Said::Done(n) => (
            "workflow.state.changed",
            n,
            json!({
                "task_id": "T-1", "from_state": "po_approved", "to_state": "done",
                "action": "auto_complete", "actor_role": "po", "role_in_charge": null,
                "required_action": null, "feedback": null, "retry_count": 0,
            }),
        ),
        Said::Worked(n) => (
            "agent.work.completed",
            n,
            json!({
                "task_id": "T-1", "action": "commit_code", "actor_role": "developer",
                "result": {"reasoning": format!("Reason {n}")},
            }),
        ),
    };
    body["timestamp"] = at(n).rfc3339().into();
    if subject != "agent.work.completed" {
        body["story_id"] = "s-1".into();
    }
    OutboxEvent {
        id: EventId::parse(&format!("ev-{subject}-{n}")).unwrap(),
        subject: subject.to_owned(),
        source: "tests".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time: at(n),
        payload: body.to_string(),
        correlation: String::new(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

/// A database with a story and two tasks of it, and what hears about them.
struct Place {
    process: Process,
    app: Arc<App>,
    _on: fleet_testing::Place,
}

impl Place {
    async fn new() -> Self {
        let on = fleet_testing::Place::embedded();
        let process = fleet_testing::process();
        let deps = process.attach(on.backends().await, Streams::Apply, on.deployment());
        fleet_testing::ready(&process).await;
        let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, Timestamp::from_millis(0));
        let story = NodeKey::new(Label::Story, "s-1");
        let row = json!({"story_id": "s-1", "title": "x", "created_at": "2025-01-01T00:00:00Z"});
        commit.create(story.clone(), "1", props(row));
        for id in ["T-1", "T-2"] {
            let task = NodeKey::new(Label::Task, id);
            let row = json!({"task_id": id, "story_id": "s-1", "title": "x"});
            commit.create(task.clone(), id, props(row));
            commit.relate(story.clone(), EdgeType::HasTask, task);
        }
        deps.store.commit(&commit, soon()).await.unwrap();
        let app = app(&deps, &Config::default()).unwrap();
        Self {
            process,
            app,
            _on: on,
        }
    }

    /// Hears everything; what comes too early comes again, a bounded number of times.
    async fn hear_all(&self, events: &[OutboxEvent]) {
        let mut waiting: VecDeque<(usize, &OutboxEvent)> = events.iter().map(|e| (0, e)).collect();
        while let Some((tries, event)) = waiting.pop_front() {
            match hear(&self.app, event).await {
                Ok(()) => {}
                Err(HandleError::NotYetKnown { .. }) if tries < events.len() => {
                    waiting.push_back((tries + 1, event));
                }
                // A verdict on what no council of this history decided.
                Err(HandleError::NotYetKnown { what }) => assert!(what.contains("decision")),
                Err(error) => panic!("{}: {error}", event.subject),
            }
        }
    }

    /// Everything that there is about the story, but when this process wrote it.
    async fn state(
        &self,
    ) -> (
        BTreeMap<String, Props>,
        Vec<(NodeKey, EdgeType, NodeKey)>,
        i64,
    ) {
        let story = NodeKey::new(Label::Story, "s-1");
        let own = [
            EdgeType::HasContext,
            EdgeType::HasDecision,
            EdgeType::HasEvent,
            EdgeType::HasSummary,
            EdgeType::HasPhase,
        ];
        let mut edges = Vec::new();
        let mut nodes = BTreeMap::new();
        let mut version = 0;
        for first in own {
            let step = |edge| Step {
                edge,
                direction: Direction::Out,
                hops: 1,
            };
            let walk = Walk {
                roots: vec![story.clone()],
                steps: vec![step(first), step(EdgeType::Affects)],
                max_nodes: 5_000,
            };
            let found = self.app.store.walk(&walk, soon()).await.unwrap();
            edges.extend(found.edges.into_iter().map(|e| (e.from, e.kind, e.to)));
            for mut node in found.nodes {
                if node.key.label() == Label::StoryContext {
                    version = node.version;
                    node.props.remove("updated_at");
                    node.props.remove("last_hash");
                    // How often a decision was written depends on what came first.
                    node.props.remove("decision_versions");
                }
                nodes.insert(node.key.path(), node.props);
            }
        }
        edges.sort();
        assert_in_step(&*self.app.store, story.id()).await;
        (nodes, edges, version)
    }

    async fn close(self) {
        self.process.stop(std::time::Duration::from_secs(10)).await;
    }
}

fn props(value: Value) -> Props {
    match value {
        Value::Object(props) => props,
        other => panic!("{other}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_with_repetitions_ends_in_the_same_state(
        (history, turned) in prop::collection::vec(any_said(), 1..14).prop_flat_map(|history| {
            let twice: Vec<Said> = history.iter().chain(&history).copied().collect();
            (Just(history), Just(twice).prop_shuffle())
        })
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let events = |said: &[Said]| said.iter().map(|said| event(*said)).collect::<Vec<_>>();
            let (one, two) = (Place::new().await, Place::new().await);
            one.hear_all(&events(&history)).await;
            two.hear_all(&events(&turned)).await;
            let (first, second) = (one.state().await, two.state().await);
            assert_eq!(first, second);
            // And once more: nothing.
            one.hear_all(&events(&turned)).await;
            assert_eq!(one.state().await, first);
            one.close().await;
            two.close().await;
        });
    }
}
