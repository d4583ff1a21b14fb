//! A search over all instances: what each is asked, how it answers, and the one answer made of theirs.
//!
//! Two rounds where scores matter: first every instance counts what the scores of the query depend on, then all search with the
//! sum, so that a hit has the score that one instance with all documents would give it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::context::{Context, Payload};
use super::freshness::{self, Freshness, Stage};
use super::peer::{self, ask, read};
use super::position::Coverage;
use super::problem::Problem;
use super::records::Written;
use super::search::Waiting;
use crate::query::gather::gather;
use crate::query::route::{Host, Need};
use crate::query::{SearchAnswer, SearchRequest, Statistics, Stop, Table, leaf as here};
use crate::record::Shown;

/// Path for searches.
pub(crate) const SEARCH: &str = "/v1/peer/search";
/// Path for what scores depend on.
pub(crate) const STATISTICS: &str = "/v1/peer/statistics";

/// A search of named partitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SearchLeaf {
    table: String,
    request: SearchRequest,
    freshness: Freshness,
}

/// What a search found, and what it covers; `R` is the record in whatever form it travels.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Searched<R> {
    pub(crate) answer: SearchAnswer<R>,
    pub(crate) coverage: Coverage,
    /// Time of the search itself, milliseconds.
    pub(crate) took_ms: f64,
}

/// What every search becomes.
pub(crate) type Found = Searched<Written<Shown>>;

/// Searches partitions of another instance's request.
pub(crate) async fn search(State(ctx): State<Context>, Payload(body): Payload) -> Result<Response, Problem> {
    let SearchLeaf { table, request, freshness } = leaf(&ctx, &body)?;
    let table = ctx.table(&table)?;
    Ok(Json(search_here(&ctx, &table, request, &freshness).await?).into_response())
}

/// Counts what scores depend on.
pub(crate) async fn statistics(
    State(ctx): State<Context>,
    Payload(body): Payload,
) -> Result<Json<Statistics>, Problem> {
    let SearchLeaf { table, request, .. } = leaf(&ctx, &body)?;
    let table = ctx.table(&table)?;
    statistics_here(&ctx, &table, request).await.map(Json)
}

/// What another instance asks, within the limits that clients have here.
fn leaf(ctx: &Context, body: &[u8]) -> Result<SearchLeaf, Problem> {
    let leaf: SearchLeaf = read(body)?;
    let api = &ctx.state.settings.api;
    peer::at_most("limit", leaf.request.limit as u64, api.max_hits as u64)?;
    peer::at_most("max_buckets", leaf.request.max_buckets.into(), api.max_buckets.into())?;
    for facet in &leaf.request.facets {
        peer::at_most("facets", facet.size as u64, api.max_buckets.into())?;
    }
    Ok(SearchLeaf { freshness: leaf.freshness.within(api.timeout)?, ..leaf })
}

async fn statistics_here(ctx: &Context, table: &Arc<Table>, request: SearchRequest) -> Result<Statistics, Problem> {
    let table = Arc::clone(table);
    ctx.searches.run(move || Ok(here::statistics(&table, &request)?)).await
}

fn ms_since(moment: Instant) -> f64 {
    moment.elapsed().as_secs_f64() * 1e3
}

/// Searches the partitions that the request names, of the tasks of this instance alone.
pub(crate) async fn search_here(
    ctx: &Context,
    table: &Arc<Table>,
    request: SearchRequest,
    freshness: &Freshness,
) -> Result<Searched<Shown>, Problem> {
    let max_lag = ctx.state.settings.api.max_lag;
    let needed = || match &request.partitions {
        Some(named) => named.iter().map(|p| table.task(*p).ok_or_else(|| freshness::no_owner(*p))).collect(),
        None => Ok(table.tasks().values().cloned().collect()),
    };
    let views = freshness::admit(table, freshness, Stage::Visible, max_lag, needed).await?;
    let coverage = Coverage::of(ctx.instance(), &views);
    // Whoever stops waiting drops this future: at a time limit, or when the connection is gone.
    let _waiting = Waiting(request.stop.clone());
    let started = Instant::now();
    if here::is_plain(&request)
        && let Some(found) = ctx.near.run(|| here::search_if_short(table, &request))
        && let Some(answer) = found?
    {
        return Ok(Searched { answer, coverage, took_ms: ms_since(started) });
    }
    let searched = Arc::clone(table);
    let long = move || {
        let started = Instant::now();
        Ok((here::search(&searched, &request)?, ms_since(started)))
    };
    let (answer, took_ms) = ctx.searches.run(long).await?;
    Ok(Searched { answer, coverage, took_ms })
}

