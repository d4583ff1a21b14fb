//! A data directory that is taken, read-only, no directory, or full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keld::broker::Appender;
use serde_json::Value;

use crate::common::client::Client;
use crate::common::lab::{Instance, Lab, On, loaded};
use crate::common::truth;
use crate::common::workload::{Delivery, Workload};
use crate::setting::{CONFIG, Mount, available, exact, failed, workload};

/// Little memory: RocksDB reserves disk space in proportion.
const BUDGET: &str = "memory.budget=160MiB";
/// Longest wait for an event to be consumed.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_data_directory_that_is_taken_is_refused_and_its_owner_goes_on() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let workload = workload(1_000, 0);
    let ends = loaded(&lab, &workload);
    let mut first = lab.start();
    first.wait_caught_up(&ends);
    let dir = lab.data_dir().display().to_string();
    failed(lab.spawn(&[], &[]), &[&dir, "in use by another process", "instance.data_dir"]);
    exact(&lab, first, &workload, &ends);
}

#[test]
fn a_data_directory_below_a_file_is_refused() {
    let lab = Lab::with_config(On::Local, CONFIG);
    std::fs::write(lab.data_dir(), "a file").unwrap();
    let dir = lab.data_dir().display().to_string();
    failed(lab.spawn(&[], &[]), &["data directory", &dir, "instance.data_dir"]);
}

#[test]
fn a_read_only_data_directory_is_refused_and_nothing_in_it_is_lost() {
    let lab = Lab::with_config(On::Local, CONFIG);
    let Some(mount) = Mount::new(&lab.data_dir(), "size=512m") else { return };
    let workload = workload(1_000, 0);
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    instance.stop();
    mount.remount("ro");
    let dir = lab.data_dir().display().to_string();
    failed(lab.spawn(&[], &[]), &[&dir, "Read-only file system", "written"]);
    mount.remount("rw");
    exact(&lab, lab.start(), &workload, &ends);
}

/// However far a start comes on a full disk, it ends with a reason; with space it starts.
fn full_at_start(on: On) {
    if !available(on) {
        return;
    }
    let mut lab = Lab::with_config(on, CONFIG);
    lab.sets.push(BUDGET.into());
    let Some(mount) = Mount::new(&lab.data_dir(), "size=512m") else { return };
    let workload = workload(1_000, 0);
    let ends = loaded(&lab, &workload);
    let dir = lab.data_dir().display().to_string();
    let mut refusals = 0;
    for left in [0, 16 << 10, 64 << 10, 256 << 10] {
        mount.fill(left);
        let last = failed(lab.spawn(&[], &[]), &[&dir, "space"]);
        println!("{left} bytes left: {last}");
        refusals += 1;
    }
    assert!(refusals > 0);
    mount.empty();
    exact(&lab, lab.start(), &workload, &ends);
}

#[test]
fn on_the_embedded_log_a_full_disk_is_told_at_start() {
    full_at_start(On::Local);
}

#[test]
fn on_kafka_a_full_disk_is_told_at_start() {
    full_at_start(On::Kafka);
}

/// Events that the instance has consumed, as far as it still tells.
fn consumed(client: &Client) -> Option<u64> {
    let (_, body) = client.try_get("/v1/status").ok()?;
    let status: Value = serde_json::from_str(&body).ok()?;
    let sources = status["tables"][0]["accounting"].as_object()?;
    Some(sources.values().filter_map(|account| account["consumed"].as_u64()).sum())
}

/// Sends chunks behind the first `before` events until the instance has ended, none before the last one was consumed: what is
/// consumed at once may leave less on the disk than fills it. How many events were sent for certain.
fn send_until_it_ends(
    lab: &Lab,
    instance: &mut Instance,
    appender: Option<&Arc<dyn Appender>>,
    before: usize,
    rest: &[Delivery],
) -> usize {
    let client = instance.client();
    let mut sent = 0;
    for chunk in rest.chunks(100) {
        let waiting = Instant::now();
        while consumed(&client).is_none_or(|n| n < (before + sent) as u64) {
            if instance.child.try_wait().unwrap().is_some() {
                return sent;
            }
            assert!(waiting.elapsed() < PATIENCE, "{sent} events were sent and not consumed\n{}", instance.stderr());
            std::thread::sleep(Duration::from_millis(2));
        }
        let accepted = match appender {
            Some(appender) => appender.append(chunk.iter().map(|d| lab.record(d)).collect()).is_ok(),
            None => chunk.iter().all(|d| {
                let path = format!("/v1/topics/{}/events", lab.topic(&d.topic));
                let answer = client.try_post(&path, "application/x-ndjson", d.body.as_bytes());
                answer.is_ok_and(|(status, _)| status == 200)
            }),
        };
        if !accepted {
            return sent;
        }
        sent += chunk.len();
    }
    panic!("{sent} events filled no disk\n{}", instance.stderr());
}

/// The disk fills up under load: the instance ends with a reason; with space it goes on where it was.
fn full_while_running(on: On) {
    if !available(on) {
        return;
    }
    let mut lab = Lab::with_config(on, CONFIG);
    lab.sets.push(BUDGET.into());
    let Some(mount) = Mount::new(&lab.data_dir(), "size=768m") else { return };
    let (all, before) = (workload(20_000, 2_000), 1_000);
    let ends = loaded(&lab, &Workload { deliveries: all.deliveries[..before].to_vec(), ..all.clone() });
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    // Less than the index writes: the logs of the stores have reserved their space.
    mount.fill(64 << 10);
    let broker = (on == On::Kafka).then(|| lab.broker());
    let appender = broker.as_ref().map(|b| b.appender().unwrap());
    let sent = before + send_until_it_ends(&lab, &mut instance, appender.as_ref(), before, &all.deliveries[before..]);
    let dir = lab.data_dir().display().to_string();
    println!("after {sent} events: {}", failed(instance, &[&dir, "space"]));
    mount.empty();
    drop(appender);

    // What was not acknowledged is sent again, as a producer does; it may be there already.
    let mut instance = lab.start();
    let end = all.deliveries.len().min(sent + 1_000);
    let mut ends = std::collections::BTreeMap::new();
    for d in &all.deliveries[sent..end] {
        let at = instance.client().ingest(&lab.topic(&d.topic), &d.body)["positions"][0].as_str().unwrap().to_owned();
        let mut parts = at.rsplitn(3, ':');
        let (offset, partition): (i64, u32) =
            (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap());
        ends.insert((parts.next().unwrap().to_owned(), partition), offset + 1);
    }
    instance.wait_caught_up(&ends);
    let expected = workload(end, 2_000);
    truth::by_key(&instance.client(), "things", &expected);
    truth::by_search(&instance.client(), "things", "id", &expected);
    instance.stop();
    let audits = lab.verify();
    let consumed =
        audits.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["consumed"].as_u64().unwrap()).sum::<u64>();
    assert!((end as u64..=end as u64 + 100).contains(&consumed), "{consumed} consumed of {end} events");
}

#[test]
fn on_the_embedded_log_a_disk_that_fills_up_ends_the_instance_and_loses_nothing() {
    full_while_running(On::Local);
}

#[test]
fn on_kafka_a_disk_that_fills_up_ends_the_instance_and_loses_nothing() {
    full_while_running(On::Kafka);
}
