//! Parameters of a request, from the URL or from a JSON body, under the same names. Whatever is not understood is refused,
//! by name: a misspelt parameter must not silently change an answer.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde_json::Value;

use super::problem::{Problem, Reason};

/// The parameters of one request. Getters take what they read; [`Params::finish`] refuses what nobody took.
#[derive(Debug, Default)]
pub(crate) struct Params {
    given: BTreeMap<String, Vec<Value>>,
    known: Vec<&'static str>,
}

impl Params {
    /// The parameters of a URL.
    pub(crate) fn from_uri(uri: &Uri) -> Result<Self, Problem> {
        let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|e| {
            Problem::new(Reason::BadRequest, format!("the query string: {e}"), "percent-encode names and values")
        })?;
        let mut given: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (name, value) in pairs.0 {
            given.entry(name).or_default().push(Value::String(value));
        }
        Ok(Self { given, known: Vec::new() })
    }

    /// Adds the members of a JSON body; an empty body adds none.
    pub(crate) fn with_body(mut self, body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(self);
        }
        let fix = "send one JSON object; /openapi.json describes its members";
        let value: Value = serde_json::from_slice(body)
            .map_err(|e| Problem::new(Reason::BadRequest, format!("the body is not JSON: {e}"), fix))?;
        // No body at all, as JSON says it.
        if value.is_null() {
            return Ok(self);
        }
        let Value::Object(members) = value else {
            return Err(Problem::new(Reason::BadRequest, format!("the body is {}", kind_of(&value)), fix));
        };
        for (name, value) in members {
            if self.given.contains_key(&name) {
                return Err(Problem::parameter(&name, "it is in the URL and in the body", "it in one place"));
            }
            let values = match value {
                Value::Null => continue,
                Value::Array(items) => items,
                one => vec![one],
            };
            self.given.insert(name, values);
        }
        Ok(self)
    }

    fn take(&mut self, name: &'static str) -> Option<Vec<Value>> {
        self.known.push(name);
        self.given.remove(name)
    }

    fn one(&mut self, name: &'static str, expected: &str) -> Result<Option<Value>, Problem> {
        let Some(mut values) = self.take(name) else { return Ok(None) };
        match values.len() {
            1 => Ok(values.pop()),
            n => Err(Problem::parameter(name, format_args!("given with {n} values"), expected)),
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.one(name, "one text")? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(Problem::parameter(name, format_args!("found {}", kind_of(&other)), "a text")),
        }
    }

    /// Any JSON, in the URL as its text.
    pub(crate) fn json(&mut self, name: &'static str) -> Result<Option<Value>, Problem> {
        match self.one(name, "one JSON value")? {
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(value) => Ok(Some(value)),
                Err(e) => Err(Problem::parameter(name, format_args!("it is not JSON: {e}"), "a JSON object")),
            },
            other => Ok(other),
        }
    }

    /// A list of texts: a repeated parameter or an array; every item is kept whole.
    pub(crate) fn list(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Problem> {
        let Some(values) = self.take(name) else { return Ok(None) };
        let text = |value| match value {
            Value::String(text) => Ok(text),
            other => Err(Problem::parameter(name, format_args!("found {} in it", kind_of(&other)), "a list of texts")),
        };
        values.into_iter().map(text).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// As [`Params::list`], and every item may hold several, separated by commas. Empty items are refused.
    pub(crate) fn commas(&mut self, name: &'static str) -> Result<Option<Vec<String>>, Problem> {
        let Some(items) = self.list(name)? else { return Ok(None) };
        let split: Vec<String> = items.iter().flat_map(|i| i.split(',')).map(|i| i.trim().to_owned()).collect();
        if split.iter().any(String::is_empty) {
            return Err(Problem::parameter(name, "an item of it is empty", "items separated by single commas"));
        }
        Ok(Some(split))
    }

    /// A whole number within `range`.
    pub(crate) fn integer(
        &mut self,
        name: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, Problem> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        let Some(value) = self.one(name, &expected)? else { return Ok(None) };
        let number = match &value {
            Value::Number(n) => n.as_u64().and_then(|n| usize::try_from(n).ok()),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        match number.filter(|n| range.contains(n)) {
            Some(number) => Ok(Some(number)),
            None => Err(Problem::parameter(name, format_args!("found {}", short(&value)), expected)),
        }
    }

    /// One of some words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, Problem> {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("`{word}`")).collect();
        let expected = words.join(" or ");
        let Some(value) = self.one(name, &expected)? else { return Ok(None) };
        let found = choices.iter().find(|(word, _)| value.as_str() == Some(*word));
        match found {
            Some((_, choice)) => Ok(Some(*choice)),
            None => Err(Problem::parameter(name, format_args!("found {}", short(&value)), expected)),
        }
    }

    /// `true` or `false`.
    pub(crate) fn switch(&mut self, name: &'static str) -> Result<Option<bool>, Problem> {
        let expected = "`true` or `false`";
        let Some(value) = self.one(name, expected)? else { return Ok(None) };
        let found = value.as_bool().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        found.map(Some).ok_or_else(|| Problem::parameter(name, format_args!("found {}", short(&value)), expected))
    }

    /// A positive span of time such as `500ms` or `2s`.
    pub(crate) fn duration(&mut self, name: &'static str) -> Result<Option<Duration>, Problem> {
        let expected = "a span of time above zero, such as `500ms` or `2s`";
        let Some(value) = self.one(name, expected)? else { return Ok(None) };
        let span = value.as_str().and_then(|text| humantime::parse_duration(text).ok()).filter(|d| !d.is_zero());
        match span {
            Some(span) => Ok(Some(span)),
            None => Err(Problem::parameter(name, format_args!("found {}", short(&value)), expected)),
        }
    }

    /// Refuses what no getter took.
    pub(crate) fn finish(self) -> Result<(), Problem> {
        let Some(name) = self.given.keys().next() else { return Ok(()) };
        let expected = match self.known.as_slice() {
            [] => "no parameters at all".to_owned(),
            known => format!("only {}", known.join(", ")),
        };
        let shown: String = name.chars().take(64).collect();
        Err(Problem::parameter(&shown, "there is no such parameter here", expected))
    }

    /// The names that the getters asked for.
    #[cfg(test)]
    pub(crate) fn known(&self) -> Vec<&'static str> {
        let mut known = self.known.clone();
        known.sort_unstable();
        known
    }
}