/// Searches all partitions of a table, wherever they are. Those that nobody answers for are named in the answer.
pub(crate) async fn search_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    mut request: SearchRequest,
    freshness: Freshness,
) -> Result<Found, Problem> {
    let partitions: Vec<u32> = (0..table.partitions).collect();
    let patience = ctx.state.settings.api.timeout / 2;
    if request.is_scored() {
        let sum = statistics_anywhere(ctx, table, &partitions, &request, patience).await?;
        request.statistics = Some(Arc::new(sum));
    }
    let limit = request.limit;
    let ask = |host: Host, partitions: Vec<u32>| {
        let leaf = leaf_of(table, &request, &freshness, &partitions);
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move { searched(&ctx, &table, host, leaf, patience).await }
    };
    let answered = peer::send(ctx, table, &partitions, Need::Index, SEARCH, ask).await?;
    let (answers, missing) = peer::some(answered)?;
    let mut took_ms: f64 = 0.0;
    let (mut leaves, mut coverages) = (Vec::new(), Vec::new());
    for Searched { answer, coverage, took_ms: took } in answers {
        took_ms = took_ms.max(took);
        leaves.push(answer);
        coverages.push(coverage);
    }
    let mut answer = gather(leaves, limit)?;
    answer.missing_partitions.extend(missing);
    answer.missing_partitions.sort_unstable();
    Ok(Searched { answer, coverage: Coverage::together(ctx.instance(), coverages), took_ms })
}

async fn searched(
    ctx: &Context,
    table: &Arc<Table>,
    host: Host,
    leaf: SearchLeaf,
    patience: Duration,
) -> Result<Found, Problem> {
    match host {
        Host::Here => {
            let Searched { answer, coverage, took_ms } = search_here(ctx, table, leaf.request, &leaf.freshness).await?;
            Ok(Searched { answer: answer.map(Written::Here), coverage, took_ms })
        }
        Host::There(url) => {
            let patience = patience + leaf.freshness.patience();
            let Searched { answer, coverage, took_ms } =
                ask::<Searched<Box<RawValue>>>(ctx, &url, SEARCH, &leaf, patience).await?;
            Ok(Searched { answer: answer.map(Written::There), coverage, took_ms })
        }
    }
}

/// What the scores of a search depend on, over all instances that answer.
async fn statistics_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    partitions: &[u32],
    request: &SearchRequest,
    patience: Duration,
) -> Result<Statistics, Problem> {
    let none = Freshness { at_least: Vec::new(), timeout: Duration::ZERO, allow_stale: request.stale };
    let request_of = |host: Host, partitions: Vec<u32>| {
        let leaf = leaf_of(table, request, &none, &partitions);
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move {
            match host {
                Host::Here => statistics_here(&ctx, &table, leaf.request).await,
                Host::There(url) => ask(&ctx, &url, STATISTICS, &leaf, patience).await,
            }
        }
    };
    let answered = peer::send(ctx, table, partitions, Need::Index, STATISTICS, request_of).await?;
    let mut sum = Statistics::default();
    answered.answers.iter().for_each(|a| sum.add(&a.answer));
    Ok(sum)
}

fn leaf_of(table: &Table, request: &SearchRequest, freshness: &Freshness, partitions: &[u32]) -> SearchLeaf {
    let partitions_named: BTreeSet<u32> = partitions.iter().copied().collect();
    SearchLeaf {
        table: table.def.name.clone(),
        // Each is stopped by itself: who has finished stops nobody else.
        request: SearchRequest { partitions: Some(partitions_named), stop: Stop::default(), ..request.clone() },
        freshness: freshness.of(partitions),
    }
}
