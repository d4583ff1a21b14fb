//! Facets and aggregations against naive counting, over several segments with superseded documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::{AggPartial, FacetRequest, aggs};
use super::tests::{Product, Shop, products, q, shop};
use super::*;
use crate::record::Value as Shown;

const MOST: u32 = 1_000;

fn aggregate(shop: &Shop, text: &str, request: &Value) -> Result<Value> {
    let leaf = |partitions: &[u32]| {
        let request = SearchRequest { aggs: Some(request.clone()), max_buckets: MOST, ..q(text) };
        shop.ask_of(partitions, &request).map(|a| a.aggs.expect("aggregations"))
    };
    let finish = |partial| aggs::finish(&shop.view().fields, request, partial, MOST);
    let whole = finish(leaf(&[0, 1, 2])?)?;
    // Over the wire, and in another order.
    let mut parts = AggPartial::decode(&leaf(&[2])?.encode()?)?;
    for partition in [[0], [1]] {
        parts.merge(AggPartial::decode(&leaf(&partition)?.encode()?)?)?;
    }
    assert_eq!(finish(parts)?, whole, "{request}");
    Ok(whole)
}

fn counted<K: Ord>(products: &[Product], keys: impl Fn(&Product) -> Vec<K>) -> BTreeMap<K, u64> {
    let mut all = BTreeMap::new();
    products.iter().flat_map(keys).for_each(|k| *all.entry(k).or_default() += 1);
    all
}

#[test]
fn facets_count_records_by_value() {
    let shop = shop(products());
    let facet = |field: &str, size| FacetRequest { field: field.to_owned(), size };
    let fields = ["brand", "tags", "sold", "live", "price", "at"].map(|f| facet(f, 100));
    let request = SearchRequest { facets: fields.to_vec(), limit: 1, ..q("red OR kettle") };
    let answer = shop.ask(&request).expect("an answer");
    let ours: Vec<Product> = shop.products.iter().filter(|p| p.has("red") || p.has("kettle")).cloned().collect();
    assert_eq!(answer.total, Some(ours.len() as u64));
    let text = |t: &str| Shown::Str(t.into());
    let found: Vec<Vec<(Shown, u64)>> = answer.facets.iter().map(|f| f.clone().top(100).values).collect();
    let by_count = |all: BTreeMap<String, u64>| {
        let mut all: Vec<(String, u64)> = all.into_iter().collect();
        all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        all.into_iter().map(|(t, n)| (text(&t), n)).collect::<Vec<_>>()
    };
    let brand = |p: &Product| p.brand.map(str::to_owned).into_iter().collect::<Vec<_>>();
    assert_eq!(found[0], by_count(counted(&ours, brand)));
    assert_eq!(found[1], by_count(counted(&ours, |p| p.tags.iter().map(|t| (*t).to_owned()).collect())));
    let as_map = |facet: &[(Shown, u64)]| {
        facet.iter().map(|(v, n)| (serde_json::to_string(v).expect("json"), *n)).collect::<BTreeMap<_, _>>()
    };
    assert_eq!(as_map(&found[2]), counted(&ours, |p| p.sold.iter().map(|n| n.to_string()).collect()));
    assert_eq!(as_map(&found[3]), counted(&ours, |p| p.live.iter().map(|b| b.to_string()).collect()));
    let price = |p: &Product| p.price.iter().map(|n| serde_json::to_string(n).expect("json")).collect::<Vec<_>>();
    assert_eq!(as_map(&found[4]), counted(&ours, price));
    let day = |p: &Product| p.at.iter().map(|ms| format!("{:?}", super::super::dates::text(*ms))).collect::<Vec<_>>();
    assert_eq!(as_map(&found[5]), counted(&ours, day));
    // Leaves add up to the whole.
    let mut parts = shop.ask_of(&[0], &request).expect("an answer").facets;
    for partitions in [[1], [2]] {
        let more = shop.ask_of(&partitions, &request).expect("an answer").facets;
        parts.iter_mut().zip(more).for_each(|(into, facet)| into.merge(facet));
    }
    assert_eq!(parts, answer.facets);
}

