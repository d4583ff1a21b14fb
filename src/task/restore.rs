//! Bringing a task's store and index up to its changelog.
//!
//! Owns the order of the steps at the start of a task and after a rollback. The decisions are in [`super::plan`]; how the
//! log is read is the broker's business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;

use super::plan::{self, IndexRepair, RestorePlan};
use super::view::{Phase, TaskView};
use crate::broker::{Broker, Offset, Progress, TopicPartition};
use crate::fault;
use crate::index::{Behind, IndexBatch, IndexChange, TableIndex};
use crate::record::POSITION_KEY;
use crate::store::{Position, Settled, Store, StoreBatch};
use crate::{Error, Result};

/// Records of the changelog that are applied at a time.
const STRETCH: usize = 2_000;
/// Bytes of them from which fewer will do.
const STRETCH_BYTES: usize = 8 << 20;
/// Bytes of changelog after which feeding the index whole is better than holding the keys that have changed.
const MOST_CHANGED: usize = 256 << 20;
/// Keys that are fed to the index at a time.
const FEED: usize = 5_000;
/// How long the end of a changelog may stay out of reach before the log says so; a dead owner's open transaction holds it
/// back until the broker ends it.
const SLOW: Duration = Duration::from_secs(5);

/// A changelog as one task sees it.
pub struct Changelog<'a> {
    /// Broker.
    pub broker: &'a dyn Broker,
    /// The task's partition of the changelog topic.
    pub tp: TopicPartition,
}

impl Changelog<'_> {
    /// Reads from `plan.from` until everything below `plan.to` was handed out, whoever wrote it and however long its
    /// transaction takes to end. What is read beyond it is handed out, too.
    fn read(&self, plan: RestorePlan, visit: &mut dyn FnMut(Stretch) -> Result<()>) -> Result<()> {
        self.read_below(plan, Offset::MAX, visit)
    }

    /// As [`Changelog::read`], without what stands at `limit` or behind it.
    fn read_below(&self, plan: RestorePlan, limit: Offset, visit: &mut dyn FnMut(Stretch) -> Result<()>) -> Result<()> {
        if plan.from >= plan.to {
            return Ok(());
        }
        let mut reader = self.broker.reader(&self.tp, plan.from)?;
        let mut stretch = Stretch { next: plan.from, ..Stretch::default() };
        let (mut quiet, mut told) = (Instant::now(), Instant::now());
        loop {
            // A stretch is applied as soon as it is full: it always has room for one more here.
            let room = STRETCH - stretch.records.len();
            let progress = reader.read(room, Duration::from_millis(200), &mut |m| {
                stretch.next = m.offset + 1;
                if m.offset < limit {
                    stretch.push(m.key, m.payload);
                }
            })?;
            match progress {
                Progress::Records(0) if told.elapsed() > SLOW => {
                    told = Instant::now();
                    let waited = quiet.elapsed().as_secs();
                    tracing::info!(changelog = %self.tp, at = stretch.next, to = plan.to, waited, "waiting for an open transaction to end; if it takes longer than transaction.timeout.ms, `kafka-transactions.sh find-hanging` tells why");
                }
                Progress::Records(_) => {}
                // Trailing control records have no handed-out record behind them: the end itself is the position.
                Progress::End { to } => stretch.next = stretch.next.max(to.min(plan.to)),
            }
            let done = stretch.next >= plan.to;
            if stretch.records.len() >= STRETCH
                || stretch.bytes >= STRETCH_BYTES
                || (done && !stretch.is_empty_at(plan.from))
            {
                let next = stretch.next;
                visit(std::mem::replace(&mut stretch, Stretch { next, ..Stretch::default() }))?;
                (quiet, told) = (Instant::now(), Instant::now());
            }
            if done {
                return Ok(());
            }
        }
    }
}

impl Changelog<'_> {
    /// Hands every record of the plan's range to `visit`, and no other; position records left out.
    pub fn visit(&self, plan: RestorePlan, visit: &mut dyn FnMut(&[u8], Option<&[u8]>)) -> Result<()> {
        self.read_below(plan, plan.to, &mut |stretch| {
            stretch.records.iter().for_each(|(k, v)| visit(k, v.as_deref()));
            Ok(())
        })
    }
}

/// Some consecutive records of a changelog.
#[derive(Default)]
struct Stretch {
    records: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    position: Option<Vec<u8>>,
    /// Bytes of `records`, about.
    bytes: usize,
    next: Offset,
}

impl Stretch {
    fn push(&mut self, key: Option<&[u8]>, payload: Option<&[u8]>) {
        match (key, payload) {
            (Some(POSITION_KEY), Some(p)) => self.position = Some(p.to_vec()),
            (Some(key), payload) => {
                self.bytes += key.len() + payload.map_or(0, <[u8]>::len) + 64;
                self.records.push((key.to_vec(), payload.map(<[u8]>::to_vec)));
            }
            (None, _) => {}
        }
    }
    fn is_empty_at(&self, from: Offset) -> bool {
        self.records.is_empty() && self.position.is_none() && self.next == from
    }
}

