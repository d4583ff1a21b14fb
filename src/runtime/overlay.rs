//! The records in memory: those that are merged but not yet applied, and a bounded cache of others.
//!
//! Merge runs ahead of commit: without what is not applied yet an event would be merged into a record that lacks the event
//! before it. Held are the stored bytes, which batches on their way to the store share: they take a quarter of the memory of the
//! decoded record, lie in one place, and what is read out of them again costs less than reading the store for want of room.
//! An entry is pinned until the batch that used it last is applied; only then may the cache drop it (`INV-OVERLAY-1`: the
//! current record of a key is the one in memory, else the one in the store).

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::unsync::{Cache, RefMut};
use quick_cache::{DefaultHashBuilder, Equivalent, Lifecycle, Weighter};

use crate::Result;
use crate::record::{Record, codec};

/// What an entry takes beside its record, bytes.
const ENTRY_OVERHEAD: usize = 160;

/// The name of a record: its partition and key.
#[derive(Debug, PartialEq, Eq)]
pub struct Name {
    partition: u32,
    key: Arc<[u8]>,
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrowed(self.partition, &self.key).hash(state);
    }
}

/// A name to look up with.
#[derive(Hash)]
struct Borrowed<'a>(u32, &'a [u8]);

impl Equivalent<Name> for Borrowed<'_> {
    fn equivalent(&self, name: &Name) -> bool {
        self.0 == name.partition && *self.1 == *name.key
    }
}

/// A record in memory.
#[derive(Debug)]
pub struct Held {
    /// Its key.
    pub key: Arc<[u8]>,
    /// Its stored form, as of the last change; `None` if nothing is kept.
    pub stored: Option<Arc<[u8]>>,
    seq: u64,
}

impl Held {
    /// The record.
    pub fn record(&self) -> Result<Record> {
        decoded(&self.key, self.stored.as_deref())
    }

    fn weight(&self) -> u64 {
        (self.key.len() + self.stored.as_ref().map_or(0, |stored| stored.len()) + ENTRY_OVERHEAD) as u64
    }
}

/// The record of a key, by its stored form.
pub fn decoded(key: &[u8], stored: Option<&[u8]>) -> Result<Record> {
    let decoded = stored.map(codec::decode).transpose();
    Ok(decoded.map_err(|e| e.within(format_args!("record {:?}", String::from_utf8_lossy(key))))?.unwrap_or_default())
}

/// Weighs an entry by its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Bytes;

impl Weighter<Name, Held> for Bytes {
    fn weight(&self, _: &Name, held: &Held) -> u64 {
        held.weight()
    }
}

/// Keeps what is not applied yet.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    applied: Arc<AtomicU64>,
}

impl Lifecycle<Name, Held> for Pins {
    type RequestState = ();

    fn is_pinned(&self, _: &Name, held: &Held) -> bool {
        held.seq > self.applied.load(Ordering::Relaxed)
    }
}

/// A record that may be changed in place.
pub type HeldMut<'a> = RefMut<'a, Name, Held, Bytes, DefaultHashBuilder, Pins>;

/// The records that one worker has in memory.
#[derive(Debug)]
pub struct Overlay {
    records: Cache<Name, Held, Bytes, DefaultHashBuilder, Pins>,
    pins: Pins,
    /// Sequence number and bytes of the batches that are not applied yet.
    batches: VecDeque<(u64, u64)>,
    bytes: u64,
    /// Bytes that the batch being merged has pinned.
    pinned: u64,
}

impl Overlay {
    /// With a cache of at most `cache_bytes`, beside what is not applied yet.
    pub fn new(cache_bytes: u64) -> Self {
        let items = usize::try_from(cache_bytes / (2 * ENTRY_OVERHEAD as u64)).unwrap_or(usize::MAX).max(16);
        let pins = Pins::default();
        let records = Cache::with(items, cache_bytes, Bytes, DefaultHashBuilder::default(), pins.clone());
        Self { records, pins, batches: VecDeque::new(), bytes: 0, pinned: 0 }
    }

