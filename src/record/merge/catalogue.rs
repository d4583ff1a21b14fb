//! Rows of the bug catalogue (`MERGE.md` §8) that the merge alone decides.

use serde_json::json;

use super::*;
use crate::record::FieldType;
use crate::record::testing::*;
use Value::Int;

fn products() -> TableDef {
    table(&[
        ("price", FieldType::Float, Strategy::Lww),
        ("sold", FieldType::Integer, Strategy::Sum),
        ("title", FieldType::Text, Strategy::Lww),
    ])
}

#[test]
fn row_1_a_duplicate_does_not_increment_twice() {
    let def = products();
    let events: Vec<Event> = (1..=5).map(|v: i64| upsert(&def, 0, v, v.unsigned_abs(), &[("sold", Int(v))])).collect();
    for times in 1..=4 {
        let mut record = Record::default();
        for _ in 0..times {
            feed(&def, &mut record, &events);
        }
        assert_eq!(shown(&def, &record), json!({"sold": 15}), "{times} times");
    }
}

#[test]
fn row_2_replicas_agree_on_equal_versions() {
    let mut def = products();
    def.sources[1].rank = def.sources[0].rank;
    let events = [
        upsert(&def, 0, 7, 1, &[("title", text("ten")), ("sold", Int(1))]),
        upsert(&def, 1, 7, 1, &[("title", text("two")), ("sold", Int(2))]),
        upsert(&def, 0, 7, 2, &[("title", text("six")), ("x", Int(10))]),
        upsert(&def, 1, 7, 2, &[("title", Value::Null), ("x", Int(9))]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"sold": 3, "x": 9}), "null beats text, 9 beats 10");
}

#[test]
fn row_3_a_late_partial_for_other_fields_is_not_dropped() {
    let def = products();
    let events = [
        upsert(&def, 0, 900, 1, &[("title", text("Kettle"))]),
        upsert(&def, 1, 5, 2, &[("price", Value::Float(19.5))]),
        upsert(&def, 0, 901, 3, &[("title", text("Copper kettle"))]),
        upsert(&def, 1, 6, 4, &[("price", Value::Float(18.0))]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"title": "Copper kettle", "price": 18.0}));
}

#[test]
fn row_4_a_late_partial_does_not_overwrite_newer_values() {
    let def = products();
    let events: Vec<Event> =
        (1..=5).map(|v: i64| upsert(&def, 0, v, v.unsigned_abs(), &[("price", Value::Float(v as f64))])).collect();
    let reversed: Vec<Event> = events.iter().rev().cloned().collect();
    assert_eq!(shown(&def, &after(&def, &reversed)), json!({"price": 5.0}));
    assert_eq!(bytes(&after(&def, &reversed)), bytes(&after(&def, &events)));
}

#[test]
fn row_5_a_late_insert_does_not_resurrect() {
    let def = products();
    let insert = upsert(&def, 0, 5, 1, &[("title", text("ghost")), ("sold", Int(3)), ("x", Int(1))]);
    let mut record = after(&def, &[delete(&def, 0, 6)]);
    let before = bytes(&record);
    assert_eq!(feed(&def, &mut record, &[insert.clone(), insert]), [Outcome::Stale, Outcome::Stale]);
    assert_eq!((bytes(&record), shown(&def, &record)), (before, json!(null)));
}

#[test]
fn row_6_a_delete_has_effect_at_equal_and_at_higher_version() {
    let def = products();
    let insert = upsert(&def, 1, 5, 1, &[("title", text("x")), ("sold", Int(3)), ("x", Int(1))]);
    for version in [5, 6] {
        let record = in_any_order(&def, &[insert.clone(), delete(&def, 0, version)]);
        assert_eq!(shown(&def, &record), json!(null), "deleted at {version}");
    }
}

#[test]
fn row_8_every_event_is_accounted_for() {
    let mut def = products();
    def.window.events = 3;
    let mut record = Record::default();
    let mut counts = [0_u32; 4];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    for _ in 0..5_000 {
        let (version, source) = (random(40).cast_signed(), usize::from(random(2) == 1));
        let event = match random(20) {
            0 => delete(&def, source, version - 20),
            n if n < 8 => upsert(&def, source, version, version.unsigned_abs(), &[("sold", Int(version))]),
            n => upsert(&def, source, version, n, &[("title", Int(version)), ("x", Int(n.cast_signed()))]),
        };
        let before = bytes(&record);
        let merged = merge(&def, &mut record, &event);
        let changed = bytes(&record) != before;
        assert_eq!(merged.changed, changed);
        let slot = match merged.outcome {
            Outcome::Applied => 0,
            Outcome::Duplicate => 1,
            Outcome::Stale => 2,
            Outcome::Quarantined => 3,
        };
        assert_eq!(changed, slot == 0, "here nothing is quarantined in part only");
        counts[slot] += 1;
    }
    assert_eq!(counts.iter().sum::<u32>(), 5_000);
    assert!(counts.iter().all(|n| *n > 0), "{counts:?}");
}

#[test]
fn row_15_a_record_does_not_grow_with_its_updates() {
    let def = table(&[
        ("count", FieldType::Integer, Strategy::Count),
        ("max", FieldType::Integer, Strategy::Max),
        ("sold", FieldType::Float, Strategy::Sum),
        ("tags", FieldType::Integer, Strategy::Set),
    ]);
    let mut record = Record::default();
    let mut at_10_000 = 0;
    for v in 0..1_000_000_i64 {
        let values =
            [("count", Int(1)), ("max", Int(-v)), ("sold", Value::Float(0.5)), ("tags", Int(v % 1500)), ("x", Int(v))];
        merge(&def, &mut record, &upsert(&def, 0, v, v.unsigned_abs(), &values));
        if v == 10_000 {
            at_10_000 = bytes(&record).len();
        }
    }
    let end = bytes(&record).len();
    assert!(end <= at_10_000 + at_10_000 / 10, "{end} bytes after a million updates, {at_10_000} after ten thousand");
    assert!(record.heap_size() < 256 << 10, "{} bytes of heap", record.heap_size());
    let shown = shown(&def, &record);
    assert_eq!((&shown["count"], &shown["sold"]), (&json!(1_000_000), &json!(500_000.0)));
}
