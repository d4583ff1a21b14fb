//! A small table, events that it refuses, and an instance that has refused them.

use std::collections::BTreeMap;

use keld::broker::NewRecord;
use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::common::client::{Client, escape};
use crate::common::lab::{Instance, Lab, On, PARTITIONS};
use crate::common::truth;

/// Version of the first event: milliseconds, long past.
pub(crate) const T: i64 = 1_700_000_000_000;

/// `things` and `others` read the same topic; `others` takes everything.
const CONFIG: &str = r#"
application = "aside"
[tables.things]
key = "id"
max_depth = 3
window = { events = 4, time = "24h" }
[tables.things.sources.things]
topic = "things"
version = "ts"
event_id = "event_id"
[tables.things.fields]
name = { type = "text" }
price = { type = "float" }
sold = { type = "integer", merge = "sum", path = "sold_delta" }

[tables.others]
key = "id"
[tables.others.sources.things]
topic = "things"
version = "ts"
[tables.others.fields]
name = { type = "text" }
"#;

/// A laboratory with its events counted.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    sent: u64,
}

/// What an event says, with version `T + n` and an id of its own.
pub(crate) fn event(key: &str, n: i64, more: &Value) -> Value {
    let mut body = json!({ "id": key, "ts": T + n, "event_id": format!("{key}-{n}") });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A moment an hour before the test; brokers remove messages of long ago.
fn base_ms() -> i64 {
    static BASE: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    *BASE.get_or_init(|| keld::clock::now_ms() - 3_600_000)
}

/// An event with headers and a timestamp of its own.
pub(crate) fn record(lab: &Lab, body: &Value) -> NewRecord {
    let key = body["id"].as_str().unwrap();
    NewRecord {
        topic: lab.topic("things").into(),
        partition: Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap(),
        key: Some(key.as_bytes().to_vec()),
        payload: Some(body.to_string().into_bytes()),
        headers: vec![("trace".into(), key.as_bytes().to_vec()), ("raw".into(), vec![0, 255])],
        timestamp_ms: Some(base_ms() + body["ts"].as_i64().unwrap() - T),
    }
}

impl Scene {
    pub(crate) fn new(on: On) -> Self {
        Self { lab: Lab::with_config(on, CONFIG), sent: 0 }
    }

    /// Appends events, while no instance runs on the embedded log; their offsets.
    pub(crate) fn send(&mut self, events: &[Value]) -> Vec<i64> {
        self.append(events.iter().map(|e| record(&self.lab, e)).collect())
    }

    /// Appends records as they are; their offsets.
    pub(crate) fn append(&mut self, records: Vec<NewRecord>) -> Vec<i64> {
        let broker = self.lab.broker();
        self.lab.create_sources(&*broker);
        self.sent += records.len() as u64;
        broker.appender().unwrap().append(records).unwrap()
    }

    /// Starts an instance and waits until it has consumed everything, and `replayed` events more.
    pub(crate) fn start(&mut self, replayed: u64) -> Instance {
        let mut instance = self.lab.start();
        self.wait_consumed(&mut instance, replayed);
        instance
    }

    /// Waits until both tables have consumed everything that was sent, and `replayed` events more, and the quarantine shows what
    /// they refused: Kafka answers a commit some milliseconds before it lets readers have what was committed.
    pub(crate) fn wait_consumed(&self, instance: &mut Instance, replayed: u64) -> Value {
        let consumed = |status: &Value| -> Option<u64> {
            let tables = status["tables"].as_array()?;
            let of = |t: &Value| t["accounting"]["things"]["consumed"].as_u64();
            tables.iter().map(of).collect::<Option<Vec<_>>>()?.into_iter().min()
        };
        instance.wait_for("everything to be consumed", |client| {
            let (code, body) = client.try_get("/v1/status").ok()?;
            let status: Value = serde_json::from_str(&body).ok().filter(|_| code == 200)?;
            let running = status["tasks"].as_array()?.iter().all(|t| t["phase"]["name"] == "running");
            let ready = running && consumed(&status)? == self.sent + replayed;
            (ready && listed(client, "limit=1000").len() as u64 == quarantined(&status)?.min(1_000)).then_some(status)
        })
    }

    /// The accounts of `things`, which must add up to what was sent and `replayed`.
    pub(crate) fn accounts(&self, status: &Value, replayed: u64) -> Value {
        for table in ["things", "others"] {
            truth::accounts(status, table, &BTreeMap::from([("things".to_owned(), self.sent + replayed)]));
        }
        let tables = status["tables"].as_array().unwrap();
        tables.iter().find(|t| t["name"] == "things").unwrap()["accounting"]["things"].clone()
    }
}

/// What the tables refused, by their accounts.
fn quarantined(status: &Value) -> Option<u64> {
    let of = |t: &Value| t["accounting"]["things"]["quarantined"].as_u64();
    status["tables"].as_array()?.iter().map(of).sum()
}

/// A record of `things`.
pub(crate) fn thing(client: &Client, key: &str) -> Value {
    // The events are old, and Kafka's end-of-transaction markers count as unread for up to a second.
    client.get(&format!("/v1/tables/things/records/{}?stale=allow", escape(key)))["record"].clone()
}

/// The entries that a list with these parameters shows.
pub(crate) fn listed(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/v1/quarantine?{query}"));
    answer["entries"].as_array().unwrap().clone()
}

/// The answer to a replay.
pub(crate) fn replay(client: &Client, body: &Value) -> Value {
    client.post("/v1/quarantine/replay", body)
}

/// Events that are nested deeper than `things` takes, as long as `max_depth` is 3.
pub(crate) fn deep(key: &str, n: i64) -> Value {
    event(key, n, &json!({ "name": "deep", "a": { "b": { "c": { "d": n } } } }))
}

/// Seven contributions of one each in order, the last of them older than the window: it is refused in its sum alone.
pub(crate) fn late(key: &str) -> Vec<Value> {
    let add = |n| event(key, n, &json!({ "sold_delta": 1 }));
    let mut all: Vec<Value> = (20..26).map(add).collect();
    all.push(event(key, -10, &json!({ "sold_delta": 1, "note": "merged all the same" })));
    all
}
