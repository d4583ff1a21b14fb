//! Elasticsearch's query language, from its JSON to a clause. Pure: no documents are looked at, and the time is given.
//!
//! Names are those of the table: `<name>.keyword` is the field itself, `_id` the key, and what is no field of the table holds
//! nothing. Members that are not understood are passed over and named, so that nobody believes in them; queries that are not
//! understood are refused.

mod compound;
pub mod dates;
mod leaves;
mod simple;
#[cfg(test)]
mod tests;
mod words;

use serde_json::{Map, Value};

use super::clause::{Clause, DEEPEST};
use crate::index::{Fields, Target};
use crate::record::FieldType;
use crate::{Error, Result};

/// Longest text of a query for words, bytes: it stands once for each field that it is looked for in.
const LONGEST_TEXT: usize = 16 << 10;
/// Most names and patterns of fields in one query.
const MOST_NAMES: usize = 1_024;
/// Most things that are said to be passed over.
const MOST_WARNINGS: usize = 50;

/// Translates the queries of one request.
#[derive(Debug)]
pub struct Translator<'a> {
    fields: &'a Fields,
    /// The one moment that `now` is in the request, milliseconds.
    now_ms: i64,
    /// What was passed over, as sentences.
    pub warnings: Vec<String>,
    /// Queries of the kind `boosting` around what is translated now: each doubles what is in it.
    boosting: usize,
}

/// What a name stands for.
struct Named {
    /// Its name here.
    name: String,
    target: Target,
    /// Whether a text is meant as a whole.
    whole: bool,
}

impl<'a> Translator<'a> {
    /// For queries on these fields, at this moment.
    pub fn new(fields: &'a Fields, now_ms: i64) -> Self {
        Self { fields, now_ms, warnings: Vec::new(), boosting: 0 }
    }

    /// The clause of a query.
    pub fn query(&mut self, query: &Value) -> Result<Clause> {
        self.clause(query, "query", 0)
    }

    fn clause(&mut self, query: &Value, at: &str, depth: usize) -> Result<Clause> {
        if depth > DEEPEST {
            return Err(wrong(at, format_args!("expected queries nested at most {DEEPEST} deep")));
        }
        let members = query.as_object().ok_or_else(|| wrong(at, "expected an object such as {\"match_all\": {}}"))?;
        let mut kinds = members.iter();
        let (kind, body) = match (kinds.next(), kinds.next()) {
            (Some(one), None) => one,
            (None, _) => return Ok(Clause::All),
            (Some((a, _)), Some((b, _))) => {
                return Err(wrong(at, format_args!("found {a:?} and {b:?}, expected one kind of query")));
            }
        };
        let at = format!("{at}.{kind}");
        match kind.as_str() {
            "match_all" => {
                let mut body = self.members(body, &at)?;
                let boost = body.boost()?;
                self.finish(body);
                Ok(Clause::All.boosted(boost))
            }
            "match_none" => Ok(Clause::Nothing),
            "bool" => self.bool(body, &at, depth),
            "constant_score" => self.constant(body, &at, depth),
            "dis_max" => self.best(body, &at, depth),
            "boosting" => self.boosting(body, &at, depth),
            "match" => self.words(body, &at, false),
            "match_bool_prefix" => self.words(body, &at, true),
            "match_phrase" | "match_phrase_prefix" => self.phrase(body, &at, kind == "match_phrase_prefix"),
            "multi_match" => self.multi_match(body, &at),
            "query_string" => self.query_string(body, &at),
            "simple_query_string" => self.simple_query_string(body, &at),
            "term" => self.term(body, &at),
            "terms" => self.terms(body, &at),
            "range" => self.range(body, &at),
            "exists" => self.exists(body, &at),
            "prefix" => self.prefix(body, &at),
            "wildcard" | "regexp" => self.pattern(body, &at, kind == "wildcard"),
            "fuzzy" => self.fuzzy(body, &at),
            "ids" => self.ids(body, &at),
            unknown => {
                let known = "bool, constant_score, dis_max, boosting, match, match_phrase, match_phrase_prefix, \
                             match_bool_prefix, multi_match, query_string, simple_query_string, term, terms, range, exists, \
                             prefix, wildcard, regexp, fuzzy, ids, match_all, match_none";
                Err(wrong(&at, format_args!("unknown query [{unknown}]; known are {known}")))
            }
        }
    }

    /// What a name stands for; `None`, and a warning, for what is no field.
    fn named(&mut self, name: &str) -> Option<Named> {
        match self.fields.alias(name) {
            Some((name, target, whole)) => Some(Named { name: name.to_owned(), target, whole }),
            None => {
                self.warn_of_no_field(name);
                None
            }
        }
    }

    /// Says that a name is no field of the table.
    pub fn warn_of_no_field(&mut self, name: &str) {
        self.warn(format!("there is no field {name:?}: nothing is found by it"));
    }

