//! Events in the wrong partition: sent on to the right one, each once, and merged as if they had come directly; or quarantined,
//! with the remedy said aloud.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;

use keld::broker::NewRecord;
use serde_json::{Value, json};

use crate::common::lab::{Instance, On, PARTITIONS};
use crate::scene::{Scene, event, late, listed, record, replay, thing};

const KEYS: i64 = 60;
const EVENTS: i64 = 3_000;
const SIGABRT: i32 = 6;

/// A scene whose tables send misplaced events on.
fn scene(on: On) -> Scene {
    let mut scene = Scene::new(on);
    scene.lab.sets.push("tables.things.repartition=true".into());
    scene.lab.sets.push("tables.others.repartition=true".into());
    scene.lab.sets.push("tables.things.window.events=1000".into());
    scene
}

/// Contributions of 1 to 3 to the sums of some keys, two of three events in a partition that is not their key's; and the sums.
fn contributions(scene: &Scene) -> (Vec<NewRecord>, BTreeMap<String, i64>) {
    let mut sums = BTreeMap::new();
    let one = |n: i64| {
        let (key, added) = (format!("key-{}", n % KEYS), n % 3 + 1);
        *sums.entry(key.clone()).or_default() += added;
        let right = record(&scene.lab, &event(&key, n, &json!({ "sold_delta": added })));
        let shift = u32::try_from(n % 3).unwrap();
        NewRecord { partition: (right.partition + shift) % PARTITIONS, ..right }
    };
    let records = (0..EVENTS).map(one).collect();
    (records, sums)
}

fn check(scene: &Scene, instance: &mut Instance, sums: &BTreeMap<String, i64>) {
    let status = scene.wait_consumed(instance, 0);
    let accounts = scene.accounts(&status, 0);
    assert_eq!((&accounts["applied"], &accounts["quarantined"]), (&json!(EVENTS), &json!(0)), "{accounts}");
    let client = instance.client();
    for (key, sum) in sums {
        assert_eq!(thing(&client, key), json!({ "id": key, "sold": sum }));
    }
    assert!(listed(&client, "").is_empty());
}

pub(crate) fn misplaced_events_are_merged_as_if_they_had_come_directly(on: On) {
    let mut scene = scene(on);
    let (records, sums) = contributions(&scene);
    scene.append(records);
    let mut instance = scene.lab.start();
    check(&scene, &mut instance, &sums);
    let stderr = instance.wait_words("is sent on to partition", 2);
    assert_eq!(stderr.matches("is sent on to partition").count(), 2, "each table says so once:\n{stderr}");
    instance.stop();
    scene.lab.verify();
    let mut again = scene.lab.start();
    check(&scene, &mut again, &sums);
    again.stop();
}

pub(crate) fn a_crash_loses_no_misplaced_event_and_repeats_none(on: On) {
    for point in ["commit.2_produced:2", "commit.5_committed:2", "commit.7_applied:2"] {
        let mut scene = scene(on);
        scene.lab.sets.push("processing.commit_bytes=64KiB".into());
        let (records, sums) = contributions(&scene);
        scene.append(records);
        let (status, stderr) = scene.lab.spawn(&[], &[("KELD_FAULT", point)]).wait_end();
        assert_eq!(status.signal(), Some(SIGABRT), "{point}: {status}\n{stderr}");
        assert!(stderr.contains("fired: aborting"), "{point}: {stderr}");
        let mut instance = scene.lab.start();
        check(&scene, &mut instance, &sums);
        instance.stop();
        scene.lab.verify();
    }
}

pub(crate) fn a_misplaced_event_that_is_refused_names_where_it_came_from_and_is_replayed(on: On) {
    let mut scene = Scene::new(on);
    scene.lab.sets.push("tables.things.repartition=true".into());
    scene.lab.sets.push("tables.others.repartition=true".into());
    let astray = |body: &Value| {
        let right = record(&scene.lab, body);
        NewRecord { partition: (right.partition + 1) % PARTITIONS, ..right }
    };
    let records: Vec<NewRecord> = late("late").iter().map(astray).collect();
    let last = records[6].clone();
    let offsets = scene.append(records);
    let mut instance = scene.start(0);
    let client = instance.client();
    let entries = listed(&client, "");
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry["origin"], format!("{}:{}:{}", last.topic, last.partition, offsets[6]));
    assert_eq!((&entry["reason"], &entry["event_ms"]), (&json!("outside_window"), &json!(last.timestamp_ms)));
    let whole = client.get(&format!("/v1/quarantine/{}", entry["id"].as_str().unwrap()));
    let names: Vec<&Value> = whole["headers"].as_array().unwrap().iter().map(|h| &h["name"]).collect();
    assert_eq!(names, ["trace", "raw"], "the headers are the event's own");

    assert_eq!(replay(&client, &json!({ "ids": [entry["id"]] }))["replayed"], 1);
    let status = scene.wait_consumed(&mut instance, 1);
    assert_eq!(thing(&client, "late")["sold"], 7);
    assert_eq!(scene.accounts(&status, 1)["applied"], 7);
    instance.stop();
    scene.lab.verify();
}

pub(crate) fn without_it_misplaced_events_are_quarantined_and_the_first_says_what_to_do(on: On) {
    let mut scene = Scene::new(on);
    let right = record(&scene.lab, &event("astray", 1, &json!({ "name": "x" })));
    let wrong = NewRecord { partition: (right.partition + 1) % PARTITIONS, ..right };
    scene.append(vec![wrong.clone(), wrong]);
    let instance = scene.start(0);
    assert_eq!(listed(&instance.client(), "reason=wrong_partition&table=things").len(), 2);
    let stderr = instance.wait_words("repartition = true", 2);
    assert_eq!(stderr.matches("repartition = true").count(), 2, "each table says so once:\n{stderr}");
    instance.stop();
}
