//! What instances ask of each other: reads of named partitions, and waiting for events.
//!
//! Whoever is asked answers from its own tasks and asks nobody else: a request cannot go in circles. Nothing of this is described
//! to clients.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::context::{Context, Payload};
use super::freshness::{self, Freshness, Stage};
use super::position::Coverage;
use super::problem::{Problem, Reason};
use super::records::{Found, Wanted};
use crate::query::root::{Scattered, scatter};
use crate::query::route::{Host, Need, candidates};
use crate::query::{AtLeast, Table};

/// Path for reads by key.
pub(crate) const RECORDS: &str = "/v1/peer/records";
/// Path for waiting.
pub(crate) const WAIT: &str = "/v1/peer/wait";
/// What begins the path of every request between instances.
pub(crate) const PREFIX: &str = "/v1/peer/";

/// How long another instance may take for a read by key, beside waiting for events.
const LOOKUP: Duration = Duration::from_secs(1);
/// An instance that is asked is looked at so often: if it dies, its answer is not waited for.
const LOOK: Duration = Duration::from_millis(50);

/// A read by key.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordsLeaf {
    table: String,
    partitions: Vec<u32>,
    keys: Vec<String>,
    wanted: Wanted,
    freshness: Freshness,
}

/// What there is of each key, in the order asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RecordsFound {
    found: Vec<RawFound>,
    coverage: Coverage,
}

/// What there is of one key, as another instance wrote it.
#[derive(Debug, Serialize, Deserialize)]
struct RawFound {
    record: Option<Box<RawValue>>,
    explain: Option<Box<RawValue>>,
    #[serde(default)]
    version: Option<i64>,
}

/// Waiting for events.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WaitLeaf {
    table: String,
    stage: Stage,
    freshness: Freshness,
}

/// Answers a read by key.
pub(crate) async fn records(State(ctx): State<Context>, Payload(body): Payload) -> Result<Response, Problem> {
    let leaf: RecordsLeaf = read(&body)?;
    let api = &ctx.state.settings.api;
    at_most("keys", leaf.keys.len() as u64, api.max_keys as u64)?;
    let freshness = leaf.freshness.within(api.timeout)?;
    let table = ctx.table(&leaf.table)?;
    let (coverage, found) =
        super::records::read_here(&ctx, table, leaf.partitions, leaf.keys, leaf.wanted, freshness).await?;
    #[derive(Serialize)]
    struct Answer {
        found: Vec<Found>,
        coverage: Coverage,
    }
    Ok(Json(Answer { found, coverage }).into_response())
}

/// Waits for events.
pub(crate) async fn wait(State(ctx): State<Context>, Payload(body): Payload) -> Result<Json<()>, Problem> {
    let leaf: WaitLeaf = read(&body)?;
    let table = ctx.table(&leaf.table)?;
    let Freshness { at_least, timeout, .. } = leaf.freshness.within(ctx.state.settings.api.timeout)?;
    freshness::wait(&table, &at_least, leaf.stage, timeout).await?;
    Ok(Json(()))
}

/// What another instance asks. Instances of different versions may not understand each other.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let wrong =
        |e| Problem::new(Reason::BadRequest, format!("a request between instances: {e}"), "clients use /v1/tables");
    serde_json::from_slice(body).map_err(wrong)
}

/// Refuses what another instance asks beyond the limits of this one: all instances are configured alike.
pub(crate) fn at_most(what: &'static str, found: u64, most: u64) -> Result<(), Problem> {
    if found <= most {
        return Ok(());
    }
    Err(Problem::parameter(what, found, format_args!("at most {most}, the limit of the instance that is asked")))
}

/// Reads keys at another instance.
async fn records_there(ctx: &Context, url: &str, leaf: &RecordsLeaf) -> Result<(Coverage, Vec<Found>), Problem> {
    let patience = LOOKUP + leaf.freshness.patience();
    let RecordsFound { found, coverage } = ask(ctx, url, RECORDS, leaf, patience).await?;
    if found.len() != leaf.keys.len() {
        let detail = format!("{url} answered {} of {} keys", found.len(), leaf.keys.len());
        return Err(Problem::new(Reason::Internal, detail, "report it, with the log"));
    }
    Ok((coverage, found.into_iter().map(|f| Found::raw(f.record, f.explain, f.version)).collect()))
}

