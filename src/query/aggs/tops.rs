//! `top_hits`: the first documents of each bucket. The library knows columns only, and orders texts by where their segment keeps them;
//! so each bucket of the result becomes a search, of what the bucket stands for. Pure: who asks does the searches.

use serde_json::Value;

use super::shape::{Filter, kind, subs, wrong};
use super::{calendar, span};
use crate::index::Fields;
use crate::query::clause::{Clause, Edge};
use crate::record::FieldType;
use crate::{Error, Result};

/// The kind of these aggregations.
pub(super) const KIND: &str = "top_hits";
/// Most buckets with documents of one request: each is a search.
const MOST: usize = 100;
/// Most numbers beside the product of a histogram's interval that may be the first of a bucket.
const STEPS: usize = 64;

/// The first documents that are wanted of one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Top<'a> {
    /// JSON pointer to the bucket in the result.
    pub at: String,
    /// Name of the aggregation.
    pub name: &'a str,
    /// What is wanted, as it was asked for.
    pub parameters: &'a Value,
    /// What its documents are like, all of which hold; `None` where the bucket has none.
    pub of: Option<Vec<Clause>>,
}

impl Top<'_> {
    /// Puts what was found where it belongs.
    pub fn place(self, result: &mut Value, found: Value) {
        if let Some(Value::Object(bucket)) = result.pointer_mut(&self.at) {
            bucket.insert(self.name.to_owned(), found);
        }
    }
}

/// Names and parameters of all `top_hits` of a request.
pub fn asked(request: &Value) -> Vec<(&str, &Value)> {
    let mut all = Vec::new();
    for (name, body) in request.as_object().into_iter().flatten() {
        match kind(body) {
            Some((KIND, parameters)) => all.push((name.as_str(), parameters)),
            _ => all.extend(subs(body).into_iter().flat_map(asked)),
        }
    }
    all
}

/// The searches that a result still needs, by what its buckets stand for. `between`: also of the ranges around and between those that
/// were asked for.
pub fn searches<'a>(fields: &Fields, request: &'a Value, result: &Value, between: bool) -> Result<Vec<Top<'a>>> {
    let mut walk = Walk { fields, between, searches: 0, found: Vec::new() };
    walk.level(request, result, "", Some(&[]))?;
    Ok(walk.found)
}

struct Walk<'a, 'f> {
    fields: &'f Fields,
    between: bool,
    searches: usize,
    found: Vec<Top<'a>>,
}

impl<'a> Walk<'a, '_> {
    /// One level of a request, whose result is at a place; `of`: what holds for its documents, if there are any.
    fn level(&mut self, request: &'a Value, result: &Value, at: &str, of: Option<&[Clause]>) -> Result<()> {
        for (name, body) in request.as_object().into_iter().flatten() {
            let Some((kind, parameters)) = kind(body) else { continue };
            if kind == KIND {
                self.searches += usize::from(of.is_some());
                if self.searches > MOST {
                    let text = format!("aggs: {KIND} of more than {MOST} buckets with documents");
                    return Err(Error::bad_request(text).advise("ask for fewer buckets or coarser ones"));
                }
                self.found.push(Top { at: at.to_owned(), name, parameters, of: of.map(<[_]>::to_vec) });
                continue;
            }
            let Some(below) = subs(body).filter(|below| !asked(below).is_empty()) else { continue };
            let found = &result[name];
            let at = format!("{at}/{}", escaped(name));
            if kind == "filter" {
                self.bucket(below, found, &at, of, || Ok(vec![filter(name, parameters)?]))?;
                continue;
            }
            let buckets: Vec<(String, &Value)> = match &found["buckets"] {
                Value::Array(all) => all.iter().enumerate().map(|(i, bucket)| (i.to_string(), bucket)).collect(),
                Value::Object(all) => all.iter().map(|(key, bucket)| (key.clone(), bucket)).collect(),
                _ => continue,
            };
            for (key, bucket) in buckets {
                if kind == "range" && !self.between && !was_asked(parameters, bucket) {
                    continue;
                }
                let at = format!("{at}/buckets/{}", escaped(&key));
                self.bucket(below, bucket, &at, of, || match kind {
                    "filters" => Ok(vec![filter(name, &parameters["filters"][&key])?]),
                    _ => stands_for(self.fields, kind, parameters, bucket)
                        .ok_or_else(|| wrong(name, format_args!("{KIND} below {kind}"))),
                })?;
            }
        }
        Ok(())
    }

    fn bucket(
        &mut self,
        below: &'a Value,
        bucket: &Value,
        at: &str,
        of: Option<&[Clause]>,
        is: impl FnOnce() -> Result<Vec<Clause>>,
    ) -> Result<()> {
        match of.filter(|_| bucket["doc_count"].as_u64().is_some_and(|n| n > 0)) {
            None => self.level(below, bucket, at, None),
            Some(outer) => {
                let all: Vec<Clause> = outer.iter().cloned().chain(is()?).collect();
                self.level(below, bucket, at, Some(&all))
            }
        }
    }
}

/// A name in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn filter(name: &str, filter: &Value) -> Result<Clause> {
    Ok(match super::shape::filter(name, filter)? {
        Filter::Text(text) => Clause::Filter(text),
        Filter::Clause(clause) => clause,
    })
}

