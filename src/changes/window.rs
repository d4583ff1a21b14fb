//! The newest changes of a table, shared by all its readers: a row of chunks, bounded in bytes.
//!
//! Nothing is copied for a reader: it has a place in the row, and looks at the same chunks as the others. The row goes on without
//! waiting for anybody; a reader whose place it has left behind is told so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::broker::{Message, Offset};
use crate::index::{Probe, View};
use crate::record::{POSITION_KEY, RESERVED_PREFIX, Shown, TableDef, codec};
use crate::{Error, Result};

/// What a change takes beside its key and its record, bytes.
const OVERHEAD: usize = 160;
/// A chunk that takes so many bytes, or has read so many records, is full.
const FULL: usize = 1 << 20;
const MOST: usize = 500;
/// Records that are read before their size is known.
const FEW: usize = 16;

/// One committed change of one key.
#[derive(Debug)]
pub struct Change {
    /// Partition.
    pub partition: u32,
    /// Offset in the changelog.
    pub offset: Offset,
    /// When the broker got it, milliseconds since the epoch.
    pub time_ms: i64,
    /// Key.
    pub key: Box<[u8]>,
    /// Stored bytes; `None` if nothing is kept.
    stored: Option<Box<[u8]>>,
    /// The whole record as JSON, once somebody has asked; `None` in it if there is nothing to show.
    whole: OnceLock<Option<Box<str>>>,
}

impl Change {
    /// A change.
    pub fn new(partition: u32, offset: Offset, time_ms: i64, key: &[u8], stored: Option<&[u8]>) -> Self {
        let stored = stored.map(Box::from);
        Self { partition, offset, time_ms, key: key.into(), stored, whole: OnceLock::new() }
    }

    /// The record as JSON, `fields` of it or all; `None` if there is nothing to show. All of it is written once for all readers.
    pub fn shown(&self, def: &TableDef, fields: Option<&[String]>) -> Result<Option<String>> {
        if let (None, Some(whole)) = (fields, self.whole.get()) {
            return Ok(whole.as_deref().map(str::to_owned));
        }
        let Some(stored) = &self.stored else { return Ok(None) };
        let shown = Shown::of(def, &self.key, &codec::decode(stored)?, fields);
        let json = shown.map(|shown| serde_json::to_string(&shown)).transpose();
        let json = json.map_err(|e| Error::internal("a record cannot be written").because(e))?;
        if fields.is_none() {
            // Another reader may have been faster.
            let _ = self.whole.set(json.as_deref().map(Box::from));
        }
        Ok(json)
    }

    fn size(&self) -> usize {
        // Counted twice, for it may be written as JSON.
        OVERHEAD + self.key.len() + 2 * self.stored.as_ref().map_or(0, |s| s.len())
    }
}

/// Some changes, in the order of their partitions' logs.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The changes.
    pub changes: Vec<Change>,
    /// How far it brings each partition.
    pub next: BTreeMap<u32, Offset>,
    /// When it was read at the end of the changelog, milliseconds since the epoch.
    pub read_ms: i64,
    /// Records read into it, and the bytes that their changes take.
    read: usize,
    bytes: usize,
    probe: OnceLock<Result<Arc<Probe>>>,
}

