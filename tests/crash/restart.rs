//! A restart after a SIGKILL beside many records: correct answers soon, and only the tail is restored.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::client::{Client, escape};
use crate::common::dice::Dice;
use crate::common::lab::{Instance, Lab, On, PARTITIONS};
use crate::common::workload::Delivery;
use crate::common::{report, scaled};
use crate::scene::{Ends, Seen, TABLE, Witness, counted, openings};

/// Records loaded at a time, so that the test itself stays small.
const PART: usize = 50_000;
/// Records that are looked at one by one.
const SAMPLE: usize = 500;
/// Updates per request of the tail.
const CHUNK: usize = 100;
/// How long the tail is sent before the kill, at most.
const TAIL: Duration = Duration::from_millis(400);
/// A restart that takes longer is broken, on any machine.
const BROKEN: Duration = Duration::from_secs(120);

/// A key for each record, one event for each key; then updates of some keys, in the midst of which the kill comes.
pub(crate) fn restores_only_the_tail(on: On) {
    let records = scaled(1_000_000);
    let lab = Lab::new(on, "catalog.toml");
    load(&lab, records);
    let ends = lab.ends(&*lab.broker());
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    // What is visible may be in memory alone. A clean stop brings it to the disk: only the tail can be missing there.
    instance.stop();
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let mut dice = Dice::thrown("a restart beside many records");
    let tail = killed_in_the_tail(&lab, instance, records, &mut dice);
    let mut witness = Witness::default();
    let seen = witness.look(&lab);
    let (times, stderr) = started_again(&lab, records, &tail, &witness.ends, seen, &mut dice);
    let (restored, reindexed) = check_openings(&stderr, &tail);
    lab.verify();
    report(&format!(
        "{on:?}: after a SIGKILL beside {records} records the restart listened after {:.2} s, gave correct answers to reads \
         and searches after {:.2} s, showed every acknowledged update after {:.2} s; restored {restored}, reindexed \
         {reindexed} of a tail of {} updates; whole_index=false",
        times[0],
        times[1],
        times[2],
        tail.acknowledged.len()
    ));
}

/// Seconds until it listens, answers, shows the tail; and what it wrote to stderr.
fn started_again(
    lab: &Lab,
    records: usize,
    tail: &Tail,
    ends: &Ends,
    seen: Seen,
    dice: &mut Dice,
) -> ([f64; 3], String) {
    let sample: Vec<usize> = (0..SAMPLE).map(|_| untouched(dice, records)).collect();
    let since = Instant::now();
    let mut instance = lab.start();
    let listens = since.elapsed();
    wait_answers(&instance, records, &sample, since);
    let answers = since.elapsed();
    assert!(answers < BROKEN, "the first answers took {answers:?}");
    check_updates(&instance, tail);
    let updates = since.elapsed();
    instance.wait_caught_up(ends);
    assert_eq!(counted(&instance.client()), seen.unread, "events consumed by the process that began at {seen:?}");
    instance.signal("TERM");
    let (status, stderr) = instance.wait_end();
    assert!(status.success(), "keld did not stop cleanly: {status}\n{stderr}");
    ([listens, answers, updates].map(|t| t.as_secs_f64()), stderr)
}

/// Everything but the tail was in the store and visible when the first update was sent.
fn check_openings(stderr: &str, tail: &Tail) -> (u64, u64) {
    let opened = openings(stderr);
    let sent = (tail.acknowledged.len() + CHUNK) as u64;
    assert_eq!(opened.len(), PARTITIONS as usize, "{stderr}");
    assert!(opened.iter().all(|o| !o.whole_index), "the index was fed whole: {opened:?}");
    let (restored, reindexed) = opened.iter().fold((0, 0), |(r, i), o| (r + o.restored, i + o.reindexed));
    assert!(restored <= sent && reindexed <= sent, "{opened:?}, and the tail has at most {sent} updates");
    (restored, reindexed)
}

fn key(i: usize) -> String {
    format!("sku-{i:08}")
}

fn event(i: usize) -> Value {
    json!({
        "event_id": format!("e-{i}"), "sku": key(i), "ts": 1_700_000_000_000_u64 + i as u64,
        "title": format!("walnut desk {}", i % 1_000), "brand": format!("brand-{:03}", i % 500),
        "category": "office", "description": format!("record number {i}, made for everyday use at home or on the road"),
    })
}

