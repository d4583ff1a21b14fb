//! Metrics: registered once, counted in place, served by `/metrics` in Prometheus' text format.

mod cluster;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

pub use cluster::{ClusterMetrics, KindLabel, PeerLabel, RequestLabels, StateLabel};

use crate::record::Outcome;

/// Labels of outcome counters.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct OutcomeLabels {
    /// Table.
    pub table: String,
    /// Source.
    pub source: String,
    /// applied, duplicate, stale or quarantined.
    pub outcome: &'static str,
}

/// Label of a table.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TableLabel {
    /// Table.
    pub table: String,
}

/// Labels of the documents written to an index.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TierLabels {
    /// Table.
    pub table: String,
    /// `live` or `disk`.
    pub tier: &'static str,
}

/// Labels of a quarantine counter.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabels {
    /// Table.
    pub table: String,
    /// Reason code.
    pub reason: &'static str,
}

/// Labels of the errors of a derived field.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct FieldLabels {
    /// Table.
    pub table: String,
    /// Field.
    pub field: String,
}

/// Labels of the streams that were cut.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CutLabels {
    /// Table.
    pub table: String,
    /// too_slow, stopping, gap or failed.
    pub reason: &'static str,
}

/// Label of a commit step.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StepLabel {
    /// ahead, produce, drain, offsets, commit or apply. Whichever of the first two begins the transaction waits for the one before.
    pub step: &'static str,
}

/// Labels of a gauge of one task.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct TaskLabels {
    /// Table.
    pub table: String,
    /// Partition.
    pub partition: u32,
}

/// Label of a part of the memory budget, or of a broker statistic.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PartLabel {
    /// Part.
    pub part: String,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    /// Events consumed, by what became of them.
    pub events: Family<OutcomeLabels, Counter>,
    /// Quarantined events by reason.
    pub quarantined: Family<ReasonLabels, Counter>,
    /// Commits done.
    pub commits: Counter,
    /// Commits aborted and rolled back.
    pub aborts: Counter,
    /// Workers found without progress for `instance.stall_timeout`.
    pub stalls: Counter,
    /// Time of each commit step.
    pub steps: Family<StepLabel, Histogram>,
    /// Broker timestamp of the oldest event of a batch → applied to the store.
    pub applied_after: Family<TableLabel, Histogram>,
    /// Broker timestamp of the oldest event of a batch → visible to search.
    pub visible_after: Family<TableLabel, Histogram>,
    /// Deletes later than the window, limits that pushed members out, ids with other content.
    pub window_misses: Family<TableLabel, Counter>,
    /// Members pushed out by limits.
    pub evicted: Family<TableLabel, Counter>,
    /// Event ids seen again with other content.
    pub id_conflicts: Family<TableLabel, Counter>,
    /// Tombstones that were removed because their horizon has passed.
    pub tombstones_removed: Family<TableLabel, Counter>,
    /// Records that were removed because their time to live has passed.
    pub records_expired: Family<TableLabel, Counter>,
    /// Unread source records.
    pub lag: Family<TaskLabels, Gauge>,
    /// Unread changelog records of a standby.
    pub standby_lag: Family<TaskLabels, Gauge>,
    /// Whether a table has stopped for a reason that needs a person: 0 or 1.
    pub stopped: Family<TableLabel, Gauge>,
    /// Bytes of a task's store on disk.
    pub store_bytes: Family<TaskLabels, Gauge>,
    /// Bytes that compaction of a task's store has still to rewrite.
    pub compaction_debt: Family<TaskLabels, Gauge>,
    /// Documents of a table's index.
    pub index_documents: Family<TableLabel, Gauge>,
    /// Segments of a table's index.
    pub index_segments: Family<TableLabel, Gauge>,
    /// Bytes of a table's index on disk.
    pub index_bytes: Family<TableLabel, Gauge>,
    /// Documents written to an index, by where they go: `live` (memory, shown at once) or `disk`.
    pub index_writes: Family<TierLabels, Counter>,
    /// Derived fields left out of documents on disk, since they could not be computed.
    pub derived_errors: Family<FieldLabels, Counter>,
    /// Index commits.
    pub index_commits: Family<TableLabel, Counter>,
    /// Time of an index commit.
    pub index_commit: Family<TableLabel, Histogram>,
    /// Streams of changes that are open.
    pub change_streams: Family<TableLabel, Gauge>,
    /// Events sent to them.
    pub change_events: Family<TableLabel, Counter>,
    /// Streams of changes that were cut, by reason.
    pub change_cuts: Family<CutLabels, Counter>,
    /// Parts of the memory budget and what is resident, bytes.
    pub memory: Family<PartLabel, Gauge>,
    /// The other instances.
    pub cluster: ClusterMetrics,
    /// What the broker side reports.
    pub broker: Family<PartLabel, Gauge<f64, AtomicU64>>,
}

