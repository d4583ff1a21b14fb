//! Rows about deletes.

use std::collections::BTreeMap;
use std::time::Instant;

use keld::broker::TopicSpec;
use keld::broker::local::{LocalBroker, LocalOptions};
use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::bench::{Bench, TABLE, a, b};
use crate::common::client::{Client, escape};
use crate::common::lab::{Instance, On, PARTITIONS, PATIENCE};
use crate::common::workload::Delivery;

/// One key of every partition.
pub(crate) fn key_of_every_partition() -> Vec<String> {
    let of = |partition| {
        let is = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS) == Some(partition);
        (0..).map(|n| format!("filler-{n}")).find(is).unwrap()
    };
    (0..PARTITIONS).map(of).collect()
}

/// Makes the changelog with segments that Kafka closes and cleans at once; the embedded log is cleaned on demand.
pub(crate) fn make_hastily_cleaned_changelog(bench: &Bench) {
    let settings = [
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "1"),
        ("delete.retention.ms", "1"),
    ];
    let spec = TopicSpec {
        name: bench.settings().changelog_topic(TABLE),
        partitions: PARTITIONS,
        replication: -1,
        compacted: true,
        settings: settings.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
    };
    bench.lab.broker().create_topic(&spec).unwrap();
}

/// Records of `dead` in the changelog.
pub(crate) fn records_of_dead(bench: &Bench) -> Vec<Option<Vec<u8>>> {
    bench.changelog_records().into_iter().filter(|(key, _)| key == "dead").map(|(_, payload)| payload).collect()
}

