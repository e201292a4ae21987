//! What planning says of stories, their plans and decisions.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::{
    DecisionApproved, DecisionRejected, EpicCreated, Payload as _, PlanApproved, ProjectCreated,
    StoryCreated, StoryTransitioned, StoryUpdated, TaskCreated,
};
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::Deadline;

use super::{heard, write};
use crate::app::{App, Heard, Milestone, News};
use crate::record::DecisionStatus;

const CONSUMER: &str = fleet_topology::consumers::CONTEXT_PLANNING_EVENTS.name;

/// Handler of the consumer `context-planning-events`.
pub struct PlanningEvents(pub Arc<App>);

#[async_trait]
impl Handler for PlanningEvents {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let Some(news) = news(event)? else {
            self.0.metrics.passed_over("no_story");
            return Ok(());
        };
        write(&self.0, CONSUMER, &news, event, deadline).await
    }
}

/// `None`: about no story.
fn news(event: &Event) -> Result<Option<Heard>, HandleError> {
    let happened = |event_type, description: String, actor: &str| {
        News::Happened(Milestone {
            event_type,
            description,
            actor: actor.to_owned(),
            ..Milestone::default()
        })
    };
    let heard = |story, at, news| Ok(Some(heard(event, story, at, news)));
    match event.kind.as_str() {
        ProjectCreated::SUBJECT | EpicCreated::SUBJECT => Ok(None),
        StoryCreated::SUBJECT => {
            let said: StoryCreated = event.parsed()?;
            let words = format!("Story created by {}", said.created_by);
            let milestone = happened("story_created", words, &said.created_by);
            heard(
                said.story_id,
                said.timestamp,
                vec![News::Created, milestone],
            )
        }
        StoryUpdated::SUBJECT => {
            let said: StoryUpdated = event.parsed()?;
            let what = News::Touched(format!("story:{}", said.story_id));
            heard(said.story_id, said.timestamp, vec![what])
        }
        StoryTransitioned::SUBJECT => {
            let said: StoryTransitioned = event.parsed()?;
            let from = match said.from_state.as_str() {
                "" => String::new(),
                from => format!(" from {from}"),
            };
            let words = format!("Story moved{from} to {}", said.to_state);
            let words = because(words, &said.reason);
            let milestone = happened("story_transitioned", words, &said.transitioned_by);
            let what = News::Touched(format!("story:{}", said.story_id));
            heard(said.story_id, said.timestamp, vec![what, milestone])
        }
        TaskCreated::SUBJECT => {
            let said: TaskCreated = event.parsed()?;
            let what = News::Touched(format!("task:{}", said.task_id));
            heard(said.story_id, said.timestamp, vec![what])
        }
        PlanApproved::SUBJECT => {
            let said: PlanApproved = event.parsed()?;
            let number = match said.version {
                0 => String::new(),
                number => format!(" (version {number})"),
            };
            let words = format!(
                "Plan {}{number} approved by {}",
                said.plan_id, said.approved_by
            );
            let milestone = happened("plan_approved", words, &said.approved_by);
            let what = News::Touched(format!("plan:{}", said.plan_id));
            heard(said.story_id, said.timestamp, vec![what, milestone])
        }
        DecisionApproved::SUBJECT => {
            let said: DecisionApproved = event.parsed()?;
            let verdict = DecisionStatus::Approved;
            let news = News::Judged(said.decision_id, verdict, said.approved_by);
            heard(said.story_id, said.timestamp, vec![news])
        }
        DecisionRejected::SUBJECT => {
            let said: DecisionRejected = event.parsed()?;
            let by = because(said.rejected_by, &said.reason);
            let news = News::Judged(said.decision_id, DecisionStatus::Rejected, by);
            heard(said.story_id, said.timestamp, vec![news])
        }
        _ => Err(HandleError::unknown(event)),
    }
}

fn because(words: String, reason: &str) -> String {
    match reason {
        "" => words,
        reason => format!("{words}: {reason}"),
    }
}
