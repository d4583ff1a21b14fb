//! The bug catalogue of the design: failures that well-known systems have had, each a named test over every broker and
//! through the whole path: source → store → changelog → restore → search.
//!
//! Tables and events are small and written by hand; so is what must come out. Nothing expected here is computed by the
//! engine or by a second engine.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "catalogue/bench.rs"]
mod bench;
mod common;
#[path = "catalogue/crashes.rs"]
mod crashes;
#[path = "catalogue/deletes.rs"]
mod deletes;
#[path = "catalogue/horizon.rs"]
mod horizon;
#[path = "catalogue/merging.rs"]
mod merging;
#[path = "catalogue/moving.rs"]
mod moving;
#[path = "catalogue/origins.rs"]
mod origins;
#[path = "catalogue/reading.rs"]
mod reading;

/// Makes a test of each row for both brokers.
macro_rules! rows {
    ($($module:ident: $name:ident,)*) => {
        rows!(@ local, Local, $($module: $name,)*);
        rows!(@ kafka, Kafka, $($module: $name,)*);
    };
    (@ $broker:ident, $on:ident, $($module:ident: $name:ident,)*) => {
        mod $broker {
            use crate::common::lab::On;

            $(
                #[test]
                fn $name() {
                    crate::$module::$name(On::$on);
                }
            )*
        }
    };
}

rows! {
    merging: bug_01_a_duplicate_increments_once,
    merging: bug_02_every_order_of_tied_events_gives_the_same_bytes_on_two_instances,
    merging: bug_03_a_late_partial_for_other_fields_is_taken,
    merging: bug_04_a_late_partial_does_not_overwrite_newer_values,
    deletes: bug_05_a_late_event_does_not_bring_the_dead_back,
    horizon: bug_05_beyond_the_horizon_a_late_event_is_accepted_where_nothing_else_is_said,
    horizon: bug_05_beyond_the_horizon_a_late_event_is_refused_where_that_is_asked_for,
    horizon: event_time_ends_records_for_every_reader,
    horizon: a_quiet_partition_goes_by_the_time_of_the_others_where_that_is_asked_for,
    deletes: bug_06_a_delete_at_an_equal_or_higher_version_deletes,
    deletes: bug_07_every_read_agrees_on_a_deleted_row,
    merging: bug_08_every_event_ends_in_exactly_one_account,
    origins: bug_09_a_topic_that_is_made_anew_at_lower_offsets_changes_no_order,
    reading: bug_10_a_key_is_found_once_at_any_time_while_it_is_updated,
    reading: bug_11_a_hit_that_no_longer_matches_is_newer_than_the_position_of_the_index,
    crashes: bug_12_a_kill_within_a_commit_loses_nothing_and_repeats_nothing,
    origins: bug_13_what_stands_for_an_untouched_column_is_never_a_value,
    moving: bug_14_after_a_move_nobody_gets_an_old_answer_for_a_new_one,
    crashes: bug_15_a_record_stays_small_however_many_updates_it_takes,
}
