use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::broker::TopicSpec;
use crate::broker::local::{LocalBroker, LocalOptions};
use crate::quarantine::Room;

const PARTITIONS: u32 = 3;

/// A quarantine topic of `n` entries: entry number i stands in partition i % 3, was written at 1,000 + i, and is of table `a` or,
/// every fifth, of table `b`.
fn quarantine(dir: &std::path::Path, n: u32, payload: usize) -> Arc<LocalBroker> {
    let broker = LocalBroker::open(dir, LocalOptions::default()).unwrap();
    let spec = TopicSpec {
        name: "q".into(),
        partitions: PARTITIONS,
        replication: 1,
        compacted: false,
        settings: BTreeMap::new(),
    };
    broker.create_topic(&spec).unwrap();
    let record = |i: u32| {
        let entry = Entry {
            reason: "wrong_type".into(),
            table: if i.is_multiple_of(5) { "b" } else { "a" }.into(),
            partition: i % PARTITIONS,
            offset: i64::from(i),
            payload: Some(vec![b'x'; payload]),
            ..Entry::default()
        };
        let record = entry.into_record(&"q".into(), PARTITIONS, Room::new(1 << 20, 1 << 20));
        crate::broker::NewRecord { timestamp_ms: Some(1_000 + i64::from(i)), ..record }
    };
    broker.appender().unwrap().append((0..n).map(record).collect()).unwrap();
    broker
}

fn numbers(found: &[Found]) -> Vec<i64> {
    found.iter().map(|f| f.entry.offset).collect()
}

/// All pages, put together.
fn all_newest(topic: &Topic<'_>, filter: &Filter, limit: usize) -> (Vec<i64>, u64) {
    let (mut all, mut looked_at, mut below) = (Vec::new(), 0, None);
    loop {
        let page = topic.newest(filter, below.as_ref(), limit).unwrap();
        assert!(page.found.len() <= limit);
        all.extend(numbers(&page.found));
        looked_at += page.looked_at;
        match page.next {
            Some(next) => below = Some(next),
            None => return (all, looked_at),
        }
    }
}

#[test]
fn pages_show_every_entry_once_and_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let broker = quarantine(dir.path(), 2_000, 20);
    let topic = Topic { broker: &*broker, name: "q", partitions: PARTITIONS };
    let expected: Vec<i64> = (0..2_000).rev().collect();
    for limit in [1_999, 300, 7] {
        assert_eq!(all_newest(&topic, &Filter::default(), limit).0, expected, "pages of {limit}");
    }
}

#[test]
fn filters_take_tables_reasons_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let broker = quarantine(dir.path(), 500, 20);
    let topic = Topic { broker: &*broker, name: "q", partitions: PARTITIONS };
    let of_b: Vec<i64> = (0..500).rev().filter(|i| i % 5 == 0).collect();
    let filter = Filter { table: Some("b".into()), ..Filter::default() };
    assert_eq!(all_newest(&topic, &filter, 9).0, of_b);
    let filter = Filter { from_ms: Some(1_100), to_ms: Some(1_110), ..Filter::default() };
    assert_eq!(all_newest(&topic, &filter, 4).0, (100..110).rev().collect::<Vec<i64>>());
    let filter = Filter { reason: Some("too_deep".into()), ..Filter::default() };
    assert_eq!(all_newest(&topic, &filter, 4), (vec![], 500), "every entry was looked at, none was found");
}

#[test]
fn one_call_looks_at_a_bounded_number_of_entries_and_the_next_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = quarantine(dir.path(), 40_000, 20);
    let topic = Topic { broker: &*broker, name: "q", partitions: PARTITIONS };
    let none = Filter { reason: Some("too_deep".into()), ..Filter::default() };
    let page = topic.newest(&none, None, 10).unwrap();
    assert!(page.found.is_empty() && page.next.is_some());
    assert!((LOOK_MOST..40_000).contains(&page.looked_at), "{} looked at", page.looked_at);
    assert_eq!(all_newest(&topic, &none, 10).1, 40_000);
}

#[test]
fn a_list_holds_only_the_start_of_a_payload_and_a_single_entry_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = quarantine(dir.path(), 10, 2_000);
    let topic = Topic { broker: &*broker, name: "q", partitions: PARTITIONS };
    let first = topic.newest(&Filter::default(), None, 1).unwrap().found.remove(0);
    assert_eq!((first.payload_bytes, first.entry.payload.unwrap().len()), (2_000, PREVIEW));
    let whole = topic.get(first.id).unwrap().unwrap();
    assert_eq!((whole.at_ms, whole.entry.payload.unwrap().len()), (1_009, 2_000));
    for id in [EntryId { partition: 0, offset: 4 }, EntryId { partition: 3, offset: 0 }] {
        assert_eq!(topic.get(id).unwrap(), None);
    }
}

#[test]
fn the_oldest_come_partition_by_partition_whole_and_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = quarantine(dir.path(), 100, 2_000);
    let topic = Topic { broker: &*broker, name: "q", partitions: PARTITIONS };
    let (mut all, mut from) = (Vec::new(), Some(EntryId { partition: 0, offset: 0 }));
    while let Some(at) = from {
        let page = topic.oldest(at, 8, &mut |found| found.entry.table == "a").unwrap();
        assert!(page.found.iter().all(|f| f.entry.payload.as_ref().unwrap().len() == 2_000));
        all.extend(numbers(&page.found));
        from = page.next;
    }
    let lane = |p: i64| (0..100).filter(move |i| i % 3 == p && i % 5 != 0);
    assert_eq!(all, lane(0).chain(lane(1)).chain(lane(2)).collect::<Vec<i64>>());
}
