//! From a request to what the library takes: names of fields become columns, months become ranges, and filters are set apart,
//! for each is a search of its own.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::calendar::{self, Calendar};
use super::limits::{self, SEGMENT_TERMS};
use super::span::{HIDDEN, Histogram};
use super::tops;
use crate::index::Fields;
use crate::query::Clause;
use crate::query::dates::Span;
use crate::record::FieldType;
use crate::{Error, Result};

/// Most aggregations of a request, and how deep they may be nested.
const MOST: usize = 100;
const DEEPEST: usize = 10;
/// Most filters of a request: each is a search of its own.
const MOST_FILTERS: usize = 50;
/// Most fields of texts with a value in the place of a missing one: each doubles the searches.
const MOST_REPLACED: usize = 3;
/// Nanoseconds of a millisecond: the library compares dates by the former.
const NANOS: i64 = 1_000_000;

/// Aggregations that need numbers.
const OF_NUMBERS: &[&str] =
    &["avg", "sum", "min", "max", "stats", "extended_stats", "percentiles", "histogram", "range", "date_histogram"];
/// Aggregations of any column.
const OF_ANY: &[&str] = &["terms", "multi_terms", "composite", "cardinality", "value_count"];

/// One level of a request.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// What the library takes.
    pub(super) plain: Map<String, Value>,
    /// What is a search of its own.
    pub(super) filtered: Vec<Filtered>,
    /// The histograms of `plain`, at whatever depth.
    pub(super) histograms: Vec<Histogram>,
    /// Fields of texts that have another one in the place of a missing one, at whatever depth: documents with and without are
    /// collected apart. In one segment the library counts only one of the two where some document has that text.
    pub(super) replaced: BTreeSet<String>,
}

/// A `filter` or `filters` aggregation.
#[derive(Debug)]
pub(super) struct Filtered {
    pub(super) name: String,
    /// Whether it is `filter`, which has one bucket without a name.
    pub(super) single: bool,
    /// Names and filters.
    pub(super) buckets: Vec<(String, Filter)>,
    pub(super) sub: Level,
}

/// What the documents of a bucket must be like.
#[derive(Debug)]
pub(super) enum Filter {
    /// In the grammar of `filter`.
    Text(String),
    /// As a tree.
    Clause(Clause),
}

/// Name of the member that holds the tree of a filter that was written in another language.
pub(crate) const CLAUSE: &str = "_clause";

/// First and last moment of a column of dates, milliseconds.
pub(super) type Dates<'a> = &'a dyn Fn(&str) -> Result<Option<(i64, i64)>>;

struct Shaper<'a> {
    fields: &'a Fields,
    max_buckets: u32,
    dates: Dates<'a>,
    aggregations: usize,
    filters: usize,
}

/// Reads a request.
pub(super) fn level(fields: &Fields, request: &Value, max_buckets: u32, dates: Dates<'_>) -> Result<Level> {
    Shaper { fields, max_buckets, dates, aggregations: 0, filters: 0 }.level(request, true, 0)
}

/// The aggregations below one.
pub(super) fn subs(body: &Value) -> Option<&Value> {
    body.get("aggs").or_else(|| body.get("aggregations"))
}

/// The kind of an aggregation and its parameters.
pub(super) fn kind(body: &Value) -> Option<(&str, &Value)> {
    let members = body.as_object()?.iter().map(|(name, value)| (name.as_str(), value));
    let mut kinds = members.filter(|(name, _)| !matches!(*name, "aggs" | "aggregations" | "meta"));
    kinds.next().filter(|_| kinds.next().is_none())
}

/// Hands every bucket of a result to `visit`, be they a list or under their names.
pub(super) fn each_bucket(found: &mut Value, mut visit: impl FnMut(&mut Map<String, Value>)) {
    match found.get_mut("buckets") {
        Some(Value::Array(buckets)) => buckets.iter_mut().filter_map(Value::as_object_mut).for_each(visit),
        Some(Value::Object(buckets)) => buckets.values_mut().filter_map(Value::as_object_mut).for_each(&mut visit),
        _ => {}
    }
}

pub(super) fn wrong(name: &str, what: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("aggs.{name}: {what}"))
}

