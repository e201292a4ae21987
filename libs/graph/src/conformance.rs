//! The suite that every adapter of the commit port passes.
//!
//! An adapter's tests say how its data are opened ([`Place`]) and expand [`conformance_tests!`],
//! one named test per case:
//!
//! ```text
//! /// `None`: the server is not there; says so and is not exercised.
//! async fn place() -> Option<MyPlace> { … }
//! fleet_graph::conformance_tests!(place);
//! ```
//!
//! Every case uses fresh ids and its own deployment and reads only what it wrote, so that
//! the cases pass while other tests write to the same database. A case panics with what it
//! saw; it leaves its rows behind.
//!
//! [`conformance_tests!`]: crate::conformance_tests

#![expect(clippy::unwrap_used, reason = "a test suite: its panic is its verdict")]

mod basics;
mod conditions;
mod digests;
mod edges;
mod hostile;
mod large;
mod listings;
mod model;
mod outbox;
mod races;
mod replies;
mod searches;
mod servers;
mod sketches;
mod walks;
mod watched;
mod world;

pub use basics::*;
pub use conditions::*;
pub use digests::*;
pub use edges::*;
pub use hostile::*;
pub use large::*;
pub use listings::*;
pub use model::*;
pub use outbox::*;
pub use races::*;
pub use replies::*;
pub use searches::*;
pub use servers::{not_exercised, test_server};
pub use sketches::*;
pub use walks::*;
pub use watched::{Read, Watch, Watched};
pub use world::Place;

/// Expands to one `#[tokio::test]` per case of the suite. The argument is the path of an
/// `async fn() -> Option<impl Place>`; each case calls it once, and is skipped on `None`.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:path) => {
        $crate::conformance_tests! { @each $factory;
            migrations_can_race_and_repeat
            create_update_and_delete_move_the_version
            get_answers_in_the_order_asked
            values_come_back_as_they_were
            a_passed_deadline_is_an_answer
            each_condition_has_its_error
            checks_happen_in_the_documented_order
            a_rejected_commit_leaves_nothing
            foreign_kinds_are_refused
            commits_that_break_a_rule_are_refused
            a_missing_end_leaves_nothing
            relations_are_made_changed_and_undone
            deleting_a_node_deletes_its_relations
            hostile_strings_are_data
            property_names_are_plain_words
            huge_values_are_refused_and_large_ones_kept
            ten_thousand_nodes
            pages_are_stable_while_rows_arrive
            pages_by_offset_and_bounds
            totals_and_counts
            listings_that_break_a_rule_are_refused
            events_stay_pending_until_published
            a_crash_before_the_relay_loses_nothing
            published_events_come_back_or_go
            deployments_do_not_see_each_others_events
            pruning_takes_only_what_is_old
            one_of_many_creates_wins
            one_of_many_updates_wins
            a_read_never_sees_half_a_commit
            guards_hold_while_others_write
            an_end_deleted_meanwhile_leaves_no_half_relation
            a_lost_reply_is_still_a_success
            a_commit_sent_twice_at_once_happens_once
            an_event_is_answered_once
            an_event_answered_twice_at_once_is_applied_once
            a_request_is_answered_once
            a_request_that_arrives_twice_at_once_has_one_effect
            walks_follow_kind_and_direction
            walks_end_in_cycles
            walks_are_bounded
            a_sketch_has_the_columns_asked_for
            branches_follow_their_paths
            branches_are_ordered_and_cut
            what_is_new_is_asked_for_alone
            a_sketch_tells_where_relations_lead
            reads_around_a_node_are_bounded
            similar_ids_do_not_mix
            a_digest_counts_and_sums
            a_digest_changes_with_what_is_on_its_paths
            a_digest_brings_whole_nodes
            a_search_finds_what_has_every_word
            a_search_follows_its_nodes
            a_search_stays_in_its_story
            a_search_that_is_too_broad_is_the_same_everywhere
            words_of_a_query_language_are_words
            searches_that_break_a_rule_are_refused
            random_histories_agree_with_a_model
        }
    };
    (@each $factory:path; $($case:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(place) = $factory().await {
                $crate::conformance::$case(&place).await;
            }
        }
    )+};
}
