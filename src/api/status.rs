//! `GET /v1/status`: this instance, its tasks and its tables, as of now.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::context::Context;
use super::freshness::{RestoreState, lag_ms};
use super::openapi::Problems;
use super::params::Params;
use super::position::{last_events, role_word};
use super::problem::Problem;
use crate::config::{BrokerKind, MemoryPlan};
use crate::query::Table;
use crate::task::{Phase, Role, TaskView};

/// This instance, as of now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Status {
    /// Application.
    application: String,
    /// Name of this instance.
    instance: String,
    /// Version of Keld.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Time since start, seconds.
    uptime_s: f64,
    /// This instance's clock, milliseconds since the epoch.
    now_ms: i64,
    /// Whether it is shutting down.
    stopping: bool,
    /// Which worker makes no progress, if any: this instance has given all its tasks away meanwhile.
    stall: Option<String>,
    /// The broker.
    broker: BrokerStatus,
    /// The schema registry; null where the application has none.
    schema_registry: Option<RegistryStatus>,
    /// Memory.
    memory: MemoryStatus,
    /// Tasks on this instance, by table and partition.
    tasks: Vec<TaskStatus>,
    /// Tables.
    tables: Vec<TableStatus>,
}

/// The broker.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BrokerStatus {
    /// `local` or `kafka`.
    kind: &'static str,
    /// What is wrong with it now, if anything.
    trouble: Option<String>,
}

/// The schema registry.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegistryStatus {
    /// Its address.
    #[schema(example = "http://127.0.0.1:8081")]
    url: String,
    /// What is wrong with it now, if anything: events that need a schema wait meanwhile.
    trouble: Option<String>,
}

/// Memory, bytes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MemoryStatus {
    /// How the budget is shared out. Parts named after one worker or table are for each of them.
    #[schema(value_type = BTreeMap<String, u64>)]
    plan: BTreeMap<&'static str, u64>,
    /// What the process really holds; null where the system does not tell.
    resident: Option<u64>,
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskStatus {
    /// Table.
    table: String,
    /// Partition.
    partition: u32,
    /// `active` or `standby`.
    role: &'static str,
    /// Where in its life it is.
    phase: PhaseStatus,
    /// Last event in the store, by topic, as `at_least` takes it.
    applied: BTreeMap<String, String>,
    /// Last event visible to search, by topic, as `at_least` takes it.
    visible: BTreeMap<String, String>,
    /// Changelog position of the store.
    changelog: i64,
    /// Changelog position of the index.
    indexed: i64,
    /// Unread events; of a standby, unread records of its changelog.
    lag: i64,
    /// The same by topic.
    lag_by_topic: BTreeMap<String, i64>,
    /// How old what was applied last is while unread events wait, milliseconds; 0 if none wait.
    lag_ms: i64,
    /// Records, approximately; tombstones may be counted.
    records: u64,
    /// Event time that the task has reached, milliseconds: what `tombstone_horizon` and `ttl` go by. Null where versions are no
    /// times, and until something of every source was read.
    watermark_ms: Option<i64>,
    /// Tombstones and records that event time will end, approximately; some may be counted twice.
    due: u64,
    /// Tombstones whose horizon has passed, since the beginning: they are gone.
    tombstones_removed: u64,
    /// Records whose time to live has passed, since the beginning: they are gone.
    records_expired: u64,
    /// Bytes of the store on disk.
    store_bytes: u64,
}

