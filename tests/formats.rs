//! Formats through the built binary: Avro with a schema registry that fails, changes of Debezium, headers; on both brokers.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;
#[path = "common/registry.rs"]
mod registry;

use std::time::Duration;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use common::lab::{Instance, Lab, On};
use keld::broker::{NewRecord, Progress, TopicPartition};
use keld::record::Partitioner;
use registry::TestRegistry;
use serde_json::{Value, json};

const AVRO: &str = r#"application = "formats"
[schema_registry]
username = "keld"
password = "s3cret"
[tables.things]
key = "id"
[tables.things.sources.things]
topic = "things"
format = "avro"
version = "ts"
[tables.things.fields]
amount = { type = "float" }
name = { type = "keyword" }
seen = { type = "date" }
"#;

/// Partitions that the laboratory gives every source topic.
const PARTITIONS: u32 = common::lab::PARTITIONS;

fn first() -> Value {
    json!({"type": "record", "name": "Thing", "fields": [
        {"name": "id", "type": "string"}, {"name": "ts", "type": "long"},
        {"name": "name", "type": ["null", "string"], "default": null}, {"name": "amount", "type": "int"}]})
}

/// A field more, one less, and one promoted.
fn second() -> Value {
    json!({"type": "record", "name": "Thing", "fields": [
        {"name": "id", "type": "string"}, {"name": "ts", "type": "long"}, {"name": "amount", "type": "double"},
        {"name": "seen", "type": {"type": "long", "logicalType": "timestamp-micros"}, "default": 0}]})
}

fn avro(id: u32, schema: &Value, fields: Vec<(&str, Avro)>) -> Vec<u8> {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let schema = Schema::parse(schema).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    let datum = writer.write_value_to_vec(Avro::Record(fields)).unwrap();
    [&[0], &id.to_be_bytes()[..], &datum].concat()
}

fn text(text: &str) -> Avro {
    Avro::String(text.to_owned())
}

/// Appends messages of a topic where their keys belong, while no instance runs on the embedded log.
fn append(lab: &Lab, topic: &str, messages: Vec<NewRecord>) {
    let broker = lab.broker();
    lab.create_sources(&*broker);
    let place = |m: NewRecord| {
        let key = m.key.clone().unwrap_or_default();
        let partition = Partitioner::Murmur2.partition(&key, PARTITIONS).unwrap();
        NewRecord { topic: lab.topic(topic).into(), partition, ..m }
    };
    broker.appender().unwrap().append(messages.into_iter().map(place).collect()).unwrap();
}

fn message(key: &str, payload: Vec<u8>) -> NewRecord {
    NewRecord { key: Some(key.as_bytes().to_vec()), payload: Some(payload), ..NewRecord::default() }
}

/// Waits until so many events of a source are accounted for; its account.
fn account(instance: &mut Instance, table: &str, source: &str, consumed: u64) -> Value {
    instance.wait_for("the events", |client| {
        let status = client.get("/v1/status");
        let tables = status["tables"].as_array().unwrap();
        let account = tables.iter().find(|t| t["name"] == table)?["accounting"][source].clone();
        (account["consumed"] == consumed).then_some(account)
    })
}

/// Waits until every partition runs, so that reads are answered.
fn run(instance: &mut Instance) {
    instance.wait_for("the partitions", |client| {
        let status = client.get("/v1/status");
        let tasks = status["tasks"].as_array().unwrap();
        let running = tasks.iter().filter(|task| task["phase"]["name"] == "running").count();
        (running == PARTITIONS as usize).then_some(())
    });
}

