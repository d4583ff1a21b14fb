//! Evaluation by looking at every record.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::common::client::Client;
use crate::common::workload::Workload;
use crate::generate::{Kind, Query, Search, text};

/// Hits of a page.
const PAGE: usize = 15;

type Record = Map<String, Value>;

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

    /// Missing values last, in both directions; of several values the smallest, or the largest.
    fn in_order(&self, sort: &[(&'static str, bool)], a: &(String, Record), b: &(String, Record)) -> Ordering {
        for (field, descending) in sort {
            let turned = |order: Ordering| if *descending { order.reverse() } else { order };
            if *field == "_key" {
                return turned(a.0.cmp(&b.0));
            }
            let of =
                |record: &Record| values(record, field).into_iter().min_by(|x, y| turned(self.compare(field, x, y)));
            let order = match (of(&a.1), of(&b.1)) {
                (Some(x), Some(y)) => turned(self.compare(field, &x, &y)),
                (x, y) => x.is_none().cmp(&y.is_none()),
            };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    }
}

fn values(record: &Record, field: &str) -> Vec<Value> {
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

/// Asks, evaluates, compares; the number of matches.
pub(crate) fn check(client: &Client, table: &str, catalogue: &Catalogue, search: &Search, what: &str) -> usize {
    let mut wanted: Vec<&(String, Record)> = catalogue
        .records
        .iter()
        .filter(|(key, r)| search.q.iter().chain(&search.filters).all(|q| catalogue.matches(q, key, r)))
        .collect();
    wanted.sort_by(|a, b| catalogue.in_order(&search.sort, a, b));
    let sort: Vec<String> = search.sort.iter().map(|(f, d)| format!("{}{f}", if *d { "-" } else { "" })).collect();
    let mut body = json!({
        "filter": search.filters.iter().map(text).collect::<Vec<_>>(),
        "sort": sort, "limit": PAGE,
        "facets": [format!("{}:1000", search.facet)],
        "aggs": {
            "kinds": {
                "terms": {"field": search.facet, "size": 1000},
                "aggs": {"sum": {"sum": {"field": search.number}}}
            },
            "numbers": {"stats": {"field": search.number}}
        }
    });
    if let Some(q) = &search.q {
        body["q"] = text(q).into();
    }
    let what = format!("{what}: {body}");
    let path = format!("/v1/tables/{table}/search");
    let answer = client.post(&path, &body);
    assert_eq!(answer["warnings"], json!([]), "{what}");
    assert_eq!(answer["total"], wanted.len(), "{what}");
    let mut pages = hits(&answer);
    if let Some(cursor) = answer["cursor"].as_str() {
        let mut next = json!({"filter": body["filter"], "sort": body["sort"], "limit": PAGE, "cursor": cursor});
        if let Some(q) = body.get("q") {
            next["q"] = q.clone();
        }
        pages.extend(hits(&client.post(&path, &next)));
    }
    let first: Vec<(String, Record)> = wanted.iter().take(2 * PAGE).map(|r| (*r).clone()).collect();
    assert_eq!(pages, first, "{what}");
    facets(&answer, &wanted, search, &what);
    aggregations(&answer, &wanted, search, &what);
    wanted.len()
}

fn hits(answer: &Value) -> Vec<(String, Record)> {
    let hit = |h: &Value| (h["key"].as_str().unwrap().to_owned(), h["record"].as_object().unwrap().clone());
    answer["hits"].as_array().unwrap().iter().map(hit).collect()
}

fn counts(wanted: &[&(String, Record)], field: &str) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    let each = wanted.iter().flat_map(|(_, record)| values(record, field));
    each.for_each(|value| *all.entry(value.to_string()).or_default() += 1);
    all
}

fn facets(answer: &Value, wanted: &[&(String, Record)], search: &Search, what: &str) {
    let facet = &answer["facets"][search.facet];
    let all = facet["values"].as_array().unwrap().iter();
    let found: Vec<(String, u64)> = all.map(|v| (v["value"].to_string(), v["count"].as_u64().unwrap())).collect();
    assert!(found.windows(2).all(|w| w[0].1 >= w[1].1), "{what}: {facet}");
    let counts = counts(wanted, search.facet);
    assert_eq!((facet["distinct"].as_u64(), &facet["max_error"]), (Some(counts.len() as u64), &json!(0)), "{what}");
    assert_eq!(found.into_iter().collect::<BTreeMap<_, _>>(), counts, "{what}");
}

fn aggregations(answer: &Value, wanted: &[&(String, Record)], search: &Search, what: &str) {
    let near = |found: &Value, expected: f64| {
        let found = found.as_f64().unwrap_or(f64::NAN);
        assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {found} for {expected}");
    };
    let numbers = |records: &mut dyn Iterator<Item = &Record>| -> Vec<f64> {
        records.flat_map(|r| values(r, search.number)).map(|v| v.as_f64().unwrap()).collect()
    };
    let all = numbers(&mut wanted.iter().map(|(_, r)| r));
    let stats = &answer["aggs"]["numbers"];
    assert_eq!(stats["count"], all.len(), "{what}");
    near(&stats["sum"], all.iter().sum());
    assert_eq!(stats["max"].as_f64(), all.iter().copied().reduce(f64::max), "{what}");
    let mut found = BTreeMap::new();
    for bucket in answer["aggs"]["kinds"]["buckets"].as_array().unwrap() {
        // A boolean is a number with a name.
        let key = bucket.get("key_as_string").map_or_else(|| bucket["key"].to_string(), |k| k.as_str().unwrap().into());
        let has = |r: &Record| counts(&[&(String::new(), r.clone())], search.facet).contains_key(&key);
        near(&bucket["sum"]["value"], numbers(&mut wanted.iter().map(|(_, r)| r).filter(|r| has(r))).iter().sum());
        found.insert(key, bucket["doc_count"].as_u64().unwrap());
    }
    assert_eq!(found, counts(wanted, search.facet), "{what}");
}
