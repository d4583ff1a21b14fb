//! Aggregations in the syntax of Elasticsearch.
//!
//! `shape` turns a request into what the library takes, `calendar` makes months of ranges and ranges of months. A leaf collects
//! [`AggPartial`]s, which are merged, and only then is the result made of them: an average of averages would be none.

mod calendar;
mod limits;
mod moments;
mod shape;
mod span;
mod ties;
pub mod tops;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::clause;
use super::parse::{self, Spent};
use super::terms::has;
use crate::index::syntax::{BooleanQuery, Conjunction, Occur, Query};
use crate::index::{Aggregator, FacetCounts, Fields, Partial, Stop, Summed, View};
use crate::record::FieldType;
use crate::{Error, Result};
pub(crate) use shape::CLAUSE;
use shape::{Filter, Filtered, Level};

/// What one leaf, or several that were merged, contribute to the aggregations of a search.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AggPartial {
    plain: Partial,
    /// By the name of a `filter` or `filters` aggregation.
    filtered: Vec<(String, Vec<FilteredPartial>)>,
}

/// One bucket of a `filter` or `filters` aggregation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct FilteredPartial {
    count: u64,
    sub: AggPartial,
}

impl AggPartial {
    /// Adds what another leaf contributes to the same request.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        Aggregator::merge(&mut self.plain, other.plain)?;
        for (name, buckets) in other.filtered {
            match self.filtered.iter_mut().find(|(held, _)| *held == name) {
                None => self.filtered.push((name, buckets)),
                Some((_, held)) => {
                    for (into, bucket) in held.iter_mut().zip(buckets) {
                        into.count += bucket.count;
                        into.sub.merge(bucket.sub)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The bytes that an instance sends. They are not JSON: that has no form for infinite numbers.
    pub fn encode(&self) -> Result<Vec<u8>> {
        postcard::to_allocvec(self).map_err(|e| Error::internal("aggregations do not encode").because(e))
    }

    /// Reads what another instance of the same version has sent.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        postcard::from_bytes(bytes).map_err(|e| Error::internal("aggregations of another instance").because(e))
    }
}

/// Collects the aggregations of `request` over the documents that match, and the facets given by column and type.
pub(super) fn collect(
    view: &View,
    query: Box<dyn Query>,
    facets: &[(String, FieldType)],
    request: Option<&Value>,
    max_buckets: u32,
    stop: &Stop,
    spent: &mut Spent,
) -> Result<(Vec<FacetCounts>, Option<AggPartial>)> {
    let Some(request) = request else {
        let summed = view.summarise(query.as_ref(), facets, None, stop)?;
        return Ok((summed.facets, None));
    };
    let level = shape::level(&view.fields, request, max_buckets, &|column| view.dates(column))?;
    let (_, facets, partial) = collect_level(view, query, facets, &level, max_buckets, stop, spent)?;
    Ok((facets, Some(partial)))
}

fn collect_level(
    view: &View,
    query: Box<dyn Query>,
    facets: &[(String, FieldType)],
    level: &Level,
    max_buckets: u32,
    stop: &Stop,
    spent: &mut Spent,
) -> Result<(u64, Vec<FacetCounts>, AggPartial)> {
    let aggregator = Aggregator::new(Value::Object(level.plain.clone()), max_buckets)?;
    let mut summed = Summed { facets: vec![FacetCounts::new(); facets.len()], ..Summed::default() };
    for query in apart(view, query.box_clone(), &level.replaced) {
        summed.add(view.summarise(query.as_ref(), facets, Some(&aggregator), stop)?)?;
    }
    let mut partial = AggPartial { plain: summed.aggregations, filtered: Vec::new() };
    for filtered in &level.filtered {
        let mut bucket = |(_, filter): &(String, Filter)| {
            let filter = match filter {
                Filter::Text(text) => parse::strict(view, &format!("aggs.{}", filtered.name), text, spent)?,
                Filter::Clause(clause) => clause::compile(view, clause, spent)?.query,
            };
            let narrowed = Box::new(Conjunction::new(query.box_clone(), vec![filter]));
            let (count, _, sub) = collect_level(view, narrowed, &[], &filtered.sub, max_buckets, stop, spent)?;
            Ok(FilteredPartial { count, sub })
        };
        let buckets = filtered.buckets.iter().map(&mut bucket).collect::<Result<_>>()?;
        partial.filtered.push((filtered.name.clone(), buckets));
    }
    Ok((summed.total, summed.facets, partial))
}

/// One query for each combination of having these fields and not. Together they find what `query` does, each document once.
fn apart(view: &View, query: Box<dyn Query>, fields: &BTreeSet<String>) -> Vec<Box<dyn Query>> {
    let mut all = vec![query];
    for field in fields {
        // Those without it or a column were refused before.
        let Some(target) = view.fields.resolve(field) else { continue };
        let mut halves = Vec::with_capacity(all.len() * 2);
        for half in [true, false].map(|value| has(&target, value)) {
            let both = |query: &dyn Query| vec![(Occur::Must, query.box_clone()), (Occur::Must, half.box_clone())];
            halves.extend(all.iter().map(|query| Box::new(BooleanQuery::new(both(query.as_ref()))) as Box<dyn Query>));
        }
        all = halves;
    }
    all
}

/// Makes the result of what the leaves contributed. Blocking: runs on the search pool.
pub fn finish(fields: &Fields, request: &Value, partial: AggPartial, max_buckets: u32) -> Result<Value> {
    let level = shape::level(fields, request, max_buckets, &|_| Ok(None))?;
    let is_date = |column: &str| fields.resolve(column).is_some_and(|target| target.kind == FieldType::Date);
    finish_level(&level, request, partial, max_buckets, &is_date).map(Value::Object)
}

fn finish_level(
    level: &Level,
    request: &Value,
    mut partial: AggPartial,
    max_buckets: u32,
    is_date: &dyn Fn(&str) -> bool,
) -> Result<Map<String, Value>> {
    for histogram in &level.histograms {
        let values = Aggregator::extremes(&partial.plain, &span::extremes_name(&histogram.column));
        histogram.check(values, max_buckets).map_err(|what| shape::wrong(&histogram.name, what))?;
    }
    let aggregator = Aggregator::new(Value::Object(level.plain.clone()), max_buckets)?;
    let mut result = match aggregator.finish(partial.plain)? {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    result.retain(|name, _| !name.starts_with(span::HIDDEN));
    ties::finish(&level.plain, &mut result);
    calendar::finish(request, &mut result);
    moments::finish(&level.plain, &mut result, is_date);
    for filtered in &level.filtered {
        let found = partial.filtered.iter().position(|(name, _)| *name == filtered.name);
        let buckets = found.map(|at| partial.filtered.swap_remove(at).1).unwrap_or_default();
        result.insert(filtered.name.clone(), finish_filtered(filtered, request, buckets, max_buckets, is_date)?);
    }
    Ok(result)
}

fn finish_filtered(
    filtered: &Filtered,
    request: &Value,
    mut buckets: Vec<FilteredPartial>,
    max_buckets: u32,
    is_date: &dyn Fn(&str) -> bool,
) -> Result<Value> {
    buckets.resize_with(filtered.buckets.len(), FilteredPartial::default);
    let sub_request = shape::subs(&request[&filtered.name]).cloned().unwrap_or_else(|| Value::Object(Map::new()));
    let mut shown = Map::new();
    for ((name, _), bucket) in filtered.buckets.iter().zip(buckets) {
        let mut members = Map::from_iter([("doc_count".to_owned(), Value::from(bucket.count))]);
        members.extend(finish_level(&filtered.sub, &sub_request, bucket.sub, max_buckets, is_date)?);
        if filtered.single {
            return Ok(Value::Object(members));
        }
        shown.insert(name.clone(), Value::Object(members));
    }
    Ok(Value::Object(Map::from_iter([("buckets".to_owned(), Value::Object(shown))])))
}
