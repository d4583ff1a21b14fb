//! A stream that breaks off goes on behind what was seen: each change comes once.

use std::collections::BTreeMap;
use std::time::Duration;

use keld::broker::{Broker, Progress, TopicPartition};
use keld::record::{POSITION_KEY, Partitioner};
use serde_json::json;

use crate::common::client::{Client, escape};
use crate::common::dice::Dice;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS};
use crate::scene::{Maker, QUERIES, Reader, TABLE, shop};

/// Partition and offset of every change that the changelog holds.
pub(crate) fn changelog(lab: &Lab, broker: &dyn Broker) -> Vec<(u64, i64)> {
    let mut all = Vec::new();
    for partition in 0..lab.partitions {
        let tp = TopicPartition::new(format!("{}-{TABLE}-changelog", lab.name), partition);
        let log = broker.watermarks(&tp).unwrap();
        let mut reader = broker.reader(&tp, log.low).unwrap();
        loop {
            let progress = reader.read(10_000, Duration::from_millis(200), &mut |m| {
                if m.key != Some(POSITION_KEY) {
                    all.push((u64::from(partition), m.offset));
                }
            });
            if let Progress::End { to } = progress.unwrap()
                && to >= log.high
            {
                break;
            }
        }
    }
    all
}

/// What was seen is the changelog, behind where it began, each change once and in the order of its partition.
pub(crate) fn each_once(seen: &[(u64, i64)], changelog: &[(u64, i64)]) {
    let by_partition = |all: &[(u64, i64)]| {
        let mut map: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
        all.iter().for_each(|(p, o)| map.entry(*p).or_default().push(*o));
        map
    };
    assert_eq!(by_partition(seen), by_partition(changelog));
}

fn broken_streams_go_on(on: On) {
    let lab = shop(on);
    let mut instance = lab.start();
    instance.wait_for("the tasks", |c| {
        let tasks = c.get("/v1/status")["tasks"].as_array().unwrap().len();
        (tasks == lab.partitions as usize).then_some(())
    });
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let (client, address) = (instance.client(), instance.address.clone().unwrap());
    let mut maker = Maker::new("resumed streams", 40);
    let mut dice = Dice::thrown("where streams break off");
    let mut readers: Vec<Reader> = QUERIES.iter().map(|(query, _)| Reader::begin(&address, query)).collect();
    for reader in &mut readers[1..] {
        reader.exact = false;
    }
    for _ in 0..60 {
        maker.send(&lab, &client, 30);
        for reader in &mut readers {
            for _ in 0..dice.below(40) {
                let Some(event) = reader.events.within(Duration::from_millis(20)) else { break };
                reader.apply(&event);
            }
            if dice.below(3) == 0 {
                reader.reconnect(&address);
            }
        }
    }
    let ends = maker.send_ends(&lab, &client);
    for (reader, (query, keep)) in readers.iter_mut().zip(QUERIES) {
        reader.reconnect(&address);
        reader.read_to(&ends);
        assert_eq!(reader.records, maker.selected(*keep), "{query}");
    }
    instance.stop();
    let changelog = changelog(&lab, &*lab.broker());
    assert!(changelog.len() > 500, "{} changes", changelog.len());
    each_once(&readers[0].seen, &changelog);
}

#[test]
fn a_stream_that_breaks_off_anywhere_gives_each_change_once_on_the_embedded_log() {
    broken_streams_go_on(On::Local);
}

#[test]
fn a_stream_that_breaks_off_anywhere_gives_each_change_once_on_kafka() {
    if start_kafka().is_some() {
        broken_streams_go_on(On::Kafka);
    }
}

/// Keys of one partition, whose changes come in order.
fn neighbours(n: usize) -> Vec<String> {
    let here = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS) == Some(0);
    (0..).map(|n| format!("n{n}")).filter(here).take(n).collect()
}

#[test]
fn who_resumes_while_the_index_lags_hears_of_every_key_that_leaves() {
    let lab = shop(On::Local);
    // The index stands still while it makes the second change visible.
    let mut instance = lab.spawn(&[], &[("KELD_FAULT", "index.5_live_built:2:stall=25000")]);
    instance.wait_listening();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let (client, address) = (instance.client(), instance.address.clone().unwrap());
    let [stays_away, comes, marks] = neighbours(3).try_into().unwrap();
    let mut version = 0;
    let mut put = |key: &str, title: &str| {
        version += 1;
        let answer =
            client.ingest(&lab.topic("catalog"), &json!({"sku": key, "v": version, "title": title}).to_string());
        let at = answer["at_least"].as_str().unwrap();
        client.get(&format!("/v1/tables/{TABLE}/records/{key}?timeout=9s&at_least={}", escape(at)));
    };
    let found = |c: &Client| {
        let hits = c.get(&format!("/v1/tables/{TABLE}/search?q=red"))["hits"].as_array().unwrap().clone();
        hits.iter().map(|hit| hit["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    put(&stays_away, "red pan");
    instance.wait_for("it to be found", |c| (found(c) == [stays_away.as_str()]).then_some(()));
    let mut reader = Reader::begin(&address, "q=red");
    put(&stays_away, "blue pan");
    put(&comes, "red kettle");
    let told = |reader: &mut Reader, n: usize| {
        let mut told = Vec::new();
        for _ in 0..n {
            let event = reader.events.next().unwrap();
            reader.apply(&event);
            told.push((event.name.clone(), event.data["key"].as_str().unwrap().to_owned()));
        }
        told
    };
    let named = |name: &str, key: &str| (name.to_owned(), key.to_owned());
    assert_eq!(told(&mut reader, 2), [named("left", &stays_away), named("entered", &comes)]);
    reader.reconnect(&address);
    put(&comes, "blue kettle");
    put(&stays_away, "green pan");
    put(&marks, "red lid");
    assert_eq!(told(&mut reader, 2), [named("left", &comes), named("entered", &marks)], "{}", instance.stderr());
    assert_eq!(found(&client), [stays_away.as_str()], "the index was to stand still meanwhile");
    drop(reader);
    instance.signal("TERM");
    let (status, err) = instance.wait_end();
    assert!(status.success() && err.contains("fault point index.5_live_built fired: stalling"), "{status}\n{err}");
}
