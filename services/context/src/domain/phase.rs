//! The closed words of prompts: phases and scope codes.

fleet_types::words! {
    /// What the work on a story is about at the moment.
    pub enum Phase("phase") {
        /// How it will be built is settled.
        Design = "DESIGN",
        /// It is built.
        Build = "BUILD",
        /// It is tested.
        Test = "TEST",
        /// It is documented.
        Doc = "DOC" | "DOCS",
    }
}

fleet_types::words! {
    /// What a pair of role and phase may be told. Everything else is left out.
    pub enum Scope("scope") {
        /// The story: what is wanted, how one sees that it is done, what must be respected.
        CaseHeader = "CASE_HEADER",
        /// The newest approved plan.
        PlanHeader = "PLAN_HEADER",
        /// The tasks of the role.
        SubtasksRole = "SUBTASKS_ROLE",
        /// The tasks of the role: id, title and status.
        SubtasksRoleMin = "SUBTASKS_ROLE_MIN",
        /// All tasks of the story.
        SubtasksAll = "SUBTASKS_ALL",
        /// All tasks of the story: id, title and status.
        SubtasksAllMin = "SUBTASKS_ALL_MIN",
        /// Decisions that have a say in the tasks of the role, or in the whole story.
        DecisionsRelevantRole = "DECISIONS_RELEVANT_ROLE",
        /// All decisions of the story.
        DecisionsGlobal = "DECISIONS_GLOBAL",
        /// All decisions of the story: id, title and status.
        DecisionsGlobalMin = "DECISIONS_GLOBAL_MIN",
        /// Relations that start at the relevant decisions.
        DepsRelevant = "DEPS_RELEVANT",
        /// All relations between decisions.
        DepsDecisions = "DEPS_DECISIONS",
        /// What happened to the story.
        Milestones = "MILESTONES",
        /// The last summary.
        SummaryLast = "SUMMARY_LAST",
    }
}
