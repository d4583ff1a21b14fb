//! The start of a task, and its way back after a rollback.
//!
//! Open the store → check the definition → fence the last writer → read the changelog to its high watermark → take the
//! source positions from the last position record → bring the index up.
//!
//! Who passes `stale=allow` is answered as soon as the store is open; reads by key from when it is caught up; searches after the
//! last step.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::definition::{self, StoredDefinition};
use super::plan::{self, RestorePlan};
use super::restore::{self, Changelog, IndexFeed, Repaired};
use super::view::{Phase, TaskView};
use crate::broker::{Broker, Offset, TopicPartition, Watermarks};
use crate::config::{OnGap, Settings};
use crate::query::Table;
use crate::record::{SourceDef, TableDef};
use crate::store::{Position, SharedMemory, Store, task_dir};
use crate::{Error, Kind, Result};

/// What all tasks of a table are opened with.
#[derive(Clone)]
pub struct Opener {
    /// Configuration.
    pub settings: Arc<Settings>,
    /// Broker.
    pub broker: Arc<dyn Broker>,
    /// Shared memory of the stores.
    pub shared: SharedMemory,
    /// The table.
    pub table: Arc<Table>,
    /// Transactional ids of this process: it need not fence itself.
    pub own_ids: Arc<BTreeSet<String>>,
    /// Whether last writers are fenced; an audit does not touch anybody.
    pub fence: bool,
    /// Drop the store and take the changelog as the truth.
    pub rebuild: bool,
}

/// An open task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Partition.
    pub partition: u32,
    /// What readers see of it.
    pub view: Arc<TaskView>,
    /// Its store.
    pub store: Arc<Store>,
    /// Position from which it runs.
    pub position: Position,
    /// Records that were read from the changelog.
    pub restored: u64,
    /// What was done to the index.
    pub repaired: Repaired,
}

impl Opener {
    /// Name of a task in messages.
    pub fn task_name(&self, partition: u32) -> String {
        format!("{}/{partition}", self.table.def.name)
    }

    /// Folder of a task.
    pub fn dir(&self, partition: u32) -> PathBuf {
        task_dir(&self.settings.instance.data_dir, &self.settings.application, &self.table.def.name, partition)
    }

