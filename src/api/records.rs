//! Reads by key: `GET /v1/tables/{table}/records/{key}` and `POST /v1/tables/{table}/records/get`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use utoipa::{IntoParams, ToSchema};

use super::context::{At, BodyParams, Context};
use super::explain::ExplainDto;
use super::freshness::{self, Freshness, Stage};
use super::negotiate::{Form, Tag, unwritable};
use super::openapi::Problems;
use super::params::Params;
use super::peer;
use super::position::Coverage;
use super::problem::{Problem, Reason};
use super::words::Stale;
use crate::query::Table;
use crate::record::explain::explain;
use crate::record::{Shown, codec};
use crate::store::Store;
use crate::task::TaskView;

/// So many keys are looked up where the request is served, while a place is free there or memory has them: that takes microseconds each,
/// and handing the work to another thread takes more.
const FEW: usize = 4;

/// Parameters of a read by key.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct RecordQuery {
    /// Members of the record to return, separated by commas; all by default.
    #[param(example = "title,price")]
    fields: Option<String>,
    /// Wait until these events are applied: `topic:partition:offset[,…]`.
    #[param(example = "catalog:0:4711")]
    at_least: Option<String>,
    /// How long to wait for `at_least`, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// `refuse` (default): answer 503 from partitions that are not running or behind by more than `api.max_lag`;
    /// `allow`: answer with what is there.
    #[param(inline, value_type = Option<Stale>)]
    stale: Option<String>,
    /// `true`: say why the record is what it is, in `explain`, of a deleted record in the problem (default `false`).
    explain: Option<bool>,
}

/// A request for several records. Every member may as well stand in the URL.
#[derive(Debug, ToSchema)]
#[schema(as = RecordsRequest)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct RecordsBody {
    /// Keys, at most `api.max_keys`. The answer keeps their order.
    #[schema(example = json!(["sku-1", "sku-2"]))]
    keys: Vec<String>,
    /// Members of the records to return; all by default.
    fields: Option<Vec<String>>,
    /// Wait until these events are applied: `topic:partition:offset` each.
    at_least: Option<Vec<String>>,
    /// How long to wait for `at_least`, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// `refuse` (default): answer 503 from partitions that are not running or behind by more than `api.max_lag`;
    /// `allow`: answer with what is there.
    #[schema(inline, value_type = Option<Stale>)]
    stale: Option<String>,
}

/// A record.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordAnswer {
    /// Key.
    key: String,
    /// The current record.
    #[schema(value_type = Object)]
    record: Written<Shown>,
    /// Why it is what it is, where `explain=true`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ExplainDto>)]
    explain: Option<Written<ExplainDto>>,
    #[serde(flatten)]
    coverage: Coverage,
}

/// Several records.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordsAnswer {
    /// One entry per key, in the order asked.
    records: Vec<RecordEntry>,
    /// The keys that have no record, in the order asked.
    missing: Vec<String>,
    #[serde(flatten)]
    coverage: Coverage,
}

/// What one key of a multi-get has.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RecordEntry {
    /// Key.
    key: String,
    /// The current record; null if there is none.
    #[schema(value_type = Option<Object>)]
    record: Option<Written<Shown>>,
}

/// Reads one record
///
/// by its key. The answer covers every event that its `position` names. Its `ETag` is of the record, not of what is said beside it
/// (position, lag): whoever has that record already (`If-None-Match`) is answered 304.
#[utoipa::path(
    get, path = "/v1/tables/{table}/records/{key}", tag = "records",
    params(
        ("table" = String, Path, description = "Name of the table"),
        ("key" = String, Path, description = "Key of the record, percent-encoded"),
        ("If-None-Match" = Option<String>, Header, description = "Tags of what the client has: is it one of them, the answer is 304"),
        RecordQuery
    ),
    responses(
        (status = 200, body = RecordAnswer, headers(("ETag" = String, description = "Tag of the record as it is shown"))),
        (status = 304, description = "The client has it already"),
        Problems
    )
)]
pub(crate) async fn get(
    State(ctx): State<Context>,
    At((name, key)): At<(String, String)>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    get_one(&ctx, &name, key, &headers, params).await
}

/// Reads the record whose key is `get`
///
/// since the path of the reads of several keys hides it from the reads of one.
#[utoipa::path(
    get, path = "/v1/tables/{table}/records/get", tag = "records",
    params(("table" = String, Path, description = "Name of the table"), RecordQuery),
    responses((status = 200, body = RecordAnswer), Problems)
)]
pub(crate) async fn get_named_get(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    get_one(&ctx, &name, "get".to_owned(), &headers, params).await
}