/// The records of keys, wherever they are.
pub(crate) async fn records_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    partitions: Vec<u32>,
    keys: Vec<String>,
    wanted: Wanted,
    freshness: Freshness,
) -> Result<(Coverage, Vec<Found>), Problem> {
    let freshness = wait_elsewhere(ctx, table, &partitions, freshness, Stage::Applied).await?;
    let ask = |host: Host, partitions: Vec<u32>| {
        let here = |key: &String| {
            let place = table.def.partitioner.partition(key.as_bytes(), table.partitions);
            place.is_none_or(|p| partitions.contains(&p))
        };
        let places: Vec<usize> = (0..keys.len()).filter(|i| here(&keys[*i])).collect();
        let leaf = RecordsLeaf {
            table: table.def.name.clone(),
            keys: places.iter().map(|i| keys[*i].clone()).collect(),
            wanted: wanted.clone(),
            freshness: freshness.of(&partitions),
            partitions,
        };
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move {
            let (coverage, found) = match host {
                Host::There(url) => records_there(&ctx, &url, &leaf).await?,
                Host::Here => {
                    let RecordsLeaf { partitions, keys, wanted, freshness, .. } = leaf;
                    super::records::read_here(&ctx, table, partitions, keys, wanted, freshness).await?
                }
            };
            Ok((coverage, places, found))
        }
    };
    let answered = send(ctx, table, &partitions, Need::Store, RECORDS, ask).await?;
    if !answered.failed.is_empty() {
        return Err(no_answer(&answered.failed));
    }
    let mut all: Vec<Found> = keys.iter().map(|_| Found::default()).collect();
    let mut coverages = Vec::with_capacity(answered.answers.len());
    for answer in answered.answers {
        let (coverage, places, found) = answer.answer;
        coverages.push(coverage);
        for (i, found) in places.into_iter().zip(found) {
            all[i].take_first(found);
        }
    }
    Ok((Coverage::together(ctx.instance(), coverages), all))
}

/// Waits for events, wherever their partitions are.
pub(crate) async fn wait_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    demands: &[AtLeast],
    stage: Stage,
    timeout: Duration,
) -> Result<(), Problem> {
    if demands.is_empty() {
        return Ok(());
    }
    let all = Freshness { at_least: demands.to_vec(), timeout, allow_stale: true };
    if ctx.state.cluster.members().is_alone() {
        return freshness::wait(table, demands, stage, timeout).await;
    }
    let partitions: BTreeSet<u32> = demands.iter().map(|d| d.partition).collect();
    let partitions: Vec<u32> = partitions.into_iter().collect();
    let request = |host: Host, partitions: Vec<u32>| {
        let leaf = WaitLeaf { table: table.def.name.clone(), stage, freshness: all.of(&partitions) };
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move {
            match host {
                Host::Here => freshness::wait(&table, &leaf.freshness.at_least, stage, timeout).await,
                Host::There(url) => ask(&ctx, &url, WAIT, &leaf, LOOKUP + timeout).await,
            }
        }
    };
    let need = if stage == Stage::Applied { Need::Store } else { Need::Index };
    let answered = send(ctx, table, &partitions, need, WAIT, request).await?;
    if answered.failed.is_empty() { Ok(()) } else { Err(no_answer(&answered.failed)) }
}

/// Waits for the events of partitions that the read itself does not touch; what is left of its demands.
pub(crate) async fn wait_elsewhere(
    ctx: &Context,
    table: &Arc<Table>,
    partitions: &[u32],
    freshness: Freshness,
    stage: Stage,
) -> Result<Freshness, Problem> {
    let elsewhere = freshness.at_least.iter().filter(|d| !partitions.contains(&d.partition)).cloned();
    let elsewhere: Vec<AtLeast> = elsewhere.collect();
    let asked = tokio::time::Instant::now();
    wait_anywhere(ctx, table, &elsewhere, stage, freshness.timeout).await?;
    let left = freshness.timeout.saturating_sub(asked.elapsed());
    Ok(Freshness { timeout: left, ..freshness.of(partitions) })
}

/// Sends a request to whoever has the partitions. `path` is where other instances take it.
pub(crate) async fn send<T, F>(
    ctx: &Context,
    table: &Table,
    partitions: &[u32],
    need: Need,
    path: &'static str,
    ask: impl Fn(Host, Vec<u32>) -> F,
) -> Result<Scattered<T, Problem>, Problem>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Problem>> + Send + 'static,
{
    // Looked at anew for the second attempt: heartbeats may have told more by then.
    let known = |partition| candidates(table, &ctx.state.cluster.members(), partition, need);
    let scattered = scatter(partitions, known, ask, |problem: &Problem| !problem.reason().may_differ_elsewhere()).await;
    let (retried, answered, missing) = match &scattered {
        Ok(all) => (all.retried, !all.answers.is_empty(), Some(all.failed.len())),
        Err(_) => (0, false, None),
    };
    ctx.state.metrics.cluster.scattered(kind(path), retried, answered, missing);
    scattered
}

