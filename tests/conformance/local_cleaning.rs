//! Retention and cleaning of the embedded broker.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use keld::Kind;
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::broker::{Broker, NewRecord, Offset, TopicPartition, TopicSpec, Watermarks};

use crate::harness::{PATIENCE, Read, poll_error, read_to_end, record, spec};

fn open(dir: &Path) -> Arc<LocalBroker> {
    // A pass of the cleaner holds 16 keys: every test of it takes several.
    LocalBroker::open(dir, LocalOptions { cleaner_memory: 1024, ..LocalOptions::default() }).unwrap()
}

fn topic(broker: &LocalBroker, compacted: bool, settings: &[(&str, &str)]) -> TopicPartition {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    broker.create_topic(&TopicSpec { settings, ..spec("t", 1, compacted) }).unwrap();
    TopicPartition::new("t", 0)
}

fn read(broker: &LocalBroker, tp: &TopicPartition, from: Offset) -> Vec<Read> {
    read_to_end(&mut *broker.reader(tp, from).unwrap()).0
}

fn marks(broker: &LocalBroker, tp: &TopicPartition) -> (Offset, Offset) {
    let Watermarks { low, high, stable } = broker.watermarks(tp).unwrap();
    assert_eq!(high, stable);
    (low, high)
}

fn at(tp: &TopicPartition, value: &str, timestamp_ms: i64) -> NewRecord {
    NewRecord { timestamp_ms: Some(timestamp_ms), ..record(tp, value) }
}

#[test]
fn retention_by_size_drops_whole_segments_from_the_front() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    // Each record is stored in more than 1,000 and less than 1,100 bytes: five fill a segment, 20 the partition.
    let tp = topic(&broker, false, &[("segment.bytes", "5000"), ("retention.bytes", "20000")]);
    for i in 0..100 {
        broker.appender().unwrap().append(vec![record(&tp, &format!("{i:01000}"))]).unwrap();
    }
    assert_eq!(broker.run_retention_now().unwrap(), 80);
    assert_eq!(marks(&broker, &tp), (80, 100));
    assert_eq!(broker.run_retention_now().unwrap(), 0, "once is enough");
    drop(broker);
    let broker = open(dir.path());
    assert_eq!(marks(&broker, &tp), (80, 100));
    let offsets: Vec<_> = read(&broker, &tp, 80).iter().map(|r| r.offset).collect();
    assert_eq!(offsets, (80..100).collect::<Vec<_>>());
    // A reader and a consumer that come too late are told so.
    let error = broker.reader(&tp, 79).unwrap().read(9, Default::default(), &mut |_| {}).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    let mut consumer = broker.consumer("c").unwrap();
    consumer.assign(&[(tp, 3)]).unwrap();
    let error = poll_error(&mut *consumer);
    assert_eq!(error.kind(), Kind::Refused);
    let text = error.to_string();
    assert!(text.contains("t[0]") && text.contains("offset 3 ") && text.contains("80"), "{text}");
}

#[test]
fn retention_by_time_drops_what_is_old_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let tp = topic(&broker, false, &[("segment.bytes", "1"), ("retention.ms", "60000"), ("retention.bytes", "-1")]);
    let now = keld::clock::now_ms();
    let append = |broker: &LocalBroker, r| broker.appender().unwrap().append(vec![r]).unwrap()[0];
    append(&broker, at(&tp, "old", now - 600_000));
    append(&broker, at(&tp, "older", now - 700_000));
    append(&broker, at(&tp, "new", now));
    append(&broker, at(&tp, "old again", now - 600_000));
    // A segment goes only after all before it: the last one stays behind the new one.
    assert_eq!(broker.run_retention_now().unwrap(), 2);
    assert_eq!(read(&broker, &tp, 2).iter().map(Read::text).collect::<Vec<_>>(), ["new", "old again"]);
    drop(broker);

    let other = tempfile::tempdir().unwrap();
    let broker = open(other.path());
    let tp = topic(&broker, false, &[("retention.ms", "60000")]);
    append(&broker, at(&tp, "old", now - 600_000));
    append(&broker, at(&tp, "old", now - 600_000));
    assert_eq!(broker.run_retention_now().unwrap(), 2, "the last segment goes too when all of it is old");
    assert_eq!(marks(&broker, &tp), (2, 2));
    assert_eq!(read(&broker, &tp, 2), vec![]);
    drop(broker);
    let broker = open(other.path());
    assert_eq!(marks(&broker, &tp), (2, 2), "offsets are never given twice");
    assert_eq!(append(&broker, at(&tp, "new", now)), 2);
    assert_eq!(read(&broker, &tp, 2)[0].text(), "new");
}

