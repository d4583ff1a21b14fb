//! The index: one Tantivy index per table and instance.
//!
//! The only place that knows tantivy, but for query types that go through it.

mod after;
mod analysis;
mod beginning;
mod changes;
mod collect;
mod conjunction;
mod directory;
mod document;
mod durable;
mod effort;
mod engine;
mod entries;
mod equals;
mod facets;
mod found;
mod fresh;
mod gather;
#[cfg(test)]
mod hammer_tests;
mod highlight;
mod kept;
mod live;
mod mark;
mod masked;
#[cfg(test)]
mod merged_tests;
mod open;
mod order;
mod orders;
mod place;
mod probe;
mod queue;
mod schema;
mod sets;
mod shared;
mod slot;
mod statistics;
mod stop;
mod summary;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;
mod walk;
mod whole;

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::Ordering as Atomic;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;

pub use collect::{Match, Matches};
pub use document::{date, of_change as document_of};
pub use facets::{FacetCounts, FacetValue};
pub use highlight::Highlighter;
pub use mark::Mark;
pub use order::{Ordering, Sort, SortBy};
pub use place::{Place, Rank};
pub use probe::{Probe, Probed};
pub use schema::{Fields, KEY, PARTITION, SCORE, Target};
pub use statistics::Statistics;
pub use stop::Stop;
pub use summary::{Aggregator, Partial, Summed};
pub use view::{ColumnValues, Explainer, View};
pub use whole::Records;

use crate::broker::Offset;
use crate::record::TableDef;
use crate::{Error, Kind, Result};
use engine::Engine;
use queue::{End, Item};
use shared::Shared;

/// The query types that [`crate::query`] builds searches from.
pub mod syntax {
    pub use super::beginning::Beginning;
    pub use super::conjunction::Conjunction;
    pub use tantivy::Term;
    pub use tantivy::query::{
        AllQuery, BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery, ExistsQuery,
        FuzzyTermQuery, Occur, PhrasePrefixQuery, PhraseQuery, Query, QueryParser, QueryParserError, RangeQuery,
        RegexQuery, TermQuery, TermSetQuery,
    };
    pub use tantivy::query_grammar::{
        Delimiter, UserInputAst, UserInputBound, UserInputLeaf, UserInputLiteral, parse_query, parse_query_lenient,
    };
    pub use tantivy::schema::{Field, IndexRecordOption, Type};
    pub use tantivy::tokenizer::TokenStream;

    /// The term of a member of JSON whose value is written so, of the type that the library takes it for.
    pub fn json_term(path: Term, value: &str) -> Term {
        let typed = tantivy::json_utils::convert_to_fast_value_and_append_to_json_term(&path, value, false);
        typed.unwrap_or_else(|| {
            let mut term = path;
            term.append_type_and_str(value);
            term
        })
    }
}

/// How to open a table's index.
#[derive(Clone, Debug)]
pub struct IndexOptions {
    /// Folder of this index.
    pub dir: PathBuf,
    /// Memory of the writer, bytes (at least 15 MB).
    pub writer_memory: usize,
    /// Bytes of records that may wait for the index thread before senders block.
    pub queue_memory: usize,
    /// Bytes of sets of documents, and of documents in the order of columns, that are kept for searches to come.
    pub sets_memory: u64,
    /// Least time between two moments at which changes become visible, when caught up.
    pub interval: Duration,
    /// The most in catch-up.
    pub catch_up_interval: Duration,
    /// Time between two commits to disk, when caught up.
    pub commit_interval: Duration,
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
    /// The stored bytes of the record, or `None` if there is nothing to show and the document must go. A record that turns
    /// out to have nothing to show is taken as `None`.
    pub stored: Option<Arc<[u8]>>,
    /// Whether a document of this key may be in the index already (false saves the delete).
    pub existed: bool,
}

impl IndexChange {
    /// Bytes that it takes while it waits.
    fn size(&self) -> usize {
        self.key.len() + self.stored.as_ref().map_or(0, |stored| stored.len()) + CHANGE_OVERHEAD
    }
}

/// What still waits to be read when a batch is handed over: the index may take its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Events of the batch's partition.
    pub unread: u64,
    /// So long reading them will take at the present pace, with those of the tasks that are worked on together.
    pub left: Duration,
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
    /// What more waits, if anything.
    pub behind: Option<Behind>,
    /// The records of the task, where the index may take them from there instead of change by change. They must hold what this and
    /// earlier batches change, and whoever gives them hands over every later batch of the task.
    pub records: Option<Weak<dyn Records>>,
}

/// Up to where the index shows a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Changelog position.
    pub changelog: Offset,
    /// Source positions by topic.
    pub sources: BTreeMap<Arc<str>, Offset>,
}

impl Covered {
    /// Moves the positions on.
    fn advance(&mut self, changelog: Offset, sources: impl IntoIterator<Item = (Arc<str>, Offset)>) {
        self.changelog = changelog;
        self.sources.extend(sources);
    }
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

/// Called with the positions of every new view, on the index thread.
pub type Observer = Box<dyn Fn(&BTreeMap<u32, Covered>) + Send + Sync>;

/// The size of an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Documents that can be found.
    pub documents: u64,
    /// Segments of the current view.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Commits since it was opened.
    pub commits: u64,
    /// How often since then merged segments were shown that no commit had brought.
    pub merges: u64,
}

