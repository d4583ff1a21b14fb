//! Derived fields from the outside: shown, searched, sorted by, described, counted; another expression needs no changelog.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::common::lab::{Instance, Lab, On};
use crate::common::workload::Delivery;
use crate::face::keys;

const CONFIG: &str = r#"application = "shop"
[instance]
id = "shop-0"
[memory]
budget = "256MiB"
[tables.products]
key = "sku"
[tables.products.sources.catalog]
topic = "catalog"
version = "v"
version_kind = "sequence"
[tables.products.fields]
title = { type = "text" }
brand = { type = "keyword" }
price = { type = "float" }
cost = { type = "float" }
[tables.products.derived]
margin = { type = "float", expr = "price - cost" }
search_all = { type = "text", expr = "title + ' ' + brand" }
tier = { type = "keyword", expr = "price >= 50.0 ? 'dear' : 'cheap'", facet = true }
"#;

fn lab() -> (Lab, BTreeMap<(String, u32), i64>) {
    let lab = Lab::with_config(On::Local, CONFIG);
    let event = |body: Value| Delivery {
        topic: "catalog".into(),
        key: body["sku"].as_str().unwrap().into(),
        body: body.to_string(),
    };
    lab.load(&[
        event(json!({"sku": "a", "v": 1, "title": "walnut desk", "brand": "Acme", "price": 100, "cost": 60.5})),
        event(json!({"sku": "b", "v": 1, "title": "steel lamp", "brand": "Oak", "price": 20, "cost": 18.25})),
        // Merged of two events; the margin is that of the merged record.
        event(json!({"sku": "c", "v": 1, "title": "paper lamp", "price": 9, "margin": 777})),
        event(json!({"sku": "c", "v": 2, "brand": "Acme", "cost": 3})),
        // Neither price nor brand.
        event(json!({"sku": "d", "v": 1, "title": "rug"})),
    ]);
    let ends = lab.ends(&*lab.broker());
    (lab, ends)
}

fn search(instance: &Instance, query: &str) -> Value {
    instance.client().get(&format!("/v1/tables/products/search?{query}"))
}

/// Waits until the fields that could not be computed are counted so.
fn counted(instance: &mut Instance, expected: &Value) {
    instance.wait_for("what is left out to be counted", |client| {
        (client.get("/v1/status")["tables"][0]["derived_errors"] == *expected).then_some(())
    });
}

#[test]
fn derived_fields_are_shown_searched_sorted_by_described_and_counted() {
    let (lab, ends) = lab();
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let client = instance.client();
    let record = |key: &str| client.get(&format!("/v1/tables/products/records/{key}"))["record"].clone();
    let a = json!({"sku": "a", "title": "walnut desk", "brand": "Acme", "price": 100.0, "cost": 60.5,
                   "margin": 39.5, "search_all": "walnut desk Acme", "tier": "dear"});
    assert_eq!(record("a"), a);
    assert_eq!(record("c")["margin"], json!(6.0), "a member of an event does not stand for it");
    assert_eq!(record("d"), json!({"sku": "d", "title": "rug"}));
    let few = client.get("/v1/tables/products/records/a?fields=margin");
    assert_eq!(few["record"], json!({"margin": 39.5}));

    assert_eq!(keys(&search(&instance, "q=search_all:acme&sort=margin")), ["c", "a"]);
    assert_eq!(keys(&search(&instance, "q=search_all:acme&sort=-margin")), ["a", "c"]);
    assert_eq!(keys(&search(&instance, "q=margin:%5B2%20TO%2010%5D")), ["c"]);
    assert_eq!(keys(&search(&instance, "q=margin:%3C2")), ["b"]);
    assert_eq!(keys(&search(&instance, "q=tier:dear")), ["a"]);
    assert_eq!(search(&instance, "q=tier:dear")["hits"][0]["record"], a);

    let table = client.get("/v1/tables/products");
    let margin =
        json!({"name": "margin", "type": "float", "expr": "price - cost", "index": true, "sort": true, "facet": false});
    assert_eq!(table["derived"][0], margin);
    assert_eq!(client.get("/v1/tables")["tables"][0]["fields"].as_array().unwrap().len(), 7);

    let told = client.get("/v1/tables/products/records/d?explain=true")["explain"]["derived"].clone();
    assert_eq!(told["search_all"], json!({"value": null, "error": "the record has no brand"}));
    assert_eq!(told["margin"]["error"], "the record has no price, no cost");
    counted(&mut instance, &json!({"margin": 1, "search_all": 1, "tier": 1}));
    let (_, metrics) = client.try_get("/metrics").unwrap();
    let line = "keld_derived_errors_total{table=\"products\",field=\"margin\"} 1";
    assert!(metrics.lines().any(|l| l == line), "no {line} in\n{metrics}");
    let accounting = client.get("/v1/status")["tables"][0]["accounting"]["catalog"].clone();
    assert_eq!((&accounting["applied"], &accounting["quarantined"]), (&json!(5), &json!(0)));
    instance.stop();
    assert!(lab.verify().contains("\"products\""));
    let checked = lab.command("check").output().unwrap();
    let text = String::from_utf8(checked.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("derived margin")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("float") && line.contains("price - cost"), "{line}");
    assert!(text.lines().any(|line| line.contains("source catalog") && line.contains("json")), "{text}");
}

#[test]
fn another_expression_builds_the_index_anew_and_writes_no_record() {
    let (lab, ends) = lab();
    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    assert_eq!(keys(&search(&instance, "q=margin:39.5")), ["a"]);
    instance.stop();
    let positions = |status: &Value| -> Vec<(Value, Value)> {
        status["tasks"].as_array().unwrap().iter().map(|t| (t["partition"].clone(), t["changelog"].clone())).collect()
    };
    let text = fs::read_to_string(&lab.config).unwrap();
    assert!(text.contains("\"price - cost\""));
    fs::write(&lab.config, text.replace("\"price - cost\"", "\"(price - cost) / price\"")).unwrap();
    let mut instance = lab.start();
    let again = instance.wait_caught_up(&ends);
    assert_eq!(keys(&search(&instance, "q=margin:0.395")), ["a"]);
    assert!(keys(&search(&instance, "q=margin:39.5")).is_empty());
    assert_eq!(keys(&search(&instance, "q=*&sort=-margin")), ["c", "a", "b", "d"]);
    assert_eq!(positions(&again), positions(&status), "the changelog has not grown");
    assert!(instance.stderr().contains("the index starts empty"), "{}", instance.stderr());
    instance.stop();
    lab.verify();
}
