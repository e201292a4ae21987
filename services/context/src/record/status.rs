//! How a decision stands, and how it may go on.

fleet_types::words! {
    /// How a decision stands.
    pub enum DecisionStatus("decision status") {
        /// Somebody wants it.
        Proposed = "PROPOSED",
        /// It holds.
        Approved = "APPROVED",
        /// It does not. Final.
        Rejected = "REJECTED",
        /// It is done.
        Implemented = "IMPLEMENTED",
        /// It held, and does no more. Final.
        Deprecated = "DEPRECATED",
    }
}

impl DecisionStatus {
    /// What may come next.
    pub const fn allowed(self) -> &'static [Self] {
        match self {
            Self::Proposed => &[Self::Approved, Self::Rejected],
            Self::Approved => &[Self::Implemented, Self::Deprecated],
            Self::Implemented => &[Self::Deprecated],
            Self::Rejected | Self::Deprecated => &[],
        }
    }

    /// Whether `next` may come next.
    pub fn may_become(self, next: Self) -> bool {
        self.allowed().contains(&next)
    }
}

#[cfg(test)]
mod tests {
    use super::DecisionStatus::{self, Approved, Deprecated, Implemented, Proposed, Rejected};

    #[test]
    fn exactly_these_steps_are_allowed() {
        let steps = [
            (Proposed, Approved),
            (Proposed, Rejected),
            (Approved, Implemented),
            (Approved, Deprecated),
            (Implemented, Deprecated),
        ];
        for from in DecisionStatus::ALL {
            for to in DecisionStatus::ALL {
                let allowed = steps.contains(&(*from, *to));
                assert_eq!(from.may_become(*to), allowed, "{from} to {to}");
            }
        }
    }
}