    /// The record if it is in memory, to be changed in place; it stays at least until batch `seq` is applied.
    pub fn hold(&mut self, partition: u32, key: &[u8], seq: u64) -> Option<HeldMut<'_>> {
        let mut held = self.records.get_mut(&Borrowed(partition, key))?;
        held.seq = seq;
        self.pinned += held.weight();
        Some(held)
    }

    /// Takes in a record that is not in memory; it stays at least until batch `seq` is applied.
    pub fn insert(&mut self, partition: u32, key: Arc<[u8]>, stored: Option<Arc<[u8]>>, seq: u64) {
        let name = Name { partition, key: key.clone() };
        let held = Held { key: key.clone(), stored, seq };
        self.pinned += held.weight();
        self.records.insert(name, held);
        // Used once: else it stays among those that are looked through for room first, with all others that are pinned.
        self.records.get(&Borrowed(partition, &key));
    }

    /// The stored form of the record, if it is in memory.
    pub fn get(&self, partition: u32, key: &[u8]) -> Option<&[u8]> {
        self.records.peek(&Borrowed(partition, key))?.stored.as_deref()
    }

    /// The current record, if it is in memory.
    pub fn get_mut(&mut self, partition: u32, key: &[u8]) -> Option<HeldMut<'_>> {
        self.records.get_mut(&Borrowed(partition, key))
    }

    /// Notes that batch `seq` is on its way, of so many bytes beside what it has pinned.
    pub fn stage(&mut self, seq: u64, bytes: u64) {
        let bytes = bytes + std::mem::take(&mut self.pinned);
        self.bytes += bytes;
        self.batches.push_back((seq, bytes));
    }

    /// Notes that the batches up to `seq` are applied: the store has what they changed.
    pub fn applied(&mut self, seq: u64) {
        self.pins.applied.store(seq, Ordering::Relaxed);
        while let Some((_, bytes)) = self.batches.pop_front_if(|(s, _)| *s <= seq) {
            self.bytes -= bytes;
        }
        // Only what is inserted makes room; records that grow in place do not.
        if self.records.weight() > self.records.capacity() {
            self.records.set_capacity(self.records.capacity());
        }
    }

    /// Bytes of batches that are not applied yet, and of the records that they pin, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets what it knows of a partition: another instance may have written there since the partition left.
    pub fn forget(&mut self, partition: u32) {
        self.records.retain(|name, _| name.partition != partition);
    }

    /// Forgets everything, after a rollback.
    pub fn clear(&mut self) {
        self.records.clear();
        self.batches.clear();
        (self.bytes, self.pinned) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(overlay: &mut Overlay, partition: u32, key: &str) -> bool {
        overlay.get_mut(partition, key.as_bytes()).is_some()
    }

    fn load(overlay: &mut Overlay, partition: u32, key: &str, seq: u64) {
        overlay.insert(partition, key.as_bytes().into(), None, seq);
    }

    #[test]
    fn an_entry_stays_until_the_batch_that_used_it_last_is_applied() {
        let mut overlay = Overlay::new(0);
        load(&mut overlay, 3, "a", 1);
        load(&mut overlay, 3, "b", 1);
        overlay.stage(1, 10);
        assert!(overlay.hold(3, b"a", 2).is_some());
        overlay.stage(2, 10);
        let before = overlay.bytes();
        overlay.applied(1);
        assert!((10..before).contains(&overlay.bytes()), "{before} before, {} after", overlay.bytes());
        load(&mut overlay, 4, "other", 2);
        assert!(holds(&mut overlay, 3, "a"), "batch 2 uses it");
        assert!(!holds(&mut overlay, 3, "b"), "applied, and there is no cache for it");
        overlay.applied(2);
        assert_eq!(overlay.bytes(), 0);
        load(&mut overlay, 4, "one more", 3);
        assert!(!holds(&mut overlay, 3, "a"));
    }

    #[test]
    fn a_batch_counts_the_records_that_it_pins() {
        let mut overlay = Overlay::new(1 << 20);
        load(&mut overlay, 3, "a", 1);
        overlay.stage(1, 0);
        let one = overlay.bytes();
        assert!(one > 0, "its record is held, though nothing changed");
        assert!(overlay.hold(3, b"a", 2).is_some());
        overlay.stage(2, 7);
        assert_eq!(overlay.bytes(), 2 * one + 7);
        overlay.applied(2);
        assert_eq!(overlay.bytes(), 0);
    }

    #[test]
    fn records_that_grew_in_place_make_room_once_they_are_applied() {
        let mut overlay = Overlay::new(2_000);
        (0..8).for_each(|n| load(&mut overlay, 3, &n.to_string(), 1));
        for n in 0..8 {
            let mut held = overlay.get_mut(3, n.to_string().as_bytes()).unwrap();
            held.stored = Some([0; 1_000].into());
        }
        overlay.applied(1);
        assert!((0..8).filter(|n| holds(&mut overlay, 3, &n.to_string())).count() <= 2);
    }

    #[test]
    fn what_is_not_applied_stays_even_without_a_cache() {
        let mut overlay = Overlay::new(0);
        (0..1_000).for_each(|n| load(&mut overlay, 3, &n.to_string(), 1));
        assert!((0..1_000).all(|n| holds(&mut overlay, 3, &n.to_string())));
        overlay.applied(1);
        load(&mut overlay, 3, "one more", 2);
        assert!(holds(&mut overlay, 3, "one more"));
        assert!(!(0..1_000).any(|n| holds(&mut overlay, 3, &n.to_string())), "nothing holds them any more");
    }

    #[test]
    fn a_partition_that_comes_back_is_not_answered_from_memory() {
        let mut overlay = Overlay::new(1 << 20);
        load(&mut overlay, 3, "a", 1);
        load(&mut overlay, 3, "b", 0);
        load(&mut overlay, 4, "a", 1);
        overlay.stage(1, 10);
        overlay.forget(3);
        assert!(!holds(&mut overlay, 3, "a") && !holds(&mut overlay, 3, "b"));
        assert!(holds(&mut overlay, 4, "a"), "another partition stays");
        overlay.applied(1);
        assert_eq!(overlay.bytes(), 0, "its bytes are given back all the same");
    }
}
