//! What buckets stand for: a search for it finds what the bucket counts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::aggs::{self, tops};
use super::tests::{Product, Shop, keys, products, q, shop};
use super::*;

const MOST: u32 = 1_000;

fn aggregated(shop: &Shop, text: &str, request: &Value) -> Value {
    let asked = SearchRequest { aggs: Some(request.clone()), max_buckets: MOST, ..q(text) };
    let partial = shop.ask(&asked).expect("an answer").aggs.expect("aggregations");
    aggs::finish(&shop.view().fields, request, partial, MOST).expect("a result")
}

fn searches<'a>(shop: &Shop, request: &'a Value, result: &Value) -> Result<Vec<tops::Top<'a>>> {
    tops::searches(&shop.view().fields, request, result, true)
}

fn search(shop: &Shop, text: &str, of: Vec<Clause>) -> Vec<String> {
    let asked = SearchRequest { within: of, ..q(text) };
    let mut found = keys(&shop.ask(&asked).expect("an answer"));
    found.sort();
    found
}

/// Searches for every bucket and compares with what it counts; how many there were.
fn counted(shop: &Shop, text: &str, request: &Value) -> usize {
    let result = aggregated(shop, text, request);
    let all = searches(shop, request, &result).expect("searches");
    for top in &all {
        let bucket = result.pointer(&top.at).expect("the bucket");
        let expected = bucket["doc_count"].as_u64().unwrap_or(shop.products.len() as u64);
        let found = top.of.clone().map_or(0, |of| search(shop, text, of).len() as u64);
        assert_eq!(found, expected, "{request}: {}: {bucket}: {:?}", top.at, top.of);
    }
    all.len()
}

fn with_tops(mut body: Value) -> Value {
    body["aggs"] = json!({"first": {"top_hits": {"size": 2}}});
    json!({ "x": body })
}

#[test]
fn a_bucket_of_any_kind_is_found_by_what_it_stands_for() {
    let shop = shop(products());
    for (body, least) in [
        (json!({"terms": {"field": "brand"}}), 4),
        (json!({"terms": {"field": "brand", "missing": "none"}}), 5),
        (json!({"terms": {"field": "brand", "missing": "Bolt"}}), 4),
        (json!({"terms": {"field": "at", "missing": "2026-01-03T12:00:00Z", "size": 50}}), 9),
        (json!({"terms": {"field": "attrs.colour", "missing": "red"}}), 2),
        (json!({"terms": {"field": "name"}}), 6),
        (json!({"terms": {"field": "tags"}}), 2),
        (json!({"terms": {"field": "sold", "size": 50}}), 11),
        (json!({"terms": {"field": "sold", "size": 50, "missing": 77}}), 12),
        (json!({"terms": {"field": "price"}}), 4),
        (json!({"terms": {"field": "price", "missing": 20.0}}), 4),
        (json!({"terms": {"field": "live"}}), 2),
        (json!({"terms": {"field": "at", "size": 50}}), 9),
        (json!({"terms": {"field": "size"}}), 2),
        (json!({"terms": {"field": "attrs.colour"}}), 2),
        (json!({"histogram": {"field": "price", "interval": 10}}), 11),
        (json!({"histogram": {"field": "price", "interval": 0.7, "offset": 0.1, "min_doc_count": 1}}), 4),
        (json!({"histogram": {"field": "sold", "interval": 2.5, "keyed": true}}), 4),
        (json!({"histogram": {"field": "size", "interval": 2}}), 2),
        (json!({"date_histogram": {"field": "at", "fixed_interval": "36h"}}), 6),
        (json!({"date_histogram": {"field": "at", "fixed_interval": "1d", "offset": "-6h", "keyed": true}}), 9),
        (json!({"date_histogram": {"field": "at", "calendar_interval": "week"}}), 2),
        (json!({"date_histogram": {"field": "at", "calendar_interval": "month"}}), 1),
        (json!({"date_histogram": {"field": "at", "calendar_interval": "day", "time_zone": "Asia/Kolkata"}}), 9),
        (json!({"date_histogram": {"field": "at", "fixed_interval": "7h", "time_zone": "Europe/Berlin"}}), 20),
        (json!({"range": {"field": "price", "ranges": [{"to": 9.5}, {"from": 9.5, "to": 20}, {"from": 50}]}}), 3),
        (json!({"range": {"field": "sold", "keyed": true, "ranges": [{"to": -0.5}, {"from": -0.5, "to": 2.5}]}}), 3),
        (json!({"range": {"field": "at", "ranges": [{"from": "2026-01-03", "to": "2026-01-05T12:00:00Z"}]}}), 3),
        (json!({"filter": "live:true AND price:>0"}), 1),
        (json!({"filters": {"filters": {"a~/b": "title:pan OR title:kettle", "none": "brand:nobody"}}}), 2),
        (json!({"multi_terms": {"terms": [{"field": "brand"}, {"field": "live"}, {"field": "sold"}], "size": 90}}), 20),
        (
            json!({"composite": {"size": 90, "sources": [
                {"b": {"terms": {"field": "brand", "missing_bucket": true}}},
                {"p": {"histogram": {"field": "price", "interval": 25}}}
            ]}}),
            10,
        ),
        (
            json!({"composite": {"size": 90, "sources": [
                {"d": {"date_histogram": {"field": "at", "fixed_interval": "2d"}}}
            ]}}),
            5,
        ),
    ] {
        let buckets = counted(&shop, "", &with_tops(body.clone()));
        assert!(buckets >= least, "{buckets} of {body}");
        counted(&shop, "kettle OR pan", &with_tops(body));
    }
}

