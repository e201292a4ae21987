//! Races: a change that was decided on what is there no more.
//!
//! Whoever changes something reads, decides, and commits on the condition that nothing of what
//! was read has changed. If somebody else was faster, the commit is refused, and nothing of it
//! happened: the loser reads and decides again, so that he learns what the winner did. He waits
//! first, a random while that grows with every loss, because those who met once would meet
//! again; from then on the losers of a process try one after the other, because in a crowd at
//! one story the luckless would otherwise lose every one of their attempts. When no attempt or
//! no time is left, the caller is told who won: ABORTED, with the winner's version.
//!
//! All of it is about being fair and fast. That nothing is written twice or over each other is
//! the commit's doing alone.

mod turns;

use std::sync::Arc;
use std::time::Duration;

use fleet_graph::{CommitError, Deadline, Label, NodeKey};
use fleet_types::Ids;
use prometheus_client::metrics::counter::Counter;

use self::turns::{Turn, Turns};
use crate::Fault;

/// Pauses after lost races. Each is a random part of a span that doubles with every loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pauses {
    /// Half of the span after the first loss.
    pub first: Duration,
    /// No span is longer.
    pub longest: Duration,
}

impl Pauses {
    /// How long to wait after so many losses (1, 2, …).
    pub fn after(self, lost: u32, ids: &dyn Ids) -> Duration {
        let span = self.first.saturating_mul(1 << lost.min(16));
        let micros = u64::try_from(span.min(self.longest).as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(ids.random() % micros.max(1))
    }
}

/// Between attempts at a change.
const PAUSES: Pauses = Pauses {
    first: Duration::from_millis(2),
    longest: Duration::from_millis(100),
};

/// A commit that did not fit what is there any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Race<'a> {
    key: &'a NodeKey,
    found: Option<i64>,
}

impl<'a> Race<'a> {
    /// The race that a commit lost; `None` if it failed of something else, and another decision
    /// would be of no use.
    pub fn lost(error: &'a CommitError) -> Option<Self> {
        match error {
            CommitError::Conflict { key, found, .. } => Some(Self {
                key,
                found: Some(*found),
            }),
            CommitError::Missing { key } | CommitError::AlreadyExists { key } => {
                Some(Self { key, found: None })
            }
            _ => None,
        }
    }

    /// What the caller is told when every attempt lost.
    pub fn fault(&self) -> Fault {
        let what = format!("{} {}", word(self.key.label()), self.key.id());
        let fault = Fault::concurrent_change(what).with("subject", self.key.id());
        match self.found {
            Some(version) => fault.with("current_version", version),
            None => fault,
        }
    }
}

/// How the changes of a service try again. Clones share the queues and the count.
#[derive(Debug, Clone)]
pub struct Races {
    ids: Arc<dyn Ids>,
    attempts: u32,
    lost: Counter,
    turns: Turns,
}

impl Races {
    /// A change is decided at most `attempts` times; `ids` spread the pauses, `lost` counts
    /// the races that were lost.
    pub fn new(ids: Arc<dyn Ids>, attempts: u32, lost: Counter) -> Self {
        Self {
            ids,
            attempts,
            lost,
            turns: Turns::default(),
        }
    }

    /// The attempts at one change, which lasts until `deadline`.
    pub fn attempts(&self, deadline: Deadline) -> Attempts<'_> {
        Attempts {
            races: self,
            deadline,
            lost: 0,
            turn: None,
        }
    }

    /// Counts a lost race and waits a little before the attempt behind `lost` lost ones.
    /// `false`: no attempt is left, or no time.
    pub async fn pause(&self, lost: u32, deadline: Deadline) -> bool {
        self.lost.inc();
        if lost >= self.attempts {
            return false;
        }
        let pause = PAUSES.after(lost, &*self.ids);
        if pause >= deadline.left() {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

/// The attempts at one change. Dropped when it is done: then it is the next one's turn.
#[derive(Debug)]
pub struct Attempts<'a> {
    races: &'a Races,
    deadline: Deadline,
    lost: u32,
    turn: Option<Turn>,
}

impl Attempts<'_> {
    /// Takes in why a commit failed. `Ok`: it lost a race, and it is time to decide anew.
    ///
    /// # Errors
    /// What the caller is told if it failed of something else, or if no attempt or no time is
    /// left.
    pub async fn failed(&mut self, error: CommitError) -> Result<(), Fault> {
        let Some(race) = Race::lost(&error) else {
            return Err(error.into());
        };
        self.lost += 1;
        if !self.races.pause(self.lost, self.deadline).await {
            return Err(race.fault());
        }
        if self.turn.is_none() {
            self.turn = self.races.turns.of(race.key, self.deadline).await;
        }
        Ok(())
    }
}

/// How a label is called in messages.
pub fn word(label: Label) -> &'static str {
    match label {
        Label::Project => "project",
        Label::Epic => "epic",
        Label::Story => "story",
        Label::Task => "task",
        Label::PlanVersion => "plan",
        Label::DecisionReview => "verdict on decision",
        Label::StoryContext => "context of story",
        Label::Decision => "decision",
        Label::Event => "milestone",
        Label::PhaseTransition => "phase transition",
        Label::Summary => "summary",
        other => other.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Reason;

    /// The same number always.
    #[derive(Debug)]
    struct Same;

    impl Ids for Same {
        fn uuid(&self) -> Uuid {
            Uuid::nil()
        }

        fn random(&self) -> u64 {
            u64::MAX
        }
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let micros = |lost| PAUSES.after(lost, &Same).as_micros();
        for (lost, below) in [
            (1, 4_000),
            (2, 8_000),
            (5, 64_000),
            (6, 100_000),
            (99, 100_000),
        ] {
            assert_eq!(micros(lost), u128::from(u64::MAX % below), "{lost}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn losers_try_again_until_no_attempt_is_left_and_hear_of_the_winner() {
        let counted = Counter::default();
        let races = Races::new(Arc::new(Same), 3, counted.clone());
        let deadline = Deadline::after(Duration::from_secs(10));
        let key = NodeKey::new(Label::StoryContext, "s-1");
        let conflict = || CommitError::Conflict {
            key: key.clone(),
            expected: 6,
            found: 7,
        };
        let mut attempts = races.attempts(deadline);
        attempts.failed(conflict()).await.unwrap();
        let gone = CommitError::Missing { key: key.clone() };
        attempts.failed(gone).await.unwrap();
        let fault = attempts.failed(conflict()).await.unwrap_err();
        assert_eq!(fault.reason(), Reason::ConcurrentChange);
        assert!(fault.to_string().starts_with("context of story s-1 was"));
        let Fault::Aborted { metadata, .. } = fault else {
            panic!("{fault:?}");
        };
        assert_eq!(
            metadata,
            [
                ("subject", "s-1".to_owned()),
                ("current_version", "7".to_owned())
            ]
        );
        assert_eq!(counted.get(), 3);
        let other = attempts.failed(CommitError::AlreadyApplied).await;
        assert!(other.is_err() && counted.get() == 3, "it was no race");
        let late = Deadline::after(Duration::from_millis(1));
        let told = races.attempts(late).failed(conflict()).await;
        assert!(told.is_err(), "the pause would outlast the call");
    }
}
