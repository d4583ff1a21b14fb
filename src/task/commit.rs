//! THE commit protocol: how a batch becomes true, exactly once.
//!
//! 1. **begin** a transaction
//! 2. **produce** changed records, misplaced events, quarantine entries, one position record per touched task
//! 3. **drain**: nothing is in flight (without it the next step costs 100 ms)
//! 4. **send offsets**, under the membership of the moment the batch was consumed
//! 5. **commit**: from here the batch is true
//! 6. **apply**: one write batch per task
//! 7. **index**: hand the changes to the index thread
//! 8. **publish** the applied position; waiting readers wake
//!
//! Where a commit must wait because the last one was a moment ago, and the broker writes while more is to come, step 1 and what step 2
//! has so far are done **ahead**.
//!
//! A fault point stands behind each step; the crash tests abort the process at every one of them.
//!
//! - `INV-COMMIT-1`: nothing is applied that is not committed.
//! - `INV-COMMIT-2`: a position record stands behind all records of its batch in its partition, in the same transaction.
//! - `INV-COMMIT-3`: offsets are never empty: only they are checked against the group's generation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::open::{Task, source_positions};
use super::records;
use crate::broker::{GroupToken, NewRecord, Offset, TopicPartition, TransactionalProducer};
use crate::clock;
use crate::fault;
use crate::index::{Behind, IndexBatch, IndexChange};
use crate::metrics::{Metrics, ReasonLabels, StepLabel};
use crate::query::Table;
use crate::record::{Outcome, POSITION_KEY, TableDef};
use crate::store::{Accounting, Due, EndedCount, Position, StoreBatch};
use crate::task::batch::{Batch, Change, Misplaced, Quarantine, TaskBatch};
use crate::touch::touch;
use crate::{Error, Result};

/// What a table's commits need that does not change.
pub struct Protocol {
    /// Table.
    pub table: Arc<Table>,
    /// Consumer group.
    pub group: String,
    /// Changelog topic.
    pub changelog: Arc<str>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Turns an event that was set aside into a record of the quarantine topic.
    pub quarantine: Box<dyn Fn(Quarantine) -> NewRecord + Send>,
}

/// A batch with the positions that its tasks have after it: everything the steps need.
pub struct Staged {
    tasks: Vec<StagedTask>,
    misplaced: Vec<Misplaced>,
    quarantined: Vec<Quarantine>,
    /// Of these, by reason code.
    reasons: BTreeMap<&'static str, u64>,
    token: GroupToken,
    oldest_ms: i64,
}

struct StagedTask {
    partition: u32,
    changes: Vec<Change>,
    batch: TaskMoves,
    due: Vec<Due>,
    ended: EndedCount,
    position: Position,
}

type TaskMoves = BTreeMap<usize, crate::task::batch::Moved>;

/// Decides what a batch writes. Pure. Parts of tasks that are not here any more are left out.
pub fn stage(def: &TableDef, tasks: &BTreeMap<u32, Task>, batch: Batch) -> Staged {
    let here = |(partition, b): (u32, TaskBatch)| {
        let task = tasks.get(&partition)?;
        let position = moved(def, &task.position, &b);
        let TaskBatch { changes, moved, due, ended, .. } = b;
        Some(StagedTask { partition, changes: changes.into_sorted(), batch: moved, due, ended, position })
    };
    let quarantined: Vec<_> = batch.quarantined.into_iter().filter(|q| tasks.contains_key(&q.task)).collect();
    let misplaced = batch.misplaced.into_iter().filter(|m| tasks.contains_key(&m.partition)).collect();
    let mut reasons = BTreeMap::new();
    quarantined.iter().for_each(|q| *reasons.entry(reason(q)).or_default() += 1);
    Staged {
        tasks: batch.tasks.into_iter().filter_map(here).collect(),
        misplaced,
        quarantined,
        reasons,
        token: batch.token,
        oldest_ms: batch.oldest_ms,
    }
}

fn reason(aside: &Quarantine) -> &'static str {
    aside.rejects.first().map_or("unknown", |r| r.reason.code())
}

fn moved(def: &TableDef, from: &Position, batch: &TaskBatch) -> Position {
    let mut position = from.clone();
    position.watermark = position.watermark.max(batch.watermark);
    position.ended.add(batch.ended);
    for (number, moved) in &batch.moved {
        let Some(source) = def.sources.get(*number) else {
            position.repartition = moved.next.or(position.repartition);
            continue;
        };
        let entry = position.sources.entry(source.name.clone()).or_default();
        entry.topic.clone_from(&source.topic);
        entry.next = moved.next.unwrap_or(entry.next);
        entry.watermark = entry.watermark.max(moved.watermark);
        entry.timestamp_ms = entry.timestamp_ms.max(moved.timestamp_ms);
        entry.accounting.add(&moved.accounting);
    }
    position
}