/// Keys of the records of each bucket, by how it is shown.
fn by_bucket(shop: &Shop, request: &Value) -> BTreeMap<String, Vec<String>> {
    let result = aggregated(shop, "", request);
    let of = |top: &tops::Top<'_>| {
        let key = &result.pointer(&top.at).expect("the bucket")["key"];
        Some((key.as_str().map_or_else(|| key.to_string(), str::to_owned), search(shop, "", top.of.clone()?)))
    };
    searches(shop, request, &result).expect("searches").iter().filter_map(of).collect()
}

#[test]
fn a_member_of_json_is_found_by_its_whole_value() {
    let colours = ["red", "Red", "red wine", "dark red wine", "", "&", "5", "true"];
    let product = |(i, colour): (usize, &&'static str)| Product {
        key: format!("k{i}"),
        colour: Some(colour),
        ..Product::default()
    };
    let shop = shop(colours.iter().enumerate().map(product).collect());
    let request = with_tops(json!({"terms": {"field": "attrs.colour", "size": 20}}));
    let expected = colours.iter().enumerate().map(|(i, colour)| ((*colour).to_owned(), vec![format!("k{i}")]));
    assert_eq!(by_bucket(&shop, &request), expected.collect());
}

#[test]
fn numbers_at_the_edge_of_a_bucket_are_found_in_the_one_that_counts_them() {
    let price = |i: i32| if i % 2 == 0 { f64::from(i) / 10.0 } else { f64::from(i) * 0.1 };
    let product = |i| Product {
        key: format!("k{i:03}"),
        price: Some(price(i)),
        sold: Some(i64::from(i) - 40),
        ..Product::default()
    };
    let shop = shop((0..90).map(product).collect());
    for (field, interval, offset) in
        [("price", 0.1, 0.0), ("price", 0.3, 0.1), ("price", 0.7, -0.3), ("sold", 1.1, 0.3), ("sold", 3.0, 1.0)]
    {
        let request = with_tops(
            json!({"histogram": {"field": field, "interval": interval, "offset": offset, "min_doc_count": 1}}),
        );
        let found = by_bucket(&shop, &request);
        assert_eq!(found.values().map(Vec::len).sum::<usize>(), 90, "{request}: {found:?}");
        counted(&shop, "", &request);
    }
}

