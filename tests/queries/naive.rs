//! Evaluation by looking at every record.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::common::workload::Workload;
use crate::generate::{Kind, Query, Search};

pub(crate) type Record = Map<String, Value>;

/// Fields of `config/catalog.toml`.
pub(crate) const CATALOG: &[(&str, Kind)] = &[
    ("title", Kind::Text),
    ("description", Kind::Text),
    ("brand", Kind::Keyword),
    ("category", Kind::Keyword),
    ("price", Kind::Number),
    ("list_price", Kind::Number),
    ("currency", Kind::Keyword),
    ("promo", Kind::Boolean),
    ("qty", Kind::Number),
    ("warehouse", Kind::Keyword),
    ("sold", Kind::Number),
];

/// The records, and what their fields are.
pub(crate) struct Catalogue {
    pub(crate) records: Vec<(String, Record)>,
    pub(crate) fields: Vec<(&'static str, Kind)>,
    pub(crate) facets: Vec<&'static str>,
}

impl Catalogue {
    pub(crate) fn new(workload: &Workload, key: &str, fields: &[(&'static str, Kind)]) -> Self {
        let records: Vec<(String, Record)> =
            workload.expected.values().map(|r| (r[key].as_str().unwrap().to_owned(), r.clone())).collect();
        let facet =
            ["brand", "category", "currency", "promo", "warehouse", "carrier", "origin", "dest", "status", "tags"];
        let facets = fields.iter().map(|(name, _)| *name).filter(|name| facet.contains(name)).collect();
        Self { records, fields: fields.to_vec(), facets }
    }

    fn kind(&self, field: &str) -> Kind {
        self.fields.iter().find(|(name, _)| *name == field).map_or(Kind::Keyword, |(_, kind)| *kind)
    }

    /// The records that a search finds, in its order.
    pub(crate) fn wanted(&self, search: &Search) -> Vec<&(String, Record)> {
        let asked = || search.q.iter().chain(&search.filters);
        let found = self.records.iter().filter(|(key, record)| asked().all(|q| self.matches(q, key, record)));
        let mut found: Vec<&(String, Record)> = found.collect();
        self.order(&mut found, &search.sort);
        found
    }

    /// Keys of the first two of these records that have a value in a field, by another, the largest first.
    pub(crate) fn largest(
        &self,
        of: &[&(String, Record)],
        (field, value): (&str, &str),
        by: &'static str,
    ) -> Vec<String> {
        let has = |r: &&&(String, Record)| values(&r.1, field).iter().map(Value::to_string).any(|text| text == value);
        let mut all: Vec<&(String, Record)> = of.iter().filter(has).copied().collect();
        self.order(&mut all, &[(by, true), ("_key", false)]);
        all.into_iter().take(2).map(|(key, _)| key.clone()).collect()
    }

    fn matches(&self, query: &Query, key: &str, record: &Record) -> bool {
        let values = |field: &str| values(record, field);
        match query {
            Query::Word(field, word) => values(field).iter().any(|v| tokens(v.as_str().unwrap()).contains(word)),
            Query::Phrase(field, words) => {
                values(field).iter().any(|v| tokens(v.as_str().unwrap()).windows(words.len()).any(|w| w == words))
            }
            Query::Prefix(field, start) if self.kind(field) == Kind::Text => {
                values(field).iter().any(|v| tokens(v.as_str().unwrap()).iter().any(|t| t.starts_with(start)))
            }
            Query::Prefix(field, start) => values(field).iter().any(|v| v.as_str().unwrap().starts_with(start)),
            Query::Is(field, value) => values(field).iter().any(|v| self.compare(field, v, value) == Ordering::Equal),
            Query::Within(field, low, high, inclusive) => values(field).iter().any(|v| {
                let holds = |order: Ordering, wanted| order == wanted || (*inclusive && order == Ordering::Equal);
                low.as_ref().is_none_or(|low| holds(self.compare(field, v, low), Ordering::Greater))
                    && high.as_ref().is_none_or(|high| holds(self.compare(field, v, high), Ordering::Less))
            }),
            Query::In(field, all) => values(field).iter().any(|v| all.iter().any(|a| v == a)),
            Query::Has(field) => {
                values(field).iter().any(|v| self.kind(field) != Kind::Text || !tokens(v.as_str().unwrap()).is_empty())
            }
            Query::Bare(word) => {
                let word_of = |(field, kind): &(&'static str, Kind)| match kind {
                    Kind::Text => {
                        values(field).iter().any(|v| tokens(v.as_str().unwrap()).contains(&word.to_lowercase()))
                    }
                    Kind::Keyword => values(field).iter().any(|v| v == word),
                    _ => false,
                };
                key == word || self.searched_fields(record).iter().any(word_of)
            }
            Query::All(all) => all.iter().all(|q| self.matches(q, key, record)),
            Query::Any(all) => all.iter().any(|q| self.matches(q, key, record)),
            Query::Not(one) => !self.matches(one, key, record),
        }
    }

    /// Every declared field, those included that queries do not name.
    fn searched_fields(&self, record: &Record) -> Vec<(&'static str, Kind)> {
        let more = ["origin_name", "manufacturer", "engine"];
        let kind = |name: &str| if name == "engine" { Kind::Keyword } else { Kind::Text };
        let others = more.into_iter().filter(|name| record.contains_key(*name)).map(|name| (name, kind(name)));
        self.fields.iter().copied().chain(others).collect()
    }

    /// How two values of a field compare.
    fn compare(&self, field: &str, a: &Value, b: &Value) -> Ordering {
        match self.kind(field) {
            Kind::Date => moment(a).cmp(&moment(b)),
            Kind::Number => a.as_f64().unwrap().total_cmp(&b.as_f64().unwrap()),
            Kind::Boolean => a.as_bool().cmp(&b.as_bool()),
            Kind::Text | Kind::Keyword => a.as_str().unwrap().cmp(b.as_str().unwrap()),
        }
    }

    /// Puts records in order: missing values last, in both directions; of several values the smallest, or the largest.
    fn order(&self, found: &mut Vec<&(String, Record)>, sort: &[(&'static str, bool)]) {
        let place = |(key, record): &(String, Record)| -> Vec<Option<Rank>> {
            let rank = |(field, descending): &(&'static str, bool)| match *field {
                "_key" => Some(Rank::Text(key.clone())),
                field => {
                    let all = values(record, field).into_iter().map(|v| self.rank(field, &v));
                    if *descending { all.max() } else { all.min() }
                }
            };
            sort.iter().map(rank).collect()
        };
        let mut placed: Vec<(Vec<Option<Rank>>, &(String, Record))> = found.iter().map(|r| (place(r), *r)).collect();
        placed.sort_by(|(a, _), (b, _)| {
            let by = |((a, b), (_, descending)): ((&Option<Rank>, &Option<Rank>), &(&str, bool))| match (a, b) {
                (Some(a), Some(b)) => {
                    if *descending {
                        b.cmp(a)
                    } else {
                        a.cmp(b)
                    }
                }
                (a, b) => a.is_none().cmp(&b.is_none()),
            };
            a.iter().zip(b).zip(sort).map(by).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        *found = placed.into_iter().map(|(_, record)| record).collect();
    }

    /// Where a value of a field stands among others.
    fn rank(&self, field: &str, value: &Value) -> Rank {
        match self.kind(field) {
            Kind::Date => Rank::Whole(moment(value)),
            // As `f64::total_cmp` has it.
            Kind::Number => {
                let bits = value.as_f64().unwrap().to_bits().cast_signed();
                Rank::Whole(bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed())
            }
            Kind::Boolean => Rank::Whole(value.as_bool().unwrap().into()),
            Kind::Text | Kind::Keyword => Rank::Text(value.as_str().unwrap().to_owned()),
        }
    }
}

/// A value as it is put in order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Whole(i64),
    Text(String),
}

/// The values of a field of a record.
pub(crate) fn values(record: &Record, field: &str) -> Vec<Value> {
    match record.get(field) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items.clone(),
        Some(one) => vec![one.clone()],
    }
}

fn moment(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<Timestamp>().unwrap().as_millisecond()
}

/// Words as the index cuts them.
pub(crate) fn tokens(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty() && w.len() < 40);
    words.map(str::to_lowercase).collect()
}
