//! Pages through all records while they change, come and go.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Client, escape};
use crate::common::lab::{Lab, On, PATIENCE};
use crate::common::workload::Delivery;
use crate::common::{report, scaled};

/// Records that live throughout, whole.
const RECORDS: usize = 100_000;
/// Changes a second.
const RATE: usize = 2_000;
/// Changes in one request.
const CHUNK: usize = 100;
/// Records a page.
const PAGE: usize = 250;

const CONFIG: &str = r#"
application = "pages"

[memory]
budget = "512MiB"

[tables.things]
key = "id"

[tables.things.sources.events]
topic = "events"
version = "v"
version_kind = "sequence"
delete = { field = "gone", equals = true }

[tables.things.fields]
brand = { type = "keyword" }
price = { type = "float" }
seen = { type = "integer" }
"#;

fn id(n: usize) -> String {
    format!("thing-{n:06}")
}

/// Changes what is not sorted by, and lets others come and go, until told to stop.
fn disturb(client: &Client, topic: &str, records: usize, stop: &AtomicBool, sent: &AtomicU64) {
    let started = Instant::now();
    let mut n = 1_usize;
    while !stop.load(Ordering::Relaxed) {
        let line = |i: usize| {
            let v = 10 + i;
            match i % 10 {
                0 => json!({"id": format!("guest-{i}"), "v": v, "brand": "b3", "price": 5.0}),
                5 => json!({"id": format!("guest-{}", i - 5 - (i - 5) / 2 / 10 * 10), "v": v, "gone": true}),
                _ => json!({"id": id(i.wrapping_mul(7_919) % records), "v": v, "seen": i}),
            }
            .to_string()
        };
        let lines: Vec<String> = (n..n + CHUNK).map(line).collect();
        client.ingest(topic, &lines.join("\n"));
        n += CHUNK;
        sent.store(n as u64, Ordering::Relaxed);
        let due = started + Duration::from_secs_f64(n as f64 / RATE as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// Follows cursors to the end; the keys in the order they came.
fn follow(client: &Client, path: &str, members: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let next = cursor.as_deref().map_or_else(String::new, |c: &str| format!("&cursor={}", escape(c)));
        let answer = client.get(&format!("{path}{next}"));
        let keys = answer[members].as_array().unwrap().iter().map(|h| h["key"].as_str().unwrap().to_owned());
        all.extend(keys);
        match &answer["cursor"] {
            Value::String(text) => cursor = Some(text.clone()),
            _ => return all,
        }
    }
}

#[test]
fn pages_neither_miss_nor_repeat_a_record_that_lives_while_others_change() {
    let records = scaled(RECORDS);
    let lab = Lab::with_config(On::Local, CONFIG);
    let event = |n: usize| Delivery {
        topic: "events".into(),
        key: id(n),
        body: json!({"id": id(n), "v": 1, "brand": format!("b{}", n % 7), "price": (n % 100) as f64 / 4.0}).to_string(),
    };
    lab.load(&(0..records).map(event).collect::<Vec<_>>());
    let ends = lab.ends(&*lab.broker());
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let (client, stop, sent) = (instance.client(), AtomicBool::new(false), AtomicU64::new(0));
    let topic = lab.topic("events");
    let table = "/v1/tables/things";
    let walks = [
        (format!("{table}/search?sort=_key&stale=allow&count=none&fields=brand&limit={PAGE}"), "hits"),
        (format!("{table}/search?sort=brand,-price&stale=allow&fields=brand&limit={PAGE}"), "hits"),
        (format!("{table}/records?prefix=thing-&stale=allow&fields=brand&limit={PAGE}"), "records"),
        (format!("{table}/records?stale=allow&fields=brand&limit={PAGE}"), "records"),
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| disturb(&client, &topic, records, &stop, &sent));
        for (path, members) in &walks {
            let until = Instant::now() + PATIENCE;
            let (found, during) = loop {
                let before = sent.load(Ordering::Relaxed);
                let found = follow(&client, path, members);
                let during = sent.load(Ordering::Relaxed) - before;
                let distinct: HashSet<&String> = found.iter().collect();
                assert_eq!(distinct.len(), found.len(), "{path}: a record came twice");
                let missed = (0..records).filter(|n| !distinct.contains(&id(*n))).count();
                assert_eq!(missed, 0, "{path}: records were missed");
                // One that was quicker than the changes tells nothing of them.
                if during >= CHUNK as u64 {
                    break (found, during);
                }
                assert!(Instant::now() < until, "{path}: nothing changed meanwhile");
            };
            report(&format!("{path}: {} records, {during} changes meanwhile", found.len()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let status = client.get("/v1/status");
    assert!(status["tables"][0]["accounting"]["events"]["applied"].as_u64().unwrap() > records as u64, "{status}");
    instance.stop();
}
