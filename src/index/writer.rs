//! The index thread: takes batches, keeps the last change of every key, and makes them visible by soft commits.
//!
//! Owns the writer of the index and the decision when to commit. Does not own what a view is used for.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::query::TermSetQuery;
use tantivy::{Index, IndexReader, IndexWriter, ReloadPolicy, TantivyDocument, TantivyError, Term};

use super::open::{self, Opened, Payload};
use super::queue::{End, Item, Next, Queue};
use super::schema::Fields;
use super::view::View;
use super::{Covered, IndexBatch, IndexChange, IndexOptions, Observer, document};
use crate::record::codec;
use crate::{Error, Result, clock, fault};

/// From so many keys on one set query deletes them faster than a query each.
const MANY_DELETES: usize = 4;
/// Segments beyond which commits wait for merges.
const MOST_SEGMENTS: usize = 64;
/// How long a commit waits for merges at most.
const MERGE_PATIENCE: Duration = Duration::from_secs(10);
/// What the writer of the index accepts as memory, bytes.
const WRITER_MEMORY: std::ops::RangeInclusive<usize> = 15_000_000..=4_000_000_000;

/// What the index thread shares with those who use the index.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) view: ArcSwap<View>,
    pub(super) observers: RwLock<Vec<Observer>>,
    pub(super) commits: AtomicU64,
}

struct Pending {
    partition: u32,
    change: IndexChange,
}

/// What the index thread owns.
pub(super) struct Engine {
    shared: Arc<Shared>,
    fields: Arc<Fields>,
    options: IndexOptions,
    boot: Option<String>,
    index: Index,
    reader: IndexReader,
    writer: IndexWriter,
    _lock: File,
    pending: FxHashMap<Arc<[u8]>, Pending>,
    pending_bytes: usize,
    covered: BTreeMap<u32, Covered>,
    /// Timestamps of what became applied since the last commit.
    oldest: Vec<i64>,
    /// Number of the last item taken.
    taken: u64,
    /// Documents were added or deleted since the last commit.
    changed: bool,
    /// Positions have moved since the last view.
    moved: bool,
    /// The positions on disk are older than those in memory.
    unwritten: bool,
    /// There are commits that no full sync has covered.
    unsynced: bool,
    /// Least time between the starts of two commits.
    gap: Duration,
    generation: u64,
    committed_at: Option<Instant>,
    synced_at: Instant,
}

