//! CARRY_OVER and DRAFT: what is unfinished of an execution rests, or is cancelled.

use fleet_events::HandleError;
use fleet_events::payload::StoryTransitioned;
use fleet_graph::{Index, MAX_PAGE, Scan};

use super::{CHUNK, MAX_ATTEMPTS, PlanningEvents, settle};
use crate::consumers::failed;
use crate::domain::{Command, Phase, StoryRun, decide};
use crate::engine::{Cause, ChangeError, Plan, Stored};

impl PlanningEvents {
    pub(super) async fn ended(
        &self,
        moved: &StoryTransitioned,
        end: Phase,
        cause: &Cause,
    ) -> Result<(), HandleError> {
        // First the execution itself, so that a release which is under way, or comes later,
        // leaves nothing running.
        settle!(self.0, cause, self.end_story(moved, end, cause))?;
        settle!(self.0, cause, self.end_tasks(moved, end, cause))?;
        // All is done; from now on the event is known.
        settle!(
            self.0,
            cause,
            self.send(Plan::new(&self.0, cause, self.0.clock.now()), cause)
        )
    }

    async fn end_story(
        &self,
        moved: &StoryTransitioned,
        end: Phase,
        cause: &Cause,
    ) -> Result<(), ChangeError> {
        let now = self.0.clock.now();
        let before = self
            .story(&moved.story_id, moved.execution, cause.deadline)
            .await?;
        if before
            .as_ref()
            .is_some_and(|before| before.run.phase >= end)
        {
            return Ok(());
        }
        let fresh = StoryRun::new(moved.story_id.clone(), moved.execution, end, now);
        let mut story = before.as_ref().map_or(fresh, |before| before.run.clone());
        story.phase = end;
        let mut plan = Plan::new(&self.0, cause, now);
        plan.commit.answers = None;
        plan.story(before.as_ref(), &story);
        self.send(plan, cause).await
    }

    async fn end_tasks(
        &self,
        moved: &StoryTransitioned,
        end: Phase,
        cause: &Cause,
    ) -> Result<(), ChangeError> {
        let command = match end {
            Phase::Abandoned => Command::Cancel {
                reason: moved.reason.clone(),
            },
            Phase::Suspended | Phase::Active | Phase::Releasing => Command::Suspend,
        };
        let filter = vec![moved.story_id.as_str().into()];
        let mut scan = Scan::new(Index::TaskRunsByStory, filter, MAX_PAGE);
        let mut stored = Vec::new();
        loop {
            let page = self.0.committer.store().scan(&scan, cause.deadline).await?;
            for node in &page.nodes {
                stored.push(self.0.stored(node)?);
            }
            match page.nodes.last() {
                Some(last) if page.more => scan.after = Some(last.ord.clone()),
                _ => break,
            }
        }
        stored.retain(|stored| stored.run.execution == moved.execution);
        for chunk in stored.chunks(CHUNK) {
            self.end_chunk(moved, chunk, &command, cause).await?;
        }
        Ok(())
    }

    async fn end_chunk(
        &self,
        moved: &StoryTransitioned,
        chunk: &[Stored],
        command: &Command,
        cause: &Cause,
    ) -> Result<(), ChangeError> {
        let engine = &self.0;
        let now = engine.clock.now();
        let mut plan = Plan::new(engine, cause, now);
        plan.commit.answers = None;
        let mut changes = Vec::new();
        for before in chunk {
            let decided = decide(&engine.machine, &before.run, command, now);
            let decided = decided.expect("the fleet's own commands are never refused");
            if let Some(change) = decided {
                plan.change(before, &change);
                changes.push(change);
            }
        }
        let cancelled = changes
            .iter()
            .filter(|change| change.run.is_over(&engine.machine))
            .count();
        if cancelled > 0 {
            let before = self
                .story(&moved.story_id, moved.execution, cause.deadline)
                .await?;
            if let Some(before) = before {
                let mut story = before.run.clone();
                story.cancelled += i64::try_from(cancelled).unwrap_or(i64::MAX);
                plan.story(Some(&before), &story);
            }
        }
        self.send(plan, cause).await?;
        for change in &changes {
            engine.metrics.count(&engine.machine, change);
        }
        Ok(())
    }
}
