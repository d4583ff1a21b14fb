//! What clients ask before they ask for data: who is there, how it is, which indices there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::cluster::{TablePlacement, placements};
use super::super::context::{At, Context};
use super::super::params::Params;
use super::super::problem::Problem;
use super::super::search::run;
use super::answer::Answer;
use super::mapping::uuid;
use super::names;
use super::render::commas;
use super::request::Url;
use super::search::freshness;
use crate::query::{SearchRequest, Table};

/// The version of Elasticsearch whose clients find what they expect.
const COMPATIBLE: &str = "8.19.0";

/// `GET|HEAD /`.
pub(super) async fn root(State(ctx): State<Context>) -> Answer<Value> {
    let application = &ctx.state.settings.application;
    Answer::of(json!({
        "name": ctx.instance(),
        "cluster_name": application,
        "cluster_uuid": uuid(application),
        "version": {
            "number": COMPATIBLE,
            "build_flavor": "default",
            "build_type": "keld",
            "build_hash": "unknown",
            "build_date": "1970-01-01T00:00:00.000Z",
            "build_snapshot": false,
            "lucene_version": "9.12.0",
            "minimum_wire_compatibility_version": "7.17.0",
            "minimum_index_compatibility_version": "7.0.0"
        },
        // Clients of version 7 look for it.
        "tagline": "You Know, for Search",
        "keld": {"version": env!("CARGO_PKG_VERSION"), "documentation": "the Elasticsearch subset of Keld, for reading"}
    }))
}

/// `GET /_cluster/health`.
pub(super) async fn health(State(ctx): State<Context>, uri: Uri) -> Result<Answer<Value>, Problem> {
    health_over(&ctx, "_all", &uri)
}

/// `GET /_cluster/health/{index}`.
pub(super) async fn health_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    health_over(&ctx, &index, &uri)
}

/// How a table is: `green` where somebody works on every partition, `yellow` where copies are wanted and missing, else `red`.
fn colour(placement: &TablePlacement, copies_wanted: bool) -> &'static str {
    match (placement.missing_partitions.is_empty(), placement.without_standby.is_empty() || !copies_wanted) {
        (false, _) => "red",
        (true, false) => "yellow",
        (true, true) => "green",
    }
}

fn health_over(ctx: &Context, index: &str, uri: &Uri) -> Result<Answer<Value>, Problem> {
    let tables = names::tables(ctx, index, Url::read(uri)?.lenient)?;
    let wanted = Params::from_uri(uri)?.text("wait_for_status")?;
    let placements = placements(&ctx.state);
    let members = ctx.state.cluster.members();
    let nodes = 1 + members.others().iter().filter(|m| m.alive).count();
    let copies_wanted = nodes > 1 && ctx.state.settings.cluster.standbys > 0;
    let of = |table: &Arc<Table>| placements.get(&table.def.name);
    let colours: Vec<&str> = tables.iter().filter_map(of).map(|p| colour(p, copies_wanted)).collect();
    let status = ["red", "yellow"].into_iter().find(|c| colours.contains(c)).unwrap_or("green");
    let partitions: usize = tables.iter().map(|table| table.partitions as usize).sum();
    let missing: usize = tables.iter().filter_map(of).map(|p| p.missing_partitions.len()).sum();
    let active = partitions - missing;
    let late = match wanted.as_deref() {
        Some("green") => status != "green",
        Some("yellow") => status == "red",
        _ => false,
    };
    #[expect(clippy::cast_precision_loss, reason = "a share in percent")]
    let percent = if partitions == 0 { 100.0 } else { active as f64 * 100.0 / partitions as f64 };
    let body = json!({
        "cluster_name": ctx.state.settings.application, "status": status, "timed_out": late, "number_of_nodes": nodes,
        "number_of_data_nodes": nodes, "active_primary_shards": active, "active_shards": active, "relocating_shards": 0,
        "initializing_shards": 0, "unassigned_shards": missing, "unassigned_primary_shards": missing,
        "delayed_unassigned_shards": 0, "number_of_pending_tasks": 0, "number_of_in_flight_fetch": 0,
        "task_max_waiting_in_queue_millis": 0, "active_shards_percent_as_number": percent
    });
    let status = if late { StatusCode::REQUEST_TIMEOUT } else { StatusCode::OK };
    Ok(Answer { status, ..Answer::of(body) })
}

/// `GET /_resolve/index/{index}`.
pub(super) async fn resolve(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
) -> Result<Answer<Value>, Problem> {
    let tables = names::tables(&ctx, &index, Url::read(&uri)?.lenient)?;
    let indices: Vec<Value> = tables.iter().map(|t| json!({"name": t.def.name, "attributes": ["open"]})).collect();
    Ok(Answer::of(json!({"indices": indices, "aliases": [], "data_streams": []})))
}

/// `GET /_cat/indices`.
pub(super) async fn cat(State(ctx): State<Context>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    listed(&ctx, "_all", &uri, &headers).await
}

