//! Rows about lost state and growing state.

use serde_json::{Value, json};

use crate::bench::{Bench, a, b};
use crate::common::lab::On;
use crate::common::workload::Delivery;
use crate::common::{full_scale, report};

/// Row 12: killed at three steps of a commit, one after the other, each time with new events. Every step is in `tests/crash.rs`.
pub(crate) fn bug_12_a_kill_within_a_commit_loses_nothing_and_repeats_nothing(on: On) {
    const KEYS: u64 = 50;
    let points = ["commit.3_drained", "commit.5_committed", "index.2_prepared"];
    let mut bench = Bench::new(on);
    let key = |k| format!("k{k}");
    let round = |n: u64| -> Vec<Delivery> {
        let both = |k: u64| {
            let id = key(k);
            [
                a(&json!({"id": id, "v": n, "e": n, "name": format!("round {n}"), "sold": k, "seen": 1})),
                b(&json!({"id": id, "v": n, "e": n, "size": n, "sold": 1000})),
            ]
        };
        (0..KEYS).flat_map(both).collect()
    };
    bench.load(&round(0));
    bench.start().stop();
    for (n, point) in (1..).zip(points) {
        bench.load(&round(n));
        let (status, err) = bench.lab.spawn(&[], &[("KELD_FAULT", point)]).wait_end();
        assert!(!status.success(), "{point}: it ended as if nothing had happened");
        assert!(err.contains(&format!("fault point {point} fired")), "{point}: {err}");
    }
    // Four rounds: each adds k from one source and 1,000 from the other.
    let record = |k| json!({"id": key(k), "name": "round 3", "size": 3, "sold": 4 * k + 4000, "seen": 4});
    bench.expect(&(0..KEYS).map(record).collect::<Vec<Value>>());
    bench.whole_path(&[("a", [4 * KEYS, 0, 0, 0]), ("b", [4 * KEYS, 0, 0, 0])]);
}

/// Row 15: what is stored of one key after a thousand updates, and after very many.
pub(crate) fn bug_15_a_record_stays_small_however_many_updates_it_takes(on: On) {
    const LARGEST: usize = 4096;
    // Numbers in it grow, their number does not.
    const SLACK: usize = 64;
    let updates = if full_scale() { 1_000_000 } else { 50_000 };
    let update =
        |n: u64| a(&json!({"id": "one", "v": n, "e": format!("event-{n}"), "name": format!("name {n}"), "sold": 1}));
    let mut bench = Bench::new(on);
    bench.load(&(1..=1_000).map(update).collect::<Vec<_>>());
    bench.start().stop();
    let early = bench.changelog()["one"].as_ref().unwrap().len();
    bench.load(&(1_001..=updates).map(update).collect::<Vec<_>>());
    bench.expect(&[json!({"id": "one", "name": format!("name {updates}"), "sold": updates})]);
    bench.whole_path(&[("a", [updates, 0, 0, 0])]);
    let sizes = bench.changelog_records().into_iter().map(|(_, payload)| payload.unwrap().len());
    let largest = sizes.max().unwrap();
    report(&format!(
        "{on:?}: one key took {updates} updates; {early} bytes after 1,000 of them, {largest} bytes at most"
    ));
    assert!(largest < LARGEST, "{largest} bytes");
    assert!(largest <= early + SLACK, "it grew from {early} to {largest} bytes");
}
