//! The process aborted at every fault point of a commit that takes away what event time has ended.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use keld::broker::{Progress, TopicPartition};
use keld::fault::POINTS;
use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::workload::{Delivery, Workload};
use crate::common::{full_scale, report};
use crate::faults::AHEAD;
use crate::scene::{TABLE, Witness, finish, settings};

const SIGABRT: i32 = 6;
/// Keys that speak before; more than one step takes, in every partition.
const KEYS: i64 = 8_000;
/// Where time comes to, minutes: what was last heard of in the first thirty is over.
const LATER: i64 = 90;

const CONFIG: &str = r#"
application = "shop"

[memory]
budget = "256MiB"

[tables.products]
key = "sku"
tombstone_horizon = "1h"
ttl = { from = "version", after = "1h" }

[tables.products.sources.catalog]
topic = "catalog"
version = "ts"
event_id = "e"
delete = { field = "gone", equals = true }

[tables.products.fields]
title = { type = "keyword" }
sold = { type = "integer", merge = "sum" }
"#;

fn at(minute: i64) -> i64 {
    1_700_000_000_000 + 60_000 * minute
}

fn event(body: &Value) -> Delivery {
    Delivery { topic: "catalog".into(), key: body["sku"].as_str().unwrap().into(), body: body.to_string() }
}

fn key(n: i64) -> String {
    format!("k{n}")
}

/// Two events of every key, within fifty minutes; every third is deleted.
fn before() -> Vec<Delivery> {
    let of = |n: i64| {
        let (sku, minute) = (key(n), n % 50);
        let says = |nth: i64| event(&json!({"sku": sku, "ts": at(minute), "e": nth, "title": sku, "sold": n}));
        let gone = event(&json!({"sku": sku, "ts": at(minute), "gone": true}));
        let more = if n % 3 == 0 { gone } else { says(2) };
        [says(1), more]
    };
    (0..KEYS).flat_map(of).collect()
}

/// One event in every partition, much later.
fn after() -> Vec<Delivery> {
    let of = |partition| {
        let here = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS) == Some(partition);
        let sku = (0..).map(|n| format!("later{n}")).find(here).unwrap();
        event(&json!({"sku": sku, "ts": at(LATER), "e": 1, "title": "later", "sold": 1}))
    };
    (0..PARTITIONS).map(of).collect()
}

/// Whether a key is over, deleted or not.
fn is_over(n: i64) -> bool {
    n % 50 + 60 < LATER
}

fn expected() -> BTreeMap<String, serde_json::Map<String, Value>> {
    let record = |body: Value| (body["sku"].as_str().unwrap().to_owned(), body.as_object().unwrap().clone());
    let alive = (0..KEYS).filter(|n| n % 3 != 0 && !is_over(*n));
    let alive = alive.map(|n| record(json!({"sku": key(n), "title": key(n), "sold": 2 * n})));
    let later = after().into_iter().map(|d| record(json!({"sku": d.key, "title": "later", "sold": 1})));
    alive.chain(later).collect()
}

/// Nulls in the changelog that are committed, by the look of a reader while no instance runs.
fn nulls(lab: &Lab) -> usize {
    let (broker, topic) = (lab.broker(), settings(lab).changelog_topic(TABLE));
    let mut found = 0;
    for partition in 0..PARTITIONS {
        let tp = TopicPartition::new(topic.as_str(), partition);
        let low = broker.watermarks(&tp).unwrap().low;
        let mut reader = broker.reader(&tp, low).unwrap();
        let read = &mut |m: keld::broker::Message<'_>| found += usize::from(m.payload.is_none());
        while !matches!(reader.read(10_000, std::time::Duration::from_millis(200), read).unwrap(), Progress::End { .. })
        {
        }
    }
    found
}

pub(crate) fn abort_everywhere(on: On) {
    let arrivals: &[u32] = if full_scale() { &[1, 2, 3] } else { &[1] };
    // Nothing is produced ahead for the first commit, and what it takes is looked for below.
    let here = |point: &&str| point.starts_with("commit.") && *point != AHEAD;
    let points: Vec<&str> = POINTS.iter().copied().filter(here).collect();
    let cases = points.iter().flat_map(|point| arrivals.iter().map(move |arrival| (*point, *arrival)));
    cases.for_each(|(point, arrival)| abort_at(on, point, arrival));
    report(&format!(
        "{on:?}: aborted at each of {} fault points (at arrivals {arrivals:?}) of commits that take away what is over of {KEYS} keys: \
         each ended once, nothing else",
        points.len()
    ));
}

fn abort_at(on: On, point: &str, arrival: u32) {
    let mut lab = Lab::with_config(on, CONFIG);
    // So that a commit holds several tasks.
    lab.sets.push("processing.min_gap=100ms".into());
    lab.sets.push("processing.commit_interval=100ms".into());
    let mut workload = Workload { deliveries: before(), expected: expected() };
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    assert_eq!(nulls(&lab), 0, "nothing is over yet");

    lab.load(&after());
    workload.deliveries.extend(after());
    let ends = lab.ends(&*lab.broker());
    let (status, stderr) = lab.spawn(&[], &[("KELD_FAULT", &format!("{point}:{arrival}"))]).wait_end();
    assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{stderr}");
    assert!(stderr.contains(&format!("fault point {point} fired")), "{point}: {stderr}");
    let seen = Witness::default().look(&lab);
    let over = (0..KEYS).filter(|n| is_over(*n)).count();
    let committed = nulls(&lab);
    assert!(committed < over, "{point}: everything was over before");
    // The first commit takes what is due with the first event that comes.
    assert_eq!(committed > 0, arrival > 1 || point >= "commit.5", "{point}:{arrival}: {committed} nulls, {seen:?}");

    let mut instance = lab.start();
    let sum = |status: &Value, of: &str| {
        status["tasks"].as_array().unwrap().iter().map(|task| task[of].as_u64().unwrap()).sum::<u64>()
    };
    let dead = (0..KEYS).filter(|n| n % 3 == 0 && is_over(*n)).count();
    let ended = (dead as u64, (over - dead) as u64);
    instance.wait_for("event time to end what is due", |client| {
        let status = client.get("/v1/status");
        let now = (sum(&status, "tombstones_removed"), sum(&status, "records_expired"));
        assert!(now.0 <= ended.0 && now.1 <= ended.1, "ended twice: {now:?} of {ended:?}");
        let shown = status["tasks"].as_array().unwrap().iter().all(|task| task["changelog"] == task["indexed"]);
        (shown && now == ended).then_some(())
    });
    finish(&lab, &workload, &ends, seen, instance);
    assert_eq!(nulls(&lab), over, "{point}: each ends once");
    println!("{on:?}: {point}:{arrival}: {committed} of {over} were gone when it died");
}
