//! Row 5 with a horizon, and what else event time ends.

use keld::broker::NewRecord;
use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::bench::{Bench, TABLE, a, b};
use crate::common::client::Client;
use crate::common::lab::{Instance, On, PARTITIONS};
use crate::common::workload::Delivery;
use crate::deletes::{compact, key_of_every_partition, make_hastily_cleaned_changelog, records_of_dead};

/// Versions are times; `RULES` stands for the table's settings.
const CONFIG: &str = r#"
application = "items"

[memory]
budget = "256MiB"

[tables.items]
key = "id"
RULES

[tables.items.sources.a]
topic = "a"
version = "v"
event_id = "e"
rank = 1
delete = { field = "gone", equals = true }

[tables.items.sources.b]
topic = "b"
version = "v"
event_id = "e"
rank = 2

[tables.items.fields]
name = { type = "text" }
colour = { type = "keyword" }
size = { type = "integer" }
sold = { type = "integer", merge = "sum" }
"#;

fn bench(on: On, rules: &str) -> Bench {
    Bench::with_config(on, &CONFIG.replace("RULES", rules))
}

/// A version so many minutes after some moment long ago.
const fn minute(n: i64) -> i64 {
    1_700_000_000_000 + n * 60_000
}

/// One event in every partition: time passes.
fn time_passes(fillers: &[String], to: i64) -> Vec<Delivery> {
    fillers.iter().map(|id| a(&json!({"id": id, "v": minute(to), "e": to, "size": to}))).collect()
}

/// The sum of something over all tasks.
fn sum(status: &Value, of: &str) -> u64 {
    status["tasks"].as_array().unwrap().iter().map(|task| task[of].as_u64().unwrap()).sum()
}

/// Waits until event time has ended so many tombstones and records, and search shows it.
fn wait_ended(instance: &mut Instance, tombstones: u64, records: u64) {
    instance.wait_for("event time to end what is due", |client| {
        let status = client.get("/v1/status");
        let ended = (sum(&status, "tombstones_removed"), sum(&status, "records_expired"));
        assert!(ended.0 <= tombstones && ended.1 <= records, "ended too much: {status}");
        let shown = status["tasks"].as_array().unwrap().iter().all(|task| task["changelog"] == task["indexed"]);
        (shown && ended == (tombstones, records)).then_some(())
    });
}

/// Waits until the watermark of every partition is what is wanted of it.
fn wait_watermark(instance: &mut Instance, wanted: impl Fn(u32) -> Option<i64>) {
    instance.wait_for("the watermark", |client| {
        let status = client.get("/v1/status");
        let is_there = |task: &Value| {
            let partition = u32::try_from(task["partition"].as_u64().unwrap()).unwrap();
            wanted(partition).is_none_or(|at| task["watermark_ms"] == at)
        };
        status["tasks"].as_array().unwrap().iter().all(is_there).then_some(())
    });
}

fn explained(client: &Client, key: &str) -> Value {
    client.get_any(&format!("/v1/tables/{TABLE}/records/{key}?explain=true")).1["explain"].clone()
}

pub(crate) fn bug_05_beyond_the_horizon_a_late_event_is_accepted_where_nothing_else_is_said(on: On) {
    let late = json!({"id": "dead", "name": "a ghost", "colour": "new"});
    beyond_the_horizon(on, "tombstone_horizon = \"1h\"", late, ([1, 0, 0, 0], 0));
}

pub(crate) fn bug_05_beyond_the_horizon_a_late_event_is_refused_where_that_is_asked_for(on: On) {
    let late = json!({"id": "dead", "colour": "new"});
    let rules = "tombstone_horizon = \"1h\"\nbeyond_horizon = \"refuse\"";
    beyond_the_horizon(on, rules, late, ([0, 0, 0, 1], 1));
}