/// Whether a bucket is one of the ranges of a request.
fn was_asked(parameters: &Value, bucket: &Value) -> bool {
    let bound = |range: &Value, name: &str| range.get(name).and_then(span::number);
    // Milliseconds come back from nanoseconds.
    let same = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (Some(a), Some(b)) => a == b || (a - b).abs() <= 0.5 && a.abs() > 1e9,
        (a, b) => a.is_none() && b.is_none(),
    };
    let asked = parameters["ranges"].as_array().into_iter().flatten();
    asked.into_iter().any(|range| ["from", "to"].iter().all(|name| same(bound(range, name), bound(bucket, name))))
}

/// What holds for the documents of a bucket; `None` where that cannot be said.
fn stands_for(fields: &Fields, kind: &str, parameters: &Value, bucket: &Value) -> Option<Vec<Clause>> {
    let key = &bucket["key"];
    match kind {
        "range" => Some(vec![range(fields, field(parameters)?, bucket["from"].as_f64(), bucket["to"].as_f64())?]),
        // A truth that is a key has its name beside it.
        "terms" if bucket.get("key_as_string").is_some_and(|name| name == "true" || name == "false") => {
            let truth = bucket["key_as_string"] == "true";
            Some(vec![one(fields, kind, parameters, &truth.into())?])
        }
        "multi_terms" => {
            let parts = parameters["terms"].as_array()?.iter().zip(key.as_array()?);
            parts.map(|(source, key)| one(fields, "terms", source, key)).collect()
        }
        "composite" => {
            let sources = parameters["sources"].as_array()?.iter().filter_map(Value::as_object).flatten();
            let part = |(name, body): (&String, &Value)| {
                let (kind, parameters) = self::kind(body)?;
                one(fields, kind, parameters, &key[name])
            };
            sources.map(part).collect()
        }
        _ => Some(vec![one(fields, kind, parameters, key)?]),
    }
}

fn field(parameters: &Value) -> Option<&str> {
    parameters["field"].as_str()
}

/// What holds for the documents of a bucket of one field.
fn one(fields: &Fields, kind: &str, parameters: &Value, key: &Value) -> Option<Clause> {
    let name = field(parameters)?;
    let is = |value: Value| Clause::Same { field: name.to_owned(), value };
    match kind {
        _ if key.is_null() => Some(is(Value::Null)),
        "terms" => {
            let same = |missing: &&Value| match (missing.as_f64(), key.as_f64()) {
                (Some(a), Some(b)) => a == b,
                _ => plain(missing) == plain(key),
            };
            // Documents without a value were counted as if they had this one.
            Some(match parameters.get("missing").filter(same) {
                Some(_) => Clause::any_of(vec![is(key.clone()), is(Value::Null)]),
                None => is(key.clone()),
            })
        }
        "histogram" => {
            let interval = parameters.get("interval").and_then(span::number)?;
            let offset = parameters.get("offset").and_then(span::number).unwrap_or(0.0);
            let n = ((key.as_f64()? - offset) / interval).round();
            range(fields, name, Some(first(n, interval, offset)), Some(first(n + 1.0, interval, offset)))
        }
        "date_histogram" => {
            let from = moment(key)?;
            let mut parameters = parameters.as_object()?.clone();
            let to = match calendar::interval(&mut parameters).ok()? {
                Some(calendar) => calendar.end(from)?,
                None => from.checked_add(span::time(parameters.get("fixed_interval")?.as_str()?)?)?,
            };
            Some(within(name, Some(from.to_string()), Some(to.to_string())))
        }
        _ => None,
    }
}

/// A value as text, without the quotes of one.
pub(in crate::query) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Milliseconds since the epoch, of a number or a text.
pub(in crate::query) fn moment(key: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds within the range of dates")]
    let whole = |ms: f64| ms.round() as i64;
    key.as_f64().map(whole).or_else(|| Some(crate::query::dates::Span::parse(key.as_str()?)?.start))
}

/// The least number that the library counts in a bucket, or in one behind it: by its own rounding, not by the bucket's name.
fn first(n: f64, interval: f64, offset: f64) -> f64 {
    let before = |x: f64| ((x - offset) / interval).floor() < n;
    let mut edge = n * interval + offset;
    // A few steps of the smallest kind, however large the numbers are.
    for _ in 0..STEPS {
        if before(edge) {
            edge = edge.next_up();
        } else if before(edge.next_down()) {
            break;
        } else {
            edge = edge.next_down();
        }
    }
    edge
}

/// From a bound to another, which is outside.
fn range(fields: &Fields, name: &str, from: Option<f64>, to: Option<f64>) -> Option<Clause> {
    let whole = matches!(fields.resolve(name)?.kind, FieldType::Integer | FieldType::Date);
    #[expect(clippy::cast_possible_truncation, reason = "saturated where it is beyond")]
    let text = |n: f64| if whole { (n.ceil() as i64).to_string() } else { n.to_string() };
    Some(within(name, from.map(text), to.map(text)))
}

fn within(name: &str, from: Option<String>, to: Option<String>) -> Clause {
    let edge = |inclusive| move |value| Edge { value, inclusive };
    Clause::Range { field: name.to_owned(), lower: from.map(edge(true)), upper: to.map(edge(false)) }
}