/// Brings the changelog to be cleaned: one record of `dead` is left, or none of a null. The versions of the fillers begin behind
/// `from`. Ends the instance.
pub(crate) fn compact(bench: &mut Bench, instance: Instance, fillers: &[String], from: i64) -> i64 {
    let mut round = 0;
    let until = Instant::now() + PATIENCE;
    loop {
        round += 1;
        let filler = |id: &String| a(&json!({"id": id, "v": from + round, "e": round, "size": round}));
        bench.send(&instance.client(), &fillers.iter().map(filler).collect::<Vec<_>>());
        if bench.lab.on == On::Local || records_of_dead(bench).len() <= 1 {
            break;
        }
        assert!(Instant::now() < until, "Kafka does not clean the changelog");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    instance.stop();
    if bench.lab.on == On::Local {
        let log = bench.lab.data_dir().join(&bench.lab.name).join("log");
        let broker = LocalBroker::open(&log, LocalOptions::default()).unwrap();
        assert!(broker.compact_now(&bench.settings().changelog_topic(TABLE)).unwrap() > 0, "nothing was cleaned");
    }
    round
}

/// Row 5: deleted, compacted, restarted, rebuilt from the changelog; then the late events.
pub(crate) fn bug_05_a_late_event_does_not_bring_the_dead_back(on: On) {
    let mut bench = Bench::new(on);
    make_hastily_cleaned_changelog(&bench);
    let instance = bench.start();
    let client = instance.client();
    for v in 1..=10 {
        bench.send(&client, &[a(&json!({"id": "dead", "v": v, "e": v, "name": format!("alive {v}"), "sold": 1}))]);
    }
    bench.send(&client, &[b(&json!({"id": "dead", "v": 11, "e": "b", "colour": "red"}))]);
    bench.send(&client, &[a(&json!({"id": "living", "v": 1, "e": 1, "name": "still here"}))]);
    bench.expect(&[
        json!({"id": "living", "name": "still here"}),
        json!({"id": "dead", "name": "alive 10", "sold": 10, "colour": "red"}),
    ]);
    bench.check(&instance, &[("a", [11, 0, 0, 0]), ("b", [1, 0, 0, 0])]);
    bench.send(&client, &[a(&json!({"id": "dead", "v": 20, "gone": true}))]);

    let fillers = key_of_every_partition();
    let rounds = compact(&mut bench, instance, &fillers, 0);
    let filled = |id: &String| json!({"id": id, "size": rounds});
    let mut expected: Vec<Value> = fillers.iter().map(filled).collect();
    expected.push(json!({"id": "living", "name": "still here"}));
    bench.expect(&expected);
    let left = records_of_dead(&bench);
    assert!(matches!(left.as_slice(), [Some(_)]), "of a deleted key its mark is left, and nothing else: {left:?}");
    let applied = 12 + u64::try_from(rounds).unwrap() * u64::from(PARTITIONS);

    bench.start().stop();
    let instance = bench.start_with(&["--rebuild"]);
    bench.check(&instance, &[("a", [applied, 0, 0, 0]), ("b", [1, 0, 0, 0])]);
    let late = [
        a(&json!({"id": "dead", "v": 15, "e": "late", "name": "a ghost", "sold": 1})),
        a(&json!({"id": "dead", "v": 20, "e": "later", "name": "a ghost", "tags": ["x"]})),
        b(&json!({"id": "dead", "v": 20, "e": "late", "colour": "grey"})),
    ];
    bench.send(&instance.client(), &late);
    bench.check(&instance, &[("a", [applied, 0, 2, 0]), ("b", [1, 0, 1, 0])]);
    instance.stop();
    bench.whole_path(&[("a", [applied, 0, 2, 0]), ("b", [1, 0, 1, 0])]);

    // What is newer comes back, and nothing of the old with it.
    bench.load(&[b(&json!({"id": "dead", "v": 21, "e": "new", "colour": "green"}))]);
    expected.push(json!({"id": "dead", "colour": "green"}));
    bench.expect(&expected);
    bench.whole_path(&[("a", [applied, 0, 2, 0]), ("b", [2, 0, 1, 0])]);
}

/// Row 6: before and after the event, at a lower, an equal and a higher version, from the same and from another source.
pub(crate) fn bug_06_a_delete_at_an_equal_or_higher_version_deletes(on: On) {
    let row = |id: &str, v: i64| a(&json!({"id": id, "v": v, "e": v, "name": "kept", "sold": 3, "tags": ["x"]}));
    let delete = |id: &str, v: i64| a(&json!({"id": id, "v": v, "gone": true}));
    let by_other = |id: &str, v: i64| b(&json!({"id": id, "v": v, "gone": true}));
    let size = |id: &str, v: i64| a(&json!({"id": id, "v": v, "e": v, "size": 9}));
    let steps: [Vec<Delivery>; 3] = [
        vec![
            row("equal", 5),
            row("higher", 5),
            row("lower", 5),
            row("other", 5),
            row("split", 5),
            delete("equal-first", 5),
            delete("higher-first", 6),
            delete("lower-first", 4),
            delete("split-first", 7),
            by_other("other-first", 5),
        ],
        vec![
            delete("equal", 5),
            delete("higher", 6),
            delete("lower", 4),
            size("split", 9),
            row("equal-first", 5),
            row("higher-first", 5),
            row("lower-first", 5),
            row("other-first", 5),
            size("split-first", 9),
            by_other("other", 5),
        ],
        vec![delete("split", 7), row("split-first", 5)],
    ];
    let mut bench = Bench::new(on);
    bench.expect(&[
        json!({"id": "lower", "name": "kept", "sold": 3, "tags": ["x"]}),
        json!({"id": "lower-first", "name": "kept", "sold": 3, "tags": ["x"]}),
        json!({"id": "split", "size": 9}),
        json!({"id": "split-first", "size": 9}),
    ]);
    let instance = bench.start();
    steps.iter().for_each(|step| bench.send(&instance.client(), step));
    instance.stop();
    // Stale: what came after a delete that covers it, of four keys.
    bench.whole_path(&[("a", [16, 0, 4, 0]), ("b", [2, 0, 0, 0])]);
}

/// Every way to read says that exactly these records are there, of all `keys`.
fn agree(instance: &Instance, keys: &[&str], live: &BTreeMap<&str, Value>) {
    let client = instance.client();
    for key in keys {
        let (status, one) = client.get_any(&format!("/v1/tables/{TABLE}/records/{key}"));
        match live.get(key) {
            Some(record) => assert_eq!((status, &one["record"]), (200, record), "GET {key}"),
            None => assert_eq!((status, &one["reason"]), (404, &json!("no_such_record")), "GET {key}"),
        }
        let found = search(&client, &format!("filter={}", escape(&format!("id:\"{key}\""))));
        let wanted: Vec<&Value> = live.get(key).into_iter().collect();
        assert_eq!(found, wanted.into_iter().cloned().collect::<Vec<_>>(), "search for {key}");
    }
    let answer = client.post(&format!("/v1/tables/{TABLE}/records/get"), &json!({ "keys": keys }));
    let many: Vec<Value> = keys.iter().map(|k| json!({"key": k, "record": live.get(k)})).collect();
    assert_eq!(answer["records"], json!(many), "multi-get");
    let missing: Vec<&&str> = keys.iter().filter(|k| !live.contains_key(**k)).collect();
    assert_eq!(answer["missing"], json!(missing), "multi-get");
    let all: Vec<Value> = live.values().cloned().collect();
    for query in ["limit=100&sort=_key", "q=common&limit=100&sort=_key", "filter=colour:red&limit=100&sort=_key"] {
        assert_eq!(search(&client, query), all, "{query}");
    }
    let documents = &client.get("/v1/status")["tables"][0]["documents"];
    assert_eq!(*documents, live.len(), "documents of the index");
}

/// The records found; as many as are counted.
fn search(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/v1/tables/{TABLE}/search?{query}"));
    let records: Vec<Value> = answer["hits"].as_array().unwrap().iter().map(|h| h["record"].clone()).collect();
    assert_eq!(answer["total"], records.len(), "{query}: counted and found");
    let uncounted = client.get(&format!("/v1/tables/{TABLE}/search?{query}&count=none"));
    assert_eq!(uncounted["total"], Value::Null, "{query}");
    assert_eq!(uncounted["hits"], answer["hits"], "{query}: without counting");
    records
}

/// Row 7: GET, multi-get, search by key, by word, by filter, by nothing, and counts agree: alive, deleted, revived, after a
/// restart, after a restore.
pub(crate) fn bug_07_every_read_agrees_on_a_deleted_row(on: On) {
    const KEYS: [&str; 6] = ["k0", "k1", "k2", "k3", "k4", "never-there"];
    let mut bench = Bench::new(on);
    let named = |key: &str| json!({"id": key, "name": format!("common {key}"), "colour": "red", "sold": 2});
    let mut live: BTreeMap<&str, Value> = KEYS[..5].iter().map(|k| (*k, named(k))).collect();
    let row =
        |k: &&str| a(&json!({"id": k, "v": 5, "e": k, "name": format!("common {k}"), "colour": "red", "sold": 2}));
    bench.load(&KEYS[..5].iter().map(row).collect::<Vec<_>>());
    let instance = bench.start();
    agree(&instance, &KEYS, &live);

    let deletes = [a(&json!({"id": "k1", "v": 6, "gone": true})), b(&json!({"id": "k3", "v": 5, "gone": true}))];
    bench.send(&instance.client(), &deletes);
    live.remove("k1");
    live.remove("k3");
    agree(&instance, &KEYS, &live);
    bench.send(
        &instance.client(),
        &[b(&json!({"id": "k3", "v": 9, "e": "r", "name": "common again", "colour": "red"}))],
    );
    live.insert("k3", json!({"id": "k3", "name": "common again", "colour": "red"}));
    agree(&instance, &KEYS, &live);
    bench.send(
        &instance.client(),
        &[a(&json!({"id": "k4", "v": 7, "e": "c", "name": null, "colour": null, "sold": null}))],
    );
    live.remove("k4");
    agree(&instance, &KEYS, &live);
    instance.stop();

    bench.expect(&live.values().cloned().collect::<Vec<_>>());
    let instance = bench.start();
    agree(&instance, &KEYS, &live);
    instance.stop();
    bench.lose_store_and_index();
    let instance = bench.start();
    agree(&instance, &KEYS, &live);
    instance.stop();
    bench.whole_path(&[("a", [7, 0, 0, 0]), ("b", [2, 0, 0, 0])]);
}
