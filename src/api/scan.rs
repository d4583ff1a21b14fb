//! `GET /v1/tables/{table}/records`: records in the order of their keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::context::{At, Context, Payload};
use super::freshness::{self, Freshness, Stage};
use super::negotiate::Form;
use super::openapi::Problems;
use super::params::Params;
use super::peer;
use super::position::Coverage;
use super::problem::Problem;
use super::records::Written;
use super::search::{Waiting, elsewhere, key_text, missing};
use super::words::{Partial, Stale};
use crate::index::Place;
use crate::query::route::{Host, Need};
use crate::query::scan::{self, ScanAnswer, ScanRequest};
use crate::query::{Stop, Table, cursor};
use crate::record::Shown;
use crate::task::TaskView;

/// Path for scans of other instances.
pub(crate) const PEER: &str = "/v1/peer/scan";
const DEFAULT_LIMIT: usize = 20;

/// Parameters of a scan.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct ScanQuery {
    /// What keys begin with. Nothing: every key.
    #[param(example = "sku-1")]
    prefix: Option<String>,
    /// Most records (default 20, at most `api.max_hits`).
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// `cursor` of the page before, for the next one, with the same `prefix`.
    cursor: Option<String>,
    /// Members of the records to return, separated by commas; all by default.
    fields: Option<String>,
    /// `allow` (default): answer without the partitions that are elsewhere, and name them; `refuse`: answer 503.
    #[param(inline, value_type = Option<Partial>)]
    partial: Option<String>,
    /// Wait until these events are applied: `topic:partition:offset[,…]`.
    at_least: Option<String>,
    /// How long to wait for `at_least`, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// `refuse` (default): answer 503 when partitions are not running or behind by more than `api.max_lag`; `allow`: answer
    /// with what is there.
    #[param(inline, value_type = Option<Stale>)]
    stale: Option<String>,
}

/// Records in the order of their keys, by their bytes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScanAnswer)]
pub(crate) struct ScanResponse {
    /// At most `limit`; fewer do not say that there are no more.
    records: Vec<ScannedDto>,
    /// For the next page; null where there is none.
    cursor: Option<String>,
    /// Partitions that could not answer.
    missing_partitions: Vec<u32>,
    #[serde(flatten)]
    coverage: Coverage,
}

/// A record of a scan.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScannedRecord)]
pub(crate) struct ScannedDto {
    /// Key.
    key: String,
    /// The current record.
    #[schema(value_type = Object)]
    record: Written<Shown>,
}

/// Reads records by the beginning of their keys
///
/// in the order of the keys, page by page. A record that lives throughout is neither missed nor repeated. As `application/x-ndjson`: a
/// record a line, then a line with the rest in `summary`.
#[utoipa::path(
    get, path = "/v1/tables/{table}/records", tag = "records",
    params(("table" = String, Path, description = "Name of the table"), ScanQuery),
    responses((status = 200, content((ScanResponse = "application/json"), (String = "application/x-ndjson"))), Problems)
)]
pub(crate) async fn by_prefix(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let table = ctx.table(&name)?;
    let api = &ctx.state.settings.api;
    let (request, partial) = scan_params(&mut params, &name, api.max_hits)?;
    let freshness = Freshness::take(&mut params, api.timeout)?;
    params.finish()?;
    freshness.check(&table)?;
    let limit = request.limit;
    let of = cursor::of_scan(&name, &request.prefix);
    let (answers, coverages, missing_partitions) = if ctx.state.cluster.members().is_alone() {
        let absent = missing(&table, &[]);
        if absent.len() == table.partitions as usize {
            return Err(elsewhere(&absent));
        }
        let here = (0..table.partitions).filter(|p| !absent.contains(p)).collect();
        let Scanned { answer, coverage } = scan_here(&ctx, &table, here, request, &freshness).await?;
        (vec![answer.map(Written::Here)], vec![coverage], absent)
    } else {
        scan_anywhere(&ctx, &table, request, freshness).await?
    };
    if !partial && !missing_partitions.is_empty() {
        return Err(elsewhere(&missing_partitions));
    }
    let ScanAnswer { records, end } = scan::merge(answers, limit);
    let coverage = Coverage::together(ctx.instance(), coverages);
    let cursor = end.map(|key| cursor::write(of, &Place { ranks: Vec::new(), key }));
    let records = records.into_iter().map(|(key, record)| ScannedDto { key: key_text(key), record }).collect();
    let answer = ScanResponse { records, cursor, missing_partitions, coverage };
    Form::of(&headers).write(answer, "records", |answer| std::mem::take(&mut answer.records))
}

/// A scan of named partitions.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScanLeaf {
    table: String,
    partitions: Vec<u32>,
    request: ScanRequest,
    freshness: Freshness,
}

/// What a scan found, and what it covers; `R` is the record in whatever form it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Scanned<R> {
    answer: ScanAnswer<R>,
    coverage: Coverage,
}