impl Engine {
    /// Sets the writer and the first view up.
    pub(super) fn new(
        fields: Arc<Fields>,
        options: IndexOptions,
        boot: Option<String>,
        opened: Opened,
    ) -> Result<(Self, Arc<Shared>)> {
        let failed = |e| open::failed(&options.dir, e);
        let writer = writer(&opened.index, options.writer_memory).map_err(failed)?;
        use_first_stamp(&writer, &fields);
        // A commit that a kill cut short leaves files behind whose names carry its stamp, and stamps are given out again.
        writer.garbage_collect_files().wait().map_err(failed)?;
        let reader: IndexReader =
            opened.index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)?;
        let view = View::new(&reader, &opened.covered, &fields, 0);
        let shared = Arc::new(Shared {
            queue: Queue::new(options.queue_memory),
            view: ArcSwap::from_pointee(view),
            observers: RwLock::default(),
            commits: AtomicU64::new(0),
        });
        let engine = Self {
            shared: Arc::clone(&shared),
            fields,
            boot,
            index: opened.index,
            reader,
            writer,
            _lock: opened.lock,
            pending: FxHashMap::default(),
            pending_bytes: 0,
            covered: opened.covered,
            oldest: Vec::new(),
            taken: 0,
            changed: false,
            moved: false,
            unwritten: false,
            unsynced: false,
            gap: options.interval,
            generation: 0,
            committed_at: None,
            synced_at: Instant::now(),
            options,
        };
        Ok((engine, shared))
    }

    /// Works until it is asked to end, or fails.
    pub(super) fn run(mut self) -> Result<()> {
        loop {
            match self.shared.queue.next(self.deadline()) {
                Next::Items(items, last) => {
                    self.taken = last;
                    for item in items {
                        self.take(item)?;
                    }
                }
                Next::Look => {}
                Next::End(End::Abandon) => return Ok(()),
                Next::End(End::Close) => return self.finish(),
            }
            if self.shared.queue.is_short() {
                self.write()?;
            }
            if self.is_due() {
                self.commit()?;
            }
            if self.unsynced && self.synced_at.elapsed() >= self.options.sync_interval {
                self.sync()?;
            }
        }
    }

    fn is_dirty(&self) -> bool {
        self.changed || self.moved || !self.pending.is_empty()
    }

    /// When the next commit may start, counted from the start of the last one.
    fn commit_at(&self) -> Option<Instant> {
        self.committed_at.map(|at| at + self.gap)
    }

    fn is_due(&self) -> bool {
        self.shared.queue.is_wanted() || (self.is_dirty() && self.commit_at().is_none_or(|at| Instant::now() >= at))
    }

    /// Until when nothing has to be done if nothing comes in.
    fn deadline(&self) -> Option<Instant> {
        let commit = self.is_dirty().then(|| self.commit_at().unwrap_or_else(Instant::now));
        let sync = self.unsynced.then(|| self.synced_at + self.options.sync_interval);
        [commit, sync].into_iter().flatten().min()
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Batch(batch, size) => self.take_batch(*batch, size),
            Item::Clear(partition) => self.clear(partition),
        }
    }

    fn take_batch(&mut self, batch: IndexBatch, size: usize) -> Result<()> {
        self.pending_bytes += size;
        self.gap = self.gap_after(&batch);
        let mut replaced = 0;
        for change in batch.changes {
            match self.pending.entry(change.key.clone()) {
                Entry::Vacant(place) => drop(place.insert(Pending { partition: batch.partition, change })),
                Entry::Occupied(mut place) => {
                    let held = place.get_mut();
                    replaced += held.change.size();
                    let existed = held.change.existed;
                    *held = Pending { partition: batch.partition, change: IndexChange { existed, ..change } };
                }
            }
        }
        if replaced > 0 {
            self.pending_bytes -= replaced;
            self.shared.queue.release(replaced);
        }
        let covered = self.covered.entry(batch.partition).or_default();
        covered.changelog = batch.changelog;
        covered.sources.extend(batch.sources);
        self.oldest.extend(batch.oldest_ms);
        self.moved = true;
        if self.pending_bytes > self.options.queue_memory / 2 {
            self.write()?;
        }
        Ok(())
    }

    /// The least time between the starts of two commits from now on. While input waits, the index follows the lag: a quarter
    /// of it more is not felt, and what is written less often is coalesced better.
    fn gap_after(&self, batch: &IndexBatch) -> Duration {
        let (least, most) = (self.options.interval, self.options.catch_up_interval);
        match (batch.catching_up, batch.oldest_ms) {
            (false, _) => least,
            (true, None) => most,
            (true, Some(oldest)) => {
                let lag = u64::try_from(clock::now_ms().saturating_sub(oldest)).unwrap_or(0);
                Duration::from_millis(lag / 4).clamp(least, most)
            }
        }
    }

    fn clear(&mut self, partition: u32) -> Result<()> {
        self.write()?;
        self.writer.delete_term(Term::from_field_u64(self.fields.partition, u64::from(partition)));
        self.covered.remove(&partition);
        self.changed = true;
        self.moved = true;
        Ok(())
    }

    /// Hands the pending changes to the writer: first the deletes of all keys that may be there, then the documents.
    fn write(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let old = pending.iter().filter(|(_, p)| p.change.existed);
        let terms: Vec<Term> = old.filter_map(|(key, _)| document::key_term(&self.fields, key)).collect();
        self.changed |= !terms.is_empty();
        if terms.len() >= MANY_DELETES {
            self.writer.delete_query(Box::new(TermSetQuery::new(terms))).map_err(|e| self.failed(e))?;
        } else {
            for term in terms {
                self.writer.delete_term(term);
            }
        }
        for Pending { partition, change } in pending.into_values() {
            if let Some(document) = self.document(partition, &change)? {
                self.writer.add_document(document).map_err(|e| self.failed(e))?;
                self.changed = true;
            }
        }
        self.shared.queue.release(std::mem::take(&mut self.pending_bytes));
        Ok(())
    }

    /// The document of a change, if there is anything to show that can be searched.
    fn document(&self, partition: u32, change: &IndexChange) -> Result<Option<TantivyDocument>> {
        let Some(stored) = &change.stored else { return Ok(None) };
        let record = codec::decode(stored)
            .map_err(|e| e.within(format_args!("record {:?}", String::from_utf8_lossy(&change.key))))?;
        if !record.is_visible() {
            return Ok(None);
        }
        let document = document::build(&self.fields, partition, &change.key, &record);
        if document.is_none() {
            let (table, bytes) = (&self.fields.def.name, change.key.len());
            tracing::warn!(%table, partition, bytes, "a key is too long to be searched; its record can be read by key only");
        }
        Ok(document)
    }

    /// Makes everything taken so far visible.
    fn commit(&mut self) -> Result<()> {
        let started = Instant::now();
        self.write()?;
        let anything = self.changed || self.moved;
        if self.changed {
            self.committed_at = Some(started);
            self.commit_changes()?;
            self.options.metrics.index_commit.observe(started.elapsed().as_secs_f64());
            self.options.metrics.index_commits.inc();
            self.shared.commits.fetch_add(1, Atomic::Relaxed);
        } else if self.moved {
            // Without new documents only the positions in memory move: what is on disk covers less, and that is true.
            self.unwritten = true;
        }
        if anything {
            self.publish();
        }
        self.shared.queue.seen(self.taken);
        self.wait_for_merges()
    }

    fn commit_changes(&mut self) -> Result<()> {
        let payload = Payload::new(self.boot.as_deref(), &self.fields, &self.covered).text()?;
        let dir = &self.options.dir;
        let failed = |e| open::failed(dir, e);
        fault::point("index.1_before_commit");
        let mut prepared = self.writer.prepare_commit().map_err(failed)?;
        fault::point("index.2_prepared");
        prepared.set_payload(&payload);
        prepared.commit().map_err(failed)?;
        fault::point("index.3_committed");
        self.reader.reload().map_err(failed)?;
        self.changed = false;
        self.unwritten = false;
        self.unsynced = true;
        Ok(())
    }

    fn publish(&mut self) {
        self.generation += 1;
        let view = Arc::new(View::new(&self.reader, &self.covered, &self.fields, self.generation));
        self.shared.view.store(view);
        fault::point("index.4_published");
        self.moved = false;
        for observer in self.shared.observers.read().iter() {
            observer(&self.covered);
        }
        let now = clock::now_ms();
        for oldest in self.oldest.drain(..) {
            #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds")]
            self.options.metrics.visible_after.observe((now - oldest).max(0) as f64 / 1000.0);
        }
    }

    /// Holds commits back while merges are far behind; the queue fills and slows those who submit.
    fn wait_for_merges(&self) -> Result<()> {
        if self.shared.view.load().segments() <= MOST_SEGMENTS {
            return Ok(());
        }
        let started = Instant::now();
        while self.index.searchable_segment_ids().map_err(|e| self.failed(e))?.len() > MOST_SEGMENTS {
            if started.elapsed() > MERGE_PATIENCE {
                tracing::warn!(table = %self.fields.def.name, "merges of the index are far behind");
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.synced_at = Instant::now();
        self.unsynced = !open::sync(&self.index, &self.options.dir)?;
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.commit()?;
        if self.unwritten {
            self.commit_changes()?;
        }
        // Ends the writer's threads first: no merge changes the files once the marker is written.
        let Self { writer, index, options, .. } = self;
        drop(writer);
        while !open::sync(&index, &options.dir)? {}
        Ok(())
    }

    fn failed(&self, e: TantivyError) -> Error {
        open::failed(&self.options.dir, e)
    }
}

/// The first operation of a new writer gets the stamp of the last commit once more, and a merge that starts before the next
/// commit takes a delete of that stamp for done in those segments whose deletes carry the stamp: their old documents would
/// come back as twins of the new ones. A delete of nothing takes the stamp.
fn use_first_stamp(writer: &IndexWriter, fields: &Fields) {
    // Partitions are numbers of 32 bits.
    writer.delete_term(Term::from_field_u64(fields.partition, u64::MAX));
}

fn writer(index: &Index, memory: usize) -> tantivy::Result<IndexWriter> {
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(memory.clamp(*WRITER_MEMORY.start(), *WRITER_MEMORY.end()))
        .build();
    let writer: IndexWriter = index.writer_with_options(options)?;
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(8);
    policy.set_del_docs_ratio_before_merge(0.3);
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}
