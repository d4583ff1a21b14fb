//! Random queries in the query language of Elasticsearch, against naive evaluation.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::dice::Dice;
use crate::common::lab::{Lab, On, loaded};
use crate::common::workload::Workload;
use crate::common::{full_scale, report, scaled};
use crate::generate::{Query, Search, generate, text};
use crate::naive::{CATALOG, Catalogue, Record, values};

/// Queries, whole.
const QUERIES: usize = 4_000;
/// Hits of a page.
const PAGE: usize = 25;

/// A query as a program writes it. What has several spellings is spelt by chance.
fn dsl(dice: &mut Dice, query: &Query) -> Value {
    let each = |dice: &mut Dice, all: &[Query]| all.iter().map(|q| dsl(dice, q)).collect::<Vec<_>>();
    match query {
        Query::Word(field, word) => match dice.place(3) {
            0 => json!({"match": {*field: word}}),
            1 => json!({"term": {*field: {"value": word}}}),
            _ => json!({"multi_match": {"query": word, "fields": [*field]}}),
        },
        Query::Phrase(field, words) => json!({"match_phrase": {*field: words.join(" ")}}),
        Query::Prefix(field, start) => match dice.place(2) {
            0 => json!({"prefix": {*field: start}}),
            _ => json!({"wildcard": {*field: {"value": format!("{}*", escaped(start))}}}),
        },
        Query::Is(field, value) => json!({"term": {*field: value}}),
        Query::Within(field, low, high, inclusive) => {
            let (from, to) = if *inclusive { ("gte", "lte") } else { ("gt", "lt") };
            let mut bounds = json!({});
            low.iter().for_each(|low| bounds[from] = low.clone());
            high.iter().for_each(|high| bounds[to] = high.clone());
            json!({"range": {*field: bounds}})
        }
        Query::In(field, all) => match dice.place(2) {
            0 => json!({"terms": {*field: all}}),
            _ => json!({"terms": {format!("{field}.keyword"): all}}),
        },
        Query::Has(field) => json!({"exists": {"field": field}}),
        Query::Bare(_) => json!({"query_string": {"query": text(query)}}),
        Query::All(all) => match dice.place(2) {
            0 => json!({"bool": {"must": each(dice, all)}}),
            _ => json!({"bool": {"filter": each(dice, all)}}),
        },
        Query::Any(all) => match dice.place(3) {
            0 => json!({"bool": {"should": each(dice, all)}}),
            1 => json!({"bool": {"should": each(dice, all), "must": {"match_all": {}}, "minimum_should_match": 1}}),
            _ => json!({"dis_max": {"queries": each(dice, all)}}),
        },
        Query::Not(one) => json!({"bool": {"must_not": dsl(dice, one)}}),
    }
}

fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

fn ask(client: &Client, dice: &mut Dice, catalogue: &Catalogue, search: &Search, what: &str) -> usize {
    let wanted = catalogue.wanted(search);
    let scored: Vec<Value> = search.q.iter().map(|q| dsl(dice, q)).collect();
    let filters: Vec<Value> = search.filters.iter().map(|q| dsl(dice, q)).collect();
    let way = |descending: bool| if descending { "desc" } else { "asc" };
    let sort: Vec<Value> = search.sort.iter().map(|(f, d)| json!({*f: {"order": way(*d)}})).collect();
    let mut body = json!({
        "query": {"bool": {"must": scored, "filter": filters}}, "sort": sort, "size": PAGE,
        "aggs": {"n": {"value_count": {"field": search.number}}, "sum": {"sum": {"field": search.number}},
                 "values": {"terms": {"field": search.facet, "size": 1000}},
                 "some": {"terms": {"field": search.facet, "size": 2},
                          "aggs": {"largest": {"top_hits": {"size": 2, "sort": {search.number: "desc"}, "_source": false}}}}}
    });
    let what = format!("{what}: {body}");
    let answer = client.post("/es/products/_search", &body);
    assert_eq!(answer["hits"]["total"], json!({"value": wanted.len(), "relation": "eq"}), "{what}");
    let mut found = hits(&answer);
    if found.len() == PAGE {
        // The next page, behind the sort values of the last hit.
        body["search_after"] = answer["hits"]["hits"][PAGE - 1]["sort"].clone();
        found.extend(hits(&client.post("/es/products/_search", &body)));
    }
    let first: Vec<(String, Record)> = wanted.iter().take(2 * PAGE).map(|r| (*r).clone()).collect();
    assert_eq!(found, first, "{what}");
    let numbers: Vec<f64> = wanted.iter().filter_map(|(_, r)| r.get(search.number)?.as_f64()).collect();
    assert_eq!(answer["aggregations"]["n"]["value"].as_f64(), Some(numbers.len() as f64), "{what}");
    let (sum, expected) = (answer["aggregations"]["sum"]["value"].as_f64().unwrap(), numbers.iter().sum::<f64>());
    assert!((sum - expected).abs() <= 1e-9 * expected.abs().max(1.0), "{what}: {sum} for {expected}");
    let mut counted = BTreeMap::new();
    wanted
        .iter()
        .flat_map(|(_, r)| values(r, search.facet))
        .for_each(|v| *counted.entry(v.to_string()).or_insert(0) += 1);
    let buckets = answer["aggregations"]["values"]["buckets"].as_array().unwrap();
    // A boolean is a number with a name.
    let name =
        |b: &Value| b.get("key_as_string").map_or_else(|| b["key"].to_string(), |k| k.as_str().unwrap().to_owned());
    let found: BTreeMap<String, u64> = buckets.iter().map(|b| (name(b), b["doc_count"].as_u64().unwrap())).collect();
    assert_eq!(found, counted, "{what}");
    for bucket in answer["aggregations"]["some"]["buckets"].as_array().unwrap() {
        let hits = bucket["largest"]["hits"]["hits"].as_array().unwrap();
        let found: Vec<&str> = hits.iter().map(|hit| hit["_id"].as_str().unwrap()).collect();
        assert_eq!(found, catalogue.largest(&wanted, (search.facet, &name(bucket)), search.number), "{what}: {bucket}");
        assert!(hits.iter().all(|hit| hit.get("_source").is_none() && hit["sort"].is_array()), "{what}: {bucket}");
    }
    let count = client.post("/es/products/_count", &json!({"query": body["query"]}));
    assert_eq!(count["count"], wanted.len(), "{what}");
    wanted.len()
}

fn hits(answer: &Value) -> Vec<(String, Record)> {
    let hit = |h: &Value| (h["_id"].as_str().unwrap().to_owned(), h["_source"].as_object().unwrap().clone());
    answer["hits"]["hits"].as_array().unwrap().iter().map(hit).collect()
}

#[test]
fn queries_find_what_naive_evaluation_finds() {
    let workload = Workload::catalog(scaled(40_000), scaled(8_000), &[]);
    let lab = Lab::new(On::Local, "catalog.toml");
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let (client, catalogue) = (instance.client(), Catalogue::new(&workload, "sku", CATALOG));
    let mut dice = Dice(2_026);
    let (queries, mut found) = (if full_scale() { QUERIES } else { scaled(QUERIES) }, 0);
    for n in 0..queries {
        let search = generate(&mut dice, &catalogue);
        found += usize::from(ask(&client, &mut dice, &catalogue, &search, &format!("query {n}")) > 0);
    }
    report(&format!("es: {queries} queries as naive evaluation has them, {found} of them with matches"));
    assert!(found > queries / 2, "queries that find nothing show nothing");
    instance.stop();
}