fn keyed(tp: &TopicPartition, key: usize, value: Option<String>, timestamp_ms: i64) -> NewRecord {
    NewRecord {
        topic: tp.topic.clone(),
        key: Some(format!("key-{key}").into_bytes()),
        payload: value.map(String::into_bytes),
        timestamp_ms: Some(timestamp_ms),
        ..NewRecord::default()
    }
}

/// A fixed sequence that looks random.
fn sequence(n: usize) -> impl Iterator<Item = usize> {
    let mut x: u32 = 12345;
    (0..n).map(move |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(x >> 8).unwrap()
    })
}

#[test]
fn cleaning_keeps_the_last_record_of_each_key_at_its_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let tp = topic(&broker, true, &[("delete.retention.ms", "60000")]);
    let now = keld::clock::now_ms();
    // 2,000 updates of 150 keys; every 17th is a tombstone, old ones and new ones in turn.
    let mut last: BTreeMap<usize, (Offset, NewRecord)> = BTreeMap::new();
    let mut batch = Vec::new();
    for (i, n) in sequence(2000).enumerate() {
        let value = (i % 17 != 0).then(|| format!("{i}"));
        let age = if i % 2 == 0 { 600_000 } else { 0 };
        let r = keyed(&tp, n % 150, value, now - age);
        last.insert(n % 150, (i64::try_from(i).unwrap(), r.clone()));
        batch.push(r);
    }
    // A long run of superseded neighbours, which goes as one range.
    for i in 0..300 {
        let r = keyed(&tp, 999, Some(format!("run {i}")), now);
        last.insert(999, (2000 + i, r.clone()));
        batch.push(r);
    }
    broker.appender().unwrap().append(batch).unwrap();
    let expected: BTreeMap<Offset, NewRecord> =
        last.into_values().filter(|(_, r)| r.payload.is_some() || r.timestamp_ms == Some(now)).collect();
    let tombstones = expected.values().filter(|r| r.payload.is_none()).count();
    assert!(tombstones > 0, "the sequence has a fresh tombstone that stays");

    let removed = broker.compact_now("t").unwrap();
    assert_eq!(removed, 2300 - expected.len() as u64);
    let check = |broker: &LocalBroker| {
        let read = read(broker, &tp, 0);
        assert_eq!(read.iter().map(|r| r.offset).collect::<Vec<_>>(), expected.keys().copied().collect::<Vec<_>>());
        for r in read {
            let e = &expected[&r.offset];
            assert_eq!((r.key, r.payload, Some(r.timestamp_ms)), (e.key.clone(), e.payload.clone(), e.timestamp_ms));
        }
        assert_eq!(marks(broker, &tp), (0, 2300));
    };
    check(&broker);
    assert_eq!(broker.compact_now("t").unwrap(), 0, "nothing is left to remove");
    drop(broker);
    let broker = open(dir.path());
    check(&broker);
    // The next cleaning goes on from there.
    broker.appender().unwrap().append(vec![keyed(&tp, 999, Some("newest".into()), now)]).unwrap();
    assert_eq!(broker.compact_now("t").unwrap(), 1);
    assert_eq!(read(&broker, &tp, 2299).iter().map(Read::text).collect::<Vec<_>>(), ["newest"]);
    assert_eq!(marks(&broker, &tp), (0, 2301));
}

#[test]
fn the_end_stays_when_cleaning_takes_the_last_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let tp = topic(&broker, true, &[("delete.retention.ms", "0")]);
    let old = keld::clock::now_ms() - 1000;
    broker.appender().unwrap().append(vec![keyed(&tp, 1, Some("v".into()), old), keyed(&tp, 1, None, old)]).unwrap();
    assert_eq!(broker.compact_now("t").unwrap(), 2);
    drop(broker);
    let broker = open(dir.path());
    assert_eq!(marks(&broker, &tp), (0, 2));
    assert_eq!(read(&broker, &tp, 0), vec![]);
    assert_eq!(broker.appender().unwrap().append(vec![keyed(&tp, 1, None, old)]).unwrap(), [2]);
}