/// Fixed cost of a waiting change beside key and record, bytes.
const CHANGE_OVERHEAD: usize = 96;

/// A table's index: owns the index thread.
pub struct TableIndex {
    dir: PathBuf,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for TableIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableIndex").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl TableIndex {
    /// Opens or creates the index and starts its thread. Never trusts what a power loss may have torn. Fails with
    /// [`Kind::Refused`] where another process has it open.
    pub fn open(def: Arc<TableDef>, options: IndexOptions) -> Result<(Arc<TableIndex>, Found)> {
        Self::open_at(def, options, open::boot_id())
    }

    /// As [`Self::open`], on a machine that runs the boot named.
    fn open_at(def: Arc<TableDef>, options: IndexOptions, boot: Option<String>) -> Result<(Arc<TableIndex>, Found)> {
        let name = format!("index-{}", def.name);
        let dir = options.dir.clone();
        let fields = Arc::new(Fields::new(def)?);
        let opened = open::open(&fields, &dir, boot.as_deref())?;
        let found = opened.found.clone();
        let (engine, shared) = Engine::new(fields, options, boot, opened)?;
        let (ours, what) = (Arc::clone(&shared), name.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(engine, &ours, &what))?;
        Ok((Arc::new(TableIndex { dir, shared, thread: Mutex::new(Some(thread)) }), found))
    }

    /// Hands a batch over; blocks while the queue is full. Fails when the index thread has ended, with its reason.
    pub fn submit(&self, batch: IndexBatch) -> Result<()> {
        self.push(batch, false)
    }

    /// As [`Self::submit`], for a batch after which [`Self::flush`] is called.
    pub fn submit_last(&self, batch: IndexBatch) -> Result<()> {
        self.push(batch, true)
    }

    fn push(&self, batch: IndexBatch, wanted: bool) -> Result<()> {
        let size = CHANGE_OVERHEAD + batch.changes.iter().map(IndexChange::size).sum::<usize>();
        self.shared.queue.push(Item::Batch(Box::new(batch), size), size, wanted)
    }

    /// Says that no more input of these partitions waits: what was submitted before is shown at the pace of calm times, whatever its
    /// batch said.
    pub fn calm(&self, partitions: Vec<u32>) -> Result<()> {
        self.shared.queue.push(Item::Calm(partitions), 0, false)
    }

    /// Removes every document of a partition (before a rebuild of that task, or when its files are dropped). Takes its
    /// place in the order of what is submitted; [`Self::flush`] waits for it.
    pub fn clear_partition(&self, partition: u32) -> Result<()> {
        self.shared.queue.push(Item::Clear(partition), 0, false)
    }

    /// Changelog position up to which the last commit covers a partition; `None` if it holds nothing of it.
    pub fn covered(&self, partition: u32) -> Option<Offset> {
        self.view().covered.get(&partition).map(|c| c.changelog)
    }

    /// Waits until everything submitted before is committed and visible (used after repair and rebuild, and by tests).
    pub fn flush(&self) -> Result<()> {
        self.shared.queue.flush()
    }

    /// Commits, syncs, writes the clean-close marker, ends the thread. Does nothing the second time; fails with the
    /// thread's reason where it had failed.
    pub fn close(&self) -> Result<()> {
        self.end(End::Close);
        self.shared.queue.failure().map_or(Ok(()), Err)
    }

    fn end(&self, how: End) {
        self.shared.queue.end(how);
        let Some(thread) = self.thread.lock().take() else { return };
        // The last handle may be dropped by an observer, on the thread itself, which cannot wait for its own end.
        if thread.thread().id() != std::thread::current().id() {
            // Its panics are caught and reported inside.
            let _ = thread.join();
        }
    }

    /// The newest view.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Calls `observer` with the positions of every view from now on, on the index thread: it must be quick, and must
    /// not wait for the index.
    pub fn on_visible(&self, observer: Observer) {
        self.shared.observers.write().push(observer);
    }

    /// Why the index thread has ended, if it failed.
    pub fn failure(&self) -> Option<Error> {
        self.shared.queue.failure()
    }

    /// Size of the index. Reads the folder.
    pub fn stats(&self) -> IndexStats {
        let view = self.view();
        let files = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        IndexStats {
            documents: view.documents(),
            segments: view.segments() as u64,
            bytes: files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum(),
            commits: self.shared.commits.load(Atomic::Relaxed),
            merges: self.shared.merges.load(Atomic::Relaxed),
        }
    }
}

impl Drop for TableIndex {
    /// Ends the thread without a last commit: what was not visible yet is repaired at the next opening.
    fn drop(&mut self) {
        self.end(End::Abandon);
    }
}

/// The index thread, with its failure or panic turned into the reason that everybody reads.
fn run(engine: Engine, shared: &Shared, name: &str) {
    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| engine.run()));
    match ended {
        Ok(Ok(())) => shared.queue.closed(name),
        Ok(Err(e)) => {
            tracing::error!("{name} ends: {e}");
            shared.queue.fail(e.kind(), format!("{name} has ended: {e}"));
        }
        Err(_) => shared.queue.fail(Kind::Internal, format!("{name} has ended by a panic")),
    }
}
