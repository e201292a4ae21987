//! A story and every way in which it changes.

use fleet_types::{EpicId, StoryId, Timestamp};
use serde::{Deserialize, Serialize};

use super::machine::{admits_edits, allowed, frozen};
use super::readiness::{Readiness, Subject, assess};
use super::task::{Task, dependency_cycle};
use super::{Epic, Rejection, Size, StoryState};

/// Who moves a story when it follows the work on its tasks. Never accepted from a caller.
pub const SYSTEM: &str = "system";

/// What a person wants and how one sees that it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Story {
    /// Its id.
    pub story_id: StoryId,
    /// Its epic, unless it has none on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epic_id: Option<EpicId>,
    /// Its title, never blank.
    pub title: String,
    /// Who wants what, and why; never blank.
    pub brief: String,
    /// Where it is.
    pub state: StoryState,
    /// How one sees that it is done.
    #[serde(default)]
    pub acceptance_criteria: Vec<String>,
    /// What the solution has to respect.
    #[serde(default)]
    pub constraints: Vec<String>,
    /// The estimate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Where the work goes; empty if not known.
    pub repository: String,
    /// Where it starts; empty if not known.
    pub base_branch: String,
    /// Score of the Definition of Ready, computed from the content.
    pub dor_score: i32,
    /// Who created it.
    pub created_by: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Which release to execution is the current one; 0 before the first.
    pub execution: i64,
    /// How long its history is; the creation is entry 1.
    pub history: i64,
    /// How many plans of it were approved.
    pub plans: i64,
    /// Counts the changes of its tasks, so that the version of the story covers them.
    pub tasks_rev: i64,
    /// How many tasks it has.
    pub tasks: i64,
    /// How many dependencies its tasks have.
    pub dependencies: i64,
    /// The version that the last event about it announced; kept by whoever writes it.
    #[serde(default)]
    pub said: i64,
}

/// The content of a new story; texts are trimmed and title, brief and creator not blank
/// (checked at the edge).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStory {
    /// Title.
    pub title: String,
    /// Who wants what, and why.
    pub brief: String,
    /// How one sees that it is done.
    pub acceptance_criteria: Vec<String>,
    /// What the solution has to respect.
    pub constraints: Vec<String>,
    /// The estimate.
    pub size: Option<Size>,
    /// Where the work goes.
    pub repository: String,
    /// Where it starts.
    pub base_branch: String,
    /// Who creates it.
    pub created_by: String,
}

/// One entry of a story's history, and what planning.story.transitioned tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// 1, 2, … without gaps.
    pub seq: i64,
    /// Where the story was; `None` for its creation.
    pub from: Option<StoryState>,
    /// Where it is.
    pub to: StoryState,
    /// Who moved it.
    pub actor: String,
    /// Why; may be empty.
    pub reason: String,
    /// Why the Definition of Ready was set aside; empty if it was not.
    pub override_reason: String,
    /// The execution that is current after the hop.
    pub execution: i64,
    /// When.
    pub at: Timestamp,
}

/// A wish to move a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// Where to.
    pub to: StoryState,
    /// Who wants it.
    pub actor: String,
    /// Why; required for a reset to DRAFT.
    pub reason: String,
    /// Why the product owner sets the Definition of Ready aside; empty if he does not. Counts
    /// on PO_REVIEW → READY_FOR_PLANNING only.
    pub override_reason: String,
}

/// A story that moved, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// As it is now.
    pub story: Story,
    /// Every hop, in order; at least one.
    pub hops: Vec<Hop>,
}

/// Changes of a story's content; `None` leaves it as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoryEdit {
    /// New title, not blank.
    pub title: Option<String>,
    /// New brief, not blank.
    pub brief: Option<String>,
    /// New estimate; `Some(None)` takes it back.
    pub size: Option<Option<Size>>,
    /// New repository.
    pub repository: Option<String>,
    /// New base branch.
    pub base_branch: Option<String>,
    /// All acceptance criteria from now on.
    pub acceptance_criteria: Option<Vec<String>>,
    /// All constraints from now on.
    pub constraints: Option<Vec<String>>,
}

