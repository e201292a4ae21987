//! ValidateScope and ExplainScope: what a role gets in a phase, and why.

use std::collections::BTreeSet;
use std::sync::Arc;

use fleet_graph::{Label, NodeKey};
use fleet_proto::context::v1 as pb;
use fleet_service::races::word;
use fleet_service::{Call, Fault};
use fleet_types::{Role, StoryId, TaskId, Violations};

use super::{items, story};
use crate::app::{App, caller};
use crate::domain::pack::{Ask, Fate, Reason, Receipt, Refused};
use crate::domain::{Entity, Item, Phase, Scope, Viewer};
use crate::rows;

/// Most entries of a list.
const MOST: usize = 1_000;
/// Enough for everything: what is left out of so much is not left out for want of room.
const ROOM: u32 = 10_000_000;

fn named(v: &mut Violations, role: &str, phase: &str) -> Option<(Role, Phase)> {
    if role.trim().is_empty() {
        v.add("role", "is required");
    }
    let role = caller::named(v, "role", role);
    let phase = v.parse("phase", phase);
    Some((role?, phase?))
}

/// Compares scopes with those of a pair.
///
/// # Errors
/// See the contract.
pub async fn validate_scope(
    app: &Arc<App>,
    call: &Call,
    request: pb::ValidateScopeRequest,
) -> Result<pb::ValidateScopeResponse, Fault> {
    let mut v = Violations::new();
    let pair = named(&mut v, &request.role, &request.phase);
    let given = &request.provided_scopes;
    if given.len() > MOST {
        v.add(
            "provided_scopes",
            format!("has {} items; at most {MOST}", given.len()),
        );
    }
    let provided: BTreeSet<Scope> = given
        .iter()
        .take(MOST)
        .enumerate()
        .filter_map(|(at, scope)| v.parse(&format!("provided_scopes[{at}]"), scope))
        .collect();
    v.into_result()?;
    let (role, phase) = pair.expect("no violation: it is there");
    caller::viewer(call, Some(role))?;
    let words: Vec<&str> = provided.iter().map(|scope| scope.as_str()).collect();
    Ok(match app.scopes.validate(role, phase, &words) {
        Ok(compared) => pb::ValidateScopeResponse {
            allowed: compared.allowed,
            missing: compared.missing,
            extra: compared.extra,
            reason: compared.reason,
        },
        Err(none) => {
            let mut extra: Vec<String> = words.into_iter().map(ToOwned::to_owned).collect();
            extra.sort_unstable();
            pb::ValidateScopeResponse {
                allowed: false,
                missing: Vec::new(),
                extra,
                reason: none.to_string(),
            }
        }
    })
}

fleet_types::words! {
    /// A kind of node that can be explained.
    enum NodeType("node type") {
        /// An epic.
        Epic = "Epic",
        /// A story.
        Story = "Story",
        /// An approved plan.
        Plan = "PlanVersion",
        /// A task.
        Task = "Task",
        /// A decision.
        Decision = "Decision",
        /// A milestone.
        Event = "Event",
        /// A step from phase to phase.
        Phase = "PhaseTransition",
        /// A summary.
        Summary = "Summary",
    }
}

impl NodeType {
    fn label(self) -> Label {
        match self {
            Self::Epic => Label::Epic,
            Self::Story => Label::Story,
            Self::Plan => Label::PlanVersion,
            Self::Task => Label::Task,
            Self::Decision => Label::Decision,
            Self::Event => Label::Event,
            Self::Phase => Label::PhaseTransition,
            Self::Summary => Label::Summary,
        }
    }

    /// Where the node of that id is stored. What is called by an id within its story only is
    /// named by `<story>/<id>`, or by that id and the story; steps from phase to phase by their
    /// number in the same ways.
    fn key(self, v: &mut Violations, id: &str, story: &str) -> Option<NodeKey> {
        if !matches!(self, Self::Event | Self::Phase | Self::Summary) {
            return Some(NodeKey::new(self.label(), id));
        }
        let unsaid = story.trim().is_empty() && !id.is_empty();
        let story: Option<StoryId> = v.parse_optional("story_id", story);
        let (story, own) = match (story, id.split_once('/')) {
            (Some(story), Some((whole, own))) if story.as_str() == whole => (story, own),
            (Some(story), _) => (story, id),
            (None, Some((whole, own))) => (v.parse("node_id", whole)?, own),
            (None, None) => {
                if unsaid {
                    v.add("story_id", "is required, unless node_id is <story>/<id>");
                }
                return None;
            }
        };
        match self {
            Self::Event => Some(rows::event(&story, own)),
            Self::Summary => Some(rows::summary(&story, own)),
            _ => match own.parse() {
                Ok(number) => Some(rows::phase(&story, number)),
                Err(_) => {
                    v.add("node_id", "is no number of a step from phase to phase");
                    None
                }
            },
        }
    }
}

