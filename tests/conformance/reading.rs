//! Consumers and readers.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use keld::Kind;

use crate::harness::{GLANCE, Harness, PATIENCE, Read, poll_error, poll_until, read_to_end};

pub(crate) fn a_consumer_reads_on_from_its_position(h: &Harness) {
    let tp = h.partition("t");
    h.append(&tp, &["a", "b", "c", "d"]);
    let mut consumer = h.consumer(&[(tp.clone(), 2)]);
    let read = poll_until(&mut *consumer, 2);
    assert_eq!(read.iter().map(|r| (r.offset, r.text())).collect::<Vec<_>>(), [(2, "c".into()), (3, "d".into())]);
    h.append(&tp, &["e"]);
    assert_eq!(poll_until(&mut *consumer, 1)[0].offset, 4);
}

pub(crate) fn a_new_assignment_drops_what_was_prefetched(h: &Harness) {
    let tps = h.topic("t", 2);
    let values: Vec<String> = (0..200).map(|i| i.to_string()).collect();
    let texts: Vec<&str> = values.iter().map(String::as_str).collect();
    h.append(&tps[0], &texts);
    h.append(&tps[1], &["x", "y"]);
    let mut consumer = h.consumer(&[(tps[0].clone(), 0)]);
    let mut first = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while first.is_empty() && Instant::now() < deadline {
        consumer.poll(5, GLANCE, &mut |m| first.push(m.offset)).unwrap();
    }
    assert_eq!(first[0], 0);
    // Back in the same partition, then away to another one: nothing of the old assignment may follow.
    consumer.assign(&[(tps[0].clone(), 197)]).unwrap();
    assert_eq!(poll_until(&mut *consumer, 3).iter().map(|r| r.offset).collect::<Vec<_>>(), [197, 198, 199]);
    consumer.assign(&[(tps[0].clone(), 0)]).unwrap();
    consumer.assign(&[(tps[1].clone(), 1)]).unwrap();
    let read = poll_until(&mut *consumer, 1);
    assert_eq!(read.iter().map(|r| (r.tp.partition, r.text())).collect::<Vec<_>>(), [(1, "y".into())]);
    let more = consumer.poll(100, GLANCE, &mut |m| panic!("unexpected {m:?}")).unwrap();
    assert_eq!(more, 0);
}

pub(crate) fn a_consumer_reads_all_its_partitions(h: &Harness) {
    let tps = h.topic("t", 4);
    for tp in &tps {
        let values: Vec<String> = (0..50 * (tp.partition + 1)).map(|i| format!("{}:{i}", tp.partition)).collect();
        h.append(tp, &values.iter().map(String::as_str).collect::<Vec<_>>());
    }
    let from: Vec<_> = tps.iter().map(|tp| (tp.clone(), 0)).collect();
    let mut consumer = h.consumer(&from);
    let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for r in poll_until(&mut *consumer, 500) {
        seen.entry(r.tp.partition).or_default().push(r.text());
    }
    for tp in &tps {
        let expected: Vec<_> = (0..50 * (tp.partition + 1)).map(|i| format!("{}:{i}", tp.partition)).collect();
        assert_eq!(seen[&tp.partition], expected);
    }
}

pub(crate) fn a_poll_hands_out_no_more_than_asked(h: &Harness) {
    let tps = h.topic("t", 2);
    h.append(&tps[0], &["a", "b", "c", "d", "e"]);
    h.append(&tps[1], &["f", "g"]);
    let mut consumer = h.consumer(&[(tps[0].clone(), 0), (tps[1].clone(), 0)]);
    let mut all: Vec<Read> = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while all.len() < 7 && Instant::now() < deadline {
        let before = all.len();
        let said = consumer.poll(3, GLANCE, &mut |m| all.push(Read::of(m))).unwrap();
        assert_eq!(said, all.len() - before, "the count is what was handed out");
        assert!(said <= 3);
    }
    let mut texts: Vec<_> = all.iter().map(Read::text).collect();
    texts.sort();
    assert_eq!(texts, ["a", "b", "c", "d", "e", "f", "g"]);
}

pub(crate) fn a_waiting_consumer_gets_what_is_appended(h: &Harness) {
    let tp = h.partition("t");
    let mut consumer = h.consumer(&[(tp.clone(), 0)]);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || poll_until(&mut *consumer, 1));
        h.append(&tp, &["late"]);
        assert_eq!(waiting.join().unwrap()[0].text(), "late");
    });
}

pub(crate) fn an_offset_outside_the_log_is_refused_with_names(h: &Harness) {
    let tp = h.partition("t");
    h.append(&tp, &["a", "b", "c"]);
    let mut consumer = h.consumer(&[(tp.clone(), 10_007)]);
    let error = poll_error(&mut *consumer);
    assert_eq!(error.kind(), Kind::Refused, "{error}");
    let text = error.to_string();
    assert!(text.contains(&tp.to_string()) && text.contains("10007"), "{text}");
    assert!(text.contains(" 0"), "the first offset is missing: {text}");
    consumer.assign(&[(tp, 1)]).unwrap();
    assert_eq!(poll_until(&mut *consumer, 2)[0].text(), "b", "the consumer is of use afterwards");
}

pub(crate) fn a_reader_knows_the_end_of_an_empty_partition(h: &Harness) {
    let tp = h.partition("t");
    let (read, end) = h.read_from(&tp, 0);
    assert_eq!((read.len(), end), (0, 0));
}

pub(crate) fn a_reader_goes_on_after_the_end(h: &Harness) {
    let tp = h.partition("t");
    let mut reader = h.broker.reader(&tp, 0).unwrap();
    assert_eq!(read_to_end(&mut *reader).1, 0);
    h.append(&tp, &["a"]);
    // It may say once more that it is at the old end before it sees the record.
    let deadline = Instant::now() + PATIENCE;
    let mut texts = Vec::new();
    while texts.is_empty() && Instant::now() < deadline {
        reader.read(10, Duration::from_millis(500), &mut |m| texts.push(Read::of(m).text())).unwrap();
    }
    assert_eq!(texts, ["a"]);
    assert_eq!(read_to_end(&mut *reader), (vec![], 1));
}

pub(crate) fn a_reader_begins_where_it_is_told(h: &Harness) {
    let tp = h.partition("t");
    let values: Vec<String> = (0..250).map(|i| i.to_string()).collect();
    h.append(&tp, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let (read, end) = h.read_from(&tp, 240);
    assert_eq!(read.iter().map(Read::text).collect::<Vec<_>>(), values[240..]);
    assert_eq!(end, 250);
    let (read, end) = h.read_from(&tp, 250);
    assert_eq!((read.len(), end), (0, 250));
}

pub(crate) fn lag_is_what_is_left_to_read(h: &Harness) {
    let tps = h.topic("t", 2);
    h.append(&tps[0], &["a", "b", "c", "d"]);
    let mut consumer = h.consumer(&[(tps[0].clone(), 0)]);
    let mut read = 0;
    let deadline = Instant::now() + PATIENCE;
    while read < 3 && Instant::now() < deadline {
        read += consumer.poll(1, GLANCE, &mut |_| {}).unwrap();
    }
    assert_eq!(consumer.lag(&tps[0]), Some(1));
    assert_eq!(consumer.lag(&tps[1]), None, "not assigned");
    poll_until(&mut *consumer, 1);
    assert_eq!(consumer.lag(&tps[0]), Some(0));
}
