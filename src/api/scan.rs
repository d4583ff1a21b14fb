//! `GET /v1/tables/{table}/records`: records in the order of their keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::context::{At, Context};
use super::freshness::{self, Freshness, Stage};
use super::openapi::Problems;
use super::params::Params;
use super::position::Coverage;
use super::problem::Problem;
use super::search::{Waiting, elsewhere, missing, needed};
use crate::index::Place;
use crate::query::scan::{self, ScanAnswer, ScanRequest};
use crate::query::{Stop, cursor};
use crate::record::Shown;

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
    partial: Option<String>,
    /// Wait until these events are applied: `topic:partition:offset[,…]`.
    at_least: Option<String>,
    /// How long to wait for `at_least`, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// `refuse` (default): answer 503 when partitions are not running or behind by more than `api.max_lag`; `allow`: answer
    /// with what is there.
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
    record: Shown,
}

/// Reads records by the beginning of their keys
///
/// in the order of the keys, page by page. A record that lives throughout is neither missed nor repeated.
#[utoipa::path(
    get, path = "/v1/tables/{table}/records", tag = "records",
    params(("table" = String, Path, description = "Name of the table"), ScanQuery),
    responses((status = 200, body = ScanResponse), Problems)
)]
pub(crate) async fn by_prefix(
    State(ctx): State<Context>,
    At(name): At<String>,
    mut params: Params,
) -> Result<Json<ScanResponse>, Problem> {
    let table = ctx.table(&name)?;
    let api = &ctx.state.settings.api;
    let (request, partial) = scan_params(&mut params, &name, api.max_hits)?;
    let freshness = Freshness::take(&mut params, api.timeout)?;
    params.finish()?;
    freshness.check(&table)?;
    let views = freshness::admit(&table, &freshness, Stage::Applied, api.max_lag, || needed(&table, partial)).await?;
    let coverage = Coverage::applied(ctx.instance(), &views);
    let (open, closed): (Vec<_>, Vec<_>) = views.iter().map(|v| (v.partition, v.store())).partition(|s| s.1.is_some());
    let silent: Vec<u32> = closed.into_iter().map(|(partition, _)| partition).collect();
    let missing_partitions = missing(&table, &silent);
    if !partial && !missing_partitions.is_empty() {
        return Err(elsewhere(&missing_partitions));
    }
    let _waiting = Waiting(request.stop.clone());
    let of = cursor::of_scan(&name, &request.prefix);
    let scanned = Arc::clone(&table);
    let job = move || {
        let stores: Vec<_> = open.into_iter().filter_map(|(_, store)| store).collect();
        Ok(scan::leaf(&scanned, &stores, &request)?)
    };
    let ScanAnswer { records, end } = ctx.lookups.run(job).await?;
    let cursor = end.map(|key| cursor::write(of, &Place { ranks: Vec::new(), key }));
    let records = records.into_iter().map(|(key, record)| ScannedDto { key: text(key), record }).collect();
    Ok(Json(ScanResponse { records, cursor, missing_partitions, coverage }))
}

/// Keys are UTF-8: what is not was quarantined.
fn text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
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
