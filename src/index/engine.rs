//! The index thread: takes batches, keeps the last change of every key, and decides when and where they become visible.
//!
//! Owns the live tier, the masks and the views. A change goes one of two ways:
//!
//! - **live**, while there are few: it masks the older copy of its key, stands in a small segment in memory at once, and goes
//!   to the index on disk with the next commit, about once a second;
//! - **bypass**, while there are many: to the index on disk only, visible with its next commit. Then the positions of the
//!   view wait for that commit, too.
//!
//! In a long catch-up there is a third way: changes of a partition are passed over, and its records taken as they are when something
//! is to be shown ([`super::whole`]).
//!
//! When a commit is done its segments replace the old ones, and the live segments that it covers go, in one swap of the view
//! (`INV-INDEX-2`: no reader sees a key missing or twice). What came since is masked in the new segments first. So it is when segments
//! that were merged after the last commit are shown, which happens where no commit would bring them soon.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use tantivy::TantivyError;

use super::changes::Changes;
use super::durable::{self, Committed, Done, Durable};
use super::fresh::Fresh;
use super::live::Live;
use super::open::{self, Opened, Payload};
use super::queue::{End, Heed, Item, Next, Queue};
use super::schema::Fields;
use super::shared::Shared;
use super::slot::{Slot, kill_in};
use super::view::{Blank, View};
use super::whole::{self, Offered, Take, Which, Wholes};
use super::{Covered, IndexBatch, IndexOptions, document};
use crate::{Error, Result, clock, fault};

/// More changes than this at a time bypass the live tier: building and merging its segments would cost more than it is worth.
const LIVE_MOST: usize = 4_000;

/// Positions by partition.
type Positions = BTreeMap<u32, Covered>;

/// A commit that was begun and is not done.
struct InFlight {
    /// Number of the last item that it covers.
    taken: u64,
    /// Whether it brings what the live tier does not show: until it is done the positions of the view must wait.
    hidden: bool,
    /// Timestamps of what becomes visible with it.
    oldest: Vec<i64>,
}

/// What the index thread owns.
pub(super) struct Engine {
    shared: Arc<Shared>,
    fields: Arc<Fields>,
    options: IndexOptions,
    boot: Option<String>,
    blank: Blank,
    /// Segments of the last commit.
    main: Vec<Slot>,
    live: Live,
    durable: Durable,
    _lock: File,
    /// What is neither shown nor on its way to the disk.
    fresh: Fresh,
    /// Changes that the live tier shows and that are not on their way to the disk.
    held: Changes,
    /// Keys of the live tier's current generation, deleted ones included.
    current: FxHashSet<Arc<[u8]>>,
    /// Keys of the generation that the commit under way brings to the disk.
    previous: FxHashSet<Arc<[u8]>>,
    in_flight: Option<InFlight>,
    /// Whether somebody looks for merged segments.
    looking: bool,
    wholes: Wholes,
    /// Something was written that no commit covers.
    written: bool,
    /// Some of that is not shown.
    hidden: bool,
    /// Positions of everything taken but what is fresh.
    covered: Positions,
    /// Positions up to which everything is shown, or is with the commit under way.
    placed: Positions,
    /// The positions on disk are older than those taken.
    unwritten: bool,
    /// Timestamps of what was taken and is neither placed nor fresh.
    oldest: Vec<i64>,
    /// Number of the last item taken.
    taken: u64,
    /// Positions have moved since they were placed.
    moved: bool,
    /// Least time between the starts of two refreshes.
    gap: Duration,
    refreshed_at: Option<Instant>,
    committed_at: Option<Instant>,
    generation: u64,
}

impl Engine {
    /// Sets the writer and the first view up.
    pub(super) fn new(
        fields: Arc<Fields>,
        options: IndexOptions,
        boot: Option<String>,
        opened: Opened,
    ) -> Result<(Self, Arc<Shared>)> {
        let Opened { index, covered, lock, .. } = opened;
        let failed = |e| open::failed(&options.dir, e);
        let blank = Blank::new(&index, options.sets_memory).map_err(failed)?;
        let mut main = durable::slots(&index, &fields).map_err(failed)?;
        let readers = main.iter_mut().map(Slot::reader).collect::<tantivy::Result<_>>().map_err(failed)?;
        let view = View::new(readers, &blank, &covered, &fields, 0);
        let shared = Arc::new(Shared::new(Queue::new(options.queue_memory), view));
        let live = Live::new(&index, fields.terms);
        let durable = Durable::start(index, fields.clone(), options.clone(), shared.clone())?;
        let engine = Self {
            shared: Arc::clone(&shared),
            fields,
            boot,
            blank,
            main,
            live,
            durable,
            _lock: lock,
            fresh: Fresh::default(),
            held: Changes::default(),
            current: FxHashSet::default(),
            previous: FxHashSet::default(),
            in_flight: None,
            looking: false,
            wholes: Wholes::default(),
            written: false,
            hidden: false,
            placed: covered.clone(),
            covered,
            unwritten: false,
            oldest: Vec::new(),
            taken: 0,
            moved: false,
            gap: options.interval,
            refreshed_at: None,
            committed_at: None,
            generation: 0,
            options,
        };
        Ok((engine, shared))
    }

