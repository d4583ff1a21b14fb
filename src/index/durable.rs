//! The index on disk: a thread that owns the writer of the search library, and commits when it is told to.
//!
//! Does not own what is shown: it hands the segments of each commit back, and the index thread swaps them in.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};
use tantivy::directory::{Directory, META_LOCK};
use tantivy::index::SegmentId;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy, MergeCandidate, MergePolicy};
use tantivy::query::TermSetQuery;
use tantivy::{Index, IndexWriter, SegmentMeta, TantivyError, Term};

use super::changes::{Changed, Changes};
use super::schema::Fields;
use super::shared::Shared;
use super::slot::Slot;
use super::whole::Records;
use super::{IndexChange, IndexOptions, document, open};
use crate::broker::Offset;
use crate::priority::Behind;
use crate::{Error, Kind, Result, fault};

/// From so many keys on one set query deletes them faster than a query each.
const MANY_DELETES: usize = 4;
/// Segments beyond which commits wait for merges.
const MOST_SEGMENTS: usize = 64;
/// How long a commit waits for merges at most.
const MERGE_PATIENCE: Duration = Duration::from_secs(10);
/// What a thread of the index's writer accepts as memory, bytes.
const WRITER_MEMORY: std::ops::RangeInclusive<usize> = 15_000_000..=4_000_000_000;
/// Threads that build segments, where there is memory for them. One commit makes as many segments; but in catch-up, when the
/// commit thread has nothing left to do, one thread alone would take twice as long to index what was coalesced.
const WORKERS: usize = 2;
/// Documents between two looks whether anybody still wants them.
const LOOK_UP_EVERY: u64 = 1_024;
/// Orders that may wait.
const ORDERS: usize = 4;

/// What the thread is told to do.
enum Order {
    /// Bring these in.
    Write(Changes),
    /// Remove the documents of this partition.
    Clear(u32),
    /// Make the documents of these partitions anew from their records.
    TakeWhole(Vec<(u32, Arc<dyn Records>)>),
    /// Commit with this payload, and hand the segments back.
    Commit(String),
    /// Hand the segments of the last commit back if they are others by now.
    LookForMerged,
    /// Bring everything to the disk for good, and end.
    Finish,
}

/// A commit that is done.
pub(super) struct Committed {
    /// Its segments.
    pub(super) slots: Vec<Slot>,
    /// Changelog positions as of which partitions were taken whole.
    pub(super) taken: BTreeMap<u32, Offset>,
}

/// What the thread has done.
pub(super) enum Done {
    /// The commit that was begun.
    Commit(Committed),
    /// It has looked for merged segments; these are the segments of the last commit now, if they are not those it handed back before.
    Look(Option<Vec<Slot>>),
}

/// Handle of the thread. Dropping it ends the thread without a last commit.
pub(super) struct Durable {
    orders: Option<Sender<Order>>,
    replies: Receiver<Result<Done>>,
    thread: Option<JoinHandle<()>>,
}