impl Story {
    /// A new story in DRAFT with the first entry of its history.
    pub fn create(
        story_id: StoryId,
        epic: Option<&Epic>,
        new: NewStory,
        now: Timestamp,
    ) -> Result<(Self, Hop), Rejection> {
        epic.map_or(Ok(()), Epic::admits_children)?;
        let hop = Hop {
            seq: 1,
            from: None,
            to: StoryState::Draft,
            actor: new.created_by.clone(),
            reason: String::new(),
            override_reason: String::new(),
            execution: 0,
            at: now,
        };
        let story = Self {
            story_id,
            epic_id: epic.map(|e| e.epic_id.clone()),
            title: new.title,
            brief: new.brief,
            state: StoryState::Draft,
            acceptance_criteria: new.acceptance_criteria,
            constraints: new.constraints,
            size: new.size,
            repository: new.repository,
            base_branch: new.base_branch,
            dor_score: 0,
            created_by: new.created_by,
            created_at: now,
            updated_at: now,
            execution: 0,
            history: 1,
            plans: 0,
            tasks_rev: 0,
            tasks: 0,
            dependencies: 0,
            said: 0,
        };
        Ok((story.scored(), hop))
    }

    /// The Definition of Ready of its content.
    pub fn readiness(&self) -> Readiness {
        assess(Subject {
            title: &self.title,
            brief: &self.brief,
            acceptance_criteria: &self.acceptance_criteria,
            constraints: &self.constraints,
            size: self.size,
            repository: &self.repository,
            base_branch: &self.base_branch,
        })
    }

    /// Moves it. `tasks` are all of its tasks; they are looked at only on the way to
    /// READY_FOR_EXECUTION and may be left out otherwise.
    pub fn transition(
        &self,
        wish: &Move,
        tasks: &[Task],
        dor_threshold: i32,
        now: Timestamp,
    ) -> Result<Moved, Rejection> {
        let allowed = allowed(self.state);
        if !allowed.contains(&wish.to) {
            let (story, from) = (self.story_id.clone(), self.state);
            return Err(Rejection::IllegalMove {
                story,
                from,
                to: wish.to,
                allowed,
            });
        }
        let mut moved = Moved {
            story: self.clone(),
            hops: Vec::new(),
        };
        let mut override_reason = "";
        match (self.state, wish.to) {
            (_, StoryState::Draft) if wish.reason.is_empty() => {
                return Err(Rejection::ReasonRequired {
                    story: self.story_id.clone(),
                });
            }
            (StoryState::PoReview, StoryState::ReadyForPlanning) => {
                let readiness = self.readiness();
                if readiness.score() < dor_threshold {
                    override_reason = &wish.override_reason;
                    if override_reason.is_empty() {
                        let (story, threshold) = (self.story_id.clone(), dor_threshold);
                        return Err(Rejection::NotReady {
                            story,
                            threshold,
                            readiness,
                        });
                    }
                }
            }
            (_, StoryState::ReadyForExecution) => {
                self.releasable(tasks)?;
                moved.story.execution += 1;
            }
            _ => {}
        }
        moved.hop(wish.to, &wish.actor, &wish.reason, override_reason, now);
        Ok(moved)
    }

    fn releasable(&self, tasks: &[Task]) -> Result<(), Rejection> {
        if tasks.is_empty() {
            return Err(Rejection::NoTasks {
                story: self.story_id.clone(),
            });
        }
        match dependency_cycle(tasks) {
            Some(cycle) => Err(Rejection::Cycle {
                story: self.story_id.clone(),
                cycle,
            }),
            None => Ok(()),
        }
    }

    /// Somebody began to work on a task of `execution`. `None`: nothing to do about it.
    pub fn work_began(&self, execution: i64, now: Timestamp) -> Option<Moved> {
        let waiting = self.state == StoryState::ReadyForExecution;
        (waiting && execution == self.execution).then(|| self.walk(&[StoryState::InProgress], now))
    }

    /// Every task of `execution` is over. The story walks on to READY_TO_REVIEW from wherever
    /// its execution is, also when this news overtook that of the first claim. `None`: nothing
    /// to do about it (an older execution, or the story is elsewhere by now).
    pub fn work_completed(&self, execution: i64, now: Timestamp) -> Option<Moved> {
        use StoryState::{CodeReview, InProgress, ReadyForExecution, ReadyToReview, Testing};
        const WAY: [StoryState; 4] = [InProgress, CodeReview, Testing, ReadyToReview];
        let rest = match self.state {
            ReadyForExecution => &WAY[..],
            InProgress => &WAY[1..],
            CodeReview => &WAY[2..],
            Testing => &WAY[3..],
            _ => return None,
        };
        (execution == self.execution).then(|| self.walk(rest, now))
    }

