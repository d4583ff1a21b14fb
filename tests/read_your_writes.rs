//! Who writes an event and passes the position it was given gets an answer that covers it: by key, and by search.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::client::{Client, escape};
use common::lab::{Lab, On};
use common::{report, scaled};
use serde_json::{Value, json};

/// Clients at a time. One waits for commits most of the time.
const CLIENTS: usize = 8;
/// Keys of each client: most writes change a record that is there.
const KEYS: usize = 20;

const CONFIG: &str = r#"
application = "writes"

[memory]
budget = "256MiB"

[tables.notes]
key = "id"

[tables.notes.sources.notes]
topic = "notes"
version = "v"
version_kind = "sequence"

[tables.notes.fields]
body = { type = "text" }
size = { type = "integer" }
"#;

/// A client's writes, each read back in both ways; how long each reading took.
fn write_and_read(client: &Client, topic: &str, name: usize, writes: usize) -> Vec<Duration> {
    let mut took = Vec::with_capacity(writes);
    for n in 0..writes {
        let id = format!("client {name}/key {}", n % KEYS);
        let event = json!({"id": id, "v": n, "size": n, "body": format!("word{n} of {name}")});
        let answer = client.ingest(topic, &event.to_string());
        let fresh = format!("at_least={}&timeout=9s", escape(answer["at_least"].as_str().unwrap()));
        let record = json!({"id": id, "size": n, "body": format!("word{n} of {name}")});
        let since = Instant::now();
        // The other one finds it there already: each must wait by itself.
        if n.is_multiple_of(2) {
            by_key(client, &id, &fresh, &record);
            by_search(client, &id, &fresh, &record);
        } else {
            by_search(client, &id, &fresh, &record);
            by_key(client, &id, &fresh, &record);
        }
        took.push(since.elapsed());
    }
    took
}

fn by_key(client: &Client, id: &str, fresh: &str, record: &Value) {
    let answer = client.get(&format!("/v1/tables/notes/records/{}?{fresh}", escape(id)));
    assert_eq!(answer["record"], *record, "{answer}");
}

/// By what only this event has said: the index must hold it, not just the store that a hit is fetched from.
fn by_search(client: &Client, id: &str, fresh: &str, record: &Value) {
    let (key, size) = (escape(&format!("id:\"{id}\"")), record["size"].as_u64().unwrap());
    let query = format!("q=body:word{size}&filter={key}&filter=size:{size}&limit=5&{fresh}");
    let answer = client.get(&format!("/v1/tables/notes/search?{query}"));
    assert_eq!(answer["total"], 1, "{query}: {answer}");
    assert_eq!(answer["hits"][0]["record"], *record, "{query}: {answer}");
}

fn read_your_writes(on: On) {
    let writes = scaled(10_000) / CLIENTS;
    let lab = Lab::with_config(on, CONFIG);
    lab.load(&[]);
    let mut instance = lab.start();
    instance.wait_for("all tasks to run", |client| (client.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    let (client, topic) = (instance.client(), lab.topic("notes"));
    let mut took: Vec<Duration> = std::thread::scope(|scope| {
        let start = |name| {
            scope.spawn({
                let (client, topic) = (&client, &topic);
                move || write_and_read(client, topic, name, writes)
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(start).collect();
        clients.into_iter().flat_map(|c| c.join().unwrap()).collect()
    });
    assert_eq!(took.len(), writes * CLIENTS);
    instance.stop();
    took.sort();
    report(&format!(
        "{on:?}: {} writes read by key and by search with at_least; from the acknowledgement to both: median {:.0} ms, p99 {:.0} ms",
        took.len(),
        took[took.len() / 2].as_secs_f64() * 1e3,
        took[took.len() * 99 / 100].as_secs_f64() * 1e3,
    ));
}

#[test]
fn a_client_reads_its_writes_on_the_embedded_log() {
    read_your_writes(On::Local);
}

#[test]
fn a_client_reads_its_writes_on_kafka() {
    read_your_writes(On::Kafka);
}
