//! R10: changelogs and offsets that are not as one would expect them. A defined outcome each: what was there, or a refusal; never
//! "restored, empty". Beside these: a changelog made anew (`changelog.rs`), one that was compacted (`tests/catalogue/deletes.rs`),
//! events over the broker's limit (`tests/bad_input/oversized.rs`).

use std::time::{Duration, Instant};

use keld::broker::{NewRecord, TopicPartition};
use keld::record::Partitioner;

use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::report;
use crate::common::topics::{cut_front, forget_group, grow};
use crate::common::workload::Workload;
use crate::setting::{CONFIG, available, exact, failed, workload};

/// A laboratory over Kafka with a workload that an instance has processed, and then stopped.
fn processed(workload: &Workload) -> Option<(Lab, std::collections::BTreeMap<(String, u32), i64>)> {
    if !available(On::Kafka) {
        return None;
    }
    let lab = Lab::with_config(On::Kafka, CONFIG);
    let ends = loaded(&lab, workload);
    // The group is empty behind it, without waiting for the end of a session.
    let mut instance = lab.spawn(&["--on-stop", "leave"], &[]);
    instance.wait_listening();
    instance.wait_caught_up(&ends);
    instance.stop();
    Some((lab, ends))
}

fn changelog(lab: &Lab, partition: u32) -> TopicPartition {
    TopicPartition::new(format!("{}-things-changelog", lab.name), partition)
}

fn lose_state(lab: &Lab) {
    std::fs::remove_dir_all(lab.data_dir()).unwrap();
}

fn place(key: &str) -> u32 {
    Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap()
}

#[test]
fn a_partition_that_never_had_an_event_is_restored_empty_beside_full_ones() {
    let mut workload = workload(3_000, 0);
    workload.deliveries.retain(|d| place(&d.key) != 1);
    workload.expected.retain(|key, _| place(key) != 1);
    let Some((lab, ends)) = processed(&workload) else { return };
    let log = lab.broker().watermarks(&changelog(&lab, 1)).unwrap();
    assert_eq!(log.high, 0, "it is empty: not even a position was written");
    lose_state(&lab);
    let mut instance = lab.start();
    let status = instance.wait_caught_up(&ends);
    let task = &status["tasks"][1];
    assert_eq!((task["partition"].as_u64(), task["records"].as_u64()), (Some(1), Some(0)), "{task}");
    exact(&lab, instance, &workload, &ends);
}

/// What is lost lies between what the store covers and where the changelog begins.
#[test]
fn a_changelog_that_begins_behind_the_store_is_refused_and_the_right_store_goes_on() {
    let all = workload(6_000, 0);
    let first = workload(3_000, 0);
    let Some((lab, _)) = processed(&first) else { return };
    let aside = lab.dir.path().join("before");
    copy(&lab.data_dir(), &aside);
    lab.append(&*lab.broker().appender().unwrap(), &all.deliveries[first.deliveries.len()..]);
    let ends = lab.ends(&*lab.broker());
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();

    let (broker, log) = (lab.broker(), changelog(&lab, 2));
    let high = broker.watermarks(&log).unwrap().high;
    cut_front(&*broker, &log, high - 1);
    let now = lab.dir.path().join("now");
    std::fs::rename(lab.data_dir(), &now).unwrap();
    std::fs::rename(&aside, lab.data_dir()).unwrap();
    let begins = format!("now begins at {}", high - 1);
    failed(lab.spawn(&[], &[]), &["things/2", &begins, "what lies between is gone", "--rebuild"]);
    // The store of before covers all that is gone.
    std::fs::remove_dir_all(lab.data_dir()).unwrap();
    std::fs::rename(&now, lab.data_dir()).unwrap();
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    crate::common::truth::by_key(&instance.client(), "things", &all);
    instance.stop();
}

/// Longest wait for the marker of a transaction that has ended.
const PATIENCE: Duration = Duration::from_secs(30);

/// Behind the last record that counts stand records of a transaction that was given up, and the marker of its end.
#[test]
fn a_changelog_that_ends_with_an_aborted_transaction_is_read_to_its_end() {
    let workload = workload(3_000, 0);
    let Some((lab, ends)) = processed(&workload) else { return };
    let broker = lab.broker();
    let before: Vec<i64> = (0..PARTITIONS).map(|p| broker.watermarks(&changelog(&lab, p)).unwrap().high).collect();
    let mut producer = broker.transactional("somebody").unwrap();
    producer.begin().unwrap();
    for partition in 0..PARTITIONS {
        let tp = changelog(&lab, partition);
        let (topic, key) = (tp.topic, Some(format!("ghost-{partition}").into_bytes()));
        producer
            .send(&NewRecord { topic, partition, key, payload: Some(b"never true".to_vec()), ..NewRecord::default() })
            .unwrap();
    }
    producer.drain().unwrap();
    producer.abort().unwrap();
    // The broker answers before the markers are written.
    let until = Instant::now() + PATIENCE;
    for (partition, before) in (0..PARTITIONS).zip(before) {
        while broker.watermarks(&changelog(&lab, partition)).unwrap().high <= before + 1 {
            assert!(Instant::now() < until, "partition {partition}: no marker behind {before}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // With the store, then from nothing.
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    lose_state(&lab);
    exact(&lab, lab.start(), &workload, &ends);
}

/// As when the coordinator does not know them for a moment: positions come from the changelog.
#[test]
fn offsets_that_the_group_has_lost_change_nothing_with_and_without_the_store() {
    let workload = workload(3_000, 0);
    let Some((lab, ends)) = processed(&workload) else { return };
    let source = TopicPartition::new(lab.topic("feed"), 0);
    forget_group(&*lab.broker(), &lab.name, &source);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    // It has committed none since: there was nothing to do.
    assert!(lab.broker().committed(&lab.name, &[source]).unwrap().is_empty());
    lose_state(&lab);
    exact(&lab, lab.start(), &workload, &ends);
    report("R10: a group without offsets: every record from the store, then from the changelog, every event once");
}

#[test]
fn another_number_of_partitions_is_refused_and_changes_nothing() {
    let workload = workload(3_000, 0);
    let Some((lab, _)) = processed(&workload) else { return };
    let broker = lab.broker();
    let high = |partition| broker.watermarks(&changelog(&lab, partition)).unwrap().high;
    let before: Vec<i64> = (0..PARTITIONS).map(high).collect();
    grow(&*broker, &lab.topic("feed"), PARTITIONS * 2);
    failed(lab.spawn(&[], &[]), &["things", "differ in their number of partitions", "same number"]);
    grow(&*broker, &lab.topic("extra"), PARTITIONS * 2);
    let name = format!("{}-things-changelog", lab.name);
    failed(lab.spawn(&[], &[]), &["things", &name, "8 partitions", "has 4", "new application name"]);
    assert_eq!(before, (0..PARTITIONS).map(high).collect::<Vec<_>>(), "it has written nothing");
    // The way on: under another name everything is read again, and sent to where its key belongs now.
    let application = format!("application={}-anew", lab.name);
    let mut instance = lab.spawn(&["--set", &application, "--set", "tables.things.repartition=true"], &[]);
    instance.wait_listening();
    instance.wait_for("everything to be merged in its new place", |client| {
        let status = client.get("/v1/status");
        let accounts = status["tables"][0]["accounting"].as_object()?.values();
        let applied: u64 = accounts.map(|a| a["applied"].as_u64().unwrap()).sum();
        (applied == workload.deliveries.len() as u64).then_some(())
    });
    crate::common::truth::by_key(&instance.client(), "things", &workload);
    instance.stop();
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}
