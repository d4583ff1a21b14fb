//! Bad input: every kind of event that cannot be taken is set aside whole with its reason, the good events around it are
//! applied, nothing is lost and everything is counted. One instance per broker takes all of them; each test looks at one.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "bad_input/cases.rs"]
mod cases;
mod common;
#[path = "bad_input/oversized.rs"]
mod oversized;
#[path = "bad_input/quarantine.rs"]
mod quarantine;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use cases::{Case, MAX_PAYLOAD, Sent, sent};
use common::client::escape;
use common::kafka::start_kafka;
use common::lab::{Lab, On, PARTITIONS};
use keld::broker::NewRecord;
use keld::record::Partitioner;
use quarantine::Entry;
use serde_json::{Value, json};

/// A test of each case, on each broker.
macro_rules! cases {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        mod on_the_embedded_log { $(#[test] fn $name() { super::check(super::On::Local, stringify!($name)); })* }
        mod on_kafka { $(#[test] fn $name() { super::check(super::On::Kafka, stringify!($name)); })* }
    };
}

cases! {
    what_is_no_json_is_set_aside
    json_that_breaks_off_is_set_aside
    bytes_that_are_no_text_are_set_aside
    json_that_is_no_object_is_set_aside
    an_empty_payload_is_set_aside
    nesting_without_end_is_set_aside
    a_payload_too_large_to_keep_is_cut
    an_event_without_a_key_is_set_aside
    a_key_that_is_null_is_set_aside
    a_key_that_is_empty_is_set_aside
    a_key_that_is_an_object_is_set_aside
    a_key_that_is_ours_is_set_aside
    a_key_without_measure_is_set_aside
    a_message_without_a_key_is_set_aside
    a_message_with_an_empty_key_is_set_aside
    a_message_key_that_is_no_text_is_set_aside
    a_message_key_that_is_ours_is_set_aside
    a_tombstone_without_a_key_is_set_aside
    an_event_in_the_wrong_partition_is_set_aside
    an_event_without_a_version_is_set_aside
    a_version_that_is_a_word_is_set_aside
    a_version_far_ahead_is_set_aside
    an_event_id_that_is_a_list_is_set_aside
    a_value_of_another_type_is_set_aside
    a_nested_value_of_another_type_is_set_aside
    an_integer_with_a_fraction_is_set_aside
    nesting_beyond_the_limit_is_set_aside
    an_integer_beyond_64_bits_is_set_aside
    an_integer_beyond_all_bits_is_set_aside
    a_float_beyond_its_range_is_set_aside
    an_undeclared_member_is_set_aside_where_they_are_rejected
    a_member_with_an_endless_name_is_set_aside
    an_addend_without_an_event_id_is_set_aside
    a_sum_that_leaves_64_bits_is_set_aside
    an_event_outside_the_window_is_set_aside
}

#[test]
fn every_case_has_its_tests() {
    let known: Vec<&str> = cases::all().iter().map(|c| c.name).collect();
    assert_eq!(known, NAMES);
}

/// What the run over all cases left behind.
struct Evidence {
    /// By case.
    seen: BTreeMap<&'static str, Seen>,
    entries: Vec<Entry>,
    status: Value,
    metrics: String,
    /// Events sent, by table.
    sent: BTreeMap<&'static str, u64>,
    /// A second instance that started on the same state and stopped.
    again: (Value, Vec<Entry>),
}

/// What one case left behind.
struct Seen {
    case: Case,
    /// Topic, partition and offset of the bad event.
    origin: (String, u32, i64),
    /// Key, record as it must be, record as it is, hits of a search for the key.
    records: Vec<(String, Value, Value, Value)>,
    timestamp: std::ops::RangeInclusive<i64>,
}

/// Whether a test over this broker can run; says so loudly if not.
fn available(on: On) -> bool {
    on == On::Local || start_kafka().is_some()
}

/// Runs all cases once a broker. `None`, loudly, where there is no Kafka.
fn evidence(on: On) -> Option<&'static Evidence> {
    static LOCAL: OnceLock<Result<Evidence, String>> = OnceLock::new();
    static KAFKA: OnceLock<Result<Evidence, String>> = OnceLock::new();
    if !available(on) {
        return None;
    }
    let slot = if on == On::Local { &LOCAL } else { &KAFKA };
    let run = || {
        catch_unwind(AssertUnwindSafe(|| gather(on))).map_err(|cause| *cause.downcast::<String>().unwrap_or_default())
    };
    Some(slot.get_or_init(run).as_ref().unwrap_or_else(|why| panic!("the run over all cases failed: {why}")))
}

/// A good event of another key in the same partition.
fn neighbour(case: &Case, partition: u32, nth: usize) -> (String, Sent) {
    let belongs = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS) == Some(partition);
    let key = (0..).map(|n| format!("{}-beside-{nth}-{n}", case.name)).find(belongs).unwrap();
    let mut body = json!({ "id": key, "ts": 1_700_000_000_000_i64, "name": "beside" });
    if case.table == "keyed" {
        body.as_object_mut().unwrap().remove("id");
    }
    let sent = sent(&key, &body);
    (key, sent)
}

/// The messages of a case in the order in which they are sent, the number of the bad one among them, and the records that
/// must be there in the end.
fn script(case: &Case) -> (Vec<Sent>, usize, Vec<(String, Value)>) {
    let home = case.bad.key.as_deref().and_then(|k| Partitioner::Murmur2.partition(k, PARTITIONS)).unwrap_or(0);
    let partition = match case.bad.partition {
        None => home,
        Some(u32::MAX) => (home + 1) % PARTITIONS,
        Some(p) => p,
    };
    let mut bad = case.bad.clone();
    bad.partition = Some(partition);
    let beside: Vec<_> = (0..4).map(|n| neighbour(case, partition, n)).collect();
    let good = |n: std::ops::Range<usize>| beside[n].iter().map(|(_, sent)| sent.clone());
    let mut messages: Vec<Sent> = good(0..2).chain(case.before.iter().cloned()).collect();
    let at = messages.len();
    messages.push(bad);
    messages.extend(case.after.iter().cloned().chain(good(2..4)));
    let shown = |key: &str| {
        if case.table == "keyed" { json!({ "name": "beside" }) } else { json!({ "id": key, "name": "beside" }) }
    };
    let mut records: Vec<_> = beside.iter().map(|(key, _)| (key.clone(), shown(key))).collect();
    records.extend(case.record.clone());
    (messages, at, records)
}

fn record(lab: &Lab, table: &str, sent: &Sent) -> NewRecord {
    let home = sent.key.as_deref().and_then(|k| Partitioner::Murmur2.partition(k, PARTITIONS));
    NewRecord {
        topic: lab.topic(table).into(),
        partition: sent.partition.or(home).unwrap(),
        key: sent.key.clone(),
        payload: sent.payload.clone(),
        ..NewRecord::default()
    }
}

type Expected = BTreeMap<&'static str, (Case, (String, u32, i64), Vec<(String, Value)>)>;

/// Sends every case, and gives what is expected of each.
fn send(lab: &Lab, counts: &mut BTreeMap<&'static str, u64>) -> Expected {
    let broker = lab.broker();
    lab.create_sources(&*broker);
    let appender = broker.appender().unwrap();
    let mut all = BTreeMap::new();
    for case in cases::all() {
        let (messages, at, records) = script(&case);
        let batch: Vec<NewRecord> = messages.iter().map(|m| record(lab, case.table, m)).collect();
        let partition = batch[at].partition;
        let offsets = appender.append(batch).unwrap();
        *counts.entry(case.table).or_default() += messages.len() as u64;
        let origin = (lab.topic(case.table), partition, offsets[at]);
        all.insert(case.name, (case, origin, records));
    }
    all
}

fn gather(on: On) -> Evidence {
    let lab = Lab::with_config(on, cases::CONFIG);
    let mut counts = BTreeMap::new();
    let since = keld::clock::now_ms();
    let expected = send(&lab, &mut counts);
    let timestamp = since..=keld::clock::now_ms();
    let ends = lab.ends(&*lab.broker());
    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    let client = instance.client();
    let look = |table: &str, (key, wanted): (String, Value)| {
        let (code, found) = client.get_any(&format!("/v1/tables/{table}/records/{}", escape(&key)));
        let filter = escape(&format!("_key:\"{key}\""));
        let hits = client.get(&format!("/v1/tables/{table}/search?filter={filter}"));
        let found = if code == 200 { found["record"].clone() } else { found };
        (key, wanted, found, hits["total"].clone())
    };
    let seen = expected.into_iter().map(|(name, (case, origin, records))| {
        let records = records.into_iter().map(|r| look(case.table, r)).collect();
        (name, Seen { case, origin, records, timestamp: timestamp.clone() })
    });
    let seen = seen.collect();
    let metrics = client.try_get("/metrics").unwrap().1;
    instance.stop();
    let entries = quarantine::read(&lab);
    lab.verify();
    let mut second = lab.start();
    let again = second.wait_caught_up(&ends);
    second.stop();
    Evidence { seen, entries, status, metrics, sent: counts, again: (again, quarantine::read(&lab)) }
}

/// The bad event of a case stands in the quarantine, once, whole, with its reason; the good events around it are applied.
fn check(on: On, name: &str) {
    let Some(evidence) = evidence(on) else { return };
    let seen = &evidence.seen[name];
    for (key, wanted, found, hits) in &seen.records {
        assert_eq!(found, wanted, "record {key}");
        assert_eq!(*hits, 1, "search for {key}");
    }
    let all: Vec<&Entry> = evidence.entries.iter().filter(|e| e.origin() == seen.origin).collect();
    let [entry] = all.as_slice() else { panic!("{} quarantine entries of {:?}", all.len(), seen.origin) };
    let case = &seen.case;
    assert_eq!(entry.header("reason"), case.reason, "{}", entry.header("error"));
    for word in &case.words {
        assert!(entry.header("error").contains(word), "{word:?} in {:?}", entry.header("error"));
    }
    assert!(entry.header("error").len() <= 4_096, "an error of {} bytes", entry.header("error").len());
    assert_eq!((entry.header("table"), entry.header("source")), (case.table, case.table));
    let at: i64 = entry.header("timestamp_ms").parse().unwrap();
    assert!(seen.timestamp.contains(&at), "{at} in {:?}", seen.timestamp);
    whole_or_cut(
        entry,
        "payload",
        entry.payload.as_deref(),
        case.bad.payload.as_deref().unwrap_or_default(),
        MAX_PAYLOAD,
    );
    match &case.bad.key {
        None => assert_eq!(entry.key, None),
        Some(key) => whole_or_cut(entry, "key", entry.key.as_deref(), key, MAX_PAYLOAD / 4),
    }
}

fn whole_or_cut(entry: &Entry, what: &str, kept: Option<&[u8]>, sent: &[u8], most: usize) {
    let cut = (entry.header(&format!("{what}_cut_from_bytes")), entry.header(&format!("{what}_cut_xxh3_128")));
    if sent.len() <= most {
        assert_eq!(kept, Some(sent), "{what}");
        assert_eq!(cut, ("", ""), "{what} is whole");
    } else {
        assert_eq!(kept, Some(&sent[..most]), "{what}");
        let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(sent));
        assert_eq!(cut, (&*sent.len().to_string(), &*hash), "{what} is cut");
    }
}

