//! What councils decided, and who was given what to do.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_events::payload::{DecidedThere, DeliberationCompleted, TaskDispatched};
use fleet_events::{Event, HandleError, Handler};
use fleet_graph::Deadline;
use fleet_types::{DecisionId, TaskId, Timestamp, text};
use sha2::{Digest as _, Sha256};

use super::{heard, write};
use crate::app::{App, Decided, Heard, Milestone, NewDecision, News};

const CONSUMER: &str = fleet_topology::consumers::CONTEXT_ORCHESTRATOR_EVENTS.name;
/// Subjects of payloads that are only heard.
const DELIBERATED: &str = "orchestration.deliberation.completed";
const DISPATCHED: &str = "orchestration.task.dispatched";

/// What kind a decision is that does not say.
const TECHNICAL: &str = "TECHNICAL";
/// Most decisions of one council: each is several writes of one commit.
const MAX_DECISIONS: usize = 200;
/// How much of a rationale becomes a title, in characters.
const TITLE_CHARS: usize = 120;
/// Longest word for a kind of decision, in characters.
const WORD_CHARS: usize = 100;
/// Most alternatives that are kept.
const MAX_ALTERNATIVES: usize = 100;

/// Handler of the consumer `context-orchestrator-events`.
pub struct OrchestratorEvents(pub Arc<App>);

#[async_trait]
impl Handler for OrchestratorEvents {
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError> {
        let at = if event.time.millis() > 0 {
            event.time
        } else {
            self.0.clock.now()
        };
        let news = match event.kind.as_str() {
            DELIBERATED => deliberated(event, at)?,
            DISPATCHED => Some(dispatched(event, at)?),
            _ => return Err(HandleError::unknown(event)),
        };
        let Some(news) = news else {
            self.0.metrics.passed_over("nothing_decided");
            return Ok(());
        };
        write(&self.0, CONSUMER, &news, event, deadline).await
    }
}

fn dispatched(event: &Event, at: Timestamp) -> Result<Heard, HandleError> {
    let said: TaskDispatched = event.parsed()?;
    let milestone = Milestone {
        event_type: "task_dispatched",
        description: format!(
            "Task {} given to {} as {}",
            said.task_id, said.agent_id, said.role
        ),
        actor: said.agent_id.to_string(),
        actor_role: said.role.to_string(),
        task_id: said.task_id.to_string(),
    };
    let task = News::Touched(format!("task:{}", said.task_id));
    let news = vec![task, News::Happened(milestone)];
    Ok(heard(event, said.story_id, at, news))
}

fn deliberated(event: &Event, at: Timestamp) -> Result<Option<Heard>, HandleError> {
    let said: DeliberationCompleted = event.parsed()?;
    if said.decisions.is_empty() {
        return Ok(None);
    }
    if said.decisions.len() > MAX_DECISIONS {
        let found = said.decisions.len();
        return Err(HandleError::permanent(format!(
            "{found} decisions; at most {MAX_DECISIONS}"
        )));
    }
    let mut decided: Vec<Decided> = Vec::new();
    for (index, there) in said.decisions.iter().enumerate() {
        let mut id = id_of(there, &said.task_id, index)?;
        if decided.iter().any(|decided| decided.id == id) {
            id = derived_id(&said.task_id, index);
        }
        if decided.iter().any(|decided| decided.id == id) {
            return Err(HandleError::permanent(format!(
                "two decisions are called {id}"
            )));
        }
        decided.push(Decided {
            id,
            new: new(there, &said.task_id).map_err(HandleError::permanent)?,
            task: said.task_id.clone(),
        });
    }
    let news = vec![News::Decided(decided)];
    Ok(Some(heard(event, said.story_id, at, news)))
}

fn id_of(there: &DecidedThere, task: &TaskId, index: usize) -> Result<DecisionId, HandleError> {
    let given = there.id.as_deref().map(str::trim).unwrap_or_default();
    if given.is_empty() {
        return Ok(derived_id(task, index));
    }
    let prefixed = || DecisionId::parse(&format!("{}{given}", DecisionId::PREFIX));
    DecisionId::parse(given)
        .or_else(|_| prefixed())
        .map_err(|e| HandleError::permanent(format!("decisions[{index}].id: {e}")))
}

