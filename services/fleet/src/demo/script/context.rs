//! What each agent of the play is told, and how a decision of the architect reaches a developer.

use anyhow::{Context, bail};
use fleet_proto::context::v1::{AddProjectDecisionRequest, GetContextRequest};
use serde::Serialize;
use tonic::{Code, Status};

use super::super::client::{Agent, explain};
use super::super::narrator::Voice;
use super::{ARCHITECT, Play, voice};
use crate::context::{Answer, Exclusion, Paint, Receipt, painted, sections};

/// What the architect decides when it hands the first task back.
const DECISION: &str = "Log lines carry no address";
const RATIONALE: &str = "Logs are kept longer, and read by more people, than orders.";
const ALTERNATIVES: &str =
    "Log a hash of the address: it can be guessed\nRestrict who reads the logs: they are copied";

/// More tokens than any story document has.
const ROOMY: i32 = 1_000_000;
/// Most lines of a decision that are shown.
const SHOWN: usize = 6;

/// A context that an agent was given.
#[derive(Debug, Clone, Serialize)]
pub struct Given {
    /// The agent.
    pub agent: &'static str,
    /// Its role.
    pub role: &'static str,
    /// The phase it was made for.
    pub phase: &'static str,
    /// The task.
    pub task_id: String,
    /// Tokens of the context.
    pub token_count: i32,
    /// Tokens it could have had.
    pub token_budget: i32,
    /// Names the context.
    pub hash: String,
    /// Tokens of the items of each section, in the order of the context.
    pub sections: Vec<Part>,
}

/// A section of a context.
#[derive(Debug, Clone, Serialize)]
pub struct Part {
    /// Its name.
    pub section: String,
    /// Tokens of its items.
    pub tokens: i64,
}

/// A decision, and what became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Decided {
    /// Its id.
    pub decision_id: String,
    /// Its title.
    pub title: String,
    /// The task it has a say in.
    pub task_id: String,
    /// Who was told of it by their next context.
    pub told: String,
    /// Tokens that it takes there.
    pub tokens: i32,
}

/// What an agent works on in the play.
pub(super) fn phase_of(agent: Agent) -> &'static str {
    match agent.role {
        "qa" => "TEST",
        _ => "BUILD",
    }
}

/// A context with its receipt.
#[derive(Debug, Clone)]
pub(super) struct Told {
    text: String,
    receipt: Receipt,
}

