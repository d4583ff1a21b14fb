//! The laws of `MERGE.md` §7, over random tables and histories, against a reference model that keeps everything.
//!
//! `KELD_LAW_CASES` sets the cases of each law (default 2,000, with `KELD_TEST_SCALE=full` 100,000), `KELD_LAW_SEED` replays
//! a run.
#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

#[path = "laws/decoding.rs"]
mod decoding;
#[path = "laws/formats.rs"]
mod formats;
#[path = "laws/generate.rs"]
mod generate;
#[path = "laws/model.rs"]
mod model;
#[path = "laws/retention.rs"]
mod retention;

use generate::{Case, KEY, Wish, cases};
use keld::record::{
    Event, EventKind, FieldType, Merged, Outcome, Reason, Record, Stamp, TableDef, Value, Version, codec, merge, render,
};
use model::{Foreseen, Model};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult, TestRunner};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs a law over random inputs; a failure shows the smallest input found and the seed that replays it.
fn check<S: Strategy>(share: u32, strategy: &S, law: impl Fn(S::Value) -> TestCaseResult)
where
    S::Value: std::fmt::Debug,
{
    let usual = if std::env::var("KELD_TEST_SCALE").as_deref() == Ok("full") { 100_000 } else { 2_000 };
    let cases = number_from("KELD_LAW_CASES").and_then(|n| u32::try_from(n).ok()).unwrap_or(usual);
    let seed = number_from("KELD_LAW_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let config = ProptestConfig {
        cases: (cases / share).max(1),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    };
    if let Err(error) = TestRunner::new(config).run(strategy, law) {
        panic!("replay with KELD_LAW_SEED={seed} KELD_LAW_CASES={cases}\n{error}");
    }
}

fn bytes(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(record, &mut out);
    out
}

/// Dates back to milliseconds; sets of integers in the model's order (what MERGE.md orders is text).
fn normal(def: &TableDef, name: &str, value: Value) -> Value {
    match (def.field(name).map(|f| f.kind), value) {
        (Some(FieldType::Date), Value::Str(text)) => match text.parse::<jiff::Timestamp>() {
            Ok(time) if text.ends_with('Z') => Value::Int(time.as_millisecond()),
            _ => Value::Str(text),
        },
        (Some(_), Value::Array(mut all)) => {
            all = all.into_iter().map(|v| normal(def, name, v)).collect();
            let integers = all.iter().all(|v| matches!(v, Value::Int(_)));
            if integers && def.field(name).is_some_and(|f| f.merge == keld::record::Strategy::Set) {
                all.sort_by(model::compare);
            }
            Value::Array(all)
        }
        (_, value) => value,
    }
}

/// Everything that can be seen of a record, against the model.
fn same_as_model(def: &TableDef, record: &Record, model: &Model<'_>) -> TestCaseResult {
    let shown = render::fields(def, KEY.as_bytes(), record, None);
    let names: Option<BTreeSet<String>> =
        shown.as_ref().map(|all| all.iter().map(|(name, _)| name.to_string()).collect());
    let json = render::json(def, KEY.as_bytes(), record, None).map(|all| all.keys().cloned().collect());
    prop_assert_eq!(json, names);
    let shown = shown.map(|all| all.into_iter().map(|(n, v)| (n.to_string(), normal(def, &n, v))).collect::<Vec<_>>());
    let expected = model.shown(KEY);
    prop_assert_eq!(record.is_visible(), expected.is_some());
    prop_assert_eq!(shown, expected, "what is shown, against the model");
    for (f, field) in def.fields.iter().enumerate() {
        let current = render::current(def, record, f).map(|v| normal(def, &field.name, v));
        prop_assert_eq!(current, model.current(f), "current value of {}", &field.name);
    }
    let dynamic: Vec<_> = render::dynamic(record).into_iter().map(|(n, v)| (n.to_owned(), v.clone())).collect();
    prop_assert_eq!(dynamic, model.dynamic());
    Ok(())
}