#[test]
fn facet_errors_name_the_fields_that_have_facets() {
    let shop = shop(products());
    for field in ["title", "nothing", "attrs"] {
        let facets = vec![FacetRequest { field: field.to_owned(), size: 3 }];
        let error = shop.ask(&SearchRequest { facets, ..q("") }).expect_err(field);
        assert_eq!(error.kind(), crate::Kind::BadRequest);
        assert!(error.message().contains(field) && error.message().contains("brand"), "{error}");
    }
}

#[test]
fn buckets_and_metrics_are_those_of_naive_counting() {
    let shop = shop(products());
    let request = json!({
        "brands": {"terms": {"field": "brand", "size": 10}, "aggs": {"dear": {"max": {"field": "price"}}}},
        "prices": {"stats": {"field": "price"}},
        "keys": {"cardinality": {"field": "sku"}},
        "sizes": {"terms": {"field": "size", "order": {"_key": "asc"}}},
        "sold": {"histogram": {"field": "sold", "interval": 5}},
        "cheap": {"range": {"field": "price", "ranges": [{"to": 10.0}, {"from": 10.0}]}},
        "days": {"date_histogram": {"field": "at", "fixed_interval": "1d"}}
    });
    let result = aggregate(&shop, "", &request).expect("a result");
    let all = &shop.products;
    let brands = counted(all, |p| p.brand.map(str::to_owned).into_iter().collect());
    let buckets = |name: &str| result[name]["buckets"].as_array().expect("buckets").clone();
    let found: BTreeMap<String, u64> = buckets("brands")
        .iter()
        .map(|b| (b["key"].as_str().expect("a key").to_owned(), b["doc_count"].as_u64().expect("a count")))
        .collect();
    assert_eq!(found, brands);
    for bucket in buckets("brands") {
        let prices = all.iter().filter(|p| p.brand == bucket["key"].as_str()).filter_map(|p| p.price);
        assert_eq!(bucket["dear"]["value"].as_f64(), prices.reduce(f64::max), "{bucket}");
    }
    let prices: Vec<f64> = all.iter().filter_map(|p| p.price).collect();
    assert_eq!(result["prices"]["count"], prices.len());
    assert_eq!(result["prices"]["sum"].as_f64(), Some(prices.iter().sum()));
    assert_eq!(result["prices"]["min"].as_f64(), prices.iter().copied().reduce(f64::min));
    assert_eq!(result["keys"]["value"].as_f64(), Some(60.0));
    let sizes = counted(all, |p| p.size.into_iter().collect());
    let found: BTreeMap<i64, u64> = buckets("sizes")
        .iter()
        .map(|b| (b["key"].as_f64().expect("a key") as i64, b["doc_count"].as_u64().expect("a count")))
        .collect();
    assert_eq!(found, sizes);
    let sold = counted(all, |p| p.sold.map(|n| n.div_euclid(5) * 5).into_iter().collect());
    let filled = |b: &&Value| b["doc_count"] != 0;
    let found: BTreeMap<i64, u64> = buckets("sold")
        .iter()
        .filter(filled)
        .map(|b| (b["key"].as_f64().expect("a key") as i64, b["doc_count"].as_u64().expect("a count")))
        .collect();
    assert_eq!(found, sold);
    let cheap: Vec<u64> = buckets("cheap").iter().map(|b| b["doc_count"].as_u64().expect("a count")).collect();
    let below = prices.iter().filter(|n| **n < 10.0).count() as u64;
    assert_eq!(cheap, [below, prices.len() as u64 - below]);
    let days = counted(all, |p| p.at.map(|ms| ms.div_euclid(86_400_000) * 86_400_000).into_iter().collect());
    let found: BTreeMap<i64, u64> = buckets("days")
        .iter()
        .filter(filled)
        .map(|b| (b["key"].as_f64().expect("a key") as i64, b["doc_count"].as_u64().expect("a count")))
        .collect();
    assert_eq!(found, days);
}

