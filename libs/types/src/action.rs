crate::words! {
    /// What may be done to a task. Lower snake case on the wire; any case is accepted.
    pub enum Action("action") {
        ApproveDesign = "approve_design",
        RejectDesign = "reject_design",
        ReviewArchitecture = "review_architecture",
        ExecuteTask = "execute_task",
        RunTests = "run_tests",
        CommitCode = "commit_code",
        ReviseCode = "revise_code",
        ApproveProposal = "approve_proposal",
        RejectProposal = "reject_proposal",
        RequestRefinement = "request_refinement",
        ApproveScope = "approve_scope",
        ModifyConstraints = "modify_constraints",
        ApproveStory = "approve_story",
        RejectStory = "reject_story",
        ApproveTests = "approve_tests",
        RejectTests = "reject_tests",
        ValidateCompliance = "validate_compliance",
        ValidateSpec = "validate_spec",
        DeployService = "deploy_service",
        ConfigureInfra = "configure_infra",
        RollbackDeployment = "rollback_deployment",
        ExecuteMigration = "execute_migration",
        ValidateSchema = "validate_schema",
        ClaimTask = "claim_task",
        ClaimReview = "claim_review",
        ClaimTesting = "claim_testing",
        RequestReview = "request_review",
        Retry = "retry",
        Cancel = "cancel",
        DiscardTask = "discard_task",
        AssignToDeveloper = "assign_to_developer",
        AutoRouteToArchitect = "auto_route_to_architect",
        AutoRouteToQa = "auto_route_to_qa",
        AutoRouteToPo = "auto_route_to_po",
        AutoComplete = "auto_complete",
        /// The story was released: the task begins, or begins anew in another execution.
        ReleaseTask = "release_task",
        /// A claim given back by its holder.
        ReleaseClaim = "release_claim",
        /// A claim whose lease ran out.
        ExpireClaim = "expire_claim",
        /// A wait beyond its SLA, or one rejection too many.
        Escalate = "escalate",
        /// The story left execution: unfinished work rests until the next execution.
        Suspend = "suspend",
        /// The next execution of the story took the work up again.
        Resume = "resume",
    }
}

impl Action {
    /// Whether this refuses somebody's work (needs feedback, counts as a rejection).
    pub const fn is_rejection(self) -> bool {
        matches!(
            self,
            Self::RejectDesign | Self::RejectTests | Self::RejectStory | Self::RejectProposal
        )
    }

    /// Whether this accepts somebody's work (separation of duties applies).
    pub const fn is_approval(self) -> bool {
        matches!(
            self,
            Self::ApproveDesign
                | Self::ApproveTests
                | Self::ApproveStory
                | Self::ApproveProposal
                | Self::ApproveScope
        )
    }
}
