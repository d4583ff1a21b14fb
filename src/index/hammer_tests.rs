//! Readers look at every view while changes come in by ones and by thousands: each key is there exactly once, its version
//! never goes back, and never lies below what the view's position promises.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::testing::{batch, change, def, keys, options, record};
use super::{Behind, IndexBatch, IndexChange, Records, TableIndex};
use crate::Result;
use crate::broker::Offset;
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

/// Stands for the store of a task: what batches have changed, before they are handed over.
#[derive(Debug, Default)]
struct Kept {
    records: Mutex<(BTreeMap<Vec<u8>, Vec<u8>>, Offset)>,
    taken: AtomicU64,
}

impl Kept {
    fn apply(&self, batch: &IndexBatch) {
        let mut held = self.records.lock();
        for change in &batch.changes {
            match &change.stored {
                Some(stored) => drop(held.0.insert(change.key.to_vec(), stored.to_vec())),
                None => drop(held.0.remove(&*change.key)),
            }
        }
        held.1 = batch.changelog;
    }
}

impl Records for Kept {
    fn count(&self) -> u64 {
        self.records.lock().0.len() as u64
    }

    fn all(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
        let (records, at) = self.records.lock().clone();
        records.iter().try_for_each(|(key, stored)| visit(key, stored))?;
        self.taken.fetch_add(1, Ordering::SeqCst);
        Ok(at)
    }
}

/// Hands batches over as a worker does that catches up now and then: applied to the store first, some of them ahead of what the
/// index was told.
struct Worker<'a> {
    index: &'a TableIndex,
    store: Option<Arc<Kept>>,
    applied: VecDeque<IndexBatch>,
}

impl Worker<'_> {
    /// So many batches it catches up, and then so many it does not.
    const STRETCH: i64 = 150;

    fn hand_over(&mut self, mut batch: IndexBatch, ahead: usize) {
        let Some(store) = &self.store else { return self.index.submit(batch).expect("submitted") };
        let weak: Weak<Kept> = Arc::downgrade(store);
        batch.records = Some(weak);
        let n = batch.changelog;
        let hurried = n / Self::STRETCH % 2 == 0;
        batch.behind = hurried.then_some(Behind { unread: 1 << 40, left: Duration::from_millis(30) });
        store.apply(&batch);
        self.applied.push_back(batch);
        self.submit(ahead);
        if n % (2 * Self::STRETCH) == 0 {
            self.index.calm(vec![0]).expect("told");
        }
    }

    fn submit(&mut self, ahead: usize) {
        while self.applied.len() > ahead {
            self.applied.pop_front().into_iter().for_each(|batch| self.index.submit(batch).expect("submitted"));
        }
    }
}

/// By key: the batches that changed it, ascending. Written before the batch is submitted.
type History = Arc<Mutex<Vec<Vec<i64>>>>;

/// Some batches are too large for the live tier; the rest hit few keys, and some of them again and again. Goes on until `busy` says
/// that it was enough: on a busy machine the threads that commit come last.
fn write(mut worker: Worker<'_>, history: &History, busy: impl Fn() -> bool) {
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
        worker.hand_over(batch(0, n + 1, changes), dice.below(4));
        if dice.below(3) == 0 {
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    worker.submit(0);
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
    hammer(8 << 20, None);
}

#[test]
fn nor_do_they_where_records_are_taken_from_the_store() {
    let store = Arc::new(Kept::default());
    hammer(512 << 10, Some(Arc::clone(&store)));
    let taken = store.taken.load(Ordering::SeqCst);
    assert!(taken >= 3, "records were taken whole {taken} times only");
}

fn hammer(queue_memory: usize, store: Option<Arc<Kept>>) {
    let dir = tempfile::tempdir().expect("a folder");
    let options = super::IndexOptions { queue_memory, ..options(dir.path()) };
    let (index, _) = TableIndex::open(Arc::new(def()), options).expect("the index opens");
    let first = batch(0, 1, (0..KEYS).map(|k| version(&key(k), 0, false)).collect());
    Worker { index: &index, store: store.clone(), applied: VecDeque::new() }.hand_over(first, 0);
    index.flush().expect("flushed");
    let (commits, generation) = (index.stats().commits, index.view().generation);
    let since = |index: &TableIndex| (index.stats().commits - commits, index.view().generation - generation);
    let took = || store.as_ref().is_none_or(|store| store.taken.load(Ordering::SeqCst) >= 10);
    let was_busy = |index: &TableIndex| {
        took() && matches!(since(index), (commits, views) if commits >= 3 && views >= commits + 20)
    };

    let history: History = Arc::new(Mutex::new(vec![Vec::new(); KEYS]));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let worker = Worker { index: &index, store: store.clone(), applied: VecDeque::new() };
            write(worker, &history, || was_busy(&index));
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
