//! Strategies, nulls, deletes, ties, windows and outcomes, one by one.

use serde_json::json;

use super::*;
use crate::record::testing::*;
use crate::record::{FieldType, render};
use Outcome::{Applied, Duplicate, Quarantined, Stale};
use Value::{Float, Int, Null};

fn one(kind: FieldType, merge: Strategy) -> TableDef {
    table(&[("f", kind, merge)])
}

fn says(def: &TableDef, version: i64, id: u64, value: Value) -> Event {
    upsert(def, 0, version, id, &[("f", value)])
}

#[test]
fn lww_shows_the_highest_version_then_the_highest_rank() {
    let def = one(FieldType::Keyword, Strategy::Lww);
    let events = [
        upsert(&def, 0, 7, 1, &[("f", text("older"))]),
        upsert(&def, 1, 8, 2, &[("f", text("higher rank"))]),
        upsert(&def, 0, 8, 3, &[("f", text("lower rank"))]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": "higher rank"}));
}

#[test]
fn equal_stamps_fall_to_the_larger_canonical_json() {
    let def = one(FieldType::Json, Strategy::Lww);
    for (low, high) in [(Int(1000), Int(999)), (text("zzz"), Int(0)), (Int(999), Null), (text("z"), Null)] {
        let events = [says(&def, 5, 1, low), says(&def, 5, 2, high.clone())];
        let record = in_any_order(&def, &events);
        let expected = if high.is_null() { json!(null) } else { json!({"f": high.to_json()}) };
        assert_eq!(shown(&def, &record), expected);
    }
}

#[test]
fn a_null_clears_until_a_higher_stamp_replaces_it() {
    let def = table(&[("f", FieldType::Keyword, Strategy::Lww), ("g", FieldType::Keyword, Strategy::Lww)]);
    let mut events = vec![
        upsert(&def, 0, 1, 1, &[("f", text("x")), ("g", text("stays")), ("extra", Int(1))]),
        upsert(&def, 0, 2, 2, &[("f", Null), ("extra", Null)]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"g": "stays"}));
    events.push(upsert(&def, 1, 2, 3, &[("f", text("back"))]));
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": "back", "g": "stays"}));
}

#[test]
fn a_set_is_the_union_and_keeps_the_highest_stamps_over_its_limit() {
    let mut def = one(FieldType::Keyword, Strategy::Set);
    let tags = |all: &[&str]| Value::Array(all.iter().map(|s| text(s)).collect());
    let events =
        [says(&def, 1, 1, tags(&["b", "a"])), says(&def, 2, 2, tags(&["c", "a"])), says(&def, 3, 3, text("a!"))];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": ["a", "a!", "b", "c"]}));
    def.fields[0].limit = 2;
    let record = in_any_order(&def, &events);
    assert_eq!(shown(&def, &record), json!({"f": ["a!", "c"]}), "a and c tie at 2: the larger value stays");
    let mut record = after(&def, &events[1..]);
    let merged = merge(&def, &mut record, &events[0]);
    assert_eq!((merged.outcome, merged.evicted), (Stale, 2), "both lie below what the limit keeps");
}

#[test]
fn a_null_clears_a_set_up_to_its_stamp() {
    let def = one(FieldType::Integer, Strategy::Set);
    let events = [says(&def, 1, 1, Int(1)), says(&def, 2, 2, Int(2)), says(&def, 3, 3, Int(3)), says(&def, 2, 4, Null)];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": [3]}), "at equal stamps null wins");
    let emptied = in_any_order(&def, &[events[0].clone(), events[3].clone()]);
    assert_eq!(shown(&def, &emptied), json!(null), "an empty set is not shown");
}

#[test]
fn an_empty_array_leaves_no_trace_in_a_set() {
    let def = one(FieldType::Integer, Strategy::Set);
    let mut record = Record::default();
    assert_eq!(merge(&def, &mut record, &says(&def, 1, 1, Value::Array(Vec::new()))).outcome, Duplicate);
    assert!(record.is_empty());
}

fn object(members: &[(&str, Value)]) -> Value {
    Value::object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

#[test]
fn a_map_is_merged_key_by_key() {
    let def = one(FieldType::Json, Strategy::Map);
    let events = [
        says(&def, 1, 1, object(&[("a", Int(1)), ("b", Int(1)), ("d", Int(1))])),
        says(&def, 2, 2, object(&[("a", Int(2)), ("d", Null)])),
        says(&def, 3, 3, object(&[("c", text("new"))])),
        upsert(&def, 1, 2, 4, &[("f", object(&[("b", text("higher rank"))]))]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": {"a": 2, "b": "higher rank", "c": "new"}}));
    let outcomes = feed(&def, &mut after(&def, &events), &[events[0].clone(), events[2].clone()]);
    assert_eq!(outcomes, [Stale, Duplicate]);
}

#[test]
fn keys_of_a_map_with_equal_stamps_fall_to_the_larger_canonical_json() {
    let def = one(FieldType::Json, Strategy::Map);
    let events = [
        says(&def, 5, 1, object(&[("a", Int(1000)), ("b", Null)])),
        says(&def, 5, 2, object(&[("a", Int(999)), ("b", text("null wins over text"))])),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": {"a": 999}}));
}

#[test]
fn a_null_in_place_of_a_map_clears_it_up_to_its_stamp() {
    let def = one(FieldType::Json, Strategy::Map);
    let events = [
        says(&def, 1, 1, object(&[("a", Int(1))])),
        says(&def, 2, 2, object(&[("b", Int(2))])),
        says(&def, 3, 3, object(&[("c", Int(3))])),
        says(&def, 2, 4, Null),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": {"c": 3}}), "at equal stamps null wins");
    assert_eq!(shown(&def, &in_any_order(&def, &events[3..])), json!(null), "an empty map is not shown");
    let mut record = Record::default();
    assert_eq!(merge(&def, &mut record, &says(&def, 1, 1, object(&[]))).outcome, Duplicate);
    assert!(record.is_empty(), "an empty object leaves no trace");
}

#[test]
fn a_map_keeps_the_keys_with_the_highest_stamps_over_its_limit() {
    let mut def = one(FieldType::Json, Strategy::Map);
    def.fields[0].limit = 2;
    let events = [
        says(&def, 1, 1, object(&[("a", Int(1)), ("b", Int(1))])),
        says(&def, 2, 2, object(&[("c", Int(2)), ("d", Int(2)), ("a", Int(2))])),
        says(&def, 3, 3, object(&[("b", Null)])),
    ];
    let record = in_any_order(&def, &events);
    assert_eq!(shown(&def, &record), json!({"f": {"d": 2}}), "a, c and d tie at 2; b is kept, though cleared");
    let mut record = after(&def, &events[1..]);
    assert_eq!(merge(&def, &mut record, &events[0]).evicted, 1, "a lies below what the limit keeps, b is held");
}

#[test]
fn a_delete_takes_the_keys_it_covers_out_of_a_map() {
    let def = one(FieldType::Json, Strategy::Map);
    let events = [
        says(&def, 1, 1, object(&[("a", Int(1)), ("b", Int(1))])),
        says(&def, 3, 2, object(&[("b", Int(3))])),
        delete(&def, 1, 2),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": {"b": 3}}));
}

#[test]
fn what_came_first_stays_until_a_delete_uncovers_the_next() {
    let def = one(FieldType::Keyword, Strategy::First);
    let mut events = vec![
        says(&def, 2, 1, text("second")),
        upsert(&def, 1, 1, 2, &[("f", text("first"))]),
        says(&def, 3, 3, Value::Array(vec![text("third"), text("and more")])),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": "first"}));
    events.push(delete(&def, 0, 1));
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": "second"}));
    events.push(says(&def, 2, 5, Null));
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": ["third", "and more"]}));
}

#[test]
fn what_came_first_at_equal_versions_falls_to_the_rank_then_to_the_canonical_json() {
    let def = one(FieldType::Keyword, Strategy::First);
    let events = [
        upsert(&def, 1, 5, 1, &[("f", text("z, of the higher rank"))]),
        says(&def, 5, 2, text("a")),
        says(&def, 5, 3, text("b")),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": "b"}));
}

#[test]
fn a_first_needs_no_event_id_and_no_window() {
    let mut def = one(FieldType::Integer, Strategy::First);
    def.window.events = 1;
    let event = |v: i64, x| Event { id: None, ..says(&def, v, 0, Int(x)) };
    let events = [event(1, 10), event(1, 9), event(2, 20), event(3, 30)];
    let record = in_any_order(&def, &events);
    assert_eq!(shown(&def, &record), json!({"f": 9}), "at equal stamps \"9\" beats \"10\"");
    let mut record = after(&def, &events[1..]);
    assert_eq!(
        feed(&def, &mut record, &[event(1, 10), event(1, 9), event(3, 30), event(3, 4)]),
        [Stale, Duplicate, Duplicate, Applied]
    );
}

#[test]
fn a_first_that_a_late_delete_cannot_split_is_a_miss() {
    let mut def = one(FieldType::Integer, Strategy::First);
    def.window.events = 1;
    let mut record = after(&def, &[says(&def, 1, 1, Int(1)), says(&def, 3, 3, Int(3)), says(&def, 4, 4, Int(4))]);
    let merged = merge(&def, &mut record, &delete(&def, 0, 2));
    assert_eq!((merged.outcome, merged.window_misses), (Applied, 1));
    assert_eq!(shown(&def, &record), json!({"f": 1}), "3 was folded with it, and is not known any more");
    merge(&def, &mut record, &delete(&def, 0, 3));
    assert_eq!(shown(&def, &record), json!({"f": 4}));
}

#[test]
fn an_append_shows_values_in_the_order_of_their_stamps() {
    let def = one(FieldType::Keyword, Strategy::Append);
    let events = [
        says(&def, 2, 7, text("c")),
        says(&def, 1, 8, Value::Array(vec![text("b"), text("a")])),
        upsert(&def, 1, 2, 7, &[("f", text("a higher rank"))]),
        says(&def, 2, 9, text("b")),
        says(&def, 3, 6, text("c")),
    ];
    let record = in_any_order(&def, &events);
    assert_eq!(shown(&def, &record), json!({"f": ["b", "a", "b", "c", "a higher rank", "c"]}));
    assert_eq!(merge(&def, &mut after(&def, &events), &says(&def, 9, 9, Value::Array(vec![]))).outcome, Duplicate);
}

#[test]
fn an_append_keeps_the_newest_values_over_its_limit() {
    let mut def = one(FieldType::Integer, Strategy::Append);
    def.fields[0].limit = 3;
    def.window.events = 2;
    let mut record = Record::default();
    let evicted: u32 =
        (1..=9).map(|v| merge(&def, &mut record, &says(&def, v, v.unsigned_abs(), Int(v))).evicted).sum();
    assert_eq!((shown(&def, &record), evicted), (json!({"f": [7, 8, 9]}), 4), "two in the window, three folded");
    merge(&def, &mut record, &delete(&def, 0, 7));
    assert_eq!(shown(&def, &record), json!({"f": [8, 9]}));
    let several = Value::Array([1, 2, 3, 4].map(Int).into());
    assert_eq!(shown(&def, &after(&def, &[says(&def, 1, 1, several)])), json!({"f": [2, 3, 4]}));
}

#[test]
fn deletes_and_nulls_split_what_an_append_has_folded() {
    let mut def = one(FieldType::Integer, Strategy::Append);
    def.window.events = 1;
    let held = after(&def, &(1..=5).map(|v| says(&def, v, v.unsigned_abs(), Int(v))).collect::<Vec<_>>());
    for covers in [delete(&def, 1, 2), upsert(&def, 1, 2, 9, &[("f", Null)])] {
        let mut record = held.clone();
        let merged = merge(&def, &mut record, &covers);
        assert_eq!((merged.outcome, merged.window_misses), (Applied, 0));
        assert_eq!(shown(&def, &record), json!({"f": [3, 4, 5]}));
    }
}

#[test]
fn an_append_counts_an_event_once_and_refuses_what_came_after_the_window() {
    let mut def = table(&[("f", FieldType::Integer, Strategy::First), ("l", FieldType::Integer, Strategy::Append)]);
    def.window.events = 2;
    let says = |v: i64| upsert(&def, 0, v, v.unsigned_abs(), &[("f", Int(v)), ("l", Int(v))]);
    let mut record = after(&def, &[says(2), says(3), says(4)]);
    assert_eq!(feed(&def, &mut record, &[says(3), says(4)]), [Duplicate, Duplicate]);
    let merged = merge(&def, &mut record, &says(1));
    let refused: Vec<_> = merged.rejects.iter().map(|r| (r.reason, r.path.as_str())).collect();
    assert_eq!((merged.outcome, refused), (Quarantined, vec![(Reason::OutsideWindow, "l")]));
    assert_eq!(shown(&def, &record), json!({"f": 1, "l": [2, 3, 4]}), "what came first needs no window");
    let nameless = Event { id: None, ..says(9) };
    let merged = merge(&def, &mut record, &nameless);
    assert_eq!((merged.outcome, merged.changed), (Quarantined, true));
    assert_eq!((merged.rejects[0].reason, merged.rejects[0].path.as_str()), (Reason::MissingEventId, "l"));
}

#[test]
fn max_and_min_survive_the_delete_of_the_extreme() {
    for (merge, values, expected) in [(Strategy::Max, [90, 40, 70, 10], 70), (Strategy::Min, [-90, -40, -70, -10], -70)]
    {
        let def = one(FieldType::Integer, merge);
        let mut events: Vec<Event> = (1..).zip(values).map(|(v, x)| says(&def, v, v.unsigned_abs(), Int(x))).collect();
        assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": values[0]}));
        events.push(delete(&def, 1, 2));
        assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": expected}));
        events.push(says(&def, 3, 9, Null));
        assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": values[3]}));
    }
}

#[test]
fn a_front_keeps_the_extreme_and_the_newest_and_counts_what_goes() {
    let def = one(FieldType::Integer, Strategy::Max);
    let mut record = Record::default();
    let evicted: u32 = (1..=70).map(|v| merge(&def, &mut record, &says(&def, v, 1, Int(1000 - v))).evicted).sum();
    assert_eq!(evicted, 6);
    assert_eq!(shown(&def, &record), json!({"f": 999}));
    merge(&def, &mut record, &delete(&def, 0, 69));
    assert_eq!(shown(&def, &record), json!({"f": 930}));
}

#[test]
fn a_sum_adds_distinct_ids_over_all_sources_and_shows_zero() {
    let def = table(&[("n", FieldType::Integer, Strategy::Count), ("s", FieldType::Integer, Strategy::Sum)]);
    let adds = |source, id, x: i64| upsert(&def, source, 5, id, &[("s", Int(x)), ("n", Int(x))]);
    let events = [adds(0, 1, 4), adds(0, 2, -6), adds(1, 1, 2)];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"n": 3, "s": 0}), "ids are the source's own");
    assert_eq!(shown(&def, &after(&def, &[])), json!(null));
}

#[test]
fn a_float_sum_does_not_depend_on_the_order_of_arrival() {
    let mut def = one(FieldType::Float, Strategy::Sum);
    let values = [0.1, 1e16, 0.2, -1e16, 0.3];
    let events: Vec<Event> = (1..).zip(values).map(|(v, x)| says(&def, v, v.unsigned_abs(), Float(x))).collect();
    let expected = values.iter().fold(0.0, |sum, x| sum + x);
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"f": expected}));
    def.window.events = 2;
    assert_eq!(shown(&def, &after(&def, &events)), json!({"f": expected}), "folded or not");
}

#[test]
fn a_null_clears_contributions_up_to_its_version() {
    let def = table(&[("n", FieldType::Integer, Strategy::Count), ("s", FieldType::Integer, Strategy::Sum)]);
    let events = [
        upsert(&def, 0, 1, 1, &[("s", Int(1)), ("n", Int(1))]),
        upsert(&def, 1, 2, 2, &[("s", Int(20))]),
        upsert(&def, 0, 3, 3, &[("s", Int(300))]),
        upsert(&def, 0, 2, 4, &[("s", Null)]),
    ];
    assert_eq!(shown(&def, &in_any_order(&def, &events)), json!({"n": 1, "s": 300}));
}

#[test]
fn nulls_and_folding_meet_in_any_order() {
    let mut def = table(&[("g", FieldType::Integer, Strategy::Sum), ("s", FieldType::Integer, Strategy::Sum)]);
    def.window.events = 2;
    let events = [
        upsert(&def, 0, 1, 1, &[("s", Int(1))]),
        upsert(&def, 0, 2, 2, &[("g", Int(20))]),
        upsert(&def, 0, 3, 3, &[("s", Int(300))]),
        upsert(&def, 0, 4, 4, &[("s", Int(4000))]),
    ];
    let clear = upsert(&def, 1, 3, 5, &[("s", Null)]);
    let last = after(&def, &[events.as_slice(), std::slice::from_ref(&clear)].concat());
    for at in 0..=events.len() {
        let mut order = events.to_vec();
        order.insert(at, clear.clone());
        let record = after(&def, &order);
        assert_eq!(shown(&def, &record), json!({"g": 20, "s": 4000}));
        assert_eq!(bytes(&record), bytes(&last), "null at {at}");
    }
}

#[test]
fn a_null_that_cannot_split_a_base_is_a_miss() {
    let mut def = one(FieldType::Integer, Strategy::Sum);
    def.window.events = 1;
    let mut record = after(&def, &[says(&def, 1, 1, Int(1)), says(&def, 3, 3, Int(30)), says(&def, 4, 4, Int(400))]);
    let merged = merge(&def, &mut record, &says(&def, 2, 9, Null));
    assert_eq!((merged.outcome, merged.window_misses), (Applied, 1));
    assert_eq!(shown(&def, &record), json!({"f": 431}), "the base stays");
    assert_eq!(merge(&def, &mut record, &says(&def, 3, 10, Null)).window_misses, 0);
    assert_eq!(shown(&def, &record), json!({"f": 400}));
}

#[test]
fn a_delete_decides_by_version_whatever_the_rank() {
    let def = one(FieldType::Keyword, Strategy::Lww);
    let held = upsert(&def, 1, 5, 1, &[("f", text("x")), ("extra", Int(1))]);
    assert_eq!(shown(&def, &in_any_order(&def, &[held.clone(), delete(&def, 0, 5)])), json!(null));
    assert_eq!(shown(&def, &in_any_order(&def, &[held, delete(&def, 0, 4)])), json!({"f": "x", "extra": 1}));
}

#[test]
fn what_is_newer_than_a_delete_lives_on_without_the_rest() {
    let def = table(&[("f", FieldType::Keyword, Strategy::Lww), ("s", FieldType::Integer, Strategy::Sum)]);
    let events = [
        upsert(&def, 0, 1, 1, &[("f", text("old")), ("s", Int(5)), ("x", Int(1))]),
        delete(&def, 0, 2),
        upsert(&def, 0, 3, 2, &[("s", Int(7))]),
    ];
    let record = in_any_order(&def, &events);
    assert_eq!(shown(&def, &record), json!({"s": 7}));
    assert_eq!(record.tombstone(), Some(Version::single(2)));
}

#[test]
fn a_sum_that_would_leave_64_bits_changes_nothing_at_all() {
    let def = table(&[("f", FieldType::Keyword, Strategy::Lww), ("s", FieldType::Integer, Strategy::Sum)]);
    let mut record = after(&def, &[upsert(&def, 0, 1, 1, &[("s", Int(i64::MAX - 5))])]);
    let before = bytes(&record);
    let merged = merge(&def, &mut record, &upsert(&def, 1, 2, 2, &[("f", text("x")), ("s", Int(6))]));
    assert_eq!((merged.outcome, merged.changed), (Quarantined, false));
    assert_eq!((merged.rejects[0].reason, merged.rejects[0].path.as_str()), (Reason::OutOfRange, "s"));
    assert_eq!(bytes(&record), before);
    let outcome = merge(&def, &mut record, &upsert(&def, 1, 2, 2, &[("f", text("x")), ("s", Int(5))])).outcome;
    assert_eq!(outcome, Applied);
    assert_eq!(render::current(&def, &record, 1), Some(Int(i64::MAX)));
}

#[test]
fn a_delete_that_would_take_a_sum_out_of_range_is_quarantined() {
    let def = one(FieldType::Integer, Strategy::Sum);
    let adds = |v: i64, x| says(&def, v, v.unsigned_abs(), Int(x));
    let mut record = after(&def, &[adds(1, i64::MAX), adds(2, -i64::MAX), adds(3, -i64::MAX)]);
    let merged = merge(&def, &mut record, &delete(&def, 0, 1));
    assert_eq!((merged.outcome, merged.changed), (Quarantined, false));
    assert_eq!(shown(&def, &record), json!({"f": -i64::MAX}));
}

#[test]
fn a_float_sum_that_would_overflow_is_quarantined() {
    let def = one(FieldType::Float, Strategy::Sum);
    let mut record = after(&def, &[says(&def, 1, 1, Float(1.5e308))]);
    assert_eq!(merge(&def, &mut record, &says(&def, 2, 2, Float(1.5e308))).outcome, Quarantined);
    assert_eq!(merge(&def, &mut record, &says(&def, 2, 2, Float(-1.5e308))).outcome, Applied);
    assert_eq!(shown(&def, &record), json!({"f": 0.0}));
}

#[test]
fn what_lies_outside_the_window_is_refused_and_the_rest_is_merged() {
    let mut def = table(&[("f", FieldType::Keyword, Strategy::Lww), ("s", FieldType::Integer, Strategy::Sum)]);
    def.fields[1].path = crate::record::Path::parse("delta.s");
    def.window.events = 2;
    let adds = |v: i64| upsert(&def, 0, v, v.unsigned_abs(), &[("s", Int(v))]);
    let mut record = after(&def, &[adds(2), adds(3), adds(4)]);
    let late = upsert(&def, 0, 1, 1, &[("f", text("late")), ("s", Int(1))]);
    let merged = merge(&def, &mut record, &late);
    assert_eq!((merged.outcome, merged.changed), (Quarantined, true));
    let refused: Vec<_> = merged.rejects.iter().map(|r| (r.reason, r.path.as_str())).collect();
    assert_eq!(refused, [(Reason::OutsideWindow, "delta.s")]);
    assert_eq!(shown(&def, &record), json!({"f": "late", "s": 9}));
    let again = merge(&def, &mut record, &late);
    assert_eq!((again.outcome, again.changed), (Quarantined, false));
    let other = upsert(&def, 1, 1, 1, &[("s", Int(100))]);
    assert_eq!(merge(&def, &mut record, &other).outcome, Applied, "another source has its own journal");
    assert_eq!(shown(&def, &record), json!({"f": "late", "s": 109}));
}

#[test]
fn the_window_counts_time_only_where_versions_are_times() {
    let mut def = one(FieldType::Integer, Strategy::Sum);
    def.window.time_ms = 100;
    let order = [1000, 1101, 1000];
    let events: Vec<Event> = (0..).zip(order).map(|(id, v)| says(&def, v, 2 - id, Int(1))).collect();
    assert_eq!(feed(&def, &mut Record::default(), &events), [Applied, Applied, Quarantined], "(1000, 0) < (1000, 2)");
    def.sources[0].max_ahead_ms = None;
    assert_eq!(feed(&def, &mut Record::default(), &events), [Applied; 3]);
}

#[test]
fn equal_versions_are_ordered_by_id() {
    let mut def = one(FieldType::Integer, Strategy::Sum);
    def.window.events = 1;
    let mut record = after(&def, &[says(&def, 5, 8, Int(1)), says(&def, 5, 9, Int(10))]);
    assert_eq!(merge(&def, &mut record, &says(&def, 5, 7, Int(100))).outcome, Quarantined);
    assert_eq!(merge(&def, &mut record, &says(&def, 5, 10, Int(1000))).outcome, Applied);
    assert_eq!(shown(&def, &record), json!({"f": 1011}));
}

#[test]
fn an_id_with_other_content_keeps_the_higher_and_is_counted() {
    let def = one(FieldType::Integer, Strategy::Sum);
    for (low, high) in [((1, 5), (2, 3)), ((4, 1000), (4, 999))] {
        let (low, high) = (says(&def, low.0, 7, Int(low.1)), says(&def, high.0, 7, Int(high.1)));
        let expected = bytes(&after(&def, std::slice::from_ref(&high)));
        let mut record = after(&def, std::slice::from_ref(&low));
        let merged = merge(&def, &mut record, &high);
        assert_eq!((merged.outcome, merged.id_conflicts), (Applied, 1));
        assert_eq!(bytes(&record), expected);
        let merged = merge(&def, &mut record, &low);
        assert_eq!((merged.outcome, merged.id_conflicts), (Duplicate, 1));
        assert_eq!(bytes(&record), expected);
    }
}

#[test]
fn a_contribution_without_an_id_is_refused() {
    let def = table(&[("f", FieldType::Keyword, Strategy::Lww), ("s", FieldType::Integer, Strategy::Sum)]);
    let event = Event { id: None, ..upsert(&def, 0, 1, 1, &[("f", text("x")), ("s", Int(1))]) };
    let mut record = Record::default();
    let merged = merge(&def, &mut record, &event);
    assert_eq!((merged.outcome, merged.changed, merged.rejects[0].reason), (Quarantined, true, Reason::MissingEventId));
    assert_eq!(shown(&def, &record), json!({"f": "x"}));
}

#[test]
fn every_event_ends_in_one_outcome_in_the_order_of_the_rules() {
    let def = table(&[
        ("f", FieldType::Keyword, Strategy::Lww),
        ("g", FieldType::Keyword, Strategy::Lww),
        ("s", FieldType::Integer, Strategy::Sum),
    ]);
    let both = upsert(&def, 0, 2, 1, &[("f", text("x")), ("g", text("y"))]);
    let newer = upsert(&def, 0, 3, 2, &[("f", text("z"))]);
    let sold = upsert(&def, 0, 4, 3, &[("f", text("w")), ("s", Int(1))]);
    let newest = upsert(&def, 0, 5, 4, &[("f", text("v"))]);
    let nothing = upsert(&def, 0, 9, 9, &[]);
    let order =
        [&both, &both, &newer, &both, &sold, &newest, &sold, &nothing, &delete(&def, 0, 2), &delete(&def, 0, 2)]
            .map(Clone::clone);
    let expected = [
        Applied, Duplicate, Applied, Stale, // f is superseded, though g is held
        Applied, Applied, Duplicate, // its id is held, though f is superseded
        Duplicate, Applied, Duplicate,
    ];
    let mut record = Record::default();
    assert_eq!(feed(&def, &mut record, &order), expected);
    assert_eq!(feed(&def, &mut record, &[delete(&def, 0, 1), both, newest]), [Stale, Stale, Duplicate]);
}

#[test]
fn a_dynamic_member_hides_behind_the_field_that_is_declared_later() {
    let undeclared = table(&[]);
    let record = after(&undeclared, &[upsert(&undeclared, 0, 1, 1, &[("f", Int(1)), ("g", Int(2))])]);
    let def = one(FieldType::Integer, Strategy::Lww);
    assert_eq!(shown(&def, &record), json!({"f": 1, "g": 2}));
    let mut record = record;
    merge(&def, &mut record, &says(&def, 0, 2, Int(3)));
    assert_eq!(shown(&def, &record), json!({"f": 3, "g": 2}));
}