/// Where in its life a task is.
#[derive(Debug, Default, PartialEq, Serialize, ToSchema)]
#[schema(as = Phase)]
pub(crate) struct PhaseStatus {
    /// `opening`, `restoring`, `indexing`, `running`, `releasing` or `stopped`.
    #[schema(example = "running")]
    name: &'static str,
    /// Restoring: how much of the changelog is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    percent: Option<f64>,
    /// Restoring: records a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<f64>,
    /// Restoring: seconds left at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_s: Option<f64>,
    /// Indexing: records fed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    done: Option<u64>,
    /// Stopped: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// A table.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TableStatus {
    /// Name.
    name: String,
    /// Partitions of the table.
    partitions: u32,
    /// Partitions that are not on this instance.
    missing_partitions: Vec<u32>,
    /// Documents of the index: records with something to show.
    documents: u64,
    /// Bytes of the stores on disk.
    store_bytes: u64,
    /// Unread events.
    lag: i64,
    /// What became of the events of each source in the tasks that this instance owns, since the beginning: it survives restarts.
    accounting: BTreeMap<String, Accounting>,
    /// Derived fields, by name: how often one was left out of a document on disk since it could not be computed, since the
    /// start of this instance. `explain=true` on a record says why.
    derived_errors: BTreeMap<String, u64>,
}

/// What became of events. Every consumed event is counted once.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Accounting {
    /// All of them.
    consumed: u64,
    /// The record changed.
    applied: u64,
    /// Held already.
    duplicate: u64,
    /// Superseded by what is held.
    stale: u64,
    /// Set aside.
    quarantined: u64,
}

/// Shows this instance
///
/// with memory, tasks, positions, lag and accounting.
#[utoipa::path(get, path = "/v1/status", tag = "operation", responses((status = 200, body = Status), Problems))]
pub(crate) async fn status(State(ctx): State<Context>, params: Params) -> Result<Json<Status>, Problem> {
    params.finish()?;
    let shared = ctx.clone();
    // Stores are asked for their sizes, which may block.
    ctx.lookups.run(move || Ok(Json(collect(&shared)))).await
}

/// Bytes that the process holds.
pub(crate) fn resident() -> Option<u64> {
    memory_stats::memory_stats().map(|m| m.physical_mem as u64)
}

fn collect(ctx: &Context) -> Status {
    let settings = &ctx.state.settings;
    let now_ms = crate::clock::now_ms();
    let mut tasks = Vec::new();
    let mut tables = Vec::new();
    for table in ctx.state.tables.values() {
        let here: Vec<TaskStatus> = table.tasks().values().map(|view| task(view, now_ms)).collect();
        tables.push(summary(table, &here));
        tasks.extend(here);
    }
    Status {
        application: settings.application.clone(),
        instance: settings.instance.id.clone(),
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: (ctx.started.elapsed().as_secs_f64() * 10.0).round() / 10.0,
        now_ms,
        stopping: ctx.state.health.is_stopping(),
        stall: ctx.state.health.stall().map(|s| s.to_string()),
        broker: BrokerStatus {
            kind: match settings.broker.kind {
                BrokerKind::Local => "local",
                BrokerKind::Kafka => "kafka",
            },
            trouble: ctx.state.health.trouble().map(|t| t.to_string()),
        },
        schema_registry: settings.schema_registry.as_ref().map(|registry| RegistryStatus {
            url: registry.url.clone(),
            trouble: ctx.state.health.schema_trouble().map(|t| t.to_string()),
        }),
        memory: MemoryStatus { plan: plan(&ctx.state.memory), resident: resident() },
        tasks,
        tables,
    }
}

fn plan(memory: &MemoryPlan) -> BTreeMap<&'static str, u64> {
    memory.parts().into_iter().collect()
}

fn task(view: &TaskView, now_ms: i64) -> TaskStatus {
    let progress = view.progress();
    let lag = view.lag();
    let store = view.store();
    TaskStatus {
        table: view.table.to_string(),
        partition: view.partition,
        role: role_word(view.role),
        phase: PhaseStatus::of(&view.phase()),
        applied: last_events(view.partition, &progress.applied),
        visible: last_events(view.partition, &progress.visible),
        changelog: progress.changelog,
        indexed: progress.indexed,
        lag: lag.values().sum(),
        lag_by_topic: lag.iter().map(|(topic, n)| (topic.to_string(), *n)).collect(),
        lag_ms: lag_ms(view, now_ms),
        records: store.as_ref().map_or(0, |s| s.approximate_records()),
        watermark_ms: progress.watermark,
        due: store.as_ref().map_or(0, |s| s.approximate_due()),
        tombstones_removed: progress.ended.tombstones,
        records_expired: progress.ended.records,
        store_bytes: store.as_ref().map_or(0, |s| s.bytes()),
    }
}

