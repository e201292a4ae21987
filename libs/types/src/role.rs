crate::words! {
    /// Who acts. Written in one canonical form everywhere (`po`, never `product_owner`).
    pub enum Role("role") {
        /// Writes the code of a task.
        Developer = "developer" | "dev",
        /// Reviews the design of what was committed.
        Architect = "architect",
        /// Runs and judges the tests.
        Qa = "qa" | "tester",
        /// Owns the gates: scope, approval, discard.
        Po = "po" | "product_owner",
        /// Ships and operates.
        Devops = "devops",
        /// Owns schemas and migrations.
        Data = "data",
        /// Acts for agents that it names; the only role that may.
        Orchestrator = "orchestrator",
        /// The fleet itself: automatic hops, timers, sweeps. Never accepted from a caller.
        System = "system",
    }
}
