//! Rows about what merging makes of repeated, tied, late and bad events.

use std::collections::BTreeMap;

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::bench::{Bench, Outcomes, TABLE, a, b, event, orders, records};
use crate::common::dice::Dice;
use crate::common::lab::{On, PARTITIONS};
use crate::common::report;
use crate::common::workload::Delivery;

/// Row 1: each event is delivered six times: in a row, once more backwards and forwards, over HTTP, and after a restore.
pub(crate) fn bug_01_a_duplicate_increments_once(on: On) {
    let events = [
        a(
            &json!({"id": "k1", "v": 1, "e": "a1", "name": "first", "sold": 5, "seen": 1, "tags": ["x"], "best": 7, "least": 7, "traits": {"w": 1}, "origin": "o1", "log": "l1"}),
        ),
        a(
            &json!({"id": "k1", "v": 2, "e": "a2", "sold": -2, "seen": 1, "tags": ["y"], "best": 3, "least": 3, "traits": {"w": 2, "h": 3}, "origin": "o2", "log": ["l3", "l2"]}),
        ),
        b(&json!({"id": "k1", "v": 1, "e": "b1", "sold": 10, "colour": "red", "origin": "ob", "log": "lb"})),
        b(&json!({"id": "k2", "v": 5, "e": "b2", "seen": 1})),
        a(&json!({"id": "k2", "v": 9, "e": "a3", "sold": 4})),
        a(&json!({"id": "k3", "v": 1, "e": "a4", "name": "nothing that adds up"})),
    ];
    let expected = [
        json!({"id": "k1", "name": "first", "colour": "red", "tags": ["x", "y"], "best": 7, "least": 3, "sold": 13, "seen": 2, "traits": {"h": 3, "w": 2}, "origin": "o1", "log": ["l1", "lb", "l3", "l2"]}),
        json!({"id": "k2", "sold": 4, "seen": 1}),
        json!({"id": "k3", "name": "nothing that adds up"}),
    ];
    let mut bench = Bench::new(on);
    bench.expect(&expected);
    let twice_each: Vec<Delivery> = events.iter().flat_map(|e| [e.clone(), e.clone()]).collect();
    bench.load(&twice_each);
    bench.load(&events.iter().rev().cloned().collect::<Vec<_>>());
    bench.load(&events);
    let instance = bench.start();
    bench.send(&instance.client(), &events);
    bench.check(&instance, &[("a", [4, 16, 0, 0]), ("b", [2, 8, 0, 0])]);
    for (filter, total) in [("log:l3", 1), ("origin:o1", 1), ("traits.h:3", 1), ("traits.w:1", 0), ("origin:o2", 0)] {
        let found = instance.client().get(&format!("/v1/tables/{TABLE}/search?filter={filter}"));
        assert_eq!(found["total"], total, "{filter}");
    }
    instance.stop();
    bench.lose_store_and_index();
    let instance = bench.start();
    bench.send(&instance.client(), &events);
    instance.stop();
    bench.whole_path(&[("a", [4, 20, 0, 0]), ("b", [2, 10, 0, 0])]);
}

/// Four events of one version: equal and different ranks, numbers whose canonical JSON sorts the other way round, a null, an
/// object against a text.
fn tied(key: &str) -> [Delivery; 4] {
    [
        a(
            &json!({"id": key, "v": 7, "e": "1", "size": 999, "name": "alpha", "sold": 1, "tags": ["p"], "extra": "m", "traits": {"t": 999}, "origin": "x", "log": "p"}),
        ),
        a(
            &json!({"id": key, "v": 7, "e": "2", "size": 1000, "name": "beta", "sold": 2, "tags": ["q"], "extra": {"z": 1}, "traits": {"t": 1000, "u": null}, "origin": "y", "log": "q"}),
        ),
        a(&json!({"id": key, "v": 7, "e": "3", "size": 5, "colour": null, "sold": 4})),
        b(
            &json!({"id": key, "v": 7, "e": "4", "name": "aaa", "colour": "blue", "sold": 8, "traits": {"u": 1}, "origin": "z", "log": "b"}),
        ),
    ]
}

/// Three events and a delete of one version, which wins over all of them.
fn tied_with_delete(key: &str) -> [Delivery; 4] {
    [
        a(&json!({"id": key, "v": 7, "e": "1", "size": 1, "sold": 1})),
        a(&json!({"id": key, "v": 7, "e": "2", "gone": true})),
        b(&json!({"id": key, "v": 7, "e": "3", "size": 2, "sold": 2, "colour": "red"})),
        a(&json!({"id": key, "v": 6, "e": "4", "name": "old", "tags": ["p"]})),
    ]
}

