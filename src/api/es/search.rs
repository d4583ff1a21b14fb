//! `_search`, `_msearch`, `_count`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use serde_json::{Value, json};

use super::super::context::{At, Context, Payload};
use super::super::freshness::Freshness;
use super::super::params::Params;
use super::super::problem::Problem;
use super::super::search::{finish_aggs, run};
use super::answer::{Answer, shaped};
use super::body::{Body, wrong};
use super::hits::{self, SearchResponse};
use super::names;
use super::paging::{Pit, Scroll};
use super::request::{Paging, Search, Url, query};
use super::tops::{self, Asked};
use crate::index::Place;
use crate::query::dsl::Translator;
use crate::query::{SearchRequest, Stop, Table, order};

/// Most searches of one request.
const MOST_SEARCHES: usize = 100;

/// `_search` over the table that a point in time names, or the only one.
pub(super) async fn get(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<SearchResponse>, Problem> {
    search(&ctx, "_all", &Url::read(&uri)?, freshness(&ctx, &uri)?, &body).await
}

/// `_search` over a table.
pub(super) async fn get_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<SearchResponse>, Problem> {
    search(&ctx, &index, &Url::read(&uri)?, freshness(&ctx, &uri)?, &body).await
}

/// How fresh an answer must be.
pub(super) fn freshness(ctx: &Context, uri: &Uri) -> Result<Freshness, Problem> {
    Freshness::take(&mut Params::from_uri(uri)?, ctx.state.settings.api.timeout)
}

async fn search(
    ctx: &Context,
    index: &str,
    url: &Url,
    freshness: Freshness,
    bytes: &[u8],
) -> Result<Answer<SearchResponse>, Problem> {
    let mut body = Body::read(bytes)?;
    let pit: Option<Pit> = body.take("pit")?;
    let named = match &pit {
        Some(pit) => pit.table()?,
        None => index.to_owned(),
    };
    let Some(table) = names::one(ctx, &named, url.lenient || named.contains('*'))? else {
        return Ok(Answer::of(hits::empty(url.plain_totals)));
    };
    let paging = match (&pit, url.scroll) {
        (Some(_), true) => return Err(wrong("a search in a point in time is no scroll: page with search_after")),
        (Some(_), false) => Paging::PointInTime,
        (None, true) => Paging::Scroll,
        (None, false) => Paging::Plain,
    };
    let now_ms = crate::clock::now_ms();
    let (search, mut answer, last) = found(ctx, &table, body, url, paging, now_ms, None, freshness).await?;
    if paging == Paging::Scroll {
        let body = String::from_utf8_lossy(bytes).into_owned();
        let scroll = Scroll { table: table.def.name.clone(), url: url.text.clone(), body, now_ms, after: last };
        answer._scroll_id = Some(scroll.write()?);
    }
    answer.pit_id = pit.map(|pit| pit.id);
    Ok(Answer::of(answer).with(search.warnings))
}

/// Reads a search, runs it and shows its answer; also the place of the last hit.
#[expect(clippy::too_many_arguments, reason = "each is one thing that a page of a scroll has from elsewhere")]
pub(super) async fn found(
    ctx: &Context,
    table: &Arc<Table>,
    body: Body,
    url: &Url,
    paging: Paging,
    now_ms: i64,
    after: Option<Place>,
    freshness: Freshness,
) -> Result<(Search, SearchResponse, Option<Place>), Problem> {
    let fields = Arc::clone(&table.index.view().fields);
    let mut search = Search::read(body, url, &fields, paging, now_ms, &ctx.state.settings.api)?;
    if after.is_some() {
        search.request.after = after;
        // Those of a scroll are told with its first page.
        search.request.aggs = None;
        search.aggs = None;
    }
    freshness.check(table)?;
    let ordering = order(&fields, &search.request)?;
    let mut request = search.request.clone();
    request.stale = freshness.allow_stale;
    let asked = request.aggs.take();
    if let Some(asked) = &asked {
        search.warnings.append(&mut tops::check(asked, &fields, &ctx.state.settings.api)?);
    }
    let mut summed = None;
    match &search.post_filter {
        None => request.aggs.clone_from(&asked),
        Some(filter) => {
            if asked.is_some() {
                // Aggregations are of what the filter leaves out, too: a search of its own, that is stopped by itself.
                let (aggs, stop) = (asked.clone(), Stop::default());
                let all = SearchRequest { aggs, stop, limit: 0, highlight: Vec::new(), ..request.clone() };
                summed = run(ctx, table, all, freshness.clone(), url.partial).await?.answer.aggs;
            }
            request.within.push(filter.clone());
        }
    }
    let mut hits = run(ctx, table, request, freshness.clone(), url.partial).await?;
    let summed = summed.or(hits.answer.aggs.take());
    search.warnings.append(&mut hits.answer.warnings);
    let last = hits.answer.hits.last().map(|hit| hit.place.clone()).or_else(|| search.request.after.clone());
    let mut aggregations = finish_aggs(ctx, table, asked.clone(), summed).await?;
    if let Some((asked, result)) = asked.as_ref().zip(aggregations.take()) {
        let base = SearchRequest { stale: freshness.allow_stale, ..search.request.clone() };
        let asked = Asked { request: asked, result, between: false };
        aggregations = Some(tops::fill(ctx, table, &base, (&freshness, url.partial), asked, &mut hits.answer).await?);
    }
    let mut answer = hits::respond(table, &search, &ordering, hits, url.plain_totals)?;
    answer.aggregations =
        aggregations.zip(search.aggs.as_ref()).map(|(result, aggs)| aggs.shape(result, url.typed_keys));
    Ok((search, answer, last))
}

/// `_msearch` of tables that each search names.
pub(super) async fn many(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    searches(&ctx, "_all", &uri, &body).await
}

/// `_msearch` of this table, where a search names no other.
pub(super) async fn many_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    searches(&ctx, &index, &uri, &body).await
}