/// Deleted, the horizon passes, compacted, restarted, rebuilt from the changelog; then the late events, of which one is beyond the
/// horizon. `shown` is what they make of the key; `late` the outcome of that one, and how many are quarantined for it.
fn beyond_the_horizon(on: On, rules: &str, shown: Value, late: ([u64; 4], usize)) {
    let mut bench = bench(on, rules);
    make_hastily_cleaned_changelog(&bench);
    let mut instance = bench.start();
    let client = instance.client();
    bench.send(&client, &[a(&json!({"id": "dead", "v": minute(0), "e": 1, "name": "alive", "sold": 1}))]);
    bench.send(&client, &[a(&json!({"id": "living", "v": minute(0), "e": 1, "name": "still here"}))]);
    bench.send(&client, &[a(&json!({"id": "dead", "v": minute(1), "gone": true}))]);
    bench.send(&client, &[b(&json!({"id": "dead", "v": minute(1), "e": "late", "colour": "grey"}))]);
    let fillers = key_of_every_partition();
    bench.send(&client, &time_passes(&fillers, 61));
    wait_watermark(&mut instance, |_| Some(minute(61)));
    let told = explained(&client, "dead");
    assert_eq!(told["tombstone"], json!([minute(1)]), "at the horizon it stays: {told}");
    assert_eq!(told["tombstone_until_ms"], minute(61));
    assert_eq!(sum(&client.get("/v1/status"), "tombstones_removed"), 0);

    bench.send(&client, &time_passes(&fillers, 62));
    wait_ended(&mut instance, 1, 0);
    assert_eq!(explained(&client, "dead"), Value::Null, "nothing is known of it any more");
    let rounds = compact(&mut bench, instance, &fillers, minute(62));
    let left = records_of_dead(&bench);
    assert!(matches!(left.as_slice(), [] | [None]), "a null, or nothing, is left of it: {left:?}");
    // The rounds come after minute 62, and their numbers begin at 1.
    let mut expected: Vec<Value> = fillers.iter().map(|id| json!({"id": id, "size": rounds})).collect();
    expected.push(json!({"id": "living", "name": "still here"}));
    bench.expect(&expected);
    let applied = 3 + (2 + u64::try_from(rounds).unwrap()) * u64::from(PARTITIONS);

    bench.start().stop();
    let instance = bench.start_with(&["--rebuild"]);
    bench.check(&instance, &[("a", [applied, 0, 0, 0]), ("b", [0, 0, 1, 0])]);
    // Beyond the horizon, and within it.
    bench.send(&instance.client(), &[a(&json!({"id": "dead", "v": minute(0), "e": "later", "name": "a ghost"}))]);
    bench.send(&instance.client(), &[b(&json!({"id": "dead", "v": minute(3), "e": "new", "colour": "new"}))]);
    let refused = instance.client().get(&format!("/v1/quarantine?table={TABLE}&reason=beyond_horizon"));
    assert_eq!(refused["entries"].as_array().unwrap().len(), late.1, "{refused}");
    instance.stop();
    expected.push(shown);
    bench.expect(&expected);
    let [more, _, _, aside] = late.0;
    bench.whole_path(&[("a", [applied + more, 0, 0, aside]), ("b", [1, 0, 1, 0])]);
    if late.1 > 0 {
        expected.pop();
        replayed_by_a_person(&mut bench, expected, applied);
    }
}

/// A person has judged what was refused: it is merged, whether or not its key is known by now.
fn replayed_by_a_person(bench: &mut Bench, mut expected: Vec<Value>, applied: u64) {
    let other = a(&json!({"id": "other", "v": minute(0), "e": "late", "name": "never heard of"}));
    let dead = a(&json!({"id": "dead", "v": minute(0), "e": "later", "name": "a ghost"}));
    let mut instance = bench.start();
    bench.send(&instance.client(), std::slice::from_ref(&other));
    assert_eq!(explained(&instance.client(), "other"), Value::Null, "refused, too");
    instance.wait_for("what was refused", |client| {
        let told = client.get(&format!("/v1/quarantine?table={TABLE}&reason=beyond_horizon"));
        (told["entries"].as_array()?.len() == 2).then_some(())
    });
    let answer = instance.client().post("/v1/quarantine/replay", &json!({"reason": "beyond_horizon"}));
    assert_eq!(answer["replayed"], 2, "{answer}");
    // Not `whole_path`: on Kafka the mark of the replay's transaction stands behind its events, and is no event to wait for.
    instance.wait_for("the replayed events", |client| {
        let total = |q: &str| client.get(&format!("/v1/tables/{TABLE}/search?q={q}"))["total"] == 1;
        (total("ghost") && total("heard")).then_some(())
    });
    bench.workload.deliveries.extend([dead, other]);
    expected.push(json!({"id": "dead", "name": "a ghost", "colour": "new"}));
    expected.push(json!({"id": "other", "name": "never heard of"}));
    bench.expect(&expected);
    bench.check(&instance, &[("a", [applied + 2, 0, 0, 2]), ("b", [1, 0, 1, 0])]);
    instance.stop();
    bench.lab.verify();
}

