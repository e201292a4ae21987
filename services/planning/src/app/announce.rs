//! Writing a changed story, with its history and what is said about it.
//!
//! Events about one story carry strictly increasing aggregate versions, also when one commit
//! says several things (one event per hop): each is the node's version, or one more than the
//! last, whichever is greater. A consumer that applies only what is newer misses nothing.

use fleet_events::payload::{Payload, ReleasedTask, StoryTransitioned, StoryUpdated};
use fleet_graph::{Commit, EdgeType, OutboxEvent, Versioned, props};
use fleet_topology::streams::PLANNING_EVENTS;
use fleet_types::{EventId, Role, StoryId, Timestamp};

use super::Scene;
use super::rows::{self, TransitionRow};
use crate::domain::{Hop, Moved, Rejection, Story, StoryState, Task};

/// How much of a task's title an event carries, in characters.
const TITLE_IN_EVENT: usize = 120;
/// What the titles of all tasks may take together, in bytes; each gets the same share. They
/// are there for people only.
const TITLES_IN_EVENT: usize = 64 * 1024;
/// What names and headers of an event, and whatever is added later, may take beside its body.
const BESIDE_THE_BODY: usize = 16 * 1024;

/// A story about to be written.
pub struct StoryWrite<'a> {
    scene: &'a Scene,
    story: Story,
    expected: i64,
}

impl<'a> StoryWrite<'a> {
    /// `story` will replace what is at version `expected`; 0 = will be created.
    pub fn new(scene: &'a Scene, story: Story, expected: i64) -> Self {
        Self {
            scene,
            story,
            expected,
        }
    }

    /// Adds an event about the story; gives its id.
    pub fn say<P: Payload>(&mut self, commit: &mut Commit, payload: &P) -> EventId {
        self.story.said = (self.story.said + 1).max(self.expected + 1);
        let event = self
            .scene
            .event(self.story.story_id.as_str(), self.story.said, payload);
        let id = event.id.clone();
        commit.event(event);
        id
    }

    /// Says that content changed, `fields` by their proto names.
    pub fn say_updated(&mut self, commit: &mut Commit, fields: &[&str], by: &str) {
        let payload = StoryUpdated {
            story_id: self.story.story_id.clone(),
            version: self.expected + 1,
            changed: fields.iter().map(|field| (*field).to_owned()).collect(),
            updated_by: by.to_owned(),
            timestamp: self.scene.now,
        };
        self.say(commit, &payload);
    }

    /// Adds an entry to the story's history.
    pub fn record(&self, commit: &mut Commit, hop: Hop, event_id: EventId) {
        let story_id = self.story.story_id.clone();
        let key = rows::transition(&story_id, hop.seq);
        let ord = rows::ord_seq(hop.seq);
        let row = TransitionRow::new(story_id, hop, event_id);
        commit.create(key.clone(), ord, props(&row));
        commit.relate(
            rows::story(&self.story.story_id),
            EdgeType::HasTransition,
            key,
        );
    }

    /// Adds the story itself; gives it with its version from now on.
    pub fn write(self, commit: &mut Commit) -> Versioned<Story> {
        let key = rows::story(&self.story.story_id);
        let ord = rows::ord(self.story.created_at, &self.story.story_id);
        let row = props(&self.story);
        if self.expected == 0 {
            commit.create(key, ord, row);
        } else {
            commit.update(key, self.expected, ord, row);
        }
        Versioned {
            value: self.story,
            version: self.expected + 1,
        }
    }
}

/// Adds a move to a commit: the story, one history entry and one event per hop. `tasks` are
/// the story's; they go with the hop to READY_FOR_EXECUTION and may be left out otherwise.
pub fn write_hops(
    scene: &Scene,
    commit: &mut Commit,
    expected: i64,
    moved: Moved,
    tasks: &[Task],
) -> Versioned<Story> {
    let mut write = StoryWrite::new(scene, moved.story, expected);
    for hop in moved.hops {
        let released = hop.to == StoryState::ReadyForExecution;
        let payload = StoryTransitioned {
            story_id: write.story.story_id.clone(),
            from_state: hop.from.map_or("", StoryState::as_str).to_owned(),
            to_state: hop.to.as_str().to_owned(),
            transitioned_by: hop.actor.clone(),
            reason: hop.reason.clone(),
            execution: hop.execution,
            tasks: if released {
                released_tasks(tasks)
            } else {
                Vec::new()
            },
            timestamp: hop.at,
        };
        let event_id = write.say(commit, &payload);
        write.record(commit, hop, event_id);
    }
    write.write(commit)
}

/// Refuses a move that would say more than the bus takes in one message: it would be stored,
/// and nobody would ever hear of it.
pub fn check_size(story: &StoryId, events: &[OutboxEvent]) -> Result<(), Rejection> {
    let limit = PLANNING_EVENTS.max_message_bytes;
    let limit = usize::try_from(limit).map_or(usize::MAX, |limit| limit - BESIDE_THE_BODY);
    let bytes = events.iter().map(|event| event.payload.len()).max();
    match bytes {
        Some(bytes) if bytes > limit => Err(Rejection::TooMany {
            story: story.clone(),
            what: "bytes in its release",
            wanted: i64::try_from(bytes).unwrap_or(i64::MAX),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        }),
        _ => Ok(()),
    }
}

