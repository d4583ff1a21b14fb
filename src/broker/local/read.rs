//! Reading a partition: from a position to the end of the log, borrowing every record from RocksDB's blocks.
//!
//! RocksDB's iterators borrow the database and cannot be kept in a consumer, so one serves a whole poll: it seeks to
//! each partition that has something new. Partitions without news cost one atomic load.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rocksdb::{DBRawIterator, ReadOptions};

use super::db;
use super::shared::Shared;
use super::stored::Stored;
use super::topics::Partition;
use crate::broker::{Headers, Message, Offset};
use crate::{Error, Kind, Result};

/// Records behind the end from which a reader counts as catching up: it reads ahead and spares the block cache.
const CATCHING_UP: Offset = 20_000;
const READAHEAD_BYTES: usize = 1 << 20;
/// Bytes of records that one poll hands out; the last record may go beyond.
pub(super) const POLL_BYTES: usize = 8 << 20;

/// A partition and the offset of the next record to read.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) partition: Arc<Partition>,
    pub(super) position: Offset,
}

impl Slot {
    /// A partition from `position` on. Whether the log has that position is seen at the first read.
    pub(super) fn new(partition: Arc<Partition>, position: Offset) -> Result<Self> {
        if position < 0 {
            return Err(Error::bad_request(format!("{partition}: {position} is not an offset")));
        }
        Ok(Self { partition, position })
    }

    /// Whether a read would find something, be it records or that the position is not in the log.
    pub(super) fn has_news(&self) -> bool {
        self.position != self.partition.high() || self.position < self.partition.low()
    }

    /// Records between the position and the end.
    pub(super) fn lag(&self) -> Offset {
        (self.partition.high() - self.position).max(0)
    }

    fn check(&self, high: Offset) -> Result<()> {
        let (low, at) = (self.partition.low(), self.position);
        if (low..=high.max(low)).contains(&at) {
            return Ok(());
        }
        let why = if at < low { "retention removed it" } else { "the log ends before it: was it made anew?" };
        Err(Error::refused(format!(
            "{}: offset {at} is not in the log ({why}); the first offset is {low}, the end is {high}",
            self.partition
        ))
        .advise("choose where to go on: from the first offset there is, or rebuild"))
    }
}

fn read_options(behind: bool) -> ReadOptions {
    let mut options = ReadOptions::default();
    if behind {
        options.set_readahead_size(READAHEAD_BYTES);
        options.fill_cache(false);
    }
    options
}

/// An iterator over the log that shows all partitions as of one moment.
pub(super) struct Cursor<'a> {
    shared: &'a Shared,
    it: DBRawIterator<'a>,
}

impl<'a> Cursor<'a> {
    /// Opens an iterator. The ends that `ends` takes beforehand are consistent with it: if a cleaner removed a record
    /// that the iterator no longer shows, the one that superseded it lies below the end, not behind it.
    pub(super) fn open<T>(shared: &'a Shared, slots: &[Slot], ends: impl Fn() -> T) -> Result<(Self, T)> {
        let behind = slots.iter().any(|s| s.lag() > CATCHING_UP);
        let cleanings = || slots.iter().map(|s| s.partition.cleanings.load(Ordering::Acquire)).sum::<u64>();
        loop {
            let before = cleanings();
            let taken = ends();
            let it = shared.db.raw.raw_iterator_cf_opt(shared.db.log()?, read_options(behind));
            if cleanings() == before {
                return Ok((Self { shared, it }, taken));
            }
        }
    }

    /// Hands at most `max` records from the slot's position on and below `high` to `sink`, as long as there is `room` in
    /// bytes, which it takes from; moves the position. When it ends for lack of records, the position is `high`
    /// afterwards. An error after some records waits for the next call, so that no record is handed out together with an
    /// error.
    pub(super) fn hand_out(
        &mut self,
        slot: &mut Slot,
        high: Offset,
        max: usize,
        room: &mut usize,
        sink: &mut dyn FnMut(Message<'_>),
    ) -> Result<usize> {
        slot.check(high)?;
        let p = slot.partition.clone();
        let mut count = 0;
        self.it.seek(p.key(slot.position));
        while count < max && *room > 0 {
            let (offset, stored) = match self.current(&p, high) {
                Ok(Some(found)) => found,
                Ok(None) => {
                    slot.position = slot.position.max(high);
                    return Ok(count);
                }
                Err(_) if count > 0 => return Ok(count),
                Err(e) => return Err(e),
            };
            sink(Message {
                topic: &p.topic,
                partition: p.index,
                offset,
                timestamp_ms: stored.timestamp_ms,
                key: stored.key,
                payload: stored.payload,
                headers: stored.has_headers().then_some(&stored as &dyn Headers),
            });
            *room = room.saturating_sub(db::to_usize(self.size()).max(1));
            slot.position = offset + 1;
            count += 1;
            self.it.next();
        }
        Ok(count)
    }

    /// Moves to the first record of the partition at or after `offset`.
    pub(super) fn seek(&mut self, partition: &Partition, offset: Offset) {
        self.it.seek(partition.key(offset));
    }

    /// Moves to the next record.
    pub(super) fn next(&mut self) {
        self.it.next();
    }

    /// The record under the iterator, if it belongs to the partition and lies below `high`.
    pub(super) fn current(&self, p: &Partition, high: Offset) -> Result<Option<(Offset, Stored<'_>)>> {
        let Some((key, value)) = self.it.item() else {
            self.it.status().map_err(|e| self.shared.db.error("read", e).within(p))?;
            return Ok(None);
        };
        let Some(offset) = db::offset_in(key, p.topic_id, p.index).filter(|o| *o < high) else { return Ok(None) };
        let stored = Stored::decode(value).ok_or_else(|| {
            Error::new(Kind::Corrupt, format!("{p}: the record at offset {offset} cannot be read"))
                .advise("restore the broker directory from a backup")
        })?;
        Ok(Some((offset, stored)))
    }

    /// Bytes of the record under the iterator, as the books count them.
    pub(super) fn size(&self) -> u64 {
        self.it.value().map_or(0, |v| v.len() as u64)
    }
}
