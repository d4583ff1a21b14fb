//! `GET|POST /v1/tables/{table}/search`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::context::{At, BodyParams, Context};
use super::es::tops::{self, Asked};
use super::freshness::Freshness;
use super::negotiate::Form;
use super::openapi::Problems;
use super::params::Params;
use super::position::{Coverage, Positions};
use super::problem::{Problem, Reason};
use super::records::Written;
use super::scatter::{self, Found, Searched};
use super::words::{Counted, Partial, Stale};
use crate::config::ApiSettings;
use crate::query::facets::{DEFAULT_SIZE, FacetRequest, TopValues};
use crate::query::{
    AggPartial, Count, Hit, MOST_EXPLAINED, MOST_SORT_KEYS, SearchAnswer, SearchRequest, SortKey, Stop, Table, aggs,
    cursor,
};
use crate::record::{Shown, Value};

const DEFAULT_LIMIT: usize = 20;

/// Parameters of a search in the URL.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct SearchQuery {
    /// The words a person types. Malformed input still answers, with a warning. Nothing: every record.
    #[param(example = "walnut desk price:[10 TO 50]")]
    q: Option<String>,
    /// Strict and not scored; may be repeated, up to 32 times, and all must hold.
    #[param(value_type = Option<Vec<String>>, explode = true, example = json!(["stock:[1 TO *]"]))]
    filter: Option<Vec<String>>,
    /// Sort keys separated by commas: a field, `_score` or `_key`, with `-` in front for the largest first. Missing values
    /// come last; ties end with the key.
    #[param(example = "-price,title")]
    sort: Option<String>,
    /// Most hits (default 20, at most `api.max_hits`).
    #[param(minimum = 1)]
    limit: Option<usize>,
    /// `cursor` of the page before, for the next one, with everything but `limit` and what is shown as it was.
    cursor: Option<String>,
    /// Members of the records to return, separated by commas; all by default.
    fields: Option<String>,
    /// Text fields, separated by commas, of which hits show the pieces that have words of `q`, those in `<em>`.
    highlight: Option<String>,
    /// `true`: the first 10 hits say why they have their score (default `false`).
    explain: Option<bool>,
    /// `exact` (default): count all matches; `none`: do not, which is cheaper.
    #[param(inline, value_type = Option<Counted>)]
    count: Option<String>,
    /// Fields whose values are counted over all matches, separated by commas, each with how many values to show behind a colon
    /// (default 10, at most `api.max_buckets`). They need `facet = true` in the configuration.
    #[param(example = "brand,category:20")]
    facets: Option<String>,
    /// Aggregations over all matches in the syntax of Elasticsearch, as JSON.
    #[param(example = r#"{"prices":{"histogram":{"field":"price","interval":10}}}"#)]
    aggs: Option<String>,
    /// `allow` (default): answer without the partitions that are elsewhere, and name them; `refuse`: answer 503.
    #[param(inline, value_type = Option<Partial>)]
    partial: Option<String>,
    /// Wait until these events are visible to search: `topic:partition:offset[,…]`.
    at_least: Option<String>,
    /// How long to wait for `at_least`, such as `500ms` or `2s` (default 1 s, at most `api.timeout`).
    timeout: Option<String>,
    /// `refuse` (default): answer 503 when partitions are not running or behind by more than `api.max_lag`; `allow`: answer
    /// with what is there.
    #[param(inline, value_type = Option<Stale>)]
    stale: Option<String>,
}

