//! Properties of the whole domain over generated command sequences.

use std::collections::BTreeMap;

use fleet_types::{Role, StoryId, TaskId, Timestamp};
use proptest::prelude::*;

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn story_id() -> StoryId {
    StoryId::parse("s-1").unwrap()
}

fn task_id(n: u8) -> TaskId {
    TaskId::parse(&format!("T-{n}")).unwrap()
}

fn new_story(criteria: usize) -> NewStory {
    NewStory {
        title: "Export invoices".to_owned(),
        brief: "As an accountant I want to export invoices so that audits are quick".to_owned(),
        acceptance_criteria: (0..criteria)
            .map(|i| format!("line {i} is shown to me"))
            .collect(),
        constraints: vec!["depends on nothing".to_owned()],
        size: Some(Size::S),
        repository: String::new(),
        base_branch: String::new(),
        created_by: "ana".to_owned(),
    }
}

fn new_task() -> NewTask {
    NewTask {
        plan_id: None,
        title: "Write it".to_owned(),
        description: String::new(),
        kind: TaskType::Development,
        assigned_to: String::new(),
        estimated_hours: 0,
        priority: 1,
        role: Role::Developer,
        acceptance_criteria: Vec::new(),
    }
}

fn wish(to: StoryState) -> Move {
    let reason = if to == StoryState::Draft {
        "starts over"
    } else {
        ""
    };
    let (actor, override_reason) = ("ana".to_owned(), String::new());
    Move {
        to,
        actor,
        reason: reason.to_owned(),
        override_reason,
    }
}

/// Everything that can be done to a story.
#[derive(Debug, Clone)]
enum Command {
    Move {
        to: StoryState,
        reason: bool,
        overridden: bool,
    },
    Edit {
        criteria: usize,
    },
    Began {
        execution: i64,
    },
    Completed {
        execution: i64,
    },
    Plan,
    Task {
        depends_on: Vec<u8>,
    },
    EditTask {
        task: u8,
        priority: i32,
    },
    Depend {
        task: u8,
        on: u8,
    },
    Undepend {
        task: u8,
        on: u8,
    },
    Step {
        task: u8,
        execution: i64,
        seq: i64,
        done: bool,
    },
}

fn commands() -> impl Strategy<Value = Vec<(Command, i64)>> {
    use Command as C;
    let state = prop::sample::select(StoryState::ALL);
    let execution = 0i64..4;
    let command = prop_oneof![
        8 => (state, prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(to, reason, overridden)| C::Move { to, reason, overridden }),
        2 => (0usize..4).prop_map(|criteria| C::Edit { criteria }),
        2 => execution.clone().prop_map(|execution| C::Began { execution }),
        2 => execution.clone().prop_map(|execution| C::Completed { execution }),
        1 => Just(C::Plan),
        4 => prop::collection::vec(0u8..8, 0..3).prop_map(|depends_on| C::Task { depends_on }),
        1 => (0u8..8, 1i32..9).prop_map(|(task, priority)| C::EditTask { task, priority }),
        4 => (0u8..8, 0u8..8).prop_map(|(task, on)| C::Depend { task, on }),
        1 => (0u8..8, 0u8..8).prop_map(|(task, on)| C::Undepend { task, on }),
        1 => (0u8..8, execution, 1i64..6, any::<bool>())
            .prop_map(|(task, execution, seq, done)| C::Step { task, execution, seq, done }),
    ];
    // Walks straight to a release are rare by chance alone: half of the runs begin with one.
    let forward = [
        StoryState::PoReview,
        StoryState::ReadyForPlanning,
        StoryState::Planned,
        StoryState::ReadyForExecution,
    ];
    let prefix = prop::bool::ANY.prop_map(move |go| {
        let mut start = vec![];
        if go {
            start.push((C::Task { depends_on: vec![] }, 0));
            start.extend(forward.map(|to| {
                (
                    C::Move {
                        to,
                        reason: false,
                        overridden: true,
                    },
                    0,
                )
            }));
        }
        start
    });
    (
        prefix,
        prop::collection::vec((command, -50i64..1_000), 0..120),
    )
        .prop_map(|(start, rest)| start.into_iter().chain(rest).collect())
}

/// What a store would hold, with the checks it cannot make.
struct World {
    story: Story,
    version: i64,
    tasks: BTreeMap<TaskId, Task>,
    history: Vec<Hop>,
    now: i64,
}

