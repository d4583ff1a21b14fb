//! What every broker has to do, run over each of them; and what only the embedded one does.
//!
//! Each check is a function over a [`harness::Harness`]; `suite!` makes a test of every check for one broker. Another
//! broker is a function that returns a harness (or `None` where it cannot run) and one more line of `suite!`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a check that cannot go on fails, and a child process and skipped tests have something to say"
)]

#[path = "conformance/groups.rs"]
mod groups;
#[path = "conformance/harness.rs"]
mod harness;
#[path = "common/kafka.rs"]
mod kafka;
#[path = "conformance/local_cleaning.rs"]
mod local_cleaning;
#[path = "conformance/local_crash.rs"]
mod local_crash;
#[path = "conformance/local_details.rs"]
mod local_details;
#[path = "conformance/local_disk.rs"]
mod local_disk;
#[path = "conformance/reading.rs"]
mod reading;
#[path = "conformance/transactions.rs"]
mod transactions;
#[path = "conformance/writing.rs"]
mod writing;

/// Makes a test of each check for the broker that `$harness` opens.
macro_rules! suite {
    ($broker:ident, $harness:path) => {
        suite!(@ $broker, $harness,
            writing: records_are_read_in_the_order_of_their_offsets,
            writing: appends_of_many_threads_get_the_offsets_where_their_records_are,
            writing: keys_payloads_headers_and_timestamps_survive_and_so_does_their_absence,
            writing: a_record_of_nearly_a_megabyte_survives,
            writing: creating_a_topic_twice_keeps_the_first,
            writing: topics_tell_whether_they_are_compacted,
            writing: a_topic_that_does_not_exist_is_none_and_is_not_created,
            writing: watermarks_follow_the_log,
            reading: a_consumer_reads_on_from_its_position,
            reading: a_new_assignment_drops_what_was_prefetched,
            reading: a_consumer_reads_all_its_partitions,
            reading: a_poll_hands_out_no_more_than_asked,
            reading: a_waiting_consumer_gets_what_is_appended,
            reading: an_offset_outside_the_log_is_refused_with_names,
            reading: a_reader_knows_the_end_of_an_empty_partition,
            reading: a_reader_goes_on_after_the_end,
            reading: a_reader_begins_where_it_is_told,
            reading: lag_is_what_is_left_to_read,
            transactions: a_transaction_is_seen_after_its_commit_only,
            transactions: an_aborted_transaction_is_never_seen,
            transactions: commit_tells_the_highest_offset_of_each_partition,
            transactions: a_reader_finds_the_end_behind_aborted_transactions,
            transactions: a_newer_producer_of_the_same_id_fences_the_older,
            transactions: a_takeover_aborts_what_was_open,
            transactions: one_producer_commits_again_and_again,
            groups: a_member_gets_every_partition,
            groups: a_second_member_takes_over_or_shares,
            groups: a_group_tells_the_addresses_of_its_members,
            groups: a_member_that_leaves_gives_everything_back_and_may_come_again,
            groups: records_and_offsets_are_committed_together,
            groups: offsets_of_an_aborted_transaction_are_not_committed,
            groups: offsets_with_a_stale_token_demand_an_abort,
            groups: an_empty_list_of_offsets_is_refused,
            groups: a_group_without_offsets_has_none,
        );
    };
    (@ $broker:ident, $harness:path, $($module:ident: $check:ident,)*) => {
        mod $broker {
            $(#[test] fn $check() {
                let harness: Option<crate::harness::Harness> = $harness(stringify!($check)).into();
                harness.iter().for_each(crate::$module::$check);
            })*
        }
    };
}

suite!(local, crate::harness::local);
suite!(on_kafka, crate::harness::kafka);

/// The script that the Kafka half of this suite stands on.
#[test]
fn the_kafka_script_starts_a_broker_that_listens() {
    let Some(kafka) = kafka::start_kafka() else { return };
    assert!(std::net::TcpStream::connect(&kafka.bootstrap).is_ok(), "nobody listens at {}", kafka.bootstrap);
    assert!(kafka.pid > 1);
}