/// Parameters of a search as a JSON body: the same as in the URL, lists as arrays.
#[derive(Debug, ToSchema)]
#[schema(as = SearchRequest)]
#[expect(dead_code, reason = "describes to OpenAPI what the handler takes from Params; a test holds them together")]
pub(crate) struct SearchBody {
    /// The words a person types. Malformed input still answers, with a warning. Nothing: every record.
    #[schema(example = "walnut desk")]
    q: Option<String>,
    /// Strict and not scored; at most 32, and all must hold.
    #[schema(example = json!(["stock:[1 TO *]"]))]
    filter: Option<Vec<String>>,
    /// Sort keys: a field, `_score` or `_key`, with `-` in front for the largest first.
    #[schema(example = json!(["-price", "title"]))]
    sort: Option<Vec<String>>,
    /// Most hits (default 20, at most `api.max_hits`).
    #[schema(minimum = 1)]
    limit: Option<usize>,
    /// `cursor` of the page before, for the next one, with everything but `limit` and what is shown as it was.
    cursor: Option<String>,
    /// Members of the records to return; all by default.
    fields: Option<Vec<String>>,
    /// Text fields of which hits show the pieces that have words of `q`, those in `<em>`.
    highlight: Option<Vec<String>>,
    /// `true`: the first 10 hits say why they have their score (default `false`).
    explain: Option<bool>,
    /// `exact` (default) or `none`.
    #[schema(inline, value_type = Option<Counted>)]
    count: Option<String>,
    /// Fields whose values are counted over all matches, each with how many values to show behind a colon (default 10, at most
    /// `api.max_buckets`). They need `facet = true` in the configuration.
    #[schema(example = json!(["brand", "category:20"]))]
    facets: Option<Vec<String>>,
    /// Aggregations over all matches in the syntax of Elasticsearch: `terms`, `multi_terms`, `composite`, `range`, `histogram`,
    /// `date_histogram`, `filter`, `filters`, `top_hits`, `avg`, `sum`, `min`, `max`, `stats`, `extended_stats`, `value_count`,
    /// `cardinality`, `percentiles`. A filter is written as in `filter`. `top_hits` takes `size` (3 by default), `from`, `sort`
    /// (`[{"price": "desc"}]`), `_source`, `highlight` and so on as Elasticsearch does, and searches once more for each bucket, at most 100
    /// of them.
    #[schema(value_type = Option<Object>, example = json!({"brands": {"terms": {"field": "brand"}, "aggs": {"price": {"avg": {"field": "price"}}}}}))]
    aggs: Option<serde_json::Value>,
    /// `allow` (default) or `refuse` an answer without partitions that are elsewhere.
    #[schema(inline, value_type = Option<Partial>)]
    partial: Option<String>,
    /// Wait until these events are visible to search: `topic:partition:offset` each.
    at_least: Option<Vec<String>>,
    /// How long to wait for `at_least` (default 1 s).
    timeout: Option<String>,
    /// `refuse` (default) or `allow` data that is stale.
    #[schema(inline, value_type = Option<Stale>)]
    stale: Option<String>,
}

/// Answer to a search.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchAnswer)]
pub(crate) struct SearchResponse {
    /// Hits in order.
    hits: Vec<HitDto>,
    /// Number of matches; null with `count=none`.
    total: Option<u64>,
    /// By field, what `facets` asked for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    facets: BTreeMap<String, FacetDto>,
    /// By name, what `aggs` asked for, as Elasticsearch writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    aggs: Option<serde_json::Value>,
    /// For the next page; null where there is none.
    cursor: Option<String>,
    /// Time of the search itself, milliseconds, without waiting for freshness.
    took_ms: f64,
    /// What `q` had to be changed to be understood.
    warnings: Vec<String>,
    /// Partitions that could not answer.
    missing_partitions: Vec<u32>,
    /// What the records of the hits cover; never behind `position`. Where it is ahead, a record may have changed since it
    /// was found.
    store_position: Positions,
    #[serde(flatten)]
    coverage: Coverage,
}

/// A facet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Facet)]
pub(crate) struct FacetDto {
    /// The most frequent values, with the number of records that have them.
    values: Vec<FacetValueDto>,
    /// How many values there are; null where there are too many to tell.
    distinct: Option<u64>,
    /// The most by which a count may be too small, where there are too many values to count them all; else 0.
    max_error: u64,
}

/// A value of a facet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FacetValue)]
pub(crate) struct FacetValueDto {
    /// The value, as records show it.
    #[schema(value_type = serde_json::Value)]
    value: Value,
    /// Records that match and have it.
    count: u64,
}

/// A hit.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Hit)]
pub(crate) struct HitDto {
    /// Key of the record.
    key: String,
    /// BM25 score, when sorted by score.
    score: Option<f32>,
    /// The current record.
    #[schema(value_type = Object)]
    record: Written<Shown>,
    /// By field, pieces of its texts that have words of `q`, escaped for HTML, those words in `<em>`; where `highlight` asks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    highlight: BTreeMap<String, Vec<String>>,
    /// Why it has its score, for the first 10 hits where `explain=true`: a tree of `value`, `description` and `details`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    explain: Option<serde_json::Value>,
}

