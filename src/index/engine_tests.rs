//! What meets merged segments that were looked for: changes that are shown, and a commit that was begun.

use std::collections::BTreeMap;

use super::super::testing::{batch, change, def, options, record};
use super::super::{Behind, IndexChange, Records};
use super::*;
use crate::broker::Offset;
use crate::record::Value;

/// So many segments of a size are merged.
const MERGED: usize = 8;
/// Keys of one segment.
const KEYS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(60);

fn key(n: usize) -> String {
    format!("k{n:04}")
}

/// An engine that does only what it is told, and what it has to show.
struct Told {
    engine: Engine,
    shared: Arc<Shared>,
    position: i64,
    expected: BTreeMap<usize, i64>,
    _dir: tempfile::TempDir,
}

impl Told {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let fields = Arc::new(Fields::new(Arc::new(def())).expect("fields"));
        let opened = open::open(&fields, dir.path(), None).expect("the index opens");
        let (engine, shared) = Engine::new(fields, options(dir.path()), None, opened).expect("an engine");
        Self { engine, shared, position: 0, expected: BTreeMap::new(), _dir: dir }
    }

    fn take(&mut self, changes: Vec<IndexChange>) {
        self.position += 1;
        self.engine.take_batch(batch(0, self.position, changes), 0).expect("taken");
    }

    fn put(&mut self, keys: std::ops::Range<usize>) {
        let version = self.position + 1;
        let put = |n: usize| {
            let values = (BTreeMap::from([("sold", Value::Int(version))]), BTreeMap::new());
            change(&key(n), Some(record(&def(), &key(n), &values)), self.expected.contains_key(&n))
        };
        let changes = keys.clone().map(put).collect();
        self.take(changes);
        self.expected.extend(keys.map(|n| (n, version)));
    }

    fn remove(&mut self, n: usize) {
        self.take(vec![change(&key(n), None, true)]);
        self.expected.remove(&n);
    }

    fn refresh(&mut self) {
        self.engine.refresh().expect("shown");
        self.check();
    }

    fn swap(&mut self) {
        let done = self.engine.durable.wait().expect("a commit");
        self.engine.swap(done).expect("swapped");
        self.check();
    }

    /// Merged segments of the last commit.
    fn merged(&self) -> Vec<Slot> {
        let started = Instant::now();
        self.engine.durable.look_for_merged().expect("begun");
        loop {
            match self.engine.durable.done().expect("no error") {
                Some(Done::Look(Some(merged))) => return merged,
                Some(Done::Look(None)) => self.engine.durable.look_for_merged().expect("begun"),
                Some(Done::Commit(_)) => panic!("a commit that nobody began"),
                None => std::thread::yield_now(),
            }
            assert!(started.elapsed() < PATIENCE, "nothing is merged");
        }
    }

    /// Each key has one document, of its last version.
    fn check(&self) {
        let view = self.shared.view.load();
        assert_eq!(view.documents(), self.expected.len() as u64);
        for (n, version) in &self.expected {
            let found = view.document_values(key(*n).as_bytes()).expect("values");
            assert_eq!((found.len(), &found[0]["sold"][..]), (1, &[Value::Int(*version)][..]), "{}", key(*n));
        }
    }
}

/// As many segments as are merged.
fn filled() -> Told {
    let mut told = Told::new();
    for n in 0..MERGED {
        told.put(n * KEYS..(n + 1) * KEYS);
        told.engine.commit(Which::All).expect("begun");
        told.swap();
    }
    told
}

#[test]
fn changes_that_are_shown_meet_merged_segments() {
    let mut told = filled();
    let merged = told.merged();
    told.put(10..20);
    told.refresh();
    told.remove(100);
    told.put(15..25);
    told.put(1_000..1_003);
    told.refresh();
    told.engine.looked(Some(merged)).expect("shown");
    told.check();
    told.engine.commit(Which::All).expect("begun");
    told.swap();
    told.engine.finish().expect("finished");
}

#[test]
fn a_commit_that_was_begun_meets_merged_segments() {
    let mut told = filled();
    let merged = told.merged();
    told.put(10..20);
    told.remove(100);
    told.refresh();
    told.engine.commit(Which::All).expect("begun");
    told.put(15..25);
    told.refresh();
    told.engine.looked(Some(merged)).expect("shown");
    told.check();
    told.swap();
    told.engine.finish().expect("finished");
}