impl Shaper<'_> {
    fn level(&mut self, request: &Value, filters: bool, depth: usize) -> Result<Level> {
        let members = request.as_object().ok_or_else(|| {
            Error::bad_request("aggs: expected an object such as {\"brands\": {\"terms\": {\"field\": \"brand\"}}}")
        })?;
        if depth >= DEEPEST {
            return Err(Error::bad_request(format!("aggs: expected at most {DEEPEST} levels")));
        }
        let mut level = Level::default();
        for (name, body) in members {
            if name.starts_with(HIDDEN) {
                return Err(wrong(name, "expected a name that does not begin with U+0000"));
            }
            self.aggregations += 1;
            if self.aggregations > MOST {
                return Err(Error::bad_request(format!("aggs: expected at most {MOST} aggregations")));
            }
            let (kind, parameters) = kind(body)
                .ok_or_else(|| wrong(name, "expected one kind of aggregation, such as {\"terms\": {…}}, and aggs"))?;
            let below = subs(body);
            if kind == tops::KIND {
                if below.is_some() {
                    return Err(wrong(name, format_args!("expected no aggregations below {kind}")));
                }
                // Its searches are made when the buckets are known.
                continue;
            }
            if matches!(kind, "filter" | "filters") {
                if !filters {
                    return Err(wrong(
                        name,
                        "filters stand at the top or in each other, not in buckets of another kind",
                    ));
                }
                level.filtered.push(self.filtered(name, kind, parameters, below, depth)?);
                continue;
            }
            let mut shaped = self.plain(name, kind, parameters, &mut level.histograms)?;
            level.replaced.extend(self.replaced(kind, parameters));
            if let Some(below) = below {
                let mut below = self.level(below, false, depth + 1)?;
                level.histograms.append(&mut below.histograms);
                level.replaced.append(&mut below.replaced);
                shaped.insert("aggs".to_owned(), Value::Object(below.plain));
            }
            level.plain.insert(name.clone(), Value::Object(shaped));
        }
        if filters {
            let extremes = level.histograms.iter().filter_map(Histogram::extremes);
            level.plain.extend(extremes);
        }
        if level.replaced.len() > MOST_REPLACED {
            let text = format!("aggs: missing: expected it for at most {MOST_REPLACED} fields of texts");
            return Err(Error::bad_request(text));
        }
        Ok(level)
    }

    fn filtered(
        &mut self,
        name: &str,
        kind: &str,
        of: &Value,
        below: Option<&Value>,
        depth: usize,
    ) -> Result<Filtered> {
        let single = kind == "filter";
        let buckets = if single {
            vec![(String::new(), filter(name, of)?)]
        } else {
            let named = of.get("filters").and_then(Value::as_object);
            let named = named.ok_or_else(|| wrong(name, "expected {\"filters\": {\"a name\": \"a filter\", …}}"))?;
            named.iter().map(|(n, f)| Ok((n.clone(), filter(name, f)?))).collect::<Result<_>>()?
        };
        self.filters += buckets.len();
        if self.filters > MOST_FILTERS {
            return Err(wrong(name, format_args!("expected at most {MOST_FILTERS} filters in all")));
        }
        let sub = below.map(|below| self.level(below, true, depth + 1)).transpose()?.unwrap_or_default();
        Ok(Filtered { name: name.to_owned(), single, buckets, sub })
    }

    fn plain(
        &mut self,
        name: &str,
        kind: &str,
        parameters: &Value,
        histograms: &mut Vec<Histogram>,
    ) -> Result<Map<String, Value>> {
        let numbers = OF_NUMBERS.contains(&kind);
        if !numbers && !OF_ANY.contains(&kind) {
            let known: Vec<&str> =
                OF_NUMBERS.iter().chain(OF_ANY).copied().chain(["filter", "filters", tops::KIND]).collect();
            return Err(wrong(name, format_args!("found {kind:?}, expected one of: {}", known.join(", "))));
        }
        let mut parameters = parameters.clone();
        let types = self.columns(name, numbers, &mut parameters)?;
        let Value::Object(mut parameters) = parameters else {
            return Err(wrong(name, format_args!("{kind}: expected an object with \"field\"")));
        };
        let is_date = types.first() == Some(&FieldType::Date);
        let mut kind = kind.to_owned();
        if kind == "range" && is_date {
            date_ranges(name, &mut parameters)?;
        }
        limits::check(&kind, &mut parameters, self.max_buckets).map_err(|what| wrong(name, what))?;
        match kind.as_str() {
            "terms" if !["segment_size", "shard_size", "split_size"].iter().any(|n| parameters.contains_key(*n)) => {
                parameters.insert("segment_size".to_owned(), SEGMENT_TERMS.into());
            }
            "date_histogram" if !is_date => return Err(wrong(name, "expected a field of type date")),
            "date_histogram" => {
                if let Some(calendar) = calendar::interval(&mut parameters).map_err(|what| wrong(name, what))? {
                    parameters = self.ranges(name, &parameters, &calendar)?;
                    "range".clone_into(&mut kind);
                }
            }
            _ => {}
        }
        if matches!(kind.as_str(), "histogram" | "date_histogram") {
            let histogram = Histogram::read(name, &kind, is_date, &parameters).map_err(|what| wrong(name, what))?;
            histogram.check(None, self.max_buckets).map_err(|what| wrong(name, what))?;
            histograms.push(histogram);
        }
        Ok(Map::from_iter([(kind, Value::Object(parameters))]))
    }

    /// Puts columns in the place of the names of fields; their types.
    fn columns(&self, name: &str, numbers: bool, parameters: &mut Value) -> Result<Vec<FieldType>> {
        let mut types = Vec::new();
        let members: Box<dyn Iterator<Item = (Option<&str>, &mut Value)>> = match parameters {
            Value::Object(members) => Box::new(members.iter_mut().map(|(n, v)| (Some(n.as_str()), v))),
            Value::Array(items) => Box::new(items.iter_mut().map(|v| (None, v))),
            _ => return Ok(types),
        };
        for (member, value) in members {
            match (member, &value) {
                (Some("field"), Value::String(field)) => {
                    let (column, kind) = self.column(name, field, numbers)?;
                    *value = column.into();
                    types.push(kind);
                }
                _ => types.extend(self.columns(name, numbers, value)?),
            }
        }
        Ok(types)
    }

    /// The field of texts whose missing values are replaced.
    fn replaced(&self, kind: &str, parameters: &Value) -> Option<String> {
        let field = parameters.get("field").and_then(Value::as_str)?;
        let is_text = |kind| matches!(kind, FieldType::Text | FieldType::Keyword | FieldType::Json);
        let replaces = kind == "terms" && parameters.get("missing").is_some();
        (replaces && is_text(self.fields.resolve(field)?.kind)).then(|| field.to_owned())
    }

    fn column(&self, name: &str, field: &str, numbers: bool) -> Result<(String, FieldType)> {
        let Some(target) = self.fields.resolve(field).filter(|target| target.column) else {
            let known = self.fields.sortable_names();
            let known: Vec<&str> = known.iter().map(String::as_str).filter(|n| *n != crate::index::SCORE).collect();
            return Err(wrong(
                name,
                format_args!("field {field:?} is not known or has no column, expected one of: {}", known.join(", ")),
            ));
        };
        if numbers && matches!(target.kind, FieldType::Text | FieldType::Keyword | FieldType::Boolean) {
            return Err(wrong(name, format_args!("field {field:?} has no numbers")));
        }
        Ok((target.path, target.kind))
    }

    /// Ranges that stand for the units of a calendar.
    fn ranges(&self, name: &str, parameters: &Map<String, Value>, calendar: &Calendar) -> Result<Map<String, Value>> {
        let column = parameters.get("field").and_then(Value::as_str).unwrap_or_default();
        let span = (self.dates)(column)?.unwrap_or((0, 0));
        let starts = calendar.starts(span, self.max_buckets as usize).ok_or_else(|| {
            wrong(name, format_args!("expected at most {} buckets: choose a larger interval", self.max_buckets))
        })?;
        let range = |w: &[i64]| json!({"from": nanos(w[0]), "to": nanos(w[1])});
        let ranges: Vec<Value> = starts.windows(2).map(range).collect();
        Ok(Map::from_iter([("field".to_owned(), column.into()), ("ranges".to_owned(), ranges.into())]))
    }
}