/// GET, multi-get, search, counts, changelog, restore: an hour after its last event a record is gone from all of them.
pub(crate) fn event_time_ends_records_for_every_reader(on: On) {
    let mut bench = bench(on, "ttl = { from = \"version\", after = \"1h\" }");
    let mut instance = bench.start();
    let client = instance.client();
    let named =
        |id: &str, v: i64| a(&json!({"id": id, "v": minute(v), "e": v, "name": format!("common {id}"), "sold": 2}));
    bench.send(&client, &[named("old1", 0), named("old2", 1), named("young", 1), named("edge", 2)]);
    bench.send(&client, &[b(&json!({"id": "young", "v": minute(50), "e": "x", "colour": "red"}))]);
    let fillers = key_of_every_partition();
    bench.send(&client, &time_passes(&fillers, 60));
    let shown = |id: &str| json!({"id": id, "name": format!("common {id}"), "sold": 2});
    let young = json!({"id": "young", "name": "common young", "sold": 2, "colour": "red"});
    let mut expected: Vec<Value> = fillers.iter().map(|id| json!({"id": id, "size": 60})).collect();
    expected.extend([shown("old1"), shown("old2"), shown("edge"), young.clone()]);
    bench.expect(&expected);
    bench.check(&instance, &[("a", [8, 0, 0, 0]), ("b", [1, 0, 0, 0])]);
    assert_eq!(explained(&client, "old1")["record_until_ms"], minute(60));
    assert_eq!(explained(&client, "young")["record_until_ms"], minute(110));

    bench.send(&client, &time_passes(&fillers, 62));
    wait_ended(&mut instance, 0, 2);
    let mut expected: Vec<Value> = fillers.iter().map(|id| json!({"id": id, "size": 62})).collect();
    expected.extend([shown("edge"), young]);
    bench.expect(&expected);
    bench.check(&instance, &[("a", [12, 0, 0, 0]), ("b", [1, 0, 0, 0])]);
    assert_eq!(client.get(&format!("/v1/tables/{TABLE}/search?q=common"))["total"], 2);
    let metrics = client.try_get("/metrics").unwrap().1;
    let counted = metrics.lines().find(|l| l.starts_with("keld_records_expired_total{table=\"items\"}")).unwrap();
    assert!(counted.ends_with(" 2"), "{counted}");

    // What is over already is not taken; a late part of a record that lives is; a new event begins a new record.
    bench.send(&client, &[b(&json!({"id": "old1", "v": minute(1), "e": "late", "colour": "grey"}))]);
    bench.send(&client, &[b(&json!({"id": "young", "v": minute(0), "e": "late", "sold": 5}))]);
    bench.send(&client, &[b(&json!({"id": "old2", "v": minute(63), "e": "again", "colour": "blue"}))]);
    instance.stop();
    let young = json!({"id": "young", "name": "common young", "sold": 7, "colour": "red"});
    let at = expected.len() - 1;
    expected[at] = young;
    expected.push(json!({"id": "old2", "colour": "blue"}));
    bench.expect(&expected);
    assert_eq!(bench.changelog().get("old1"), Some(&None), "a null tells that it is gone");
    bench.whole_path(&[("a", [12, 0, 0, 0]), ("b", [3, 0, 1, 0])]);

    // Other rules for the same data: its entries are made anew.
    let text = std::fs::read_to_string(&bench.lab.config).unwrap().replace("after = \"1h\"", "after = \"55m\"");
    std::fs::write(&bench.lab.config, text).unwrap();
    let mut instance = bench.start();
    wait_ended(&mut instance, 0, 3);
    instance.stop();
    expected.retain(|record| record["id"] != "edge");
    bench.expect(&expected);
    bench.whole_path(&[("a", [12, 0, 0, 0]), ("b", [3, 0, 1, 0])]);
}

/// Only one partition hears anything; in another stands a tombstone whose horizon has long passed, by the broker's time.
pub(crate) fn a_quiet_partition_goes_by_the_time_of_the_others_where_that_is_asked_for(on: On) {
    for (idle, ended) in [("off", 0), ("1h", 1)] {
        let mut bench = bench(on, &format!("tombstone_horizon = \"1h\"\nidle_after = \"{idle}\""));
        let of = |key: &str| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap();
        let busy = key_of_every_partition().into_iter().find(|key| of(key) != of("dead")).unwrap();
        let now = keld::clock::now_ms();
        let send = |bench: &mut Bench, deliveries: &[Delivery], timestamp_ms: i64| {
            let record = |d: &Delivery| NewRecord { timestamp_ms: Some(timestamp_ms), ..bench.lab.record(d) };
            bench.lab.broker().appender().unwrap().append(deliveries.iter().map(record).collect()).unwrap();
            bench.workload.deliveries.extend_from_slice(deliveries);
        };
        let dead = [
            a(&json!({"id": "dead", "v": now - 9_000_000, "e": 1, "name": "alive"})),
            a(&json!({"id": "dead", "v": now - 8_000_000, "gone": true})),
        ];
        send(&mut bench, &dead, now - 7_200_000);
        send(&mut bench, &[a(&json!({"id": busy, "v": now, "e": 1, "size": 1}))], now);
        bench.expect(&[json!({"id": busy, "size": 1})]);
        let mut instance = bench.start();
        wait_ended(&mut instance, ended, 0);
        let reached = if ended == 0 { now - 8_000_000 } else { now - 3_600_000 };
        wait_watermark(&mut instance, |partition| (partition == of("dead")).then_some(reached));
        instance.stop();
        assert_eq!(bench.changelog()["dead"].is_none(), ended == 1);
        bench.whole_path(&[("a", [3, 0, 0, 0])]);
    }
}