    fn warn(&mut self, warning: String) {
        if self.warnings.len() < MOST_WARNINGS && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn members<'v>(&mut self, value: &'v Value, at: &str) -> Result<Members<'v>> {
        let of =
            value.as_object().ok_or_else(|| wrong(at, format_args!("found {}, expected an object", short(value))))?;
        Ok(Members { of, at: at.to_owned(), taken: Vec::new() })
    }

    /// Names the members that nobody took.
    fn finish(&mut self, members: Members<'_>) {
        for name in members.of.keys().filter(|name| !members.taken.contains(&name.as_str())) {
            // Names of queries are echoed by others; they change nothing.
            if name != "_name" {
                self.warn(format!("{}: {name:?} is not understood and was passed over", members.at));
            }
        }
    }

    /// The one field of a body such as `{"title": {"query": "x", "operator": "and"}}`, and its members; a bare value stands for
    /// the member `short`.
    fn field<'v>(
        &mut self,
        body: &'v Value,
        at: &str,
        short: &'static str,
    ) -> Result<(&'v str, Members<'v>, Short<'v>)> {
        static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
        let members = self.members(body, at)?;
        // Old clients write `boost` beside the field.
        let mut fields = members.of.iter().filter(|(name, _)| !matches!(name.as_str(), "boost" | "_name"));
        let (name, value) = match (fields.next(), fields.next()) {
            (Some(one), None) => one,
            (found, _) => {
                let what = if found.is_none() { "no field" } else { "several fields" };
                return Err(wrong(at, format_args!("found {what}, expected one, such as {{\"title\": …}}")));
            }
        };
        let at = format!("{at}.{name}");
        match value {
            Value::Object(of) => Ok((name, Members { of, at, taken: Vec::new() }, Short(short, None))),
            value => Ok((name, Members { of: &NONE, at, taken: Vec::new() }, Short(short, Some(value)))),
        }
    }

    /// Every field that words are looked for in without being told where.
    fn all_fields(&self) -> Vec<(String, f32)> {
        self.fields.of_words().into_iter().map(|target| (target.path, 1.0)).collect()
    }

    /// Fields from patterns such as `title^2` and `*_name`.
    fn fields(&mut self, patterns: &[String], at: &str) -> Result<Vec<(String, f32)>> {
        if patterns.len() > MOST_NAMES {
            return Err(wrong(at, format_args!("fields: found {}, expected at most {MOST_NAMES}", patterns.len())));
        }
        let mut all: Vec<(String, f32)> = Vec::new();
        for pattern in patterns {
            let (pattern, boost) = match pattern.rsplit_once('^') {
                Some((name, boost)) => {
                    let boost = boost.parse().ok().filter(|b: &f32| b.is_finite() && *b >= 0.0);
                    (name, boost.ok_or_else(|| wrong(at, format_args!("fields: found {pattern:?}, expected name^2")))?)
                }
                None => (pattern.as_str(), 1.0),
            };
            if pattern.contains('*') {
                let matching = self.all_fields().into_iter().filter(|(name, _)| matches(pattern, name));
                all.extend(matching.map(|(name, _)| (name, boost)));
            } else if let Some(named) = self.named(pattern) {
                all.push((named.name, boost));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|(name, _)| seen.insert(name.clone()));
        Ok(all)
    }
}

/// A value that stands for one member of an object.
struct Short<'v>(&'static str, Option<&'v Value>);

/// The members of an object, and which of them were understood.
struct Members<'v> {
    of: &'v Map<String, Value>,
    at: String,
    taken: Vec<&'static str>,
}

impl<'v> Members<'v> {
    fn take(&mut self, name: &'static str) -> Option<&'v Value> {
        self.taken.push(name);
        self.of.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, found: &Value, expected: &str) -> Error {
        wrong(&self.at, format_args!("{name}: found {}, expected {expected}", short(found)))
    }

    /// The member that a bare value stands for.
    fn value(&mut self, Short(name, bare): &Short<'v>) -> Result<&'v Value> {
        bare.or_else(|| self.take(name)).ok_or_else(|| wrong(&self.at, format_args!("expected {name:?}")))
    }

    /// A text, or a number or boolean as text.
    fn text(&mut self, name: &'static str) -> Result<Option<String>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        scalar(value).map(Some).ok_or_else(|| self.wrong(name, value, "a text"))
    }

    fn flag(&mut self, name: &'static str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text == "true" || text == "false" => Ok(text == "true"),
            Some(other) => Err(self.wrong(name, other, "true or false")),
        }
    }

    fn number(&mut self, name: &'static str) -> Result<Option<f32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
        #[expect(clippy::cast_possible_truncation, reason = "scores have no more digits")]
        match number.map(|n| n as f32).filter(|n| n.is_finite() && *n >= 0.0) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, "a number of 0 or more")),
        }
    }

    fn count(&mut self, name: &'static str) -> Result<Option<u32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        match number.and_then(|n| u32::try_from(n).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, value, "a whole number")),
        }
    }

    fn boost(&mut self) -> Result<f32> {
        Ok(self.number("boost")?.unwrap_or(1.0))
    }

    fn texts(&mut self, name: &'static str) -> Result<Option<Vec<String>>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items.iter().map(scalar).collect();
                texts.map(Some).ok_or_else(|| wrong(&self.at, format_args!("{name}: expected texts")))
            }
            Some(one) => scalar(one).map(|text| Some(vec![text])).ok_or_else(|| self.wrong(name, one, "texts")),
        }
    }
}

/// A value as a filter would write it; `None` for arrays and objects.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Whether a name is of the form of a pattern, in which `*` stands for any letters.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Whether a field's values are numbers without a fraction.
fn is_whole(kind: FieldType) -> bool {
    kind == FieldType::Integer
}

/// The text of a query for words.
fn bounded(at: &str, text: String) -> Result<String> {
    match text.len() <= LONGEST_TEXT {
        true => Ok(text),
        false => {
            Err(wrong(at, format_args!("query: found a text of {} bytes, expected at most {LONGEST_TEXT}", text.len())))
        }
    }
}

fn wrong(at: &str, what: impl std::fmt::Display) -> Error {
    Error::bad_request(format!("{at}: {what}"))
}

/// A value in at most 80 characters, for messages.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}
