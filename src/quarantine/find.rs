//! Finding entries: the newest first, or in the order of their offsets. Every call looks at a bounded number of entries and says
//! how many; a cursor says where to go on.

use std::time::{Duration, Instant};

use super::entry::{Entry, EntryId};
use crate::broker::{Broker, Offset, Progress, TopicPartition, Watermarks};
use crate::{Error, Kind, Result};

/// Most entries that one call looks at.
const LOOK_MOST: u64 = 20_000;
/// Most bytes of entries that one call looks at; the block under way is finished.
const LOOK_BYTES: usize = 64 << 20;
/// Bytes of entries that one call may hold.
const HOLD_BYTES: usize = 16 << 20;
/// Entries of the first block that is read of a partition; blocks grow while they are small in bytes.
const BLOCK: i64 = 200;
/// Entries of the largest block.
const BLOCK_MOST: i64 = 5_000;
/// Bytes of a block beyond which blocks do not grow.
const BLOCK_BYTES: usize = 4 << 20;
/// Most of a payload or key that a list shows, bytes.
const PREVIEW: usize = 1_000;
/// Records taken from a reader at a time.
const READ_MAX: usize = 500;
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How long a block may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An entry, where and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it stands.
    pub id: EntryId,
    /// When it was written, milliseconds since the epoch.
    pub at_ms: i64,
    /// Bytes of the payload that is kept; a list holds only its start.
    pub payload_bytes: usize,
    /// The entry.
    pub entry: Entry,
}

impl Found {
    fn size(&self) -> usize {
        let of = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let headers: usize = self.entry.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        of(&self.entry.key) + of(&self.entry.payload) + headers + self.entry.error.len() + 512
    }

    fn preview(mut self) -> Self {
        let parts = [&mut self.entry.key, &mut self.entry.payload];
        parts.into_iter().flatten().for_each(|bytes| bytes.truncate(PREVIEW));
        self
    }
}

/// Which entries are meant; what is not given holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Table.
    pub table: Option<String>,
    /// Reason code.
    pub reason: Option<String>,
    /// Written at this time or later, milliseconds since the epoch.
    pub from_ms: Option<i64>,
    /// Written before this time, milliseconds since the epoch.
    pub to_ms: Option<i64>,
}

impl Filter {
    /// Whether it holds for every entry.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether an entry is meant.
    pub fn takes(&self, found: &Found) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        is(&self.table, &found.entry.table)
            && is(&self.reason, &found.entry.reason)
            && self.from_ms.is_none_or(|from| found.at_ms >= from)
            && self.to_ms.is_none_or(|to| found.at_ms < to)
    }
}

/// What a call found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page<C> {
    /// The entries.
    pub found: Vec<Found>,
    /// Entries looked at.
    pub looked_at: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<C>,
}

/// A quarantine topic.
#[derive(Clone, Copy, Debug)]
pub struct Topic<'a> {
    /// Broker.
    pub broker: &'a dyn Broker,
    /// Name.
    pub name: &'a str,
    /// Partitions.
    pub partitions: u32,
}

/// By partition, the offset below which to go on.
pub type Below = Vec<Offset>;

/// The entries of one partition, read block by block from its end.
struct Lane {
    tp: TopicPartition,
    low: Offset,
    /// Entries from here on were looked at.
    reached: Offset,
    /// Those of them that are meant and not taken yet, ascending.
    held: Vec<Found>,
    block: i64,
}

/// What one block held.
#[derive(Default)]
struct Block {
    found: Vec<Found>,
    looked_at: u64,
    bytes: usize,
    newest_ms: i64,
}