/// What metrics call the requests that go to a path.
fn kind(path: &'static str) -> &'static str {
    path.strip_prefix(PREFIX).unwrap_or(path)
}

/// Asks another instance, as long as it lives.
pub(crate) async fn ask<T: DeserializeOwned>(
    ctx: &Context,
    url: &str,
    path: &'static str,
    leaf: &impl Serialize,
    patience: Duration,
) -> Result<T, Problem> {
    let asked = Instant::now();
    let answer = exchange(ctx, url, path, leaf, patience).await;
    let outcome = answer.as_ref().map_or_else(|(outcome, _)| *outcome, |_| "answered");
    ctx.state.metrics.cluster.asked(kind(path), outcome, asked.elapsed());
    answer.map_err(|(_, problem)| problem)
}

/// Sends one request; without an answer, a word for what became of it, for the metrics, and the problem.
async fn exchange<T: DeserializeOwned>(
    ctx: &Context,
    url: &str,
    path: &str,
    leaf: &impl Serialize,
    patience: Duration,
) -> Result<T, (&'static str, Problem)> {
    let Ok(_place) = ctx.asking.try_acquire() else {
        let detail = "too many requests to other instances are under way";
        let problem = Problem::new(Reason::TooManyRequests, detail, "slow down and try again").retry_after(1);
        return Err(("crowded", problem));
    };
    let unsent = |e: serde_json::Error| ("crowded", Problem::new(Reason::Internal, e.to_string(), "report it"));
    let json = serde_json::to_vec(leaf).map_err(unsent)?;
    let cluster = &ctx.state.cluster;
    let asking = cluster.client().post(url, path, json.into(), patience);
    let answer = if cluster.members().is_alive(url) {
        tokio::select! {
            answer = asking => answer,
            () = dead(ctx, url) => Err(format!("{url}: it does not answer heartbeats any more")),
        }
    } else {
        asking.await
    };
    let unheard = |why: &str| ("silent", silent(ctx, url, why));
    let answer = answer.map_err(|why| unheard(&why))?;
    if answer.status.is_success() {
        return serde_json::from_slice(&answer.body).map_err(|e| unheard(&e.to_string()));
    }
    Err(Problem::read(&answer.body).map_or_else(|| unheard(answer.status.as_str()), |problem| ("refused", problem)))
}

/// Comes back when an instance is dead.
async fn dead(ctx: &Context, url: &str) {
    let mut looks = tokio::time::interval(LOOK);
    while ctx.state.cluster.members().is_alive(url) {
        looks.tick().await;
    }
}

fn silent(ctx: &Context, url: &str, why: &str) -> Problem {
    let members = ctx.state.cluster.members();
    let detail = format!("instance {} does not answer: {why}", members.name(url));
    Problem::new(Reason::NoOwner, detail, "try again in a moment").retry_after(1)
}

/// Why partitions have no answer: what their instances said, else that nobody has them.
pub(crate) fn no_answer(failed: &BTreeMap<u32, Option<Problem>>) -> Problem {
    let missing: Vec<u32> = failed.keys().copied().collect();
    let said = failed.values().flatten().next().cloned();
    let problem = said.unwrap_or_else(|| {
        let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
        Problem::new(
            Reason::NoOwner,
            format!("no instance has the partitions {} now", names.join(", ")),
            "try again in a moment; after a start or a rebalance partitions need a second to arrive",
        )
        .retry_after(1)
    });
    problem.with("missing_partitions", missing)
}

/// The answers that there are and the partitions that nobody answers for, where some do; else why nobody does. Who is there and
/// does not answer as asked is a reason to refuse.
pub(crate) fn some<T>(answered: Scattered<T, Problem>) -> Result<(Vec<T>, Vec<u32>), Problem> {
    let missing: Vec<u32> = answered.failed.keys().copied().collect();
    if let Some(problem) = answered.failed.values().flatten().find(|p| p.reason() != Reason::NoOwner) {
        return Err(problem.clone().with("missing_partitions", missing));
    }
    if answered.answers.is_empty() {
        return Err(no_answer(&answered.failed));
    }
    Ok((answered.answers.into_iter().map(|a| a.answer).collect(), missing))
}