/// A value in at most 80 characters, for messages.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 80 { text } else { text.chars().take(77).chain("...".chars()).collect() }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(query: &str) -> Params {
        Params::from_uri(&format!("/x?{query}").parse().unwrap()).unwrap()
    }

    fn body(json: &str) -> Params {
        Params::default().with_body(json.as_bytes()).unwrap()
    }

    #[test]
    fn url_and_body_say_the_same() {
        for mut p in [
            url("q=a%20b&filter=x:1&filter=y:2,3&sort=-p,t&limit=7&timeout=500ms&dry=true"),
            body(r#"{"q":"a b","filter":["x:1","y:2,3"],"sort":["-p","t"],"limit":7,"timeout":"500ms","dry":true}"#),
        ] {
            assert_eq!(p.text("q").unwrap().as_deref(), Some("a b"));
            assert_eq!(p.list("filter").unwrap().unwrap(), ["x:1", "y:2,3"]);
            assert_eq!(p.commas("sort").unwrap().unwrap(), ["-p", "t"]);
            assert_eq!(p.integer("limit", 1..=10).unwrap(), Some(7));
            assert_eq!(p.duration("timeout").unwrap(), Some(Duration::from_millis(500)));
            assert_eq!(p.switch("dry").unwrap(), Some(true));
            assert_eq!(p.text("absent").unwrap(), None);
            p.finish().unwrap();
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_was_expected() {
        let cases = [
            (url("limit=11").integer("limit", 1..=10).unwrap_err(), "limit", "a whole number from 1 to 10"),
            (url("limit=-1").integer("limit", 1..=10).unwrap_err(), "limit", "a whole number from 1 to 10"),
            (body(r#"{"limit":1.5}"#).integer("limit", 1..=10).unwrap_err(), "limit", "a whole number from 1 to 10"),
            (body(r#"{"q":5}"#).text("q").unwrap_err(), "q", "a text"),
            (url("dry=yes").switch("dry").unwrap_err(), "dry", "`true` or `false`"),
            (url("q=a&q=b").text("q").unwrap_err(), "q", "one text"),
            (body(r#"{"filter":[1]}"#).list("filter").unwrap_err(), "filter", "a list of texts"),
            (url("sort=a,,b").commas("sort").unwrap_err(), "sort", "items separated by single commas"),
            (
                url("stale=no").choice("stale", &[("allow", 1), ("refuse", 2)]).unwrap_err(),
                "stale",
                "`allow` or `refuse`",
            ),
            (
                url("timeout=0s").duration("timeout").unwrap_err(),
                "timeout",
                "a span of time above zero, such as `500ms` or `2s`",
            ),
        ];
        for (problem, name, expected) in cases {
            let body = problem.body();
            assert_eq!((body.status, body.more["parameter"].as_str()), (400, Some(name)), "{}", body.detail);
            assert_eq!(body.more["expected"].as_str(), Some(expected));
        }
    }

    #[test]
    fn unknown_parameters_are_refused_and_the_known_ones_listed() {
        let mut p = url("qq=1");
        p.text("q").unwrap();
        p.list("filter").unwrap();
        let problem = p.finish().unwrap_err();
        assert_eq!(problem.body().more["parameter"], "qq");
        assert_eq!(problem.body().more["expected"], "only q, filter");
    }

    #[test]
    fn bodies_that_are_no_object_or_repeat_the_url_are_refused() {
        for bad in ["[1]", "{", "\"x\"", "{} {}", " ", "\r"] {
            assert_eq!(Params::default().with_body(bad.as_bytes()).unwrap_err().body().status, 400, "{bad}");
        }
        assert!(url("q=1").with_body(br#"{"q":"2"}"#).unwrap_err().body().detail.contains("`q`"));
        body("").finish().unwrap();
        body(" null ").finish().unwrap();
        let mut null = body(r#"{"q":null}"#);
        assert_eq!(null.text("q").unwrap(), None);
    }

    #[test]
    fn long_values_are_cut_in_messages() {
        let long = "é".repeat(500);
        let problem = body(&format!(r#"{{"limit":"{long}"}}"#)).integer("limit", 1..=2).unwrap_err();
        assert!(problem.body().detail.chars().count() < 200);
    }
}