async fn searches(ctx: &Context, index: &str, uri: &Uri, body: &[u8]) -> Result<Answer<Value>, Problem> {
    let started = std::time::Instant::now();
    let url = Url::read(uri)?;
    let freshness = freshness(ctx, uri)?;
    // An empty line is a header that says nothing; the one behind the last line is none.
    let mut lines: Vec<&[u8]> = body.split(|b| *b == b'\n').collect();
    if lines.last().is_some_and(|line| line.iter().all(u8::is_ascii_whitespace)) {
        lines.pop();
    }
    if lines.is_empty() || !lines.len().is_multiple_of(2) {
        return Err(wrong(
            "_msearch: expected two lines for each search: a header such as {\"index\": \"a\"}, and the search",
        ));
    }
    if lines.len() / 2 > MOST_SEARCHES {
        return Err(wrong(&format!("_msearch: found {} searches, expected at most {MOST_SEARCHES}", lines.len() / 2)));
    }
    let (mut responses, mut warnings) = (Vec::with_capacity(lines.len() / 2), Vec::new());
    for pair in lines.chunks_exact(2) {
        let one = async {
            let (index, url) = header(pair[0], index, &url)?;
            search(ctx, &index, &url, freshness.clone(), pair[1]).await
        };
        responses.push(match one.await {
            Ok(Answer { mut body, warnings: said, .. }) => {
                body.status = Some(200);
                warnings.extend(said);
                serde_json::to_value(body)
                    .map_err(|e| crate::Error::internal("an answer does not encode").because(e))?
            }
            // One that fails does not take the others with it.
            Err(problem) => shaped(&problem),
        });
    }
    let took = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Answer::of(json!({"took": took, "responses": responses})).with(warnings))
}

/// The table of a search of several, and what its header says.
fn header(line: &[u8], index: &str, url: &Url) -> Result<(String, Url), Problem> {
    let mut header = Body::read(line)?;
    let named = match header.take::<Value>("index")? {
        None => index.to_owned(),
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        Some(other) => return Err(wrong(&format!("_msearch: index: found {other}, expected a name"))),
    };
    let mut url = url.clone();
    url.lenient = header.take("ignore_unavailable")?.unwrap_or(url.lenient);
    url.partial = header.take("allow_partial_search_results")?.unwrap_or(url.partial);
    Ok((named, url))
}

/// `_count` of the only table.
pub(super) async fn count(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    matches(&ctx, "_all", &uri, &body).await
}

/// `_count` of a table.
pub(super) async fn count_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Value>, Problem> {
    matches(&ctx, &index, &uri, &body).await
}

async fn matches(ctx: &Context, index: &str, uri: &Uri, bytes: &[u8]) -> Result<Answer<Value>, Problem> {
    let url = Url::read(uri)?;
    let (mut sum, mut partitions, mut missing, mut warnings) = (0, 0, 0, Vec::new());
    let tables = names::tables(ctx, index, url.lenient)?;
    let each = freshness(ctx, uri)?.shared(&tables)?;
    for (table, freshness) in tables.into_iter().zip(each) {
        let mut body = Body::read(bytes)?;
        let fields = Arc::clone(&table.index.view().fields);
        let mut translator = Translator::new(&fields, crate::clock::now_ms());
        let clause = query(&mut body, &url, &mut translator)?;
        warnings.append(&mut translator.warnings);
        warnings.extend(body.rest().map(|(name, _)| format!("{name:?} is not understood and was passed over")));
        let request = SearchRequest { clause, stale: freshness.allow_stale, ..SearchRequest::default() };
        let found = run(ctx, &table, request, freshness, url.partial).await?.answer;
        sum += found.total.unwrap_or(0);
        partitions += table.partitions;
        missing += found.missing_partitions.len();
        warnings.extend(found.warnings);
    }
    warnings.sort();
    warnings.dedup();
    Ok(Answer::of(json!({"count": sum, "_shards": hits::shards(partitions, missing)})).with(warnings))
}
