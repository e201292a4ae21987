//! Receipts as answers, and GetReceipt.

use std::sync::Arc;

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, Violations};

use super::packs::SHORT_HASH;
use crate::app::{App, caller};
use crate::domain::pack::Receipt;

/// Digits of a whole hash.
const HASH: usize = 64;

/// Which scopes and policies hold.
pub(crate) fn policy_version(app: &App) -> String {
    format!("{}/{}", app.scopes.version(), app.policies.version())
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

/// A receipt as it goes on the wire.
pub(crate) fn answer(app: &App, receipt: &Receipt) -> pb::Receipt {
    let included = receipt.included.iter().map(|item| pb::ReceiptEntry {
        id: item.id.clone(),
        kind: item.kind.to_string(),
        path: item.path.clone(),
        section: item.section.to_string(),
        score: item.score.total,
        score_parts: item
            .score
            .parts
            .iter()
            .map(|(part, points)| (part.to_string(), *points))
            .collect(),
        tokens: count(item.tokens),
    });
    let mut excluded: Vec<pb::ReceiptExclusion> = receipt
        .excluded
        .iter()
        .map(|item| pb::ReceiptExclusion {
            id: item.id.clone(),
            kind: item.kind.to_string(),
            section: item.section.to_string(),
            reason: item.reason.to_string(),
            detail: item.detail.clone(),
        })
        .collect();
    excluded.sort_by(|a, b| (&a.kind, &a.id).cmp(&(&b.kind, &b.id)));
    pb::Receipt {
        hash: receipt.hash.clone(),
        story_id: receipt.story.to_string(),
        role: receipt.ask.role.to_string(),
        phase: receipt.ask.phase.to_string(),
        subtask_id: receipt
            .ask
            .task
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        token_budget: count(receipt.budget),
        token_count: count(receipt.tokens),
        head_tokens: count(receipt.head_tokens),
        graph_version: receipt.graph_version.clone(),
        policy_version: policy_version(app),
        tokenizer_version: receipt.counted_by.clone(),
        included: included.collect(),
        excluded,
    }
}

/// A context and its receipt, by hash.
///
/// # Errors
/// See the contract.
pub async fn get_receipt(
    app: &Arc<App>,
    call: &Call,
    request: pb::GetReceiptRequest,
) -> Result<pb::GetReceiptResponse, Fault> {
    let hash = request.hash.trim().to_ascii_lowercase();
    let digits = hash.bytes().all(|b| b.is_ascii_hexdigit());
    if !digits || !matches!(hash.len(), SHORT_HASH | HASH) {
        let mut v = Violations::new();
        v.add(
            "hash",
            format!("is not {HASH} hexadecimal digits, or {SHORT_HASH}"),
        );
        return Err(Fault::Invalid(v));
    }
    let policy = policy_version(app);
    let found = app.reads.packs.receipt(&hash, &policy).await;
    let found = found.ok_or_else(|| Fault::not_found("receipt", &hash))?;
    let role = found.receipt.as_ref().and_then(|r| r.role.parse().ok());
    match role {
        Some(role) if may_read(call, role) => Ok(found),
        _ => Err(Fault::denied(
            Reason::RoleNotAllowed,
            "the context was made for another role",
        )),
    }
}

/// Whether the caller may read what was made for a role.
pub(crate) fn may_read(call: &Call, role: Role) -> bool {
    caller::role_of(call, Some(role)).is_ok()
}
