//! Random queries made of what the records hold, so that most of them find something.

use serde_json::Value;

use crate::common::dice::Dice;
use crate::naive::{Catalogue, tokens};

/// What a field holds, as far as queries care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Keyword,
    Number,
    Date,
    Boolean,
}

/// A query, as both sides understand it.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// The field has this word.
    Word(&'static str, String),
    /// The field has these words behind each other.
    Phrase(&'static str, Vec<String>),
    /// A word of the field, or the keyword, begins so.
    Prefix(&'static str, String),
    /// The field has this value.
    Is(&'static str, Value),
    /// Within these bounds; whether they are part of it.
    Within(&'static str, Option<Value>, Option<Value>, bool),
    /// One of these keywords.
    In(&'static str, Vec<String>),
    /// The field has a value.
    Has(&'static str),
    /// A word in any field of words.
    Bare(String),
    All(Vec<Query>),
    Any(Vec<Query>),
    Not(Box<Query>),
}

/// Everything that a search asks for.
#[derive(Clone, Debug)]
pub(crate) struct Search {
    pub(crate) q: Option<Query>,
    pub(crate) filters: Vec<Query>,
    /// Field and whether the largest comes first.
    pub(crate) sort: Vec<(&'static str, bool)>,
    pub(crate) facet: &'static str,
    /// The field that is summed up.
    pub(crate) number: &'static str,
}

/// A search.
pub(crate) fn generate(dice: &mut Dice, catalogue: &Catalogue) -> Search {
    let of = |wanted: &[Kind]| -> Vec<&'static str> {
        catalogue.fields.iter().filter(|(_, kind)| wanted.contains(kind)).map(|(name, _)| *name).collect()
    };
    let sortable = of(&[Kind::Keyword, Kind::Number, Kind::Date, Kind::Boolean]);
    let mut sort: Vec<(&'static str, bool)> = Vec::new();
    for _ in 0..dice.place(4) {
        let field = *dice.one_of(&sortable);
        if sort.iter().all(|(held, _)| *held != field) {
            sort.push((field, dice.place(2) == 0));
        }
    }
    sort.push(("_key", dice.place(2) == 0));
    Search {
        q: (dice.place(3) == 0).then(|| query(dice, catalogue, 2)),
        filters: (0..dice.place(3)).map(|_| query(dice, catalogue, 2)).collect(),
        sort,
        facet: dice.one_of::<&'static str>(&catalogue.facets),
        number: dice.one_of::<&'static str>(&of(&[Kind::Number])),
    }
}

fn query(dice: &mut Dice, catalogue: &Catalogue, depth: usize) -> Query {
    let many = |dice: &mut Dice| (0..2 + dice.place(2)).map(|_| query(dice, catalogue, depth - 1)).collect();
    match dice.place(if depth == 0 { 6 } else { 10 }) {
        6 => Query::All(many(dice)),
        7 | 8 => Query::Any(many(dice)),
        9 => Query::Not(Box::new(query(dice, catalogue, depth - 1))),
        0 => Query::Has(dice.one_of(&catalogue.fields).0),
        _ => leaf(dice, catalogue),
    }
}

/// Something that at least one record has.
fn leaf(dice: &mut Dice, catalogue: &Catalogue) -> Query {
    loop {
        let record = dice.one_of(&catalogue.records);
        let (field, kind) = *dice.one_of(&catalogue.fields);
        let Some(value) = record.1.get(field) else { continue };
        let value = match value {
            Value::Array(items) => dice.one_of(items).clone(),
            one => one.clone(),
        };
        let found = match kind {
            Kind::Text => words(dice, field, value.as_str().unwrap()),
            Kind::Keyword => keyword(dice, catalogue, field, value.as_str().unwrap()),
            Kind::Boolean => Some(Query::Is(field, value)),
            Kind::Number | Kind::Date => Some(range(dice, catalogue, field, value)),
        };
        if let Some(found) = found {
            return found;
        }
    }
}

fn words(dice: &mut Dice, field: &'static str, text: &str) -> Option<Query> {
    let all = tokens(text);
    let at = dice.place(all.len());
    let word = all.get(at)?.clone();
    // Words of the grammar stand for themselves only within quotes.
    if ["and", "or", "not", "in", "to"].contains(&word.as_str()) {
        return None;
    }
    Some(match dice.place(5) {
        0 => Query::Phrase(field, all[at..all.len().min(at + 2 + dice.place(2))].to_vec()),
        1 => Query::Prefix(field, word.chars().take(1 + dice.place(3)).collect()),
        2 => Query::Bare(word),
        _ => Query::Word(field, word),
    })
}

fn keyword(dice: &mut Dice, catalogue: &Catalogue, field: &'static str, value: &str) -> Option<Query> {
    if value.contains(['"', '\\']) {
        return None;
    }
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric()) && !["AND", "OR", "NOT", "IN", "TO"].contains(&value);
    Some(match dice.place(5) {
        0 if plain => Query::Prefix(field, value.chars().take(1 + dice.place(2)).collect()),
        1 if plain => Query::Bare(value.to_owned()),
        2 => {
            let other = dice.one_of(&catalogue.records).1.get(field).and_then(Value::as_str).unwrap_or(value);
            let both = [value, other].map(str::to_owned).to_vec();
            if both.iter().all(|t| t.chars().all(|c| c.is_ascii_alphanumeric() && !t.is_empty())) {
                Query::In(field, both)
            } else {
                Query::Is(field, value.into())
            }
        }
        _ => Query::Is(field, value.into()),
    })
}

fn range(dice: &mut Dice, catalogue: &Catalogue, field: &'static str, value: Value) -> Query {
    let other = dice.one_of(&catalogue.records).1.get(field).cloned().filter(|v| !v.is_array());
    let inclusive = dice.place(2) == 0;
    match (dice.place(4), other) {
        (0, _) => Query::Is(field, value),
        (1, _) => Query::Within(field, Some(value), None, inclusive),
        (2, Some(other)) => Query::Within(field, Some(value), Some(other), inclusive),
        _ => Query::Within(field, None, Some(value), inclusive),
    }
}

/// The text of a query.
pub(crate) fn text(query: &Query) -> String {
    let plain = |value: &Value| match value {
        Value::String(text) => format!("\"{text}\""),
        other => other.to_string(),
    };
    // Dates stand bare in ranges.
    let edge = |value: &Option<Value>| match value {
        None => "*".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let joined = |all: &[Query], word: &str| {
        let parts: Vec<String> = all.iter().map(text).collect();
        format!("({})", parts.join(word))
    };
    match query {
        Query::Word(field, word) => format!("{field}:{word}"),
        Query::Phrase(field, words) => format!("{field}:\"{}\"", words.join(" ")),
        Query::Prefix(field, start) => format!("{field}:{start}*"),
        Query::Is(field, value) => format!("{field}:{}", plain(value)),
        Query::Within(field, low, high, true) => format!("{field}:[{} TO {}]", edge(low), edge(high)),
        Query::Within(field, low, high, false) => format!("{field}:{{{} TO {}}}", edge(low), edge(high)),
        Query::In(field, values) => format!("{field}: IN [{}]", values.join(" ")),
        Query::Has(field) => format!("{field}:*"),
        Query::Bare(word) => word.clone(),
        Query::All(all) => joined(all, " AND "),
        Query::Any(all) => joined(all, " OR "),
        Query::Not(one) => format!("(NOT {})", text(one)),
    }
}
