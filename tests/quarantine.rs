//! What becomes of refused events after they were set aside: listed, shown, replayed once, over HTTP and by the command line;
//! and of misplaced ones that are sent on. On both brokers.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "quarantine/breaker.rs"]
mod breaker;
#[path = "quarantine/commands.rs"]
mod commands;
mod common;
#[path = "quarantine/crashes.rs"]
mod crashes;
#[path = "quarantine/instances.rs"]
mod instances;
#[path = "quarantine/listing.rs"]
mod listing;
#[path = "quarantine/repartition.rs"]
mod repartition;
#[path = "quarantine/replaying.rs"]
mod replaying;
#[path = "quarantine/scene.rs"]
mod scene;

/// A test of each check, on each broker.
macro_rules! on_both {
    ($($module:ident: $name:ident,)*) => {
        mod on_the_embedded_log { $(#[test] fn $name() { crate::$module::$name(crate::common::lab::On::Local); })* }
        mod on_kafka {
            $(#[test] fn $name() {
                if crate::common::kafka::start_kafka().is_some() {
                    crate::$module::$name(crate::common::lab::On::Kafka);
                }
            })*
        }
    };
}

on_both! {
    listing: entries_are_listed_filtered_and_shown_whole,
    replaying: events_are_replayed_once_with_key_headers_and_timestamp,
    replaying: what_was_refused_in_part_is_applied_only_in_that_part,
    replaying: what_is_refused_again_is_a_new_entry_that_names_the_old_one,
    replaying: an_event_that_was_cut_is_read_again_from_its_topic,
    breaker: a_table_that_refuses_most_of_its_events_stops_and_goes_on_when_told,
    crashes: a_crash_within_a_replay_neither_loses_nor_repeats_it,
    repartition: misplaced_events_are_merged_as_if_they_had_come_directly,
    repartition: a_crash_loses_no_misplaced_event_and_repeats_none,
    repartition: a_misplaced_event_that_is_refused_names_where_it_came_from_and_is_replayed,
    repartition: without_it_misplaced_events_are_quarantined_and_the_first_says_what_to_do,
    commands: the_command_line_lists_shows_and_replays,
}

#[test]
fn any_instance_lists_everything_and_a_replay_through_all_at_a_time_happens_once() {
    if common::kafka::start_kafka().is_some() {
        instances::any_instance_lists_everything_and_a_replay_through_all_at_a_time_happens_once();
    }
}