impl World {
    fn new(criteria: usize) -> Self {
        let (story, hop) = Story::create(story_id(), None, new_story(criteria), at(1_000)).unwrap();
        Self {
            story,
            version: 1,
            tasks: BTreeMap::new(),
            history: vec![hop],
            now: 1_000,
        }
    }

    fn all(&self) -> Vec<Task> {
        self.tasks.values().cloned().collect()
    }

    /// Applies a command; gives whether it was refused.
    fn apply(&mut self, command: &Command) -> Result<(), Rejection> {
        let now = at(self.now);
        match command {
            Command::Move {
                to,
                reason,
                overridden,
            } => {
                let text = |given: &bool| {
                    if *given {
                        "because".to_owned()
                    } else {
                        String::new()
                    }
                };
                let wish = Move {
                    to: *to,
                    actor: "ana".to_owned(),
                    reason: text(reason),
                    override_reason: text(overridden),
                };
                let moved = self.story.transition(&wish, &self.all(), 80, now)?;
                self.moved(Some(moved));
            }
            Command::Edit { criteria } => {
                let new = new_story(*criteria).acceptance_criteria;
                let edit = StoryEdit {
                    acceptance_criteria: Some(new),
                    ..StoryEdit::default()
                };
                let (story, changed) = self.story.edit(edit, None, now)?;
                if changed.is_empty() {
                    assert_eq!(story, self.story, "nothing changed, nothing touched");
                } else {
                    self.put(story);
                }
            }
            Command::Began { execution } => self.moved(self.story.work_began(*execution, now)),
            Command::Completed { execution } => {
                self.moved(self.story.work_completed(*execution, now));
            }
            Command::Plan => {
                let (story, number) = self.story.approve_plan(now)?;
                assert_eq!(number, self.story.plans + 1);
                self.put(story);
            }
            Command::Task { depends_on } => {
                let id = task_id(u8::try_from(self.tasks.len()).unwrap());
                let on: std::collections::BTreeSet<_> =
                    depends_on.iter().map(|n| task_id(*n)).collect();
                let on: Vec<Task> = on
                    .iter()
                    .filter_map(|id| self.tasks.get(id).cloned())
                    .collect();
                let (story, task) = create_task(&self.story, id.clone(), new_task(), &on, now)?;
                self.tasks.insert(id, task);
                self.put(story);
            }
            Command::EditTask { task, priority } => {
                let Some(task) = self.tasks.get(&task_id(*task)) else {
                    return Ok(());
                };
                let edit = TaskEdit {
                    priority: Some(*priority),
                    ..TaskEdit::default()
                };
                let changed = edit_task(&self.story, task, edit, now)?;
                self.task_changed(changed);
            }
            Command::Depend { task, on } => {
                let (Some(task), Some(on)) = (
                    self.tasks.get(&task_id(*task)),
                    self.tasks.get(&task_id(*on)),
                ) else {
                    return Ok(());
                };
                let changed = add_dependency(&self.story, task, on, &self.all(), now)?;
                self.task_changed(changed);
            }
            Command::Undepend { task, on } => {
                let Some(task) = self.tasks.get(&task_id(*task)) else {
                    return Ok(());
                };
                let changed = remove_dependency(&self.story, task, &task_id(*on), now)?;
                self.task_changed(changed);
            }
            Command::Step {
                task,
                execution,
                seq,
                done,
            } => {
                let Some(task) = self.tasks.get(&task_id(*task)) else {
                    return Ok(());
                };
                let status = if *done {
                    TaskStatus::Completed
                } else {
                    TaskStatus::Todo
                };
                let step = RunStep {
                    execution: *execution,
                    seq: *seq,
                    status,
                };
                if let Some(task) = task.follow(step, now) {
                    self.tasks.insert(task.task_id.clone(), task);
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, story: Story) {
        self.story = story;
        self.version += 1;
    }

    fn moved(&mut self, moved: Option<Moved>) {
        if let Some(moved) = moved {
            assert!(!moved.hops.is_empty());
            self.history.extend(moved.hops);
            self.put(moved.story);
        }
    }

    fn task_changed(&mut self, changed: Option<(Story, Task)>) {
        if let Some((story, task)) = changed {
            self.tasks.insert(task.task_id.clone(), task);
            self.put(story);
        }
    }

    /// What must hold after every command.
    fn check(&self) {
        let story = &self.story;
        assert_eq!(story.history, i64::try_from(self.history.len()).unwrap());
        let mut before: Option<&Hop> = None;
        let mut releases = 0;
        for (i, hop) in self.history.iter().enumerate() {
            assert_eq!(hop.seq, i64::try_from(i + 1).unwrap());
            assert_eq!(hop.from, before.map(|b| b.to), "the history has no gap");
            if let Some(before) = before {
                assert!(
                    allowed(before.to).contains(&hop.to),
                    "{} -> {}",
                    before.to,
                    hop.to
                );
                assert!(hop.at >= before.at, "time never runs backwards");
                assert!(hop.to != StoryState::Draft || !hop.reason.is_empty());
            }
            releases += i64::from(hop.to == StoryState::ReadyForExecution);
            assert_eq!(hop.execution, releases);
            before = Some(hop);
        }
        assert_eq!(before.map(|hop| hop.to), Some(story.state));
        assert_eq!(story.execution, releases);
        assert_eq!(story.dor_score, story.readiness().score());
        assert!((0..=100).contains(&story.dor_score));
        assert!(story.created_at <= story.updated_at);
        assert_eq!(story.tasks, i64::try_from(self.tasks.len()).unwrap());
        let edges: usize = self.tasks.values().map(|task| task.depends_on.len()).sum();
        assert_eq!(story.dependencies, i64::try_from(edges).unwrap());
        let graph = self
            .tasks
            .values()
            .map(|t| (&t.task_id, t.depends_on.as_slice()))
            .collect();
        assert_eq!(find_cycle(&graph), None, "no cycle gets in");
        if frozen(story.state) && story.state != StoryState::Archived {
            assert!(
                story.tasks > 0 && story.execution > 0,
                "only a release leads here"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_reaches_an_illegal_state(
        criteria in 0usize..3,
        commands in commands(),
    ) {
        let mut world = World::new(criteria);
        for (command, elapsed) in commands {
            world.now += elapsed;
            let (story, version, tasks) = (world.story.clone(), world.version, world.tasks.clone());
            match world.apply(&command) {
                // One write of the story's node is one version, however many hops it holds.
                Ok(()) => prop_assert_eq!(world.version > version, world.story != story),
                Err(rejection) => {
                    prop_assert_eq!(&world.story, &story, "{}", rejection);
                    prop_assert_eq!(&world.tasks, &tasks);
                    prop_assert_eq!(world.version, version);
                }
            }
            prop_assert!(world.version - version <= 1);
            if frozen(story.state) && frozen(world.story.state) {
                let content = |tasks: &BTreeMap<TaskId, Task>| -> Vec<_> {
                    tasks.values().map(|t| (t.task_id.clone(), t.priority, t.depends_on.clone())).collect()
                };
                prop_assert_eq!(content(&world.tasks), content(&tasks), "frozen tasks changed");
            }
            world.check();
        }
    }

    #[test]
    fn the_news_of_a_run_commute(
        steps in prop::collection::vec((0i64..3, 1i64..6), 1..12).prop_shuffle(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let (_, task) = {
            let (story, _) = Story::create(story_id(), None, new_story(2), at(0)).unwrap();
            create_task(&story, task_id(0), new_task(), &[], at(0)).unwrap()
        };
        let status = |execution: i64, seq: i64| match (execution + seq) % 3 {
            0 => TaskStatus::Todo,
            1 => TaskStatus::Completed,
            _ => TaskStatus::Cancelled,
        };
        let follow = |news: &mut dyn Iterator<Item = (i64, i64)>| {
            let mut task = task.clone();
            for (execution, seq) in news {
                let step = RunStep { execution, seq, status: status(execution, seq) };
                task = task.follow(step, at(0)).unwrap_or(task);
            }
            task
        };
        let sorted = { let mut s = steps.clone(); s.sort_unstable(); s };
        let doubled: Vec<_> = order.iter().map(|i| *i.get(&steps)).chain(steps.iter().copied()).collect();
        prop_assert_eq!(follow(&mut sorted.into_iter()), follow(&mut doubled.into_iter()));
    }
}

fn released() -> World {
    let mut world = World::new(2);
    world.apply(&Command::Task { depends_on: vec![] }).unwrap();
    for to in [
        StoryState::PoReview,
        StoryState::ReadyForPlanning,
        StoryState::Planned,
        StoryState::ReadyForExecution,
    ] {
        world
            .apply(&Command::Move {
                to,
                reason: false,
                overridden: false,
            })
            .unwrap();
    }
    world
}

#[test]
fn the_table_is_the_documented_one() {
    use StoryState::*;
    let table = [
        (Draft, vec![PoReview]),
        (PoReview, vec![ReadyForPlanning, Draft]),
        (ReadyForPlanning, vec![Planned, Draft]),
        (Planned, vec![ReadyForExecution, Draft]),
        (ReadyForExecution, vec![InProgress, CarryOver, Draft]),
        (InProgress, vec![CodeReview, CarryOver, Draft]),
        (CodeReview, vec![Testing, InProgress, CarryOver, Draft]),
        (Testing, vec![ReadyToReview, InProgress, CarryOver, Draft]),
        (ReadyToReview, vec![Accepted, InProgress, CarryOver, Draft]),
        (Accepted, vec![Done, Draft]),
        (CarryOver, vec![ReadyForExecution, Archived, Draft]),
        (Done, vec![Archived, Draft]),
        (Archived, vec![]),
    ];
    assert_eq!(table.len(), StoryState::ALL.len());
    for (from, to) in table {
        assert_eq!(allowed(from), to, "{from}");
        assert!(!allowed(from).contains(&from), "no self-loop at {from}");
    }
}

#[test]
fn gates_say_what_is_missing() {
    let mut world = World::new(0);
    let go = |to| Command::Move {
        to,
        reason: false,
        overridden: false,
    };
    world.apply(&go(StoryState::PoReview)).unwrap();
    let refused = world
        .apply(&go(StoryState::ReadyForPlanning))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("scores 70 of 80") && refused.contains("acceptance_criteria (0/30)"),
        "{refused}"
    );
    world
        .apply(&Command::Move {
            to: StoryState::ReadyForPlanning,
            reason: false,
            overridden: true,
        })
        .unwrap();
    assert_eq!(world.history.last().unwrap().override_reason, "because");
    let refused = world.apply(&Command::Edit { criteria: 2 }).unwrap_err();
    assert!(
        matches!(refused, Rejection::NotEditable { .. }),
        "{refused}"
    );
    world.apply(&go(StoryState::Planned)).unwrap();
    let refused = world.apply(&go(StoryState::ReadyForExecution)).unwrap_err();
    assert_eq!(refused, Rejection::NoTasks { story: story_id() });
    let refused = world.apply(&go(StoryState::Done)).unwrap_err().to_string();
    assert_eq!(
        refused,
        "story s-1 is in PLANNED and cannot move to DONE; from PLANNED it can move to READY_FOR_EXECUTION, DRAFT"
    );
    let refused = world.apply(&go(StoryState::Draft)).unwrap_err();
    assert!(matches!(refused, Rejection::ReasonRequired { .. }));
    // An override where none is needed leaves no trace.
    let mut ready = World::new(2);
    ready.apply(&go(StoryState::PoReview)).unwrap();
    ready
        .apply(&Command::Move {
            to: StoryState::ReadyForPlanning,
            reason: false,
            overridden: true,
        })
        .unwrap();
    assert_eq!(ready.history.last().unwrap().override_reason, "");
}

#[test]
fn a_stored_cycle_stops_the_release_with_its_path() {
    let mut world = World::new(2);
    for depends_on in [vec![], vec![0], vec![1]] {
        world.apply(&Command::Task { depends_on }).unwrap();
    }
    let refused = world
        .apply(&Command::Depend { task: 0, on: 2 })
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "tasks of story s-1 wait for each other: T-0 -> T-2 -> T-1 -> T-0"
    );
    // As if somebody had written it past us.
    world
        .tasks
        .get_mut(&task_id(0))
        .unwrap()
        .depends_on
        .push(task_id(2));
    world.story.state = StoryState::Planned;
    let refused = world.story.transition(
        &wish(StoryState::ReadyForExecution),
        &world.all(),
        80,
        at(0),
    );
    assert!(matches!(refused, Err(Rejection::Cycle { cycle, .. }) if cycle.len() == 4));
}

#[test]
fn news_of_the_work_end_in_the_same_state_in_any_order() {
    for order in [["began", "completed"], ["completed", "began"]] {
        let mut world = released();
        for news in order.iter().chain(order.iter()) {
            let command = match *news {
                "began" => Command::Began { execution: 1 },
                _ => Command::Completed { execution: 1 },
            };
            world.apply(&command).unwrap();
        }
        assert_eq!(world.story.state, StoryState::ReadyToReview);
        let hops: Vec<_> = world
            .history
            .iter()
            .rev()
            .take(4)
            .map(|h| (h.actor.as_str(), h.to))
            .collect();
        assert_eq!(hops[0], (SYSTEM, StoryState::ReadyToReview));
        assert_eq!(hops[3], (SYSTEM, StoryState::InProgress));
        world.check();
    }
    let mut world = released();
    world
        .apply(&Command::Move {
            to: StoryState::CarryOver,
            reason: false,
            overridden: false,
        })
        .unwrap();
    world
        .apply(&Command::Move {
            to: StoryState::ReadyForExecution,
            reason: false,
            overridden: false,
        })
        .unwrap();
    assert_eq!(world.story.execution, 2);
    world.apply(&Command::Completed { execution: 1 }).unwrap();
    world.apply(&Command::Began { execution: 1 }).unwrap();
    assert_eq!(
        world.story.state,
        StoryState::ReadyForExecution,
        "the first execution is over"
    );
}

#[test]
fn the_first_verdict_stands() {
    let review = |verdict| DecisionReview {
        story_id: story_id(),
        decision_id: fleet_types::DecisionId::parse("DEC-1").unwrap(),
        verdict,
        by: "ana".to_owned(),
        words: String::new(),
        at: at(5),
    };
    let first = review(Verdict::Approved);
    assert_eq!(judge(None, first.clone()), Ok(Judged::New(first.clone())));
    let again = DecisionReview {
        by: "bob".to_owned(),
        at: at(9),
        ..first.clone()
    };
    assert_eq!(
        judge(Some(first.clone()), again),
        Ok(Judged::Same(first.clone()))
    );
    let refused = judge(Some(first), review(Verdict::Rejected))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("was approved by ana at 1970-01-01T00:00:00.005Z"),
        "{refused}"
    );
}

#[test]
fn stories_do_not_grow_without_bound() {
    let (mut story, _) = Story::create(story_id(), None, new_story(2), at(0)).unwrap();
    story.tasks = MAX_TASKS;
    let refused = create_task(&story, task_id(0), new_task(), &[], at(0)).unwrap_err();
    assert!(
        refused.to_string().contains("501 tasks; at most 500"),
        "{refused}"
    );
}

#[test]
fn closed_parents_take_no_children() {
    let id = fleet_types::ProjectId::parse("PROJ-1").unwrap();
    let mut project = Project::create(id, "Shop".into(), String::new(), String::new(), at(0));
    let epic = |project: &Project| {
        let id = fleet_types::EpicId::parse("E-1").unwrap();
        Epic::create(id, project, "Invoices".into(), String::new(), at(0))
    };
    let mut open = epic(&project).unwrap();
    project.status = Lifecycle::Archived;
    assert!(matches!(
        epic(&project),
        Err(Rejection::ProjectClosed { .. })
    ));
    open.status = Lifecycle::Cancelled;
    let refused = Story::create(story_id(), Some(&open), new_story(2), at(0)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "epic E-1 is cancelled: nothing new goes under it"
    );
}

/// The domain is pure: what it imports proves it.
#[test]
fn the_domain_imports_nothing_but_pure_crates() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if path.ends_with("tests.rs") {
            continue;
        }
        seen += 1;
        for line in text.lines().map(str::trim_start) {
            let import = line
                .strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("use ");
            let Some(import) = import else {
                for banned in [
                    "tokio",
                    "std::env",
                    "std::fs",
                    "std::net",
                    "std::time",
                    "uuid::",
                    "fleet_graph",
                    "fleet_events",
                    "fleet_service",
                    "tonic",
                    "fleet_proto",
                ] {
                    let code = line.split("//").next().unwrap_or_default();
                    assert!(!code.contains(banned), "{}: {line}", path.display());
                }
                continue;
            };
            let root = import
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            let own = ["super", "self", "crate", "StoryState"].contains(&root)
                || root.starts_with(|c: char| c.is_lowercase())
                    && text.contains(&format!("mod {root};"));
            let pure = ["std", "fleet_types", "serde", "thiserror"].contains(&root);
            assert!(own || pure, "{}: {line}", path.display());
            let io = [
                "std::fs",
                "std::net",
                "std::env",
                "std::time",
                "std::thread",
                "std::process",
                "crate::",
            ];
            assert!(
                !io.iter().any(|bad| import.starts_with(bad)),
                "{}: {line}",
                path.display()
            );
        }
    }
    assert!(seen >= 9, "found the sources");
}