impl Topic<'_> {
    /// The newest entries that `filter` takes, at most `limit`, below `below` where it is given. By the time they were written;
    /// of a partition by offset. Only the start of key and payload is kept.
    pub fn newest(&self, filter: &Filter, below: Option<&Below>, limit: usize) -> Result<Page<Below>> {
        let mut lanes = self.lanes(below)?;
        let (mut page, mut bytes) = (Page::default(), 0);
        while page.found.len() < limit {
            if let Some(lane) = lanes.iter_mut().find(|lane| lane.held.is_empty() && lane.reached > lane.low) {
                if page.looked_at >= LOOK_MOST || bytes >= LOOK_BYTES {
                    break;
                }
                let block = self.load(lane, filter)?;
                page.looked_at += block.looked_at;
                bytes += block.bytes;
                continue;
            }
            let newest = lanes.iter_mut().filter(|lane| !lane.held.is_empty()).max_by_key(|lane| lane.head());
            let Some(found) = newest.and_then(|lane| lane.held.pop()) else { break };
            page.found.push(found);
        }
        let more = lanes.iter().any(|lane| lane.left_above() > lane.low);
        page.next = more.then(|| lanes.iter().map(Lane::left_above).collect());
        Ok(page)
    }

    fn lanes(&self, below: Option<&Below>) -> Result<Vec<Lane>> {
        let lane = |partition: u32| {
            let tp = TopicPartition::new(self.name, partition);
            let log = self.broker.watermarks(&tp)?;
            let asked = below.and_then(|b| b.get(partition as usize).copied()).unwrap_or(Offset::MAX);
            Ok(Lane { tp, low: log.low, reached: asked.min(log.stable), held: Vec::new(), block: BLOCK })
        };
        (0..self.partitions).map(lane).collect()
    }

    /// Reads the block before what a lane has reached.
    fn load(&self, lane: &mut Lane, filter: &Filter) -> Result<Block> {
        let from = (lane.reached - lane.block).max(lane.low);
        let mut block = Block { newest_ms: i64::MIN, ..Block::default() };
        self.read(&lane.tp, from, lane.reached, &mut |found| {
            block.looked_at += 1;
            block.newest_ms = block.newest_ms.max(found.at_ms);
            block.bytes += found.size();
            if filter.takes(&found) {
                block.found.push(found.preview());
            }
            true
        })?;
        lane.reached = from;
        if block.looked_at > 0 && filter.from_ms.is_some_and(|from| block.newest_ms < from) {
            lane.reached = lane.low;
        }
        lane.block = if block.bytes < BLOCK_BYTES { (lane.block * 2).min(BLOCK_MOST) } else { (lane.block / 2).max(1) };
        lane.held = std::mem::take(&mut block.found);
        Ok(block)
    }

    /// The entries from `from` on that `wanted` takes, whole, partition after partition, at most `limit`.
    pub fn oldest(&self, from: EntryId, limit: usize, wanted: &mut dyn FnMut(&Found) -> bool) -> Result<Page<EntryId>> {
        let (mut page, mut held, mut looked) = (Page::default(), 0, 0);
        for partition in from.partition..self.partitions {
            let tp = TopicPartition::new(self.name, partition);
            let log = self.broker.watermarks(&tp)?;
            let start = if partition == from.partition { from.offset.max(log.low) } else { log.low };
            let mut stopped = None;
            self.read(&tp, start, log.stable, &mut |found| {
                if page.found.len() >= limit
                    || held >= HOLD_BYTES
                    || page.looked_at >= LOOK_MOST
                    || looked >= LOOK_BYTES
                {
                    stopped = Some(found.id);
                    return false;
                }
                page.looked_at += 1;
                looked += found.size();
                if wanted(&found) {
                    held += found.size();
                    page.found.push(found);
                }
                true
            })?;
            if stopped.is_some() {
                page.next = stopped;
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// One entry, whole.
    pub fn get(&self, id: EntryId) -> Result<Option<Found>> {
        if id.partition >= self.partitions {
            return Ok(None);
        }
        let tp = TopicPartition::new(self.name, id.partition);
        let Watermarks { low, stable, .. } = self.broker.watermarks(&tp)?;
        if !(low..stable).contains(&id.offset) {
            return Ok(None);
        }
        let mut one = None;
        self.read(&tp, id.offset, id.offset + 1, &mut |found| {
            one = Some(found);
            false
        })?;
        Ok(one)
    }

    /// Hands the entries from `from` on and below `to` to `sink` until it says `false`. What is no entry is passed over.
    fn read(&self, tp: &TopicPartition, from: Offset, to: Offset, sink: &mut dyn FnMut(Found) -> bool) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        let mut reader = self.broker.reader(tp, from)?;
        let until = Instant::now() + PATIENCE;
        let mut done = false;
        while Instant::now() < until {
            let most = usize::try_from(to - from).unwrap_or(READ_MAX).min(READ_MAX);
            let progress = reader.read(most, READ_WAIT, &mut |m| {
                done |= m.offset >= to;
                if done {
                    return;
                }
                let id = EntryId { partition: m.partition, offset: m.offset };
                let payload_bytes = m.payload.map_or(0, <[u8]>::len);
                let found = Entry::read(&m).map(|entry| Found { id, at_ms: m.timestamp_ms, payload_bytes, entry });
                done = found.is_some_and(|found| !sink(found)) || m.offset + 1 >= to;
            })?;
            if done || matches!(progress, Progress::End { to: at } if at >= to) {
                return Ok(());
            }
        }
        Err(Error::new(Kind::BrokerAway, format!("{tp} could not be read from offset {from} to {to}")))
    }
}

impl Lane {
    /// What decides whose turn it is: the time of its newest entry.
    fn head(&self) -> (i64, u32) {
        (self.held.last().map_or(i64::MIN, |found| found.at_ms), self.tp.partition)
    }

    /// The offset below which everything is left to look at or to take.
    fn left_above(&self) -> Offset {
        self.held.last().map_or(self.reached, |found| found.id.offset + 1)
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