#[test]
fn a_value_for_missing_ones_may_be_one_that_others_have() {
    let shop = shop(products());
    let below =
        json!({"sold": {"sum": {"field": "sold"}}, "colours": {"terms": {"field": "attrs.colour", "missing": "red"}}});
    let request = json!({"brands": {"terms": {"field": "brand", "missing": "Bolt"}, "aggs": below}});
    let result = aggregate(&shop, "", &request).expect("a result");
    let brand = |p: &Product| p.brand.unwrap_or("Bolt").to_owned();
    let buckets = result["brands"]["buckets"].as_array().expect("buckets");
    let found =
        buckets.iter().map(|b| (b["key"].as_str().expect("a key").to_owned(), b["doc_count"].as_u64().expect("n")));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), counted(&shop.products, |p| vec![brand(p)]));
    for bucket in buckets {
        let ours = || shop.products.iter().filter(|p| Some(brand(p).as_str()) == bucket["key"].as_str());
        let sum: i64 = ours().filter_map(|p| p.sold).sum();
        assert_eq!(bucket["sold"]["value"].as_f64(), Some(sum as f64), "{bucket}");
        let red = ours().filter(|p| p.colour.unwrap_or("red") == "red").count();
        let colours = bucket["colours"]["buckets"].as_array().expect("colours");
        let shown = colours.iter().find(|b| b["key"] == "red").map_or(&json!(0), |b| &b["doc_count"]).clone();
        assert_eq!(shown, red, "{bucket}");
    }
    let four = |i: usize| {
        let body = |field: &str| json!({"terms": {"field": field, "missing": "x"}});
        let all = ["brand", "tags", "name", "attrs.colour"].iter().take(i).map(|f| ((*f).to_owned(), body(f)));
        Value::Object(all.collect())
    };
    assert!(aggregate(&shop, "", &four(3)).is_ok());
    let refused = aggregate(&shop, "", &four(4)).expect_err("too many");
    assert!(refused.message().contains("at most 3 fields"), "{refused}");
}

#[test]
fn filters_are_buckets_of_their_own_and_narrow_what_is_below() {
    let shop = shop(products());
    let request = json!({
        "live": {"filter": "live:true", "aggs": {"sum": {"sum": {"field": "sold"}}}},
        "kinds": {
            "filters": {"filters": {"pans": {"query_string": {"query": "title:pan"}}, "red": "title:red"}},
            "aggs": {"cheap": {"filter": "price:<10"}, "brands": {"terms": {"field": "brand"}}}
        }
    });
    let result = aggregate(&shop, "red OR green", &request).expect("a result");
    let ours: Vec<&Product> = shop.products.iter().filter(|p| p.has("red") || p.has("green")).collect();
    let live: Vec<&&Product> = ours.iter().filter(|p| p.live == Some(true)).collect();
    assert_eq!(result["live"]["doc_count"], live.len());
    let sold: i64 = live.iter().filter_map(|p| p.sold).sum();
    assert_eq!(result["live"]["sum"]["value"].as_f64(), Some(sold as f64));
    for (name, word) in [("pans", "pan"), ("red", "red")] {
        let bucket = &result["kinds"]["buckets"][name];
        let here: Vec<&&Product> = ours.iter().filter(|p| p.has(word)).collect();
        assert_eq!(bucket["doc_count"], here.len(), "{name}");
        let cheap = here.iter().filter(|p| p.price.is_some_and(|n| n < 10.0)).count();
        assert_eq!(bucket["cheap"]["doc_count"], cheap, "{name}");
        let branded: u64 = bucket["brands"]["buckets"]
            .as_array()
            .expect("buckets")
            .iter()
            .map(|b| b["doc_count"].as_u64().expect("a count"))
            .sum();
        assert_eq!(branded, here.iter().filter(|p| p.brand.is_some()).count() as u64, "{name}");
    }
}

