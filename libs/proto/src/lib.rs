//! The gRPC contracts as Rust: messages, clients and servers, generated from `proto/`
//! at build time, and the descriptor set that reflection serves.
//!
//! Nothing here knows a domain: a service turns these types into its own at its edge.
//! Maps are `BTreeMap`, so encoding a message is deterministic.

/// All contracts as an encoded `google.protobuf.FileDescriptorSet`, imports and comments
/// included; what gRPC server reflection serves.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor_set.bin"));

/// Context: what an agent is given to know, with its receipt.
pub mod context {
    /// `fleet.context.v1`.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::needless_pass_by_value,
        reason = "generated code; its comments are those of the contract"
    )]
    pub mod v1 {
        tonic::include_proto!("fleet.context.v1");
    }
}

/// Planning: projects, epics, stories, tasks, gates.
pub mod planning {
    /// `fleet.planning.v2`.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::needless_pass_by_value,
        reason = "generated code; its comments are those of the contract"
    )]
    pub mod v2 {
        tonic::include_proto!("fleet.planning.v2");
    }
}

/// Workflow: the way of a task from role to role.
pub mod workflow {
    /// `fleet.workflow.v1`.
    #[allow(
        missing_docs,
        clippy::all,
        clippy::allow_attributes_without_reason,
        clippy::needless_pass_by_value,
        reason = "generated code; its comments are those of the contract"
    )]
    pub mod v1 {
        tonic::include_proto!("fleet.workflow.v1");
    }
}

/// A request that can be made repeatable.
pub trait Keyed: prost::Message + Send + Sync + 'static {
    /// Takes the `request_id` out; what is left is the content.
    fn take_request_id(&mut self) -> String;
}

macro_rules! keyed {
    ($request:ty) => {
        impl Keyed for $request {
            fn take_request_id(&mut self) -> String {
                std::mem::take(&mut self.request_id)
            }
        }
    };
}

// Every message of the contracts that has a `request_id`.
include!(concat!(env!("OUT_DIR"), "/keyed.rs"));

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use prost_types::{FileDescriptorProto, FileDescriptorSet};

    fn file(package: &str) -> FileDescriptorProto {
        FileDescriptorSet::decode(DESCRIPTOR_SET)
            .expect("a descriptor set")
            .file
            .into_iter()
            .find(|file| file.package() == package)
            .unwrap_or_else(|| panic!("{package} is in the descriptor set"))
    }

    fn number(package: &str, message: &str, field: &str) -> i32 {
        let file = file(package);
        let message = file
            .message_type
            .iter()
            .find(|m| m.name() == message)
            .unwrap_or_else(|| panic!("{package} has {message}"));
        message
            .field
            .iter()
            .find(|f| f.name() == field)
            .unwrap_or_else(|| panic!("{} has {field}", message.name()))
            .number()
    }

    #[test]
    fn the_descriptor_set_names_every_service_and_all_their_calls() {
        let calls = |package| -> Vec<String> {
            file(package)
                .service
                .iter()
                .flat_map(|s| {
                    s.method
                        .iter()
                        .map(|m| format!("{}/{}", s.name(), m.name()))
                })
                .collect()
        };
        let context = calls("fleet.context.v1");
        assert_eq!(context.len(), 13);
        assert!(context.contains(&"ContextService/GetGraphRelationships".to_owned()));
        let planning = calls("fleet.planning.v2");
        assert_eq!(planning.len(), 22);
        assert!(planning.contains(&"PlanningService/ApprovePlan".to_owned()));
        let workflow = calls("fleet.workflow.v1");
        assert_eq!(workflow.len(), 10);
        assert!(workflow.contains(&"WorkflowOrchestrationService/WatchTasks".to_owned()));
    }

    #[test]
    fn comments_survive_into_the_descriptor_set() {
        let commented = |package| {
            file(package).source_code_info.map_or(0, |info| {
                info.location
                    .iter()
                    .filter(|l| l.leading_comments.is_some())
                    .count()
            })
        };
        assert!(commented("fleet.context.v1") > 200);
        assert!(commented("fleet.planning.v2") > 200);
        assert!(commented("fleet.workflow.v1") > 150);
    }

    /// Numbers every published client depends on, and those all our additions share.
    #[test]
    fn field_numbers_are_the_published_ones() {
        for (message, field, expected) in [
            ("GetContextRequest", "token_budget", 5),
            ("GetContextResponse", "blocks", 5),
            ("GetContextResponse", "receipt", 110),
            ("ContextChange", "reason", 5),
            ("UpdateContextResponse", "warnings", 3),
            ("RehydrateSessionRequest", "ttl_seconds", 7),
            ("RoleContextPack", "token_budget_hint", 10),
            ("PlanHeader", "completed_subtasks", 5),
            ("Decision", "decided_at", 6),
            ("Milestone", "actor", 4),
            ("RehydrationStats", "roles", 5),
            ("ValidateScopeResponse", "reason", 4),
            ("CreateTaskRequest", "estimated_hours", 8),
            ("AddProjectDecisionRequest", "metadata", 6),
            ("TransitionPhaseResponse", "transitioned_at", 3),
            ("GetGraphRelationshipsResponse", "message", 5),
            ("GraphNode", "title", 5),
            ("GraphRelationship", "properties", 4),
        ] {
            assert_eq!(
                number("fleet.context.v1", message, field),
                expected,
                "{message}.{field}"
            );
        }
        for (message, field, expected) in [
            ("Story", "epic_id", 2),
            ("Story", "dor_score", 6),
            ("Story", "updated_at", 9),
            ("Story", "version", 101),
            ("Task", "plan_id", 3),
            ("Task", "priority", 10),
            ("Task", "updated_at", 12),
            ("CreateStoryRequest", "epic_id", 1),
            ("CreateStoryRequest", "created_by", 4),
            ("CreateStoryRequest", "request_id", 100),
            ("ListStoriesRequest", "epic_id", 4),
            ("ListStoriesRequest", "page_token", 103),
            ("ListStoriesResponse", "total_is_lower_bound", 104),
            ("TransitionStoryRequest", "expected_version", 102),
            ("CreateTaskRequest", "priority", 8),
        ] {
            assert_eq!(
                number("fleet.planning.v2", message, field),
                expected,
                "{message}.{field}"
            );
        }
        for (message, field, expected) in [
            ("GetWorkflowStateResponse", "history", 5),
            ("GetWorkflowStateResponse", "retry_count", 8),
            ("GetWorkflowStateResponse", "version", 101),
            ("StateTransitionDTO", "feedback", 6),
            ("RequestValidationRequest", "agent_id", 5),
            ("RequestValidationRequest", "claim_epoch", 110),
            ("RequestValidationResponse", "workflow_completed", 6),
            ("PendingTask", "priority", 7),
            ("WorkToValidate", "metadata", 5),
            ("ClaimTaskResponse", "claimed_at", 4),
            ("GetStatsResponse", "approval_rate", 11),
        ] {
            assert_eq!(
                number("fleet.workflow.v1", message, field),
                expected,
                "{message}.{field}"
            );
        }
    }

    #[test]
    fn a_message_with_a_map_has_one_encoding() {
        let result = |keys: [&str; 3]| workflow::v1::WorkResult {
            artifacts: keys.map(|k| (k.to_owned(), k.to_owned())).into(),
            ..Default::default()
        };
        assert_eq!(
            result(["branch", "commit_sha", "files_changed"]).encode_to_vec(),
            result(["files_changed", "branch", "commit_sha"]).encode_to_vec(),
        );
    }
}
