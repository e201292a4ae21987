//! ListAudit: the hops of tasks and the refused attempts as one trail.
//!
//! Hops and refusals are nodes of two kinds with one order (`time|task|seq`); a page is
//! merged from a page of each. Two reads side by side, more only when filters are combined.

use fleet_graph::{Index, MAX_PAGE, Node, Page, Scan, Total};
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
    let total = [&hops, &denials].iter().filter_map(|page| page.total).fold(
        Total::default(),
        |all, total| Total {
            count: all.count + total.count,
            is_lower_bound: all.is_lower_bound || total.is_lower_bound,
        },
    );
    let more = hops.more || denials.more || hops.nodes.len() + denials.nodes.len() > limit;
    let mut nodes: Vec<Node> = hops.nodes.into_iter().chain(denials.nodes).collect();
    nodes.sort_by(|a, b| a.ord.cmp(&b.ord));
    nodes.truncate(limit);
    let entries = nodes.iter().map(entry).collect::<Result<Vec<_>, Fault>>()?;
    let last = nodes.last().filter(|_| more);
    Ok(pb::ListAuditResponse {
        entries,
        total_count: render::int32(total.count),
        next_page_token: last.map_or_else(String::new, |node| pages::token(&filters, &node.ord)),
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

async fn read(
    engine: &Engine,
    call: &Call,
    source: Option<Source>,
    filter: &Filter,
    after: Option<String>,
    limit: usize,
) -> Result<Page, Fault> {
    let Some(source) = source else {
        return Ok(Page::default());
    };
    let size = if source.partial { MAX_PAGE } else { limit };
    let mut scan = Scan::new(source.index, source.values, size);
    if !source.partial {
        scan.after = after;
        scan.total = true;
        return Ok(engine.committer.store().scan(&scan, call.deadline).await?);
    }
    let mut found = Page::default();
    let mut total = Total::default();
    let mut looked_at = 0;
    loop {
        let page = engine.committer.store().scan(&scan, call.deadline).await?;
        looked_at += page.nodes.len();
        let last = page.nodes.last().map(|node| node.ord.clone());
        for node in page.nodes.into_iter().filter(|node| matches(filter, node)) {
            total.count += 1;
            if after.as_ref().is_some_and(|after| node.ord <= *after) {
                continue;
            }
            if found.nodes.len() < limit {
                found.nodes.push(node);
            } else {
                found.more = true;
            }
        }
        total.is_lower_bound = page.more;
        match last {
            Some(last) if page.more && looked_at < MAX_LOOKED_AT => scan.after = Some(last),
            _ => break,
        }
    }
    found.total = Some(total);
    Ok(found)
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