#[test]
fn months_are_counted_by_the_calendar() {
    let days =
        [("a", "2025-12-31"), ("b", "2026-01-01"), ("c", "2026-01-31"), ("d", "2026-04-01"), ("e", "2026-02-28")];
    let ms = |day: &str| super::super::dates::Span::parse(day).expect("a day").start + 3_600_000;
    let all = (0..).zip(days).map(|(i, (key, day))| Product {
        key: key.to_owned(),
        at: Some(ms(day)),
        sold: Some(i),
        ..Product::default()
    });
    let shop = shop(all.collect());
    let sold = json!({"sold": {"sum": {"field": "sold"}}});
    let histogram =
        |interval: &str| json!({"date_histogram": {"field": "at", "calendar_interval": interval}, "aggs": sold});
    let request = json!({
        "months": histogram("month"), "quarters": histogram("1q"), "weeks": histogram("week"),
        "live": {"terms": {"field": "sku", "size": 1}, "aggs": {"years": histogram("year")}}
    });
    let result = aggregate(&shop, "", &request).expect("a result");
    let shown = |name: &str| {
        let buckets = result[name]["buckets"].as_array().expect("buckets").iter();
        let part = |b: &Value| {
            let day = b["key_as_string"].as_str().expect("a day")[..10].to_owned();
            (day, b["doc_count"].as_u64().expect("a count"), b["sold"]["value"].as_f64().expect("a sum"))
        };
        buckets.filter(|b| b["doc_count"] != 0 || name != "weeks").map(part).collect::<Vec<_>>()
    };
    let row = |day: &str, n: u64, sold: f64| (day.to_owned(), n, sold);
    let months = [
        row("2025-12-01", 1, 0.0),
        row("2026-01-01", 2, 3.0),
        row("2026-02-01", 1, 4.0),
        row("2026-03-01", 0, 0.0),
        row("2026-04-01", 1, 3.0),
    ];
    assert_eq!(shown("months"), months);
    let quarters = [row("2025-10-01", 1, 0.0), row("2026-01-01", 3, 7.0), row("2026-04-01", 1, 3.0)];
    assert_eq!(shown("quarters"), quarters);
    let weeks =
        [row("2025-12-29", 2, 1.0), row("2026-01-26", 1, 2.0), row("2026-02-23", 1, 4.0), row("2026-03-30", 1, 3.0)];
    assert_eq!(shown("weeks"), weeks);
    let years = &result["live"]["buckets"][0]["years"]["buckets"];
    assert_eq!(
        (&years[0]["key_as_string"], &years[0]["key"]),
        (&json!("2025-01-01T00:00:00Z"), &json!(1_735_689_600_000_i64))
    );
}

#[test]
fn days_are_those_of_the_zone_where_clocks_change() {
    // Each hour from before to after the night in which clocks in Berlin go from three back to two.
    let first = "2026-10-24T12:00:00Z".parse::<jiff::Timestamp>().expect("a time").as_millisecond();
    let times: Vec<i64> = (0..48).map(|hour| first + hour * 3_600_000 + 1).collect();
    let product = |(i, at): (usize, &i64)| Product { key: format!("k{i}"), at: Some(*at), ..Product::default() };
    let shop = shop(times.iter().enumerate().map(product).collect());
    let histogram =
        |interval: &str| json!({"date_histogram": {"field": "at", interval: "1d", "time_zone": "Europe/Berlin"}});
    let request = json!({"days": histogram("calendar_interval"), "fixed": histogram("fixed_interval")});
    let result = aggregate(&shop, "", &request).expect("a result");
    let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
    let zone = jiff::tz::TimeZone::get("Europe/Berlin").expect("it is known");
    for at in &times {
        let zoned = jiff::Timestamp::from_millisecond(*at).expect("a time").to_zoned(zone.clone());
        *expected.entry(zoned.start_of_day().expect("a day").timestamp().as_millisecond()).or_default() += 1;
    }
    assert_eq!(expected.values().copied().collect::<Vec<_>>(), [10, 25, 13], "a day of 25 hours");
    for name in ["days", "fixed"] {
        let buckets = result[name]["buckets"].as_array().expect("buckets").iter();
        let counts = buckets.map(|b| (b["key"].as_i64().expect("a time"), b["doc_count"].as_u64().expect("a count")));
        assert_eq!(counts.collect::<BTreeMap<_, _>>(), expected, "{name}: {result}");
    }
}