/// Row 2: one key for each of the 24 orders. One instance gets them all at once, the other one by one, in other orders.
pub(crate) fn bug_02_every_order_of_tied_events_gives_the_same_bytes_on_two_instances(on: On) {
    let orders = orders(4);
    let step = |n: usize, at: usize| -> Vec<Delivery> {
        let mut events: Vec<Delivery> = Vec::new();
        for i in 0..orders.len() {
            let order = &orders[(i + at) % orders.len()];
            events.push(tied(&format!("tied-{i}"))[order[n]].clone());
            events.push(tied_with_delete(&format!("dead-{i}"))[order[n]].clone());
        }
        events.sort_by(|x, y| x.topic.cmp(&y.topic));
        events
    };
    let record = |i: usize| {
        json!({
            "id": format!("tied-{i}"), "name": "aaa", "colour": "blue", "size": 999, "tags": ["p", "q"], "sold": 15,
            "extra": {"z": 1}, "traits": {"t": 999, "u": 1}, "origin": "y", "log": ["p", "q", "b"]
        })
    };
    let expected: Vec<Value> = (0..orders.len()).map(record).collect();
    let (mut at_once, mut one_by_one) = (Bench::new(on), Bench::new(on));
    at_once.expect(&expected);
    one_by_one.expect(&expected);
    at_once.load(&(0..4).flat_map(|n| step(n, 0)).collect::<Vec<_>>());
    let instance = one_by_one.start();
    // Seven orders further on: no key gets its events in the order that it has on the other instance.
    (0..4).for_each(|n| one_by_one.send(&instance.client(), &step(n, 7)));
    instance.stop();
    at_once.whole_path(&[]);
    one_by_one.whole_path(&[]);
    let (left, right) = (at_once.changelog(), one_by_one.changelog());
    assert_eq!(left.len(), 2 * orders.len(), "keys in the changelog");
    for kind in ["tied-", "dead-"] {
        let one = &left[&format!("{kind}0")];
        assert!(one.is_some(), "{kind}: a record, or the mark that it is dead");
        for log in [&left, &right] {
            let differing: Vec<&String> =
                log.iter().filter(|(k, v)| k.starts_with(kind) && *v != one).map(|(k, _)| k).collect();
            assert!(differing.is_empty(), "other bytes than {kind}0: {differing:?}");
        }
    }
}

/// Row 3: ten events of each of two producers for each key, in any order; the clock of one runs a million ahead.
pub(crate) fn bug_03_a_late_partial_for_other_fields_is_taken(on: On) {
    const KEYS: usize = 20;
    let seed = 0x0b5e_55ed;
    report(&format!("two producers interleaved with seed {seed:#x}"));
    let mut events = Vec::new();
    for key in (0..KEYS).map(|k| format!("k{k}")) {
        for n in 0..10 {
            let (v, e) = (1_000_000 + n, format!("{key}-{n}"));
            // Names come with even numbers, sizes with odd ones: the last of them with 8 and 9.
            events.push(match n % 2 {
                0 => a(&json!({"id": key, "v": v, "e": e, "name": format!("name {n}")})),
                _ => a(&json!({"id": key, "v": v, "e": e, "size": n})),
            });
            // Colours with 0, 2, 3, 5, 6, 8, 9, prices with 1, 2, 4, 5, 7, 8: the last of them with 9 and 8.
            let (v, price) = (3 * n, f64::from(n) + 0.5);
            events.push(match n % 3 {
                0 => b(&json!({"id": key, "v": v, "e": e, "colour": format!("colour {n}")})),
                1 => b(&json!({"id": key, "v": v, "e": e, "price": price})),
                _ => b(&json!({"id": key, "v": v, "e": e, "price": price, "colour": format!("colour {n}")})),
            });
        }
    }
    Dice(seed).shuffle(&mut events);
    let mut bench = Bench::new(on);
    let last =
        |k: usize| json!({"id": format!("k{k}"), "name": "name 8", "size": 9, "colour": "colour 9", "price": 8.5});
    bench.expect(&(0..KEYS).map(last).collect::<Vec<_>>());
    let (loaded, sent) = events.split_at(events.len() / 2);
    bench.load(loaded);
    let instance = bench.start();
    for some in sent.chunks(sent.len() / 8) {
        let mut some = some.to_vec();
        some.sort_by(|x, y| x.topic.cmp(&y.topic));
        bench.send(&instance.client(), &some);
    }
    instance.stop();
    bench.whole_path(&[]);
}

/// Row 4: newest first; the older half arrives when the newer half is in the store.
pub(crate) fn bug_04_a_late_partial_does_not_overwrite_newer_values(on: On) {
    let mut events = Vec::new();
    for v in (1..=20).rev() {
        let e = v.to_string();
        events.push(a(&json!({"id": "same-fields", "v": v, "e": e, "name": format!("name {v}"), "size": v})));
        events.push(match v {
            20 => a(&json!({"id": "other-field", "v": v, "e": e, "name": "newest"})),
            3 => a(&json!({"id": "other-field", "v": v, "e": e, "name": "older", "colour": "green"})),
            2 => a(&json!({"id": "other-field", "v": v, "e": e, "name": "older", "colour": "red"})),
            _ => a(&json!({"id": "other-field", "v": v, "e": e, "name": "older"})),
        });
    }
    events.extend(
        (1..=20).rev().map(|v| b(&json!({"id": "sums", "v": v, "e": v.to_string(), "sold": v, "best": v, "least": v}))),
    );
    let mut bench = Bench::new(on);
    bench.expect(&[
        json!({"id": "same-fields", "name": "name 20", "size": 20}),
        json!({"id": "other-field", "name": "newest", "colour": "green"}),
        json!({"id": "sums", "sold": 210, "best": 20, "least": 1}),
    ]);
    bench.load(&events[..20]);
    let instance = bench.start();
    bench.send(&instance.client(), &events[20..]);
    instance.stop();
    // Applied are the first of each key, and version 3 of the second for its colour. Each addend changes its sum.
    bench.whole_path(&[("a", [3, 0, 37, 0]), ("b", [20, 0, 0, 0])]);
}