#[test]
fn a_commit_of_what_is_not_shown_meets_merged_segments() {
    let mut told = filled();
    let merged = told.merged();
    let before = told.expected.clone();
    told.put(10..20);
    told.remove(100);
    // Straight to the disk.
    told.engine.commit(Which::All).expect("begun");
    let after = std::mem::replace(&mut told.expected, before);
    let covered = told.shared.view.load().covered.clone();
    told.engine.looked(Some(merged)).expect("shown");
    told.check();
    assert_eq!(told.shared.view.load().covered, covered, "positions below which something is hidden");
    told.expected = after;
    told.swap();
    told.engine.finish().expect("finished");
}

/// Stands for the store of a task that catches up.
#[derive(Debug)]
struct Stored(Vec<IndexChange>, Offset);

impl Records for Stored {
    fn count(&self) -> u64 {
        self.0.len() as u64
    }

    fn all(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
        self.0
            .iter()
            .filter_map(|c| Some((&c.key, c.stored.as_ref()?)))
            .try_for_each(|(key, stored)| visit(key, stored))?;
        Ok(self.1)
    }
}

/// What a long catch-up has collected when it is too much for memory was documents that the records made once more.
#[test]
fn changes_that_waited_are_dropped_where_their_records_are_to_be_taken() {
    let mut told = Told::new();
    told.put(0..KEYS);
    told.refresh();
    let (before, shown) = (told.shared.view.load().covered.clone(), told.expected.clone());
    told.put(10..3 * KEYS);
    let all = std::mem::replace(&mut told.expected, shown);
    let fresh = told.engine.fresh.bytes();
    let of = |(n, version): (&usize, &i64)| {
        let values = (BTreeMap::from([("sold", Value::Int(*version))]), BTreeMap::new());
        change(&key(*n), Some(record(&def(), &key(*n), &values)), false)
    };
    let stored: Arc<dyn Records> = Arc::new(Stored(all.iter().map(of).collect(), 3));
    // The changes are too much now, and more is to come than there are records.
    told.engine.options.queue_memory = fresh;
    let behind = Some(Behind { unread: 1 << 40, left: Duration::ZERO });
    let last = IndexBatch { behind, records: Some(Arc::downgrade(&stored)), ..batch(0, 3, Vec::new()) };
    told.engine.take_batch(last, 0).expect("taken");
    assert!(told.engine.fresh.is_empty());
    let due = told.engine.refreshed_at.map(|at| at + told.engine.gap);
    assert_eq!(told.engine.wholes.due(), due, "not later than they would have been shown");
    told.engine.commit(Which::None).expect("begun");
    told.swap();
    let written = || told.engine.options.metrics.index_disk.get();
    assert_eq!(written(), KEYS as u64, "what was shown before, and nothing of what was dropped");
    assert_eq!(told.shared.view.load().covered, before, "positions below which something is missing");
    told.engine.commit(Which::All).expect("begun");
    told.expected = all;
    told.swap();
    assert_eq!(told.shared.view.load().covered[&0].changelog, 3);
    told.engine.finish().expect("finished");
}

#[test]
fn an_engine_that_ends_does_not_take_a_look_for_a_commit() {
    let mut told = filled();
    told.put(10..20);
    told.refresh();
    told.engine.durable.look_for_merged().expect("begun");
    let Told { engine, shared, expected, .. } = told;
    engine.finish().expect("finished");
    assert_eq!(shared.view.load().documents(), expected.len() as u64);
}

#[test]
fn what_was_opened_of_a_segment_outlives_a_commit() {
    let mut told = Told::new();
    let mut views = Vec::new();
    for n in 0..2 {
        told.put(n * KEYS..(n + 1) * KEYS);
        told.engine.commit(Which::All).expect("begun");
        told.swap();
        views.push(told.shared.view.load_full());
    }
    let [before, after] = &views[..] else { panic!("two views") };
    let old = &before.readers()[0];
    assert_eq!(after.readers().len(), 2);
    for segment in after.readers() {
        let same = segment.segment_id() == old.segment_id();
        assert_eq!(segment.shares_columns_with(old), same, "{:?}", segment.segment_id());
    }
    assert!(after.readers().iter().any(|segment| segment.segment_id() == old.segment_id()));
    told.engine.finish().expect("finished");
}