#[test]
fn requests_that_cannot_be_aggregated_are_refused_with_the_reason() {
    let shop = shop(products());
    let cases = [
        (json!([]), "expected an object"),
        (json!({"x": {}}), "one kind"),
        (json!({"x": {"terms": {"field": "brand"}, "avg": {"field": "price"}}}), "one kind"),
        (json!({"x": {"top_metrics": {}}}), "expected one of"),
        (json!({"x": {"terms": {"field": "nothing_such", "size": 3}, "aggs": {"y": {"z": {}}}}}), "expected one of"),
        (json!({"x": {"terms": {"field": "title"}}}), "title"),
        (json!({"x": {"avg": {"field": "brand"}}}), "has no numbers"),
        (json!({"x": {"terms": {}}}), "field"),
        (json!({"x": {"histogram": {"field": "price", "interval": 0.0}}}), "interval"),
        (json!({"x": {"histogram": {"field": "price", "interval": 0.0001}}}), "bucket"),
        (
            json!({"x": {"histogram": {"field": "sold", "interval": 1,
            "extended_bounds": {"min": 0, "max": 384_307_168_202_282_368_u64}}}}),
            "buckets",
        ),
        (
            json!({"x": {"histogram": {"field": "sold", "interval": 1, "extended_bounds": {"min": 0, "max": 1_000_000}}}}),
            "more than 1000",
        ),
        (
            json!({"x": {"terms": {"field": "brand"}, "aggs": {"y": {"date_histogram": {"field": "at", "fixed_interval": "1s"}}}}}),
            "more than 1000",
        ),
        (json!({"\u{0}x": {"avg": {"field": "price"}}}), "U+0000"),
        (json!({"x": {"date_histogram": {"field": "price", "fixed_interval": "1d"}}}), "type date"),
        (json!({"x": {"date_histogram": {"field": "at", "calendar_interval": "fortnight"}}}), "fortnight"),
        (
            json!({"x": {"date_histogram": {"field": "at", "fixed_interval": "1d", "time_zone": "Mars/Oslo"}}}),
            "Europe/Berlin",
        ),
        (json!({"x": {"range": {"field": "price", "ranges": []}}}), "1 to 1000"),
        (json!({"x": {"date_histogram": {"field": "at", "fixed_interval": "0ms"}}}), "above 0"),
        (json!({"x": {"multi_terms": {"terms": [{"field": "tags"}, {"field": "tags"}]}}}), "twice"),
        (json!({"x": {"terms": {"field": "brand", "size": 1_001}}}), "at most 1000"),
        (json!({"x": {"filter": "price:cheap"}}), "a number"),
        (json!({"x": {"filter": {"term": {"brand": "a"}}}}), "query_string"),
        (json!({"x": {"terms": {"field": "brand"}, "aggs": {"y": {"filter": "live:true"}}}}), "at the top"),
    ];
    for (request, what) in cases {
        let error = aggregate(&shop, "", &request).expect_err("refused");
        assert_eq!(error.kind(), crate::Kind::BadRequest, "{request}: {error}");
        assert!(error.message().contains(what), "{request}: {error}");
    }
    let deep = (0..20).fold(json!({}), |below, _| json!({"x": {"terms": {"field": "brand"}, "aggs": below}}));
    let wide: serde_json::Map<String, Value> =
        (0..200).map(|i| (i.to_string(), json!({"avg": {"field": "price"}}))).collect();
    for request in [deep, Value::Object(wide)] {
        assert!(aggregate(&shop, "", &request).expect_err("refused").message().contains("at most"));
    }
}

