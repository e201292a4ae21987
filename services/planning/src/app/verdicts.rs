//! The product owner's verdicts on decisions.

use async_trait::async_trait;
use fleet_events::payload::{DecisionApproved, DecisionRejected};
use fleet_graph::{EdgeType, Guard, props};
use fleet_service::Fault;
use fleet_types::{DecisionId, StoryId};

use super::rows;
use super::{Command, Decision, Scene};
use crate::domain::{DecisionReview, Judged, Story, Verdict, judge};

/// Approves or rejects a decision of a story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judge {
    /// The story.
    pub story_id: StoryId,
    /// The decision.
    pub decision_id: DecisionId,
    /// What is said.
    pub verdict: Verdict,
    /// Who says it.
    pub by: String,
    /// The remark with an approval (may be missing), the reason of a rejection.
    pub words: Option<String>,
}

#[async_trait]
impl Command for Judge {
    type Outcome = Judged;

    async fn decide(&self, scene: &Scene) -> Result<Decision<Self::Outcome>, Fault> {
        let story = rows::story(&self.story_id);
        let decision = rows::decision(&self.decision_id);
        let review = rows::review(&self.story_id, &self.decision_id);
        let keys = vec![story.clone(), decision.clone(), review.clone()];
        let found = scene.get(keys).await?;
        found.need::<Story>(&story)?;
        let ours = found.node(&decision).is_some_and(|node| {
            let of = node.props.get("story_id").and_then(|id| id.as_str());
            of.is_none_or(|id| id == self.story_id.as_str())
        });
        if !ours {
            return Err(Fault::not_found("decision", &self.decision_id));
        }
        let said = DecisionReview {
            story_id: self.story_id.clone(),
            decision_id: self.decision_id.clone(),
            verdict: self.verdict,
            by: self.by.clone(),
            words: self.words.clone().unwrap_or_default(),
            at: scene.now,
        };
        let before = found.find(&review)?.map(|review| review.value);
        let judged = judge(before, said)?;
        let mut commit = scene.commit();
        let Judged::New(first) = &judged else {
            return Ok(Decision::Done(commit, judged));
        };
        let row = props(first);
        commit.guard(Guard::Present(decision));
        commit.create(review.clone(), rows::ord(first.at, &first.decision_id), row);
        commit.relate(story, EdgeType::HasReview, review);
        let (story_id, decision_id) = (self.story_id.clone(), self.decision_id.clone());
        let (by, timestamp) = (self.by.clone(), scene.now);
        let event = match self.verdict {
            Verdict::Approved => {
                let (approved_by, comment) = (by, self.words.clone());
                let said = DecisionApproved {
                    story_id,
                    decision_id,
                    approved_by,
                    comment,
                    timestamp,
                };
                scene.event(self.decision_id.as_str(), 1, &said)
            }
            Verdict::Rejected => {
                let (rejected_by, reason) = (by, first.words.clone());
                let said = DecisionRejected {
                    story_id,
                    decision_id,
                    rejected_by,
                    reason,
                    timestamp,
                };
                scene.event(self.decision_id.as_str(), 1, &said)
            }
        };
        commit.event(event);
        Ok(Decision::Done(commit, judged))
    }
}
