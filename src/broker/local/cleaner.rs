//! Cleaning of compacted topics: keeps the last record of each key, drops tombstones that are old enough.
//!
//! Offsets never change. It decides what goes and hands that to the log thread in small portions, in the order of the
//! log, so that an older value of a key is always gone before its tombstone. Memory is bounded: a pass covers as much
//! of the log as the hashes of its keys fit into `cleaner_memory`; the next pass goes on from there. A reader that
//! takes longer than the tombstones' retention from a key's value to its tombstone may miss the latter, as in Kafka.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::CompactOptions;
use rustc_hash::FxHashMap;
use xxhash_rust::xxh3::xxh3_128;

use super::db::to_usize;
use super::log::Request;
use super::read::{Cursor, Slot};
use super::shared::Shared;
use super::topics::Partition;
use crate::broker::Offset;
use crate::{Result, clock};

/// Memory of one key in the map, with the map's spare room.
const BYTES_PER_KEY: u64 = 64;
/// Deletions that go to the log thread at once.
const PORTION: usize = 4096;
/// Neighbouring records from which one range deletion is cheaper than single ones.
const SPAN: usize = 64;
/// Records between two looks at whether the broker is closing.
const LOOK: usize = 4096;

/// Newest offset of each key, by the hash of the key.
type Newest = FxHashMap<(u64, u64), Offset>;

/// A portion of what the cleaner found superseded.
#[derive(Debug)]
pub(super) struct Removal {
    pub(super) partition: Arc<Partition>,
    pub(super) singles: Vec<Offset>,
    pub(super) spans: Vec<Range<Offset>>,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// With the last portion: how far the log is clean now, and how many bytes are left below that.
    pub(super) finished: Option<(Offset, u64)>,
}

impl Removal {
    fn new(partition: Arc<Partition>) -> Self {
        Self { partition, singles: Vec::new(), spans: Vec::new(), records: 0, bytes: 0, finished: None }
    }

    /// Adds neighbouring records.
    fn add(&mut self, run: &mut Vec<Offset>) {
        match (run.first(), run.last()) {
            (Some(first), Some(last)) if run.len() >= SPAN => self.spans.push(*first..last + 1),
            _ => self.singles.extend_from_slice(run),
        }
        run.clear();
    }

    fn is_full(&self) -> bool {
        self.singles.len() + self.spans.len() >= PORTION
    }
}

/// Whether at least half of a partition has not been cleaned yet, and enough of it to be worth a pass.
pub(super) fn is_due(partition: &Partition) -> bool {
    let clean = partition.clean_bytes.load(Ordering::Acquire);
    let dirty = partition.bytes.load(Ordering::Acquire).saturating_sub(clean);
    partition.compacted && dirty >= partition.limits.segment_bytes.max(clean)
}

/// Cleans a partition up to its present end; returns how many records went. Ends early when the broker closes.
pub(super) fn clean(shared: &Shared, partition: &Arc<Partition>) -> Result<u64> {
    let target = partition.high();
    let now = clock::now_ms();
    let mut removed = 0;
    loop {
        let Some((newest, end)) = newest_offsets(shared, partition, target)? else { return Ok(removed) };
        let Some(records) = remove_superseded(shared, partition, &newest, end, now)? else { return Ok(removed) };
        removed += records;
        if end >= target {
            break;
        }
    }
    if removed > 0 {
        reclaim(shared, partition)?;
        tracing::debug!(%partition, removed, "cleaned");
    }
    Ok(removed)
}

fn hash(key: &[u8]) -> (u64, u64) {
    let h = xxh3_128(key).to_le_bytes();
    let half = |at: usize| h.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
    (half(0), half(8))
}

/// The newest offset of each key from the cleaned part on, and the offset up to which the map reaches; `None` when the
/// broker closes.
fn newest_offsets(shared: &Shared, partition: &Arc<Partition>, target: Offset) -> Result<Option<(Newest, Offset)>> {
    let most = to_usize(shared.options.cleaner_memory / BYTES_PER_KEY).max(16);
    let from = partition.cleaned.load(Ordering::Acquire).max(partition.low());
    let slot = Slot { partition: partition.clone(), position: from };
    let (mut cursor, ()) = Cursor::open(shared, std::slice::from_ref(&slot), || ())?;
    let mut newest = Newest::default();
    let mut count = 0;
    cursor.seek(partition, from);
    while let Some((offset, stored)) = cursor.current(partition, target)? {
        if newest.len() >= most {
            return Ok(Some((newest, offset)));
        }
        if let Some(key) = stored.key {
            newest.insert(hash(key), offset);
        }
        count += 1;
        if count % LOOK == 0 && shared.closing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        cursor.next();
    }
    Ok(Some((newest, target)))
}

/// Removes below `end` what `newest` says is superseded, and old tombstones. Returns how many records went, or `None`
/// when the broker closes.
fn remove_superseded(
    shared: &Shared,
    partition: &Arc<Partition>,
    newest: &Newest,
    end: Offset,
    now_ms: i64,
) -> Result<Option<u64>> {
    let forget_before = now_ms.saturating_sub_unsigned(partition.limits.delete_retention_ms);
    let slot = Slot { partition: partition.clone(), position: partition.low() };
    let (mut cursor, ()) = Cursor::open(shared, std::slice::from_ref(&slot), || ())?;
    let mut portion = Removal::new(partition.clone());
    let (mut run, mut kept, mut removed, mut count) = (Vec::new(), 0, 0, 0);
    cursor.seek(partition, slot.position);
    while let Some((offset, stored)) = cursor.current(partition, end)? {
        let later = stored.key.and_then(|k| newest.get(&hash(k))).is_some_and(|n| *n > offset);
        let goes = later || stored.payload.is_none() && stored.timestamp_ms < forget_before;
        if goes {
            run.push(offset);
            portion.records += 1;
            portion.bytes += cursor.size();
        } else {
            kept += cursor.size();
        }
        if !goes || run.len() >= PORTION {
            portion.add(&mut run);
        }
        if portion.is_full() && run.is_empty() {
            removed += portion.records;
            hand_over(shared, std::mem::replace(&mut portion, Removal::new(partition.clone())))?;
        }
        count += 1;
        if count % LOOK == 0 && shared.closing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        cursor.next();
    }
    portion.add(&mut run);
    portion.finished = Some((end, kept));
    removed += portion.records;
    hand_over(shared, portion)?;
    Ok(Some(removed))
}

fn hand_over(shared: &Shared, portion: Removal) -> Result<()> {
    shared.ask(|reply| Request::Remove(portion, reply))
}

/// Lets RocksDB give the space back and get rid of the deletion marks that readers would have to step over.
fn reclaim(shared: &Shared, partition: &Partition) -> Result<()> {
    if shared.closing.load(Ordering::Relaxed) {
        return Ok(());
    }
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    let (from, to) = (partition.key(0), partition.key(Offset::MAX));
    shared.db.raw.compact_range_cf_opt(shared.db.log()?, Some(from), Some(to), &options);
    Ok(())
}