    fn walk(&self, way: &[StoryState], now: Timestamp) -> Moved {
        let mut moved = Moved {
            story: self.clone(),
            hops: Vec::new(),
        };
        for to in way {
            moved.hop(*to, SYSTEM, "", "", now);
        }
        moved
    }

    /// Changes its content; gives the proto names of what changed, maybe none. The epic it
    /// goes under is not content and may change in every state but ARCHIVED.
    pub fn edit(
        &self,
        edit: StoryEdit,
        epic: Option<&Epic>,
        now: Timestamp,
    ) -> Result<(Self, Vec<&'static str>), Rejection> {
        let mut story = self.clone();
        let mut changed = Vec::new();
        set(&mut story.title, edit.title, "title", &mut changed);
        set(&mut story.brief, edit.brief, "brief", &mut changed);
        set(&mut story.size, edit.size, "size", &mut changed);
        set(
            &mut story.repository,
            edit.repository,
            "repository",
            &mut changed,
        );
        set(
            &mut story.base_branch,
            edit.base_branch,
            "base_branch",
            &mut changed,
        );
        let criteria = edit.acceptance_criteria;
        set(
            &mut story.acceptance_criteria,
            criteria,
            "acceptance_criteria",
            &mut changed,
        );
        set(
            &mut story.constraints,
            edit.constraints,
            "constraints",
            &mut changed,
        );
        if !changed.is_empty() && !admits_edits(self.state) {
            let (story, state) = (self.story_id.clone(), self.state);
            return Err(Rejection::NotEditable { story, state });
        }
        if let Some(epic) = epic
            && self.epic_id.as_ref() != Some(&epic.epic_id)
        {
            self.not_archived()?;
            epic.admits_children()?;
            story.epic_id = Some(epic.epic_id.clone());
            changed.push("epic_id");
        }
        if !changed.is_empty() {
            story.touch(now);
        }
        Ok((story.scored(), changed))
    }

    /// Counts one more approved plan; gives its number.
    pub fn approve_plan(&self, now: Timestamp) -> Result<(Self, i64), Rejection> {
        self.not_archived()?;
        let mut story = self.clone();
        story.plans += 1;
        story.touch(now);
        let number = story.plans;
        Ok((story, number))
    }

    /// Takes note of a change of its tasks: so many tasks and dependencies more (or fewer).
    /// Refused while they are frozen.
    pub fn tasks_changed(
        &self,
        tasks: i64,
        dependencies: i64,
        now: Timestamp,
    ) -> Result<Self, Rejection> {
        self.tasks_may_change()?;
        let mut story = self.clone();
        story.tasks += tasks;
        story.dependencies += dependencies;
        story.tasks_rev += 1;
        story.touch(now);
        Ok(story)
    }

    /// Refuses while tasks and dependencies are frozen.
    pub fn tasks_may_change(&self) -> Result<(), Rejection> {
        if frozen(self.state) {
            let (story, state) = (self.story_id.clone(), self.state);
            return Err(Rejection::Frozen { story, state });
        }
        Ok(())
    }

    fn not_archived(&self) -> Result<(), Rejection> {
        if self.state == StoryState::Archived {
            return Err(Rejection::Archived {
                story: self.story_id.clone(),
            });
        }
        Ok(())
    }

    fn scored(mut self) -> Self {
        self.dor_score = self.readiness().score();
        self
    }

    /// Clocks of replicas differ a little: what was written later never looks older.
    fn touch(&mut self, now: Timestamp) {
        self.updated_at = self.updated_at.max(now);
    }
}

impl Moved {
    fn hop(
        &mut self,
        to: StoryState,
        actor: &str,
        reason: &str,
        override_reason: &str,
        now: Timestamp,
    ) {
        self.story.touch(now);
        self.story.history += 1;
        self.hops.push(Hop {
            seq: self.story.history,
            from: Some(self.story.state),
            to,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            override_reason: override_reason.to_owned(),
            execution: self.story.execution,
            at: self.story.updated_at,
        });
        self.story.state = to;
    }
}

/// Sets `place` if a new value was given and differs; notes the field's name then.
pub(super) fn set<T: PartialEq>(
    place: &mut T,
    new: Option<T>,
    name: &'static str,
    changed: &mut Vec<&'static str>,
) {
    if let Some(new) = new
        && *place != new
    {
        *place = new;
        changed.push(name);
    }
}
