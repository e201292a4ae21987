//! Receipts as answers, and GetReceipt.

use std::sync::Arc;

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, Violations};
use prost::Message;

use super::packs::SHORT_HASH;
use crate::app::{App, caller};
use crate::domain::pack::{Excluded, Receipt};

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
pub(crate) fn answer(policy_version: &str, receipt: &Receipt) -> pb::Receipt {
    let excluded = in_order(&receipt.excluded).into_iter();
    pb::Receipt {
        excluded: excluded
            .map(|item| pb::ReceiptExclusion {
                id: item.id.to_string(),
                kind: item.kind.to_string(),
                section: item.section.to_string(),
                reason: item.reason.to_string(),
                detail: item.detail.to_string(),
            })
            .collect(),
        ..without_exclusions(policy_version, receipt)
    }
}

/// By kind and id, as the contract has it.
fn in_order(excluded: &[Excluded]) -> Vec<&Excluded> {
    let mut excluded: Vec<_> = excluded.iter().collect();
    excluded.sort_by(|a, b| (a.kind.as_str(), &a.id).cmp(&(b.kind.as_str(), &b.id)));
    excluded
}

fn without_exclusions(policy_version: &str, receipt: &Receipt) -> pb::Receipt {
    let included = receipt.included.iter().map(|item| pb::ReceiptEntry {
        id: item.id.to_string(),
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
        policy_version: policy_version.to_owned(),
        tokenizer_version: receipt.counted_by.clone(),
        included: included.collect(),
        excluded: Vec::new(),
    }
}

/// [`answer`], encoded. What was left out is written piece by piece from where it stands: a
/// story has thousands of such entries, every new context keeps a receipt, and hardly anybody
/// asks for it.
pub(crate) fn encode(policy_version: &str, receipt: &Receipt) -> Vec<u8> {
    /// `pb::Receipt::excluded`.
    const EXCLUDED: u32 = 13;
    let head = without_exclusions(policy_version, receipt);
    let most = |item: &Excluded| 48 + item.id.len() + item.detail.len();
    let rest: usize = receipt.excluded.iter().map(most).sum();
    let mut bytes = Vec::with_capacity(head.encoded_len() + rest);
    head.encode(&mut bytes).expect("a vector has room");
    for item in in_order(&receipt.excluded) {
        let fields = [
            (1, [&*item.id, "", ""]),
            (2, [item.kind.as_str(), "", ""]),
            (3, [item.section.as_str(), "", ""]),
            (4, [item.reason.as_str(), "", ""]),
            (5, item.detail.parts()),
        ];
        let length = fields.iter().map(|(_, parts)| text_len(parts)).sum();
        push_length(EXCLUDED, length, &mut bytes);
        for (tag, parts) in fields {
            if text_len(&parts) > 0 {
                push_length(tag, parts.iter().map(|part| part.len()).sum(), &mut bytes);
                parts
                    .iter()
                    .for_each(|part| bytes.extend_from_slice(part.as_bytes()));
            }
        }
    }
    bytes
}

/// How long a text in parts is as a field with a tag below 16; an empty one is left out.
fn text_len(parts: &[&str; 3]) -> usize {
    match parts.iter().map(|part| part.len()).sum() {
        0 => 0,
        length => 1 + prost::length_delimiter_len(length) + length,
    }
}

/// The head of a field with a tag below 16 and so many bytes.
pub(super) fn push_length(tag: u32, length: usize, bytes: &mut Vec<u8>) {
    const LENGTH_DELIMITED: u32 = 2;
    bytes.push(u8::try_from(tag << 3 | LENGTH_DELIMITED).expect("a tag below 16"));
    prost::encode_length_delimiter(length, bytes).expect("a vector has room");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::pack::{Note, Reason, Section};
    use crate::domain::{Entity, Id};

    fn receipt(excluded: Vec<Excluded>) -> Receipt {
        let without = serde_json::json!({
            "story": "s-1", "ask": {"role": "developer", "phase": "BUILD", "task": "T-1"},
            "budget": 4_000, "tokens": 3_990, "frame_tokens": 300, "head_tokens": 500,
            "hash": "0a".repeat(32), "graph_version": "1.2.3", "policy_version": "p",
            "scopes_version": "s", "counted_by": "o200k/r1", "scopes": ["CASE_HEADER"],
            "included": [{
                "id": "DEC-1", "kind": "decision", "path": "Story/s-1-HAS_DECISION->Decision/DEC-1",
                "section": "decisions", "score": {"total": 7, "parts": {"recency": 7}}, "tokens": 9,
            }],
            "excluded": [],
        });
        let mut receipt: Receipt = serde_json::from_value(without).unwrap();
        receipt.excluded = excluded;
        receipt
    }

    #[test]
    fn an_encoded_receipt_is_the_one_that_is_answered() {
        let excluded = |kind, id: &str, detail| Excluded {
            section: Section::Decisions,
            kind,
            id: Id::from(id),
            reason: Reason::Superseded,
            detail,
        };
        let long = "x".repeat(40_000);
        let all = vec![
            excluded(Entity::Task, "T-2", Note::default()),
            excluded(Entity::Decision, "DEC-3", Note::new("by ", "DEC-1", "")),
            excluded(Entity::Decision, "DEC-2", Note::from("rejected")),
            excluded(
                Entity::Relation,
                &long,
                Note::new("", &*long, " is left out"),
            ),
            excluded(Entity::Relation, &"y".repeat(127), Note::default()),
        ];
        for excluded in [Vec::new(), all] {
            let receipt = receipt(excluded);
            let answered = answer("p/1", &receipt);
            let encoded = encode("p/1", &receipt);
            assert_eq!(pb::Receipt::decode(&*encoded).unwrap(), answered);
            assert_eq!(encoded, answered.encode_to_vec());
        }
    }
}
