//! Window, tail and catch-up over the embedded log.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::broker::local::{LocalBroker, LocalOptions};
use crate::broker::{Broker, Message, NewRecord, Offset, TopicSpec};
use crate::record::POSITION_KEY;

const TOPIC: &str = "t-changelog";

fn broker(dir: &Path) -> Arc<dyn Broker> {
    let broker: Arc<dyn Broker> = LocalBroker::open(dir, LocalOptions::default()).unwrap();
    let spec = TopicSpec {
        name: TOPIC.to_owned(),
        partitions: 2,
        replication: -1,
        compacted: true,
        settings: BTreeMap::new(),
    };
    broker.create_topic(&spec).unwrap();
    broker
}

fn append(broker: &dyn Broker, partition: u32, keys: &[&[u8]]) {
    let record = |key: &&[u8]| NewRecord {
        topic: TOPIC.into(),
        partition,
        key: Some(key.to_vec()),
        payload: Some(vec![1; 64]),
        ..NewRecord::default()
    };
    broker.appender().unwrap().append(keys.iter().map(record).collect()).unwrap();
}

fn at(next: &[(u32, Offset)]) -> BTreeMap<u32, Offset> {
    next.iter().copied().collect()
}

fn message(partition: u32, offset: Offset, payload: &[u8]) -> Message<'_> {
    Message { topic: TOPIC, partition, offset, timestamp_ms: 0, key: Some(b"k"), payload: Some(payload), headers: &() }
}

fn chunk(partition: u32, offsets: std::ops::Range<Offset>) -> Chunk {
    let mut chunk = Chunk::default();
    offsets.for_each(|offset| chunk.take(&message(partition, offset, &[0; 100])));
    chunk
}

/// Offsets of what stands from a place on.
fn rest(window: &Window, mut place: u64) -> (Vec<Offset>, Look) {
    let mut offsets = Vec::new();
    loop {
        match window.look(place) {
            Look::Chunk(chunk) => offsets.extend(chunk.changes.iter().map(|c| c.offset)),
            other => return (offsets, other),
        }
        place += 1;
    }
}

#[test]
fn a_window_lets_go_of_the_oldest_and_says_so() {
    let window = Window::new(at(&[(0, 10), (1, 0)]), 2_000);
    assert_eq!((window.join(&at(&[(0, 10)])), window.join(&at(&[(0, 9)]))), (Some(0), None));
    window.push(chunk(0, 10..12));
    window.push(chunk(0, 12..14));
    assert!(matches!(rest(&window, 0), (offsets, Look::Nothing) if offsets == [10, 11, 12, 13]));
    window.push(chunk(1, 0..2));
    // Three chunks of about 720 bytes are more than it holds.
    assert!(matches!(window.look(0), Look::Passed));
    assert_eq!((window.from(0), window.from(1)), (12, 0));
    assert_eq!((window.join(&at(&[(0, 11), (1, 0)])), window.join(&at(&[(0, 12), (1, 0)]))), (None, Some(1)));
    // One that is larger than the window stays until the next one comes.
    window.push(chunk(0, 14..100));
    assert_eq!(rest(&window, 3).0.len(), 86);
    window.end(Ended::Stopping);
    assert!(matches!(rest(&window, 3).1, Look::Ended(Ended::Stopping)));
    assert_eq!(window.join(&at(&[(2, 0)])), None, "a partition that it does not have");
}

#[test]
fn a_chunk_is_filled_by_the_size_of_what_it_has() {
    let mut chunk = Chunk::default();
    assert_eq!(chunk.room(), Some(16), "little while sizes are not known");
    (0..16).for_each(|offset| chunk.take(&message(0, offset, &[0; 100])));
    assert_eq!(chunk.room(), Some(484));
    let large = vec![0; 100_000];
    (16..18).for_each(|offset| chunk.take(&message(0, offset, &large)));
    assert!((1..100).contains(&chunk.room().unwrap()), "{:?}", chunk.room());
    (18..24).for_each(|offset| chunk.take(&message(0, offset, &large)));
    assert_eq!(chunk.room(), None, "a megabyte is enough");
    let mut positions = Chunk::default();
    for offset in 0..500 {
        positions.take(&Message { key: Some(POSITION_KEY), ..message(0, offset, b"{}") });
    }
    assert_eq!((positions.room(), positions.changes.len()), (None, 0), "what is no change counts, too");
}