/// Scans partitions for another instance.
pub(crate) async fn of_peer(State(ctx): State<Context>, Payload(body): Payload) -> Result<Response, Problem> {
    let ScanLeaf { table, partitions, request, freshness } = peer::read(&body)?;
    let api = &ctx.state.settings.api;
    peer::at_most("limit", request.limit as u64, api.max_hits as u64)?;
    let freshness = freshness.within(api.timeout)?;
    let table = ctx.table(&table)?;
    Ok(Json(scan_here(&ctx, &table, partitions, request, &freshness).await?).into_response())
}

/// Scans partitions of this instance.
async fn scan_here(
    ctx: &Context,
    table: &Arc<Table>,
    partitions: Vec<u32>,
    request: ScanRequest,
    freshness: &Freshness,
) -> Result<Scanned<Shown>, Problem> {
    let max_lag = ctx.state.settings.api.max_lag;
    let needed = || partitions.iter().map(|p| table.task(*p).ok_or_else(|| freshness::no_owner(*p))).collect();
    let views = freshness::admit(table, freshness, Stage::Applied, max_lag, needed).await?;
    let coverage = Coverage::applied(ctx.instance(), &views);
    let store = |view: &Arc<TaskView>| view.store().ok_or_else(|| freshness::no_owner(view.partition));
    let stores: Vec<_> = views.iter().map(store).collect::<Result<_, _>>()?;
    let _waiting = Waiting(request.stop.clone());
    let scanned = Arc::clone(table);
    let answer = ctx.lookups.run(move || Ok(scan::leaf(&scanned, &stores, &request)?)).await?;
    Ok(Scanned { answer, coverage })
}

/// Scans all partitions, wherever they are; also the partitions that nobody answers for.
async fn scan_anywhere(
    ctx: &Context,
    table: &Arc<Table>,
    request: ScanRequest,
    freshness: Freshness,
) -> Result<(Vec<ScanAnswer<Written<Shown>>>, Vec<Coverage>, Vec<u32>), Problem> {
    let all: Vec<u32> = (0..table.partitions).collect();
    let patience = ctx.state.settings.api.timeout / 2;
    let ask = |host: Host, partitions: Vec<u32>| {
        let freshness = freshness.of(&partitions);
        // Each is stopped by itself: who has finished stops nobody else.
        let request = ScanRequest { stop: Stop::default(), ..request.clone() };
        let leaf = ScanLeaf { table: table.def.name.clone(), partitions, request, freshness };
        let (ctx, table) = (ctx.clone(), Arc::clone(table));
        async move {
            match host {
                Host::Here => {
                    let ScanLeaf { partitions, request, freshness, .. } = leaf;
                    let Scanned { answer, coverage } = scan_here(&ctx, &table, partitions, request, &freshness).await?;
                    Ok((answer.map(Written::Here), coverage))
                }
                Host::There(url) => {
                    let patience = patience + leaf.freshness.patience();
                    let Scanned { answer, coverage } =
                        peer::ask::<Scanned<Box<RawValue>>>(&ctx, &url, PEER, &leaf, patience).await?;
                    Ok((answer.map(Written::There), coverage))
                }
            }
        }
    };
    let (answers, missing) = peer::some(peer::send(ctx, table, &all, Need::Store, PEER, ask).await?)?;
    let (answers, coverages) = answers.into_iter().unzip();
    Ok((answers, coverages, missing))
}

/// Takes everything but freshness; also whether a partial answer will do.
fn scan_params(params: &mut Params, table: &str, max: usize) -> Result<(ScanRequest, bool), Problem> {
    let prefix = params.text("prefix")?.unwrap_or_default();
    let of = cursor::of_scan(table, &prefix);
    let after = params.text("cursor")?.map(|text| cursor::read(&text, of)).transpose()?;
    let request = ScanRequest {
        prefix,
        after: after.map(|place| place.key),
        limit: params.integer("limit", 1..=max)?.unwrap_or_else(|| DEFAULT_LIMIT.min(max)),
        fields: params.commas("fields")?,
        stop: Stop::default(),
    };
    let partial = params.choice("partial", &[("allow", true), ("refuse", false)])?.unwrap_or(true);
    Ok((request, partial))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        scan_params(&mut params, "t", 1000).unwrap();
        Freshness::take(&mut params, std::time::Duration::from_secs(10)).unwrap();
        let mut url: Vec<String> = ScanQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        url.sort_unstable();
        assert_eq!(url, params.known());
    }

    #[test]
    fn a_cursor_goes_with_its_prefix() {
        let cursor = cursor::write(cursor::of_scan("t", "a"), &Place { ranks: Vec::new(), key: b"ab".to_vec() });
        let parse = |query: String| {
            scan_params(&mut Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap(), "t", 10)
        };
        let (request, partial) = parse(format!("prefix=a&cursor={cursor}&limit=3&fields=x")).unwrap();
        assert_eq!((request.after.as_deref(), request.limit, partial), (Some(&b"ab"[..]), 3, true));
        assert_eq!(parse(format!("cursor={cursor}")).unwrap_err().body().status, 400);
    }
}