/// MERGE.md §6 for one event.
fn accounted(merged: &Merged, foreseen: &Foreseen, changed: bool) -> TestCaseResult {
    prop_assert!(foreseen.outcomes.contains(&merged.outcome), "{:?}, foreseen {:?}", merged, foreseen);
    prop_assert_eq!(merged.changed, changed, "whether the bytes changed");
    match merged.outcome {
        Outcome::Applied => prop_assert!(changed),
        Outcome::Duplicate | Outcome::Stale => prop_assert!(!changed, "{:?} changed the record", merged.outcome),
        Outcome::Quarantined => {}
    }
    let refused: BTreeSet<String> = merged.rejects.iter().map(|r| r.path.clone()).collect();
    prop_assert_eq!(&refused, &foreseen.refused, "the refused fields are named");
    prop_assert!(merged.rejects.iter().all(|r| r.reason == Reason::OutsideWindow));
    prop_assert!(merged.window_misses > 0 || !foreseen.missed, "a late delete is counted");
    prop_assert!(merged.window_misses <= merged.evicted || foreseen.missed, "{} misses", merged.window_misses);
    prop_assert_eq!(merged.id_conflicts, 0);
    Ok(())
}

/// Merges `event` into the record and the model, and compares all there is to compare.
fn step<'a>(
    def: &TableDef,
    record: &mut Record,
    model: &mut Model<'a>,
    event: &'a Event,
) -> Result<Outcome, TestCaseError> {
    let before = bytes(record);
    let merged = merge(def, record, event);
    let foreseen = model.deliver(event);
    let account = accounted(&merged, &foreseen, bytes(record) != before);
    account.map_err(|e| TestCaseError::fail(format!("{e}\nat {event:?}")))?;
    same_as_model(def, record, model).map_err(|e| TestCaseError::fail(format!("{e}\nafter {event:?}")))?;
    prop_assert!(!record.is_empty() || merged.outcome != Outcome::Applied);
    Ok(merged.outcome)
}

fn merge_all(def: &TableDef, events: &[&Event]) -> Record {
    let mut record = Record::default();
    for event in events {
        merge(def, &mut record, event);
    }
    record
}

const WITHIN_WINDOW: Wish = Wish { small_windows: true, delete_every: 0, clears_in_small_windows: true, events: 0 };

#[test]
fn law_1_any_order_gives_the_same_bytes() {
    check(1, &cases(WITHIN_WINDOW), |case: Case| {
        let first = bytes(&merge_all(&case.def, &case.order(0)));
        for which in 0..3 {
            let (mut record, mut model) = (Record::default(), Model::new(&case.def));
            for event in case.order(which) {
                merge(&case.def, &mut record, event);
                model.deliver(event);
            }
            same_as_model(&case.def, &record, &model)?;
            let order = || case.order(which).iter().map(|e| (e.stamp.version, e.id)).collect::<Vec<_>>();
            prop_assert_eq!(&bytes(&record), &first, "order {} {:?} against {:?}", which, order(), case.order(0));
        }
        Ok(())
    });
}

#[test]
fn law_1_every_permutation_of_tied_events_gives_the_same_bytes() {
    let tied = Wish { events: 6, ..Wish::default() };
    check(4, &cases(tied), |mut case: Case| {
        for event in &mut case.events {
            event.stamp.version = Version::single(7);
        }
        let mut order = case.unsafe_order();
        let first = bytes(&merge_all(&case.def, &order));
        // Heap's algorithm, without recursion.
        let mut counters = vec![0; order.len()];
        let mut at = 0;
        while at < order.len() {
            if counters[at] < at {
                order.swap(if at % 2 == 0 { 0 } else { counters[at] }, at);
                prop_assert_eq!(&bytes(&merge_all(&case.def, &order)), &first, "{:?}", order);
                counters[at] += 1;
                at = 0;
            } else {
                counters[at] = 0;
                at += 1;
            }
        }
        Ok(())
    });
}