    /// Works until it is asked to end, or fails.
    pub(super) fn run(mut self) -> Result<()> {
        loop {
            let heed =
                Heed { wanted: self.in_flight.is_none(), short: !(self.fresh.is_empty() && self.held.is_empty()) };
            match self.shared.queue.next(self.deadline(), heed) {
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
            // All of it: one waking may stand for two replies.
            while let Some(done) = self.durable.done()? {
                match done {
                    Done::Commit(done) => self.swap(done)?,
                    Done::Look(found) => self.looked(found)?,
                }
            }
            if heed.short && self.shared.queue.is_short() {
                self.make_room()?;
            }
            if self.shared.queue.is_wanted() && self.in_flight.is_none() {
                self.commit(Which::All)?;
            } else if self.refresh_at().is_some_and(|at| Instant::now() >= at) {
                self.refresh()?;
            }
            if self.commit_at().is_some_and(|at| Instant::now() >= at) {
                self.commit(Which::Due)?;
            }
            self.look_for_merged()?;
        }
    }

    /// Begins to look for merged segments where no commit would bring them soon: searches of what does not change any more would go
    /// through the small segments for ever, and these keep their files.
    fn look_for_merged(&mut self) -> Result<()> {
        let soon = self.in_flight.is_some() || self.commit_at().is_some();
        if self.looking || soon || !self.shared.merged.swap(false, Atomic::Acquire) {
            return Ok(());
        }
        self.looking = true;
        self.durable.look_for_merged()
    }

    /// Shows the segments of the last commit as they are by now. Another commit may have been begun since.
    fn looked(&mut self, found: Option<Vec<Slot>>) -> Result<()> {
        self.looking = false;
        let Some(merged) = found else { return Ok(()) };
        self.replace_main(merged);
        for term in self.previous.iter().chain(&self.current).filter_map(|key| document::key_term(&self.fields, key)) {
            kill_in(&mut self.main, &term).map_err(|e| open::failed(&self.options.dir, e))?;
        }
        self.publish(&[])?;
        self.shared.merges.fetch_add(1, Atomic::Relaxed);
        Ok(())
    }

    /// Until when nothing has to be done if nothing comes in.
    fn deadline(&self) -> Option<Instant> {
        [self.refresh_at(), self.commit_at()].into_iter().flatten().min()
    }

    /// Whether what is fresh must go the long way.
    fn must_bypass(&self) -> bool {
        self.hidden || self.fresh.len() > LIVE_MOST
    }

    /// When the next refresh may start, counted from the start of the last one; `None` if there is nothing to show.
    fn refresh_at(&self) -> Option<Instant> {
        let something = self.moved || !self.fresh.is_empty() || self.hidden;
        // On the long way one commit follows the other.
        let possible = something && !(self.must_bypass() && self.in_flight.is_some());
        possible.then(|| self.refreshed_at.map_or_else(Instant::now, |at| at + self.gap))
    }

    /// When the live tier's content is to be brought to the disk, or a partition is to be taken whole; `None` if there is none.
    fn commit_at(&self) -> Option<Instant> {
        if self.in_flight.is_some() {
            return None;
        }
        [self.wholes.due(), self.write_at()].into_iter().flatten().min()
    }

    fn write_at(&self) -> Option<Instant> {
        let due = self.written || !self.held.is_empty();
        // On the long way commits keep the rhythm of refreshes.
        let gap = if self.hidden { self.options.commit_interval.max(self.gap) } else { self.options.commit_interval };
        due.then(|| self.committed_at.map_or_else(Instant::now, |at| at + gap))
    }

    fn take(&mut self, item: Item) -> Result<()> {
        match item {
            Item::Batch(batch, size) => self.take_batch(*batch, size),
            Item::Clear(partition) => self.clear(partition),
            Item::Calm(partitions) => {
                self.gap = self.options.interval;
                self.wholes.calm(&partitions, Instant::now());
                Ok(())
            }
        }
    }

    fn take_batch(&mut self, batch: IndexBatch, size: usize) -> Result<()> {
        self.gap = whole::gap_after(&batch, &self.options, clock::now_ms());
        let batch = match self.wholes.offer(batch, size, Instant::now()) {
            Offered::BringIn(batch) => batch,
            Offered::PassedOver => {
                self.shared.queue.release(size);
                return Ok(());
            }
            Offered::Waits => return Ok(()),
        };
        let before = self.fresh.bytes();
        let partition = batch.partition;
        for change in batch.changes {
            self.fresh.put(partition, change);
        }
        // What the batch took beside its changes, and what its changes have replaced.
        self.shared.queue.release((before + size).saturating_sub(self.fresh.bytes()));
        self.fresh.advance(partition, batch.changelog, batch.sources, batch.oldest_ms);
        self.moved = true;
        let full = self.fresh.bytes() + self.held.bytes() > self.options.queue_memory / 2;
        if full { self.make_room() } else { Ok(()) }
    }

    /// Gives what waits to the index on disk before its time, or passes it over.
    fn make_room(&mut self) -> Result<()> {
        // What waits is shown no later for that.
        let since = self.refreshed_at.unwrap_or_else(Instant::now);
        let mut freed = 0;
        for partition in self.wholes.suited(self.gap) {
            let (step, bytes) = self.fresh.drop_partition(partition);
            let mut covered = self.covered.get(&partition).cloned().unwrap_or_default();
            let oldest = step.apply(&mut covered);
            self.wholes.pass_over(partition, covered, oldest, self.gap, since);
            freed += bytes;
        }
        self.shared.queue.release(freed);
        if freed == 0 { self.spill() } else { Ok(()) }
    }

    /// The fresh changes, which are to be shown or brought to the disk now.
    fn take_fresh(&mut self) -> Changes {
        let (changes, steps) = self.fresh.take();
        for (partition, step) in steps {
            self.oldest.extend(step.apply(self.covered.entry(partition).or_default()));
        }
        changes
    }

    fn clear(&mut self, partition: u32) -> Result<()> {
        self.spill()?;
        self.shared.queue.release(self.wholes.forget(partition));
        self.durable.clear(partition)?;
        self.covered.remove(&partition);
        (self.written, self.hidden, self.moved) = (true, true, true);
        Ok(())
    }

    /// Gives what waits to the index on disk before its time.
    fn spill(&mut self) -> Result<()> {
        self.hidden |= !self.fresh.is_empty();
        let (mut all, fresh) = (std::mem::take(&mut self.held), self.take_fresh());
        let replaced = all.absorb(fresh);
        self.shared.queue.release(replaced);
        self.written |= !all.is_empty();
        self.durable.write(all)
    }

    /// Makes visible what was taken, or begins to.
    fn refresh(&mut self) -> Result<()> {
        if self.must_bypass() {
            return self.commit(Which::Due);
        }
        self.refreshed_at = Some(Instant::now());
        let fresh = self.take_fresh();
        if !fresh.is_empty() {
            self.show(&fresh).map_err(|e| self.failed(e))??;
            self.current.extend(fresh.keys().cloned());
            let replaced = self.held.absorb(fresh);
            self.shared.queue.release(replaced);
        }
        self.place();
        let oldest = std::mem::take(&mut self.oldest);
        self.publish(&oldest)?;
        self.live.merge().map_err(|e| self.failed(e))
    }

    /// Brings changes into the live tier.
    fn show(&mut self, fresh: &Changes) -> tantivy::Result<Result<()>> {
        let mut documents = Vec::with_capacity(fresh.len());
        // A document that a hidden change removes is shown still.
        let any = self.in_flight.as_ref().is_some_and(|f| f.hidden);
        for changed in fresh.iter() {
            if changed.change.existed || any {
                self.kill(&changed.change.key)?;
            }
            match document::of_change(&self.fields, changed.partition, &changed.change, &mut |_, _| {}) {
                Ok(document) => documents.extend(document),
                Err(e) => return Ok(Err(e)),
            }
        }
        self.options.metrics.index_live.inc_by(documents.len() as u64);
        self.live.add(documents)?;
        fault::point("index.5_live_built");
        Ok(Ok(()))
    }

    /// Masks the one document that a key may have.
    fn kill(&mut self, key: &Arc<[u8]>) -> tantivy::Result<()> {
        let Some(term) = document::key_term(&self.fields, key) else { return Ok(()) };
        let generation = self.live.generation();
        if self.current.contains(key) {
            self.live.kill(&term, generation)?;
        } else if self.previous.contains(key) {
            self.live.kill(&term, generation - 1)?;
        } else {
            kill_in(&mut self.main, &term)?;
        }
        Ok(())
    }

    fn place(&mut self) {
        self.placed.clone_from(&self.covered);
        self.moved = false;
        self.unwritten = true;
    }

    /// Begins to take partitions whose changes were passed over.
    fn take_whole(&mut self, which: Which) -> Result<()> {
        let mut all = Vec::new();
        for Take { partition, records, covered, oldest } in self.wholes.begin(which, Instant::now()) {
            tracing::debug!(table = %self.fields.def.name, partition, "the index takes all records of a partition");
            self.covered.insert(partition, covered);
            self.oldest.extend(oldest);
            (self.written, self.hidden) = (true, true);
            all.push((partition, records));
        }
        self.durable.take_whole(all)
    }

    /// Begins a commit of everything taken, and of these partitions whose changes were passed over. Nothing may be in flight.
    fn commit(&mut self, which: Which) -> Result<()> {
        let now = Instant::now();
        self.refreshed_at = Some(now);
        self.spill()?;
        self.take_whole(which)?;
        self.place();
        let oldest = std::mem::take(&mut self.oldest);
        if !self.written {
            // Without new documents only the positions in memory move: what is on disk covers less, and that is true.
            self.publish(&oldest)?;
            self.seen(self.taken);
            return Ok(());
        }
        self.committed_at = Some(now);
        self.durable.commit(Payload::new(self.boot.as_deref(), &self.fields, &self.covered).text()?)?;
        self.unwritten = false;
        self.previous = std::mem::take(&mut self.current);
        self.live.next_generation();
        self.in_flight = Some(InFlight { taken: self.taken, hidden: self.hidden, oldest });
        (self.written, self.hidden) = (false, false);
        Ok(())
    }

    fn replace_main(&mut self, mut slots: Vec<Slot>) {
        slots.iter_mut().for_each(|slot| slot.take_over_from(&self.main));
        self.main = slots;
    }

    /// Says that everything up to this item can be seen, if that is so.
    fn seen(&self, number: u64) {
        if self.wholes.is_empty() {
            self.shared.queue.seen(number);
        }
    }

    /// Replaces the segments by those of the commit that is done.
    fn swap(&mut self, Committed { slots, taken }: Committed) -> Result<()> {
        let Some(done) = self.in_flight.take() else { return Err(Error::internal("a commit that nobody began")) };
        self.replace_main(slots);
        self.live.drop_older();
        self.previous.clear();
        for term in self.current.iter().filter_map(|key| document::key_term(&self.fields, key)) {
            kill_in(&mut self.main, &term).map_err(|e| open::failed(&self.options.dir, e))?;
        }
        self.publish(&done.oldest)?;
        self.seen(done.taken);
        self.wholes.end(taken).into_iter().try_for_each(|(batch, size)| self.take_batch(batch, size))
    }

    /// Shows what is there now. The positions move on only if nothing below them is hidden.
    fn publish(&mut self, oldest: &[i64]) -> Result<()> {
        self.generation += 1;
        let main = self.main.iter_mut().map(Slot::reader).collect::<tantivy::Result<Vec<_>>>();
        let mut readers = main.map_err(|e| self.failed(e))?;
        readers.extend(self.live.readers().map_err(|e| open::failed(&self.options.dir, e))?);
        let waits = self.in_flight.as_ref().is_some_and(|f| f.hidden);
        let before = self.shared.view.load();
        let covered = if waits { &*before.covered } else { &self.placed };
        let view = View::new(readers, &self.blank, covered, &self.fields, self.generation);
        self.shared.view.store(Arc::new(view));
        fault::point("index.4_published");
        for observer in self.shared.observers.read().iter() {
            observer(covered);
        }
        let now = clock::now_ms();
        for oldest in oldest {
            #[expect(clippy::cast_precision_loss, reason = "a duration in milliseconds")]
            self.options.metrics.visible_after.observe((now - oldest).max(0) as f64 / 1000.0);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        if self.in_flight.is_some() {
            let done = self.durable.wait()?;
            self.swap(done)?;
        }
        // What was passed over is left to the next start: taking it may last for seconds.
        self.written |= self.unwritten || self.moved;
        self.commit(Which::None)?;
        if self.in_flight.is_some() {
            let done = self.durable.wait()?;
            self.swap(done)?;
        }
        self.durable.finish()
    }

    fn failed(&self, e: TantivyError) -> Error {
        open::failed(&self.options.dir, e)
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