impl Metrics {
    /// Registers everything.
    pub fn new() -> Arc<Self> {
        let mut r = Registry::with_prefix("keld");
        macro_rules! family {
            ($name:literal, $help:literal, $metric:expr) => {{
                let m = $metric;
                r.register($name, $help, m.clone());
                m
            }};
        }
        macro_rules! timed {
            ($name:literal, $help:literal, $metric:expr) => {{
                let m = $metric;
                r.register_with_unit($name, $help, Unit::Seconds, m.clone());
                m
            }};
        }
        let cluster = ClusterMetrics::register(&mut r);
        let metrics = Self {
            cluster,
            events: family!("events", "Events consumed, by what became of them", Family::default()),
            quarantined: family!("quarantined", "Quarantined events by reason", Family::default()),
            commits: family!("commits", "Commits", Counter::default()),
            aborts: family!("commit_aborts", "Commits aborted and rolled back", Counter::default()),
            stalls: family!(
                "worker_stalls",
                "Workers found without progress for instance.stall_timeout",
                Counter::default()
            ),
            steps: timed!(
                "commit_step",
                "Time of a commit step",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            applied_after: timed!(
                "applied_after",
                "Oldest event of a batch: broker timestamp to applied",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            visible_after: timed!(
                "visible_after",
                "Oldest event of a batch: broker timestamp to searchable",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            window_misses: family!("window_misses", "Deletes that came later than the window", Family::default()),
            evicted: family!("evicted_members", "Members pushed out by limits", Family::default()),
            id_conflicts: family!("event_id_conflicts", "Event ids seen again with other content", Family::default()),
            tombstones_removed: family!(
                "tombstones_removed",
                "Tombstones removed because their horizon has passed",
                Family::default()
            ),
            records_expired: family!(
                "records_expired",
                "Records removed because their time to live has passed",
                Family::default()
            ),
            lag: family!("lag_events", "Unread source records", Family::default()),
            standby_lag: family!("standby_lag", "Unread changelog records of a standby", Family::default()),
            stopped: family!("table_stopped", "Whether a table has stopped and needs a person", Family::default()),
            store_bytes: family!("store_bytes", "Bytes of a store on disk", Family::default()),
            compaction_debt: family!(
                "store_compaction_debt_bytes",
                "Bytes that compaction of a store has still to rewrite, an estimate",
                Family::default()
            ),
            index_documents: family!("index_documents", "Documents of an index", Family::default()),
            index_segments: family!("index_segments", "Segments of an index", Family::default()),
            index_bytes: family!("index_bytes", "Bytes of an index on disk", Family::default()),
            index_writes: family!("index_writes", "Documents written to an index, by tier", Family::default()),
            derived_errors: family!(
                "derived_errors",
                "Derived fields left out of documents, since they could not be computed",
                Family::default()
            ),
            index_commits: family!("index_commits", "Index commits", Family::default()),
            index_commit: timed!(
                "index_commit",
                "Time of an index commit",
                Family::new_with_constructor(seconds as fn() -> Histogram)
            ),
            change_streams: family!("change_streams", "Streams of changes that are open", Family::default()),
            change_events: family!("change_events", "Events sent to streams of changes", Family::default()),
            change_cuts: family!(
                "change_streams_cut",
                "Streams of changes that were cut, by reason",
                Family::default()
            ),
            memory: family!("memory_bytes", "Parts of the memory budget, and resident memory", Family::default()),
            broker: family!("broker_stat", "What the broker side reports", Family::default()),
            registry: Mutex::new(Registry::default()),
        };
        *metrics.registry.lock() = r;
        Arc::new(metrics)
    }

    /// The text that Prometheus scrapes.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut out, &self.registry.lock());
        out
    }

    /// What counts the streams of one table.
    pub fn changes(&self, table: &str) -> ChangeMetrics {
        let label = TableLabel { table: table.to_owned() };
        let streams = self.change_streams.get_or_create_owned(&label);
        ChangeMetrics { streams, events: self.change_events.get_or_create_owned(&label) }
    }

    /// The counters of one table, resolved once so that counting touches no map.
    pub fn table(&self, table: &str, sources: &[String], derived: &[String]) -> Arc<TableMetrics> {
        let label = TableLabel { table: table.to_owned() };
        let outcome = |source: &String, outcome| {
            self.events.get_or_create_owned(&OutcomeLabels { table: table.to_owned(), source: source.clone(), outcome })
        };
        Arc::new(TableMetrics {
            sources: sources
                .iter()
                .map(|s| SourceMetrics {
                    applied: outcome(s, "applied"),
                    duplicate: outcome(s, "duplicate"),
                    stale: outcome(s, "stale"),
                    quarantined: outcome(s, "quarantined"),
                })
                .collect(),
            applied_after: self.applied_after.get_or_create_owned(&label),
            visible_after: self.visible_after.get_or_create_owned(&label),
            index_live: self.index_writes.get_or_create_owned(&TierLabels { table: table.to_owned(), tier: "live" }),
            index_disk: self.index_writes.get_or_create_owned(&TierLabels { table: table.to_owned(), tier: "disk" }),
            derived_errors: derived
                .iter()
                .map(|field| FieldLabels { table: table.to_owned(), field: field.clone() })
                .map(|labels| self.derived_errors.get_or_create_owned(&labels))
                .collect(),
            index_commits: self.index_commits.get_or_create_owned(&label),
            index_commit: self.index_commit.get_or_create_owned(&label),
            tombstones_removed: self.tombstones_removed.get_or_create_owned(&label),
            records_expired: self.records_expired.get_or_create_owned(&label),
            history: TableHistory {
                window_misses: self.window_misses.get_or_create_owned(&label),
                evicted: self.evicted.get_or_create_owned(&label),
                id_conflicts: self.id_conflicts.get_or_create_owned(&label),
            },
        })
    }
}

/// What counts the streams of one table.
#[derive(Debug)]
pub struct ChangeMetrics {
    /// See [`Metrics::change_streams`].
    pub streams: Gauge,
    /// See [`Metrics::change_events`].
    pub events: Counter,
}

/// Outcome counters of one source.
#[derive(Debug)]
pub struct SourceMetrics {
    applied: Counter,
    duplicate: Counter,
    stale: Counter,
    quarantined: Counter,
}

impl SourceMetrics {
    /// The counter of an outcome.
    pub fn of(&self, outcome: Outcome) -> &Counter {
        match outcome {
            Outcome::Applied => &self.applied,
            Outcome::Duplicate => &self.duplicate,
            Outcome::Stale => &self.stale,
            Outcome::Quarantined => &self.quarantined,
        }
    }
}

/// Counters of one table.
#[derive(Debug)]
pub struct TableMetrics {
    /// By source, in the order of the definition.
    pub sources: Vec<SourceMetrics>,
    /// See [`Metrics::applied_after`].
    pub applied_after: Histogram,
    /// See [`Metrics::visible_after`].
    pub visible_after: Histogram,
    /// See [`Metrics::index_writes`].
    pub index_live: Counter,
    /// See [`Metrics::index_writes`].
    pub index_disk: Counter,
    /// By derived field, in the order of the definition. See [`Metrics::derived_errors`].
    pub derived_errors: Vec<Counter>,
    /// See [`Metrics::index_commits`].
    pub index_commits: Counter,
    /// See [`Metrics::index_commit`].
    pub index_commit: Histogram,
    tombstones_removed: Counter,
    records_expired: Counter,
    /// Rare things that merging met.
    pub history: TableHistory,
}

impl TableMetrics {
    /// Counts what event time has ended.
    pub fn ended(&self, tombstones: u64, records: u64) {
        self.tombstones_removed.inc_by(tombstones);
        self.records_expired.inc_by(records);
    }
}

/// Counters of rare things that merging meets.
#[derive(Debug)]
pub struct TableHistory {
    window_misses: Counter,
    evicted: Counter,
    id_conflicts: Counter,
}

impl TableHistory {
    /// Counts what a merge reports.
    pub fn note(&self, merged: &crate::record::Merged) {
        self.window_misses.inc_by(u64::from(merged.window_misses));
        self.evicted.inc_by(u64::from(merged.evicted));
        self.id_conflicts.inc_by(u64::from(merged.id_conflicts));
    }
}
