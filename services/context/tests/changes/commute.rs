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
        1 => Just(Said::Created),
        1 => any::<u8>().prop_map(Said::Updated),
        1 => any::<u8>().prop_map(Said::Moved),
        1 => any::<u8>().prop_map(Said::TaskCreated),
        1 => any::<u8>().prop_map(Said::PlanApproved),
        2 => (0..4_u8).prop_map(Said::Council),
        6 => (0..4_u8).prop_map(Said::Unnamed),
        1 => (0..4_u8).prop_map(Said::Judged),
        4 => (4..6_u8).prop_map(Said::Judged),
        1 => any::<u8>().prop_map(Said::Dispatched),
        1 => any::<u8>().prop_map(Said::Done),
        1 => any::<u8>().prop_map(Said::Worked),
    ]
}

/// The decision that a verdict is about: one of a council that gave it a name, or from 4 on
/// one that several councils speak of.
fn judged(n: u8) -> String {
    match n.checked_sub(4) {
        None => format!("DEC-{n}"),
        Some(place) => format!("DEC-T-1-{place}"),
    }
}

/// Approved or rejected.
fn verdict(n: u8) -> (&'static str, &'static str) {
    match n % 2 {
        0 => ("approved", "APPROVED"),
        _ => ("rejected", "REJECTED"),
    }
}

/// A history, how much of it was heard before the product owner judged, that part in any order
/// with repetitions, and all of it, likewise.
fn histories() -> impl Strategy<Value = (Vec<Said>, usize, Vec<Said>, Vec<Said>)> {
    prop::collection::vec(any_said(), 1..14)
        .prop_flat_map(|history| {
            let most = history.len();
            (Just(history), 0..=most)
        })
        .prop_flat_map(|(history, before)| {
            let twice = |said: &[Said]| said.iter().chain(said).copied().collect::<Vec<_>>();
            let (first, all) = (twice(&history[..before]), twice(&history));
            let turned = (Just(first).prop_shuffle(), Just(all).prop_shuffle());
            (Just(history), Just(before), turned)
        })
        .prop_map(|(history, before, (first, all))| (history, before, first, all))
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
            json!({"decision_id": judged(n), "approved_by": "pia", "comment": null}),
        ),
        Said::Judged(n) => (
            "planning.decision.rejected",
            n,
            json!({"decision_id": judged(n), "rejected_by": "pia", "reason": "no"}),
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

    async fn props_of(&self, key: NodeKey) -> Option<Props> {
        let found = self.app.store.get(&[key], soon()).await.unwrap();
        Some(found.into_iter().next().flatten()?.props)
    }

    /// What a decision says, and how it stands.
    async fn words(&self, decision: &str) -> Option<(Value, Value)> {
        let row = self
            .props_of(NodeKey::new(Label::Decision, decision))
            .await?;
        Some((row["title"].clone(), row["status"].clone()))
    }

    /// Planning takes these verdicts, on the decisions that are there; gives what they say.
    async fn judge(&self, said: &[Said]) -> BTreeMap<u8, Value> {
        let mut done = BTreeMap::new();
        for said in said {
            let Said::Judged(n) = *said else { continue };
            let Some((title, _)) = self.words(&judged(n)).await else {
                continue;
            };
            if done.insert(n, title).is_some() {
                continue;
            }
            let at = Timestamp::from_millis(0);
            let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, at);
            let review = NodeKey::new(Label::DecisionReview, format!("s-1/{}", judged(n)));
            let row = json!({
                "story_id": "s-1", "decision_id": judged(n), "verdict": verdict(n).0,
                "by": "pia", "words": "", "at": at.rfc3339(),
            });
            commit.create(review.clone(), "1", props(row));
            commit.relate(
                NodeKey::new(Label::Story, "s-1"),
                EdgeType::HasReview,
                review,
            );
            self.app.store.commit(&commit, soon()).await.unwrap();
        }
        done
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
                if node.key.label() == Label::Decision {
                    // Likewise.
                    node.props.remove("changed_in");
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
        (history, before, first, turned) in histories()
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let unjudged = |said: &&Said| !matches!(said, Said::Judged(_));
            let heard_before = |said: &[Said]| -> Vec<OutboxEvent> {
                said.iter().filter(unjudged).map(|said| event(*said)).collect()
            };
            let (one, two) = (Place::new().await, Place::new().await);
            one.hear_all(&heard_before(&history[..before])).await;
            two.hear_all(&heard_before(&first)).await;
            // The product owner sees the same, and judges it; that is heard some time later.
            let seen = one.judge(&history).await;
            assert_eq!(two.judge(&history).await, seen);
            // Of what several councils speak of, only what is there is judged.
            let events = |said: &[Said]| -> Vec<OutboxEvent> {
                let said = said.iter().filter(|said| match said {
                    Said::Judged(n) => *n < 4 || seen.contains_key(n),
                    _ => true,
                });
                said.map(|said| event(*said)).collect()
            };
            one.hear_all(&events(&history)).await;
            two.hear_all(&events(&turned)).await;
            let (state, other) = (one.state().await, two.state().await);
            assert_eq!(state, other);
            for (n, title) in &seen {
                let expected = (title.clone(), Value::from(verdict(*n).1));
                assert_eq!(one.words(&judged(*n)).await, Some(expected));
            }
            // And once more: nothing.
            one.hear_all(&events(&turned)).await;
            assert_eq!(one.state().await, state);
            one.close().await;
            two.close().await;
        });
    }
}

#[tokio::test]
async fn a_verdict_stays_on_the_text_that_was_judged() {
    for heard in [
        [Said::Judged(4), Said::Unnamed(2)],
        [Said::Unnamed(2), Said::Judged(4)],
    ] {
        let place = Place::new().await;
        place.hear_all(&[event(Said::Unnamed(1))]).await;
        place.judge(&heard).await;
        place.hear_all(&heard.map(event)).await;
        let stands = (json!("Unnamed 1"), json!("APPROVED"));
        assert_eq!(place.words("DEC-T-1-0").await, Some(stands), "{heard:?}");
        // Of the same councils, what was not judged is the later one's.
        let other = place.words("DEC-T-1-1").await;
        assert_eq!(other, Some((json!("Unnamed 2 too"), json!("PROPOSED"))));
        place.close().await;
    }
}

#[tokio::test]
async fn a_verdict_holds_whatever_the_status_was() {
    let place = Place::new().await;
    let cases = [
        (0, "REJECTED", "APPROVED"),
        (1, "APPROVED", "REJECTED"),
        (2, "IMPLEMENTED", "IMPLEMENTED"),
        (3, "IMPLEMENTED", "REJECTED"),
    ];
    for (n, put, held) in cases {
        place.hear_all(&[event(Said::Council(n))]).await;
        let key = NodeKey::new(Label::Decision, judged(n));
        let found = place
            .app
            .store
            .get(std::slice::from_ref(&key), soon())
            .await;
        let mut node = found.unwrap().remove(0).unwrap();
        node.props.insert("status".to_owned(), put.into());
        let at = Timestamp::from_millis(0);
        let mut commit = Commit::new(SystemIds.uuid(), Owner::Context, at);
        commit.update(key, node.version, "1", node.props);
        place.app.store.commit(&commit, soon()).await.unwrap();
        place.judge(&[Said::Judged(n)]).await;
        place.hear_all(&[event(Said::Judged(n))]).await;
        let (_, status) = place.words(&judged(n)).await.unwrap();
        assert_eq!(status, held, "{put}");
    }
    place.close().await;
}