impl Play<'_> {
    /// Gives an agent what it should know for a task, and says what that holds. A story document
    /// that is too long for the role's budget gets more room.
    pub(super) async fn tell(&mut self, agent: Agent, task_id: &str) -> anyhow::Result<Told> {
        match self.tell_within(agent, task_id, 0).await? {
            Ok(told) => Ok(told),
            Err(refusal) => {
                let said = format!("{} needs more room: {}", agent.id, refusal.message());
                self.say(Voice::Fleet, said);
                let told = self.tell_within(agent, task_id, ROOMY).await?;
                told.map_err(|s| explain(&s))
            }
        }
    }

    /// As [`Self::tell`]; the decision must be among it, if only the budget is in its way.
    pub(super) async fn tell_decision(
        &mut self,
        agent: Agent,
        task_id: &str,
        decision_id: &str,
    ) -> anyhow::Result<Told> {
        let told = self.tell(agent, task_id).await?;
        let cut = |e: &Exclusion| e.id == decision_id && e.reason == "BUDGET";
        if !told.receipt.excluded.iter().any(cut) {
            return Ok(told);
        }
        let told = self.tell_within(agent, task_id, ROOMY).await?;
        told.map_err(|s| explain(&s))
    }

    /// A budget of 0 is the role's own. The inner error: the budget is too small.
    async fn tell_within(
        &mut self,
        agent: Agent,
        task_id: &str,
        token_budget: i32,
    ) -> anyhow::Result<Result<Told, Status>> {
        let request = GetContextRequest {
            story_id: self.story_id.clone(),
            role: agent.role.to_owned(),
            phase: phase_of(agent).to_owned(),
            subtask_id: task_id.to_owned(),
            token_budget,
            include_receipt: true,
            ..GetContextRequest::default()
        };
        let answer = match self.fleet.context.clone().get_context(request).await {
            Ok(answer) => answer.into_inner(),
            Err(refusal) if refusal.code() == Code::InvalidArgument => return Ok(Err(refusal)),
            Err(s) => return Err(explain(&s).context(format!("the context of {}", agent.id))),
        };
        let answer = Answer::from(answer);
        let receipt = answer.receipt.clone();
        let receipt = receipt.context("a context without its receipt")?;
        let sections = sections(&receipt);
        let parts: Vec<String> = sections
            .iter()
            .map(|(name, tokens)| format!("{name} {tokens}"))
            .collect();
        self.say(
            voice(agent),
            format!(
                "{} is given {} of {} tokens for {}: {}",
                agent.id,
                answer.token_count,
                answer.token_budget,
                phase_of(agent),
                parts.join(", ")
            ),
        );
        // One in full; the others are in their files.
        if self.given.is_empty() {
            let text = painted(&answer.context, Paint::of_stdout());
            self.narrator.block(&indented(&text));
        }
        self.keep(agent, &answer).await?;
        let sections = sections.into_iter();
        self.given.push(Given {
            agent: agent.id,
            role: agent.role,
            phase: phase_of(agent),
            task_id: task_id.to_owned(),
            token_count: answer.token_count,
            token_budget: answer.token_budget,
            hash: answer.hash,
            sections: sections
                .map(|(section, tokens)| Part { section, tokens })
                .collect(),
        });
        Ok(Ok(Told {
            text: answer.context,
            receipt,
        }))
    }

    /// Writes a context to a file, as it was given, and its receipt beside it, as `fleet context
    /// verify` takes it.
    async fn keep(&self, agent: Agent, answer: &Answer) -> anyhow::Result<()> {
        let number = self.given.len() + 1;
        let name = format!("{number:02}-{}-{}", agent.role, phase_of(agent));
        let receipt = serde_json::to_string_pretty(answer)? + "\n";
        for (ending, text) in [("md", &answer.context), ("json", &receipt)] {
            let file = self.contexts.join(format!("{name}.{ending}"));
            tokio::fs::write(&file, text)
                .await
                .with_context(|| format!("{} cannot be written", file.display()))?;
        }
        Ok(())
    }

    /// The architect decides something about a task; gives the decision's id.
    pub(super) async fn decide(&self, task_id: &str) -> anyhow::Result<String> {
        let request = AddProjectDecisionRequest {
            story_id: self.story_id.clone(),
            decision_type: "ARCHITECTURE".to_owned(),
            title: DECISION.to_owned(),
            rationale: RATIONALE.to_owned(),
            alternatives_considered: ALTERNATIVES.to_owned(),
            metadata: [("role", ARCHITECT.role), ("winner", ARCHITECT.id)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            affects: vec![task_id.to_owned()],
            ..AddProjectDecisionRequest::default()
        };
        let mut context = self.fleet.context.clone();
        let answer = context.add_project_decision(request).await;
        let decision_id = answer.map_err(|s| explain(&s))?.into_inner().decision_id;
        self.say(
            Voice::Architect,
            format!("decides: {DECISION}  {decision_id}"),
        );
        Ok(decision_id)
    }

    /// Proves that the decision is in what the developer is told now, and was not before.
    pub(super) fn decision_arrived(
        &self,
        developer: Agent,
        decision_id: &str,
        task_id: &str,
        before: &Told,
        now: &Told,
    ) -> anyhow::Result<Decided> {
        let told = |told: &Told| told.text.contains(DECISION) && told.text.contains(RATIONALE);
        let entry = now.receipt.included.iter().find(|e| e.id == decision_id);
        let Some(entry) = entry.filter(|_| told(now) && !told(before)) else {
            bail!(
                "decision {decision_id} is not in the next context of {}: this must never happen",
                developer.id
            );
        };
        let decided = Decided {
            decision_id: decision_id.to_owned(),
            title: DECISION.to_owned(),
            task_id: task_id.to_owned(),
            told: developer.id.to_owned(),
            tokens: entry.tokens,
        };
        self.say(
            Voice::Fleet,
            format!(
                "the architect's decision is in it ({} tokens), and was not before:",
                entry.tokens
            ),
        );
        let from_title = now.text.lines().skip_while(|line| !line.contains(DECISION));
        for line in from_title.filter(|line| !line.is_empty()).take(SHOWN) {
            self.say(Voice::Fleet, format!("  {line}"));
            if line.contains(RATIONALE) {
                break;
            }
        }
        Ok(decided)
    }
}

/// Set apart from what is said around it.
fn indented(text: &str) -> String {
    let lines = text.trim_end().lines().map(|line| match line {
        "" => String::new(),
        line => format!("    {line}"),
    });
    format!("\n{}\n", lines.collect::<Vec<_>>().join("\n"))
}