    pub(super) fn changelog(&self, partition: u32) -> Changelog<'_> {
        let topic = self.settings.changelog_topic(&self.table.def.name);
        Changelog { broker: &*self.broker, tp: TopicPartition::new(topic, partition) }
    }

    /// Opens a task and brings store and index up to the changelog.
    pub fn open(&self, view: &Arc<TaskView>, writer: &str) -> Result<Task> {
        self.open_inner(view, writer).map_err(|e| {
            let e = e.within(format_args!("task {}", self.task_name(view.partition)));
            view.set_phase(Phase::Stopped(e.to_string()));
            e
        })
    }

    /// Takes up a task again that was lost and whose store stayed open: another owner may have gone on meanwhile.
    pub fn resume(&self, view: &Arc<TaskView>, store: Arc<Store>, writer: &str) -> Result<Task> {
        let task = self.bring_up(view, store, writer, self.fence);
        task.map_err(|e| e.within(format_args!("task {}", self.task_name(view.partition))))
    }

    fn open_inner(&self, view: &Arc<TaskView>, writer: &str) -> Result<Task> {
        let store = self.open_store(view)?;
        self.bring_up(view, store, writer, self.fence)
    }

    fn open_files(&self, dir: &Path) -> Result<Store> {
        match Store::open(dir, &self.shared) {
            // A task that was closed just now may have its records taken still.
            Err(e) if e.kind() == Kind::Refused => {
                self.table.index.flush()?;
                Store::open(dir, &self.shared)
            }
            opened => opened,
        }
    }

    /// Opens what is on disk, and shows it.
    pub(super) fn open_store(&self, view: &Arc<TaskView>) -> Result<Arc<Store>> {
        let partition = view.partition;
        view.set_phase(Phase::Opening);
        let dir = self.dir(partition);
        if self.rebuild {
            Store::destroy(&dir)?;
            // Or documents of records that the changelog does not bring back would stay, and get twins.
            self.table.index.clear_partition(partition)?;
            self.table.index.flush()?;
        }
        let store = Arc::new(self.open_files(&dir)?);
        if let Some(stored) = store.definition()? {
            let now = StoredDefinition::of(&self.table.def, self.table.partitions);
            definition::check(&self.table.def.name, &StoredDefinition::decode(&stored)?, &now)?;
        }
        if let Some(due) = store.keep_due(&self.table.def.retention)? {
            tracing::info!(task = self.task_name(partition), due, "noted when records are due");
        }
        // From here on whoever takes what there is gets answers: all that the store holds is committed.
        if let Some(position) = store.position()? {
            self.publish(view, &store, &position)?;
        }
        view.set_store(Some(store.clone()));
        Ok(store)
    }

    /// From now on the store's records are those of this definition.
    pub(super) fn keep_definition(&self, store: &Store) -> Result<()> {
        store.set_definition(&StoredDefinition::of(&self.table.def, self.table.partitions).encode()?)
    }

    /// The way back after a rollback: whether the last transaction was committed or not, the changelog tells. Fences nobody:
    /// another writer by now is the rightful owner of a task that we have lost.
    pub fn catch_up(&self, view: &Arc<TaskView>, store: Arc<Store>, writer: &str) -> Result<Task> {
        self.bring_up(view, store, writer, false)
    }

    /// Reads the changelog to its high watermark, takes the positions from it, brings the index up.
    fn bring_up(&self, view: &Arc<TaskView>, store: Arc<Store>, writer: &str, fence: bool) -> Result<Task> {
        let partition = view.partition;
        let changelog = self.changelog(partition);
        let (restored, log) = self.restore_behind_fence(&changelog, &store, view, fence)?;
        let stored = store.position()?;
        self.check_group(partition, stored.as_ref())?;
        let logs = self.source_logs(partition)?;
        let on_gap = if self.fence { self.settings.processing.on_gap } else { OnGap::Continue };
        let name = self.task_name(partition);
        let starts = plan::starts(&name, &self.table.def, stored.as_ref(), &logs, on_gap)?;
        // Not before: a definition that does not fit the changelog must not stand in the way of the one that does.
        self.keep_definition(&store)?;
        for (source, start) in starts.iter().filter(|(_, s)| s.gap > 0) {
            tracing::warn!(task = name, source, events = start.gap, "retention took events before they were read");
        }
        let moved = self.repartition_start(&name, partition, stored.as_ref(), on_gap)?;
        let mut position = plan::position(&self.table.def, stored, &starts, writer);
        position.repartition = moved;
        self.publish(view, &store, &position)?;
        view.set_store(Some(store.clone()));
        let sources = source_positions(&self.table.def, &position);
        let feed =
            IndexFeed { index: &self.table.index, store: &store, partition, changelog: store.changelog()?, sources };
        let repaired = feed.repair(&changelog, self.table.index.covered(partition), log.low, view)?;
        let indexed = store.changelog()?;
        view.advance(|p| {
            p.visible.clone_from(&p.applied);
            p.indexed = indexed;
        });
        Ok(Task { partition, view: view.clone(), store, position, restored, repaired })
    }

    /// Reads what is committed, ends a transaction that is still open there, reads to the high watermark of after that. A log
    /// without an open transaction is left alone: its last writer may be alive and busy with its other tasks.
    fn restore_behind_fence(
        &self,
        changelog: &Changelog<'_>,
        store: &Store,
        view: &TaskView,
        fence: bool,
    ) -> Result<(u64, Watermarks)> {
        let name = self.task_name(view.partition);
        let (mut restored, mut fenced) = (0, BTreeSet::new());
        loop {
            let log = self.broker.watermarks(&changelog.tp)?;
            let plan = plan::restore(&name, store.changelog()?, log)?;
            let stable = RestorePlan { to: plan.to.min(log.stable), ..plan };
            restored += restore::restore(changelog, stable, store, view, &mut |_| {})?;
            let writer = store.position()?.map(|p| p.writer).unwrap_or_default();
            let open = fence && log.stable < log.high;
            if !open || writer.is_empty() || self.own_ids.contains(&writer) || !fenced.insert(writer.clone()) {
                let rest = RestorePlan { from: store.changelog()?.max(log.low), ..plan };
                restored += restore::restore(changelog, rest, store, view, &mut |_| {})?;
                return Ok((restored, log));
            }
            tracing::info!(task = name, writer, "fencing the last writer");
            drop(self.broker.transactional(&writer)?);
        }
    }

    /// A task without a position whose group has one has lost its changelog: never "restored, empty". Of a topic that another
    /// table reads, too, the group's offset may be that table's.
    pub(super) fn check_group(&self, partition: u32, stored: Option<&Position>) -> Result<()> {
        let readers =
            |topic: &str| self.settings.tables.iter().flat_map(|t| &t.sources).filter(|s| s.topic == topic).count();
        let own = self.table.def.sources.iter().filter(|s| readers(&s.topic) < 2);
        let tps = own.map(|s| TopicPartition::new(s.topic.as_str(), partition));
        let committed = self.broker.committed(&self.settings.application, &tps.collect::<Vec<_>>())?;
        let next_of = |topic: &str| stored.and_then(|p| p.sources.values().find(|s| s.topic == topic)).map(|s| s.next);
        for (tp, offset) in committed {
            match next_of(&tp.topic) {
                None if stored.is_none() && offset > 0 && !self.rebuild => {
                    return Err(Error::new(
                        Kind::ChangelogMismatch,
                        format!("the group has read {tp} up to offset {offset}, but changelog and store are empty: they were lost or made anew"),
                    )
                    .advise("bring the changelog back; or use a new application name to read everything again; or start with --rebuild to begin empty at the start of the sources"));
                }
                Some(next) if next != offset => {
                    tracing::info!(%tp, group = offset, changelog = next, "the group's offset differs from the position record, which counts");
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where the internal topic for misplaced events continues, if the table has one.
    fn repartition_start(
        &self,
        name: &str,
        partition: u32,
        stored: Option<&Position>,
        on_gap: OnGap,
    ) -> Result<Option<Offset>> {
        let Some(topic) = &self.table.repartition else { return Ok(stored.and_then(|p| p.repartition)) };
        let log = self.broker.watermarks(&TopicPartition::new(topic.clone(), partition))?;
        let start = plan::start(name, topic, stored.and_then(|p| p.repartition), log, on_gap)?;
        Ok(Some(start.next))
    }

    fn source_logs(&self, partition: u32) -> Result<BTreeMap<String, Watermarks>> {
        let log = |s: &SourceDef| {
            Ok((s.name.clone(), self.broker.watermarks(&TopicPartition::new(s.topic.as_str(), partition))?))
        };
        self.table.def.sources.iter().map(log).collect()
    }

    /// Says what the store covers. What the index shows of it comes later.
    pub(super) fn publish(&self, view: &TaskView, store: &Store, position: &Position) -> Result<()> {
        let changelog = store.changelog()?;
        view.advance(|p| {
            p.applied = source_positions(&self.table.def, position).into_iter().collect();
            p.changelog = changelog;
            p.last_event_ms = position.sources.values().map(|s| s.timestamp_ms).max().unwrap_or(0);
            p.watermark = p.watermark.max(position.watermark);
            p.ended = position.ended;
            p.accounting = position.sources.iter().map(|(name, s)| (name.clone(), s.accounting)).collect();
        });
        Ok(())
    }
}

/// The next offset of each source, by topic. A position remembers sources that the table has no more: they do not count.
pub fn source_positions(def: &TableDef, position: &Position) -> Vec<(Arc<str>, Offset)> {
    let of = |s: &SourceDef| Some((Arc::from(s.topic.as_str()), position.next(&s.name)?));
    def.sources.iter().filter_map(of).collect()
}