/// A key that belongs to another partition than `key`.
fn elsewhere(key: &str) -> String {
    let place = |key: &str| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS);
    (0..).map(|n| format!("other-{n}")).find(|other| place(other) != place(key)).unwrap()
}

/// Events for every outcome, bad ones of every kind among them.
fn events_for_every_account() -> Vec<Delivery> {
    let raw = |body: &str| Delivery { topic: "a".into(), key: "x".into(), body: body.into() };
    let x = |body: &str| raw(&format!(r#"{{"id": "x", {body}}}"#));
    let mut events = vec![
        x(r#""v": 1, "e": 1, "sold": 1"#),                    // applied
        x(r#""e": 1, "sold": 1, "v": 1"#),                    // duplicate
        x(r#""v": 0, "e": 2, "name": "old""#),                // applied: the name is new
        x(r#""v": -1, "e": 3, "name": "older""#),             // stale
        raw("this is no JSON"),                               // undecodable
        x(r#""v": 3, "e": 4, "size": "many""#),               // wrong type
        raw(r#"{"v": 3, "e": 5, "size": 1}"#),                // missing key
        x(r#""e": 6, "size": 1"#),                            // missing version
        x(r#""v": 4, "sold": 1"#),                            // missing event id
        x(r#""v": 5, "e": 7, "size": 99999999999999999999"#), // out of range
        x(&format!(r#""v": 6, "e": 8, "deep": {}{}"#, "[".repeat(70), "]".repeat(70))), // too deep
        Delivery { key: elsewhere("x"), ..x(r#""v": 7, "e": 9, "size": 1"#) }, // wrong partition
    ];
    // Of 70 contributions the window holds 64.
    events.extend((1..=70).map(|v| a(&json!({"id": "w", "v": v, "e": v, "sold": 1})))); // applied
    events.extend([
        a(&json!({"id": "w", "v": 2, "e": "late", "sold": 100, "name": "taken"})), // outside the window; its name is merged
        a(&json!({"id": "y", "v": 1, "gone": true})),                              // applied
        a(&json!({"id": "y", "v": 1, "gone": true})),                              // duplicate
        event("c", &json!({"id": "x", "ts": 1_700_000_000_000_i64, "e": 1, "sold": 5})), // applied
        event("c", &json!({"id": "x", "ts": 4_100_000_000_000_i64, "e": 2, "sold": 5})), // version ahead
    ]);
    events
}

/// Row 8: consumed = applied + duplicate + stale + quarantined, number by number, for ever.
pub(crate) fn bug_08_every_event_ends_in_exactly_one_account(on: On) {
    let outcomes: [Outcomes<'_>; 3] = [("a", [73, 2, 1, 9]), ("b", [0, 0, 0, 0]), ("c", [1, 0, 0, 1])];
    let mut bench = Bench::new(on);
    bench.expect(&[json!({"id": "x", "name": "old", "sold": 6}), json!({"id": "w", "name": "taken", "sold": 70})]);
    bench.load(&events_for_every_account());
    let instance = bench.start();
    bench.check(&instance, &outcomes);
    let metrics = instance.client().try_get("/metrics").unwrap().1;
    instance.stop();
    let reasons = [
        "undecodable",
        "wrong_type",
        "missing_key",
        "missing_version",
        "missing_event_id",
        "out_of_range",
        "too_deep",
        "wrong_partition",
        "outside_window",
        "version_ahead",
    ];
    let counted: BTreeMap<&str, &str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("keld_quarantined_total{")?.split_once("} "))
        .map(|(labels, n)| (labels.split("reason=\"").nth(1).unwrap().split('"').next().unwrap(), n))
        .collect();
    assert_eq!(counted, reasons.map(|r| (r, "1")).into(), "reasons counted");
    assert!(metrics.contains(&format!("table=\"{TABLE}\"")), "{metrics}");
    let aside = records(&*bench.lab.broker(), &bench.settings().quarantine.topic);
    assert_eq!(aside.len(), reasons.len(), "records in the quarantine topic");
    assert!(aside.iter().any(|(_, payload)| payload.as_deref() == Some(b"this is no JSON".as_slice())));
    bench.whole_path(&outcomes);
}
