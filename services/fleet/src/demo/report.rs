//! What stands at the end of the demo: the audit trail, and the summary as one JSON object.

use std::path::PathBuf;

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use fleet_proto::planning::v2::GetStoryHistoryRequest;
use fleet_proto::workflow::v1::ListAuditRequest;
use fleet_types::Timestamp;
use serde::Serialize;

use super::client::{Fleet, explain};
use super::script::{Decided, Given, Outcome};

/// The summary that `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The story.
    pub story_id: String,
    /// The state it reached.
    pub story_state: String,
    /// How many tasks it had.
    pub tasks: usize,
    /// How many hops all tasks made together.
    pub hops: usize,
    /// How many rejections led to rework.
    pub reworks: i64,
    /// How many claims were taken over after their lease had run out.
    pub lease_takeovers: u64,
    /// How many events the bus took.
    pub events_published: u64,
    /// How many messages were parked (none, if all is well).
    pub events_parked: u64,
    /// How long it took.
    pub seconds: f64,
    /// What each agent was told, in the order of the play.
    pub contexts: Vec<Given>,
    /// The directory with their texts and receipts.
    pub contexts_in: PathBuf,
    /// What the architect decided, and who was told of it.
    pub decision: Option<Decided>,
}

/// The audit trail of the story and all its tasks, and the number of hops in it.
pub async fn audit_trail(fleet: &Fleet, outcome: &Outcome) -> anyhow::Result<(String, usize)> {
    let mut rows: Vec<(Timestamp, [String; 6])> = Vec::new();
    let history = fleet
        .planning
        .clone()
        .get_story_history(GetStoryHistoryRequest {
            story_id: outcome.story_id.clone(),
            limit: 1000,
            ..GetStoryHistoryRequest::default()
        })
        .await
        .map_err(|s| explain(&s))?
        .into_inner();
    for entry in history.entries {
        let at = Timestamp::parse(&entry.at)?;
        rows.push((
            at,
            [
                "story".to_owned(),
                entry.from_state,
                entry.to_state,
                "transition".to_owned(),
                entry.actor,
                first_of(&[&entry.override_reason, &entry.reason]),
            ],
        ));
    }
    let mut hops = 0;
    let mut page_token = String::new();
    loop {
        let page = fleet
            .workflow
            .clone()
            .list_audit(ListAuditRequest {
                story_id: outcome.story_id.clone(),
                limit: 1000,
                page_token,
                ..ListAuditRequest::default()
            })
            .await
            .map_err(|s| explain(&s))?
            .into_inner();
        for entry in page.entries {
            hops += usize::from(entry.kind == "transition");
            let task = outcome
                .tasks
                .iter()
                .position(|(id, _)| *id == entry.task_id);
            let what = task.map_or(entry.task_id, |i| format!("task {}", i + 1));
            let action = if entry.action.is_empty() {
                entry.kind
            } else {
                entry.action
            };
            rows.push((
                Timestamp::from_millis(entry.at_ms),
                [
                    what,
                    entry.from_state,
                    entry.to_state,
                    action,
                    first_of(&[&entry.agent_id, &entry.actor, &entry.actor_role]),
                    first_of(&[&entry.feedback, &entry.detail]),
                ],
            ));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(["time", "what", "from", "to", "action", "by", "why"]);
    if !console::user_attended() {
        table.set_width(150);
    }
    for (at, [what, from, to, action, by, why]) in rows {
        let time = at.rfc3339()[11..23].to_owned();
        table.add_row([time, what, from, to, action, by, why]);
    }
    Ok((table.to_string(), hops))
}

fn first_of(texts: &[&String]) -> String {
    texts
        .iter()
        .find(|t| !t.is_empty())
        .map(|t| (*t).clone())
        .unwrap_or_default()
}
