//! Readers look at every view while changes come in by ones and by thousands: each key is there exactly once, its version
//! never goes back, and never lies below what the view's position promises.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::testing::{batch, change, def, keys, options, record};
use super::{IndexChange, TableIndex};
use crate::record::Value;

/// Keys that are always there.
const KEYS: usize = 6_000;
/// Keys that come and go.
const GUESTS: usize = 2;
/// Batches written at least, and at most while the index has not been busy in every way.
const BATCHES: (i64, i64) = (1_200, 60_000);

/// A small generator of numbers; the seed is fixed, so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 2).expect("62 bits") % n
    }
}

fn key(n: usize) -> String {
    format!("k{n:05}")
}

fn version(key: &str, version: i64, existed: bool) -> IndexChange {
    let values = (BTreeMap::from([("sold", Value::Int(version))]), BTreeMap::new());
    change(key, Some(record(&def(), key, &values)), existed)
}

/// By key: the batches that changed it, ascending. Written before the batch is submitted.
type History = Arc<Mutex<Vec<Vec<i64>>>>;

/// Some batches are too large for the live tier; the rest hit few keys, and some of them again and again. Goes on until `busy` says
/// that it was enough: on a busy machine the threads that commit come last.
fn write(index: &TableIndex, history: &History, busy: impl Fn() -> bool) {
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut guests = [false; GUESTS];
    for n in 1..=BATCHES.1 {
        if n > BATCHES.0 && busy() {
            break;
        }
        let count = if n % 100 == 0 { 12_000 } else { 1 + dice.below(60) };
        let mut changes = Vec::new();
        for _ in 0..count {
            let k = if dice.below(4) == 0 { dice.below(10) } else { dice.below(KEYS) };
            changes.push(version(&key(k), n, true));
            let mut history = history.lock();
            if history[k].last() != Some(&n) {
                history[k].push(n);
            }
        }
        let guest = dice.below(GUESTS);
        let name = format!("guest{guest}");
        changes.push(match guests[guest] {
            true => change(&name, None, true),
            false => version(&name, n, false),
        });
        guests[guest] = !guests[guest];
        index.submit(batch(0, n + 1, changes)).expect("submitted");
        if dice.below(3) == 0 {
            std::thread::sleep(std::time::Duration::from_micros(500));
        }
    }
}

fn look(index: &TableIndex, history: &History, dice: &mut Dice, seen: &mut [i64], scan: bool) {
    let view = index.view();
    let promised = view.covered[&0].changelog - 1;
    let documents = usize::try_from(view.documents()).expect("a count");
    assert!((KEYS..=KEYS + GUESTS).contains(&documents), "{documents} documents");
    for _ in 0..20 {
        let k = if dice.below(2) == 0 { dice.below(10) } else { dice.below(KEYS) };
        let found = view.document_values(key(k).as_bytes()).expect("values");
        assert_eq!(found.len(), 1, "{} at generation {}", key(k), view.generation);
        let [Value::Int(version)] = found[0]["sold"][..] else { panic!("{found:?}") };
        let known = history.lock()[k].iter().rev().find(|n| **n <= promised).copied().unwrap_or(0);
        assert!(version >= known, "{}: {version} is shown, {known} was promised", key(k));
        assert!(version >= seen[k], "{}: {version} after {}", key(k), seen[k]);
        seen[k] = version;
    }
    for guest in 0..GUESTS {
        let found = view.document_values(format!("guest{guest}").as_bytes()).expect("values");
        assert!(found.len() <= 1, "guest{guest} has {} documents at generation {}", found.len(), view.generation);
    }
    if scan {
        let mut all = Vec::new();
        view.document_keys(0, &mut |key| {
            all.push(key.to_vec());
            Ok(())
        })
        .expect("keys");
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count, "a key has two documents at generation {}", view.generation);
        assert_eq!(all.iter().filter(|k| k.starts_with(b"k")).count(), KEYS);
    }
}

#[test]
fn every_view_shows_each_key_once_and_no_version_goes_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let options = super::IndexOptions { queue_memory: 8 << 20, ..options(dir.path()) };
    let (index, _) = TableIndex::open(Arc::new(def()), options).expect("the index opens");
    index.submit(batch(0, 1, (0..KEYS).map(|k| version(&key(k), 0, false)).collect())).expect("submitted");
    index.flush().expect("flushed");
    let (commits, generation) = (index.stats().commits, index.view().generation);
    let since = |index: &TableIndex| (index.stats().commits - commits, index.view().generation - generation);
    let was_busy =
        |index: &TableIndex| matches!(since(index), (commits, views) if commits >= 3 && views >= commits + 20);

    let history: History = Arc::new(Mutex::new(vec![Vec::new(); KEYS]));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            write(&index, &history, || was_busy(&index));
            done.store(true, Ordering::SeqCst);
        });
        let (mut dice, mut seen, mut looks) = (Dice(42), vec![0; KEYS], 0);
        while !done.load(Ordering::SeqCst) || looks < 50 {
            look(&index, &history, &mut dice, &mut seen, looks % 20 == 0);
            looks += 1;
        }
    });
    let (commits, views) = since(&index);
    assert!(commits >= 3, "segments were swapped {commits} times only");
    assert!(views >= commits + 20, "{views} views of {commits} commits: the live tier showed nothing");

    index.flush().expect("flushed");
    let expected: Vec<i64> = history.lock().iter().map(|h| h.last().copied().unwrap_or(0)).collect();
    let exact = |index: &TableIndex| {
        for (k, version) in expected.iter().enumerate() {
            let found = index.view().document_values(key(k).as_bytes()).expect("values");
            assert_eq!((found.len(), &found[0]["sold"][..]), (1, &[Value::Int(*version)][..]), "{}", key(k));
        }
    };
    exact(&index);
    let all = keys(&index, 0);
    index.close().expect("closed");
    drop(index);
    let (index, _) = TableIndex::open(Arc::new(def()), super::testing::options(dir.path())).expect("the index opens");
    exact(&index);
    assert_eq!(keys(&index, 0), all, "what was in memory is on disk");
}
