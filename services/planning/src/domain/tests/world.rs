//! A story with its tasks as a store would hold them.

use std::collections::BTreeMap;

use super::*;

/// Everything that can be done to a story.
#[derive(Debug, Clone)]
pub enum Command {
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

/// What a store would hold, with the checks it cannot make.
pub struct World {
    pub story: Story,
    pub version: i64,
    pub tasks: BTreeMap<TaskId, Task>,
    pub history: Vec<Hop>,
    pub now: i64,
}

impl World {
    pub fn new(criteria: usize) -> Self {
        let (story, hop) = Story::create(story_id(), None, new_story(criteria), at(1_000)).unwrap();
        Self {
            story,
            version: 1,
            tasks: BTreeMap::new(),
            history: vec![hop],
            now: 1_000,
        }
    }

    pub fn all(&self) -> Vec<Task> {
        self.tasks.values().cloned().collect()
    }

    /// Applies a command; gives whether it was refused.
    pub fn apply(&mut self, command: &Command) -> Result<(), Rejection> {
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

    pub fn put(&mut self, story: Story) {
        self.story = story;
        self.version += 1;
    }

    pub fn moved(&mut self, moved: Option<Moved>) {
        if let Some(moved) = moved {
            assert!(!moved.hops.is_empty());
            self.history.extend(moved.hops);
            self.put(moved.story);
        }
    }

    pub fn task_changed(&mut self, changed: Option<(Story, Task)>) {
        if let Some((story, task)) = changed {
            self.tasks.insert(task.task_id.clone(), task);
            self.put(story);
        }
    }

    /// What must hold after every command.
    pub fn check(&self) {
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
