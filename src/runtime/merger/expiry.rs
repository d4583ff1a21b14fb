//! The merge thread ends what is over: it follows the watermarks of its tasks, and lets their batches take away what is due.
//!
//! In bounded steps, one at a time for each task, within ordinary batches: whatever comes for a record that is due finds it
//! ended, whether or not its step has come (`record::merge_at`), so it does not matter when that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::{Inbox, MergeTask, Merger};
use crate::Result;
use crate::broker::TopicPartition;
use crate::record::{Retention, TableDef, codec};
use crate::runtime::agenda::Agenda;
use crate::runtime::grouping::{Merges, load};
use crate::runtime::overlay::Overlay;
use crate::store::{Due, DuePage, Position, Store};
use crate::task::Watermark;
use crate::task::batch::{Change, TaskBatch};

/// Entries that one step takes at most.
const STEP: usize = 1_000;
/// Of these, records read at a time.
const PORTION: usize = 64;
/// Bytes of records read from which a step ends early.
const STEP_BYTES: usize = 4 << 20;

/// Event time of a task, and what is due at it.
#[derive(Clone, Debug)]
pub(super) struct TaskTime {
    watermark: Watermark,
    agenda: Agenda,
    /// Newest broker timestamp of what came, milliseconds.
    newest_ms: i64,
}

impl TaskTime {
    pub(super) fn of(def: &TableDef, position: &Position) -> Self {
        let newest_ms = position.sources.values().map(|s| s.timestamp_ms).max().unwrap_or(0);
        Self { watermark: Watermark::of(def, position), agenda: Agenda::default(), newest_ms }
    }
}

/// The newest broker timestamp that the table's tasks here have seen, milliseconds; shared by its workers.
#[derive(Clone, Debug, Default)]
pub struct BrokerTime(Arc<AtomicI64>);

