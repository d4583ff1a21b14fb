//! Replays: each once, through the ordinary path, and in part where the event was refused in part.

use keld::broker::{Progress, TopicPartition};
use serde_json::{Value, json};

use crate::common::lab::{Lab, On, PATIENCE};
use crate::scene::{Scene, deep, event, late, listed, record, replay, thing};

/// A record of a topic: key, payload, headers, timestamp.
type Written = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>, i64);

/// The records of a source partition. On the embedded log no instance may run.
fn written(lab: &Lab, partition: u32) -> Vec<Written> {
    let broker = lab.broker();
    let tp = TopicPartition::new(lab.topic("things"), partition);
    let mut reader = broker.reader(&tp, 0).unwrap();
    let (mut all, until) = (Vec::new(), std::time::Instant::now() + PATIENCE);
    loop {
        assert!(std::time::Instant::now() < until, "{tp} could not be read to its end");
        let progress = reader.read(1_000, std::time::Duration::from_millis(200), &mut |m| {
            let copy = |part: Option<&[u8]>| part.map(<[u8]>::to_vec);
            all.push((copy(m.key), copy(m.payload), m.owned_headers(), m.timestamp_ms));
        });
        if let Progress::End { .. } = progress.unwrap() {
            return all;
        }
    }
}

pub(crate) fn events_are_replayed_once_with_key_headers_and_timestamp(on: On) {
    let mut scene = Scene::new(on);
    let events: Vec<Value> = (0..9).map(|n| deep(&format!("deep-{n}"), n)).collect();
    scene.send(&events);
    let instance = scene.start(0);
    assert_eq!(listed(&instance.client(), "reason=too_deep").len(), 9);
    instance.stop();

    // What was wrong is set right.
    scene.lab.sets.push("tables.things.max_depth=8".into());
    let mut instance = scene.start(0);
    let client = instance.client();
    let rehearsed = replay(&client, &json!({ "reason": "too_deep", "dry_run": true }));
    assert_eq!((&rehearsed["replayed"], &rehearsed["at_least"]), (&json!(9), &json!("")));
    assert!(listed(&client, "").iter().all(|e| e["replayed_ms"].is_null()), "a rehearsal does nothing");

    let first = replay(&client, &json!({ "reason": "too_deep", "limit": 4 }));
    assert_eq!((&first["replayed"], first["cursor"].is_string()), (&json!(4), true), "{first}");
    let rest = replay(&client, &json!({ "table": "things" }));
    assert_eq!((&rest["replayed"], &rest["cursor"]), (&json!(5), &Value::Null), "{rest}");
    scene.wait_consumed(&mut instance, 9);
    for answer in [&first, &rest] {
        let at_least = answer["at_least"].as_str().unwrap();
        client.get(&format!("/v1/tables/things/search?at_least={at_least}&timeout=9s&stale=allow"));
    }
    for (n, event) in events.iter().enumerate() {
        let found = thing(&client, &format!("deep-{n}"));
        assert_eq!(found, json!({ "id": event["id"], "name": "deep", "a": event["a"] }));
    }

    let again = replay(&client, &json!({ "reason": "too_deep" }));
    assert_eq!((&again["replayed"], &again["looked_at"]), (&json!(0), &json!(9)), "each once: {again}");
    let entries = listed(&client, "");
    assert!(entries.iter().all(|e| e["replayed_ms"].is_i64()), "all are marked");
    let ids: Vec<&Value> = entries.iter().map(|e| &e["id"]).collect();
    let by_id = replay(&client, &json!({ "ids": ids }));
    assert_eq!((&by_id["replayed"], &by_id["already"]), (&json!(0), &json!(9)), "{by_id}");

    let status = scene.wait_consumed(&mut instance, 9);
    let accounts = scene.accounts(&status, 9);
    assert_eq!((&accounts["quarantined"], &accounts["applied"]), (&json!(9), &json!(9)), "{accounts}");
    // The other table took the events when they came first.
    let others = &status["tables"].as_array().unwrap()[0]["accounting"]["things"];
    assert_eq!((&others["applied"], &others["duplicate"]), (&json!(9), &json!(9)), "{others}");
    instance.stop();
    scene.lab.verify();

    let original = record(&scene.lab, &events[0]);
    let copies: Vec<Written> =
        written(&scene.lab, original.partition).into_iter().filter(|w| w.0 == original.key).collect();
    let [(_, first, _, _), (_, second, headers, at)] = copies.as_slice() else { panic!("{} copies", copies.len()) };
    assert_eq!((first, second, Some(*at)), (&original.payload, &original.payload, original.timestamp_ms));
    assert_eq!(headers[..2], original.headers[..]);
    let order: Value = serde_json::from_slice(&headers[2].1).unwrap();
    assert_eq!((headers[2].0.as_str(), headers.len()), ("keld.replay", 3));
    assert!(ids.contains(&&order["entry"]) && order["table"] == "things", "{order}");
}

