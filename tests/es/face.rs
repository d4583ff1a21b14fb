//! What is said beside the data: headers, warnings, errors, lists as text, and what is refused.

use serde_json::{Value, json};

use crate::common::client::{Client, escape};
use crate::common::lab::{Lab, On, PARTITIONS};

/// Keys that have to be escaped in a URL, and one that is a number.
const KEYS: [&str; 4] = ["plain", "a/b c", "50%+é", "42"];

fn post(client: &Client, path: &str, body: &Value) -> (u16, Value) {
    client.try_post(path, "application/json", body.to_string().as_bytes()).unwrap()
}

#[test]
fn answers_have_the_headers_and_errors_the_shape_that_clients_look_for() {
    let lab = Lab::new(On::Local, "catalog.toml");
    lab.create_sources(&*lab.broker());
    let mut instance = lab.start();
    instance.wait_for("the tasks to run", |client| (client.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let client = instance.client();
    let event = |n: usize, key: &&str| json!({"event_id": n, "sku": key, "ts": 1_000 + n, "title": format!("number {n} <oak> tree"), "brand": "acme", "price": n});
    let lines: Vec<String> = KEYS.iter().enumerate().map(|(n, key)| event(n, key).to_string()).collect();
    let written = client.ingest(&lab.topic("catalog"), &lines.join("\n"));
    let demand = escape(written["at_least"].as_str().unwrap());
    let all =
        client.get(&format!("/es/products/_search?at_least={demand}&timeout=9s&version=true&seq_no_primary_term=true"));
    assert_eq!(all["hits"]["total"]["value"], KEYS.len());
    assert_eq!(all["_shards"], json!({"total": PARTITIONS, "successful": PARTITIONS, "skipped": 0, "failed": 0}));

    // Ids as they are, in the URL and in answers; the version is that of the record.
    for (n, key) in KEYS.iter().enumerate() {
        let doc = client.get(&format!("/es/products/_doc/{}", escape(key)));
        assert_eq!((&doc["_id"], &doc["_version"], &doc["_primary_term"]), (&json!(key), &json!(1_000 + n), &json!(1)));
        let hits = all["hits"]["hits"].as_array().unwrap();
        let hit = hits.iter().find(|h| h["_id"] == *key).unwrap();
        assert_eq!((&hit["_version"], &hit["_source"]), (&doc["_version"], &doc["_source"]));
        assert_eq!(hit["_seq_no"], doc["_seq_no"]);
        assert_eq!(client.get(&format!("/es/products/_source/{}", escape(key))), doc["_source"]);
    }

    // Headers.
    let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let base = instance.address.clone().unwrap();
    let vendor = "application/vnd.elasticsearch+json; compatible-with=8";
    for path in [
        "/es",
        "/es/",
        "/es/products",
        "/es/products/_doc/nothing",
        "/es/nowhere/at/all",
        "/es/products/_search?size=x",
    ] {
        let response = agent.get(format!("{base}{path}")).header("accept", vendor).call().unwrap();
        assert_eq!(response.headers()["x-elastic-product"], "Elasticsearch", "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/vnd.elasticsearch+json;compatible-with=8",
            "{path}"
        );
    }
    for (path, status) in [
        ("/es", 200),
        ("/es/products", 200),
        ("/es/nothing", 404),
        ("/es/products/_doc/42", 200),
        ("/es/products/_doc/43", 404),
    ] {
        assert_eq!(agent.head(format!("{base}{path}")).call().unwrap().status().as_u16(), status, "HEAD {path}");
    }
    let body = json!({"nonsense": 1, "query": {"match": {"title": {"query": "oak", "strange": true}}}}).to_string();
    let warned = agent.post(format!("{base}/es/products/_search")).send(&body).unwrap();
    let warnings: Vec<&str> = warned.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert!(warnings.iter().all(|w| w.starts_with("299 Keld-")), "{warnings:?}");
    assert!(
        warnings.iter().any(|w| w.contains("nonsense")) && warnings.iter().any(|w| w.contains("strange")),
        "{warnings:?}"
    );

    // Errors.
    let refused = [
        ("/es/nothing/_search", json!({}), 404, "index_not_found_exception"),
        ("/es/products/_search", json!({"query": {"nonsense": {}}}), 400, "parsing_exception"),
        ("/es/products/_search", json!({"size": 5_000}), 400, "illegal_argument_exception"),
        ("/es/products/_search", json!({"min_score": 1}), 400, "illegal_argument_exception"),
        ("/es/products/_search", json!({"aggs": {"a": {"top_metrics": {}}}}), 400, "illegal_argument_exception"),
        (
            "/es/_mget",
            json!({"docs": vec![json!({"_index": "nothing", "_id": "1"}); 1_001]}),
            400,
            "illegal_argument_exception",
        ),
        ("/es/products/_bulk", json!({}), 405, "method_not_allowed_exception"),
        ("/es/products/_doc/1", json!({}), 405, "method_not_allowed_exception"),
        ("/es/products/_update/1", json!({}), 405, "method_not_allowed_exception"),
        ("/es/products/_delete_by_query", json!({}), 405, "method_not_allowed_exception"),
        ("/es/_bulk", json!({}), 405, "method_not_allowed_exception"),
        ("/es/products/_async_search", json!({}), 404, "resource_not_found_exception"),
    ];
    for (path, body, status, kind) in refused {
        let (found, answer) = post(&client, path, &body);
        assert_eq!(
            (found, &answer["status"], &answer["error"]["type"]),
            (status, &json!(status), &json!(kind)),
            "{path}: {answer}"
        );
        assert_eq!(answer["error"]["root_cause"][0]["reason"], answer["error"]["reason"]);
        assert!(answer["error"]["reason"].as_str().unwrap().contains("; "), "advice: {answer}");
        if status == 405 {
            assert_eq!(answer["error"]["topics"], json!(["catalog", "pricing", "stock"].map(|t| lab.topic(t))));
        }
    }

    // Lists as text.
    let (_, text) = client.try_get("/es/_cat/indices?v&h=index,docs.count").unwrap();
    assert_eq!(text, format!("index    docs.count\nproducts {}\n", KEYS.len()));

    assert_eq!(
        client.get("/es/products/_search?filter_path=hits.hits._id&q=_id:42"),
        json!({"hits": {"hits": [{"_id": "42"}]}})
    );

    // Every way to say which; highlights that are not escaped.
    for index in ["products", "prod*", "_all", "*", "products,nothing*"] {
        assert_eq!(client.get(&format!("/es/{index}/_count"))["count"], KEYS.len(), "{index}");
    }
    assert_eq!(client.get("/es/none*/_search")["hits"]["total"]["value"], 0);
    let body = json!({"query": {"match": {"title": "oak"}}, "highlight": {"fields": {"title": {}}}, "post_filter": {"term": {"_id": "42"}},
                      "aggs": {"all": {"value_count": {"field": "brand"}}}});
    let answer = client.post("/es/products/_search", &body);
    assert_eq!(answer["hits"]["hits"][0]["highlight"]["title"], json!(["number 3 <<em>oak</em>> tree"]));
    assert_eq!(
        (&answer["hits"]["total"]["value"], &answer["aggregations"]["all"]["value"]),
        (&json!(1), &json!(4.0)),
        "{answer}"
    );

    // A field that the table does not have: its aggregation is empty, and the others are not.
    let body = json!({"size": 0, "aggs": {
        "none": {"terms": {"field": "no_such"}},
        "brands": {"terms": {"field": "brand"}, "aggs": {"best": {"max": {"field": "no_such"}}}}
    }});
    let mut warned = agent.post(format!("{base}/es/products/_search")).send(body.to_string()).unwrap();
    assert!(warned.headers()["warning"].to_str().unwrap().contains("no_such"));
    let answer: Value = warned.body_mut().read_json().unwrap();
    let aggregations = &answer["aggregations"];
    assert_eq!(aggregations["none"]["buckets"], json!([]), "{answer}");
    let brand = &aggregations["brands"]["buckets"][0];
    assert_eq!(
        (&brand["key"], &brand["doc_count"], &brand["best"]["value"]),
        (&json!("acme"), &json!(4), &Value::Null)
    );
    let only = client.post("/es/products/_search", &json!({"aggs": {"none": {"avg": {"field": "no_such"}}}}));
    assert_eq!(
        (&only["hits"]["total"]["value"], &only["aggregations"]),
        (&json!(KEYS.len()), &json!({"none": {"value": null}}))
    );
    instance.stop();
}

#[test]
fn over_several_tables_each_waits_for_the_events_of_its_own_topics() {
    let source = |table: &str| {
        format!(
            "[tables.{table}]\nkey = \"k\"\ndynamic = \"store\"\n[tables.{table}.sources.s]\ntopic = \"{table}\"\nversion = \"v\"\nversion_kind = \"sequence\"\n"
        )
    };
    let lab = Lab::with_config(On::Local, &format!("application = \"two\"\n{}{}", source("one"), source("other")));
    lab.create_sources(&*lab.broker());
    let mut instance = lab.start();
    instance.wait_for("the tasks to run", |client| (client.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let client = instance.client();
    let written = client.ingest(&lab.topic("other"), "{\"k\": \"a\", \"v\": 1, \"said\": \"something\"}");
    let demand = escape(written["at_least"].as_str().unwrap());
    for path in ["_cat/indices?h=index,docs.count&", "_cat/indices/o*?h=index,docs.count&"] {
        let (status, text) = client.try_get(&format!("/es/{path}at_least={demand}&timeout=9s")).unwrap();
        assert_eq!((status, text.as_str()), (200, "one   0\nother 1\n"), "{path}");
    }
    assert_eq!(client.get(&format!("/es/_count?at_least={demand}&timeout=9s"))["count"], 1);
    for path in ["one/_count?", "_cat/indices/one?"] {
        let (status, answer) = client.get_any(&format!("/es/{path}at_least={demand}"));
        assert_eq!(status, 400, "what none of them reads never comes: {answer}");
        assert!(answer["error"]["reason"].as_str().unwrap().contains("does not read topic"), "{answer}");
    }
    let (status, answer) = client.get_any("/es/_count?at_least=elsewhere:0:1");
    assert_eq!(status, 400, "{answer}");
    instance.stop();
}
