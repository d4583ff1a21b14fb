//! Events in.

use serde_json::json;

use crate::face::{Face, accounting};

#[test]
fn events_get_positions_in_the_order_of_their_lines() {
    let face = Face::start();
    let topic = face.lab.topic("stock");
    let lines = "{\"sku\":\"n1\",\"v\":1,\"stock\":1}\n\n{\"sku\":\"n2\",\"v\":1,\"stock\":2}\r\n{\"sku\":\"n1\",\"v\":2,\"stock\":3}\n";
    let answer = face.client.ingest(&topic, lines);
    assert_eq!((&answer["count"], &answer["served_by"]), (&json!(3), &json!("shop-0")));
    let positions: Vec<&str> = answer["positions"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    let offset = |position: &str| position.rsplit(':').next().unwrap().parse::<i64>().unwrap();
    let partition = |position: &str| position.rsplit(':').nth(1).unwrap().to_owned();
    assert_eq!(positions.len(), 3);
    assert!(positions.iter().all(|p| p.starts_with(&format!("{topic}:"))), "{answer}");
    assert_eq!(partition(positions[0]), partition(positions[2]), "a key keeps to its partition");
    assert!(offset(positions[0]) < offset(positions[2]), "{answer}");
    let fresh = format!("at_least={}&timeout=9s", answer["at_least"].as_str().unwrap());
    let record = |key: &str| face.client.get(&format!("/v1/tables/products/records/{key}?{fresh}"))["record"].clone();
    assert_eq!((record("n1"), record("n2")), (json!({"sku": "n1", "stock": 3}), json!({"sku": "n2", "stock": 2})));
    let found = face.search(&format!("filter=stock:%5B1%20TO%203%5D&filter=sku:n*&{fresh}"));
    assert_eq!(found["total"], 2, "{found}");
}

#[test]
fn who_waits_for_it_finds_the_event_at_once() {
    let face = Face::start();
    let path = |wait: &str| format!("/v1/topics/{}/events?timeout=9s&wait={wait}", face.lab.topic("stock"));
    for n in 1..=5 {
        let event = json!({"sku": "w", "v": 2 * n, "stock": 1000 + n}).to_string();
        let answer = face.ask("POST", &path("applied"), event.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(face.client.get("/v1/tables/products/records/w")["record"]["stock"], 1000 + n);
        let event = json!({"sku": "w", "v": 2 * n + 1, "stock": 2000 + n}).to_string();
        assert_eq!(face.ask("POST", &path("visible"), event.as_bytes()).status, 200);
        assert_eq!(face.search(&format!("filter=stock:{}", 2000 + n))["total"], 1, "visible means found");
    }
}

#[test]
fn bad_lines_are_named_and_nothing_of_the_request_is_appended() {
    let face = Face::start();
    let topic = face.lab.topic("catalog");
    let good = |n: i32| format!("{{\"sku\":\"same-key\",\"v\":{n},\"e\":{n},\"title\":\"title {n}\"}}");
    let offset = |answer: &serde_json::Value| -> i64 {
        answer["positions"][0].as_str().unwrap().rsplit(':').next().unwrap().parse().unwrap()
    };
    let before = offset(&face.client.ingest(&topic, &good(1)));
    let lines = format!("{}\nno JSON\n{}\n\n[1]\n{{\"v\":1}}\n", good(2), good(3));
    let answer = face.ask("POST", &format!("/v1/topics/{topic}/events"), lines.as_bytes());
    assert_eq!((answer.status, &answer.body["reason"]), (400, &json!("bad_events")));
    assert_eq!(answer.body["bad_lines"], 3);
    let named: Vec<u64> =
        answer.body["lines"].as_array().unwrap().iter().map(|l| l["line"].as_u64().unwrap()).collect();
    assert_eq!(named, [2, 5, 6], "{}", answer.body);
    assert!(answer.body["lines"][2]["error"].as_str().unwrap().contains("sku"), "{}", answer.body);
    let next = face.client.ingest(&topic, &good(4));
    assert_eq!(offset(&next), before + 1, "the next event stands right behind the last");
    let fresh = format!("at_least={}&timeout=9s", next["at_least"].as_str().unwrap());
    let record = face.client.get(&format!("/v1/tables/products/records/same-key?{fresh}"));
    assert_eq!(record["record"]["title"], "title 4");
    let consumed = face.client.get("/v1/status")["tables"][0]["accounting"]["catalog"]["consumed"].as_u64().unwrap();
    assert_eq!(consumed, accounting()["catalog"]["consumed"].as_u64().unwrap() + 2);
}
