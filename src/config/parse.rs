//! Reads single values: text, numbers, durations, sizes, choices, paths. Every error says what was expected and found.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;

use super::section::Parsed;
use super::tree::{self, Data, Node};
use super::words;
use crate::record::{Input, Path, Value};

/// What paths may look at beside the payload.
const BESIDE: &[&str] =
    &["@key", "@timestamp", "@partition", "@header.NAME", "@source.NAME", "@op", "@ts_ms", "@transaction.NAME"];

/// Text, not empty.
pub(super) fn text(node: &Node) -> Parsed<String> {
    let text = plain(node, "text")?;
    if text.trim().is_empty() { Err("may not be empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// A name (see [`words::bad_name`]).
pub(super) fn name(node: &Node) -> Parsed<String> {
    let text = text(node)?;
    words::bad_name(&text).map_or(Ok(text), Err)
}

/// The name of a topic.
pub(super) fn topic(node: &Node) -> Parsed<String> {
    let text = text(node)?;
    words::bad_topic(&text).map_or(Ok(text), Err)
}

/// `true` or `false`.
pub(super) fn switch(node: &Node) -> Parsed<bool> {
    match &node.data {
        Data::Bool(b) => Ok(*b),
        Data::Loose(t) if t == "true" || t == "false" => Ok(t == "true"),
        _ => Err(format!("expected true or false, found {}", node.describe())),
    }
}

/// A whole number within `range`.
pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&Node) -> Parsed<T>
where
    T: TryFrom<i64> + PartialOrd + Display,
{
    move |node| {
        let n = match &node.data {
            Data::Int(n) => Some(*n),
            Data::Loose(t) => t.replace('_', "").parse().ok(),
            _ => None,
        };
        let Some(n) = n else { return Err(format!("expected a whole number, found {}", node.describe())) };
        let bounds = || format!("must be between {} and {}, is {n}", range.start(), range.end());
        T::try_from(n).ok().filter(|n| range.contains(n)).ok_or_else(bounds)
    }
}

/// A share: above 0 and at most 1.
pub(super) fn share(node: &Node) -> Parsed<f64> {
    let found = match &node.data {
        Data::Float(x) => Some(*x),
        Data::Int(1) => Some(1.0),
        Data::Loose(t) => t.parse().ok(),
        _ => None,
    };
    let expected = || format!("expected a share above 0 and at most 1, such as 0.5, found {}", node.describe());
    found.filter(|x| *x > 0.0 && *x <= 1.0).ok_or_else(expected)
}

/// As `inner`, or the text `auto` for what Keld would choose itself.
pub(super) fn or_auto<T: Clone>(auto: T, inner: impl Fn(&Node) -> Parsed<T>) -> impl Fn(&Node) -> Parsed<T> {
    move |node| match &node.data {
        Data::Text(t) | Data::Loose(t) if t == "auto" => Ok(auto.clone()),
        _ => inner(node).map_err(|what| format!("{what} (or \"auto\")")),
    }
}

/// A duration within `range`, as text with a unit.
pub(super) fn duration(range: RangeInclusive<Duration>) -> impl Fn(&Node) -> Parsed<Duration> {
    move |node| {
        let text = plain(node, "a duration such as \"20ms\", \"10s\" or \"7d\"")?;
        let wrong = |e| format!("expected a duration such as \"20ms\", \"10s\" or \"7d\", found {text:?}: {e}");
        let found = humantime::parse_duration(text).map_err(wrong)?;
        let shown = humantime::format_duration;
        if range.contains(&found) {
            return Ok(found);
        }
        Err(format!("must be between {} and {}, is {text}", shown(*range.start()), shown(*range.end())))
    }
}

/// A number of bytes within `range`, as text with a unit or as a number.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Node) -> Parsed<u64> {
    move |node| {
        let expected = || format!("expected a size such as \"64MiB\" or a number of bytes, found {}", node.describe());
        let found = match &node.data {
            Data::Int(n) => u64::try_from(*n).map_err(|_| expected())?,
            Data::Text(t) | Data::Loose(t) => t.parse::<ByteSize>().map_err(|_| expected())?.as_u64(),
            _ => return Err(expected()),
        };
        if range.contains(&found) {
            return Ok(found);
        }
        Err(format!("must be between {} and {}, is {}", bytes(*range.start()), bytes(*range.end()), bytes(found)))
    }
}

/// A number of bytes as a person writes it.
pub(super) fn bytes(n: u64) -> String {
    ByteSize::b(n).to_string()
}

/// One of the words of `all`; `noun` says what they are.
pub(super) fn choice<T: Copy>(noun: &str, all: &[(&str, T)]) -> impl Fn(&Node) -> Parsed<T> {
    move |node| {
        let words: Vec<&str> = all.iter().map(|(word, _)| *word).collect();
        let expected = |found| format!("expected a {noun}, found {found} (one of: {})", words.join(", "));
        let text = match &node.data {
            Data::Text(t) | Data::Loose(t) => t,
            _ => return Err(expected(node.describe())),
        };
        let unknown = || format!("unknown {noun} {text:?} {}", words::hint(text, &words));
        all.iter().find(|(word, _)| word == text).map(|(_, value)| *value).ok_or_else(unknown)
    }
}

/// A path into an event.
pub(super) fn path(node: &Node) -> Parsed<Path> {
    to_path(&text(node)?)
}

/// A path into an event, from text.
pub(super) fn to_path(text: &str) -> Parsed<Path> {
    let path = Path::parse(text);
    if path.0.iter().any(|part| part.trim().is_empty()) {
        return Err(format!("{text:?} is no path: a part of it is empty (write members separated by dots)"));
    }
    if path.input() == Input::Unknown {
        let hint = words::hint(text, BESIDE);
        return Err(format!("{text:?} is nothing beside the event {hint}; a member of that name is \"@{text}\""));
    }
    Ok(path)
}

/// Any value, as an event would hold it. An integral float is an integer, as everywhere in a record.
pub(super) fn value(node: &Node) -> Parsed<Value> {
    Ok(match &node.data {
        Data::Text(t) => Value::Str(t.as_str().into()),
        Data::Bool(b) => Value::Bool(*b),
        Data::Int(n) => Value::Int(*n),
        Data::Float(x) => return number(*x),
        Data::List(items) => Value::Array(items.iter().map(value).collect::<Parsed<_>>()?),
        Data::Section(members) => {
            let member = |(name, node): (&String, &Node)| Ok((name.clone(), value(node)?));
            Value::Object(members.iter().map(member).collect::<Parsed<_>>()?)
        }
        Data::Loose(t) => return guessed(t, node),
    })
}

/// A list of values.
pub(super) fn values(node: &Node) -> Parsed<Vec<Value>> {
    match &node.data {
        Data::List(items) => items.iter().map(value).collect(),
        _ => Err(format!("expected a list of values, found {}", node.describe())),
    }
}

/// What a variable or flag means where any value may stand: a TOML value if it is one, else text.
fn guessed(text: &str, node: &Node) -> Parsed<Value> {
    match tree::parse(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value")) {
        Some(inner) if !matches!(inner.data, Data::Loose(_)) => value(&Node { data: inner.data, ..node.clone() }),
        _ => Ok(Value::Str(text.into())),
    }
}

fn number(x: f64) -> Parsed<Value> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if !x.is_finite() {
        return Err("must be finite".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within i64, so the cast is exact")]
    let whole = (x.fract() == 0.0 && (-LIMIT..LIMIT).contains(&x)).then_some(x as i64);
    Ok(whole.map_or(Value::Float(x), Value::Int))
}

/// What librdkafka is to be told, as text: texts, numbers, booleans.
pub(super) fn scalar(node: &Node) -> Parsed<String> {
    match &node.data {
        Data::Text(t) | Data::Loose(t) => Ok(t.clone()),
        Data::Int(n) => Ok(n.to_string()),
        Data::Float(x) => Ok(x.to_string()),
        Data::Bool(b) => Ok(b.to_string()),
        Data::List(_) | Data::Section(_) => Err("expected text, a number, true or false".to_owned()),
    }
}

fn plain<'n>(node: &'n Node, expected: &str) -> Parsed<&'n str> {
    match &node.data {
        Data::Text(t) | Data::Loose(t) => Ok(t),
        _ => Err(format!("expected {expected}, found {}", node.describe())),
    }
}
