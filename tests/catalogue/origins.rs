//! Rows about what a source is taken to say: by the place of an event in its log, or by a value that stands for none.

use std::fs;

use serde_json::{Value, json};

use crate::bench::{Bench, TABLE, event};
use crate::common::client::escape;
use crate::common::lab::{On, PARTITIONS};
use crate::common::workload::Delivery;
use crate::deletes::key_of_every_partition;

/// Two sources whose events nothing but their versions tells apart: no ids, no rank.
const OFFSETS: &str = r#"
application = "items"

[memory]
budget = "256MiB"

[tables.items]
key = "id"

[tables.items.sources.lost]
topic = "lost"
version = "v"
version_kind = "sequence"
delete = { field = "gone", equals = true }

[tables.items.sources.restored]
topic = "restored"
version = "v"
version_kind = "sequence"
delete = { field = "gone", equals = true }

[tables.items.fields]
name = { type = "text" }
size = { type = "integer" }
best = { type = "integer", merge = "max" }
"#;

/// Events that stand before anything else in every partition of the lost topic.
const PADDING: u32 = 50;

/// What the lost topic says of each key. The highest offset is never the highest version.
fn first_life(topic: &str, keys: &[String]) -> Vec<Delivery> {
    let of = |key: &String| {
        let dead = format!("{key}-dead");
        [
            event(topic, &json!({"id": key, "v": 30, "name": "thirty", "best": 30})),
            event(topic, &json!({"id": key, "v": 10, "name": "ten", "size": 10, "best": 99})),
            event(topic, &json!({"id": key, "v": 20, "name": "twenty", "size": 20})),
            event(topic, &json!({"id": dead, "v": 40, "gone": true})),
            event(topic, &json!({"id": dead, "v": 35, "name": "a ghost"})),
        ]
    };
    keys.iter().flat_map(of).collect()
}

/// What is new in the new topic: between, newer, and older than all.
fn second_life(keys: &[String]) -> Vec<Delivery> {
    let event = |body: &Value| event("restored", body);
    let of = |key: &String| {
        [
            event(&json!({"id": key, "v": 25, "name": "twenty-five", "size": 25, "best": 1})),
            event(&json!({"id": key, "v": 31, "name": "thirty-one"})),
            event(&json!({"id": key, "v": 5, "name": "five", "size": 5})),
            event(&json!({"id": format!("{key}-dead"), "v": 39, "name": "a late ghost"})),
        ]
    };
    keys.iter().flat_map(of).collect()
}

/// Row 9: a topic is lost, and restored under another name, at lower offsets and in another order; then it goes on.
pub(crate) fn bug_09_a_topic_that_is_made_anew_at_lower_offsets_changes_no_order(on: On) {
    let mut bench = Bench::with_config(on, OFFSETS);
    let (lost, restored) = (bench.lab.topic("lost"), bench.lab.topic("restored"));
    let both = fs::read_to_string(&bench.lab.config).unwrap();
    let (before, rest) = both.split_once("[tables.items.sources.restored]").unwrap();
    let only_lost = format!("{before}{}", &rest[rest.find("[tables.items.fields]").unwrap()..]);
    fs::write(&bench.lab.config, &only_lost).unwrap();

    let keys = key_of_every_partition();
    let padding = |key: &String| vec![event("lost", &json!({"id": key, "v": 1, "name": "first"})); PADDING as usize];
    bench.load(&keys.iter().flat_map(padding).collect::<Vec<_>>());
    bench.load(&first_life("lost", &keys));
    let all = |name: &str, size: u32| -> Vec<Value> {
        keys.iter().map(|key| json!({"id": key, "name": name, "size": size, "best": 99})).collect()
    };
    bench.expect(&all("thirty", 20));
    bench.whole_path(&[]);
    let known = bench.changelog();

    // The same source over another topic: it must not go on there at the offset that it had reached in the lost one.
    fs::write(&bench.lab.config, only_lost.replace(&lost, &restored)).unwrap();
    bench.lose_store_and_index();
    let (status, told) = bench.lab.spawn(&[], &[]).wait_end();
    let last = told.lines().last().unwrap();
    assert!(!status.success() && last.contains(&lost) && last.contains(&restored), "{status}\n{told}");
    assert!(bench.changelog() == known, "who refuses to begin writes nothing");

    // As a source of its own it is read from its start: all that the lost one said, the last first, and more.
    fs::write(&bench.lab.config, &both).unwrap();
    let mut again = first_life("restored", &keys);
    again.reverse();
    bench.load(&again);
    bench.load(&second_life(&keys));
    let ends = bench.lab.ends(&*bench.lab.broker());
    for partition in 0..PARTITIONS {
        let end = ends[&(restored.clone(), partition)];
        assert!((1..i64::from(PADDING)).contains(&end), "offset {end} in partition {partition} is no lower one");
    }
    bench.expect(&all("thirty-one", 25));
    bench.whole_path(&[]);
    let instance = bench.start();
    let account = instance.client().get("/v1/status")["tables"][0]["accounting"]["restored"].clone();
    // Of each key version 25 for its size and version 31 for its name; what is repeated says nothing new.
    assert_eq!(account["applied"], 2 * PARTITIONS, "{account}");
    instance.stop();
}