/// Bad events by table and reason.
fn by_reason() -> BTreeMap<(&'static str, &'static str), u64> {
    let mut counts = BTreeMap::new();
    cases::all().iter().for_each(|c| *counts.entry((c.table, c.reason)).or_default() += 1);
    counts
}

/// The accounting identity, the metrics by reason, nothing in the quarantine but the bad events; and all of that once only,
/// whatever is started again.
fn everything_is_counted(on: On) {
    let Some(evidence) = evidence(on) else { return };
    let bad = |table: &str| by_reason().iter().filter(|((t, _), _)| *t == table).map(|(_, n)| n).sum::<u64>();
    for (table, sent) in &evidence.sent {
        let accounts =
            common::truth::accounts(&evidence.status, table, &BTreeMap::from([((*table).to_owned(), *sent)]));
        assert_eq!(accounts[table]["quarantined"], bad(table), "table {table}: {accounts}");
        // What is good is new: nothing of it is a duplicate or stale.
        assert_eq!(accounts[table]["applied"], sent - bad(table), "table {table}: {accounts}");
    }
    for ((table, reason), n) in by_reason() {
        let line = format!("keld_quarantined_total{{table=\"{table}\",reason=\"{reason}\"}} {n}");
        assert!(evidence.metrics.lines().any(|l| l == line), "{line} in\n{}", evidence.metrics);
    }
    let reasons = evidence.metrics.lines().filter(|l| l.starts_with("keld_quarantined_total{")).count();
    assert_eq!(reasons, by_reason().len());
    assert_eq!(evidence.entries.len(), cases::all().len());
    assert_eq!(evidence.status["broker"]["trouble"], Value::Null);
    let (status, entries) = &evidence.again;
    assert_eq!(entries.len(), evidence.entries.len(), "a second start reads nothing again");
    assert_eq!(status["broker"]["trouble"], Value::Null);
}

#[test]
fn on_the_embedded_log_every_bad_event_is_counted_once_by_its_reason() {
    everything_is_counted(On::Local);
}

#[test]
fn on_kafka_every_bad_event_is_counted_once_by_its_reason() {
    everything_is_counted(On::Kafka);
}