#[test]
fn ranges_that_were_not_asked_for_need_no_search_where_they_are_not_shown() {
    let shop = shop(products());
    let request = with_tops(json!({"range": {"field": "price", "ranges": [{"to": 0}, {"from": 15, "to": "50"}]}}));
    let result = aggregated(&shop, "", &request);
    let number = |between| tops::searches(&shop.view().fields, &request, &result, between).expect("searches").len();
    assert_eq!((number(false), number(true)), (2, 4));
}

#[test]
fn below_others_all_of_it_holds() {
    let shop = shop(products());
    let request = json!({
        "all": {"top_hits": {}},
        "kinds": {"filters": {"filters": {"pans": "title:pan", "red": "title:red"}}, "aggs": {
            "live": {"filter": "live:true", "aggs": {"brands": {"terms": {"field": "brand"}, "aggs": {
                "days": {"date_histogram": {"field": "at", "fixed_interval": "1d"}, "aggs": {"first": {"top_hits": {}}}}
            }}}},
            "some": {"top_hits": {"size": 1}}
        }}
    });
    assert!(counted(&shop, "", &request) > 10);
    let result = aggregated(&shop, "", &request);
    let tops = searches(&shop, &request, &result).expect("searches");
    assert!(tops.iter().any(|top| top.of.is_none()), "a day without a document needs no search");
    let of = |at: &str, name: &str| {
        let top = tops.iter().find(|top| (top.at.as_str(), top.name) == (at, name)).expect("a search");
        search(&shop, "", top.of.clone().expect("documents"))
    };
    assert_eq!(of("", "all").len(), 60);
    let ours = |keep: &dyn Fn(&Product) -> bool| shop.wanted(keep);
    assert_eq!(of("/kinds/buckets/pans", "some"), ours(&|p| p.has("pan")));
    let first = &result["kinds"]["buckets"]["red"]["live"]["brands"]["buckets"][0];
    let (brand, day) = (first["key"].as_str(), first["days"]["buckets"][0]["key"].as_f64().expect("a day"));
    let found = of("/kinds/buckets/red/live/brands/buckets/0/days/buckets/0", "first");
    let same_day = |p: &Product| p.at.is_some_and(|at| at.div_euclid(86_400_000) * 86_400_000 == day as i64);
    assert_eq!(found, ours(&|p| p.has("red") && p.live == Some(true) && p.brand == brand && same_day(p)));
}

#[test]
fn what_was_found_stands_in_its_bucket() {
    let shop = shop(products());
    let request = json!({"a/b": {"terms": {"field": "brand"}, "aggs": {"~": {"top_hits": {}}}}});
    let mut result = aggregated(&shop, "", &request);
    for top in searches(&shop, &request, &result).expect("searches") {
        let found = json!(top.at);
        top.place(&mut result, found);
    }
    let buckets = result["a/b"]["buckets"].as_array().expect("buckets");
    let places: Vec<&str> = buckets.iter().filter_map(|b| b["~"].as_str()).collect();
    assert_eq!(places, ["/a~1b/buckets/0", "/a~1b/buckets/1", "/a~1b/buckets/2", "/a~1b/buckets/3"]);
    assert_eq!(tops::asked(&request), [("~", &json!({}))]);
}

#[test]
fn too_many_buckets_and_aggregations_below_are_refused() {
    let shop = shop(products());
    let request = with_tops(json!({"terms": {"field": "sku", "size": 1_000}}));
    let request = json!({"x": request["x"], "y": request["x"]});
    let refused = searches(&shop, &request, &aggregated(&shop, "", &request)).expect_err("120 searches");
    assert!(refused.message().contains("of more than 100 buckets"), "{refused}");
    let below = json!({"x": {"top_hits": {}, "aggs": {"y": {"avg": {"field": "price"}}}}});
    let refused = shop.ask(&SearchRequest { aggs: Some(below), max_buckets: MOST, ..q("") }).expect_err("refused");
    assert!(refused.message().contains("no aggregations below top_hits"), "{refused}");
}
