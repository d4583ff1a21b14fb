//! Asks the native API for what naive evaluation says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::generate::{Search, text};
use crate::naive::{Catalogue, Record, values};

/// Hits of a page.
const PAGE: usize = 15;

/// Asks, evaluates, compares; the number of matches.
pub(crate) fn check(client: &Client, table: &str, catalogue: &Catalogue, search: &Search, what: &str) -> usize {
    let wanted = catalogue.wanted(search);
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
            "numbers": {"stats": {"field": search.number}},
            "some": {"terms": {"field": search.facet, "size": 3}, "aggs": {
                "largest": {"top_hits": {"size": 2, "sort": [{search.number: "desc"}]}}
            }}
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
    for bucket in answer["aggs"]["some"]["buckets"].as_array().unwrap() {
        let hits = bucket["largest"]["hits"]["hits"].as_array().unwrap();
        let found: Vec<&str> = hits.iter().map(|hit| hit["_id"].as_str().unwrap()).collect();
        assert_eq!(found, catalogue.largest(&wanted, (search.facet, &name(bucket)), search.number), "{what}: {bucket}");
        assert_eq!(bucket["largest"]["hits"]["total"]["value"], bucket["doc_count"], "{what}");
        for hit in hits {
            assert!(
                wanted
                    .iter()
                    .any(|(key, r)| key.as_str() == hit["_id"].as_str().unwrap()
                        && Some(r) == hit["_source"].as_object()),
                "{what}"
            );
        }
    }
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

/// The value that a bucket is of: a boolean is a number with a name.
fn name(bucket: &Value) -> String {
    bucket.get("key_as_string").map_or_else(|| bucket["key"].to_string(), |k| k.as_str().unwrap().into())
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
    let (mut found, mut by_value) = (BTreeMap::new(), BTreeMap::<String, Vec<f64>>::new());
    for (_, record) in wanted {
        let of = numbers(&mut std::iter::once(record));
        let named: BTreeSet<String> = values(record, search.facet).iter().map(Value::to_string).collect();
        named.into_iter().for_each(|value| by_value.entry(value).or_default().extend(&of));
    }
    for bucket in answer["aggs"]["kinds"]["buckets"].as_array().unwrap() {
        let key = name(bucket);
        near(&bucket["sum"]["value"], by_value.get(&key).map_or(0.0, |all| all.iter().sum()));
        found.insert(key, bucket["doc_count"].as_u64().unwrap());
    }
    assert_eq!(found, counts(wanted, search.facet), "{what}");
}