#[test]
fn law_2_repetition_changes_nothing() {
    check(1, &cases(WITHIN_WINDOW), |case: Case| {
        let order = case.order(0);
        let (mut record, mut model) = (Record::default(), Model::new(&case.def));
        for (at, event) in order.iter().enumerate() {
            step(&case.def, &mut record, &mut model, event)?;
            let Some(again) = case.again(at).map(|i| order[i]).filter(|e| model.admits(e)) else { continue };
            let before = bytes(&record);
            for _ in 0..3 {
                let outcome = step(&case.def, &mut record, &mut model, again)?;
                prop_assert!(
                    matches!(outcome, Outcome::Duplicate | Outcome::Stale),
                    "{:?} again: {:?}",
                    again,
                    outcome
                );
            }
            prop_assert_eq!(bytes(&record), before, "{:?} changed the record", again);
        }
        prop_assert_eq!(bytes(&record), bytes(&merge_all(&case.def, &order)));
        Ok(())
    });
}

#[test]
fn law_3_batches_of_any_size_give_the_same_bytes() {
    check(1, &cases(WITHIN_WINDOW), |case: Case| {
        let order = case.order(0);
        let mut record = Record::default();
        for (at, event) in order.iter().enumerate() {
            merge(&case.def, &mut record, event);
            if case.cut(at) {
                record = codec::decode(&bytes(&record)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            }
        }
        prop_assert_eq!(bytes(&record), bytes(&merge_all(&case.def, &order)));
        Ok(())
    });
}

#[test]
fn law_4_stored_records_are_read_as_they_were() {
    check(1, &cases(WITHIN_WINDOW), |case: Case| {
        let record = merge_all(&case.def, &case.order(0));
        let stored = bytes(&record);
        prop_assert_eq!(stored.first(), Some(&codec::FORMAT));
        let read = codec::decode(&stored).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(&read, &record);
        prop_assert_eq!(bytes(&read), stored);
        prop_assert_eq!(render::fields(&case.def, b"k", &read, None), render::fields(&case.def, b"k", &record, None));
        Ok(())
    });
}

#[test]
fn law_4_damaged_bytes_give_a_record_or_an_error() {
    let damage = prop::collection::vec((any::<u16>(), any::<u8>(), any::<bool>()), 1..6);
    check(1, &(cases(WITHIN_WINDOW), damage, any::<Vec<u8>>()), |(case, damage, noise)| {
        let mut stored = bytes(&merge_all(&case.def, &case.order(0)));
        for (at, byte, cut) in damage {
            let at = usize::from(at) % stored.len().max(1);
            if cut && at > 1 {
                stored.truncate(at);
            } else if let Some(place) = stored.get_mut(at.max(1)) {
                *place = byte;
            }
        }
        for text in [stored, noise.clone(), [&[codec::FORMAT], &noise[..]].concat()] {
            let Ok(read) = codec::decode(&text) else { continue };
            let again = codec::decode(&bytes(&read)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(bytes(&again), bytes(&read));
        }
        Ok(())
    });
}

#[test]
fn law_5_deletes_and_revivals_follow_the_model() {
    let wish = Wish { small_windows: true, delete_every: 4, ..Wish::default() };
    check(1, &cases(wish), |case: Case| {
        let (mut record, mut model) = (Record::default(), Model::new(&case.def));
        for event in case.unsafe_order() {
            step(&case.def, &mut record, &mut model, event)?;
            if event.kind == EventKind::Delete {
                let before = bytes(&record);
                let buried = merge(&case.def, &mut record, event);
                prop_assert!(buried.outcome != Outcome::Applied && before == bytes(&record), "a delete is repeatable");
            }
        }
        Ok(())
    });
}

#[test]
fn law_6_a_record_does_not_grow_with_its_history() {
    check(400, &(cases(WITHIN_WINDOW), any::<u64>()), |(case, seed)| {
        let mut record = Record::default();
        for event in generate::long_history(&case.def, seed, 20_000) {
            merge(&case.def, &mut record, &event);
        }
        // A stamped value of these histories takes at most 150 bytes, a journal entry 32 and 12 for each field it adds to, with
        // up to three values.
        let sums = case.def.fields.iter().filter(|f| model::accumulates(f)).count();
        let valued = case
            .def
            .fields
            .iter()
            .filter(|f| matches!(f.merge, keld::record::Strategy::First | keld::record::Strategy::Append));
        let fields: usize = case.def.fields.iter().map(|f| 150 * (1 + f.limit.max(64))).sum();
        let entry = 32 + 12 * sums + 450 * valued.clone().count();
        let based: usize = valued.map(|f| 150 * (f.limit + 3)).sum();
        let journals = case.def.sources.len() * ((case.def.window.events + 1) * entry + based);
        let bound = 64 + fields + 4 * 150 + journals;
        prop_assert!(bytes(&record).len() <= bound, "{} bytes, at most {bound}", bytes(&record).len());
        prop_assert!(record.heap_size() <= 16 * bound, "{} heap bytes", record.heap_size());
        Ok(())
    });
}

#[test]
fn law_6_a_million_updates_of_one_key_leave_a_record_under_4_kib() {
    use keld::record::Strategy::{Lww, Sum};
    let fields = [("sold", (Sum, FieldType::Integer)), ("title", (Lww, FieldType::Text))]
        .map(|(n, kind)| generate::field(n, kind, 1));
    let sources = vec![generate::source(0, 7, true, true)];
    let def = TableDef { sources, fields: fields.into(), ..decoding::table() };
    let (mut record, mut sizes) = (Record::default(), Vec::new());
    for n in 0..1_000_000_i64 {
        let declared = vec![(0, Value::Int(n % 7 - 3)), (1, Value::Str(format!("title number {n:07}").into()))];
        let event = Event {
            stamp: Stamp { version: Version::single(1_700_000_000_000 + 20 * n), rank: 7 },
            id: Some(n.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            kind: EventKind::Upsert { declared, dynamic: Vec::new() },
            ..says(&def, 0, 0, Value::Null)
        };
        assert_eq!(merge(&def, &mut record, &event).outcome, Outcome::Applied);
        // What a commit touches of a key is its record, whole.
        if n % 1_000 == 999 {
            sizes.push(bytes(&record).len());
        }
    }
    let largest = |sizes: &[usize]| sizes.iter().copied().max().unwrap_or_default();
    assert!(largest(&sizes) < 4 << 10, "{} bytes", largest(&sizes));
    let (early, late) = (largest(&sizes[..10]), largest(&sizes[10..]));
    assert!(late <= early + 8, "a larger sum takes some digits more: {late} bytes after {early}");
    assert_eq!(render::current(&def, &record, 1), Some(Value::Str("title number 0999999".into())));
    let sum = (0..1_000_000_i64).map(|n| n % 7 - 3).sum();
    assert_eq!(render::current(&def, &record, 0), Some(Value::Int(sum)));
}

#[test]
fn accounting_follows_the_model_inside_and_outside_the_window() {
    let wish = Wish { small_windows: true, ..Wish::default() };
    check(1, &cases(wish), |case: Case| {
        let order = case.unsafe_order();
        let (mut record, mut model) = (Record::default(), Model::new(&case.def));
        for (at, event) in order.iter().enumerate() {
            step(&case.def, &mut record, &mut model, event)?;
            if let Some(again) = case.again(at) {
                step(&case.def, &mut record, &mut model, order[again])?;
            }
        }
        Ok(())
    });
}

// ---- the sentences of MERGE.md, one by one --------------------------------------------------------------------------

fn one_field(kind: (keld::record::Strategy, FieldType)) -> TableDef {
    let sources = (0..2).map(|n| generate::source(n, 0, false, true)).collect();
    let fields = vec![generate::field("n", kind, 3)];
    TableDef { sources, fields, ..decoding::table() }
}

fn says(source: &TableDef, version: i64, id: u64, value: Value) -> Event {
    Event {
        key: KEY.as_bytes().to_vec(),
        stamp: Stamp { version: Version::single(version), rank: 0 },
        source: source.sources[0].id,
        id: Some(id),
        kind: EventKind::Upsert { declared: vec![(0, value)], dynamic: Vec::new() },
    }
}

#[test]
fn ties_fall_to_the_larger_canonical_json() {
    let def = one_field((keld::record::Strategy::Lww, FieldType::Json));
    let text = |s: &str| Value::Str(s.into());
    let rising = [
        text(""),
        text("Z"),
        text("z"),
        Value::Int(-1),
        Value::Float(-1.5),
        Value::Float(0.5),
        Value::Int(1000),
        Value::Int(999),
        Value::Array(vec![]),
        Value::Bool(false),
        Value::Null,
        Value::Bool(true),
        Value::Object(vec![]),
    ];
    let rising: Vec<Event> = rising.into_iter().map(|v| says(&def, 1, 1, v)).collect();
    for (i, low) in rising.iter().enumerate() {
        for high in &rising[i + 1..] {
            let expected = merge_all(&def, &[high]);
            assert_eq!(merge_all(&def, &[low, high]), expected, "{low:?} then {high:?}");
            assert_eq!(merge_all(&def, &[high, low]), expected, "{high:?} then {low:?}");
        }
    }
}

#[test]
fn a_sum_that_leaves_64_bits_is_quarantined_and_kept() {
    let def = one_field((keld::record::Strategy::Sum, FieldType::Integer));
    let mut record = merge_all(&def, &[&says(&def, 1, 1, Value::Int(i64::MAX))]);
    let merged = merge(&def, &mut record, &says(&def, 2, 2, Value::Int(1)));
    assert_eq!(merged.outcome, Outcome::Quarantined);
    assert!(merged.rejects.iter().all(|r| r.reason == Reason::OutOfRange) && merged.rejects.len() == 1);
    assert_eq!(render::current(&def, &record, 0), Some(Value::Int(i64::MAX)));
}

#[test]
fn an_id_with_other_content_keeps_the_higher_and_is_counted() {
    let def = one_field((keld::record::Strategy::Sum, FieldType::Integer));
    let (low, high) = (says(&def, 1, 9, Value::Int(5)), says(&def, 2, 9, Value::Int(7)));
    for order in [[&low, &high], [&high, &low]] {
        let mut record = merge_all(&def, &order[..1]);
        assert_eq!(merge(&def, &mut record, order[1]).id_conflicts, 1, "{order:?}");
        assert_eq!(render::current(&def, &record, 0), Some(Value::Int(7)), "{order:?}");
    }
}

#[test]
fn sets_are_shown_by_code_point() {
    let def = one_field((keld::record::Strategy::Set, FieldType::Keyword));
    let texts = |all: [&str; 3]| Value::Array(all.iter().map(|s| Value::Str((*s).into())).collect());
    let record = merge_all(&def, &[&says(&def, 1, 1, texts(["a!", "é", "a"]))]);
    assert_eq!(render::current(&def, &record, 0), Some(texts(["a", "a!", "é"])));
    let full = merge_all(&def, &[&says(&def, 2, 2, texts(["b", "c", "d"])), &says(&def, 1, 1, texts(["x", "y", "z"]))]);
    assert_eq!(render::current(&def, &full, 0), Some(texts(["b", "c", "d"])), "over the limit the lowest stamps go");
}

#[test]
fn stored_nesting_without_end_is_refused_and_does_not_end_the_process() {
    let def = one_field((keld::record::Strategy::Lww, FieldType::Json));
    let stored = |depth: usize| {
        let value = (0..depth).fold(Value::Bool(true), |inner, _| Value::Array(vec![inner]));
        bytes(&merge_all(&def, &[&says(&def, 1, 1, value)]))
    };
    let (less, more) = (stored(20), stored(21));
    let level = more.len() - less.len();
    let end = less.iter().zip(&more).take_while(|(a, b)| a == b).count();
    let deep = [&less[..end], &more[end - level..end].repeat(300_000), &less[end..]].concat();
    let two_more = [&less[..end], &more[end - level..end].repeat(2), &less[end..]].concat();
    assert_eq!(two_more, stored(22), "the test knows how a level is stored");
    assert!(codec::decode(&deep).is_err());
}