#[test]
fn only_compacted_topics_are_cleaned_and_only_others_expire() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let tp = topic(&broker, true, &[("segment.bytes", "1"), ("retention.bytes", "0"), ("retention.ms", "1")]);
    broker.appender().unwrap().append(vec![keyed(&tp, 1, Some("v".into()), 5)]).unwrap();
    assert_eq!(broker.run_retention_now().unwrap(), 0);
    broker.create_topic(&spec("plain", 1, false)).unwrap();
    assert_eq!(broker.compact_now("plain").unwrap_err().kind(), Kind::BadRequest);
    assert_eq!(read(&broker, &tp, 0).len(), 1);
}

#[test]
fn housekeeping_works_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = LocalOptions { housekeeping_interval: Duration::from_millis(5), ..LocalOptions::default() };
    let broker = LocalBroker::open(dir.path(), options).unwrap();
    let settings = BTreeMap::from([("segment.bytes".to_owned(), "1".to_owned())]);
    for (name, compacted) in [("plain", false), ("compacted", true)] {
        let settings = settings.clone().into_iter().chain([("retention.bytes".to_owned(), "1".to_owned())]).collect();
        broker.create_topic(&TopicSpec { settings, ..spec(name, 1, compacted) }).unwrap();
    }
    let (plain, compacted) = (TopicPartition::new("plain", 0), TopicPartition::new("compacted", 0));
    let appender = broker.appender().unwrap();
    appender.append(vec![record(&plain, "a"), record(&plain, "b")]).unwrap();
    appender.append(vec![record(&compacted, "a"), record(&compacted, "b")]).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while marks(&broker, &plain) != (1, 2) || read(&broker, &compacted, 0).len() != 1 {
        assert!(Instant::now() < deadline, "nothing happened within {PATIENCE:?}");
        thread::yield_now();
    }
    assert_eq!(read(&broker, &compacted, 0)[0].text(), "b");
}

/// What a reader has at the end it was told is what the log said there, whatever was cleaned away meanwhile.
#[test]
fn readers_see_a_true_state_while_the_log_is_written_and_cleaned() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path());
    let tp = topic(&broker, true, &[]);
    let now = keld::clock::now_ms();
    let done = AtomicBool::new(false);
    let mut written: Vec<(Offset, String, String)> = Vec::new();
    let mut observed: Vec<(Offset, BTreeMap<String, String>)> = Vec::new();
    let mut cleaned = 0;
    thread::scope(|scope| {
        let (broker, tp, done) = (&broker, &tp, &done);
        let reader = scope.spawn(move || {
            let mut observed = Vec::new();
            // Once more after the writer is done, so that the final state is among them.
            loop {
                let last = done.load(Ordering::SeqCst);
                let (read, end) = read_to_end(&mut *broker.reader(tp, 0).unwrap());
                let state = read.iter().map(|r| (String::from_utf8(r.key.clone().unwrap()).unwrap(), r.text()));
                observed.push((end, state.collect()));
                if last {
                    return observed;
                }
            }
        });
        let cleaner = scope.spawn(move || {
            let mut removed = 0;
            while !done.load(Ordering::SeqCst) {
                removed += broker.compact_now("t").unwrap();
            }
            removed
        });
        for (i, n) in sequence(300).enumerate() {
            let records: Vec<_> = (0..10).map(|j| keyed(tp, (n + j) % 40, Some(format!("{i}-{j}")), now)).collect();
            let keys: Vec<_> = records.iter().map(|r| String::from_utf8(r.key.clone().unwrap()).unwrap()).collect();
            let offsets = broker.appender().unwrap().append(records).unwrap();
            written.extend(offsets.into_iter().zip(keys).enumerate().map(|(j, (o, k))| (o, k, format!("{i}-{j}"))));
        }
        done.store(true, Ordering::SeqCst);
        observed = reader.join().unwrap();
        cleaned = cleaner.join().unwrap();
    });
    assert!(cleaned > 0, "the cleaner had nothing to do");
    assert_eq!(observed.last().unwrap().0, 3000);
    for (end, state) in observed {
        let expected: BTreeMap<String, String> =
            written.iter().filter(|(o, _, _)| *o < end).map(|(_, k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(state, expected, "at {end}");
    }
}