async fn get_one(
    ctx: &Context,
    name: &str,
    key: String,
    headers: &HeaderMap,
    mut params: Params,
) -> Result<Response, Problem> {
    let table = ctx.table(name)?;
    let (fields, freshness) = record_params(&mut params, ctx.state.settings.api.timeout)?;
    let explain = explain_param(&mut params)?;
    params.finish()?;
    freshness.check(&table)?;
    let (coverage, mut found) = read(ctx, table, vec![key.clone()], Wanted { fields, explain }, freshness).await?;
    let Found { record, explain, .. } = found.pop().unwrap_or_default();
    match record {
        Some(record) => {
            let record = to_raw_value(&record).map_err(unwritable)?;
            let explain = explain.map(|explain| to_raw_value(&explain)).transpose().map_err(unwritable)?;
            let tag = Tag::of([record.get()].into_iter().chain(explain.iter().map(|e| e.get())));
            if tag.is_held(headers) {
                return Ok(tag.unchanged());
            }
            let (record, explain) = (Written::There(record), explain.map(Written::There));
            Ok((tag.headers(), axum::Json(RecordAnswer { key, record, explain, coverage })).into_response())
        }
        None => Err(Problem::new(
            Reason::NoSuchRecord,
            format!("table `{name}` has no record with this key"),
            "if it was written just now, pass the `at_least` that the writer got back",
        )
        .with("key", key)
        .with_members(&explain.map(|explain| BTreeMap::from([("explain", explain)])))
        .with_members(&coverage)),
    }
}

/// Reads several records
///
/// in the order asked; keys without a record are named in `missing`. As `application/x-ndjson`: a record a line, then a line with the
/// rest in `summary`.
#[utoipa::path(
    post, path = "/v1/tables/{table}/records/get", tag = "records",
    params(("table" = String, Path, description = "Name of the table")),
    request_body = RecordsBody,
    responses((status = 200, content((RecordsAnswer = "application/json"), (String = "application/x-ndjson"))), Problems)
)]
pub(crate) async fn get_many(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    BodyParams(mut params): BodyParams,
) -> Result<Response, Problem> {
    let table = ctx.table(&name)?;
    let keys = keys_param(&mut params, ctx.state.settings.api.max_keys)?;
    let (fields, freshness) = record_params(&mut params, ctx.state.settings.api.timeout)?;
    params.finish()?;
    freshness.check(&table)?;
    let wanted = Wanted { fields, explain: false };
    let (coverage, found) = read(&ctx, table, keys.clone(), wanted, freshness).await?;
    let missing = keys.iter().zip(&found).filter(|(_, f)| f.record.is_none()).map(|(key, _)| key.clone()).collect();
    let records = keys.into_iter().zip(found).map(|(key, f)| RecordEntry { key, record: f.record }).collect();
    let answer = RecordsAnswer { records, missing, coverage };
    Form::of(&headers).write(answer, "records", |answer| std::mem::take(&mut answer.records))
}

fn record_params(params: &mut Params, longest: Duration) -> Result<(Option<Vec<String>>, Freshness), Problem> {
    Ok((params.commas("fields")?, Freshness::take(params, longest)?))
}

fn explain_param(params: &mut Params) -> Result<bool, Problem> {
    Ok(params.choice("explain", &[("true", true), ("false", false)])?.unwrap_or(false))
}

fn keys_param(params: &mut Params, max: usize) -> Result<Vec<String>, Problem> {
    let expected = format!("from 1 to {max} keys");
    match params.list("keys")? {
        Some(keys) if (1..=max).contains(&keys.len()) => Ok(keys),
        Some(keys) => Err(Problem::parameter("keys", format_args!("found {} keys", keys.len()), expected)),
        None => Err(Problem::parameter("keys", "it is missing", expected)),
    }
}

/// What of a record is wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// Members; all by default.
    pub(super) fields: Option<Vec<String>>,
    pub(super) explain: bool,
}

/// What there is of one key.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Found {
    /// What is shown, if anything.
    record: Option<Written<Shown>>,
    /// Why, where wanted and something is kept, be it a tombstone.
    explain: Option<Written<ExplainDto>>,
    /// The highest version of anything in it.
    version: Option<i64>,
}

impl Found {
    /// As another instance wrote it.
    pub(crate) fn raw(record: Option<Box<RawValue>>, explain: Option<Box<RawValue>>, version: Option<i64>) -> Self {
        Self { record: record.map(Written::There), explain: explain.map(Written::There), version }
    }

    /// What is shown, if anything, and the highest version of anything in it.
    pub(crate) fn into_record(self) -> Option<(Written<Shown>, Option<i64>)> {
        Some((self.record?, self.version))
    }

    /// Takes what another partition has, unless there is a record already.
    pub(crate) fn take_first(&mut self, other: Self) {
        if self.record.is_none() && (other.record.is_some() || self.explain.is_none()) {
            *self = other;
        }
    }
}

/// What is to be written as JSON, or is it already.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Written<T> {
    /// From here.
    Here(T),
    /// As another instance wrote it.
    There(Box<RawValue>),
}