/// Nanoseconds as the library takes them: never more than they are, so that a date at exactly this moment is behind a bound.
fn nanos(ms: i64) -> f64 {
    let exact = ms.saturating_mul(NANOS);
    #[expect(clippy::cast_precision_loss, reason = "rounded down below")]
    let nanos = exact as f64;
    #[expect(clippy::cast_possible_truncation, reason = "a number that was an integer")]
    let above = nanos as i128 > i128::from(exact);
    if above { nanos.next_down() } else { nanos }
}

/// A filter: in the grammar of `filter`, bare or as `query_string`, or a tree.
pub(super) fn filter(name: &str, filter: &Value) -> Result<Filter> {
    if let Some(clause) = filter.get(CLAUSE) {
        let clause = Clause::deserialize(clause).map_err(|e| wrong(name, format_args!("{CLAUSE}: {e}")))?;
        return Ok(Filter::Clause(clause));
    }
    let bare = filter.as_str().or_else(|| filter.pointer("/query_string/query").and_then(Value::as_str));
    bare.map(|text| Filter::Text(text.to_owned())).ok_or_else(|| {
        wrong(
            name,
            "expected a filter as text, such as \"brand:acme\", or {\"query_string\": {\"query\": \"brand:acme\"}}",
        )
    })
}

/// Brings the bounds of ranges of dates, milliseconds or texts, to nanoseconds.
fn date_ranges(name: &str, parameters: &mut Map<String, Value>) -> Result<()> {
    let ranges = parameters.get_mut("ranges").and_then(Value::as_array_mut);
    for range in ranges.into_iter().flatten() {
        for bound in ["from", "to"] {
            let Some(value) = range.get_mut(bound) else { continue };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let span = Span::parse(&text);
            let span = span.ok_or_else(|| wrong(name, format_args!("{bound}: expected a date, found {text:?}")))?;
            *value = nanos(span.start).into();
        }
    }
    Ok(())
}