/// Which codes show items of a kind.
fn codes(entity: Entity) -> &'static [Scope] {
    match entity {
        Entity::Story | Entity::Epic => &[Scope::CaseHeader],
        Entity::Plan => &[Scope::PlanHeader],
        Entity::Task | Entity::Run => &[
            Scope::SubtasksRole,
            Scope::SubtasksRoleMin,
            Scope::SubtasksAll,
            Scope::SubtasksAllMin,
        ],
        Entity::Decision | Entity::Review => &[
            Scope::DecisionsRelevantRole,
            Scope::DecisionsGlobal,
            Scope::DecisionsGlobalMin,
        ],
        Entity::Relation => &[Scope::DepsRelevant, Scope::DepsDecisions],
        Entity::Milestone | Entity::Phase => &[Scope::Milestones],
        Entity::Summary => &[Scope::SummaryLast],
        Entity::Project => &[],
    }
}

struct Question {
    role: Role,
    phase: Phase,
    node: NodeKey,
    task: Option<TaskId>,
}

fn parse(request: &pb::ExplainScopeRequest) -> Result<Question, Fault> {
    let mut v = Violations::new();
    let pair = named(&mut v, &request.role, &request.phase);
    let kind: Option<NodeType> = v.parse("node_type", &request.node_type);
    let task: Option<TaskId> = v.parse_optional("subtask_id", &request.subtask_id);
    let id = request.node_id.trim();
    let fits = id.len() <= fleet_graph::MAX_NODE_ID && id.bytes().all(|b| b.is_ascii_graphic());
    if id.is_empty() {
        v.add("node_id", "is required");
    } else if !fits {
        v.add("node_id", "is no id");
    }
    let node = kind.and_then(|kind| kind.key(&mut v, id, &request.story_id));
    v.into_result()?;
    let (role, phase) = pair.expect("no violation: it is there");
    Ok(Question {
        role,
        phase,
        node: node.expect("no violation: it is there"),
        task,
    })
}

/// Says why a role may or may not see something in a phase.
///
/// # Errors
/// See the contract.
pub async fn explain_scope(
    app: &Arc<App>,
    call: &Call,
    request: pb::ExplainScopeRequest,
) -> Result<pb::ExplainScopeResponse, Fault> {
    let question = parse(&request)?;
    caller::viewer(call, Some(question.role))?;
    let kind = word(question.node.label());
    let gone = || Fault::not_found(kind, question.node.id());
    let keys = [question.node.clone()];
    let found = app.store.get(&keys, call.deadline).await?;
    let node = found.into_iter().next().flatten().ok_or_else(gone)?;
    let item = items::item(node, &app.policies.counted_by()).map_err(Fault::internal)?;
    if item.is_deleted() {
        return Err(gone());
    }
    let Some(story) = item.story().cloned() else {
        return Ok(of_no_story(app, &question, &item));
    };
    let viewer = Viewer {
        role: question.role,
        story: Some(&story),
    };
    if let Some(no) = refused_by_rule(app, &question, viewer, &item) {
        return Ok(no);
    }
    let receipt = receipt(app, call, &question, &story).await?;
    Ok(explained(app, &question, viewer, &item, &receipt))
}

/// Items above stories are told with a story, if their rows may be seen through it.
fn of_no_story(app: &App, question: &Question, item: &Item) -> pb::ExplainScopeResponse {
    let viewer = Viewer {
        role: question.role,
        story: None,
    };
    let open = app.policies.sees(viewer, item);
    let mut columns = app
        .policies
        .columns(question.role, item.entity())
        .peekable();
    if !open && columns.peek().is_none() {
        return row_refused(question, item);
    }
    let pair = app.scopes.of(question.role, question.phase);
    let Ok(pair) = pair else {
        return no_scopes(question);
    };
    let shows = of_pair(pair, item.entity());
    pb::ExplainScopeResponse {
        visible: !shows.is_empty(),
        reason: format!(
            "{} sees {} {} with stories under it",
            question.role,
            item.entity(),
            item.id()
        ),
        rule: if shows.is_empty() { "scope" } else { "none" }.to_owned(),
        exclusion: if shows.is_empty() {
            Reason::OutOfScope.to_string()
        } else {
            String::new()
        },
        scopes: shows,
        columns: columns.map(ToOwned::to_owned).collect(),
    }
}

fn of_pair(pair: &BTreeSet<Scope>, entity: Entity) -> Vec<String> {
    let shows = codes(entity).iter().filter(|code| pair.contains(code));
    let mut shows: Vec<String> = shows.map(ToString::to_string).collect();
    shows.sort_unstable();
    shows
}

/// The codes that show the kind to some role in that phase.
fn of_phase(app: &App, question: &Question, entity: Entity) -> Vec<String> {
    let given: BTreeSet<Scope> = app
        .scopes
        .pairs()
        .filter(|(_, phase, _)| *phase == question.phase)
        .flat_map(|(_, _, scopes)| scopes.iter().copied())
        .collect();
    of_pair(&given, entity)
}