#[test]
fn a_reader_that_waits_is_woken() {
    let window = Window::new(at(&[(0, 0)]), 2_000);
    let mut news = window.news();
    assert!(!news.has_changed().unwrap());
    window.push(chunk(0, 0..1));
    assert!(news.has_changed().unwrap());
    news.borrow_and_update();
    window.end(Ended::Stopping);
    assert!(news.has_changed().unwrap());
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_the_changelog_is_read_once_for_all_and_only_while_somebody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path());
    append(&*broker, 0, &[b"a", b"b", POSITION_KEY]);
    let tail = Arc::new(Tail::new(Arc::clone(&broker), "t", TOPIC, 2, 1 << 20));
    let window = tail.window(&at(&[(0, 1)]), || false).unwrap();
    assert!(Arc::ptr_eq(&window, &tail.window(&at(&[(0, 3)]), || false).unwrap()));
    append(&*broker, 1, &[b"c"]);
    append(&*broker, 0, &[b"d"]);
    wait_until("all changes", || rest(&window, 0).0.len() == 3);
    let mut offsets = rest(&window, 0).0;
    offsets.sort_unstable();
    // Of partition 0 what is behind offset 1, but not the position record at 2; of partition 1 what is new.
    assert_eq!(offsets, [0, 1, 3]);
    let weak = Arc::downgrade(&window);
    drop(window);
    wait_until("the reading to end", || weak.strong_count() == 0);
    let anew = tail.window(&at(&[]), || false).unwrap();
    assert_eq!((anew.from(0), anew.from(1)), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_hear_that_the_process_stops() {
    let dir = tempfile::tempdir().unwrap();
    let tail = Arc::new(Tail::new(broker(dir.path()), "t", TOPIC, 2, 1 << 20));
    let stopping = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stopping);
    let window = tail.window(&at(&[]), move || asked.load(Ordering::Relaxed)).unwrap();
    stopping.store(true, Ordering::Relaxed);
    wait_until("the end", || window.is_ended());
    assert!(matches!(window.look(0), Look::Ended(Ended::Stopping)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_further_back_reads_up_to_the_window_and_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path());
    for _ in 0..700 {
        append(&*broker, 0, &[b"a", POSITION_KEY]);
        append(&*broker, 1, &[b"b"]);
    }
    let tail = Arc::new(Tail::new(Arc::clone(&broker), "t", TOPIC, 2, 1 << 20));
    let window = tail.window(&at(&[]), || false).unwrap();
    append(&*broker, 0, &[b"c"]);
    append(&*broker, 1, &[b"d"]);
    let mut position = Position::new(at(&[(0, 3), (1, 650)]), None);
    let mut seen: Vec<(u32, Offset)> = Vec::new();
    let mut give = |chunk: &Chunk, position: &mut Position| {
        for change in chunk.changes.iter().filter(|c| position.is_before(c.partition, c.offset)) {
            seen.push((change.partition, change.offset));
        }
        chunk.next.iter().for_each(|(p, next)| position.reach(*p, *next));
        Ok(true)
    };
    let mut place = catch_up(&tail, &window, &mut position, &mut give).unwrap().unwrap();
    wait_until("the rest", || {
        while let Look::Chunk(chunk) = window.look(place) {
            give(&chunk, &mut position).unwrap();
            place += 1;
        }
        position.next == at(&[(0, 1401), (1, 701)])
    });
    let of_0 = (4..1400).step_by(2).chain([1400]).map(|o| (0, o));
    let expected: Vec<_> = of_0.chain((650..701).map(|o| (1, o))).collect();
    seen.sort_unstable();
    assert_eq!(seen, expected);

    let gone = catch_up(&tail, &window, &mut Position::new(at(&[(0, 0)]), None), &mut |_, _| Ok(false));
    assert_eq!(gone.unwrap(), None);
}