/// Searches a table
///
/// with parameters in the URL. As `application/x-ndjson`: a hit a line, then a line with the rest in `summary`.
#[utoipa::path(
    get, path = "/v1/tables/{table}/search", tag = "search",
    params(("table" = String, Path, description = "Name of the table"), SearchQuery),
    responses((status = 200, content((SearchResponse = "application/json"), (String = "application/x-ndjson"))), Problems)
)]
pub(crate) async fn by_url(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, Problem> {
    written(&headers, answer(&ctx, &name, params).await?)
}

/// Searches a table
///
/// with parameters in a JSON body, answered as with those in the URL. They have the same names as in the URL, and may stand there too.
#[utoipa::path(
    post, path = "/v1/tables/{table}/search", tag = "search",
    params(("table" = String, Path, description = "Name of the table")),
    request_body = Option<SearchBody>,
    responses((status = 200, content((SearchResponse = "application/json"), (String = "application/x-ndjson"))), Problems)
)]
pub(crate) async fn by_body(
    State(ctx): State<Context>,
    At(name): At<String>,
    headers: HeaderMap,
    BodyParams(params): BodyParams,
) -> Result<Response, Problem> {
    written(&headers, answer(&ctx, &name, params).await?)
}

fn written(headers: &HeaderMap, answer: SearchResponse) -> Result<Response, Problem> {
    Form::of(headers).write(answer, "hits", |answer| std::mem::take(&mut answer.hits))
}

async fn answer(ctx: &Context, name: &str, mut params: Params) -> Result<SearchResponse, Problem> {
    let table = ctx.table(name)?;
    let api = &ctx.state.settings.api;
    let (mut request, partial) = search_params(&mut params, api)?;
    let freshness = Freshness::take(&mut params, api.timeout)?;
    request.stale = freshness.allow_stale;
    let identity = cursor::of_search(name, &request);
    if let Some(text) = params.text("cursor")? {
        request.after = Some(cursor::read(&text, identity)?);
    }
    let limit = request.limit;
    params.finish()?;
    freshness.check(&table)?;
    let (facets, asked) = (request.facets.clone(), request.aggs.clone());
    let mut warnings = match &asked {
        Some(asked) => tops::check(asked, &table.index.view().fields, api)?,
        None => Vec::new(),
    };
    let base = request.clone();
    let mut found = run(ctx, &table, request, freshness.clone(), partial).await?;
    found.answer.warnings.append(&mut warnings);
    let next = next_page(&found.answer, limit, identity);
    let mut aggs = finish_aggs(ctx, &table, asked.clone(), found.answer.aggs.take()).await?;
    if let Some((asked, result)) = asked.as_ref().zip(aggs.take()) {
        let asked = Asked { request: asked, result, between: true };
        aggs = Some(tops::fill(ctx, &table, &base, (&freshness, partial), asked, &mut found.answer).await?);
    }
    let tops = std::mem::take(&mut found.answer.facets).into_iter().zip(facets);
    let facets = tops.map(|(facet, asked)| (asked.field, facet_dto(facet.top(asked.size)))).collect();
    Ok(SearchResponse { cursor: next, facets, aggs, ..respond(found) })
}

/// Searches all partitions, wherever they are; refuses an answer without some of them unless `partial`.
pub(super) async fn run(
    ctx: &Context,
    table: &Arc<Table>,
    request: SearchRequest,
    freshness: Freshness,
    partial: bool,
) -> Result<Found, Problem> {
    let mut found = if ctx.state.cluster.members().is_alone() {
        alone(ctx, table, request, &freshness, partial).await?
    } else {
        scatter::search_anywhere(ctx, table, request, freshness).await?
    };
    if !partial && !found.answer.missing_partitions.is_empty() {
        return Err(elsewhere(&found.answer.missing_partitions));
    }
    // Each instance has explained its first ones.
    found.answer.hits.iter_mut().skip(MOST_EXPLAINED).for_each(|hit| hit.explain = None);
    Ok(found)
}

