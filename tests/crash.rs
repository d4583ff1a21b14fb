//! Crashes: the process aborted at every fault point, killed at random moments, fenced while it works, and started again
//! beside a million records. Afterwards every record must be what it would have been without, and every event must have
//! had its effect once.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests panic, and say what they did"
)]

mod common;
#[path = "crash/expiry.rs"]
mod expiry;
#[path = "crash/faults.rs"]
mod faults;
#[path = "crash/fencing.rs"]
mod fencing;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/restart.rs"]
mod restart;
#[path = "crash/scene.rs"]
mod scene;
#[path = "crash/tampering.rs"]
mod tampering;

use common::lab::On;

#[test]
fn an_abort_at_any_fault_point_on_the_embedded_log_loses_nothing_and_repeats_nothing() {
    faults::abort_everywhere(On::Local);
}

#[test]
fn an_abort_at_any_fault_point_on_kafka_loses_nothing_and_repeats_nothing() {
    faults::abort_everywhere(On::Kafka);
}

#[test]
fn an_abort_of_a_transaction_that_was_begun_ahead_loses_nothing_and_repeats_nothing() {
    faults::abort_ahead();
}

#[test]
fn an_abort_while_event_time_ends_records_on_the_embedded_log_ends_each_of_them_once() {
    expiry::abort_everywhere(On::Local);
}

#[test]
fn an_abort_while_event_time_ends_records_on_kafka_ends_each_of_them_once() {
    expiry::abort_everywhere(On::Kafka);
}

#[test]
fn kills_at_random_moments_on_the_embedded_log_lose_nothing_and_repeat_nothing() {
    kills::kill_at_random(On::Local);
}

#[test]
fn kills_at_random_moments_on_kafka_lose_nothing_and_repeat_nothing() {
    kills::kill_at_random(On::Kafka);
}

#[test]
fn kills_while_everything_is_restored_lose_nothing() {
    kills::kill_while_restoring(On::Local);
}

#[test]
fn a_restart_after_a_kill_beside_many_records_restores_only_the_tail_on_the_embedded_log() {
    restart::restores_only_the_tail(On::Local);
}

#[test]
fn a_restart_after_a_kill_beside_many_records_restores_only_the_tail_on_kafka() {
    restart::restores_only_the_tail(On::Kafka);
}

#[test]
fn a_worker_that_is_fenced_rolls_back_and_goes_on_on_the_embedded_log() {
    fencing::rolls_back_inside();
}

#[test]
fn a_worker_that_is_fenced_on_kafka_says_so_rolls_back_and_goes_on() {
    fencing::rolls_back_on_kafka();
}

#[test]
fn a_worker_that_is_fenced_while_tasks_are_being_opened_skips_no_event() {
    fencing::skips_nothing_while_opening();
}

#[test]
fn an_instance_whose_identity_is_taken_over_again_and_again_ends_with_advice() {
    fencing::ends_when_fenced_again_and_again();
}

#[test]
fn a_repair_makes_anew_what_differs_from_the_embedded_log_and_nothing_else() {
    tampering::is_repaired(On::Local);
}

#[test]
fn a_repair_makes_anew_what_differs_from_kafka_and_nothing_else() {
    tampering::is_repaired(On::Kafka);
}

#[test]
fn verify_names_what_was_tampered_with_and_a_rebuild_heals_it() {
    tampering::is_found_and_healed();
}
