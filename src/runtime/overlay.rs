//! Records that are merged but not yet applied, and the bounded cache of those that are.
//!
//! Merge runs ahead of commit: without the overlay an event would be merged into a record that lacks the event before it.
//! Owned by the merge thread; an entry leaves when the batch that wrote it last is applied (`INV-OVERLAY-1`: the current
//! record of a key is overlay, else cache, else store, in this order).

use std::collections::VecDeque;
use std::sync::Arc;

use quick_cache::unsync::Cache;
use quick_cache::{DefaultHashBuilder, Weighter};
use rustc_hash::FxHashMap;

use crate::record::Record;

/// Weighs an entry by its bytes.
#[derive(Clone, Copy, Debug)]
struct Bytes;

impl Weighter<Box<[u8]>, Arc<Record>> for Bytes {
    fn weight(&self, key: &Box<[u8]>, record: &Arc<Record>) -> u64 {
        (key.len() + record.heap_size() + 128) as u64
    }
}

#[derive(Debug)]
struct Entry {
    record: Arc<Record>,
    seq: u64,
}

/// Overlay and cache of one worker.
#[derive(Debug)]
pub struct Overlay {
    pending: FxHashMap<Box<[u8]>, Entry>,
    written: VecDeque<(u64, u64, Vec<Box<[u8]>>)>,
    bytes: u64,
    cache: Cache<Box<[u8]>, Arc<Record>, Bytes, DefaultHashBuilder>,
}

impl Overlay {
    /// With a cache of at most `cache_bytes`.
    pub fn new(cache_bytes: u64) -> Self {
        let items = usize::try_from(cache_bytes / 512).unwrap_or(usize::MAX).max(16);
        Self {
            pending: FxHashMap::default(),
            written: VecDeque::new(),
            bytes: 0,
            cache: Cache::with_weighter(items, cache_bytes, Bytes),
        }
    }

    /// The name under which a key of a partition is kept; fills `scratch`.
    pub fn name<'s>(partition: u32, key: &[u8], scratch: &'s mut Vec<u8>) -> &'s [u8] {
        scratch.clear();
        scratch.extend_from_slice(&partition.to_be_bytes());
        scratch.extend_from_slice(key);
        scratch
    }

    /// The current record, if it is in memory.
    pub fn get(&self, name: &[u8]) -> Option<Arc<Record>> {
        self.pending.get(name).map(|e| &e.record).or_else(|| self.cache.get(name)).cloned()
    }

    /// Remembers a record that was read from the store.
    pub fn remember(&mut self, name: &[u8], record: Arc<Record>) {
        self.cache.insert(name.into(), record);
    }

    /// Notes what batch `seq` wrote, `bytes` in all.
    pub fn stage(&mut self, seq: u64, bytes: u64, records: Vec<(Box<[u8]>, Arc<Record>)>) {
        let mut names = Vec::with_capacity(records.len());
        for (name, record) in records {
            self.cache.insert(name.clone(), record.clone());
            names.push(name.clone());
            self.pending.insert(name, Entry { record, seq });
        }
        self.bytes += bytes;
        self.written.push_back((seq, bytes, names));
    }

    /// Drops what batches up to `seq` wrote: the store has it now.
    pub fn applied(&mut self, seq: u64) {
        while self.written.front().is_some_and(|(s, ..)| *s <= seq) {
            let Some((s, bytes, names)) = self.written.pop_front() else { break };
            self.bytes -= bytes;
            for name in names {
                if self.pending.get(&name).is_some_and(|e| e.seq == s) {
                    self.pending.remove(&name);
                }
            }
        }
    }

    /// Bytes of batches that are not applied yet, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets what it knows of a partition: another instance may have written there since the partition left.
    pub fn forget(&mut self, partition: u32) {
        let prefix = partition.to_be_bytes();
        self.pending.retain(|name, _| !name.starts_with(&prefix));
        self.cache.retain(|name, _| !name.starts_with(&prefix));
    }

    /// Forgets everything, after a rollback.
    pub fn clear(&mut self) {
        self.pending.clear();
        self.written.clear();
        self.bytes = 0;
        self.cache.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(key: &str) -> Box<[u8]> {
        let mut scratch = Vec::new();
        Overlay::name(3, key.as_bytes(), &mut scratch).into()
    }

    #[test]
    fn an_entry_stays_until_the_batch_that_wrote_it_last_is_applied() {
        let mut overlay = Overlay::new(0);
        let record = Arc::new(Record::default());
        overlay.stage(1, 10, vec![(named("a"), record.clone()), (named("b"), record.clone())]);
        overlay.stage(2, 10, vec![(named("a"), record)]);
        overlay.applied(1);
        assert!(overlay.get(&named("a")).is_some(), "batch 2 wrote it again");
        assert!(overlay.get(&named("b")).is_none(), "applied, and the cache holds nothing");
        assert_eq!(overlay.bytes(), 10);
        overlay.applied(2);
        assert!(overlay.get(&named("a")).is_none());
        assert_eq!(overlay.bytes(), 0);
    }

    #[test]
    fn a_partition_that_comes_back_is_not_answered_from_memory() {
        let mut overlay = Overlay::new(1 << 20);
        let (record, mut scratch) = (Arc::new(Record::default()), Vec::new());
        let other: Box<[u8]> = Overlay::name(4, b"a", &mut scratch).into();
        overlay.stage(1, 10, vec![(named("a"), record.clone()), (other.clone(), record.clone())]);
        overlay.remember(&named("b"), record);
        overlay.forget(3);
        assert!(overlay.get(&named("a")).is_none() && overlay.get(&named("b")).is_none());
        assert!(overlay.get(&other).is_some(), "another partition stays");
        overlay.applied(1);
        assert_eq!(overlay.bytes(), 0, "its bytes are given back all the same");
    }
}