fn avro_with_a_registry(on: On) {
    let server = TestRegistry::start();
    // `printf keld:s3cret | base64`
    server.demand("Basic a2VsZDpzM2NyZXQ=");
    let (one, two) = (first(), second());
    let (old, new) =
        (server.register("things-value", &one, json!([])), server.register("things-value", &two, json!([])));
    let mut lab = Lab::with_config(on, AVRO);
    lab.sets.push(format!("schema_registry.url={}", server.url()));
    let thing = |id: &str, ts: i64| vec![("id", text(id)), ("ts", Avro::Long(ts))];
    let whole = |id: &str, name: &str, amount: i32| {
        let name = Avro::Union(1, Box::new(text(name)));
        [thing(id, 10), vec![("name", name), ("amount", Avro::Int(amount))]].concat()
    };
    let evolved =
        [thing("a", 20), vec![("amount", Avro::Double(2.5)), ("seen", Avro::TimestampMicros(1_500_999))]].concat();
    let cut = avro(old, &one, whole("c", "name", 5));
    append(
        &lab,
        "things",
        vec![
            message("a", avro(old, &one, whole("a", "first", 1))),
            message("a", avro(new, &two, evolved)),
            message("b", avro(old, &one, whole("b", "second", 7))),
            message("c", avro(new + 90, &one, whole("c", "of a schema that nobody has", 3))),
            message("c", cut[..cut.len() - 1].to_vec()),
        ],
    );
    server.fail(Some((503, r#"{"error_code":50301}"#)));
    let mut instance = lab.start();
    let trouble = instance.wait_for("the trouble to be told", |client| {
        client.get("/v1/status")["schema_registry"]["trouble"].as_str().map(str::to_owned)
    });
    assert!(trouble.contains("503") && !trouble.contains("s3cret"), "{trouble}");
    run(&mut instance);
    let (status, answer) = instance.client().get_any("/v1/tables/things/records/a?stale=allow");
    assert_eq!(status, 404, "nothing is guessed: {answer}");
    server.fail(None);
    let account = account(&mut instance, "things", "things", 5);
    assert_eq!((&account["applied"], &account["quarantined"]), (&json!(3), &json!(2)), "{account}");
    let record = |key: &str| instance.client().get(&format!("/v1/tables/things/records/{key}"))["record"].clone();
    assert_eq!(record("a"), json!({"id": "a", "name": "first", "amount": 2.5, "seen": "1970-01-01T00:00:01.5Z"}));
    assert_eq!(record("b"), json!({"id": "b", "name": "second", "amount": 7.0}));
    let healthy = instance.wait_for("the trouble to end", |client| {
        let registry = client.get("/v1/status")["schema_registry"].clone();
        registry["trouble"].is_null().then_some(registry)
    });
    assert_eq!(healthy["url"], server.url());
    assert!(server.requests("GET /schemas/ids/") > 3, "three schemas, and the failures before");
    let stderr = instance.stderr();
    assert!(stderr.contains("503") && !stderr.contains("s3cret"), "{stderr}");
    instance.stop();
    lab.verify();
}

#[test]
fn avro_waits_for_its_registry_on_the_embedded_log() {
    avro_with_a_registry(On::Local);
}

#[test]
fn avro_waits_for_its_registry_on_kafka() {
    avro_with_a_registry(On::Kafka);
}

const CHANGES: &str = r#"application = "changes"
[tables.customers]
key = "id"
partitioner = "any"
[tables.customers.sources.db]
topic = "customers"
format = "debezium-json"
[tables.customers.fields]
email = { type = "keyword" }
origin = { type = "keyword", path = "@header.origin" }
"#;

fn change(id: u32, op: &str, ts_ms: i64, lsn: i64, row: &Value) -> NewRecord {
    let (before, after) = if op == "d" { (row, &Value::Null) } else { (&Value::Null, row) };
    let source = json!({"connector": "postgresql", "ts_ms": ts_ms, "lsn": lsn, "table": "customers"});
    let payload = json!({"before": before, "after": after, "source": source, "op": op, "ts_ms": ts_ms + 5});
    NewRecord {
        headers: vec![("origin".to_owned(), b"crm".to_vec())],
        ..message(&json!({"id": id}).to_string(), payload.to_string().into_bytes())
    }
}

fn changes_of_debezium(on: On) {
    let lab = Lab::with_config(on, CHANGES);
    let row = |id: u32, email: &str| json!({"id": id, "email": email, "note": "n"});
    let gone = NewRecord { payload: None, ..change(2, "d", 0, 0, &Value::Null) };
    append(
        &lab,
        "customers",
        vec![
            change(1, "r", 1_000, 10, &row(1, "old@x")),
            // Two changes of one transaction, which have one time.
            change(1, "u", 2_000, 21, &row(1, "new@x")),
            change(1, "u", 2_000, 20, &row(1, "between@x")),
            change(2, "c", 2_000, 30, &row(2, "two@x")),
            change(2, "d", 3_000, 40, &json!({"id": 2})),
            gone,
            // Later than the delete in the database, earlier than its tombstone came to the broker.
            change(2, "c", 4_000, 50, &row(2, "again@x")),
            change(1, "t", 5_000, 60, &Value::Null),
        ],
    );
    let mut instance = lab.start();
    let account = account(&mut instance, "customers", "db", 8);
    let expected = json!({"consumed": 8, "applied": 5, "duplicate": 1, "stale": 1, "quarantined": 1});
    assert_eq!(account, expected);
    run(&mut instance);
    let record = |key: u32| instance.client().get(&format!("/v1/tables/customers/records/{key}"))["record"].clone();
    assert_eq!(record(1), json!({"id": "1", "email": "new@x", "origin": "crm", "note": "n"}));
    assert_eq!(record(2), json!({"id": "2", "email": "again@x", "origin": "crm", "note": "n"}));
    instance.stop();
    lab.verify();
}

#[test]
fn changes_of_debezium_become_records_on_the_embedded_log() {
    changes_of_debezium(On::Local);
}

#[test]
fn changes_of_debezium_become_records_on_kafka() {
    changes_of_debezium(On::Kafka);
}

const HEADERS: &str = r#"application = "headers"
[tables.notes]
key = "id"
[tables.notes.sources.notes]
topic = "notes"
version = "v"
version_kind = "sequence"
[tables.notes.fields]
origin = { type = "keyword", path = "@header.origin" }
trace = { type = "keyword", path = "@header.trace" }
place = { type = "keyword", path = "@header.place" }
"#;

fn headers_over_http(on: On) {
    let lab = Lab::with_config(on, HEADERS);
    lab.load(&[]);
    let mut instance = lab.start();
    run(&mut instance);
    let topic = lab.topic("notes");
    let post = |parameters: &str, lines: &str| {
        let path = format!("/v1/topics/{topic}/events?wait=applied&timeout=9s&{parameters}");
        instance.client().try_post(&path, "application/x-ndjson", lines.as_bytes()).unwrap()
    };
    let lines = [
        json!({"id": "a", "v": 1, "meta": {"trace": "t-1", "place": 7}}),
        json!({"id": "b", "v": 1, "meta": {"trace": null, "place": "here"}}),
        json!({"id": "c", "v": 1}),
    ];
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let (status, answer) =
        post("header=origin:crm:eu&header_path=trace:meta.trace&header_path=place:meta.place", &lines);
    assert_eq!((status, &answer["count"]), (200, &json!(3)), "{answer}");
    let record = |key: &str| {
        let mut record = instance.client().get(&format!("/v1/tables/notes/records/{key}"))["record"].clone();
        record.as_object_mut().unwrap().remove("meta");
        record
    };
    assert_eq!(record("a"), json!({"id": "a", "origin": "crm:eu", "trace": "t-1", "place": "7"}));
    assert_eq!(record("b"), json!({"id": "b", "origin": "crm:eu", "place": "here"}));
    assert_eq!(record("c"), json!({"id": "c", "origin": "crm:eu"}));

    // Who could write this header could order a replay.
    let (status, answer) = post("header=keld.replay:%7B%7D", "{\"id\": \"a\", \"v\": 2}");
    assert_eq!((status, &answer["parameter"]), (400, &json!("header")), "{answer}");
    instance.stop();

    // The messages themselves: other programs read them, too.
    let (broker, mut seen) = (lab.broker(), Vec::new());
    for partition in 0..PARTITIONS {
        let tp = TopicPartition::new(topic.as_str(), partition);
        let high = broker.watermarks(&tp).unwrap().high;
        let mut reader = broker.reader(&tp, 0).unwrap();
        loop {
            let progress = reader.read(100, Duration::from_millis(200), &mut |m| {
                let headers = m.owned_headers().into_iter();
                let headers: Vec<String> =
                    headers.map(|(name, value)| format!("{name}={}", String::from_utf8(value).unwrap())).collect();
                seen.push((String::from_utf8(m.key.unwrap().to_vec()).unwrap(), headers.join(" ")));
            });
            if matches!(progress.unwrap(), Progress::End { to } if to >= high) {
                break;
            }
        }
    }
    seen.sort();
    let expected =
        [("a", "origin=crm:eu trace=t-1 place=7"), ("b", "origin=crm:eu place=here"), ("c", "origin=crm:eu")];
    assert_eq!(seen, expected.map(|(key, headers)| (key.to_owned(), headers.to_owned())));
}

#[test]
fn events_sent_over_http_have_headers_on_the_embedded_log() {
    headers_over_http(On::Local);
}

#[test]
fn events_sent_over_http_have_headers_on_kafka() {
    headers_over_http(On::Kafka);
}
