//! What orchestrators and monitoring ask: `/health/live`, `/health/ready`, `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::context::Context;
use super::openapi::Problems;
use super::params::Params;
use super::problem::{Problem, Reason};
use super::status::resident;
use crate::metrics::{PartLabel, StateLabel, TableLabel, TaskLabels};
use crate::task::{Phase, Role};

/// What [`Metrics::encode`](crate::metrics::Metrics::encode) writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HealthAnswer {
    /// `live` or `ready`.
    status: &'static str,
}

/// Says that the process answers
///
/// and nothing more: an instance that restores, or whose broker is away, is live.
#[utoipa::path(get, path = "/health/live", tag = "operation", responses((status = 200, body = HealthAnswer), Problems))]
pub(crate) async fn live(params: Params) -> Result<Json<HealthAnswer>, Problem> {
    params.finish()?;
    Ok(Json(HealthAnswer { status: "live" }))
}

/// Says whether this instance should get traffic
///
/// which it should when every task on it is running. The broker need not be reachable: reads go on without it.
#[utoipa::path(get, path = "/health/ready", tag = "operation", responses((status = 200, body = HealthAnswer), Problems))]
pub(crate) async fn ready(State(ctx): State<Context>, params: Params) -> Result<Json<HealthAnswer>, Problem> {
    params.finish()?;
    let reasons = not_ready(&ctx.state);
    if reasons.is_empty() {
        return Ok(Json(HealthAnswer { status: "ready" }));
    }
    let detail = reasons.join("; ");
    let advice = "wait; /v1/status shows how far each task is";
    Err(Problem::new(Reason::NotReady, detail, advice).retry_after(1).with("reasons", reasons))
}

fn not_ready(state: &ApiState) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.health.is_stopping() {
        reasons.push("the instance is shutting down".to_owned());
    }
    if let Some(stall) = state.health.stall() {
        reasons.push(stall.to_string());
    }
    let mut tasks = 0_usize;
    for view in state.tables.values().flat_map(|t| t.tasks().values().cloned().collect::<Vec<_>>()) {
        tasks += 1;
        // A copy that is new here keeps nobody waiting.
        if view.role == Role::Standby && !matches!(&*view.phase(), Phase::Stopped(_)) {
            continue;
        }
        let place = format!("partition {} of table `{}`", view.partition, view.table);
        match &*view.phase() {
            Phase::Running => {}
            Phase::Stopped(why) => reasons.push(format!("{place} has stopped: {why}")),
            phase => reasons.push(format!("{place} is {}", phase.word())),
        }
    }
    if tasks == 0 && !state.tables.is_empty() {
        reasons.push("no partition is on this instance yet".to_owned());
    }
    if tasks > 0 && state.health.is_cold() {
        reasons.push("copies of other instances' tasks that were here before the start are not back yet".to_owned());
    }
    // With no task running there is nothing to serve without the broker, so its trouble is the reason to name.
    if tasks == 0
        && let Some(trouble) = state.health.trouble()
    {
        reasons.push(format!("the broker: {trouble}"));
    }
    reasons
}

/// Metrics
///
/// in the OpenMetrics text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "operation",
    responses((status = 200, body = String, content_type = "application/openmetrics-text"), Problems)
)]
pub(crate) async fn metrics(State(ctx): State<Context>, params: Params) -> Result<impl IntoResponse, Problem> {
    params.finish()?;
    let shared = ctx.clone();
    let text = ctx
        .lookups
        .run(move || {
            update_gauges(&shared.state);
            Ok(shared.state.metrics.encode())
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text))
}

/// Brings the gauges that nobody counts up to date. Tasks that left are forgotten.
fn update_gauges(state: &ApiState) {
    let metrics = &state.metrics;
    metrics.lag.clear();
    metrics.standby_lag.clear();
    metrics.store_bytes.clear();
    metrics.compaction_debt.clear();
    for (name, table) in state.tables.iter() {
        let (label, index) = (TableLabel { table: name.clone() }, table.index.stats());
        metrics.index_documents.get_or_create(&label).set(signed(index.documents));
        metrics.index_segments.get_or_create(&label).set(signed(index.segments));
        metrics.index_bytes.get_or_create(&label).set(signed(index.bytes));
        let stopped = table.tasks().values().any(|view| matches!(&*view.phase(), Phase::Stopped(_)));
        metrics.stopped.get_or_create(&label).set(i64::from(stopped));
        for view in table.tasks().values() {
            let labels = TaskLabels { table: name.clone(), partition: view.partition };
            let lag = if view.role == Role::Active { &metrics.lag } else { &metrics.standby_lag };
            lag.get_or_create(&labels).set(view.unread());
            if let Some(store) = view.store() {
                metrics.store_bytes.get_or_create(&labels).set(signed(store.bytes()));
                metrics.compaction_debt.get_or_create(&labels).set(signed(store.compaction_debt()));
            }
        }
    }
    let parts = state.memory.parts().into_iter().chain(resident().map(|bytes| ("resident", bytes)));
    for (part, bytes) in parts {
        metrics.memory.get_or_create(&PartLabel { part: part.to_owned() }).set(signed(bytes));
    }
    let members = state.cluster.members();
    let alive = members.others().iter().filter(|member| member.alive).count();
    for (state, count) in [("alive", alive), ("dead", members.others().len() - alive)] {
        metrics.cluster.peers.get_or_create(&StateLabel { state }).set(signed(count as u64));
    }
    for (part, value) in state.broker.stats() {
        metrics.broker.get_or_create(&PartLabel { part }).set(value);
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