impl Chunk {
    /// The changes as an index of their own. Made once, for whoever asks first.
    pub fn probe(&self, view: &View) -> Result<Arc<Probe>> {
        let records = || self.changes.iter().map(|c| Some((c.partition, &*c.key, c.stored.as_deref()?)));
        match self.probe.get_or_init(|| view.probe(records()).map(Arc::new)) {
            Ok(probe) => Ok(Arc::clone(probe)),
            Err(e) => Err(Error::new(e.kind(), e.to_string())),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Takes a record of the changelog in; what is not a user's only moves the position.
    pub fn take(&mut self, m: &Message<'_>) {
        self.read += 1;
        self.next.insert(m.partition, m.offset + 1);
        let Some(key) = m.key.filter(|key| *key != POSITION_KEY && !key.starts_with(RESERVED_PREFIX)) else { return };
        let change = Change::new(m.partition, m.offset, m.timestamp_ms, key, m.payload);
        self.bytes += change.size();
        self.changes.push(change);
    }

    /// How many records more it should take at a time, by the size of those that it has: large ones are not to add up. `None`: it
    /// is full.
    pub(super) fn room(&self) -> Option<usize> {
        if self.read >= MOST || self.bytes >= FULL {
            return None;
        }
        let each = self.bytes.checked_div(self.read).map(|each| each.max(1));
        Some(each.map_or(FEW, |each| ((FULL - self.bytes) / each).clamp(1, MOST - self.read)))
    }
}

/// Why a window goes no further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The log has lost what was to be read next.
    Gap(String),
    /// The process stops.
    Stopping,
    /// It cannot be read.
    Failed(String),
}

/// What stands at a place of the row.
#[derive(Debug)]
pub enum Look {
    /// Changes.
    Chunk(Arc<Chunk>),
    /// Nothing yet.
    Nothing,
    /// The row has left the place behind.
    Passed,
    /// Nothing any more.
    Ended(Ended),
}

#[derive(Debug)]
struct Row {
    chunks: VecDeque<Arc<Chunk>>,
    /// Place of the first chunk.
    first: u64,
    bytes: usize,
    /// Where the first chunk begins, by partition.
    from: BTreeMap<u32, Offset>,
    ended: Option<Ended>,
}

/// The newest changes of a table.
#[derive(Debug)]
pub struct Window {
    row: Mutex<Row>,
    /// Place behind the last chunk; one more at the end.
    news: watch::Sender<u64>,
    most: usize,
}

impl Window {
    /// A row that begins at these positions and holds about `most` bytes.
    pub fn new(from: BTreeMap<u32, Offset>, most: usize) -> Self {
        let row = Row { chunks: VecDeque::new(), first: 0, bytes: 0, from, ended: None };
        Self { row: Mutex::new(row), news: watch::Sender::new(0), most }
    }

    /// Appends changes, and lets go of the oldest ones for them.
    pub fn push(&self, chunk: Chunk) {
        let mut row = self.row.lock();
        row.bytes += chunk.bytes;
        row.chunks.push_back(Arc::new(chunk));
        // The newest chunk stays, whatever its size.
        while row.bytes > self.most && row.chunks.len() > 1 {
            let Some(gone) = row.chunks.pop_front() else { break };
            row.first += 1;
            row.bytes = row.bytes.saturating_sub(gone.bytes);
            row.from.extend(&gone.next);
        }
        let next = row.first + row.chunks.len() as u64;
        drop(row);
        self.news.send_replace(next);
    }

    /// Says that nothing more will come.
    pub fn end(&self, why: Ended) {
        self.row.lock().ended.get_or_insert(why);
        self.news.send_modify(|next| *next += 1);
    }

    /// Whether nothing more will come.
    pub fn is_ended(&self) -> bool {
        self.row.lock().ended.is_some()
    }

    /// The place of the first chunk, if nothing is missing between these positions and it.
    pub fn join(&self, at: &BTreeMap<u32, Offset>) -> Option<u64> {
        let row = self.row.lock();
        at.iter().all(|(p, next)| row.from.get(p).is_some_and(|from| next >= from)).then_some(row.first)
    }

    /// Where the row begins in a partition.
    pub fn from(&self, partition: u32) -> Offset {
        self.row.lock().from.get(&partition).copied().unwrap_or(Offset::MAX)
    }

    /// What stands at a place.
    pub fn look(&self, place: u64) -> Look {
        let row = self.row.lock();
        let Some(at) = place.checked_sub(row.first) else { return Look::Passed };
        match (usize::try_from(at).ok().and_then(|at| row.chunks.get(at)), &row.ended) {
            (Some(chunk), _) => Look::Chunk(Arc::clone(chunk)),
            (None, Some(why)) => Look::Ended(why.clone()),
            (None, None) => Look::Nothing,
        }
    }

    /// Wakes whenever something comes.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
