//! A stream outlives the instance: what was committed is told once, what was not is never told.

use crate::common::kafka::start_kafka;
use crate::common::lab::On;
use crate::resuming::{changelog, each_once};
use crate::scene::{Maker, Reader, shop};

/// Aborts the instance at a step of a commit while a stream is open, and goes on with the next one.
fn a_crash_neither_loses_nor_repeats(on: On, point: &str) {
    let lab = shop(on);
    let mut maker = Maker::new(&format!("changes beside a crash at {point}"), 40);
    let fault = format!("{point}:12");
    let mut instance = lab.spawn(&[], &[("KELD_FAULT", &fault)]);
    instance.wait_listening();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let mut reader = Reader::begin(instance.address.as_deref().unwrap(), "");
    let client = instance.client();
    let topic = format!("/v1/topics/{}/events", lab.topic("catalog"));
    // One event at a time, until it dies; of the last one nobody knows whether it arrived.
    let mut unsure = None;
    for _ in 0..2_000 {
        let line = maker.event().to_string();
        match client.try_post(&topic, "application/x-ndjson", line.as_bytes()) {
            Ok((200 | 202, _)) => {}
            _ => {
                unsure = Some(line);
                break;
            }
        }
    }
    let unsure = unsure.unwrap_or_else(|| panic!("it never died at {point}"));
    while let Some(event) = reader.events.next() {
        reader.apply(&event);
    }
    let (status, err) = instance.wait_end();
    assert!(!status.success() && err.contains(point), "it did not die at {point}: {status}\n{err}");

    let mut instance = lab.start();
    instance.wait_for("to be ready", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    reader.reconnect(instance.address.as_deref().unwrap());
    let client = instance.client();
    client.ingest(&lab.topic("catalog"), &unsure);
    maker.send(&lab, &client, 100);
    let ends = maker.send_ends(&lab, &client);
    reader.read_to(&ends);
    assert_eq!(reader.records, maker.now);
    instance.stop();
    each_once(&reader.seen, &changelog(&lab, &*lab.broker()));
}

#[test]
fn a_stream_goes_on_after_a_crash_on_the_embedded_log() {
    for point in ["commit.2_produced", "commit.5_committed", "commit.7_applied"] {
        a_crash_neither_loses_nor_repeats(On::Local, point);
    }
}

#[test]
fn a_stream_goes_on_after_a_crash_on_kafka() {
    if start_kafka().is_some() {
        for point in ["commit.3_drained", "commit.5_committed"] {
            a_crash_neither_loses_nor_repeats(On::Kafka, point);
        }
    }
}
