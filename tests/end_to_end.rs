//! The reference workloads through the built binary, on both brokers: by key, by search, by the changelog, in the accounts.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use common::lab::{Lab, On, loaded};
use common::workload::Workload;
use common::{report, scaled, truth};

/// Loads, runs to the end, and compares everything; the time is reported, never judged.
fn run_whole(lab: &Lab, table: &str, key_field: &str, workload: &Workload) {
    let ends = loaded(lab, workload);
    let since = std::time::Instant::now();
    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    let took = since.elapsed().as_secs_f64();
    let client = instance.client();
    truth::by_key(&client, table, workload);
    truth::by_search(&client, table, key_field, workload);
    let accounts = truth::accounts(&status, table, &workload.by_topic());
    let resident = resident_peak(instance.pid());
    instance.stop();
    truth::by_changelog(lab, table, workload);
    lab.verify();
    report(&format!(
        "{table} on {:?}: {} deliveries, {} records equal by key, search and changelog; {took:.1} s from start to all searchable, peak {resident} MiB; {accounts}",
        lab.on,
        workload.deliveries.len(),
        workload.expected.len(),
    ));
}

fn resident_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

const DISTURBED: [&str; 4] = ["--dup", "0.3", "--late", "0.3"];

fn catalog(on: On) {
    let workload = Workload::catalog(scaled(1_000_000), scaled(100_000), &[]);
    run_whole(&Lab::new(on, "catalog.toml"), "products", "sku", &workload);
}

/// Many duplicates and late events, and hot keys.
fn disturbed_catalog(on: On) {
    let more = [&DISTURBED[..], &["--skew", "0.99"]].concat();
    let workload = Workload::catalog(scaled(1_000_000), scaled(100_000), &more);
    let mut lab = Lab::new(on, "catalog.toml");
    // The hottest key has 8 % of all events: 1,000 positions late are some 80 of its events.
    lab.sets.push("tables.products.window.events=1024".into());
    run_whole(&lab, "products", "sku", &workload);
}

/// In any order at all; a key has some ten events, far fewer than the window.
fn shuffled_catalog(on: On) {
    let workload = Workload::catalog(scaled(1_000_000), scaled(100_000), &DISTURBED).shuffled();
    run_whole(&Lab::new(on, "catalog.toml"), "products", "sku", &workload);
}

fn flights(more: &[&str]) -> Workload {
    Workload::flights((!common::full_scale()).then_some(33_000), more)
}

/// In any order at all: what is told in January may come after what is told in December, and so may what a withdrawal keeps away.
fn shuffled_flights(on: On) {
    let mut lab = Lab::new(on, "flights.toml");
    lab.sets.extend(["window.time=500d", "tombstone_horizon=500d"].map(|set| format!("tables.flights.{set}")));
    run_whole(&lab, "flights", "flight_id", &flights(&DISTURBED).shuffled());
}

#[test]
fn the_catalog_on_the_embedded_log_equals_the_expected_records() {
    catalog(On::Local);
}

#[test]
fn the_catalog_on_kafka_equals_the_expected_records() {
    catalog(On::Kafka);
}

#[test]
fn the_catalog_with_many_duplicates_late_events_and_hot_keys_on_the_embedded_log_equals_the_expected_records() {
    disturbed_catalog(On::Local);
}

#[test]
fn the_catalog_with_many_duplicates_late_events_and_hot_keys_on_kafka_equals_the_expected_records() {
    disturbed_catalog(On::Kafka);
}

#[test]
fn the_catalog_with_many_duplicates_in_any_order_on_the_embedded_log_equals_the_expected_records() {
    shuffled_catalog(On::Local);
}

#[test]
fn the_catalog_with_many_duplicates_in_any_order_on_kafka_equals_the_expected_records() {
    shuffled_catalog(On::Kafka);
}

#[test]
fn the_flights_on_the_embedded_log_equal_the_expected_records() {
    run_whole(&Lab::new(On::Local, "flights.toml"), "flights", "flight_id", &flights(&[]));
}

#[test]
fn the_flights_with_many_duplicates_and_late_events_on_kafka_equal_the_expected_records() {
    run_whole(&Lab::new(On::Kafka, "flights.toml"), "flights", "flight_id", &flights(&DISTURBED));
}

#[test]
fn the_flights_with_many_duplicates_in_any_order_on_the_embedded_log_equal_the_expected_records() {
    shuffled_flights(On::Local);
}

#[test]
fn the_flights_with_many_duplicates_in_any_order_on_kafka_equal_the_expected_records() {
    shuffled_flights(On::Kafka);
}