/// The records of `keys`, in order, and what the answer covers, wherever they are.
pub(super) async fn read(
    ctx: &Context,
    table: Arc<Table>,
    keys: Vec<String>,
    wanted: Wanted,
    freshness: Freshness,
) -> Result<(Coverage, Vec<Found>), Problem> {
    let partitions = partitions_of(&table, &keys);
    if ctx.state.cluster.members().is_alone() {
        return read_here(ctx, table, partitions, keys, wanted, freshness).await;
    }
    peer::records_anywhere(ctx, &table, partitions, keys, wanted, freshness).await
}

/// As [`read`], from these partitions, by the tasks of this instance alone.
pub(crate) async fn read_here(
    ctx: &Context,
    table: Arc<Table>,
    partitions: Vec<u32>,
    keys: Vec<String>,
    wanted: Wanted,
    freshness: Freshness,
) -> Result<(Coverage, Vec<Found>), Problem> {
    let max_lag = ctx.state.settings.api.max_lag;
    let needed = || partitions.iter().map(|p| table.task(*p).ok_or_else(|| freshness::no_owner(*p))).collect();
    let views = freshness::admit(&table, &freshness, Stage::Applied, max_lag, needed).await?;
    let coverage = Coverage::applied(ctx.instance(), &views);
    let get = |store: &Store, keys: &[&[u8]]| store.get_many(keys).map(Some);
    if keys.len() <= FEW {
        let here = ctx.near.run(|| fetch(&table, &views, &keys, &wanted, &get));
        let found = here.unwrap_or_else(|| fetch(&table, &views, &keys, &wanted, &Store::peek))?;
        if let Some(found) = found {
            return Ok((coverage, found));
        }
    }
    let job = move || fetch(&table, &views, &keys, &wanted, &get);
    let found = ctx.lookups.run(job).await?.unwrap_or_default();
    Ok((coverage, found))
}

/// The partitions that some of these keys may be in, each once.
pub(super) fn partitions_of(table: &Table, keys: &[String]) -> Vec<u32> {
    let place = |key: &String| table.def.partitioner.partition(key.as_bytes(), table.partitions);
    let places: Option<Vec<u32>> = keys.iter().map(place).collect();
    // Without a known partitioner a key may be anywhere.
    let mut partitions = places.unwrap_or_else(|| (0..table.partitions).collect());
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// Looks keys up in a store; `None` where it would have to wait and may not.
type Get<'a> = &'a dyn Fn(&Store, &[&[u8]]) -> crate::Result<Option<Vec<Option<Vec<u8>>>>>;

/// Reads from the stores, as far as `get` goes: `None` where it declines. A key that may be anywhere is taken from the first
/// partition that shows it.
fn fetch(
    table: &Table,
    views: &[Arc<TaskView>],
    keys: &[String],
    wanted: &Wanted,
    get: Get<'_>,
) -> Result<Option<Vec<Found>>, Problem> {
    let mut all: Vec<Found> = keys.iter().map(|_| Found::default()).collect();
    for view in views {
        let store = view.store().ok_or_else(|| freshness::no_owner(view.partition))?;
        let here = |key: &str| {
            let place = table.def.partitioner.partition(key.as_bytes(), table.partitions);
            place.is_none_or(|p| p == view.partition)
        };
        let asked: Vec<usize> = (0..keys.len()).filter(|i| all[*i].record.is_none() && here(&keys[*i])).collect();
        let asked_keys: Vec<&[u8]> = asked.iter().map(|i| keys[*i].as_bytes()).collect();
        let Some(found) = get(&store, &asked_keys)? else { return Ok(None) };
        for (i, stored) in asked.iter().zip(found) {
            if let Some(bytes) = stored {
                let record = codec::decode(&bytes)?;
                let shown = Shown::of(&table.def, keys[*i].as_bytes(), &record, wanted.fields.as_deref());
                if wanted.explain && (shown.is_some() || all[*i].explain.is_none()) {
                    all[*i].explain = Some(Written::Here(explain(&table.def, keys[*i].as_bytes(), &record).into()));
                }
                all[*i].version = record.version();
                all[*i].record = shown.map(Written::Here);
            }
        }
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        record_params(&mut params, Duration::from_secs(10)).unwrap();
        explain_param(&mut params).unwrap();
        let mut url: Vec<String> = RecordQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        url.sort_unstable();
        assert_eq!(url, params.known());
        let mut params = Params::default();
        record_params(&mut params, Duration::from_secs(10)).unwrap();
        keys_param(&mut params, 10).unwrap_err();
        let mut body = testing::members::<RecordsBody>();
        body.sort_unstable();
        assert_eq!(body, params.known());
    }

    #[test]
    fn the_number_of_keys_is_limited() {
        let keys = |json: &str| keys_param(&mut Params::default().with_body(json.as_bytes()).unwrap(), 2);
        assert_eq!(keys(r#"{"keys":["b","a"]}"#).unwrap(), ["b", "a"]);
        for bad in [r#"{"keys":["a","b","c"]}"#, r#"{"keys":[]}"#, r#"{"keys":[1]}"#, "{}"] {
            let problem = keys(bad).unwrap_err();
            assert_eq!(problem.body().more["parameter"], "keys", "{bad}");
        }
    }
}
