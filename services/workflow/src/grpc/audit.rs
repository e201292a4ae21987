//! ListAudit: the hops of tasks and the refused attempts as one trail.
//!
//! Hops and refusals are nodes of two kinds with one order (`time|task|seq`); a page is
//! merged from a page of each. Two reads side by side, more only when filters are combined.

use fleet_graph::{Index, MAX_PAGE, Node, Scan, Total};
use fleet_proto::workflow::v1 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{StoryId, TaskId, Violations};
use serde_json::Value;

use super::{pages, render};
use crate::engine::Engine;
use crate::rows::{ACCESS_DENIED, AuditRow, CLAIM_EXPIRED, CLAIM_RELEASED, HopRow, TRANSITION};

const KINDS: [&str; 4] = [TRANSITION, CLAIM_RELEASED, CLAIM_EXPIRED, ACCESS_DENIED];
/// Most rows that one call looks at when filters are combined.
const MAX_LOOKED_AT: usize = 10 * MAX_PAGE;

struct Filter {
    task: Option<TaskId>,
    story: Option<StoryId>,
    kind: Option<&'static str>,
}

/// One of the two listings that make up the trail.
struct Source {
    index: Index,
    values: Vec<Value>,
    /// Whether the index does not cover all filters.
    partial: bool,
}

pub(super) async fn list(
    engine: &Engine,
    call: &Call,
    message: pb::ListAuditRequest,
) -> Result<pb::ListAuditResponse, Fault> {
    let mut v = Violations::new();
    let task: Option<TaskId> = v.parse_optional("task_id", &message.task_id);
    let story: Option<StoryId> = v.parse_optional("story_id", &message.story_id);
    let kind = kind(&mut v, &message.kind);
    let filters = format!(
        "audit:{}:{}:{}",
        task.as_ref().map_or("", TaskId::as_str),
        story.as_ref().map_or("", StoryId::as_str),
        kind.unwrap_or_default()
    );
    let after = pages::after(&mut v, &filters, &message.page_token);
    v.into_result()?;
    let filter = Filter { task, story, kind };
    let limit = pages::limit(message.limit, 100);
    let (hops, denials) = tokio::join!(
        read(engine, call, hops(&filter), &filter, after.clone(), limit),
        read(engine, call, denials(&filter), &filter, after, limit),
    );
    let (hops, denials) = (hops?, denials?);
    let total = Total {
        count: hops.total.count + denials.total.count,
        is_lower_bound: hops.total.is_lower_bound || denials.total.is_lower_bound,
    };
    // Behind the place that one source was read up to, the other's entries wait, too.
    let horizon = [&hops.read_to, &denials.read_to]
        .into_iter()
        .flatten()
        .min()
        .cloned();
    let mut nodes: Vec<Node> = hops.nodes.into_iter().chain(denials.nodes).collect();
    nodes.sort_by(|a, b| a.ord.cmp(&b.ord));
    if let Some(horizon) = &horizon {
        nodes.retain(|node| node.ord <= *horizon);
    }
    let next = match nodes.get(limit) {
        Some(_) => nodes.get(limit - 1).map(|node| node.ord.clone()),
        None => horizon,
    };
    nodes.truncate(limit);
    let entries = nodes.iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
    Ok(pb::ListAuditResponse {
        entries,
        total_count: render::int32(total.count),
        next_page_token: next.map_or_else(String::new, |ord| pages::token(&filters, &ord)),
        total_is_lower_bound: total.is_lower_bound,
    })
}

fn kind(v: &mut Violations, text: &str) -> Option<&'static str> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let known = KINDS
        .into_iter()
        .find(|kind| kind.eq_ignore_ascii_case(text));
    if known.is_none() {
        let error = fleet_types::UnknownWord::new("kind", text, KINDS);
        v.add("kind", error);
    }
    known
}

fn hops(filter: &Filter) -> Option<Source> {
    if filter.kind == Some(ACCESS_DENIED) {
        return None;
    }
    Some(match (&filter.task, &filter.story, filter.kind) {
        (Some(task), story, kind) => Source {
            index: Index::TaskTransitionsByTask,
            values: vec![task.as_str().into()],
            partial: story.is_some() || kind.is_some(),
        },
        (None, Some(story), kind) => Source {
            index: Index::TaskTransitionsByStory,
            values: vec![story.as_str().into()],
            partial: kind.is_some(),
        },
        (None, None, Some(kind)) => Source {
            index: Index::TaskTransitionsByKind,
            values: vec![kind.into()],
            partial: false,
        },
        (None, None, None) => Source {
            index: Index::TaskTransitions,
            values: Vec::new(),
            partial: false,
        },
    })
}