pub(crate) fn what_was_refused_in_part_is_applied_only_in_that_part(on: On) {
    let mut scene = Scene::new(on);
    scene.send(&late("late"));
    let mut instance = scene.start(0);
    let client = instance.client();
    let before = json!({ "id": "late", "sold": 6, "note": "merged all the same" });
    assert_eq!(thing(&client, "late"), before);
    let entries = listed(&client, "reason=outside_window");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["fields"], json!(["sold"]));

    let id = &entries[0]["id"];
    let answer = replay(&client, &json!({ "ids": [id] }));
    assert_eq!(answer["replayed"], 1, "{answer}");
    let status = scene.wait_consumed(&mut instance, 1);
    let mut after = before;
    after["sold"] = json!(7);
    assert_eq!(thing(&client, "late"), after);
    let accounts = scene.accounts(&status, 1);
    assert_eq!((&accounts["quarantined"], &accounts["applied"]), (&json!(1), &json!(7)), "{accounts}");

    let again = replay(&client, &json!({ "ids": [id] }));
    assert_eq!((&again["replayed"], &again["already"]), (&json!(0), &json!(1)));
    instance.stop();
    let mut instance = scene.start(1);
    assert_eq!(thing(&instance.client(), "late"), after, "and once only, whatever is started again");
    scene.wait_consumed(&mut instance, 1);
    instance.stop();
    scene.lab.verify();
}

pub(crate) fn what_is_refused_again_is_a_new_entry_that_names_the_old_one(on: On) {
    let mut scene = Scene::new(on);
    scene.send(&[event("typed", 1, &json!({ "price": "cheap" }))]);
    let mut instance = scene.start(0);
    let client = instance.client();
    let old = listed(&client, "")[0].clone();
    replay(&client, &json!({ "ids": [old["id"]] }));
    let status = scene.wait_consumed(&mut instance, 1);
    assert_eq!(scene.accounts(&status, 1)["quarantined"], 2);

    let entries = listed(&client, "");
    let new = entries.iter().find(|e| e["id"] != old["id"]).unwrap();
    assert_eq!((entries.len(), &new["replay_of"], &new["payload"]), (2, &old["id"], &old["payload"]));
    assert!(new["replayed_ms"].is_null() && entries.iter().any(|e| e["replayed_ms"].is_i64()));
    // Not the old one: it was replayed, whatever became of that.
    let answer = replay(&client, &json!({ "table": "things" }));
    assert_eq!((&answer["replayed"], &answer["entries"][0]["id"]), (&json!(1), &new["id"]), "{answer}");
    scene.wait_consumed(&mut instance, 2);
    instance.stop();
    scene.lab.verify();
}

pub(crate) fn an_event_that_was_cut_is_read_again_from_its_topic(on: On) {
    let mut scene = Scene::new(on);
    scene.lab.sets.push("quarantine.max_payload=1KiB".into());
    let filler: String = (0..20_000).map(|n| char::from(b'a' + u8::try_from(n % 26).unwrap())).collect();
    let large = event("large", 1, &json!({ "price": "cheap", "filler": filler }));
    scene.send(std::slice::from_ref(&large));
    let mut instance = scene.start(0);
    let client = instance.client();
    let entry = listed(&client, "")[0].clone();
    let size = large.to_string().len();
    assert_eq!((&entry["whole"], &entry["payload_bytes"]), (&json!(false), &json!(size)));
    let shown = client.get(&format!("/v1/quarantine/{}", entry["id"].as_str().unwrap()));
    assert_eq!(shown["payload"].as_str().unwrap().len(), 1_024);

    assert_eq!(replay(&client, &json!({ "ids": [entry["id"]] }))["replayed"], 1);
    scene.wait_consumed(&mut instance, 1);
    instance.stop();
    let original = record(&scene.lab, &large);
    let copies = written(&scene.lab, original.partition);
    assert_eq!(copies.len(), 2);
    assert!(copies.iter().all(|(_, payload, ..)| *payload == original.payload), "the replay is whole");
}