/// Applies the changelog to the store as planned; returns how many records that were, and hands every touched key to `touched`.
pub fn restore(
    changelog: &Changelog<'_>,
    plan: RestorePlan,
    store: &Store,
    view: &TaskView,
    touched: &mut dyn FnMut(&[u8]),
) -> Result<u64> {
    let (mut count, started, mut settled) = (0u64, Instant::now(), Settled::default());
    view.show(Phase::Restoring { at: plan.from, end: plan.to, rate: 0.0 });
    changelog.read(plan, &mut |stretch| {
        wanted(view)?;
        let position = stretch.position.as_deref().map(Position::decode).transpose()?;
        let records = stretch.records.iter().map(|(k, v)| (k.as_slice(), v.as_deref())).collect();
        let batch = StoreBatch { records, position: position.as_ref(), changelog: stretch.next };
        store.follow(&batch, &mut settled)?;
        fault::point("restore.1_applied");
        stretch.records.iter().for_each(|(k, _)| touched(k));
        count += stretch.records.len() as u64;
        let rate = count as f64 / started.elapsed().as_secs_f64().max(0.001);
        view.show(Phase::Restoring { at: stretch.next, end: plan.to, rate });
        Ok(())
    })?;
    Ok(count)
}

/// What feeding the index needs to know of a task.
pub struct IndexFeed<'a> {
    /// Index of the table.
    pub index: &'a TableIndex,
    /// Store of the task.
    pub store: &'a Store,
    /// Partition of the task.
    pub partition: u32,
    /// What the store covers.
    pub changelog: Offset,
    /// Source positions of the store.
    pub sources: Vec<(Arc<str>, Offset)>,
}

impl IndexFeed<'_> {
    fn submit(&self, changes: Vec<IndexChange>, covered: Offset) -> Result<()> {
        let last = covered == self.changelog;
        let batch = IndexBatch {
            partition: self.partition,
            changelog: covered,
            sources: if last { self.sources.clone() } else { Vec::new() },
            changes,
            oldest_ms: None,
            behind: (!last).then_some(Behind { unread: 0, left: Duration::MAX }),
            records: None,
        };
        if last { self.index.submit_last(batch) } else { self.index.submit(batch) }
    }

    /// Renews the documents of `keys` from the store. `covered` is what the index covers with all but the last of them.
    pub fn renew<'k>(&self, keys: impl Iterator<Item = &'k [u8]>, covered: Offset) -> Result<u64> {
        let keys: Vec<&[u8]> = keys.collect();
        for chunk in keys.chunks(FEED) {
            let found = self.store.get_many(chunk)?;
            let change = |(key, stored): (&&[u8], Option<Vec<u8>>)| {
                let stored = stored.map(Arc::from);
                IndexChange { key: (*key).into(), stored, existed: true }
            };
            self.submit(chunk.iter().zip(found).map(change).collect(), covered)?;
        }
        self.submit(Vec::new(), self.changelog)?;
        Ok(keys.len() as u64)
    }

    /// Feeds every record of the store again.
    fn whole(&self, view: &TaskView) -> Result<u64> {
        // Also where it goes on answering otherwise: what is not in the index yet must not look as if it did not exist.
        view.set_phase(Phase::Indexing { done: 0 });
        self.index.clear_partition(self.partition)?;
        let (mut changes, mut count) = (Vec::new(), 0u64);
        self.store.scan(b"", &mut |key, stored| {
            changes.push(IndexChange { key: key.into(), stored: Some(stored.into()), existed: false });
            count += 1;
            if changes.len() >= FEED {
                wanted(view)?;
                self.submit(std::mem::take(&mut changes), 0)?;
                view.show(Phase::Indexing { done: count });
            }
            Ok(true)
        })?;
        self.submit(changes, self.changelog)?;
        Ok(count)
    }

    /// The keys that the changelog names from `from` on; `None` if there are too many of them to be held.
    fn changed(&self, changelog: &Changelog<'_>, from: Offset) -> Result<Option<FxHashSet<Vec<u8>>>> {
        let (mut keys, mut bytes) = (Some(FxHashSet::default()), 0);
        changelog.read(RestorePlan { from, to: self.changelog }, &mut |stretch| {
            bytes += stretch.bytes;
            match &mut keys {
                Some(_) if bytes > MOST_CHANGED => keys = None,
                Some(keys) => keys.extend(stretch.records.into_iter().map(|(k, _)| k)),
                None => {}
            }
            Ok(())
        })?;
        Ok(keys)
    }

    /// Brings the index up to the store, and waits until it shows it.
    pub fn repair(
        &self,
        changelog: &Changelog<'_>,
        covered: Option<Offset>,
        low: Offset,
        view: &TaskView,
    ) -> Result<Repaired> {
        view.show(Phase::Indexing { done: 0 });
        let repaired = match plan::index_repair(covered, self.changelog, low) {
            IndexRepair::None => {
                self.submit(Vec::new(), self.changelog)?;
                Repaired::default()
            }
            IndexRepair::Whole => Repaired { whole: true, keys: self.whole(view)? },
            IndexRepair::Gap(from) => match self.changed(changelog, from)? {
                Some(keys) => Repaired { whole: false, keys: self.renew(keys.iter().map(Vec::as_slice), from)? },
                None => Repaired { whole: true, keys: self.whole(view)? },
            },
        };
        self.index.flush()?;
        Ok(repaired)
    }
}

/// What a repair of the index did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Whether everything was fed again.
    pub whole: bool,
    /// Keys renewed.
    pub keys: u64,
}

/// Ends work for a task that was taken away meanwhile.
fn wanted(view: &TaskView) -> Result<()> {
    if view.is_abandoned() { Err(Error::internal("the task was taken away while it was being opened")) } else { Ok(()) }
}
