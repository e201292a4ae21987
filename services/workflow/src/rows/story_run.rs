use fleet_graph::{CorruptRow, Label, Node, NodeKey, Props, props};
use fleet_types::{StoryId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::{Judged, Phase, StoryRun};

/// One execution of a story, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoryRunRow {
    story_id: StoryId,
    execution: i64,
    phase: Phase,
    total: i64,
    done: i64,
    cancelled: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completed_at: Option<Timestamp>,
    created_at: Timestamp,
    architect_verdicts: i64,
    architect_ms: i64,
    qa_verdicts: i64,
    qa_ms: i64,
    rejections: i64,
    done_here: i64,
    first_try: i64,
}

impl StoryRunRow {
    /// As it is stored.
    pub fn new(run: &StoryRun) -> Self {
        Self {
            story_id: run.story.clone(),
            execution: run.execution,
            phase: run.phase,
            total: run.total,
            done: run.done,
            cancelled: run.cancelled,
            completed_at: run.completed_at,
            created_at: run.created_at,
            architect_verdicts: run.judged.architect,
            architect_ms: run.judged.architect_ms,
            qa_verdicts: run.judged.qa,
            qa_ms: run.judged.qa_ms,
            rejections: run.rejections,
            done_here: run.done_here,
            first_try: run.first_try,
        }
    }

    /// The key of an execution.
    pub fn key_of(story: &StoryId, execution: i64) -> NodeKey {
        NodeKey::new(Label::StoryRun, format!("{story}/{execution}"))
    }

    /// Its place in listings.
    pub fn ord(&self) -> String {
        format!(
            "{}|{}|{:012}",
            self.created_at.rfc3339(),
            self.story_id,
            self.execution
        )
    }

    /// Its properties.
    pub fn props(&self) -> Props {
        props(self)
    }

    /// Reads a stored node.
    ///
    /// # Errors
    /// If the row is not one of ours.
    pub fn read(node: &Node) -> Result<StoryRun, CorruptRow> {
        let row: Self = node.row()?;
        Ok(StoryRun {
            story: row.story_id,
            execution: row.execution,
            phase: row.phase,
            total: row.total,
            done: row.done,
            cancelled: row.cancelled,
            completed_at: row.completed_at,
            created_at: row.created_at,
            judged: Judged {
                architect: row.architect_verdicts,
                architect_ms: row.architect_ms,
                qa: row.qa_verdicts,
                qa_ms: row.qa_ms,
            },
            rejections: row.rejections,
            done_here: row.done_here,
            first_try: row.first_try,
        })
    }
}
