//! What was acknowledged, what the history has, and what was said on the bus: all the same?

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fleet_events::payload::{StateChanged, StoryCompleted, TaskCompleted};
use fleet_events::{Bus, Event, decode};
use fleet_graph::Deadline;
use fleet_proto::workflow::v1 as pb;
use fleet_topology::{Consumer, Stream};
use tokio::time::Instant;

use super::crew::{Doors, PATIENCE, Walked, Workflow};

/// Everything that a stream has, from its beginning.
pub struct Heard {
    bus: Arc<dyn Bus>,
    consumer: &'static Consumer,
    /// By place in the stream.
    pub events: BTreeMap<u64, Event>,
}

impl Heard {
    /// Listens under a name of its own, to these subjects.
    pub fn new(
        bus: Arc<dyn Bus>,
        name: &str,
        stream: &'static Stream,
        filter_subjects: &'static [&'static str],
    ) -> Self {
        let consumer = Box::leak(Box::new(Consumer {
            name: Box::leak(name.to_owned().into_boxed_str()),
            service: "workflow",
            stream: stream.name,
            filter_subjects,
            ack_wait_secs: 5,
            max_ack_pending: 10_000,
            max_deliveries: 8,
        }));
        Self {
            bus,
            consumer,
            events: BTreeMap::new(),
        }
    }

    /// Reads what there is.
    pub async fn catch_up(&mut self) {
        let until = Instant::now() + PATIENCE;
        'open: loop {
            assert!(
                Instant::now() < until,
                "{} cannot be read",
                self.consumer.stream
            );
            let soon = Deadline::after(Duration::from_secs(5));
            let Ok(mut open) = self.bus.subscribe(self.consumer, soon).await else {
                continue;
            };
            loop {
                let Ok(batch) = open.fetch(500, Duration::from_millis(300)).await else {
                    continue 'open;
                };
                if batch.is_empty() {
                    open.close().await;
                    return;
                }
                for delivery in batch {
                    let message = delivery.message();
                    let event = decode(message).expect("what we say can be read");
                    assert_eq!(message.header("Nats-Msg-Id"), Some(event.id.as_str()));
                    self.events.insert(message.sequence, event);
                    // If it does not arrive, the same place comes again.
                    let _ = delivery.ack().await;
                }
            }
        }
    }

    /// Reads until all of `ids` were said.
    pub async fn until_said(&mut self, ids: &BTreeSet<String>) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.catch_up().await;
            let said: BTreeSet<&str> = self.events.values().map(|e| e.id.as_str()).collect();
            let missing: Vec<_> = ids
                .iter()
                .filter(|id| !said.contains(id.as_str()))
                .collect();
            if missing.is_empty() {
                return;
            }
            let few = &missing[..missing.len().min(5)];
            assert!(
                Instant::now() < until,
                "{} events are lost, e.g. {few:?}",
                missing.len()
            );
        }
    }
}

/// Hops as the audit trail has them, by task and place.
pub type Hops = BTreeMap<(String, i64), pb::AuditEntry>;

/// The steps of all tasks of a story, from the audit trail.
pub async fn trail(doors: &Doors, story: &str) -> Hops {
    let mut hops = Hops::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListAuditRequest {
            story_id: story.to_owned(),
            limit: 1000,
            page_token,
            ..pb::ListAuditRequest::default()
        };
        let what = format!("audit of {story}");
        let list = async |channel| Workflow::new(channel).list_audit(request.clone()).await;
        let page = doors.ask(&what, 0, list).await;
        for entry in page.entries {
            assert_ne!(entry.kind, "rbac_violation", "{entry:?}");
            let place = (entry.task_id.clone(), entry.seq);
            assert!(
                hops.insert(place, entry).is_none(),
                "{story}: one place, two hops"
            );
        }
        if page.next_page_token.is_empty() {
            return hops;
        }
        page_token = page.next_page_token;
    }
}

