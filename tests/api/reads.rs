//! Tables, records, searches.

use serde_json::{Value, json};

use crate::common::client::escape;
use crate::face::{Face, keys, products};

#[test]
fn tables_are_listed_and_described() {
    let face = Face::start();
    let list = face.client.get("/v1/tables");
    assert_eq!(list["served_by"], "shop-0");
    let [table] = list["tables"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!(table["name"], "products");
    assert_eq!(table["fields"], json!(["brand", "price", "sold", "stock", "tags", "title"]));
    assert_eq!(table["topics"], json!([face.lab.topic("catalog"), face.lab.topic("stock")]));
    assert_eq!((&table["partitions"], &table["partitions_here"]), (&json!(4), &json!([0, 1, 2, 3])));

    let table = face.client.get("/v1/tables/products");
    assert_eq!(
        (&table["name"], &table["key"], &table["dynamic"]),
        (&json!("products"), &json!("sku"), &json!("store"))
    );
    assert_eq!((&table["partitioner"], &table["window"]["events"]), (&json!("murmur2"), &json!(32)));
    let field = |name: &str| table["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap();
    let sold = json!({"name": "sold", "type": "integer", "merge": "sum", "path": "sold_delta", "index": true, "sort": true, "facet": false});
    assert_eq!(*field("sold"), sold);
    let tags = json!({"name": "tags", "type": "keyword", "merge": "set", "path": "tags", "index": true, "sort": true, "facet": false, "limit": 1000});
    assert_eq!(*field("tags"), tags);
    assert_eq!((&field("title")["sort"], &field("brand")["facet"]), (&json!(false), &json!(true)));
    let source = |name: &str| table["sources"].as_array().unwrap().iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(source("catalog")["topic"], face.lab.topic("catalog"));
    assert_eq!(source("catalog")["delete"], json!({"field": "deleted", "equals": true}));
    assert_eq!((&source("stock")["version"], &source("stock")["rank"]), (&json!(["v"]), &json!(10)));
}

#[test]
fn a_record_is_read_by_its_key() {
    let face = Face::start();
    for (key, record) in ["p1", "p2", "p3", "p%204%2F%C3%BC"].iter().zip(products()) {
        let answer = face.client.get(&format!("/v1/tables/products/records/{key}"));
        assert_eq!((&answer["key"], &answer["record"]), (&record["sku"], &record));
        assert_eq!((&answer["served_by"], &answer["role"]), (&json!("shop-0"), &json!("active")));
        assert_eq!((&answer["lag"], &answer["lag_ms"], &answer["caught_up"]), (&json!(0), &json!(0), &json!(true)));
        let position = answer["position"].as_object().unwrap();
        assert_eq!(position.len(), 1, "one partition answers: {answer}");
        let (partition, topics) = position.iter().next().unwrap();
        let catalog = topics[face.lab.topic("catalog")].as_str().unwrap();
        assert!(catalog.starts_with(&format!("{}:{partition}:", face.lab.topic("catalog"))), "{answer}");
        // What an answer covers can be demanded.
        let again = face.client.get(&format!("/v1/tables/products/records/{key}?at_least={catalog}"));
        assert_eq!(again["record"], record);
    }
    let answer = face.client.get("/v1/tables/products/records/p1?fields=title,price,unheard");
    assert_eq!(answer["record"], json!({"title": "walnut desk", "price": 120.5}));
    for gone in ["p5", "p6", "get"] {
        let (status, answer) = face.client.get_any(&format!("/v1/tables/products/records/{gone}"));
        assert_eq!((status, &answer["reason"], &answer["key"]), (404, &json!("no_such_record"), &json!(gone)));
        assert!(answer["position"].is_object(), "what the absence covers: {answer}");
    }
}

#[test]
fn a_record_explains_itself() {
    let face = Face::start();
    let plain = face.client.get("/v1/tables/products/records/p1?explain=false");
    assert_eq!(plain.get("explain"), None);
    let answer = face.client.get("/v1/tables/products/records/p1?explain=true&fields=title");
    assert_eq!(answer["record"], json!({"title": "walnut desk"}));
    let told = &answer["explain"];
    let field = |name: &str| told["fields"].as_array().unwrap().iter().find(|f| f["name"] == name).unwrap();
    assert_eq!((&field("title")["merge"], &field("sold")["merge"]), (&json!("lww"), &json!("sum")));
    let from = &field("title")["from"][0];
    assert_eq!(
        (&from["value"], &from["sources"], &from["rank"]),
        (&json!("walnut desk"), &json!(["catalog"]), &json!(20))
    );
    assert_eq!(from["lost_ties"], Value::Null);
    let held = told["journals"].as_object().unwrap().values().flat_map(|j| j["events"].as_array().unwrap());
    let sold: i64 = held.map(|e| e["contributions"]["sold"].as_i64().unwrap_or(0)).sum();
    assert_eq!(json!(sold), products()[0]["sold"]);
    assert!(told["not_kept"].as_array().is_some_and(|n| !n.is_empty()));

    let (status, gone) = face.client.get_any("/v1/tables/products/records/p5?explain=true");
    assert_eq!((status, &gone["reason"]), (404, &json!("no_such_record")));
    assert!(gone["explain"]["tombstone"][0].is_i64(), "a deleted record says when: {gone}");
    let (_, never) = face.client.get_any("/v1/tables/products/records/nobody?explain=true");
    assert_eq!(never.get("explain"), None);
    let (status, wrong) = face.client.get_any("/v1/tables/products/records/p1?explain=yes");
    assert_eq!((status, &wrong["parameter"]), (400, &json!("explain")));
}

#[test]
fn several_records_come_in_the_order_asked_and_missing_ones_are_named() {
    let face = Face::start();
    let [p1, p2, _, p4] = products();
    let answer = face
        .client
        .post("/v1/tables/products/records/get", &json!({"keys": ["p 4/ü", "p5", "p1", "nobody", "p1", "p2"]}));
    let entry = |key: &str, record: &Value| json!({"key": key, "record": record});
    let wanted = json!([
        entry("p 4/ü", &p4),
        entry("p5", &Value::Null),
        entry("p1", &p1),
        entry("nobody", &Value::Null),
        entry("p1", &p1),
        entry("p2", &p2)
    ]);
    assert_eq!(answer["records"], wanted);
    assert_eq!(answer["missing"], json!(["p5", "nobody"]));
    assert!(answer["position"].as_object().is_some_and(|p| !p.is_empty()), "{answer}");
    let body = json!({"keys": ["p3"], "fields": ["brand"]});
    let answer = face.client.post("/v1/tables/products/records/get", &body);
    assert_eq!(answer["records"], json!([{"key": "p3", "record": {"brand": "acme"}}]));
}

#[test]
fn searches_take_words_filters_sorting_and_limits() {
    let face = Face::start();
    let found = |query: &str| {
        let answer = face.search(query);
        assert_eq!(answer["warnings"], json!([]), "{query}");
        assert_eq!(answer["missing_partitions"], json!([]), "{query}");
        let keys: Vec<String> = keys(&answer).into_iter().map(str::to_owned).collect();
        (answer["total"].as_u64().unwrap(), keys)
    };
    let p4 = "p 4/ü";
    for (query, total, wanted) in [
        ("sort=-price", 4, vec!["p1", "p2", "p3", p4]),
        ("sort=price&limit=2", 4, vec![p4, "p3"]),
        // Missing values come last, in either direction.
        ("sort=stock", 4, vec!["p2", "p1", p4, "p3"]),
        ("sort=-stock", 4, vec![p4, "p1", "p2", "p3"]),
        ("sort=-_key", 4, vec!["p3", "p2", "p1", p4]),
        ("sort=brand,-price", 4, vec!["p2", "p3", p4, "p1"]),
        ("q=walnut&sort=_key", 2, vec!["p1", "p2"]),
        ("q=WALNUT%20desk", 1, vec!["p1"]),
        ("q=walnut%20OR%20lamp&sort=_key", 4, vec![p4, "p1", "p2", "p3"]),
        ("q=%22walnut%20desk%22", 1, vec!["p1"]),
        ("q=walnut%20NOT%20desk", 1, vec!["p2"]),
        ("q=lam*&sort=_key", 2, vec![p4, "p3"]),
        ("q=walnt~1&sort=_key", 2, vec!["p1", "p2"]),
        ("filter=brand:acme&sort=_key", 2, vec!["p2", "p3"]),
        ("filter=brand:%22oak%20%26%20co%22", 1, vec!["p1"]),
        ("filter=brand:acme&filter=price:%5B50%20TO%20*%5D", 1, vec!["p2"]),
        ("filter=price:%5B9.5%20TO%2020.75%5D&sort=price", 2, vec![p4, "p3"]),
        ("filter=tags:new", 1, vec!["p1"]),
        ("filter=stock:0", 1, vec!["p2"]),
        ("q=shelf", 0, vec![]),
        ("q=nothing", 0, vec![]),
    ] {
        let wanted: Vec<String> = wanted.into_iter().map(str::to_owned).collect();
        assert_eq!(found(query), (total, wanted), "{query}");
    }
}

#[test]
fn searches_answer_the_same_by_url_and_by_body_with_records_scores_and_positions() {
    let face = Face::start();
    let by_url = face.search("q=walnut&filter=price:%5B100%20TO%20*%5D&limit=3");
    let body = json!({"q": "walnut", "filter": ["price:[100 TO *]"], "limit": 3});
    let by_body = face.client.post("/v1/tables/products/search", &body);
    for answer in [&by_url, &by_body] {
        let [hit] = answer["hits"].as_array().unwrap().as_slice() else { panic!("{answer}") };
        assert_eq!((&hit["key"], &hit["record"]), (&json!("p1"), &products()[0]));
        assert!(hit["score"].as_f64().unwrap() > 0.0, "{answer}");
        assert!(answer["took_ms"].as_f64().is_some(), "{answer}");
        for which in ["position", "store_position"] {
            assert_eq!(answer[which].as_object().unwrap().len(), 4, "every partition answers: {answer}");
        }
        assert_eq!((&answer["served_by"], &answer["lag"]), (&json!("shop-0"), &json!(0)));
    }
    assert_eq!(by_url["hits"], by_body["hits"]);
    let sorted = face.search("sort=price&limit=1&fields=sku,brand&count=none");
    assert_eq!(sorted["hits"], json!([{"key": "p 4/ü", "score": null, "record": {"sku": "p 4/ü", "brand": "lumen"}}]));
    assert_eq!(sorted["total"], Value::Null);
}

#[test]
fn malformed_words_still_answer_and_say_what_was_made_of_them() {
    let face = Face::start();
    for (q, total) in [
        ("walnut AND (", 2),
        ("walnut price:[", 2),
        ("\"walnut desk", 1),
        ("walnut OR nofield:x", 2),
        ("price:cheap walnut", 2),
    ] {
        let answer = face.client.post("/v1/tables/products/search", &json!({"q": q}));
        assert_eq!(answer["total"], total, "{q}: {answer}");
        let warnings = answer["warnings"].as_array().unwrap();
        assert!(
            !warnings.is_empty() && warnings.iter().all(|w| w.as_str().is_some_and(|w| w.len() > 10)),
            "{q}: {answer}"
        );
    }
}

#[test]
fn facets_and_aggregations_come_by_url_and_by_body() {
    let face = Face::start();
    let aggs = json!({"brands": {"terms": {"field": "brand"}, "aggs": {"sum": {"sum": {"field": "price"}}}}});
    let by_url =
        face.search(&format!("q=walnut%20OR%20lamp&limit=1&facets=brand:2&aggs={}", escape(&aggs.to_string())));
    let body = json!({"q": "walnut OR lamp", "limit": 1, "facets": ["brand:2"], "aggs": aggs});
    let by_body = face.client.post("/v1/tables/products/search", &body);
    for answer in [&by_url, &by_body] {
        let values = json!([{"value": "acme", "count": 2}, {"value": "lumen", "count": 1}]);
        assert_eq!(answer["facets"], json!({"brand": {"values": values, "distinct": 3, "max_error": 0}}));
        let acme = &answer["aggs"]["brands"]["buckets"][0];
        assert_eq!(
            (&acme["key"], &acme["doc_count"], &acme["sum"]["value"]),
            (&json!("acme"), &json!(2), &json!(81.0))
        );
    }
    assert!(face.search("q=walnut").get("facets").is_none(), "what was not asked for is not answered");
    for (query, parameter) in
        [("facets=title", "facets"), ("facets=brand:0", "facets"), ("aggs=%7B", "aggs"), ("aggs=5", "aggs")]
    {
        let (status, answer) = face.client.get_any(&format!("/v1/tables/products/search?{query}"));
        assert_eq!((status, &answer["reason"]), (400, &json!("bad_request")), "{query}");
        assert!(answer["detail"].as_str().unwrap().contains(parameter), "{query}: {answer}");
    }
}

#[test]
fn pages_follow_cursors_to_the_end() {
    let face = Face::start();
    for (query, wanted) in [("sort=-price", ["p1", "p2", "p3", "p 4/ü"]), ("sort=stock", ["p2", "p1", "p 4/ü", "p3"])]
    {
        let first = face.search(&format!("{query}&limit=3"));
        assert_eq!(keys(&first), wanted[..3]);
        let cursor = first["cursor"].as_str().unwrap();
        let second = face.search(&format!("{query}&limit=3&cursor={cursor}"));
        assert_eq!((keys(&second), &second["cursor"], &second["total"]), (vec![wanted[3]], &Value::Null, &json!(4)));
        let (status, answer) = face.client.get_any(&format!("/v1/tables/products/search?sort=price&cursor={cursor}"));
        assert_eq!((status, &answer["reason"]), (400, &json!("bad_request")));
    }
    let page = |query: &str| face.client.get(&format!("/v1/tables/products/records?{query}"));
    let names = |answer: &Value| -> Vec<String> {
        answer["records"].as_array().unwrap().iter().map(|r| r["key"].as_str().unwrap().to_owned()).collect()
    };
    let first = page("prefix=p&limit=2&fields=price");
    assert_eq!(first["records"][0], json!({"key": "p 4/ü", "record": {"price": 9.5}}));
    let second = page(&format!("prefix=p&limit=3&cursor={}", first["cursor"].as_str().unwrap()));
    assert_eq!((names(&first), names(&second)), (vec!["p 4/ü".into(), "p1".into()], vec!["p2".into(), "p3".into()]));
    assert_eq!((&second["cursor"], &second["missing_partitions"]), (&Value::Null, &json!([])));
    assert_eq!(second["position"].as_object().unwrap().len(), 4);
    assert_eq!(names(&page("prefix=p3")), ["p3"]);
    assert_eq!(names(&page("prefix=nobody")), Vec::<String>::new());
}

#[test]
fn hits_show_where_words_stand_and_why_they_have_their_score() {
    let face = Face::start();
    let answer = face.search("q=walnut&highlight=title&explain=true&fields=price&sort=_score,_key");
    for hit in answer["hits"].as_array().unwrap() {
        let piece = hit["highlight"]["title"][0].as_str().unwrap();
        assert!(piece.starts_with("<em>walnut</em> "), "{hit}");
        let (score, told) = (hit["score"].as_f64().unwrap(), hit["explain"]["value"].as_f64().unwrap());
        assert!((score - told).abs() < 1e-4, "{hit}");
    }
    let plain = face.search("q=walnut");
    assert!(plain["hits"][0].get("highlight").is_none() && plain["hits"][0].get("explain").is_none());
    let (status, wrong) = face.client.get_any("/v1/tables/products/search?q=walnut&highlight=brand");
    assert_eq!((status, &wrong["reason"]), (400, &json!("bad_request")));
}

#[test]
fn a_text_is_found_in_every_way_that_its_table_describes() {
    let face = Face::start();
    let table = face.client.get("/v1/tables/products");
    let title = table["fields"].as_array().unwrap().iter().find(|f| f["name"] == "title").unwrap();
    assert_eq!(title["analysis"], json!({"language": "english", "folding": false}));
    assert_eq!(title["variants"], json!({"start": {"folding": false, "edge_grams": [1, 8]}}));
    for (q, wanted) in [
        ("desks", vec!["p1"]),
        ("title.start:desks", vec![]),
        ("title.start:wal", vec!["p1", "p2"]),
        ("title.start:(wal c)", vec!["p2"]),
        ("title.start:alnut", vec![]),
    ] {
        let answer = face.search(&format!("q={}&sort=_key", escape(q)));
        assert_eq!((keys(&answer), &answer["warnings"]), (wanted, &json!([])), "{q}");
    }
}
