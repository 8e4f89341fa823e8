//! The contract of [`EventStore`] as tests, for every crate that implements it, and a differential test against the memory
//! store.
//!
//! Owns: one function per promise, named by the behaviour it checks, and [`crate::store_suite!`], which makes each a `#[test]`.
//! Must not know: any engine. A backend brings a [`Fixture`].

pub mod address_deletion;
pub mod audit;
pub mod commit;
pub mod deletion;
pub mod differential;
pub mod durability;
pub mod expiry;
pub mod log;
pub mod replacement;
pub mod scan;
pub mod slices;
pub mod vanish;
mod world;

use crate::EventStore;

/// How the suite gets at a backend.
pub trait Fixture {
    /// A fresh, empty store of its own.
    fn open() -> Self;

    /// The store.
    fn store(&self) -> &dyn EventStore;

    /// Closes the store and opens it again on the same data; false if its data does not outlast it.
    fn reopen(&mut self) -> bool;
}

/// Makes every test of the suite a `#[test]` on the [`Fixture`] given, in one module per part of the contract.
#[macro_export]
macro_rules! store_suite {
    ($fixture:ty) => {
        $crate::store_suite! { $fixture;
            commit: every_write_has_its_own_outcome, an_empty_batch_changes_nothing,
                accepted_events_are_numbered_from_one_without_a_gap, a_commit_hands_back_what_it_stored,
                a_committed_event_is_known_and_in_the_next_scan, a_second_copy_is_a_duplicate,
                a_second_copy_in_one_batch_is_a_duplicate, large_batches_are_committed_whole;
            replacement: a_newer_version_replaces_an_older_one, an_older_version_is_superseded,
                of_two_versions_of_one_second_the_lower_id_stays, versions_in_one_batch_replace_each_other,
                a_replaced_version_does_not_come_back, addresses_differ_by_kind_author_and_d_tag,
                a_missing_d_tag_is_an_empty_one, plain_replaceables_ignore_their_d_tag,
                regular_events_replace_nothing;
            deletion: an_author_deletes_their_events, a_deleted_event_does_not_come_back,
                a_deletion_may_come_before_its_target, a_deletion_and_its_target_may_share_a_batch,
                a_deletion_is_an_event_like_any_other, foreign_deletions_are_ignored,
                a_foreign_deletion_does_not_shield_from_the_authors_own, deletions_are_not_deleted,
                requests_to_vanish_are_not_deleted, a_recipient_deletes_gift_wraps,
                copies_of_a_deleted_gift_wrap_in_one_batch_are_refused, a_version_is_deleted_by_its_id;
            address_deletion: versions_up_to_the_request_are_deleted, a_newer_version_survives,
                plain_replaceables_are_deleted_by_address, a_d_tag_may_hold_colons, foreign_addresses_are_ignored,
                the_latest_request_counts;
            vanish: everything_up_to_the_request_goes, deletion_requests_go_too, gift_wraps_to_the_author_go,
                a_rebroadcast_is_refused, other_authors_are_left_alone, requests_to_vanish_are_kept,
                the_latest_request_counts, a_request_works_within_its_batch;
            scan: newest_come_first_and_ties_by_lowest_id, every_condition_restricts, a_filter_without_conditions_matches_all,
                an_empty_list_matches_nothing, no_filters_match_nothing, each_filter_has_its_own_limit,
                a_limit_of_zero_returns_nothing, an_event_is_returned_once_however_many_filters_match,
                completeness_is_claimed_when_it_was_seen, what_is_invisible_does_not_count,
                how_much_is_invisible_does_not_show, a_limit_may_let_in_what_is_dated_like_its_last,
                values_of_any_length_are_found, what_was_committed_after_the_cursor_is_left_out,
                a_count_is_of_what_the_scan_returns;
            slices: small_slices_add_up_to_one_large_slice, a_slice_ends_with_its_budget,
                a_slice_of_a_fruitless_scan_ends_too, what_arrives_between_slices_is_left_out,
                what_is_removed_between_slices_is_left_out, a_limit_spans_slices;
            log: the_log_is_read_in_order_without_a_gap, a_page_has_at_least_one_entry, the_log_ends_at_the_snapshot,
                an_entry_names_what_it_removed, removed_events_leave_their_entries, an_entry_carries_its_time,
                followers_go_on_where_they_were;
            expiry: expired_events_are_removed_by_upkeep, an_entry_names_what_expired, upkeep_without_cause_changes_nothing,
                a_version_that_is_over_supersedes_nothing, a_version_may_be_over_within_a_batch;
            durability: reopening_keeps_events_and_positions, reopening_keeps_refusals, reopening_keeps_expirations,
                reopening_keeps_the_log;
            audit: every_entry_has_its_leaf, leaves_name_what_went_and_where, a_leaf_outlives_its_event,
                the_tree_outlives_whoever_vanishes, acts_are_entries_like_others, the_hashes_of_the_tree_can_be_read,
                reopening_keeps_the_tree;
            differential: random_histories_agree_with_the_memory_store;
        }
    };
    ($fixture:ty; $($part:ident: $($test:ident),+;)+) => {
        $(mod $part {
            #[allow(unused_imports)]
            use super::*;
            $(#[test]
            fn $test() {
                $crate::suite::$part::$test::<$fixture>();
            })+
        })+
    };
}