/// The history of a task has exactly what its agents were acknowledged, in that order, and
/// nothing twice.
pub async fn check_history(doors: &Doors, walked: &Walked, hops: &Hops) {
    let task = &walked.task;
    let state = doors
        .state(task, 0)
        .await
        .unwrap_or_else(|| panic!("{task} is lost"));
    assert_eq!(state.current_state, "done", "{task}");
    assert!(
        state.version >= walked.version,
        "{task}: {} < {}",
        state.version,
        walked.version
    );
    let mut before = String::new();
    let mut deeds = walked.deeds.iter();
    for (n, step) in (1..).zip(&state.history) {
        assert_eq!(step.seq, n, "{task}: the history has a gap or a repeat");
        assert_eq!(
            step.from_state, before,
            "{task}: step {n} does not follow the one before"
        );
        before.clone_from(&step.to_state);
        let hop = &hops[&(task.clone(), n)];
        assert_eq!(
            (&hop.to_state, &hop.action),
            (&step.to_state, &step.action),
            "{task}"
        );
        if step.actor_role == "system" {
            continue;
        }
        let deed = deeds
            .next()
            .unwrap_or_else(|| panic!("{task}: done twice: {step:?}"));
        let sha = step.artifacts.get("commit_sha").map_or("", String::as_str);
        let told = (step.action.as_str(), step.agent_id.as_str(), sha);
        assert_eq!(
            told,
            (&*deed.action, &*deed.agent, &*deed.sha),
            "{task}: step {n}"
        );
    }
    assert_eq!(
        before, state.current_state,
        "{task}: the history does not end where the task is"
    );
    assert_eq!(deeds.next(), None, "{task}: acknowledged and lost");
    let audited = hops.keys().filter(|(of, _)| of == task).count();
    assert_eq!(
        audited,
        state.history.len(),
        "{task}: audit and history differ"
    );
}

/// Each hop was said once and nothing else was; what was said adds up to what is stored;
/// each task, and each story, ended once.
pub fn check_events<'e>(
    hops: &Hops,
    tasks_of: &BTreeMap<String, Vec<Walked>>,
    events: impl Iterator<Item = &'e Event>,
) {
    let mut ids = BTreeSet::new();
    let mut said: BTreeMap<(String, i64), (String, StateChanged)> = BTreeMap::new();
    let mut tasks_ended: BTreeMap<String, u32> = BTreeMap::new();
    let mut stories_ended: BTreeMap<String, u32> = BTreeMap::new();
    let mut duplicates = 0;
    for event in events {
        if !ids.insert(event.id.to_string()) {
            duplicates += 1;
            continue;
        }
        match event.kind.as_str() {
            "workflow.state.changed" => {
                let changed: StateChanged = event.payload().unwrap();
                let place = (changed.task_id.to_string(), changed.seq);
                let twice = said.insert(place.clone(), (event.id.to_string(), changed));
                assert!(twice.is_none(), "{place:?} was said twice, under two ids");
            }
            "workflow.task.completed" => {
                let ended: TaskCompleted = event.payload().unwrap();
                *tasks_ended.entry(ended.task_id.to_string()).or_default() += 1;
            }
            "workflow.story.completed" => {
                let ended: StoryCompleted = event.payload().unwrap();
                let story = ended.story_id.to_string();
                let (done, tasks) = (ended.tasks_done, tasks_of[&story].len());
                assert_eq!(usize::try_from(done).unwrap(), tasks, "{story}");
                *stories_ended.entry(story).or_default() += 1;
            }
            _ => {}
        }
    }
    assert_eq!(duplicates, 0, "the bus has events twice");
    for (place, hop) in hops {
        let (id, changed) = said
            .remove(place)
            .unwrap_or_else(|| panic!("{place:?} was not said"));
        assert_eq!(id, hop.event_id, "{place:?} was said under another id");
        assert_eq!(
            (&changed.from_state, &changed.to_state),
            (&hop.from_state, &hop.to_state)
        );
        assert_eq!(changed.action.as_str(), hop.action, "{place:?}");
    }
    assert!(
        said.is_empty(),
        "said, but never done: {:?}",
        said.keys().collect::<Vec<_>>()
    );
    for (story, tasks) in tasks_of {
        assert_eq!(
            stories_ended.remove(story),
            Some(1),
            "{story} is to end once"
        );
        for walked in tasks {
            assert_eq!(
                tasks_ended.remove(&walked.task),
                Some(1),
                "{} ends once",
                walked.task
            );
        }
    }
    assert!(
        stories_ended.is_empty() && tasks_ended.is_empty(),
        "{stories_ended:?} {tasks_ended:?}"
    );
}