/// The result of aggregations, of what all instances contributed to them.
pub(super) async fn finish_aggs(
    ctx: &Context,
    table: &Table,
    request: Option<serde_json::Value>,
    partial: Option<AggPartial>,
) -> Result<Option<serde_json::Value>, Problem> {
    let Some((request, partial)) = request.zip(partial) else { return Ok(None) };
    let fields = Arc::clone(&table.index.view().fields);
    let max_buckets = ctx.state.settings.api.max_buckets;
    let finish = move || Ok(aggs::finish(&fields, &request, partial, max_buckets)?);
    ctx.searches.run(finish).await.map(Some)
}

/// Stops a search when it is dropped.
pub(super) struct Waiting(pub(super) Stop);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.raise();
    }
}

fn facet_dto(top: TopValues) -> FacetDto {
    let values = top.values.into_iter().map(|(value, count)| FacetValueDto { value, count }).collect();
    FacetDto { values, distinct: top.distinct, max_error: top.max_error }
}

/// Searches what is here, where there is no other instance.
async fn alone(
    ctx: &Context,
    table: &Arc<Table>,
    request: SearchRequest,
    freshness: &Freshness,
    partial: bool,
) -> Result<Found, Problem> {
    let absent = missing(table, &[]);
    if absent.len() == table.partitions as usize || (!partial && !absent.is_empty()) {
        return Err(elsewhere(&absent));
    }
    let Searched { mut answer, coverage, took_ms } = scatter::search_here(ctx, table, request, freshness).await?;
    answer.missing_partitions = missing(table, &answer.missing_partitions);
    Ok(Searched { answer: answer.map(Written::Here), coverage, took_ms })
}

/// The cursor of the page behind this one, if there may be one.
fn next_page<R>(found: &SearchAnswer<R>, limit: usize, identity: u64) -> Option<String> {
    let last = found.hits.last().filter(|_| found.hits.len() >= limit)?;
    Some(cursor::write(identity, &last.place))
}

/// Takes everything but freshness and cursor; also whether a partial answer will do.
fn search_params(params: &mut Params, api: &ApiSettings) -> Result<(SearchRequest, bool), Problem> {
    let request = SearchRequest {
        q: params.text("q")?,
        filter: params.list("filter")?.unwrap_or_default(),
        sort: sort_keys(params.commas("sort")?.unwrap_or_default())?,
        limit: params.integer("limit", 1..=api.max_hits)?.unwrap_or_else(|| DEFAULT_LIMIT.min(api.max_hits)),
        fields: params.commas("fields")?,
        count: params.choice("count", &[("exact", Count::Exact), ("none", Count::None)])?.unwrap_or_default(),
        highlight: params.commas("highlight")?.unwrap_or_default(),
        explain: params.switch("explain")?.unwrap_or(false),
        facets: facet_requests(params.commas("facets")?.unwrap_or_default(), api.max_buckets)?,
        aggs: params.json("aggs")?,
        max_buckets: api.max_buckets,
        ..SearchRequest::default()
    };
    let partial = params.choice("partial", &[("allow", true), ("refuse", false)])?.unwrap_or(true);
    Ok((request, partial))
}

fn facet_requests(words: Vec<String>, max: u32) -> Result<Vec<FacetRequest>, Problem> {
    let mut seen = BTreeSet::new();
    let mut all = Vec::with_capacity(words.len());
    for word in words {
        let expected = format!("fields, each once, with a number from 1 to {max} behind a colon");
        let (field, size) = match word.split_once(':') {
            None => (word.as_str(), Some(DEFAULT_SIZE)),
            Some((field, size)) => (field, size.parse().ok().filter(|n| (1..=max as usize).contains(n))),
        };
        match size.filter(|_| !field.is_empty() && seen.insert(field.to_owned())) {
            Some(size) => all.push(FacetRequest { field: field.to_owned(), size }),
            None => return Err(Problem::parameter("facets", format_args!("found `{word}`"), expected)),
        }
    }
    Ok(all)
}

fn sort_keys(words: Vec<String>) -> Result<Vec<SortKey>, Problem> {
    let expected = "fields, `_score` or `_key`, each once, with `-` in front for the largest first";
    if words.len() > MOST_SORT_KEYS {
        let found = format!("{} sort keys", words.len());
        return Err(Problem::parameter("sort", found, format_args!("at most {MOST_SORT_KEYS}")));
    }
    let mut seen = BTreeSet::new();
    let mut keys = Vec::with_capacity(words.len());
    for word in words {
        let (descending, field) = match word.strip_prefix('-') {
            Some(field) => (true, field),
            None => (false, word.as_str()),
        };
        if field.is_empty() || !seen.insert(field.to_owned()) {
            return Err(Problem::parameter("sort", format_args!("found `{word}`"), expected));
        }
        keys.push(SortKey { field: field.to_owned(), descending, missing_first: false });
    }
    Ok(keys)
}

