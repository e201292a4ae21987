//! Places between commit and acknowledgement where a test may end the process.
//!
//! In a debug build `FLEET_TEST_FAULT=relay-after-publish:3` kills the process (SIGKILL, no
//! farewell of any kind) the third time it comes to that place. A release build has no such
//! places.

/// Before a commit is sent to the store.
pub const BEFORE_COMMIT: &str = "before-commit";
/// The store has the commit; neither the caller nor the relay knows.
pub const AFTER_COMMIT: &str = "after-commit";
/// The relay is about to publish.
pub const RELAY_BEFORE_PUBLISH: &str = "relay-before-publish";
/// The bus has answered; the outbox has the events still.
pub const RELAY_AFTER_PUBLISH: &str = "relay-after-publish";
/// The outbox knows that the events are on the bus.
pub const RELAY_AFTER_SETTLE: &str = "relay-after-settle";
/// A message was fetched and is not handled yet.
pub const CONSUMER_FETCHED: &str = "consumer-fetched";
/// The effect of a message is committed; the bus does not know.
pub const CONSUMER_APPLIED: &str = "consumer-applied";
/// The bus knows that a message is done with.
pub const CONSUMER_ACKED: &str = "consumer-acked";

/// Every place, in the order in which an event comes by.
pub const POINTS: &[&str] = &[
    BEFORE_COMMIT,
    AFTER_COMMIT,
    RELAY_BEFORE_PUBLISH,
    RELAY_AFTER_PUBLISH,
    RELAY_AFTER_SETTLE,
    CONSUMER_FETCHED,
    CONSUMER_APPLIED,
    CONSUMER_ACKED,
];

/// Those that only an event comes by which goes on the bus by way of the outbox.
pub const RELAY_POINTS: &[&str] = &[
    RELAY_BEFORE_PUBLISH,
    RELAY_AFTER_PUBLISH,
    RELAY_AFTER_SETTLE,
];

/// This place was reached.
#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// This place was reached.
#[cfg(debug_assertions)]
pub fn point(name: &'static str) {
    armed::pass(name);
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        point: String,
        left: AtomicU64,
    }

    /// `name:N`; whatever does not read so kills nothing.
    fn armed() -> Option<Armed> {
        let text = std::env::var("FLEET_TEST_FAULT").ok()?;
        let (point, nth) = text.split_once(':')?;
        let left = AtomicU64::new(nth.parse().ok()?);
        Some(Armed {
            point: point.to_owned(),
            left,
        })
    }

    pub(super) fn pass(name: &str) {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let Some(armed) = ARMED.get_or_init(armed) else {
            return;
        };
        if armed.point == name && armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            let own = std::process::id().to_string();
            let _ = std::process::Command::new("kill")
                .args(["-9", &own])
                .status();
            // No `kill` to be had, or the signal is on its way: nothing more happens here.
            std::process::abort();
        }
    }
}