/// The subjects that [`check_events`] looks at.
pub const CHECKED: &[&str] = &[
    "workflow.state.changed",
    "workflow.task.completed",
    "workflow.story.completed",
];

/// The steps of all stories, each compared with what was acknowledged.
pub async fn gather(doors: &Doors, tasks_of: &BTreeMap<String, Vec<Walked>>) -> Hops {
    let mut hops = Hops::new();
    for (story, tasks) in tasks_of {
        hops.extend(trail(doors, story).await);
        for walked in tasks {
            check_history(doors, walked, &hops).await;
        }
    }
    hops
}

/// The whole comparison. `quiet` waits until nobody has anything left to do. Gives how many
/// hops there were.
pub async fn judge(
    doors: &Doors,
    heard: &mut Heard,
    tasks_of: &BTreeMap<String, Vec<Walked>>,
    quiet: impl AsyncFn(),
) -> usize {
    let hops = gather(doors, tasks_of).await;
    let ids = hops.values().map(|hop| hop.event_id.clone()).collect();
    heard.until_said(&ids).await;
    // What is still to come, if anything comes twice, comes before this.
    quiet().await;
    heard.catch_up().await;
    check_events(&hops, tasks_of, heard.events.values());
    hops.len()
}

/// What it must notice.
#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use fleet_types::Timestamp;
    use serde_json::json;

    use super::*;

    fn event(id: &str, kind: &str, body: serde_json::Value) -> Event {
        Event {
            id: fleet_types::EventId::parse(id).unwrap(),
            kind: kind.to_owned(),
            source: "fleet-workflow".to_owned(),
            aggregate: String::new(),
            aggregate_version: 0,
            time: Timestamp::from_millis(0),
            correlation: String::new(),
            causation: String::new(),
            traceparent: String::new(),
            subject: kind.to_owned(),
            body,
        }
    }

    fn changed(id: &str, seq: i64) -> Event {
        let body = json!({
            "task_id": "T-1", "story_id": "s-1", "execution": 1, "from_state": "a",
            "to_state": "b", "action": "commit_code", "actor_role": "developer",
            "role_in_charge": null, "required_action": null, "feedback": null,
            "retry_count": 0, "seq": seq, "timestamp": "2026-01-01T00:00:00Z",
        });
        event(id, "workflow.state.changed", body)
    }

    fn is_fine(events: &[Event]) -> bool {
        let hop = |seq: i64| pb::AuditEntry {
            from_state: "a".to_owned(),
            to_state: "b".to_owned(),
            action: "commit_code".to_owned(),
            event_id: format!("ev-{seq}"),
            ..pb::AuditEntry::default()
        };
        let hops = (1..=2)
            .map(|seq| (("T-1".to_owned(), seq), hop(seq)))
            .collect();
        let walked = Walked {
            task: "T-1".to_owned(),
            deeds: Vec::new(),
            version: 2,
            acknowledged: 2,
        };
        let tasks_of = BTreeMap::from([("s-1".to_owned(), vec![walked])]);
        let judged = AssertUnwindSafe(|| check_events(&hops, &tasks_of, events.iter()));
        catch_unwind(judged).is_ok()
    }

    #[test]
    fn whatever_is_lost_doubled_or_made_up_is_noticed() {
        let time = "2026-01-01T00:00:00Z";
        let task = json!({
            "task_id": "T-1", "story_id": "s-1", "final_state": "done", "timestamp": time,
        });
        let story = json!({
            "story_id": "s-1", "execution": 1, "tasks_done": 1, "tasks_cancelled": 0,
            "timestamp": time,
        });
        let good = vec![
            changed("ev-1", 1),
            changed("ev-2", 2),
            event("ev-3", "workflow.task.completed", task.clone()),
            event("ev-4", "workflow.story.completed", story.clone()),
        ];
        assert!(is_fine(&good));
        for lost in 0..good.len() {
            let mut events = good.clone();
            events.remove(lost);
            assert!(!is_fine(&events), "{lost} is lost");
        }
        let more = [
            changed("ev-1", 1),
            changed("ev-9", 1),
            changed("ev-9", 3),
            event("ev-9", "workflow.task.completed", task),
            event("ev-9", "workflow.story.completed", story),
        ];
        for one in more {
            let mut events = good.clone();
            events.push(one.clone());
            assert!(!is_fine(&events), "{one:?} is too much");
        }
    }
}
