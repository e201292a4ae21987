//! The play: a story travels from idea to "ready to review".

mod context;
mod planning;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use fleet_proto::planning::v2::GetStoryRequest;
use fleet_proto::workflow::v1::GetStatsRequest;
use fleet_types::Timestamp;
use tonic::{Code, Status};

use super::client::{Agent, Fleet, Work, explain, until};
use super::document::Document;
use super::narrator::{Narrator, Voice};
use context::Told;
pub use context::{Decided, Given};

const DEV_1: Agent = Agent {
    role: "developer",
    id: "dev-mira",
};
const DEV_2: Agent = Agent {
    role: "developer",
    id: "dev-jonas",
};
const ARCHITECT: Agent = Agent {
    role: "architect",
    id: "arch-lin",
};
const QA_1: Agent = Agent {
    role: "qa",
    id: "qa-sol",
};
const QA_2: Agent = Agent {
    role: "qa",
    id: "qa-kim",
};

/// Steps that [`Narrator::step`] will be told, without one for each task.
pub const FIXED_STEPS: u64 = 4;

/// What the play has made.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The story.
    pub story_id: String,
    /// The state it reached.
    pub story_state: String,
    /// Its tasks: id and title, in the order in which they were worked on.
    pub tasks: Vec<(String, String)>,
    /// How many claims were taken over after their lease had run out.
    pub lease_takeovers: u64,
    /// How many rejections led to rework.
    pub reworks: i64,
    /// What each agent was told, in the order of the play.
    pub contexts: Vec<Given>,
    /// The directory that they were written to.
    pub contexts_in: PathBuf,
    /// What the architect decided on the way.
    pub decision: Option<Decided>,
}

/// Plays `document` against the services; what agents are told is kept in `data`, too.
pub async fn play(
    fleet: &Fleet,
    document: &Document,
    narrator: &Narrator,
    data: &Path,
) -> anyhow::Result<Outcome> {
    let mut play = Play {
        fleet,
        document,
        narrator,
        story_id: String::new(),
        contexts: PathBuf::new(),
        lease_takeovers: 0,
        given: Vec::new(),
        decision: None,
    };
    let (story_id, tasks) = play.plan().await?;
    play.story_id.clone_from(&story_id);
    play.contexts = data.join("contexts").join(&story_id);
    tokio::fs::create_dir_all(&play.contexts)
        .await
        .with_context(|| format!("cannot make {}", play.contexts.display()))?;
    play.gates(&story_id).await?;
    let last = tasks.len() - 1;
    for (i, (task_id, spec)) in tasks.iter().enumerate() {
        narrator.step(&format!(
            "Task {} of {}: {}",
            i + 1,
            tasks.len(),
            spec.title
        ));
        fleet.wait_until_free(task_id).await?;
        play.task(task_id, i == 0, i == last).await?;
    }
    let story_state = play.arrival(&story_id).await?;
    let stats = fleet
        .workflow
        .clone()
        .get_stats(GetStatsRequest {
            story_id: story_id.clone(),
            ..GetStatsRequest::default()
        })
        .await
        .map_err(|s| explain(&s))?
        .into_inner();
    Ok(Outcome {
        story_id,
        story_state,
        tasks: tasks
            .into_iter()
            .map(|(id, spec)| (id, spec.title))
            .collect(),
        lease_takeovers: play.lease_takeovers,
        reworks: i64::from(stats.total_rejections),
        contexts: play.given,
        contexts_in: play.contexts,
        decision: play.decision,
    })
}

struct Play<'a> {
    fleet: &'a Fleet,
    document: &'a Document,
    narrator: &'a Narrator,
    story_id: String,
    /// Where contexts are kept.
    contexts: PathBuf,
    lease_takeovers: u64,
    given: Vec<Given>,
    decision: Option<Decided>,
}

