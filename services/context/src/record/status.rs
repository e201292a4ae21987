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

    /// Whether this is what a product owner says of a decision. Planning keeps the verdict;
    /// what somebody else said before gives way to it.
    pub const fn is_verdict(self) -> bool {
        matches!(self, Self::Approved | Self::Rejected)
    }

    /// How a decision stands that was judged: as it does if that can follow the verdict, else
    /// as the verdict says.
    pub fn under(self, verdict: Self) -> Self {
        if verdict.leads_to(self) {
            self
        } else {
            verdict
        }
    }

    fn leads_to(self, to: Self) -> bool {
        self == to || self.allowed().iter().any(|next| next.leads_to(to))
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

    #[test]
    fn only_what_follows_a_verdict_stands_beside_it() {
        let approved = [Proposed, Approved, Rejected, Implemented, Deprecated]
            .map(|status| status.under(Approved));
        let expected = [Approved, Approved, Approved, Implemented, Deprecated];
        assert_eq!(approved, expected);
        for status in DecisionStatus::ALL {
            assert_eq!(status.under(Rejected), Rejected, "{status}");
            assert_eq!(status.is_verdict(), [Approved, Rejected].contains(status));
        }
    }
}