fn derived_id(task: &TaskId, index: usize) -> DecisionId {
    let plain = DecisionId::parse(&format!("DEC-{task}-{index}"));
    plain.unwrap_or_else(|_| {
        let digest = Sha256::digest(task.as_str().as_bytes());
        let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
        let short = format!("DEC-{hex}-{index}");
        DecisionId::parse(&short).expect("hexadecimal digits and a number follow the grammar")
    })
}

fn new(there: &DecidedThere, task: &TaskId) -> Result<NewDecision, String> {
    let read = |field: &str, given: Option<&String>| {
        let given = given.map(String::as_str).unwrap_or_default();
        let read = text(given).map_err(|problem| format!("{field} {problem}"))?;
        Ok::<_, String>(read.to_owned())
    };
    let rationale = read("rationale", there.rationale.as_ref())?;
    let title = match read("title", there.title.as_ref())? {
        title if title.is_empty() => {
            let first = rationale.lines().next().unwrap_or_default().trim();
            first.chars().take(TITLE_CHARS).collect()
        }
        title => title,
    };
    let kind = read("type", there.kind.as_ref())?;
    let kind: String = kind
        .chars()
        .filter(|c| !c.is_control())
        .take(WORD_CHARS)
        .collect();
    let mut alternatives = Vec::new();
    for alternative in there.alternatives.iter().take(MAX_ALTERNATIVES) {
        match read("alternatives", Some(alternative))? {
            blank if blank.is_empty() => {}
            alternative => alternatives.push(alternative),
        }
    }
    Ok(NewDecision {
        title: match title.as_str() {
            "" => format!("Decision about {task}"),
            _ => title,
        },
        rationale,
        decision_type: match kind.as_str() {
            "" => TECHNICAL.to_owned(),
            _ => kind,
        },
        alternatives,
        author_role: there.role.map(|role| role.to_string()).unwrap_or_default(),
        author_agent: there
            .agent_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        affects: vec![
            there
                .affected_subtask
                .clone()
                .unwrap_or_else(|| task.clone()),
        ],
        ..NewDecision::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_given_completed_or_derived() {
        let task = TaskId::parse("T-1").unwrap();
        let with = |id: Option<&str>| DecidedThere {
            id: id.map(str::to_owned),
            ..DecidedThere::default()
        };
        let id = |given| id_of(&with(given), &task, 2).map(|id| id.to_string());
        assert_eq!(id(None).unwrap(), "DEC-T-1-2");
        assert_eq!(id(Some(" ")).unwrap(), "DEC-T-1-2");
        assert_eq!(id(Some("DEC-x")).unwrap(), "DEC-x");
        assert_eq!(id(Some("x")).unwrap(), "DEC-x");
        assert!(matches!(
            id(Some("a b")),
            Err(HandleError::Permanent { .. })
        ));
        let long = TaskId::parse(&format!("T-{}", "x".repeat(100))).unwrap();
        assert_ne!(derived_id(&long, 0), derived_id(&long, 1));
    }

    #[test]
    fn what_a_council_leaves_out_is_filled_in() {
        let task = TaskId::parse("T-1").unwrap();
        let bare = new(&DecidedThere::default(), &task).unwrap();
        assert_eq!(bare.title, "Decision about T-1");
        assert_eq!(bare.decision_type, "TECHNICAL");
        assert_eq!(bare.affects, std::slice::from_ref(&task));
        let there = DecidedThere {
            rationale: Some("Queues decouple.\nMore.".into()),
            affected_subtask: TaskId::parse("T-2").ok(),
            ..DecidedThere::default()
        };
        let said = new(&there, &task).unwrap();
        assert_eq!(said.title, "Queues decouple.");
        assert_eq!(said.affects[0].as_str(), "T-2");
    }
}
