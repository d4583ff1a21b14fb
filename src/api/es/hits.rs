//! The answer to a search, as Elasticsearch writes it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::problem::Problem;
use super::super::records::Written;
use super::super::scatter::Found;
use super::super::search::key_text;
use super::render;
use super::request::Search;
use crate::index::{Fields, Ordering};
use crate::query::{Hit, SearchAnswer, Table};
use crate::record::Shown;

/// Answer to a search.
#[derive(Debug, Serialize)]
pub(super) struct SearchResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) _scroll_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pit_id: Option<String>,
    pub(super) took: u64,
    pub(super) timed_out: bool,
    pub(super) _shards: Value,
    pub(super) hits: Hits,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aggregations: Option<Value>,
    /// Of each search of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<u16>,
}

/// Hits.
#[derive(Debug, Serialize)]
pub(super) struct Hits {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<Value>,
    max_score: Option<f32>,
    hits: Vec<HitDto>,
}

#[derive(Debug, Serialize)]
struct HitDto {
    _index: String,
    _id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    _version: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _seq_no: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _primary_term: Option<u8>,
    _score: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _source: Option<Record>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    fields: BTreeMap<String, Vec<Value>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    highlight: BTreeMap<String, Vec<String>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sort: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    _explanation: Option<Value>,
}

/// A record as it is, or what is left of it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Record {
    Whole(Written<Shown>),
    Part(Map<String, Value>),
}

impl Record {
    /// What `source` shows of a record; nothing where it is off.
    pub(super) fn of(record: Written<Shown>, source: &render::Source) -> Result<Option<Self>, Problem> {
        if source.off {
            return Ok(None);
        }
        if source.is_whole() {
            return Ok(Some(Self::Whole(record)));
        }
        Ok(Some(Self::Part(source.of(members(&record)?))))
    }
}

/// A record as a tree.
fn members(record: &Written<Shown>) -> Result<Map<String, Value>, Problem> {
    let tree = serde_json::to_value(record);
    let tree = tree.map_err(|e| crate::Error::internal("a record does not encode").because(e))?;
    Ok(match tree {
        Value::Object(members) => members,
        _ => Map::new(),
    })
}

/// How many partitions answered.
pub(super) fn shards(total: u32, missing: usize) -> Value {
    let successful = (total as usize).saturating_sub(missing);
    json!({"total": total, "successful": successful, "skipped": 0, "failed": missing})
}

/// An answer of no table at all.
pub(super) fn empty(plain_totals: bool) -> SearchResponse {
    let hits = Hits { total: Some(total(0, plain_totals)), max_score: None, hits: Vec::new() };
    let _shards = shards(0, 0);
    SearchResponse {
        _scroll_id: None,
        pit_id: None,
        took: 0,
        timed_out: false,
        _shards,
        hits,
        aggregations: None,
        status: None,
    }
}

fn total(matches: u64, plain: bool) -> Value {
    if plain { matches.into() } else { json!({"value": matches, "relation": "eq"}) }
}

/// The answer of what was found.
pub(super) fn respond(
    table: &Table,
    search: &Search,
    ordering: &Ordering,
    found: Found,
    plain_totals: bool,
) -> Result<SearchResponse, Problem> {
    let fields = &table.index.view().fields;
    let SearchAnswer { hits, total: matches, store, missing_partitions, .. } = found.answer;
    let by_score = search.order.has_scores();
    let best = hits.iter().filter_map(|hit| hit.score).filter(|s| s.is_finite()).reduce(f32::max);
    let seq_no = |hit: &Hit<Written<Shown>>| {
        let partition = table.def.partitioner.partition(&hit.place.key, table.partitions);
        let covered = store.iter().filter(|(p, _)| partition.is_none_or(|partition| partition == **p));
        covered.flat_map(|(_, position)| position.sources.values()).max().map_or(0, |next| (next - 1).max(0))
    };
    let mut shown = Vec::with_capacity(hits.len().saturating_sub(search.from));
    for hit in hits.into_iter().skip(search.from) {
        let number = search.seq_no.then(|| seq_no(&hit));
        shown.push(one(&table.def.name, search, ordering, fields, number, hit)?);
    }
    let hits = Hits {
        total: matches.map(|matches| total(matches, plain_totals)),
        max_score: best.filter(|_| by_score),
        hits: shown,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "milliseconds of a request")]
    let took = found.took_ms.max(0.0).round() as u64;
    let _shards = shards(table.partitions, missing_partitions.len());
    Ok(SearchResponse {
        _scroll_id: None,
        pit_id: None,
        took,
        timed_out: false,
        _shards,
        hits,
        aggregations: None,
        status: None,
    })
}

fn one(
    index: &str,
    search: &Search,
    ordering: &Ordering,
    known: &Fields,
    seq_no: Option<i64>,
    hit: Hit<Written<Shown>>,
) -> Result<HitDto, Problem> {
    let fields = match search.fields.is_empty() {
        true => BTreeMap::new(),
        false => render::fields(&members(&hit.record)?, &search.fields, known),
    };
    let sort = if search.order.is_given() { search.order.values(&hit.place, ordering) } else { Vec::new() };
    let pieces = |(field, pieces): (String, Vec<String>)| {
        let pieces =
            pieces.iter().map(|piece| search.highlight.as_ref().map_or_else(|| piece.clone(), |h| h.piece(piece)));
        (field, pieces.collect())
    };
    Ok(HitDto {
        _index: index.to_owned(),
        _id: key_text(hit.place.key),
        _version: hit.version.filter(|_| search.versions),
        _seq_no: seq_no,
        _primary_term: seq_no.map(|_| 1),
        _score: hit.score.filter(|score| score.is_finite()),
        _source: Record::of(hit.record, &search.source)?,
        fields,
        highlight: hit.highlight.into_iter().map(pieces).collect(),
        sort,
        _explanation: hit.explain,
    })
}