/// `GET /_cat/indices/{index}`.
pub(super) async fn cat_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    listed(&ctx, &index, &uri, &headers).await
}

/// Columns of the list, and their short names.
const COLUMNS: [(&str, &str); 10] = [
    ("health", "h"),
    ("status", "s"),
    ("index", "i"),
    ("uuid", "id"),
    ("pri", "p"),
    ("rep", "r"),
    ("docs.count", "dc"),
    ("docs.deleted", "dd"),
    ("store.size", "ss"),
    ("pri.store.size", "pss"),
];

async fn listed(ctx: &Context, index: &str, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut params = Params::from_uri(uri)?;
    let placements = placements(&ctx.state);
    let members = ctx.state.cluster.members();
    let copies_wanted = !members.is_alone() && ctx.state.settings.cluster.standbys > 0;
    let mut rows = Vec::new();
    let tables = names::tables(ctx, index, Url::read(uri)?.lenient)?;
    let each = freshness(ctx, uri)?.shared(&tables)?;
    for (table, freshness) in tables.into_iter().zip(each) {
        let all = SearchRequest { stale: freshness.allow_stale, ..SearchRequest::default() };
        let records = run(ctx, &table, all, freshness, true).await?.answer.total.unwrap_or(0);
        let sized = Arc::clone(&table);
        let bytes = ctx
            .lookups
            .run(move || {
                Ok(sized.tasks().values().filter_map(|view| view.store()).map(|store| store.bytes()).sum::<u64>())
            })
            .await?;
        let health = placements.get(&table.def.name).map_or("red", |p| colour(p, copies_wanted));
        let rep = if copies_wanted { ctx.state.settings.cluster.standbys.to_string() } else { "0".to_owned() };
        let size = bytes.to_string();
        let values = [
            health.to_owned(),
            "open".to_owned(),
            table.def.name.clone(),
            uuid(&table.def.name),
            table.partitions.to_string(),
            rep,
            records.to_string(),
            "0".to_owned(),
            size.clone(),
            size,
        ];
        rows.push(COLUMNS.iter().map(|(name, _)| *name).zip(values).collect::<BTreeMap<_, _>>());
    }
    let shown = columns(params.text("h")?.as_deref());
    let accepts = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let json = match params.text("format")?.as_deref() {
        Some(format) => format == "json",
        None => accepts.starts_with("application/json") || accepts.starts_with("application/vnd.elasticsearch+json"),
    };
    if json {
        let row = |row: &BTreeMap<&str, String>| -> Value {
            Value::Object(shown.iter().map(|name| ((*name).to_owned(), row[name].clone().into())).collect())
        };
        return Ok(Answer::of(rows.iter().map(row).collect::<Vec<_>>()).into_response());
    }
    let names = params.text("v")?.is_some_and(|v| v != "false");
    let text = aligned(&shown, &rows, names);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], text).into_response())
}

/// The columns that are asked for by name; all by default.
fn columns(asked: Option<&str>) -> Vec<&'static str> {
    let Some(asked) = asked else { return COLUMNS.iter().map(|(name, _)| *name).collect() };
    let known =
        |asked: &String| COLUMNS.iter().find(|(name, short)| asked == name || asked == short).map(|(name, _)| *name);
    commas(asked).iter().filter_map(known).collect()
}

/// A table of text, its columns as wide as they must be.
fn aligned(columns: &[&str], rows: &[BTreeMap<&str, String>], names: bool) -> String {
    let header: BTreeMap<&str, String> = columns.iter().map(|name| (*name, (*name).to_owned())).collect();
    let all: Vec<&BTreeMap<&str, String>> = names.then_some(&header).into_iter().chain(rows).collect();
    let width = |name: &str| all.iter().filter_map(|row| row.get(name)).map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for row in &all {
        let cells = columns.iter().map(|name| format!("{:<1$}", row.get(name).map_or("", String::as_str), width(name)));
        let line = cells.collect::<Vec<_>>().join(" ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_aligned_and_have_the_columns_that_were_asked_for() {
        assert_eq!(columns(Some("i,docs.count,nonsense")), ["index", "docs.count"]);
        let row =
            |index: &str, count: &str| BTreeMap::from([("index", index.to_owned()), ("docs.count", count.to_owned())]);
        let rows = [row("a", "10"), row("longer", "2")];
        assert_eq!(aligned(&["index", "docs.count"], &rows, true), "index  docs.count\na      10\nlonger 2\n");
        assert_eq!(aligned(&["docs.count"], &rows, false), "10\n2\n");
    }

    #[test]
    fn a_table_is_green_where_somebody_works_on_all_of_it() {
        let placement = |missing: &[u32], without: &[u32]| TablePlacement::new(4, missing.to_vec(), without.to_vec());
        assert_eq!(colour(&placement(&[], &[1]), false), "green");
        assert_eq!(colour(&placement(&[], &[1]), true), "yellow");
        assert_eq!(colour(&placement(&[2], &[1]), true), "red");
    }
}