pub(super) fn elsewhere(missing: &[u32]) -> Problem {
    let names: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Problem::new(
        Reason::NoOwner,
        format!("no instance can answer for the partitions {} now", names.join(", ")),
        "try again in a moment; after a start or a rebalance partitions need a second to arrive",
    )
    .retry_after(1)
    .with("missing_partitions", missing.to_vec())
}

/// The partitions without a task here, and those that did not answer.
pub(super) fn missing(table: &Table, silent: &[u32]) -> Vec<u32> {
    let tasks = table.tasks();
    (0..table.partitions).filter(|p| !tasks.contains_key(p) || silent.contains(p)).collect()
}

fn respond(Searched { answer: found, mut coverage, took_ms }: Found) -> SearchResponse {
    let mut store_position = Positions::default();
    for (partition, covered) in &found.index {
        coverage.position.add(*partition, &covered.sources);
    }
    for (partition, covered) in &found.store {
        store_position.add(*partition, &covered.sources);
    }
    SearchResponse {
        hits: found.hits.into_iter().map(hit).collect(),
        total: found.total,
        facets: BTreeMap::new(),
        aggs: None,
        cursor: None,
        took_ms: (took_ms * 1e3).round() / 1e3,
        warnings: found.warnings,
        missing_partitions: found.missing_partitions,
        store_position,
        coverage,
    }
}

/// Keys are UTF-8: what is not was quarantined.
pub(super) fn key_text(key: Vec<u8>) -> String {
    String::from_utf8(key).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

fn hit(hit: Hit<Written<Shown>>) -> HitDto {
    let score = hit.score.filter(|s| s.is_finite());
    HitDto { key: key_text(hit.place.key), score, record: hit.record, highlight: hit.highlight, explain: hit.explain }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn parse(query: &str) -> Result<(SearchRequest, bool), Problem> {
        let mut params = Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap();
        search_params(&mut params, &testing::settings().api)
    }

    #[test]
    fn a_search_has_defaults_and_takes_what_is_given() {
        let (request, partial) = parse("").unwrap();
        assert_eq!((request.q, request.limit, request.count, partial), (None, 20, Count::Exact, true));
        let query = "q=a&filter=x:1,2&filter=y:3&sort=-price,_key&limit=5&fields=a,b&count=none&partial=refuse";
        let (request, partial) = parse(query).unwrap();
        assert_eq!(request.filter, ["x:1,2", "y:3"]);
        let key = |field: &str, descending| SortKey { field: field.to_owned(), descending, missing_first: false };
        assert_eq!(request.sort, [key("price", true), key("_key", false)]);
        assert_eq!((request.limit, request.count, partial), (5, Count::None, false));
        assert_eq!(request.fields.unwrap(), ["a", "b"]);
    }

    #[test]
    fn limits_and_sort_keys_are_checked() {
        for (query, parameter) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("sort=-", "sort"),
            ("sort=a,-a", "sort"),
            ("sort=a,b,c,d,e,f,g,h,i", "sort"),
            ("count=maybe", "count"),
            ("partial=yes", "partial"),
        ] {
            assert_eq!(parse(query).unwrap_err().body().more["parameter"], parameter, "{query}");
        }
    }

    #[test]
    fn the_documented_parameters_are_those_that_are_taken() {
        let mut params = Params::default();
        search_params(&mut params, &testing::settings().api).unwrap();
        Freshness::take(&mut params, std::time::Duration::from_secs(10)).unwrap();
        params.text("cursor").unwrap();
        let documented = |names: Vec<String>| {
            let mut names = names;
            names.sort_unstable();
            names
        };
        let url = SearchQuery::into_params(|| None).into_iter().map(|p| p.name).collect();
        assert_eq!(documented(url), params.known());
        assert_eq!(documented(testing::members::<SearchBody>()), params.known());
    }
}
