//! Reads by id: `_doc`, `_source`, `_mget`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;

use super::super::context::{At, Context, Payload};
use super::super::freshness::Freshness;
use super::super::position::Coverage;
use super::super::problem::{Problem, Reason};
use super::super::records::{Found, Wanted, read};
use super::answer::{Answer, shaped};
use super::body::{Body, wrong};
use super::hits::Record;
use super::names;
use super::render::Source;
use super::request::Url;
use super::search::freshness;
use crate::query::Table;

/// A record by its id, or that there is none.
#[derive(Debug, Serialize)]
pub(super) struct Doc {
    _index: String,
    _id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    _version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _seq_no: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _primary_term: Option<u8>,
    found: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    _source: Option<Record>,
}

/// `GET|HEAD /{index}/_doc/{id}`.
pub(super) async fn get(
    State(ctx): State<Context>,
    At((index, id)): At<(String, String)>,
    uri: Uri,
) -> Result<Answer<Doc>, Problem> {
    let url = Url::read(&uri)?;
    let table = table(&ctx, &index)?;
    let mut docs = docs(&ctx, &table, vec![(id, url.source())], freshness(&ctx, &uri)?).await?;
    let doc = docs.pop().ok_or_else(|| wrong("no id"))?;
    let status = if doc.found { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok(Answer { status, ..Answer::of(doc) })
}

/// `GET|HEAD /{index}/_source/{id}`.
pub(super) async fn source(
    State(ctx): State<Context>,
    At((index, id)): At<(String, String)>,
    uri: Uri,
) -> Result<Answer<Record>, Problem> {
    let url = Url::read(&uri)?;
    let table = table(&ctx, &index)?;
    let mut docs = docs(&ctx, &table, vec![(id.clone(), url.source())], freshness(&ctx, &uri)?).await?;
    match docs.pop().and_then(|doc| doc._source) {
        Some(source) => Ok(Answer::of(source)),
        None => Err(Problem::new(
            Reason::NoSuchRecord,
            format!("Document not found [{index}]/[{id}]"),
            "if it was written just now, pass the `at_least` that the writer got back",
        )),
    }
}

fn table(ctx: &Context, index: &str) -> Result<Arc<Table>, Problem> {
    names::one(ctx, index, false)?.ok_or_else(|| wrong(&format!("`{index}` names no table")))
}

/// The records of ids, in the order asked, each with what is shown of it.
async fn docs(
    ctx: &Context,
    table: &Arc<Table>,
    asked: Vec<(String, Source)>,
    freshness: Freshness,
) -> Result<Vec<Doc>, Problem> {
    let max = ctx.state.settings.api.max_keys;
    if asked.is_empty() || asked.len() > max {
        return Err(wrong(&format!("found {} ids, expected from 1 to {max} (api.max_keys)", asked.len())));
    }
    freshness.check(table)?;
    let keys: Vec<String> = asked.iter().map(|(id, _)| id.clone()).collect();
    let wanted = Wanted { fields: None, explain: false };
    let (coverage, found) = read(ctx, Arc::clone(table), keys, wanted, freshness).await?;
    asked.into_iter().zip(found).map(|((id, source), found)| doc(table, &coverage, id, &source, found)).collect()
}

fn doc(table: &Table, coverage: &Coverage, id: String, source: &Source, found: Found) -> Result<Doc, Problem> {
    let _index = table.def.name.clone();
    let Some((record, version)) = found.into_record() else {
        return Ok(Doc {
            _index,
            _id: id,
            _version: None,
            _seq_no: None,
            _primary_term: None,
            found: false,
            _source: None,
        });
    };
    let partition = table.def.partitioner.partition(id.as_bytes(), table.partitions);
    let seq_no = seq_no(coverage, partition);
    let _source = Record::of(record, source)?;
    Ok(Doc { _index, _id: id, _version: version, _seq_no: Some(seq_no), _primary_term: Some(1), found: true, _source })
}

/// The offset of the last event that the answer covers in the partition.
fn seq_no(coverage: &Coverage, partition: Option<u32>) -> i64 {
    let of = coverage.position.0.iter().filter(|(p, _)| partition.is_none_or(|partition| partition == **p));
    let offset = |event: &String| event.rsplit(':').next().and_then(|offset| offset.parse::<i64>().ok());
    of.flat_map(|(_, topics)| topics.values()).filter_map(offset).max().unwrap_or(0)
}

/// `_mget` of the tables that each id names.
pub(super) async fn many(
    State(ctx): State<Context>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Docs>, Problem> {
    several(&ctx, None, &uri, &body).await
}

/// `_mget` of a table.
pub(super) async fn many_of(
    State(ctx): State<Context>,
    At(index): At<String>,
    uri: Uri,
    Payload(body): Payload,
) -> Result<Answer<Docs>, Problem> {
    several(&ctx, Some(&index), &uri, &body).await
}

/// Several records.
#[derive(Debug, Serialize)]
pub(super) struct Docs {
    docs: Vec<Entry>,
}

/// One of several: there, not there, or why nobody knows.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Entry {
    Doc(Doc),
    Failed { _index: String, _id: String, error: Value },
}

/// What is asked of one table: places in the answer, ids, and what is shown.
type Asked = Vec<(usize, String, Source)>;

async fn several(ctx: &Context, index: Option<&str>, uri: &Uri, bytes: &[u8]) -> Result<Answer<Docs>, Problem> {
    let url = Url::read(uri)?;
    let freshness = freshness(ctx, uri)?;
    let mut body = Body::read(bytes)?;
    let mut tables: BTreeMap<String, Asked> = BTreeMap::new();
    let (mut n, max) = (0, ctx.state.settings.api.max_keys);
    let mut ask = |index: Option<&str>, id: String, source: Source| {
        let index = index.ok_or_else(|| wrong(&format!("_mget: id {id:?} names no index")))?;
        if n >= max {
            return Err(wrong(&format!("_mget: expected at most {max} ids (api.max_keys)")));
        }
        tables.entry(index.to_owned()).or_default().push((n, id, source));
        n += 1;
        Ok::<(), Problem>(())
    };
    for id in body.take::<Vec<Value>>("ids")?.unwrap_or_default() {
        ask(index, text(&id)?, url.source())?;
    }
    for doc in body.take::<Vec<Value>>("docs")?.unwrap_or_default() {
        let id = text(doc.get("_id").unwrap_or(&Value::Null))?;
        let source = match doc.get("_source") {
            None => url.source(),
            Some(asked) => serde_json::from_value::<Source>(asked.clone())
                .map_err(|e| wrong(&format!("_mget: _source: {e}")))?
                .checked()?,
        };
        let named = match doc.get("_index") {
            None | Some(Value::Null) => index,
            Some(Value::String(name)) => Some(name.as_str()),
            Some(other) => return Err(wrong(&format!("_mget: _index: found {other}, expected a name"))),
        };
        ask(named, id, source)?;
    }
    if n == 0 {
        return Err(wrong("_mget: expected \"ids\" or \"docs\""));
    }
    let warnings = body.rest().map(|(name, _)| format!("{name:?} is not understood and was passed over")).collect();
    let mut all: Vec<(usize, Entry)> = Vec::with_capacity(n);
    for (index, asked) in tables {
        let places: Vec<usize> = asked.iter().map(|(at, ..)| *at).collect();
        match table(ctx, &index) {
            Ok(table) => {
                let asked = asked.into_iter().map(|(_, id, source)| (id, source)).collect();
                let docs = docs(ctx, &table, asked, freshness.clone()).await?;
                all.extend(places.into_iter().zip(docs.into_iter().map(Entry::Doc)));
            }
            Err(problem) => {
                let error = shaped(&problem)["error"].clone();
                let failed = |(at, id, _)| (at, Entry::Failed { _index: index.clone(), _id: id, error: error.clone() });
                all.extend(asked.into_iter().map(failed));
            }
        }
    }
    all.sort_by_key(|(at, _)| *at);
    Ok(Answer::of(Docs { docs: all.into_iter().map(|(_, entry)| entry).collect() }).with(warnings))
}

fn text(id: &Value) -> Result<String, Problem> {
    match id {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(wrong(&format!("_mget: found {other}, expected an id"))),
    }
}
