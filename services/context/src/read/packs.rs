//! What was answered before, kept for a while: contexts, their receipts, bundles of packs.
//!
//! A context is kept under what was asked and the rules that hold, and says which versions of
//! the graph it was made from: it is served as current only if a digest gives the same ones, so
//! a change needs no invalidation. Losing any of this costs time only.

use std::time::Duration;

use bytes::Bytes;
use fleet_cache::{Cache, Key, Namespace, Tolerant};
use fleet_proto::context::v1 as pb;
use fleet_types::{Role, StoryId, TaskId};
use prost::Message;

use super::receipt::push_length;
use crate::domain::Phase;

const PACKS: Namespace = Namespace::new("ctx-pack");
const RECEIPTS: Namespace = Namespace::new("ctx-receipt");
const BUNDLES: Namespace = Namespace::new("ctx-handoff");

/// Changes when the same bytes would mean something else.
const FORMAT: u8 = 1;

/// Digits of a hash that name a receipt.
pub(crate) const SHORT_HASH: usize = 16;

/// How long things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Contexts.
    pub packs: Duration,
    /// Receipts with their contexts.
    pub receipts: Duration,
}

impl Default for Kept {
    fn default() -> Self {
        Self {
            packs: Duration::from_secs(60 * 60),
            receipts: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Which context somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub story: StoryId,
    pub role: Role,
    pub phase: Phase,
    pub task: Option<TaskId>,
    /// In tokens; `None`: the role's default.
    pub budget: Option<u32>,
}

/// Answers of this process and, where the cache is shared, of others.
#[derive(Debug, Clone)]
pub(crate) struct Packs {
    cache: Tolerant,
    kept: Kept,
    /// Everything but the question that decides on an answer: policies, scopes, tokenizer,
    /// redaction.
    rules: String,
}

impl Packs {
    pub fn new(cache: std::sync::Arc<dyn Cache>, kept: Kept, rules: String) -> Self {
        let cache = Tolerant::new(cache);
        Self { cache, kept, rules }
    }

    fn pack_key(&self, question: &Question) -> Key {
        let Question {
            story,
            role,
            phase,
            task,
            budget,
        } = question;
        Key::new(PACKS)
            .text(&self.rules)
            .text(story.as_str())
            .text(role.as_str())
            .text(phase.as_str())
            .text(task.as_ref().map_or("", TaskId::as_str))
            .number(budget.unwrap_or(0))
    }

    fn receipt_key(hash: &str) -> Key {
        Key::new(RECEIPTS).text(hash.get(..SHORT_HASH).unwrap_or(hash))
    }

    /// The last answer to a question, without its receipt. Of which versions of the graph it
    /// is stands in it.
    pub async fn last(&self, question: &Question) -> Option<pb::GetContextResponse> {
        decode(&self.cache.get(&self.pack_key(question)).await?)
    }

    /// Keeps an answer without receipt, and its receipt as [`encoded`](super::receipt::encode).
    pub async fn keep(&self, question: &Question, answer: &pb::GetContextResponse, receipt: &[u8]) {
        debug_assert!(answer.receipt.is_none(), "it is kept beside");
        let key = Self::receipt_key(&answer.hash);
        let with_text = with_text(receipt, &answer.context);
        self.cache.set(&key, with_text, self.kept.receipts).await;
        let key = self.pack_key(question);
        self.cache.set(&key, encode(answer), self.kept.packs).await;
    }

    /// The receipt and the context of that hash (whole, or its first 16 digits), unless other
    /// rules hold by now: what they hide must not come out of here.
    pub async fn receipt(&self, hash: &str, policy: &str) -> Option<pb::GetReceiptResponse> {
        let found: pb::GetReceiptResponse =
            decode(&self.cache.get(&Self::receipt_key(hash)).await?)?;
        let receipt = found.receipt.as_ref()?;
        (receipt.hash.starts_with(hash) && receipt.policy_version == policy).then_some(found)
    }

    /// Keeps a bundle under its id; says whether it is kept.
    pub async fn keep_bundle(&self, bundle: &pb::RehydrateSessionResponse, ttl: Duration) -> bool {
        let key = self.bundle_key(&bundle.bundle_id);
        self.cache.set(&key, encode(bundle), ttl).await
    }

    /// The bundle of that id.
    pub async fn bundle(&self, id: &str) -> Option<pb::RehydrateSessionResponse> {
        decode(&self.cache.get(&self.bundle_key(id)).await?)
    }

    fn bundle_key(&self, id: &str) -> Key {
        Key::new(BUNDLES).text(&self.rules).text(id)
    }
}

fn encode(message: &impl Message) -> Bytes {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(FORMAT);
    message
        .encode(&mut bytes)
        .expect("a vector has room for every message");
    bytes.into()
}

/// A `pb::GetReceiptResponse` of an encoded receipt and its context.
fn with_text(receipt: &[u8], context: &str) -> Bytes {
    let mut bytes = Vec::with_capacity(16 + receipt.len() + context.len());
    bytes.push(FORMAT);
    for (tag, part) in [(1, receipt), (2, context.as_bytes())] {
        push_length(tag, part.len(), &mut bytes);
        bytes.extend_from_slice(part);
    }
    bytes.into()
}

/// What is not ours is as good as lost.
fn decode<M: Message + Default>(bytes: &Bytes) -> Option<M> {
    let (format, message) = bytes.split_first()?;
    (*format == FORMAT)
        .then(|| M::decode(message).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_kept_with_its_context() {
        let kept = pb::GetReceiptResponse {
            receipt: Some(pb::Receipt {
                hash: "0a".repeat(32),
                ..pb::Receipt::default()
            }),
            context: "# System\n".repeat(40),
        };
        let receipt = kept.receipt.as_ref().map(Message::encode_to_vec);
        let bytes = with_text(&receipt.unwrap(), &kept.context);
        assert_eq!(decode(&bytes), Some(kept));
    }
}
