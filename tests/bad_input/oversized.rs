//! A record that an update would make larger than the changelog takes: the update is set aside, the record stays, and the
//! rest of its batch goes through.

use keld::broker::{NewRecord, TopicSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::common;
use crate::common::client::escape;
use crate::common::lab::{Lab, On, PARTITIONS};
use crate::quarantine;

/// What of a changelog record is not the stored record: key, batch header, margin.
const MARGIN: u64 = 16 << 10;

const CONFIG: &str = r#"
application = "large"
[tables.things]
key = "id"
[tables.things.sources.things]
topic = "things"
version = "ts"
[tables.things.fields]
name = { type = "text" }
"#;

/// Text that does not compress well: the broker judges compressed sizes.
fn noise(bytes: usize, seed: u64) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + u8::try_from(state % 75).unwrap())
    };
    (0..bytes).map(|_| next()).map(|c| if c == '\\' { '_' } else { c }).collect()
}

/// Bytes that a changelog takes: the broker's default on Kafka; a small one, made beforehand, on the embedded log.
fn changelog(lab: &Lab) -> u64 {
    let (broker, topic) = (lab.broker(), format!("{}-things-changelog", lab.name));
    let settings = match lab.on {
        On::Local => BTreeMap::from([("max.message.bytes".to_owned(), "262144".to_owned())]),
        On::Kafka => BTreeMap::new(),
    };
    broker
        .create_topic(&TopicSpec {
            name: topic.clone(),
            partitions: PARTITIONS,
            replication: -1,
            compacted: true,
            settings,
        })
        .unwrap();
    broker.topic(&topic).unwrap().unwrap().max_message_bytes.unwrap()
}

fn updates(limit: usize) -> (Vec<Value>, Value) {
    let part =
        |n: i64, bytes: usize| json!({ "id": "large", "ts": n, format!("part{n}"): noise(bytes, n.unsigned_abs()) });
    let quarter = limit / 4;
    // Nearly full; one too many; and still room for what is small.
    let mut all = vec![part(1, quarter), part(2, quarter), part(3, quarter), part(4, quarter - 4_096)];
    let mut record = json!({ "id": "large" });
    for update in &all {
        record.as_object_mut().unwrap().extend(update.as_object().unwrap().clone());
    }
    all.push(part(5, 8_192));
    all.push(json!({ "id": "large", "ts": 6, "name": "still room" }));
    record["name"] = json!("still room");
    record.as_object_mut().unwrap().remove("ts");
    (all, record)
}

fn run(on: On) {
    if !crate::available(on) {
        return;
    }
    let lab = Lab::with_config(on, CONFIG);
    let limit = changelog(&lab) - MARGIN;
    let (updates, wanted) = updates(usize::try_from(limit).unwrap());
    let broker = lab.broker();
    lab.create_sources(&*broker);
    let small = |n: usize| json!({ "id": format!("small-{n}"), "ts": 1, "name": "beside" });
    let events: Vec<Value> = updates.iter().enumerate().flat_map(|(n, u)| [small(n), u.clone()]).collect();
    let record = |e: &Value| {
        let delivery = common::workload::Delivery {
            topic: "things".into(),
            key: e["id"].as_str().unwrap().to_owned(),
            body: e.to_string(),
        };
        lab.record(&delivery)
    };
    let records: Vec<NewRecord> = events.iter().map(record).collect();
    let (sent, refused) = (records.len() as u64, records[9].clone());
    let offsets = broker.appender().unwrap().append(records).unwrap();
    let ends = lab.ends(&*broker);
    drop(broker);

    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    let client = instance.client();
    let found = |key: &str| client.get(&format!("/v1/tables/things/records/{}", escape(key)))["record"].clone();
    assert!(found("large") == wanted, "the record kept what fitted, and nothing else");
    for n in 0..updates.len() {
        assert_eq!(found(&format!("small-{n}")), json!({ "id": format!("small-{n}"), "name": "beside" }));
    }
    let accounts = common::truth::accounts(&status, "things", &BTreeMap::from([("things".to_owned(), sent)]));
    assert_eq!((&accounts["things"]["quarantined"], &accounts["things"]["applied"]), (&json!(1), &json!(sent - 1)));
    let metrics = client.try_get("/metrics").unwrap().1;
    assert!(metrics.contains("keld_quarantined_total{table=\"things\",reason=\"too_large\"} 1\n"), "{metrics}");
    instance.stop();

    let entries = quarantine::read(&lab);
    let [entry] = entries.as_slice() else { panic!("{} entries", entries.len()) };
    assert_eq!(entry.header("reason"), "too_large");
    for word in ["\"large\"", &limit.to_string(), "changelog"] {
        assert!(entry.header("error").contains(word), "{word} in {:?}", entry.header("error"));
    }
    assert_eq!(entry.origin(), (lab.topic("things"), refused.partition, offsets[9]));
    assert_eq!((&entry.key, &entry.payload), (&refused.key, &refused.payload));
    lab.verify();
}

