//! GetContext: kept answers if they are provably current, new ones in two round trips.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fleet_graph::Deadline;
use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{StoryId, TaskId, Violations};

use super::again::again;
use super::packs::Question;
use super::version::{Seen, digest_of, graph_version};
use super::{receipt, story};
use crate::app::{App, caller};
use crate::domain::Phase;
use crate::domain::pack::{Ask, Pack, Receipt, Refused};

/// What comes out of a shared load.
pub(crate) type Flown = Result<Arc<Made>, Arc<Fault>>;

/// An answer that was just made.
#[derive(Debug)]
pub(crate) struct Made {
    /// Without its receipt.
    answer: pb::GetContextResponse,
    receipt: Receipt,
}

/// Longest time that an answer for several callers may take, whatever each of them has left.
const LOAD_WITHIN: Duration = Duration::from_secs(30);

struct Asked {
    question: Question,
    receipt: bool,
    stale: bool,
}

fn parse(call: &Call, request: &pb::GetContextRequest) -> Result<Asked, Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = v.parse("story_id", &request.story_id);
    if request.role.trim().is_empty() {
        v.add("role", "is required");
    }
    let role = caller::named(&mut v, "role", &request.role);
    let phase: Option<Phase> = v.parse("phase", &request.phase);
    let task: Option<TaskId> = v.parse_optional("subtask_id", &request.subtask_id);
    v.into_result()?;
    let role = caller::viewer(call, role)?;
    Ok(Asked {
        question: Question {
            story: story.expect("no violation: it is there"),
            role,
            phase: phase.expect("no violation: it is there"),
            task,
            budget: u32::try_from(request.token_budget).ok().filter(|b| *b > 0),
        },
        receipt: request.include_receipt,
        stale: request.allow_stale,
    })
}

/// The context of a story for a role in a phase.
///
/// # Errors
/// See the contract.
pub async fn get_context(
    app: &Arc<App>,
    call: &Call,
    request: pb::GetContextRequest,
) -> Result<pb::GetContextResponse, Fault> {
    let asked = parse(call, &request)?;
    let question = &asked.question;
    // Refused before anything is read: a pair without scopes tells nothing of any story.
    app.scopes
        .of(question.role, question.phase)
        .map_err(|none| refused(Refused::NoScopes(none), question))?;
    let kept = app.reads.packs.last(question).await;
    let fault = match current(app, call, &asked, kept.as_ref()).await {
        Ok(answer) => return Ok(answer),
        Err(fault) => fault,
    };
    // A store that hangs is as good as away.
    let away = matches!(fault, Fault::Unavailable { .. } | Fault::Deadline);
    match kept {
        Some(mut old) if away && asked.stale => {
            app.reads.metrics.served("stale");
            old.stale = true;
            if asked.receipt {
                old.receipt = receipt_of(app, &old.hash).await;
            }
            Ok(old)
        }
        _ => Err(fault),
    }
}

/// The answer that holds now.
async fn current(
    app: &Arc<App>,
    call: &Call,
    asked: &Asked,
    kept: Option<&pb::GetContextResponse>,
) -> Result<pb::GetContextResponse, Fault> {
    let story = &asked.question.story;
    let heard = &app.reads.hub.heard;
    if let Some(kept) = kept.filter(|kept| !heard.overtook(story, &kept.graph_version))
        && is_current(app, &asked.question.story, kept, call.deadline).await?
        && let Some(answer) = with_receipt(app, asked, kept).await
    {
        app.reads.metrics.served("kept");
        return Ok(answer);
    }
    loop {
        let made = Arc::new(AtomicBool::new(false));
        let load = || {
            let (app, question, made) = (app.clone(), asked.question.clone(), made.clone());
            async move {
                made.store(true, Ordering::Relaxed);
                make(&app, &question, Deadline::after(LOAD_WITHIN))
                    .await
                    .map(Arc::new)
                    .map_err(Arc::new)
            }
        };
        let flown = app.reads.flights.run(asked.question.clone(), load);
        let flown = tokio::time::timeout_at(call.deadline.instant(), flown)
            .await
            .map_err(|_| Fault::Deadline)?
            .map_err(|fault| again(&fault))?;
        // Whoever joined a load that began before he came has to know that it still holds.
        if made.load(Ordering::Relaxed) {
            app.reads.metrics.served("made");
        } else if is_current(app, &asked.question.story, &flown.answer, call.deadline).await? {
            app.reads.metrics.served("joined");
        } else {
            continue;
        }
        let receipt = asked
            .receipt
            .then(|| receipt::answer(&receipt::policy_version(app), &flown.receipt));
        let mut answer = match Arc::try_unwrap(flown) {
            Ok(made) => made.answer,
            Err(shared) => shared.answer.clone(),
        };
        answer.receipt = receipt;
        return Ok(answer);
    }
}

