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

/// What the documents of a bucket are like. Both hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bucket {
    /// As trees.
    pub clauses: Vec<Clause>,
    /// In the grammar of `filter`.
    pub filters: Vec<String>,
}

/// The first documents that are wanted of one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// JSON pointer to the bucket in the result.
    pub at: String,
    /// Name of the aggregation.
    pub name: String,
    /// What is wanted, as it was asked for.
    pub parameters: Value,
    /// Of which documents; `None` where the bucket has none.
    pub of: Option<Bucket>,
}

impl Top {
    /// Puts what was found where it belongs.
    pub fn place(self, result: &mut Value, found: Value) {
        if let Some(Value::Object(bucket)) = result.pointer_mut(&self.at) {
            bucket.insert(self.name, found);
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

/// The searches that a result still needs, by what its buckets stand for.
pub fn searches(fields: &Fields, request: &Value, result: &Value) -> Result<Vec<Top>> {
    let mut walk = Walk { fields, found: Vec::new() };
    walk.level(request, result, "", Some(&Bucket::default()))?;
    let searched = walk.found.iter().filter(|top| top.of.is_some()).count();
    if searched > MOST {
        let text = format!("aggs: {KIND} of {searched} buckets, expected at most {MOST}");
        return Err(Error::bad_request(text).advise("ask for fewer buckets or coarser ones"));
    }
    Ok(walk.found)
}

struct Walk<'a> {
    fields: &'a Fields,
    found: Vec<Top>,
}

impl Walk<'_> {
    /// One level of a request, whose result is at a place; `of`: what holds for its documents, if there are any.
    fn level(&mut self, request: &Value, result: &Value, at: &str, of: Option<&Bucket>) -> Result<()> {
        for (name, body) in request.as_object().into_iter().flatten() {
            let Some((kind, parameters)) = kind(body) else { continue };
            if kind == KIND {
                let parameters = parameters.clone();
                self.found.push(Top { at: at.to_owned(), name: name.clone(), parameters, of: of.cloned() });
                continue;
            }
            let Some(below) = subs(body).filter(|below| !asked(below).is_empty()) else { continue };
            let found = &result[name];
            let at = format!("{at}/{}", escaped(name));
            if kind == "filter" {
                self.bucket(below, found, &at, of, || filter(name, parameters))?;
                continue;
            }
            let buckets: Vec<(String, &Value)> = match &found["buckets"] {
                Value::Array(all) => all.iter().enumerate().map(|(i, bucket)| (i.to_string(), bucket)).collect(),
                Value::Object(all) => all.iter().map(|(key, bucket)| (key.clone(), bucket)).collect(),
                _ => continue,
            };
            for (key, bucket) in buckets {
                let at = format!("{at}/buckets/{}", escaped(&key));
                self.bucket(below, bucket, &at, of, || match kind {
                    "filters" => filter(name, &parameters["filters"][&key]),
                    _ => {
                        let clauses = stands_for(self.fields, kind, parameters, bucket);
                        let clauses = clauses.ok_or_else(|| wrong(name, format_args!("{KIND} below {kind}")))?;
                        Ok(Bucket { clauses, filters: Vec::new() })
                    }
                })?;
            }
        }
        Ok(())
    }

    fn bucket(
        &mut self,
        below: &Value,
        bucket: &Value,
        at: &str,
        of: Option<&Bucket>,
        is: impl FnOnce() -> Result<Bucket>,
    ) -> Result<()> {
        let of = match of.filter(|_| bucket["doc_count"].as_u64().is_some_and(|n| n > 0)) {
            None => None,
            Some(outer) => {
                let mut both = outer.clone();
                let Bucket { clauses, filters } = is()?;
                both.clauses.extend(clauses);
                both.filters.extend(filters);
                Some(both)
            }
        };
        self.level(below, bucket, at, of.as_ref())
    }
}

/// A name in a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn filter(name: &str, filter: &Value) -> Result<Bucket> {
    Ok(match super::shape::filter(name, filter)? {
        Filter::Text(text) => Bucket { clauses: Vec::new(), filters: vec![text] },
        Filter::Clause(clause) => Bucket { clauses: vec![clause], filters: Vec::new() },
    })
}

/// What holds for the documents of a bucket; `None` where that cannot be said.
fn stands_for(fields: &Fields, kind: &str, parameters: &Value, bucket: &Value) -> Option<Vec<Clause>> {
    let key = &bucket["key"];
    match kind {
        "range" => Some(vec![range(fields, field(parameters)?, bucket["from"].as_f64(), bucket["to"].as_f64())?]),
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
    if key.is_null() {
        return Some(Clause::Has { field: name.to_owned() }.negated());
    }
    match kind {
        "terms" => {
            let is = value(fields, name, key)?;
            // Documents without a value were counted as if they had this one.
            let instead = parameters.get("missing").filter(|missing| plain(missing) == plain(key));
            Some(match instead {
                Some(_) => Clause::any_of(vec![is, Clause::Has { field: name.to_owned() }.negated()]),
                None => is,
            })
        }
        "histogram" => {
            let (from, interval) = (key.as_f64()?, parameters.get("interval").and_then(span::number)?);
            range(fields, name, Some(from), Some(from + interval))
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
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Milliseconds since the epoch, of a number or a text.
fn moment(key: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "whole milliseconds within the range of dates")]
    let whole = |ms: f64| ms.round() as i64;
    key.as_f64().map(whole).or_else(|| Some(crate::query::dates::Span::parse(key.as_str()?)?.start))
}

/// Has this value, as a bucket shows it.
fn value(fields: &Fields, name: &str, key: &Value) -> Option<Clause> {
    let field = name.to_owned();
    let values = |text: String| Clause::Values { field: field.clone(), values: vec![text], scored: false };
    Some(match fields.resolve(name)?.kind {
        FieldType::Text => Clause::Exact { field, values: vec![plain(key)] },
        FieldType::Date => values(moment(key)?.to_string()),
        FieldType::Boolean => values((key.as_f64() == Some(1.0) || plain(key) == "true").to_string()),
        FieldType::Integer | FieldType::Float => values(match key.as_f64() {
            Some(n) if !key.is_i64() && !key.is_u64() => number(n),
            _ => plain(key),
        }),
        FieldType::Keyword | FieldType::Json => values(plain(key)),
    })
}

/// A number as text: whole ones without a point.
fn number(n: f64) -> String {
    n.to_string()
}

/// From a bound to another, which is outside.
fn range(fields: &Fields, name: &str, from: Option<f64>, to: Option<f64>) -> Option<Clause> {
    let whole = matches!(fields.resolve(name)?.kind, FieldType::Integer | FieldType::Date);
    let text = |n: f64| number(if whole { n.ceil() } else { n });
    Some(within(name, from.map(text), to.map(text)))
}

fn within(name: &str, from: Option<String>, to: Option<String>) -> Clause {
    let edge = |inclusive| move |value| Edge { value, inclusive };
    Clause::Range { field: name.to_owned(), lower: from.map(edge(true)), upper: to.map(edge(false)) }
}