/// The record that [`event`] gives.
fn record(i: usize) -> Value {
    let mut record = event(i);
    let members = record.as_object_mut().unwrap();
    members.remove("event_id");
    members.remove("ts");
    record
}

fn price(i: usize) -> f64 {
    (i % 9_000) as f64 / 100.0 + 1.0
}

/// The last tenth of the keys is updated, the others are not.
const fn first_updated(records: usize) -> usize {
    records / 10 * 9
}

fn untouched(dice: &mut Dice, records: usize) -> usize {
    usize::try_from(dice.below(first_updated(records) as u64)).unwrap()
}

fn load(lab: &Lab, records: usize) {
    for from in (0..records).step_by(PART) {
        let to = records.min(from + PART);
        let delivery = |i| Delivery { topic: "catalog".into(), key: key(i), body: event(i).to_string() };
        lab.load(&(from..to).map(delivery).collect::<Vec<_>>());
    }
}

/// What was sent before the kill.
struct Tail {
    /// Keys whose update was acknowledged, in the order sent, each with the position that its request got.
    acknowledged: Vec<(usize, String)>,
}

/// Sends updates until the kill, which comes at a random moment.
fn killed_in_the_tail(lab: &Lab, mut instance: Instance, records: usize, dice: &mut Dice) -> Tail {
    let (client, over, moment) = (instance.client(), AtomicBool::new(false), dice.pause(TAIL) + TAIL / 4);
    let topic = lab.topic("pricing");
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| send_updates(&client, &topic, records, &over));
        std::thread::sleep(moment);
        instance.child.kill().unwrap();
        over.store(true, Ordering::Relaxed);
        instance.wait_end();
        sender.join().unwrap()
    })
}

fn send_updates(client: &Client, topic: &str, records: usize, over: &AtomicBool) -> Tail {
    let mut tail = Tail { acknowledged: Vec::new() };
    let mut rest: VecDeque<usize> = (first_updated(records)..records).collect();
    while !over.load(Ordering::Relaxed) && rest.len() >= CHUNK {
        let keys: Vec<usize> = rest.drain(..CHUNK).collect();
        let line = |i: &usize| {
            json!({"event_id": format!("p-{i}"), "sku": key(*i), "ts": 1_750_000_000_000_u64 + *i as u64, "price": price(*i)}).to_string() + "\n"
        };
        let lines: String = keys.iter().map(line).collect();
        let Ok((200, answer)) =
            client.try_post(&format!("/v1/topics/{topic}/events"), "application/x-ndjson", lines.as_bytes())
        else {
            break;
        };
        let positions = answer["positions"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned());
        tail.acknowledged.extend(keys.into_iter().zip(positions));
    }
    tail
}

/// Waits until records and search answer; whatever they answer with success must be right.
fn wait_answers(instance: &Instance, records: usize, sample: &[usize], since: Instant) {
    let client = instance.client();
    for i in sample {
        let path = format!("/v1/tables/{TABLE}/records/{}", key(*i));
        let answer = patiently(&client, &path, since);
        assert_eq!(answer["record"], record(*i), "{path}");
    }
    let all = patiently(&client, &format!("/v1/tables/{TABLE}/search?limit=1"), since);
    assert_eq!(all["total"], records, "documents in all");
    for i in sample.iter().take(SAMPLE / 10) {
        let filter = escape(&format!("sku:\"{}\"", key(*i)));
        let answer = patiently(&client, &format!("/v1/tables/{TABLE}/search?filter={filter}"), since);
        assert_eq!(
            (&answer["total"], &answer["hits"][0]["record"]),
            (&json!(1), &record(*i)),
            "search for {}",
            key(*i)
        );
    }
}

/// Repeats a request while the instance says that it is not ready (503).
fn patiently(client: &Client, path: &str, since: Instant) -> Value {
    loop {
        let (status, answer) = client.get_any(path);
        if status == 200 {
            return answer;
        }
        assert_eq!(status, 503, "GET {path}: {answer}");
        assert!(since.elapsed() < BROKEN, "GET {path}: {answer}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Every update that was acknowledged before the kill is there.
fn check_updates(instance: &Instance, tail: &Tail) {
    let client = instance.client();
    for (i, position) in &tail.acknowledged {
        let path = format!("/v1/tables/{TABLE}/records/{}?at_least={}&timeout=10s", key(*i), escape(position));
        let mut expected = record(*i);
        expected["price"] = json!(price(*i));
        assert_eq!(client.get(&path)["record"], expected, "{path}");
    }
}