impl PhaseStatus {
    pub(crate) fn of(phase: &Phase) -> Self {
        let state = RestoreState::of(phase);
        let base = Self { name: phase.word(), percent: state.percent, eta_s: state.eta_s, ..Self::default() };
        match phase {
            Phase::Restoring { rate, .. } => Self { rate: Some(rate.round()), ..base },
            Phase::Indexing { done } => Self { done: Some(*done), ..base },
            Phase::Stopped(why) => Self { why: Some(why.clone()), ..base },
            Phase::Opening | Phase::Running | Phase::Releasing => base,
        }
    }
}

fn summary(table: &Table, here: &[TaskStatus]) -> TableStatus {
    let present = |p: &u32| here.iter().any(|t| t.partition == *p);
    TableStatus {
        name: table.def.name.clone(),
        partitions: table.partitions,
        missing_partitions: (0..table.partitions).filter(|p| !present(p)).collect(),
        documents: table.index.view().documents(),
        store_bytes: here.iter().map(|t| t.store_bytes).sum(),
        lag: here.iter().filter(|t| t.role == role_word(Role::Active)).map(|t| t.lag).sum(),
        accounting: accounting(table),
        derived_errors: derived_errors(table),
    }
}

fn accounting(table: &Table) -> BTreeMap<String, Accounting> {
    let mut sums: BTreeMap<String, crate::store::Accounting> =
        table.def.sources.iter().map(|s| (s.name.clone(), crate::store::Accounting::default())).collect();
    // Of each task one instance tells: its owner.
    for task in table.tasks().values().filter(|task| task.role == Role::Active) {
        for (source, account) in task.progress().accounting {
            sums.entry(source).or_default().add(&account);
        }
    }
    sums.into_iter().map(|(source, account)| (source, Accounting::of(account))).collect()
}

fn derived_errors(table: &Table) -> BTreeMap<String, u64> {
    let names = table.def.derived.iter().map(|derived| derived.field.name.clone());
    names.zip(table.metrics.derived_errors.iter().map(|counter| counter.get())).collect()
}

impl Accounting {
    fn of(a: crate::store::Accounting) -> Self {
        let consumed = a.consumed();
        let crate::store::Accounting { applied, duplicate, stale, quarantined } = a;
        Self { consumed, applied, duplicate, stale, quarantined }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn phases_say_what_they_can() {
        let phase = |p: Phase| serde_json::to_value(PhaseStatus::of(&p)).unwrap();
        assert_eq!(phase(Phase::Running), json!({"name": "running"}));
        assert_eq!(
            phase(Phase::Restoring { at: 1, end: 3, rate: 0.5 }),
            json!({"name": "restoring", "percent": 33.3, "eta_s": 4.0, "rate": 1.0})
        );
        assert_eq!(phase(Phase::Indexing { done: 9 }), json!({"name": "indexing", "done": 9}));
        assert_eq!(phase(Phase::Stopped("full".into())), json!({"name": "stopped", "why": "full"}));
    }

    #[test]
    fn a_task_without_a_store_has_positions_and_lag() {
        let view = TaskView::new("t".into(), 1, Role::Standby);
        view.advance(|p| {
            p.applied = BTreeMap::from([("a".into(), 5)]);
            p.last_event_ms = 1_000;
        });
        view.set_lag(BTreeMap::from([("a".into(), 2), ("b".into(), 3)]));
        let status = serde_json::to_value(task(&view, 1_750)).unwrap();
        assert_eq!(status["applied"], json!({"a": "a:1:4"}));
        assert_eq!((&status["lag"], &status["lag_ms"], &status["role"]), (&json!(5), &json!(750), &json!("standby")));
        assert_eq!(status["lag_by_topic"], json!({"a": 2, "b": 3}));
    }
}