impl Durable {
    /// Starts the thread over an index that is open.
    pub(super) fn start(index: Index, fields: Arc<Fields>, options: IndexOptions, shared: Arc<Shared>) -> Result<Self> {
        let failed = |e| open::failed(&options.dir, e);
        let policy = Telling { policy: merge_policy(), shared: Arc::clone(&shared) };
        let writer = behind_others(|| writer(&index, options.writer_memory, policy))?.map_err(failed)?;
        let handed = index.searchable_segment_ids().map_err(failed)?;
        use_first_stamp(&writer, &fields);
        // A commit that a kill cut short leaves files behind whose names carry its stamp, and stamps are given out again.
        writer.garbage_collect_files().wait().map_err(failed)?;
        let (orders, todo) = bounded(ORDERS);
        // One reply to a commit, one to a look, and one that tells the end.
        let (answer, replies) = bounded(3);
        let name = format!("writer-{}", fields.def.name);
        let (taken, synced_at) = (BTreeMap::new(), Instant::now());
        let worker = Worker { index, writer, fields, options, shared, handed, taken, unsynced: false, synced_at };
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            Behind::Disk.put_this_thread();
            let _last = Ending(worker.shared.clone());
            // Dropped before: whoever is woken finds that there will be no answer.
            let answer = answer;
            if let Err(e) = worker.run(&todo, &answer) {
                let _ = answer.send(Err(e));
            }
        })?;
        Ok(Self { orders: Some(orders), replies, thread: Some(thread) })
    }

    fn send(&self, order: Order) -> Result<()> {
        match &self.orders {
            Some(orders) if orders.send(order).is_ok() => Ok(()),
            _ => Err(self.ended()),
        }
    }

    /// Why the thread has ended.
    fn ended(&self) -> Error {
        let told = self.replies.try_iter().find_map(Result::err);
        told.unwrap_or_else(|| Error::internal("the thread that writes the index has ended"))
    }

    /// Brings changes in; they are shown after the next commit. Waits while others wait to be brought in.
    pub(super) fn write(&self, changes: Changes) -> Result<()> {
        if changes.is_empty() { Ok(()) } else { self.send(Order::Write(changes)) }
    }

    /// Removes the documents of a partition.
    pub(super) fn clear(&self, partition: u32) -> Result<()> {
        self.send(Order::Clear(partition))
    }

    /// Makes the documents of partitions anew. One order for all: each takes its time, and whoever gives orders must not wait for it.
    pub(super) fn take_whole(&self, partitions: Vec<(u32, Arc<dyn Records>)>) -> Result<()> {
        if partitions.is_empty() { Ok(()) } else { self.send(Order::TakeWhole(partitions)) }
    }

    /// Begins a commit of everything so far.
    pub(super) fn commit(&self, payload: String) -> Result<()> {
        self.send(Order::Commit(payload))
    }

    /// Begins to look for segments that were merged since the last commit. Nobody may have begun that already.
    pub(super) fn look_for_merged(&self) -> Result<()> {
        self.send(Order::LookForMerged)
    }

    /// What the thread has done of what was begun.
    pub(super) fn done(&self) -> Result<Option<Done>> {
        match self.replies.try_recv() {
            Ok(reply) => reply.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(self.ended()),
        }
    }

    /// Waits for the commit that was begun.
    pub(super) fn wait(&self) -> Result<Committed> {
        loop {
            match self.replies.recv().unwrap_or_else(|_| Err(self.ended()))? {
                Done::Commit(done) => return Ok(done),
                // That commit has all of it.
                Done::Look(_) => {}
            }
        }
    }

    /// Brings what is committed to the disk for good, and ends the thread.
    pub(super) fn finish(mut self) -> Result<()> {
        self.send(Order::Finish)?;
        self.end();
        self.replies.try_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    fn end(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread shows in its missing replies.
            let _ = thread.join();
        }
    }
}

impl Drop for Durable {
    fn drop(&mut self) {
        self.end();
    }
}

/// Wakes the index thread when the thread ends, be it by a panic.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.queue.wake();
    }
}

