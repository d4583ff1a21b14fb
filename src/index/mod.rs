//! The index: one Tantivy index per table and instance.
//!
//! The only place that knows tantivy, but for query types that go through it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::broker::Offset;
use crate::record::{Record, TableDef};

/// How to open a table's index.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Folder of this index.
    pub dir: PathBuf,
    /// Memory of the writer, bytes (at least 15 MB).
    pub writer_memory: usize,
    /// Bytes of records that may wait for the index thread before senders block.
    pub queue_memory: usize,
    /// Least time between the starts of two commits when caught up.
    pub interval: Duration,
    /// The same in catch-up.
    pub catch_up_interval: Duration,
    /// Time between full syncs to disk.
    pub sync_interval: Duration,
    /// Counters of the table.
    pub metrics: Arc<crate::metrics::TableMetrics>,
}

/// One key's new state for the index.
#[derive(Clone, Debug)]
pub struct IndexChange {
    /// Key.
    pub key: Arc<[u8]>,
    /// The record, or `None` if there is nothing to show and the document must go.
    pub record: Option<Arc<Record>>,
    /// Whether a document of this key may be in the index already (false saves the delete).
    pub existed: bool,
}

/// What an index commit must cover: the changes of one committed batch of one task.
#[derive(Clone, Debug)]
pub struct IndexBatch {
    /// Partition of the task.
    pub partition: u32,
    /// Changelog position after this batch.
    pub changelog: Offset,
    /// Source positions after this batch, by topic.
    pub sources: Vec<(Arc<str>, Offset)>,
    /// Changes in order.
    pub changes: Vec<IndexChange>,
    /// Timestamp of the oldest event in it, milliseconds, for the freshness histogram; `None` for repairs.
    pub oldest_ms: Option<i64>,
    /// Whether more input waits: the index may take its time.
    pub catching_up: bool,
}

/// Up to where the index shows a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Changelog position.
    pub changelog: Offset,
    /// Source positions by topic.
    pub sources: BTreeMap<Arc<str>, Offset>,
}

/// What was found on disk when an index was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The commits on disk can be trusted up to these changelog positions, by partition.
    Usable(BTreeMap<u32, Offset>),
    /// Nothing usable (new, other schema, unclean after a reboot, damaged); the index is empty now and every record must
    /// be fed again. Says why.
    Empty(String),
}

/// A table's index: owns the index thread.
#[derive(Debug)]
pub struct TableIndex {}

impl TableIndex {
    /// Opens or creates the index and starts its thread. Never trusts what a power loss may have torn.
    pub fn open(_def: Arc<TableDef>, _options: IndexOptions) -> Result<(Arc<TableIndex>, Found)> {
        todo!()
    }
    /// Hands a batch over; blocks while the queue is full. Fails when the index thread has ended, with its reason.
    pub fn submit(&self, _batch: IndexBatch) -> Result<()> {
        todo!()
    }
    /// Removes every document of a partition (before a rebuild of that task, or when its files are dropped).
    pub fn clear_partition(&self, _partition: u32) -> Result<()> {
        todo!()
    }
    /// Changelog position up to which the last commit covers a partition; `None` if it holds nothing of it.
    pub fn covered(&self, _partition: u32) -> Option<Offset> {
        todo!()
    }
    /// Waits until everything submitted before is visible (used after repair and rebuild, and by tests).
    pub fn flush(&self) -> Result<()> {
        todo!()
    }
    /// Commits, syncs, writes the clean-close marker, ends the thread.
    pub fn close(&self) -> Result<()> {
        todo!()
    }
}