#[test]
fn results_over_dates_are_in_milliseconds() {
    let shop = shop(products());
    let dates: Vec<i64> = shop.products.iter().filter_map(|p| p.at).collect();
    let bound = dates[dates.len() / 2];
    let ranges = json!([{"to": bound}, {"from": bound, "to": bound + 1}, {"from": bound + 1}]);
    let request = json!({
        "first": {"min": {"field": "at"}}, "last": {"max": {"field": "at"}}, "all": {"stats": {"field": "at"}},
        "middle": {"percentiles": {"field": "at", "percents": [50.0]}},
        "parts": {"range": {"field": "at", "ranges": ranges}},
        "named": {"range": {"field": "at", "ranges": [{"key": "old", "to": bound}], "keyed": true}},
        "live": {"filter": "live:true", "aggs": {"last": {"max": {"field": "at"}}}}
    });
    let result = aggregate(&shop, "", &request).expect("a result");
    let (first, last) = (dates.iter().min().expect("a date"), dates.iter().max().expect("a date"));
    let near = |value: &Value, expected: i64, off: f64| {
        let found = value.as_f64().unwrap_or_else(|| panic!("no number: {result}"));
        assert!((found - expected as f64).abs() <= off, "{found} is not {expected}");
    };
    near(&result["first"]["value"], *first, 1e-3);
    near(&result["last"]["value"], *last, 1e-3);
    near(&result["all"]["min"], *first, 1e-3);
    near(&result["all"]["avg"], dates.iter().sum::<i64>() / i64::try_from(dates.len()).expect("a few"), 1.0);
    let middle = result["middle"]["values"]["50.0"].as_f64().expect("a percentile");
    assert!((*first as f64 * 0.98..=*last as f64 * 1.02).contains(&middle), "{middle}");
    let live = shop.products.iter().filter(|p| p.live == Some(true)).filter_map(|p| p.at).max();
    near(&result["live"]["last"]["value"], live.expect("a date"), 1e-3);
    let counts: Vec<usize> = [
        dates.iter().filter(|ms| **ms < bound).count(),
        dates.iter().filter(|ms| **ms == bound).count(),
        dates.iter().filter(|ms| **ms > bound).count(),
    ]
    .to_vec();
    let parts = result["parts"]["buckets"].as_array().expect("buckets");
    let found: Vec<u64> = parts.iter().map(|b| b["doc_count"].as_u64().expect("a count")).collect();
    assert_eq!(found, counts.iter().map(|n| *n as u64).collect::<Vec<_>>());
    let (from, to) = (super::super::dates::text(bound), super::super::dates::text(bound + 1));
    assert_eq!((&parts[1]["from"], &parts[1]["to"]), (&json!(bound), &json!(bound + 1)));
    assert_eq!(parts[1]["key"], json!(format!("{from}-{to}")));
    assert_eq!(parts[1]["from_as_string"], json!(from));
    assert_eq!(result["named"]["buckets"]["old"]["doc_count"], counts[0], "{}", result["named"]);
}

#[test]
fn a_search_that_was_stopped_gives_no_answer() {
    let shop = shop(products());
    let request =
        SearchRequest { aggs: Some(json!({"x": {"avg": {"field": "price"}}})), max_buckets: 9, ..q("kettle") };
    request.stop.raise();
    assert_eq!(shop.ask(&request).expect_err("stopped").kind(), crate::Kind::TimedOut);
    let view = shop.view();
    let summed = view.summarise(&AllQuery, &[], None, &request.stop);
    assert_eq!(summed.expect_err("stopped").kind(), crate::Kind::TimedOut);
}