impl BrokerTime {
    fn see(&self, timestamp_ms: i64) {
        self.0.fetch_max(timestamp_ms, Ordering::Relaxed);
    }
    fn newest(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Merger {
    fn retention(&self) -> Retention {
        self.table.def.retention
    }

    /// The watermark that each message of an inbox finds; advances them. Empty where nothing ever ends.
    pub(super) fn watermarks(&mut self, inbox: &Inbox) -> Vec<Option<i64>> {
        if !self.retention().is_active() {
            return Vec::new();
        }
        let mut found = Vec::with_capacity(inbox.arrived.len());
        for a in &inbox.arrived {
            let Some(MergeTask { time, .. }) = self.tasks.get_mut(&a.partition) else {
                found.push(None);
                continue;
            };
            found.push(time.watermark.reached());
            time.newest_ms = time.newest_ms.max(a.timestamp_ms);
            if let Some(event) = a.event() {
                time.watermark.see(a.source, event.stamp.version.major);
            }
        }
        found
    }

    /// Notes which sources are read to their end, as of the last look at the lag; quiet partitions may go by the time of others.
    pub(super) fn follow_ends(&mut self) {
        if !self.retention().is_active() {
            return;
        }
        let idle_after = self.retention().idle_after_ms;
        self.tasks.values().for_each(|task| self.broker_time.see(task.time.newest_ms));
        let broker_time = self.broker_time.newest();
        let sources = self.table.def.sources.len();
        for (partition, MergeTask { time, view, .. }) in &mut self.tasks {
            let is_at_end = |input: usize| {
                let tp = TopicPartition { topic: self.topics[input].clone(), partition: *partition };
                !self.waiting.holds(*partition, input) && self.consumer.lag(&tp) == Some(0)
            };
            // What comes through the internal topic may be of any source.
            let nothing_misplaced = (sources..self.topics.len()).all(is_at_end);
            time.watermark.look(|source| nothing_misplaced && is_at_end(source));
            if let Some(quiet) =
                idle_after.map(|after| broker_time.saturating_sub(after)).filter(|t| *t >= time.newest_ms)
            {
                time.watermark.idle(quiet);
            }
            // It is committed with the next batch; after a restart the ends are looked at again.
            let reached = time.watermark.reached();
            if view.look(|progress| progress.watermark < reached) {
                view.advance(|progress| progress.watermark = reached);
            }
        }
    }

    /// Takes away what is due where nothing comes.
    pub(super) fn expire_quietly(&mut self) -> Result<()> {
        let applied = self.link.applied();
        let is_due = |MergeTask { time, .. }: &mut MergeTask| {
            time.watermark.reached().is_some_and(|watermark| time.agenda.look(watermark, applied).is_some())
        };
        // A token comes with the first task.
        let wanted = self.retention().is_active() && self.tasks.values_mut().any(is_due);
        if wanted { self.hand_over(&Inbox::default()) } else { Ok(()) }
    }

    /// Adds to batch `self.seq` what it ends by its tasks' watermarks, beside what its events have.
    pub(super) fn expire(&mut self, merges: &mut Merges) -> Result<()> {
        let retention = self.retention();
        if !retention.is_active() {
            return Ok(());
        }
        let (applied, seq) = (self.link.applied(), self.seq);
        for (partition, MergeTask { time, .. }) in &mut self.tasks {
            for due in merges.tasks.get(partition).iter().flat_map(|batch| &batch.due).filter(|due| due.entered) {
                time.agenda.enter(seq, due.at);
            }
            let reached = time.watermark.reached();
            // While time is not known nothing is due, but what is on its way arrives.
            let watermark = reached.unwrap_or(i64::MIN);
            if let (Some(from), Some(store)) = (time.agenda.look(watermark, applied), self.stores.get(partition)) {
                let page = store.due(from, watermark, STEP)?;
                let step = Step { retention: &retention, partition: *partition, store, watermark, seq };
                let (batch, next, bytes) = step.take(page, &mut self.overlay)?;
                batch.due.iter().filter(|due| due.entered).for_each(|due| time.agenda.enter(seq, due.at));
                time.agenda.found((!batch.due.is_empty()).then_some(seq), next);
                if !batch.due.is_empty() {
                    merges.bytes += bytes;
                    merges.tasks.entry(*partition).or_default().absorb(batch);
                }
            }
            if let Some(batch) = merges.tasks.get_mut(partition) {
                batch.watermark = reached;
            }
        }
        Ok(())
    }
}

/// One step of one task.
struct Step<'a> {
    retention: &'a Retention,
    partition: u32,
    store: &'a Store,
    watermark: i64,
    seq: u64,
}

impl Step<'_> {
    /// What a batch does about entries, the time of the first one that is left, and the bytes that the batch takes, about.
    fn take(&self, page: DuePage, overlay: &mut Overlay) -> Result<(TaskBatch, Option<i64>, u64)> {
        let (mut batch, mut read, mut taken) = (TaskBatch::default(), 0, 0);
        for portion in page.entries.chunks(PORTION) {
            if read >= STEP_BYTES {
                break;
            }
            let mut keys: Vec<&[u8]> = portion.iter().map(|(_, key)| key.as_slice()).collect();
            keys.sort_unstable();
            keys.dedup();
            read += load(self.store, self.partition, &keys, overlay, self.seq)?;
            for (at, key) in portion {
                self.settle(*at, key, overlay, &mut batch)?;
            }
            taken += portion.len();
        }
        let left = page.entries.get(taken).map(|(at, _)| *at);
        let bytes = batch.due.iter().map(|due| 64 + due.key.len() as u64).sum();
        Ok((batch, left.or(page.next), bytes))
    }

    /// Ends what is over of the record that an entry names; the entry goes, and comes back where the record is due later.
    fn settle(&self, at: i64, key: &[u8], overlay: &mut Overlay, batch: &mut TaskBatch) -> Result<()> {
        let Some(mut held) = overlay.get_mut(self.partition, key) else { return Ok(()) };
        let mut record = held.record().map_err(|e| e.within(format_args!("partition {}", self.partition)))?;
        let existed = record.is_visible();
        let ended = self.retention.prune(&mut record, Some(self.watermark));
        let key = held.key.clone();
        if ended.is_some() {
            let mut stored = Vec::new();
            codec::encode(&record, &mut stored);
            held.stored = (!record.is_empty()).then(|| stored.into());
            let (stored, visible) = (held.stored.clone(), record.is_visible());
            batch.changes.push(Change { key: key.clone(), stored, visible, existed, sent: false });
            batch.ended.count(ended);
        }
        batch.due.push(Due { at, key: key.clone(), entered: false });
        if let Some(at) = self.retention.due(&record) {
            batch.due.push(Due { at, key, entered: true });
        }
        Ok(())
    }
}
