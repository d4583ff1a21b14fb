//! `keld ingest`: files into topics, through an instance and through Kafka; what is refused is named by its line.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::lab::{Instance, Lab, On};
use serde_json::{Value, json};

const CONFIG: &str = r#"application = "shop"
[tables.products]
key = "sku"
[tables.products.sources.prices]
topic = "prices"
version = "ts"
[tables.products.fields]
amount = { type = "integer" }
[tables.notes]
key = "@key"
[tables.notes.sources.notes]
topic = "notes"
version = "ts"
"#;

/// Runs `keld ingest` of a text; `file` names the file that it is put into, `-` gives it to standard input.
fn ingest(lab: &Lab, instance: &Instance, file: &str, text: &str, arguments: &[&str]) -> Output {
    let mut command: Command = lab.command("ingest");
    let path = lab.dir.path().join(file);
    match file {
        "-" => command.arg("-").stdin(Stdio::piped()),
        _ => {
            std::fs::write(&path, text).unwrap();
            command.arg(&path)
        }
    };
    if lab.on == On::Local {
        command.args(["--url", instance.address.as_deref().unwrap()]);
    }
    let mut child = command.args(arguments).spawn().unwrap();
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).unwrap();
    }
    child.wait_with_output().unwrap()
}

fn record(instance: &mut Instance, table: &str, key: &str) -> Value {
    let path = format!("/v1/tables/{table}/records/{key}");
    instance.wait_for(&path, |client| match client.get_any(&path) {
        (200, answer) => Some(answer["record"].clone()),
        _ => None,
    })
}

fn files_into_topics(on: On) {
    let lab = Lab::with_config(on, CONFIG);
    if on == On::Kafka {
        lab.create_sources(&*lab.broker());
    }
    let mut instance = lab.start();
    let (prices, notes) = (lab.topic("prices"), lab.topic("notes"));
    let csv = "sku,ts,amount,note\nk-1,1700000000001,12,\"a, b\"\nk-2,1700000000002,,x\n";
    let done = ingest(&lab, &instance, "prices.csv", csv, &["--topic", &prices]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), format!("2 events were sent to {prices}\n"));
    let first = json!({"sku": "k-1", "amount": 12, "note": "a, b", "ts": "1700000000001"});
    assert_eq!(without(record(&mut instance, "products", "k-1"), "ts"), without(first, "ts"));
    assert_eq!(without(record(&mut instance, "products", "k-2"), "ts"), json!({"sku": "k-2", "note": "x"}));

    let bad =
        "{\"sku\":\"k-3\",\"ts\":1,\"amount\":3}\n\n{\"ts\":2}\nno JSON\n{\"sku\":\"k-4\",\"ts\":3,\"amount\":4}\n";
    let done = ingest(&lab, &instance, "-", bad, &["--topic", &prices]);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("\nline 4: ") || stderr.starts_with("line 4: "), "{stderr}");
    assert!(stderr.contains("line 3: missing_key: sku"), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("keld: error: 2 of 4 lines were refused, 2 events were sent"), "{last}");
    record(&mut instance, "products", "k-3");
    record(&mut instance, "products", "k-4");

    let keyed = "{\"id\":\"n-1\",\"ts\":1,\"text\":\"a\"}\n{\"id\":\"n-2\",\"ts\":1,\"text\":\"b\"}\n";
    let done = ingest(&lab, &instance, "notes.ndjson", keyed, &["--topic", &notes, "--key", "id"]);
    assert!(done.status.success(), "{done:?}");
    assert_eq!(record(&mut instance, "notes", "n-2")["text"], "b");
    let done = ingest(&lab, &instance, "notes.ndjson", keyed, &["--topic", &notes]);
    let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && stderr.contains("line 1: null_key: @key"), "{stderr}");

    let done = ingest(&lab, &instance, "x.ndjson", keyed, &["--topic", "nobody-reads-it"]);
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    instance.stop();
}

fn without(mut record: Value, member: &str) -> Value {
    record.as_object_mut().unwrap().remove(member);
    record
}

#[test]
fn files_go_into_topics_through_an_instance() {
    files_into_topics(On::Local);
}

#[test]
fn files_go_into_topics_of_kafka() {
    files_into_topics(On::Kafka);
}
