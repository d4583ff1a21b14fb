//! The documents of segments in the order of a column, kept for searches that sort by it again.
//!
//! Whoever sorts what matches reads a value of each match. The first ten of many are found sooner by going through all documents in their
//! order until ten match. A segment never changes, so neither does that order, whatever the mask. It is made aside, for segments that
//! were sorted often enough to pay for it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};

use parking_lot::Mutex;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tantivy::columnar::Column;
use tantivy::index::SegmentId;
use tantivy::{DocId, SegmentReader};

use crate::priority::Behind;

/// All documents of smaller segments are soon looked at.
pub(super) const LEAST: DocId = 8_192;
/// Searches that an order must have been missing in before it is made: as many take longer without it than it takes to make it, about.
pub(super) const MISSED: u32 = 100;
/// Columns of segments whose missing orders are counted.
const COUNTED: usize = 1_000;
/// About what an entry takes beside its documents, bytes.
const OVERHEAD: u64 = 256;
/// As in `sets`: the library keeps nothing larger than a piece of its room, and cuts that where many are expected.
const FEW: usize = 32;
const DOC_BYTES: u64 = 4;
/// An order may take one part in so many of the room: to make it takes five times as much for a moment.
const LARGEST: u64 = 2;

/// Documents of a segment by the values of a column that has at most one for each.
#[derive(Debug)]
pub(super) struct InOrder {
    documents: Vec<DocId>,
    /// How many of them have a value: those come first, the smallest value before the others.
    valued: usize,
}

impl InOrder {
    fn of(column: &Column<u64>, documents: DocId) -> Self {
        let values: Vec<Option<u64>> = (0..documents).map(|doc| column.first(doc)).collect();
        let mut all: Vec<DocId> = (0..documents).collect();
        let value = |doc: &DocId| values[*doc as usize].map_or((true, 0), |value| (false, value));
        all.sort_unstable_by_key(|doc| (value(doc), *doc));
        let valued = all.partition_point(|doc| values[*doc as usize].is_some());
        Self { documents: all, valued }
    }

    /// Documents that have a value, the smallest first.
    pub(super) fn valued(&self) -> &[DocId] {
        &self.documents[..self.valued]
    }

    /// Documents without a value.
    pub(super) fn missing(&self) -> &[DocId] {
        &self.documents[self.valued..]
    }
}

/// A column of a segment.
type Key = (SegmentId, String);

/// The orders that are kept; cheap to clone, and all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Orders(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kept: Cache<Key, Arc<InOrder>, Bytes>,
    room: u64,
    missed: Mutex<HashMap<Key, u32>>,
    /// Whether one is made. One at a time.
    making: AtomicBool,
}

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Arc<InOrder>> for Bytes {
    fn weight(&self, _: &Key, order: &Arc<InOrder>) -> u64 {
        order.documents.len() as u64 * DOC_BYTES + OVERHEAD
    }
}

impl Orders {
    /// At most so many bytes of them.
    pub(super) fn new(bytes: u64) -> Self {
        let kept = Cache::with_weighter(FEW, bytes, Bytes);
        Self(Arc::new(Inner { kept, room: bytes, missed: Mutex::default(), making: AtomicBool::new(false) }))
    }

    /// The documents of a segment in the order of a column, if that is kept. Else it may be for searches to come.
    pub(super) fn of(&self, segment: &SegmentReader, name: &str, column: &Column<u64>) -> Option<Arc<InOrder>> {
        let documents = segment.max_doc();
        if documents < LEAST || u64::from(documents) * DOC_BYTES > self.0.room / LARGEST {
            return None;
        }
        let key = (segment.segment_id(), name.to_owned());
        let found = self.0.kept.get(&key);
        if found.is_none() && self.0.pays(&key) {
            self.make(key, column.clone(), documents);
        }
        found
    }

    fn make(&self, key: Key, column: Column<u64>, documents: DocId) {
        if self.0.making.swap(true, Atomic::AcqRel) {
            return;
        }
        let this = Arc::clone(&self.0);
        let make = move || {
            Behind::Disk.put_this_thread();
            let order = Arc::new(InOrder::of(&column, documents));
            this.missed.lock().remove(&key);
            this.kept.insert(key, order);
            this.making.store(false, Atomic::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("orders".to_owned()).spawn(make) {
            tracing::debug!(%error, "searches go without the order of a column");
            self.0.making.store(false, Atomic::Release);
        }
    }
}

impl Inner {
    /// Whether it was missed often enough, this time included.
    fn pays(&self, key: &Key) -> bool {
        let mut missed = self.missed.lock();
        if missed.len() >= COUNTED {
            missed.clear();
        }
        let times = missed.entry(key.clone()).or_default();
        *times += 1;
        *times >= MISSED
    }
}

#[cfg(test)]
impl InOrder {
    /// An order of no documents.
    pub(super) fn nothing() -> Self {
        Self { documents: Vec::new(), valued: 0 }
    }
}

#[cfg(test)]
impl Orders {
    pub(super) fn knows(&self, segment: &SegmentReader, name: &str) -> bool {
        self.0.kept.get(&(segment.segment_id(), name.to_owned())).is_some()
    }

    pub(super) fn missed(&self) -> u32 {
        self.0.missed.lock().values().sum()
    }

    pub(super) fn keep(&self, segment: &SegmentReader, name: &str, order: InOrder) {
        self.0.kept.insert((segment.segment_id(), name.to_owned()), Arc::new(order));
    }
}