fn denials(filter: &Filter) -> Option<Source> {
    if filter.kind.is_some_and(|kind| kind != ACCESS_DENIED) {
        return None;
    }
    Some(match (&filter.task, &filter.story) {
        (Some(task), story) => Source {
            index: Index::AuditEntriesByTask,
            values: vec![task.as_str().into()],
            partial: story.is_some(),
        },
        (None, Some(story)) => Source {
            index: Index::AuditEntriesByStory,
            values: vec![story.as_str().into()],
            partial: false,
        },
        (None, None) => Source {
            index: Index::AuditEntries,
            values: Vec::new(),
            partial: false,
        },
    })
}

/// What one source gives to a page.
#[derive(Default)]
struct Part {
    nodes: Vec<Node>,
    /// The place up to which it was read; `None` = to its end.
    read_to: Option<String>,
    total: Total,
}

async fn read(
    engine: &Engine,
    call: &Call,
    source: Option<Source>,
    filter: &Filter,
    after: Option<String>,
    limit: usize,
) -> Result<Part, Fault> {
    let Some(source) = source else {
        return Ok(Part::default());
    };
    if source.partial {
        return look_through(engine, call, source, filter, after, limit).await;
    }
    let mut scan = Scan::new(source.index, source.values, limit);
    scan.after = after;
    scan.total = true;
    let page = engine.committer.store().scan(&scan, call.deadline).await?;
    let last = page.nodes.last().map(|node| node.ord.clone());
    Ok(Part {
        read_to: last.filter(|_| page.more),
        total: page.total.unwrap_or_default(),
        nodes: page.nodes,
    })
}

/// Reads a source whose index does not cover all filters: from the beginning, because the
/// total is wanted too, and from `after` on until the page is full. Looks at a bounded number
/// of rows; the page then goes on where it stopped, and the total is a lower bound.
async fn look_through(
    engine: &Engine,
    call: &Call,
    source: Source,
    filter: &Filter,
    after: Option<String>,
    limit: usize,
) -> Result<Part, Fault> {
    let store = engine.committer.store();
    let mut part = Part::default();
    let mut scan = Scan::new(source.index, source.values.clone(), MAX_PAGE);
    for _ in 0..MAX_LOOKED_AT / MAX_PAGE {
        let page = store.scan(&scan, call.deadline).await?;
        part.total.count += page.nodes.iter().filter(|n| matches(filter, n)).count() as u64;
        part.total.is_lower_bound = page.more;
        scan.after = page.nodes.last().map(|node| node.ord.clone());
        if !page.more {
            break;
        }
    }
    let mut scan = Scan::new(source.index, source.values, MAX_PAGE);
    scan.after = after;
    for _ in 0..MAX_LOOKED_AT / MAX_PAGE {
        let page = store.scan(&scan, call.deadline).await?;
        scan.after = page.nodes.last().map(|node| node.ord.clone());
        part.read_to = scan.after.clone().filter(|_| page.more);
        part.nodes
            .extend(page.nodes.into_iter().filter(|n| matches(filter, n)));
        if !page.more || part.nodes.len() >= limit {
            break;
        }
    }
    Ok(part)
}

fn matches(filter: &Filter, node: &Node) -> bool {
    let has =
        |field: &str, wanted: &str| node.props.get(field).and_then(Value::as_str) == Some(wanted);
    filter
        .story
        .as_ref()
        .is_none_or(|story| has("story_id", story.as_str()))
        && filter.kind.is_none_or(|kind| has("kind", kind))
}

fn entry(node: &Node) -> Result<pb::AuditEntry, Fault> {
    let entry = match node.key.label() {
        fleet_graph::Label::TaskTransition => {
            HopRow::read(node).and_then(|row| render::audit_hop(&row))
        }
        _ => AuditRow::read(node).map(|row| render::audit_denial(&row)),
    };
    entry.map_err(Fault::internal)
}