/// Most urgent first, then oldest.
fn released_tasks(tasks: &[Task]) -> Vec<ReleasedTask> {
    let mut tasks: Vec<&Task> = tasks.iter().collect();
    let key = |task: &Task| -> (i32, Timestamp) { (task.priority, task.created_at) };
    tasks.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.task_id.cmp(&b.task_id)));
    let share = TITLES_IN_EVENT / tasks.len().max(1);
    tasks
        .into_iter()
        .map(|task| ReleasedTask {
            task_id: task.task_id.clone(),
            priority: task.priority,
            role: (task.role != Role::Developer).then_some(task.role),
            depends_on: task.depends_on.clone(),
            title: shortened(&task.title, share),
        })
        .collect()
}

/// The beginning of a title, of at most so many bytes in JSON.
fn shortened(title: &str, bytes: usize) -> String {
    let mut left = bytes;
    title
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(TITLE_IN_EVENT)
        .take_while(|c| {
            let escaped = usize::from(matches!(c, '"' | '\\'));
            let needed = c.len_utf8() + escaped;
            let fits = needed <= left;
            left = left.saturating_sub(needed);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use fleet_types::TaskId;

    use super::*;
    use crate::domain::{MAX_DEPENDENCIES, MAX_TASKS, TaskStatus, TaskType};

    /// The bus refuses what is larger, and then the story would never be released.
    #[test]
    fn the_largest_release_fits_into_one_message() {
        let tasks = usize::try_from(MAX_TASKS).unwrap();
        let each = usize::try_from(MAX_DEPENDENCIES).unwrap() / tasks;
        let id = |n: usize| TaskId::parse(&format!("T-{n:0>100}")).unwrap();
        let story_id = StoryId::parse(&format!("s-{:0>100}", 1)).unwrap();
        let now = Timestamp::from_millis(0);
        let tasks: Vec<Task> = (0..tasks)
            .map(|n| Task {
                task_id: id(n),
                story_id: story_id.clone(),
                plan_id: None,
                title: "\u{1f980}".repeat(1_000),
                description: String::new(),
                kind: TaskType::Development,
                status: TaskStatus::Todo,
                assigned_to: String::new(),
                estimated_hours: 0,
                priority: i32::MAX,
                role: Role::Architect,
                acceptance_criteria: Vec::new(),
                depends_on: (0..each).map(id).collect(),
                created_at: now,
                updated_at: now,
                run_execution: 0,
                run_seq: 0,
            })
            .collect();
        let payload = StoryTransitioned {
            story_id,
            from_state: StoryState::Planned.as_str().to_owned(),
            to_state: StoryState::ReadyForExecution.as_str().to_owned(),
            transitioned_by: "x".repeat(1_000),
            reason: "\"".repeat(64 * 1024),
            execution: i64::MAX,
            tasks: released_tasks(&tasks),
            timestamp: now,
        };
        let size = props(&payload)
            .values()
            .map(|value| value.to_string().len())
            .sum::<usize>();
        let limit = fleet_topology::streams::PLANNING_EVENTS.max_message_bytes;
        // Names, headers and whatever is added later have room, too.
        assert!(
            size + 16 * 1024 < usize::try_from(limit).unwrap(),
            "{size} of {limit}"
        );
    }

    #[test]
    fn titles_are_shortened_to_their_share() {
        assert_eq!(shortened("Export\tall", 100), "Export all");
        assert_eq!(
            shortened("\u{1f980}\u{1f980}", 7),
            "\u{1f980}",
            "no half characters"
        );
        assert_eq!(shortened("\"a\"", 4), "\"a", "as long as in JSON");
        assert_eq!(shortened(&"x".repeat(1_000), 1_000).len(), TITLE_IN_EVENT);
    }

    #[test]
    fn a_release_that_no_message_can_hold_is_refused() {
        let story = StoryId::parse("s-1").unwrap();
        let body = |bytes| OutboxEvent {
            id: EventId::parse("ev-1").unwrap(),
            subject: "planning.story.transitioned".into(),
            source: String::new(),
            aggregate: "s-1".into(),
            aggregate_version: 1,
            time: Timestamp::from_millis(0),
            payload: "x".repeat(bytes),
            correlation: String::new(),
            causation: String::new(),
            traceparent: String::new(),
        };
        check_size(&story, &[]).unwrap();
        check_size(&story, &[body(1_000_000)]).unwrap();
        let too_much = [body(1_000), body(1_040_000)];
        let refused = check_size(&story, &too_much).unwrap_err().to_string();
        assert!(
            refused.contains("1040000 bytes in its release; at most 1032192: split the story"),
            "{refused}"
        );
    }
}