/// Bytes that the quarantine topic takes in this test; its sources take more.
const TIGHT: usize = 128 << 10;

/// A bad event that the quarantine topic would refuse is cut, and its batch goes through.
fn beyond_the_quarantine(on: On) {
    if !crate::available(on) {
        return;
    }
    let mut lab = Lab::with_config(on, CONFIG);
    lab.sets.push("quarantine.max_payload=64MiB".into());
    let broker = lab.broker();
    lab.create_sources(&*broker);
    broker
        .create_topic(&TopicSpec {
            name: format!("{}-quarantine", lab.name),
            partitions: 1,
            replication: -1,
            compacted: false,
            settings: BTreeMap::from([("max.message.bytes".to_owned(), TIGHT.to_string())]),
        })
        .unwrap();
    let events = [
        json!({ "id": "a", "ts": 1, "name": "before" }),
        json!({ "id": "a", "ts": 2, "name": { "no": "text" }, "filler": noise(600_000, 7) }),
        json!({ "id": "a", "ts": 3, "name": "after" }),
    ];
    let record = |e: &Value| {
        let delivery = common::workload::Delivery { topic: "things".into(), key: "a".to_owned(), body: e.to_string() };
        lab.record(&delivery)
    };
    let records: Vec<NewRecord> = events.iter().map(record).collect();
    let large = records[1].payload.clone().unwrap();
    broker.appender().unwrap().append(records).unwrap();
    let ends = lab.ends(&*broker);
    drop(broker);

    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    let found = instance.client().get("/v1/tables/things/records/a")["record"].clone();
    assert_eq!(found, json!({ "id": "a", "name": "after" }));
    let accounts = common::truth::accounts(&status, "things", &BTreeMap::from([("things".to_owned(), 3)]));
    assert_eq!((&accounts["things"]["quarantined"], &accounts["things"]["applied"]), (&json!(1), &json!(2)));
    instance.stop();
    let entries = quarantine::read(&lab);
    let [entry] = entries.as_slice() else { panic!("{} entries", entries.len()) };
    let kept = entry.payload.as_deref().unwrap();
    assert!(kept == &large[..kept.len()] && (TIGHT / 4..TIGHT).contains(&kept.len()), "{} bytes kept", kept.len());
    let hash = format!("{:032x}", xxhash_rust::xxh3::xxh3_128(&large));
    assert_eq!(
        (entry.header("payload_cut_from_bytes"), entry.header("payload_cut_xxh3_128")),
        (&*large.len().to_string(), &*hash)
    );
    lab.verify();
}

#[test]
fn on_the_embedded_log_a_bad_event_that_the_quarantine_would_refuse_is_cut() {
    beyond_the_quarantine(On::Local);
}

#[test]
fn on_kafka_a_bad_event_that_the_quarantine_would_refuse_is_cut() {
    beyond_the_quarantine(On::Kafka);
}

#[test]
fn on_the_embedded_log_an_update_that_makes_a_record_too_large_is_set_aside() {
    run(On::Local);
}

#[test]
fn on_kafka_an_update_that_makes_a_record_too_large_is_set_aside() {
    run(On::Kafka);
}