/// A table of columns as PostgreSQL keeps them apart when they are large. The source `raw` takes every value for one.
const CHANGES: &str = r#"
application = "items"

[memory]
budget = "256MiB"

[tables.items]
key = "id"
dynamic = "store"

[tables.items.sources.db]
topic = "db"
format = "debezium-json"

[tables.items.sources.raw]
topic = "raw"
format = "debezium-json"
sentinels = []

[tables.items.fields]
name = { type = "keyword" }
about = { type = "text" }
tags = { type = "keyword" }
photo = { type = "keyword" }
"#;

/// What Debezium writes for a column that it does not know, and the same in a column of bytes.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
const UNAVAILABLE_BYTES: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// A change as the connector for PostgreSQL writes it, its schema beside it or not.
fn change(topic: &str, op: &str, at: i64, schema: bool, row: &Value) -> Delivery {
    let change = json!({
        "before": null, "after": row, "op": op, "ts_ms": at + 7, "transaction": null,
        "source": {
            "version": "2.7.3.Final", "connector": "postgresql", "name": "shop", "ts_ms": at, "snapshot": "false",
            "db": "shop", "schema": "public", "table": "items", "txId": 556, "lsn": 24_023_128 + at, "xmin": null
        }
    });
    let body = match schema {
        true => json!({"schema": {"type": "struct", "optional": false, "name": "shop.Envelope"}, "payload": change}),
        false => change,
    };
    Delivery { topic: topic.into(), key: row["id"].as_str().unwrap().into(), body: body.to_string() }
}

/// A row of which an update changed the name only, so that the log of the database does not hold the rest.
fn untouched(id: &str, name: &str) -> Value {
    json!({
        "id": id, "name": name, "about": UNAVAILABLE, "tags": [UNAVAILABLE], "photo": UNAVAILABLE_BYTES, "note": UNAVAILABLE
    })
}

/// The keys that a filter finds, in order.
fn found(bench: &Bench, filter: &str) -> Vec<String> {
    let instance = bench.start();
    let path = format!("/v1/tables/{TABLE}/search?sort=_key&filter={}", escape(filter));
    let answer = instance.client().get(&path);
    instance.stop();
    answer["hits"].as_array().unwrap().iter().map(|hit| hit["key"].as_str().unwrap().to_owned()).collect()
}

/// Row 13: what says that a column was not touched is no value of it, neither in order nor late nor alone.
pub(crate) fn bug_13_what_stands_for_an_untouched_column_is_never_a_value(on: On) {
    const START: i64 = 1_700_000_000_000;
    let large = "a long story ".repeat(1_000);
    let mut bench = Bench::with_config(on, CHANGES);
    let whole = json!({
        "id": "row", "name": "one", "about": large, "tags": ["x", "y"], "photo": "QUJD", "note": "of no declared field"
    });
    let mut later = untouched("row", "two and a half");
    later["about"] = json!("rewritten");
    let quoting = json!({"id": "quoting", "name": "q", "about": format!("what is {UNAVAILABLE}?"), "tags": ["x"]});
    bench.load(&[
        change("db", "c", START, true, &whole),
        change("db", "u", START + 3_000, true, &untouched("row", "three")),
        change("db", "u", START, false, &untouched("bare", "never seen whole")),
        change("db", "c", START, false, &quoting),
        change("raw", "u", START, false, &untouched("raw", "as it is")),
    ]);
    let bare = json!({"id": "bare", "name": "never seen whole"});
    // Without its sentinels the same row is what it looks like: this fixture would show the bug.
    let raw = untouched("raw", "as it is");
    let row = |about: &str| {
        json!({
            "id": "row", "name": "three", "about": about, "tags": ["x", "y"], "photo": "QUJD", "note": "of no declared field"
        })
    };
    bench.expect(&[row(&large), bare.clone(), quoting.clone(), raw.clone()]);
    bench.whole_path(&[("db", [4, 0, 0, 0]), ("raw", [1, 0, 0, 0])]);

    // Later to come, earlier in the database: what came first has said nothing of this column.
    bench.load(&[change("db", "u", START + 2_500, false, &later)]);
    bench.expect(&[row("rewritten"), bare, quoting, raw]);
    bench.whole_path(&[("db", [5, 0, 0, 0]), ("raw", [1, 0, 0, 0])]);

    assert_eq!(found(&bench, &format!("about:\"{UNAVAILABLE}\"")), ["quoting", "raw"]);
    assert_eq!(found(&bench, &format!("tags:\"{UNAVAILABLE}\"")), ["raw"]);
    assert_eq!(found(&bench, &format!("photo:\"{UNAVAILABLE_BYTES}\"")), ["raw"]);
    let stored = |key: &str| {
        let bytes = bench.changelog()[key].clone().unwrap();
        [UNAVAILABLE, UNAVAILABLE_BYTES].map(|text| bytes.windows(text.len()).any(|w| w == text.as_bytes()))
    };
    assert_eq!((stored("row"), stored("bare"), stored("raw")), ([false; 2], [false; 2], [true; 2]));
}