impl Staged {
    /// Events in it, whatever became of them.
    pub fn events(&self) -> u64 {
        let of = |a: &Accounting| a.applied + a.duplicate + a.stale + a.quarantined;
        self.tasks.iter().flat_map(|t| t.batch.values()).map(|moved| of(&moved.accounting)).sum()
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl Protocol {
    /// Step 1, and of step 2 the records that a batch has changed so far, while it may still grow: the broker has them when the
    /// rest is decided. What changes again is produced again, behind. False where no task of the batch is here: nothing is begun.
    pub fn ahead(
        &self,
        producer: &mut dyn TransactionalProducer,
        tasks: &BTreeMap<u32, Task>,
        batch: &mut Batch,
    ) -> Result<bool> {
        if !batch.tasks.keys().any(|partition| tasks.contains_key(partition)) {
            return Ok(false);
        }
        self.timed("ahead", || {
            self.begin(producer)?;
            let mut record = self.to_changelog();
            for (partition, task) in batch.tasks.iter_mut().filter(|(partition, _)| tasks.contains_key(partition)) {
                record.partition = *partition;
                send(producer, &mut record, task.changes.all_mut())?;
            }
            Ok(())
        })?;
        fault::point("commit.2_ahead");
        Ok(true)
    }

    /// Steps 1 to 5, or from 2 where the transaction has `begun`. Returns the changelog position of each task after it. An error
    /// means that the outcome may be unknown; the changelog tells.
    pub fn transact(
        &self,
        producer: &mut dyn TransactionalProducer,
        staged: &mut Staged,
        begun: bool,
    ) -> Result<BTreeMap<u32, Offset>> {
        self.timed("produce", || {
            if !begun {
                self.begin(producer)?;
            }
            self.produce(producer, staged)
        })?;
        fault::point("commit.2_produced");
        self.timed("drain", || producer.drain())?;
        fault::point("commit.3_drained");
        let offsets = consumed(&self.table, staged);
        debug_assert!(!offsets.is_empty(), "INV-COMMIT-3");
        self.timed("offsets", || producer.send_offsets(&offsets, &staged.token))?;
        fault::point("commit.4_offsets_sent");
        let written = self.timed("commit", || producer.commit())?;
        fault::point("commit.5_committed");
        let of = |partition: u32| {
            written
                .iter()
                .find(|(tp, _)| tp.partition == partition && tp.topic == self.changelog)
                .map(|(_, offset)| (partition, offset + 1))
                .ok_or_else(|| Error::internal(format!("no offset came back for changelog partition {partition}")))
        };
        staged.tasks.iter().map(|t| of(t.partition)).collect()
    }

    fn begin(&self, producer: &mut dyn TransactionalProducer) -> Result<()> {
        producer.begin()?;
        fault::point("commit.1_begun");
        Ok(())
    }

    /// A record of the changelog whose buffers serve all of a batch.
    fn to_changelog(&self) -> NewRecord {
        NewRecord { topic: self.changelog.clone(), ..NewRecord::default() }
    }

    fn produce(&self, producer: &mut dyn TransactionalProducer, staged: &mut Staged) -> Result<()> {
        let mut record = self.to_changelog();
        for task in &mut staged.tasks {
            record.partition = task.partition;
            send(producer, &mut record, &mut task.changes)?;
        }
        staged.misplaced.iter().try_for_each(|m| producer.send(&m.record))?;
        for aside in std::mem::take(&mut staged.quarantined) {
            producer.send(&(self.quarantine)(aside))?;
        }
        for task in &staged.tasks {
            record.partition = task.partition;
            set_key(&mut record, POSITION_KEY);
            record.payload = Some(task.position.encode()?);
            producer.send(&record)?;
        }
        Ok(())
    }

    /// Steps 6 to 8, for a batch that is committed. `left`: so long reading what waits will take, where more does. An error here is
    /// fatal: memory and disk no longer agree, a restart brings them together from the changelog.
    pub fn settle(
        &self,
        staged: Staged,
        changelog: &BTreeMap<u32, Offset>,
        tasks: &mut BTreeMap<u32, Task>,
        left: Option<Duration>,
    ) -> Result<()> {
        let covered = |partition: &u32| {
            changelog.get(partition).copied().ok_or_else(|| Error::internal("a task without a changelog position"))
        };
        self.timed("apply", || {
            for (n, staged) in staged.tasks.iter().enumerate() {
                if n > 0 {
                    fault::point("commit.6_store_partial");
                }
                let Some(task) = tasks.get(&staged.partition) else { continue };
                let records = staged.changes.iter().map(|c| (&*c.key, c.stored.as_deref())).collect();
                let position = Some(&staged.position);
                let batch = StoreBatch { records, position, changelog: covered(&staged.partition)? };
                task.store.apply_with(&batch, &staged.due)?;
            }
            Ok(())
        })?;
        fault::point("commit.7_applied");
        let oldest_ms = staged.oldest_ms;
        for (reason, n) in staged.reasons {
            let label = ReasonLabels { table: self.table.def.name.clone(), reason };
            self.metrics.quarantined.get_or_create(&label).inc_by(n);
        }
        for staged in staged.tasks {
            let Some(task) = tasks.get_mut(&staged.partition) else { continue };
            let at = covered(&staged.partition)?;
            task.position = staged.position;
            self.count(&staged.batch);
            self.table.metrics.ended(staged.ended.tombstones, staged.ended.records);
            self.table.index.submit(IndexBatch {
                partition: staged.partition,
                changelog: at,
                sources: source_positions(&self.table.def, &task.position),
                changes: staged.changes.into_iter().filter_map(index_change).collect(),
                oldest_ms: (oldest_ms != i64::MAX).then_some(oldest_ms),
                behind: left.map(|left| Behind { unread: u64::try_from(task.view.unread()).unwrap_or(0), left }),
                records: Some(records::of_store(&task.store)),
            })?;
            publish(&self.table.def, task, at);
        }
        fault::point("commit.8_index_handed");
        if oldest_ms != i64::MAX {
            let after = clock::now_ms().saturating_sub(oldest_ms).max(0);
            self.table.metrics.applied_after.observe(after as f64 / 1000.0);
        }
        self.metrics.commits.inc();
        Ok(())
    }

    fn count(&self, moves: &TaskMoves) {
        for (number, moved) in moves {
            let Some(to) = self.table.metrics.sources.get(*number) else { continue };
            let a = &moved.accounting;
            to.of(Outcome::Applied).inc_by(a.applied);
            to.of(Outcome::Duplicate).inc_by(a.duplicate);
            to.of(Outcome::Stale).inc_by(a.stale);
            to.of(Outcome::Quarantined).inc_by(a.quarantined);
        }
    }

    fn timed<T>(&self, step: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let started = Instant::now();
        let done = work();
        self.metrics.steps.get_or_create(&StepLabel { step }).observe(started.elapsed().as_secs_f64());
        done
    }
}

/// Changes that are brought into the processor's cache together.
const AT_A_TIME: usize = 32;

/// Produces the changes that the open transaction has not yet.
fn send(producer: &mut dyn TransactionalProducer, record: &mut NewRecord, changes: &mut [Change]) -> Result<()> {
    for some in changes.chunks_mut(AT_A_TIME) {
        let unsent = some.iter().filter(|c| !c.sent);
        touch(unsent.flat_map(|c| [&*c.key, c.stored.as_deref().unwrap_or_default()]));
        for change in some.iter_mut().filter(|change| !change.sent) {
            set_key(record, &change.key);
            set_payload(record, change.stored.as_deref());
            producer.send(record)?;
            change.sent = true;
        }
    }
    Ok(())
}

fn set_key(record: &mut NewRecord, key: &[u8]) {
    fill(record.key.get_or_insert_default(), key);
}

fn set_payload(record: &mut NewRecord, payload: Option<&[u8]>) {
    match payload {
        Some(payload) => fill(record.payload.get_or_insert_default(), payload),
        None => record.payload = None,
    }
}

fn fill(held: &mut Vec<u8>, with: &[u8]) {
    held.clear();
    held.extend_from_slice(with);
}

fn consumed(table: &Table, staged: &Staged) -> Vec<(TopicPartition, Offset)> {
    let of = |t: &StagedTask| {
        let partition = t.partition;
        let at = move |(topic, next)| (TopicPartition::new(topic, partition), next);
        let moved = table.repartition.clone().zip(t.position.repartition);
        source_positions(&table.def, &t.position).into_iter().chain(moved).map(at).collect::<Vec<_>>()
    };
    staged.tasks.iter().flat_map(of).collect()
}

fn index_change(change: Change) -> Option<IndexChange> {
    let Change { key, stored, visible, existed, .. } = change;
    (visible || existed).then(|| IndexChange { key, stored: stored.filter(|_| visible), existed })
}

fn publish(def: &TableDef, task: &Task, changelog: Offset) {
    let position = &task.position;
    task.view.advance(|p| {
        p.applied = source_positions(def, position).into_iter().collect();
        p.changelog = changelog;
        p.last_event_ms = position.sources.values().map(|s| s.timestamp_ms).max().unwrap_or(0);
        p.watermark = p.watermark.max(position.watermark);
        p.ended = position.ended;
        p.accounting = position.sources.iter().map(|(name, s)| (name.clone(), s.accounting)).collect();
    });
}

#[cfg(test)]
#[path = "commit_tests.rs"]
mod tests;