/// Whether an answer is of the versions that the graph has now. One round trip.
async fn is_current(
    app: &App,
    story: &StoryId,
    answer: &pb::GetContextResponse,
    deadline: Deadline,
) -> Result<bool, Fault> {
    let (digested, _) = app.store.digest(&digest_of(story), &[], deadline).await?;
    app.reads.stories.now_at(story, &digested);
    match graph_version(&digested) {
        Some(version) => Ok(version == answer.graph_version),
        None => Err(Fault::not_found("story", story)),
    }
}

/// A kept answer as it was asked for; `None` if its receipt is gone.
async fn with_receipt(
    app: &App,
    asked: &Asked,
    kept: &pb::GetContextResponse,
) -> Option<pb::GetContextResponse> {
    let mut answer = kept.clone();
    if asked.receipt {
        let receipt = receipt_of(app, &kept.hash).await?;
        // The same text may have been made for another question since, or of another version.
        let same = receipt.graph_version == kept.graph_version
            && receipt.token_budget == kept.token_budget
            && receipt.phase == asked.question.phase.as_str();
        answer.receipt = Some(receipt).filter(|_| same);
        answer.receipt.as_ref()?;
    }
    Some(answer)
}

async fn receipt_of(app: &App, hash: &str) -> Option<pb::Receipt> {
    let policy = receipt::policy_version(app);
    app.reads.packs.receipt(hash, &policy).await?.receipt
}

/// Reads and renders, and keeps what came of it. Two round trips if nothing moves.
async fn make(app: &App, question: &Question, deadline: Deadline) -> Result<Made, Fault> {
    let rules = app.assembler();
    let ask = Ask {
        role: question.role,
        phase: question.phase,
        task: question.task.clone(),
        budget: question.budget,
    };
    let told = story::read(app, &question.story, deadline, |graph| {
        let selection = rules
            .select(graph, &ask)
            .map_err(|e| refused(e, question))?;
        let keys = selection.fetch().cloned().collect();
        Ok((selection, keys))
    })
    .await?;
    let pack = rules
        .assemble(&told.chosen, &told.whole, &told.graph_version)
        .map_err(|e| refused(e, question))?;
    let made = made(pack, told.graph_version, told.warnings);
    if told.settled {
        if let Some(seen) = Seen::of(&made.answer.graph_version) {
            app.reads.hub.heard.settle(&question.story, seen);
        }
        let receipt = receipt::encode(&receipt::policy_version(app), &made.receipt);
        app.reads.packs.keep(question, &made.answer, &receipt).await;
    }
    Ok(made)
}

fn made(pack: Pack, graph_version: String, warnings: Vec<String>) -> Made {
    let count = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    let answer = pb::GetContextResponse {
        token_count: count(pack.token_count),
        scopes: pack.scopes.iter().map(ToString::to_string).collect(),
        version: pack.hash.chars().take(super::packs::SHORT_HASH).collect(),
        blocks: Some(pb::PromptBlocks {
            system: pack.system,
            context: pack.context,
            tools: pack.tools,
        }),
        token_budget: count(pack.receipt.budget),
        receipt: None,
        stale: false,
        hash: pack.hash,
        context: pack.text,
        graph_version,
        warnings,
    };
    Made {
        answer,
        receipt: pack.receipt,
    }
}

/// Why there is no context, as the caller is told.
fn refused(why: Refused, question: &Question) -> Fault {
    let words = why.to_string();
    match why {
        Refused::NoScopes(_) | Refused::StoryHidden { .. } | Refused::TaskHidden { .. } => {
            Fault::denied(Reason::RoleNotAllowed, words)
        }
        Refused::NoSuchTask { task } => Fault::not_found("task", task),
        Refused::StoryGone => Fault::not_found("story", &question.story),
        Refused::BudgetTooSmall { .. } => Fault::invalid("token_budget", words),
    }
}