/// What the thread owns.
struct Worker {
    index: Index,
    writer: IndexWriter,
    fields: Arc<Fields>,
    options: IndexOptions,
    shared: Arc<Shared>,
    /// Segments that were handed back last.
    handed: Vec<SegmentId>,
    /// Changelog positions as of which partitions were taken whole since the last commit.
    taken: BTreeMap<u32, Offset>,
    /// There are commits that no full sync has covered.
    unsynced: bool,
    synced_at: Instant,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>, replies: &Sender<Result<Done>>) -> Result<()> {
        loop {
            match self.next(orders) {
                Ok(Order::Write(changes)) => self.write(changes)?,
                Ok(Order::Clear(partition)) => {
                    self.writer.delete_term(self.fields.partition_term(partition));
                }
                Ok(Order::TakeWhole(partitions)) => {
                    partitions.iter().try_for_each(|(partition, records)| self.take_whole(*partition, &**records))?;
                }
                Ok(Order::Commit(payload)) => {
                    let slots = self.commit(&payload)?;
                    let taken = std::mem::take(&mut self.taken);
                    // Whoever asked may have ended.
                    let _ = replies.send(Ok(Done::Commit(Committed { slots, taken })));
                    self.shared.queue.wake();
                    self.wait_for_merges()?;
                }
                Ok(Order::LookForMerged) => {
                    let merged = self.merged()?;
                    let _ = replies.send(Ok(Done::Look(merged)));
                    self.shared.queue.wake();
                }
                Ok(Order::Finish) => return self.finish(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            if self.unsynced && self.synced_at.elapsed() >= self.options.sync_interval {
                self.synced_at = Instant::now();
                self.unsynced = !open::sync(&self.index, &self.options.dir)?;
            }
        }
    }

    fn next(&self, orders: &Receiver<Order>) -> std::result::Result<Order, RecvTimeoutError> {
        if self.unsynced {
            let left = self.options.sync_interval.saturating_sub(self.synced_at.elapsed());
            return orders.recv_timeout(left);
        }
        orders.recv().map_err(|_| RecvTimeoutError::Disconnected)
    }

    /// First the deletes of all keys that may be there, then the documents, in the order of their keys: searches find the first of
    /// equals by that (`equals`).
    fn write(&mut self, changes: Changes) -> Result<()> {
        let bytes = changes.bytes();
        let old = changes.iter().filter(|c| c.change.existed);
        let terms: Vec<Term> = old.filter_map(|c| document::key_term(&self.fields, &c.change.key)).collect();
        if terms.len() >= MANY_DELETES {
            self.writer.delete_query(Box::new(TermSetQuery::new(terms))).map_err(|e| self.failed(e))?;
        } else {
            for term in terms {
                self.writer.delete_term(term);
            }
        }
        let mut written = 0;
        for Changed { partition, change } in changes.in_order() {
            let mut left_out = |i, why: String| self.note_left_out(i, &change.key, &why);
            if let Some(document) = document::of_change(&self.fields, partition, &change, &mut left_out)? {
                self.writer.add_document(document).map_err(|e| self.failed(e))?;
                written += 1;
            }
        }
        self.options.metrics.index_disk.inc_by(written);
        self.shared.queue.release(bytes);
        Ok(())
    }

    /// Deletes the documents of a partition and makes them anew.
    fn take_whole(&mut self, partition: u32, records: &dyn Records) -> Result<()> {
        self.writer.delete_term(self.fields.partition_term(partition));
        let mut written = 0;
        let at = records.all(&mut |key, stored| {
            // Else whoever drops the index would wait for all of it.
            if written % LOOK_UP_EVERY == 0 && self.shared.queue.is_abandoned() {
                return Err(Error::new(Kind::Internal, "the index was dropped"));
            }
            let change = IndexChange { key: key.into(), stored: Some(stored.into()), existed: false };
            let mut left_out = |i, why: String| self.note_left_out(i, key, &why);
            if let Some(document) = document::of_change(&self.fields, partition, &change, &mut left_out)? {
                self.writer.add_document(document).map_err(|e| self.failed(e))?;
                written += 1;
            }
            Ok(())
        })?;
        fault::point("index.6_taken_whole");
        self.options.metrics.index_disk.inc_by(written);
        self.taken.insert(partition, at);
        Ok(())
    }

    /// Counts a derived field that a record has no value for. Here, since every change comes to the disk once.
    fn note_left_out(&self, i: usize, key: &[u8], why: &str) {
        if self.options.metrics.derived_errors[i].inc() == 0 {
            let (table, field) = (&self.fields.def.name, &self.fields.def.derived[i].field.name);
            let key = String::from_utf8_lossy(key);
            tracing::warn!(%table, %field, %key, "a derived field is left out of a record: {why} (said once; counted from here on)");
        }
    }

    fn commit(&mut self, payload: &str) -> Result<Vec<Slot>> {
        let started = Instant::now();
        let dir = &self.options.dir;
        let failed = |e| open::failed(dir, e);
        fault::point("index.1_before_commit");
        let mut prepared = self.writer.prepare_commit().map_err(failed)?;
        fault::point("index.2_prepared");
        prepared.set_payload(payload);
        prepared.commit().map_err(failed)?;
        fault::point("index.3_committed");
        self.unsynced = true;
        let slots = slots(&self.index, &self.fields).map_err(failed)?;
        self.handed = slots.iter().map(Slot::id).collect();
        self.options.metrics.index_commit.observe(started.elapsed().as_secs_f64());
        self.options.metrics.index_commits.inc();
        self.shared.commits.fetch_add(1, Atomic::Relaxed);
        Ok(slots)
    }

    /// The segments of the last commit, if they are others than those handed back.
    fn merged(&mut self) -> Result<Option<Vec<Slot>>> {
        let ids = self.index.searchable_segment_ids().map_err(|e| self.failed(e))?;
        if ids.len() == self.handed.len() && ids.iter().all(|id| self.handed.contains(id)) {
            return Ok(None);
        }
        let slots = slots(&self.index, &self.fields).map_err(|e| self.failed(e))?;
        self.handed = slots.iter().map(Slot::id).collect();
        Ok(Some(slots))
    }

    /// Holds further commits back while merges are far behind; the queue fills and slows those who submit.
    fn wait_for_merges(&self) -> Result<()> {
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

    fn finish(self) -> Result<()> {
        let Self { writer, index, options, .. } = self;
        // Ends the writer's threads first: no merge changes the files once the marker is written.
        drop(writer);
        while !open::sync(&index, &options.dir)? {}
        Ok(())
    }

    fn failed(&self, e: TantivyError) -> Error {
        open::failed(&self.options.dir, e)
    }
}

/// The segments of the last commit. Under the lock that keeps a merge, which may end just now, from removing their files before
/// they are open.
pub(super) fn slots(index: &Index, fields: &Fields) -> tantivy::Result<Vec<Slot>> {
    let _files_stay = index.directory().acquire_lock(&META_LOCK)?;
    index.searchable_segments()?.into_iter().map(|segment| Slot::open(segment, fields.terms)).collect()
}

/// The first operation of a new writer gets the stamp of the last commit once more, and a merge that starts before the next
/// commit takes a delete of that stamp for done in those segments whose deletes carry the stamp: their old documents would
/// come back as twins of the new ones. A delete of nothing takes the stamp.
fn use_first_stamp(writer: &IndexWriter, fields: &Fields) {
    // Partitions are numbers of 32 bits.
    writer.delete_term(fields.partition_term(u32::MAX));
}

/// Calls `make` on a thread that lets others go first, so that the threads it starts do as well: the search library starts those
/// that merge, and the first that build segments, when its writer is made. Nobody waits for what goes to the disk: the live tier
/// shows it, and where it does not, the queue holds those back who are too fast.
fn behind_others<T: Send>(make: impl FnOnce() -> T + Send) -> Result<T> {
    let made = std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            Behind::Disk.put_this_thread();
            make()
        });
        made.join()
    });
    made.map_err(|_| Error::internal("the thread that makes the writer of an index panicked"))
}

/// Which segments to merge; tells the index thread whenever that is asked. It is after each commit, and when a merge has ended.
struct Telling {
    policy: LogMergePolicy,
    shared: Arc<Shared>,
}

impl fmt::Debug for Telling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.fmt(f)
    }
}

impl MergePolicy for Telling {
    fn compute_merge_candidates(&self, segments: &[SegmentMeta]) -> Vec<MergeCandidate> {
        self.shared.merged.store(true, Atomic::Release);
        self.shared.queue.wake();
        self.policy.compute_merge_candidates(segments)
    }
}

fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(8);
    policy.set_del_docs_ratio_before_merge(0.3);
    policy
}

fn writer(index: &Index, memory: usize, policy: Telling) -> tantivy::Result<IndexWriter> {
    let workers = (memory / *WRITER_MEMORY.start()).clamp(1, WORKERS);
    let options = IndexWriterOptions::builder()
        .num_worker_threads(workers)
        .num_merge_threads(1)
        .memory_budget_per_thread((memory / workers).clamp(*WRITER_MEMORY.start(), *WRITER_MEMORY.end()))
        .build();
    let writer: IndexWriter = index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(policy));
    Ok(writer)
}
