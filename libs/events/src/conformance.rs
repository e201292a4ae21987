//! The suite that every adapter of the bus passes.
//!
//! An adapter's tests say how a bus is had ([`Place`]) and expand [`conformance_tests!`], one
//! named test per case:
//!
//! ```text
//! /// `None`: the server is not there; says so and is not exercised.
//! async fn place() -> Option<MyPlace> { … }
//! fleet_events::conformance_tests!(place);
//! ```
//!
//! Each case gets a bus of a fresh deployment on which [`crate::Bus::apply`] was called, and
//! panics with what it saw.
//!
//! [`conformance_tests!`]: crate::conformance_tests

#![expect(clippy::unwrap_used, reason = "a test suite: its panic is its verdict")]

mod consume;
mod parking;
mod publish;
mod run;
mod tail;
mod world;

pub use consume::*;
pub use parking::*;
pub use publish::*;
pub use run::*;
pub use tail::*;
pub use world::{Place, exercise};

/// Expands to one `#[tokio::test]` per case of the suite. The argument is the path of an
/// `async fn() -> Option<impl Place>`; each case calls it once, and is skipped on `None`.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:path) => {
        $crate::conformance_tests! { @each $factory;
            an_event_is_stored_once
            each_event_has_its_own_answer
            the_envelope_comes_through
            large_bodies_pass_and_larger_ones_are_refused
            a_passed_deadline_is_an_answer
            an_applied_bus_has_no_drift
            it_is_known_how_full_streams_are
            consumers_get_what_they_filter
            subscriptions_share_a_consumer
            a_consumer_goes_on_where_it_was
            unanswered_messages_come_again
            in_progress_puts_the_redelivery_off
            a_retry_comes_after_its_delay
            terminated_messages_never_come_again
            put_off_messages_do_not_stall_the_others
            a_fetch_waits_and_is_woken
            parked_messages_are_kept_once_listed_and_dropped
            a_replay_is_the_same_event_for_one_consumer
            large_messages_can_be_parked
            a_tail_sees_everything_from_now_on_in_order
            a_poison_message_is_parked_and_slows_nobody
            what_stays_unknown_is_parked_in_time
            a_replay_reaches_its_target_alone
            any_order_with_duplicates_ends_in_the_same_state
            a_thousand_events_arrive_once
        }
    };
    (@each $factory:path; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(place) = $factory().await {
                    $crate::conformance::exercise(place, $crate::conformance::$case).await;
                }
            }
        )+
    };
}
