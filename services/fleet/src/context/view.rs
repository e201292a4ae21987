//! Answers of the context service as JSON: the names are those of the contract.

use std::collections::BTreeMap;

use fleet_proto::context::v1 as wire;
use serde::{Deserialize, Serialize};

/// What `fleet context get --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The text that a model is given.
    pub context: String,
    /// Its tokens.
    pub token_count: i32,
    /// The scopes that were rendered.
    pub scopes: Vec<String>,
    /// First 16 digits of `hash`.
    pub version: String,
    /// The text in parts.
    pub blocks: Option<Blocks>,
    /// What went in and what did not.
    pub receipt: Option<Receipt>,
    /// Whether it is an older answer that may have been overtaken.
    pub stale: bool,
    /// SHA-256 of `context`.
    pub hash: String,
    /// The versions of the graph it was made from.
    pub graph_version: String,
    /// The budget that held.
    pub token_budget: i32,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// The parts of a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// Who the model is, and what it is to do.
    pub system: String,
    /// What it should know.
    pub context: String,
    /// What it may use.
    pub tools: String,
}

/// What went into a context and what did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receipt {
    /// SHA-256 of the context.
    pub hash: String,
    /// The story.
    pub story_id: String,
    /// The role it was made for.
    pub role: String,
    /// The phase it was made for.
    pub phase: String,
    /// The task it was made for; empty if none.
    pub subtask_id: String,
    /// The budget that held, in tokens.
    pub token_budget: i32,
    /// Tokens of the context.
    pub token_count: i32,
    /// Tokens of what no smaller budget can do without.
    pub head_tokens: i32,
    /// The versions of the graph it was made from.
    pub graph_version: String,
    /// Which scopes and policies held.
    pub policy_version: String,
    /// What counted the tokens, and what redacted.
    pub tokenizer_version: String,
    /// What went in, in the order of the context.
    pub included: Vec<Entry>,
    /// What did not.
    pub excluded: Vec<Exclusion>,
}

/// Something that went into a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// How the graph leads to it from the story.
    pub path: String,
    /// The section it is in.
    pub section: String,
    /// Its score.
    pub score: i64,
    /// What the score is made of.
    pub score_parts: BTreeMap<String, i64>,
    /// Tokens that it takes.
    pub tokens: i32,
}

/// Something that did not go into a context.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Its id.
    pub id: String,
    /// What it is.
    pub kind: String,
    /// The section it would have been in; empty if none.
    pub section: String,
    /// Why, as a code.
    pub reason: String,
    /// Why, in words.
    pub detail: String,
}

/// What `fleet context graph --format json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The node that was asked for.
    pub node: Option<Node>,
    /// What is near it.
    pub neighbors: Vec<Node>,
    /// The relationships between all of them.
    pub relationships: Vec<Relationship>,
    /// Whether the limit left some out.
    pub truncated: bool,
    /// How many nodes the role may not see.
    pub hidden: i32,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// What the role may see of it.
    pub properties: BTreeMap<String, String>,
    /// Its label.
    pub r#type: String,
    /// Its title; may be empty.
    pub title: String,
}

/// A relationship.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relationship {
    /// Where it starts.
    pub from_node_id: String,
    /// Where it ends.
    pub to_node_id: String,
    /// Its type.
    pub r#type: String,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// Label of the node where it starts.
    pub from_type: String,
    /// Label of the node where it ends.
    pub to_type: String,
}

impl From<wire::GetContextResponse> for Answer {
    fn from(of: wire::GetContextResponse) -> Self {
        Self {
            context: of.context,
            token_count: of.token_count,
            scopes: of.scopes,
            version: of.version,
            blocks: of.blocks.map(Blocks::from),
            receipt: of.receipt.map(Receipt::from),
            stale: of.stale,
            hash: of.hash,
            graph_version: of.graph_version,
            token_budget: of.token_budget,
            warnings: of.warnings,
        }
    }
}

impl From<wire::PromptBlocks> for Blocks {
    fn from(of: wire::PromptBlocks) -> Self {
        Self {
            system: of.system,
            context: of.context,
            tools: of.tools,
        }
    }
}

impl From<wire::Receipt> for Receipt {
    fn from(of: wire::Receipt) -> Self {
        Self {
            hash: of.hash,
            story_id: of.story_id,
            role: of.role,
            phase: of.phase,
            subtask_id: of.subtask_id,
            token_budget: of.token_budget,
            token_count: of.token_count,
            head_tokens: of.head_tokens,
            graph_version: of.graph_version,
            policy_version: of.policy_version,
            tokenizer_version: of.tokenizer_version,
            included: of.included.into_iter().map(Entry::from).collect(),
            excluded: of.excluded.into_iter().map(Exclusion::from).collect(),
        }
    }
}

impl From<wire::ReceiptEntry> for Entry {
    fn from(of: wire::ReceiptEntry) -> Self {
        Self {
            id: of.id,
            kind: of.kind,
            path: of.path,
            section: of.section,
            score: of.score,
            score_parts: of.score_parts,
            tokens: of.tokens,
        }
    }
}

impl From<wire::ReceiptExclusion> for Exclusion {
    fn from(of: wire::ReceiptExclusion) -> Self {
        Self {
            id: of.id,
            kind: of.kind,
            section: of.section,
            reason: of.reason,
            detail: of.detail,
        }
    }
}

impl From<wire::GetGraphRelationshipsResponse> for Graph {
    fn from(of: wire::GetGraphRelationshipsResponse) -> Self {
        let relationships = of.relationships.into_iter();
        Self {
            node: of.node.map(Node::from),
            neighbors: of.neighbors.into_iter().map(Node::from).collect(),
            relationships: relationships.map(Relationship::from).collect(),
            truncated: of.truncated,
            hidden: of.hidden,
            warnings: of.warnings,
        }
    }
}

impl From<wire::GraphNode> for Node {
    fn from(of: wire::GraphNode) -> Self {
        Self {
            id: of.id,
            labels: of.labels,
            properties: of.properties,
            r#type: of.r#type,
            title: of.title,
        }
    }
}

impl From<wire::GraphRelationship> for Relationship {
    fn from(of: wire::GraphRelationship) -> Self {
        Self {
            from_node_id: of.from_node_id,
            to_node_id: of.to_node_id,
            r#type: of.r#type,
            properties: of.properties,
            from_type: of.from_type,
            to_type: of.to_type,
        }
    }
}