impl Play<'_> {
    fn say(&self, voice: Voice, text: impl AsRef<str>) {
        self.narrator.say(voice, text.as_ref());
    }

    /// One task from `todo` to `done`. The first one is raced for and reworked; on the last
    /// one a tester falls silent and another takes over.
    async fn task(&mut self, task_id: &str, first: bool, last: bool) -> anyhow::Result<()> {
        let (winner, epoch) = if first {
            self.race(task_id).await?
        } else {
            (DEV_1, self.claim(DEV_1, task_id).await?)
        };
        let before = self.tell(winner, task_id).await?;
        self.commit(winner, task_id, epoch, "first").await?;
        let epoch = self.claim(ARCHITECT, task_id).await?;
        self.tell(ARCHITECT, task_id).await?;
        if first {
            self.rework(winner, task_id, epoch, &before).await?;
        } else {
            let work = claimed(epoch);
            self.act(Voice::Architect, ARCHITECT, task_id, "approve_design", work)
                .await?;
        }
        let (tester, epoch) = if last {
            self.take_over(task_id).await?
        } else {
            (QA_1, self.claim(QA_1, task_id).await?)
        };
        self.tell(tester, task_id).await?;
        let work = claimed(epoch);
        self.act(Voice::Qa, tester, task_id, "approve_tests", work)
            .await?;
        let po = Agent {
            role: "po",
            id: "po",
        };
        self.act(Voice::Po, po, task_id, "approve_story", Work::default())
            .await
    }

    /// The architect hands a task back and decides something about it; the developer is told of
    /// both, and does it again.
    async fn rework(
        &mut self,
        developer: Agent,
        task_id: &str,
        epoch: i64,
        before: &Told,
    ) -> anyhow::Result<()> {
        let feedback = "Keep the address out of the log line, and add a test for the empty case.";
        let work = Work {
            feedback,
            ..claimed(epoch)
        };
        self.act(Voice::Architect, ARCHITECT, task_id, "reject_design", work)
            .await?;
        self.say(Voice::Architect, format!("says: {feedback}"));
        let decision_id = self.decide(task_id).await?;
        let next = self.fleet.state(task_id).await.map_err(|s| explain(&s))?;
        self.say(
            Voice::Fleet,
            format!(
                "hands the task back to the {} with that feedback: {}",
                next.role_in_charge, next.required_action
            ),
        );
        let epoch = self.claim(developer, task_id).await?;
        let now = self.tell_decision(developer, task_id, &decision_id).await?;
        let arrived = self.decision_arrived(developer, &decision_id, task_id, before, &now)?;
        self.decision = Some(arrived);
        self.commit(developer, task_id, epoch, "second").await?;
        let epoch = self.claim(ARCHITECT, task_id).await?;
        self.tell(ARCHITECT, task_id).await?;
        let work = claimed(epoch);
        self.act(Voice::Architect, ARCHITECT, task_id, "approve_design", work)
            .await
    }

    /// Two developers claim at once: one wins, the other is told until when the lease runs.
    async fn race(&self, task_id: &str) -> anyhow::Result<(Agent, i64)> {
        self.say(
            Voice::Developer,
            format!(
                "{} and {} claim the task at the same time",
                DEV_1.id, DEV_2.id
            ),
        );
        let (one, two) = tokio::join!(
            self.fleet.claim(DEV_1, task_id, None),
            self.fleet.claim(DEV_2, task_id, None)
        );
        let (winner, claim, loser, refusal) = match (one, two) {
            (Ok(claim), Err(refusal)) => (DEV_1, claim, DEV_2, refusal),
            (Err(refusal), Ok(claim)) => (DEV_2, claim, DEV_1, refusal),
            (Ok(_), Ok(_)) => bail!("both developers hold task {task_id}: this must never happen"),
            (Err(refusal), Err(_)) => return Err(explain(&refusal).context("nobody could claim")),
        };
        self.say(
            Voice::Developer,
            format!("{} wins (epoch {})", winner.id, claim.claim_epoch),
        );
        self.say(
            Voice::Developer,
            format!("{} is told: {}", loser.id, refusal.message()),
        );
        Ok((winner, claim.claim_epoch))
    }

    async fn claim(&self, agent: Agent, task_id: &str) -> anyhow::Result<i64> {
        let claim = self
            .fleet
            .claim(agent, task_id, None)
            .await
            .map_err(|s| explain(&s).context(format!("{} claims {task_id}", agent.id)))?;
        self.say(
            voice(agent),
            format!(
                "{} claims it ({}, epoch {})",
                agent.id, claim.action, claim.claim_epoch
            ),
        );
        Ok(claim.claim_epoch)
    }

    async fn commit(
        &self,
        agent: Agent,
        task_id: &str,
        epoch: i64,
        which: &str,
    ) -> anyhow::Result<()> {
        // A commit id as git would print it, made from the task so that it reads the same
        // in every output of this run.
        let sha: String = task_id
            .bytes()
            .chain(which.bytes())
            .fold(String::new(), |mut sha, b| {
                sha.push_str(&format!("{b:02x}"));
                sha
            });
        let sha = sha[sha.len() - 40..].to_owned();
        let work = Work {
            artifacts: vec![
                ("branch", format!("task/{}", &task_id[task_id.len() - 8..])),
                ("commit_sha", sha),
                ("files_changed", "src/lib.rs,tests/behaviour.rs".to_owned()),
            ],
            reasoning: match which {
                "first" => "Done, with a test for each acceptance criterion.",
                _ => "Took the address out of the log line, and added the test for the empty case.",
            },
            ..claimed(epoch)
        };
        self.act(Voice::Developer, agent, task_id, "commit_code", work)
            .await
    }

    async fn act(
        &self,
        voice: Voice,
        agent: Agent,
        task_id: &str,
        action: &str,
        work: Work,
    ) -> anyhow::Result<()> {
        let answer = self
            .fleet
            .act(agent, task_id, action, work)
            .await
            .map_err(|s| explain(&s).context(format!("{} does {action} on {task_id}", agent.id)))?;
        let next = match answer.next_role.as_str() {
            "" => String::new(),
            role => format!(", next: {role} {}", answer.next_action),
        };
        self.say(
            voice,
            format!("{}  {action} → {}{next}", agent.id, answer.current_state),
        );
        Ok(())
    }

    /// A tester claims with a lease of one second and falls silent; another takes over.
    async fn take_over(&mut self, task_id: &str) -> anyhow::Result<(Agent, i64)> {
        let claim = self
            .fleet
            .claim(QA_1, task_id, Some(1))
            .await
            .map_err(|s| explain(&s))?;
        self.say(
            Voice::Qa,
            format!(
                "{} claims it with a lease of 1 s (epoch {}) and falls silent",
                QA_1.id, claim.claim_epoch
            ),
        );
        match self.fleet.claim(QA_2, task_id, None).await {
            Ok(_) => bail!(
                "{} got a task that {} holds: this must never happen",
                QA_2.id,
                QA_1.id
            ),
            Err(refusal) => self.say(
                Voice::Qa,
                format!("{} is told: {}", QA_2.id, refusal.message()),
            ),
        }
        let lease_until = Timestamp::from_millis(claim.lease_until_ms);
        let taken = until("the lease has run out", async || {
            match self.fleet.claim(QA_2, task_id, None).await {
                Ok(claim) => Ok(Some(claim)),
                Err(status) if is_held(&status) => Ok(None),
                Err(status) => Err(explain(&status)),
            }
        })
        .await?;
        self.lease_takeovers += 1;
        self.say(
            Voice::Qa,
            format!(
                "the lease ran out at {lease_until}: {} takes over (epoch {})",
                QA_2.id, taken.claim_epoch
            ),
        );
        let late = Work {
            claim_epoch: Some(claim.claim_epoch),
            ..Work::default()
        };
        match self.fleet.act(QA_1, task_id, "approve_tests", late).await {
            Ok(_) => bail!(
                "{} acted on a claim that it had lost: this must never happen",
                QA_1.id
            ),
            Err(refusal) => self.say(
                Voice::Qa,
                format!("{} comes back too late: {}", QA_1.id, refusal.message()),
            ),
        }
        Ok((QA_2, taken.claim_epoch))
    }

    /// Waits until planning has heard that every task is done.
    async fn arrival(&self, story_id: &str) -> anyhow::Result<String> {
        self.narrator.step("Arrival");
        let state = until("the story is READY_TO_REVIEW", async || {
            let request = GetStoryRequest {
                story_id: story_id.to_owned(),
            };
            let story = self
                .fleet
                .planning
                .clone()
                .get_story(request)
                .await
                .map_err(|s| explain(&s))?;
            let state = story.into_inner().state;
            Ok((state == "READY_TO_REVIEW").then_some(state))
        })
        .await?;
        self.say(
            Voice::Fleet,
            format!("every task is done: the story is {state}"),
        );
        Ok(state)
    }
}

/// Work of whoever holds a claim.
fn claimed(epoch: i64) -> Work {
    Work {
        claim_epoch: Some(epoch),
        ..Work::default()
    }
}

fn is_held(status: &Status) -> bool {
    status.code() == Code::Aborted
}

fn voice(agent: Agent) -> Voice {
    match agent.role {
        "developer" => Voice::Developer,
        "architect" => Voice::Architect,
        "qa" => Voice::Qa,
        "po" => Voice::Po,
        _ => Voice::Fleet,
    }
}
