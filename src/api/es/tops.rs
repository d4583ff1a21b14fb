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
use crate::query::{SearchRequest, Table, order};

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
    Search::read(body, &Url::default(), fields, Paging::Plain, 0, api)
}

/// Searches for what a result of aggregations still needs, of the documents that `base` finds, and puts it there.
pub(in super::super) async fn fill(
    ctx: &Context,
    table: &Arc<Table>,
    base: &SearchRequest,
    (freshness, partial): (&Freshness, bool),
    asked: &Value,
    mut result: Value,
) -> Result<Value, Problem> {
    if tops::asked(asked).is_empty() {
        return Ok(result);
    }
    let fields = Arc::clone(&table.index.view().fields);
    for mut top in tops::searches(&fields, asked, &result)? {
        let search = read(&top.name, &top.parameters, &fields, &ctx.state.settings.api)?;
        let found = match top.of.take() {
            None => hits::empty(false).hits,
            Some(bucket) => {
                let ordering = order(&fields, &search.request)?;
                let request = narrowed(base, search.request.clone(), bucket);
                let found = run(ctx, table, request, freshness.clone(), partial).await?;
                hits::respond(table, &search, &ordering, found, false)?.hits
            }
        };
        top.place(&mut result, json!({ "hits": found }));
    }
    Ok(result)
}

/// What `of` shows of the documents that `base` finds in a bucket.
fn narrowed(base: &SearchRequest, of: SearchRequest, bucket: tops::Bucket) -> SearchRequest {
    let (mut filter, mut within) = (base.filter.clone(), base.within.clone());
    filter.extend(bucket.filters);
    within.extend(bucket.clauses);
    SearchRequest { q: base.q.clone(), clause: base.clause.clone(), filter, within, stale: base.stale, ..of }
}
