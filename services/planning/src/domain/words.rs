//! The closed lists of words that planning uses.

fleet_types::words! {
    /// How a project or an epic stands.
    pub enum Lifecycle("status") {
        /// Open; what a new one is.
        Active = "active",
        /// Being planned.
        Planning = "planning",
        /// Being worked on.
        InProgress = "in_progress",
        /// Paused.
        OnHold = "on_hold",
        /// Done; final.
        Completed = "completed",
        /// Put away; final.
        Archived = "archived",
        /// Given up; final.
        Cancelled = "cancelled",
    }
}

impl Lifecycle {
    /// Whether nothing new may go under it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Archived | Self::Cancelled)
    }
}

fleet_types::words! {
    /// How far a story has come; see [`crate::domain::allowed`] for the moves.
    pub enum StoryState("story state") {
        /// Being written.
        Draft = "DRAFT",
        /// The product owner looks at it.
        PoReview = "PO_REVIEW",
        /// Its scope is accepted.
        ReadyForPlanning = "READY_FOR_PLANNING",
        /// Split into tasks.
        Planned = "PLANNED",
        /// Released: its tasks may be claimed.
        ReadyForExecution = "READY_FOR_EXECUTION",
        /// Somebody works on it.
        InProgress = "IN_PROGRESS",
        /// Its code is reviewed.
        CodeReview = "CODE_REVIEW",
        /// It is tested.
        Testing = "TESTING",
        /// The product owner is to accept it.
        ReadyToReview = "READY_TO_REVIEW",
        /// Accepted.
        Accepted = "ACCEPTED",
        /// Taken out of the running sprint.
        CarryOver = "CARRY_OVER",
        /// Its sprint is closed.
        Done = "DONE",
        /// Put away; final.
        Archived = "ARCHIVED",
    }
}

fleet_types::words! {
    /// How a task stands, as planning marks it.
    pub enum TaskStatus("task status") {
        /// Not finished.
        Todo = "todo",
        /// Being worked on.
        InProgress = "in_progress",
        /// Being reviewed.
        InReview = "in_review",
        /// Waiting for something.
        Blocked = "blocked",
        /// Done.
        Completed = "completed",
        /// Given up.
        Cancelled = "cancelled",
    }
}

fleet_types::words! {
    /// What kind of work a task is.
    pub enum TaskType("task type") {
        /// Development; what a task is unless told otherwise.
        Development = "development",
        /// Something new for users.
        Feature = "feature",
        /// Better structure, same behaviour.
        Refactor = "refactor",
        /// A defect to mend.
        BugFix = "bug_fix",
        /// Testing in general.
        Testing = "testing",
        /// Tests of one unit.
        UnitTest = "unit_test",
        /// Tests of units together.
        IntegrationTest = "integration_test",
        /// Tests of the whole.
        E2eTest = "e2e_test",
        /// Reading code.
        CodeReview = "code_review",
        /// Reading a design.
        DesignReview = "design_review",
        /// Reading an architecture.
        ArchitectureReview = "architecture_review",
        /// Bringing something into operation.
        Deployment = "deployment",
        /// What things run on.
        Infrastructure = "infrastructure",
        /// Build, delivery, operation.
        Devops = "devops",
        /// Documents.
        Documentation = "documentation",
        /// Documents of an API.
        ApiDocs = "api_docs",
        /// Moving data.
        DataMigration = "data_migration",
        /// Changing a schema.
        SchemaChange = "schema_change",
    }
}

fleet_types::words! {
    /// How big a story is.
    pub enum Size("size") {
        /// Hours.
        Xs = "XS",
        /// A day.
        S = "S",
        /// A few days.
        M = "M",
        /// A week.
        L = "L",
        /// More: better split it.
        Xl = "XL",
    }
}

fleet_types::words! {
    /// What the product owner said to a decision.
    pub enum Verdict("verdict") {
        /// Yes.
        Approved = "approved",
        /// No.
        Rejected = "rejected",
    }
}
