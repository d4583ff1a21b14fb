//! Entries over HTTP: the newest first, filtered, in pages, one of them whole.

use serde_json::{Value, json};

use crate::common::lab::On;
use crate::scene::{Scene, deep, event, listed};

pub(crate) fn entries_are_listed_filtered_and_shown_whole(on: On) {
    let mut scene = Scene::new(on);
    let since = keld::clock::now_ms();
    let mut events: Vec<Value> = (0..30).map(|n| deep(&format!("deep-{n}"), n)).collect();
    events.push(event("typed", 1, &json!({ "price": "cheap", "filler": "x".repeat(5_000) })));
    events.push(event("good", 1, &json!({ "price": 2.5 })));
    let offsets = scene.send(&events);
    let mut instance = scene.start(0);
    let client = instance.client();

    let all = listed(&client, "limit=1000");
    assert_eq!(all.len(), 31, "what is refused is there, and nothing else");
    let times: Vec<i64> = all.iter().map(|e| e["quarantined_ms"].as_i64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a >= b), "the newest first: {times:?}");
    assert!(times.iter().all(|at| (since..=keld::clock::now_ms()).contains(at)), "{times:?}");

    let (mut paged, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/quarantine?limit=4{cursor}"));
        let entries = page["entries"].as_array().unwrap();
        assert!(entries.len() <= 4);
        paged.extend(entries.clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(paged, all, "pages show what one list shows");

    let typed = listed(&client, "table=things&reason=wrong_type");
    let [entry] = typed.as_slice() else { panic!("{typed:?}") };
    let expected = &events[30].to_string();
    assert_eq!((&entry["key"], &entry["payload_bytes"]), (&json!("typed"), &json!(expected.len())));
    assert_eq!(entry["payload"].as_str().unwrap(), &expected[..1_000], "a list shows the start");
    let record = crate::scene::record(&scene.lab, &events[30]);
    assert_eq!(entry["origin"], format!("{}:{}:{}", record.topic, record.partition, offsets[30]));
    assert_eq!(entry["event_ms"], json!(record.timestamp_ms));
    assert!(entry["error"].as_str().unwrap().contains("price") && entry["replayed_ms"].is_null(), "{entry}");
    assert!(listed(&client, "table=others").is_empty());
    assert!(listed(&client, &format!("to={since}")).is_empty());
    assert_eq!(listed(&client, &format!("from={since}&limit=1000")).len(), 31);

    let whole = client.get(&format!("/v1/quarantine/{}", entry["id"].as_str().unwrap()));
    assert_eq!((&whole["payload"], &whole["whole"]), (&json!(expected), &json!(true)));
    assert_eq!(whole["headers"][0], json!({ "name": "trace", "value": "typed" }));

    let (code, body) = client.get_any("/v1/quarantine/0-999999");
    assert_eq!((code, &body["reason"]), (404, &json!("no_such_entry")));
    for bad in ["/v1/quarantine?limit=0", "/v1/quarantine?cursor=x", "/v1/quarantine?from=now", "/v1/quarantine/nine"] {
        let (code, body) = client.get_any(bad);
        assert_eq!((code, &body["reason"]), (400, &json!("bad_request")), "{bad}");
    }
    let described = client.get("/openapi.json");
    for path in ["/v1/quarantine", "/v1/quarantine/{id}", "/v1/quarantine/replay"] {
        assert!(described["paths"][path].is_object(), "{path} is described");
    }
    let status = scene.wait_consumed(&mut instance, 0);
    assert_eq!(scene.accounts(&status, 0)["quarantined"], 31);
    instance.stop();
}