fn no_scopes(question: &Question) -> pb::ExplainScopeResponse {
    let none = crate::domain::NoScopes {
        role: question.role,
        phase: question.phase,
    };
    refusal("scope", Reason::OutOfScope, none.to_string())
}

fn row_refused(question: &Question, item: &Item) -> pb::ExplainScopeResponse {
    let Question { role, .. } = question;
    let words = format!(
        "no row policy lets {role} see {} {}",
        item.entity(),
        item.id()
    );
    refusal("row", Reason::RolePolicy, words)
}

fn refusal(rule: &str, exclusion: Reason, reason: String) -> pb::ExplainScopeResponse {
    pb::ExplainScopeResponse {
        visible: false,
        reason,
        scopes: Vec::new(),
        columns: Vec::new(),
        rule: rule.to_owned(),
        exclusion: exclusion.to_string(),
    }
}

/// What needs no context to be told: rows, columns, pairs without scopes.
fn refused_by_rule(
    app: &App,
    question: &Question,
    viewer: Viewer<'_>,
    item: &Item,
) -> Option<pb::ExplainScopeResponse> {
    let Some(view) = app.policies.view(viewer, item) else {
        return Some(row_refused(question, item));
    };
    if app.scopes.of(question.role, question.phase).is_err() {
        return Some(no_scopes(question));
    }
    if view.is_emptied() {
        let words = "redaction leaves nothing of what it says".to_owned();
        let mut no = refusal("column", Reason::Redacted, words);
        no.columns = columns(app, question, item);
        return Some(no);
    }
    None
}

fn columns(app: &App, question: &Question, item: &Item) -> Vec<String> {
    let columns = app.policies.columns(question.role, item.entity());
    columns.map(ToOwned::to_owned).collect()
}

/// What became of everything, with room for all of it.
async fn receipt(
    app: &App,
    call: &Call,
    question: &Question,
    story: &StoryId,
) -> Result<Receipt, Fault> {
    let rules = app.assembler();
    let ask = Ask {
        role: question.role,
        phase: question.phase,
        task: question.task.clone(),
        budget: Some(ROOM),
    };
    let told = story::read(app, story, call.deadline, |graph| {
        let selection = rules.select(graph, &ask).map_err(|why| match why {
            Refused::NoSuchTask { task } => Fault::not_found("task", task),
            other => Fault::denied(fleet_service::Reason::RoleNotAllowed, other.to_string()),
        })?;
        let keys = selection.fetch().cloned().collect();
        Ok((selection, keys))
    })
    .await?;
    let pack = rules.assemble(&told.chosen, &told.whole, &told.graph_version);
    Ok(pack.map_err(|_| Fault::not_found("story", story))?.receipt)
}

fn explained(
    app: &App,
    question: &Question,
    viewer: Viewer<'_>,
    item: &Item,
    receipt: &Receipt,
) -> pb::ExplainScopeResponse {
    let entity = item.entity();
    let Question { role, phase, .. } = question;
    let pair = app.scopes.of(*role, *phase);
    let shows = pair.map_or_else(|_| Vec::new(), |pair| of_pair(pair, entity));
    let columns = columns(app, question, item);
    let (kind, id) = (item.key().entity, item.id());
    match receipt.fate(kind, id) {
        // Enough for thousands of pages: somebody with less to say may have it.
        Some(Fate::In(_))
        | Some(Fate::Out(crate::domain::pack::Excluded {
            reason: Reason::Budget,
            ..
        })) => {
            let reason = format!("{role} is told of {kind} {id} in {phase}");
            pb::ExplainScopeResponse {
                visible: true,
                reason,
                scopes: shows,
                columns,
                rule: "none".to_owned(),
                exclusion: String::new(),
            }
        }
        Some(Fate::Out(out)) => {
            let rule = match out.reason {
                Reason::OutOfScope => "scope",
                Reason::RolePolicy => "row",
                Reason::Redacted => "column",
                _ => "none",
            };
            let scopes = match out.reason {
                Reason::OutOfScope => of_phase(app, question, entity),
                _ => shows,
            };
            let detail = match out.detail.is_empty() {
                true => String::new(),
                false => format!(": {}", out.detail),
            };
            pb::ExplainScopeResponse {
                visible: false,
                reason: format!("{role} is not told of {kind} {id} in {phase}{detail}"),
                scopes,
                columns,
                rule: rule.to_owned(),
                exclusion: out.reason.to_string(),
            }
        }
        None => {
            debug_assert!(app.policies.sees(viewer, item), "refused before");
            refusal(
                "none",
                Reason::Stale,
                format!("{kind} {id} is too old, or too far away, to be looked at"),
            )
        }
    }
}
