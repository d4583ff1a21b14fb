//! `top_hits`: a search for the first documents of each bucket, shown as hits are. Its parameters are those of a search, in the words
//! of Elasticsearch wherever aggregations are asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::context::Context;
use super::super::freshness::Freshness;
use super::super::problem::Problem;
use super::super::search::run;
use super::body::{Body, wrong};
use super::hits;
use super::request::{Paging, Search, Url};
use crate::config::ApiSettings;
use crate::index::Fields;
use crate::query::aggs::tops;
use crate::query::{Clause, SearchAnswer, SearchRequest, Table, order};

/// Most hits of a bucket, those included that `from` leaves out.
const MOST: usize = 100;
/// Hits of a bucket where nothing is said.
const DEFAULT_SIZE: usize = 3;
/// Parts of a search that have no meaning for the documents of a bucket.
const REFUSED: &[&str] = &["query", "aggs", "aggregations", "post_filter", "search_after", "pit", "track_total_hits"];

/// The searches of a request's `top_hits`, without what each bucket stands for: read to see whether they can be.
pub(in super::super) fn check(request: &Value, fields: &Fields, api: &ApiSettings) -> Result<Vec<String>, Problem> {
    let mut warnings = Vec::new();
    for (name, parameters) in tops::asked(request) {
        let search = read(name, parameters, fields, api)?;
        order(fields, &search.request)?;
        warnings.extend(search.warnings);
    }
    Ok(warnings)
}

fn read(name: &str, parameters: &Value, fields: &Fields, api: &ApiSettings) -> Result<Search, Problem> {
    let at = format!("aggs.{name}.top_hits");
    let mut asked = parameters.as_object().cloned().ok_or_else(|| wrong(&format!("{at}: expected an object")))?;
    if let Some(refused) = REFUSED.iter().find(|refused| asked.contains_key(**refused)) {
        return Err(wrong(&format!("{at}: {refused:?} is not understood here")));
    }
    asked.entry("size").or_insert_with(|| DEFAULT_SIZE.min(api.max_hits).into());
    let body = Body::read(Value::Object(asked).to_string().as_bytes())?;
    // No clock: nothing that depends on the time is taken here.
    let search = Search::read(body, &Url::default(), fields, Paging::Plain, 0, api)?;
    match search.request.limit {
        limit if limit > MOST => Err(wrong(&format!("{at}: from + size: found {limit}, expected at most {MOST}"))),
        _ => Ok(search),
    }
}

/// A request for aggregations, and what was found of it.
pub(in super::super) struct Asked<'a> {
    pub(in super::super) request: &'a Value,
    pub(in super::super) result: Value,
    /// Whether ranges around and between those that were asked for are shown.
    pub(in super::super) between: bool,
}

/// Searches for what a result of aggregations still needs, of the documents that `base` finds, and puts it there. Partitions that
/// did not answer join those of `found`.
pub(in super::super) async fn fill<R>(
    ctx: &Context,
    table: &Arc<Table>,
    base: &SearchRequest,
    (freshness, partial): (&Freshness, bool),
    Asked { request, mut result, between }: Asked<'_>,
    found: &mut SearchAnswer<R>,
) -> Result<Value, Problem> {
    if tops::asked(request).is_empty() {
        return Ok(result);
    }
    let fields = Arc::clone(&table.index.view().fields);
    for mut top in tops::searches(&fields, request, &result, between)? {
        let hits = match top.of.take() {
            None => hits::empty(false).hits,
            Some(of) => {
                let search = read(top.name, top.parameters, &fields, &ctx.state.settings.api)?;
                let ordering = order(&fields, &search.request)?;
                let narrowed = narrowed(base, search.request.clone(), of);
                let mut bucket = run(ctx, table, narrowed, freshness.clone(), partial).await?;
                found.missing_partitions.append(&mut bucket.answer.missing_partitions);
                hits::respond(table, &search, &ordering, bucket, false)?.hits
            }
        };
        top.place(&mut result, json!({ "hits": hits }));
    }
    found.missing_partitions.sort_unstable();
    found.missing_partitions.dedup();
    Ok(result)
}

/// What `of` shows of the documents that `base` finds in a bucket.
fn narrowed(base: &SearchRequest, of: SearchRequest, bucket: Vec<Clause>) -> SearchRequest {
    let mut within = base.within.clone();
    within.extend(bucket);
    let SearchRequest { q, clause, filter, stale, .. } = base.clone();
    SearchRequest { q, clause, filter, within, stale, ..of }
}
