//! What the rows share: a small table, events by hand, and the whole path from the source to a restored search.

use std::collections::BTreeMap;
use std::time::Duration;

use keld::broker::{Broker, Progress, TopicPartition};
use keld::config::{self, Settings};
use keld::record::POSITION_KEY;
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::lab::{Instance, Lab, On};
use crate::common::truth;
use crate::common::workload::{Delivery, Workload};

/// The one table.
pub(crate) const TABLE: &str = "items";

/// Versions of `a` and `b` are sequences, so that they can be small numbers; those of `c` are times.
const CONFIG: &str = r#"
application = "items"

[memory]
budget = "256MiB"

[tables.items]
key = "id"
dynamic = "store"
window = { events = 64 }

[tables.items.sources.a]
topic = "a"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = 1
delete = { field = "gone", equals = true }

[tables.items.sources.b]
topic = "b"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = 2
delete = { field = "gone", equals = true }

[tables.items.sources.c]
topic = "c"
version = "ts"
event_id = "e"

[tables.items.fields]
name = { type = "text" }
colour = { type = "keyword" }
size = { type = "integer" }
price = { type = "float" }
tags = { type = "keyword", merge = "set" }
best = { type = "integer", merge = "max" }
least = { type = "integer", merge = "min" }
sold = { type = "integer", merge = "sum" }
seen = { type = "integer", merge = "count" }
traits = { type = "json", merge = "map" }
origin = { type = "keyword", merge = "first" }
log = { type = "keyword", merge = "append" }
"#;

/// What became of the events of a source: applied, duplicate, stale, quarantined.
pub(crate) type Outcomes<'a> = (&'a str, [u64; 4]);

/// A laboratory, what was delivered in it so far, and what must be shown because of it.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    pub(crate) workload: Workload,
}

/// An event of source `a`.
pub(crate) fn a(body: &Value) -> Delivery {
    event("a", body)
}

/// An event of source `b`.
pub(crate) fn b(body: &Value) -> Delivery {
    event("b", body)
}

/// An event of a source; its message has the record's key.
pub(crate) fn event(topic: &str, body: &Value) -> Delivery {
    Delivery { topic: topic.into(), key: body["id"].as_str().unwrap().into(), body: body.to_string() }
}

impl Bench {
    /// A bench whose source topics exist and are empty.
    pub(crate) fn new(on: On) -> Self {
        Self::with_config(on, CONFIG)
    }

    /// As [`Bench::new`], with another configuration of the table.
    pub(crate) fn with_config(on: On, config: &str) -> Self {
        let lab = Lab::with_config(on, config);
        lab.load(&[]);
        Self { lab, workload: Workload { deliveries: Vec::new(), expected: BTreeMap::new() } }
    }

    /// From now on these records must be shown, and no other.
    pub(crate) fn expect(&mut self, records: &[Value]) {
        let keyed = |r: &Value| (r["id"].as_str().unwrap().to_owned(), r.as_object().unwrap().clone());
        self.workload.expected = records.iter().map(keyed).collect();
    }

    /// Delivers while no instance runs.
    pub(crate) fn load(&mut self, deliveries: &[Delivery]) {
        self.lab.load(deliveries);
        self.workload.deliveries.extend_from_slice(deliveries);
    }

    /// Delivers to a running instance, and waits until all of it is visible.
    pub(crate) fn send(&mut self, client: &Client, deliveries: &[Delivery]) {
        for run in deliveries.chunk_by(|x, y| x.topic == y.topic) {
            let lines: String = run.iter().map(|d| format!("{}\n", d.body)).collect();
            let path = format!("/v1/topics/{}/events?wait=visible&timeout=9s", self.lab.topic(&run[0].topic));
            let (status, answer) = client.try_post(&path, "application/x-ndjson", lines.as_bytes()).unwrap();
            assert_eq!(status, 200, "{answer}");
            assert_eq!(answer["count"], run.len(), "{answer}");
        }
        self.workload.deliveries.extend_from_slice(deliveries);
    }

    /// Starts an instance and waits until it shows everything delivered.
    pub(crate) fn start(&self) -> Instance {
        self.start_with(&[])
    }

    /// As [`Bench::start`], with further arguments.
    pub(crate) fn start_with(&self, arguments: &[&str]) -> Instance {
        let ends = self.lab.ends(&*self.lab.broker());
        let mut instance = self.lab.spawn(arguments, &[]);
        instance.wait_listening();
        instance.wait_caught_up(&ends);
        instance
    }

    /// The instance shows what is expected, by key and by search, and its accounts are right.
    pub(crate) fn check(&self, instance: &Instance, outcomes: &[Outcomes<'_>]) {
        let client = instance.client();
        truth::by_key(&client, TABLE, &self.workload);
        truth::by_search(&client, TABLE, "id", &self.workload);
        let accounts = truth::accounts(&client.get("/v1/status"), TABLE, &self.workload.by_topic());
        for (source, [applied, duplicate, stale, quarantined]) in outcomes {
            let consumed = applied + duplicate + stale + quarantined;
            let account = json!({
                "consumed": consumed, "applied": applied, "duplicate": duplicate, "stale": stale,
                "quarantined": quarantined
            });
            assert_eq!(accounts[source], account, "source {source}");
        }
    }

    /// The whole path, from what was delivered: run and check, look into the changelog, audit, lose store and index,
    /// run from the changelog and check again. Nothing may run before, and nothing runs afterwards.
    pub(crate) fn whole_path(&self, outcomes: &[Outcomes<'_>]) {
        let instance = self.start();
        self.check(&instance, outcomes);
        instance.stop();
        truth::by_changelog(&self.lab, TABLE, &self.workload);
        self.lab.verify();
        let before = self.changelog();
        self.lose_store_and_index();
        let instance = self.start();
        self.check(&instance, outcomes);
        instance.stop();
        assert!(self.changelog() == before, "a restore changed the changelog");
        self.lab.verify();
    }

    /// Removes the stores of all tasks and the index: all that a table has on disk.
    pub(crate) fn lose_store_and_index(&self) {
        std::fs::remove_dir_all(self.lab.data_dir().join(&self.lab.name).join(TABLE)).unwrap();
    }

    pub(crate) fn settings(&self) -> Settings {
        config::load(&self.lab.config, &[], &self.lab.sets).unwrap()
    }

    /// The last record of every key in the changelog.
    pub(crate) fn changelog(&self) -> BTreeMap<String, Option<Vec<u8>>> {
        self.changelog_records().into_iter().collect()
    }

    /// Every record in the changelog, but positions; those of a key in the order of the log.
    pub(crate) fn changelog_records(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let records = records(&*self.lab.broker(), &self.settings().changelog_topic(TABLE));
        let own = records.into_iter().filter(|(key, _)| key != POSITION_KEY);
        own.map(|(key, payload)| (String::from_utf8(key).unwrap(), payload)).collect()
    }
}

/// Every record of a topic.
pub(crate) fn records(broker: &dyn Broker, topic: &str) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for partition in 0..broker.topic(topic).unwrap().unwrap().partitions {
        let tp = TopicPartition::new(topic, partition);
        let log = broker.watermarks(&tp).unwrap();
        let mut reader = broker.reader(&tp, log.low).unwrap();
        loop {
            let progress = reader.read(10_000, Duration::from_millis(200), &mut |m| {
                found.push((m.key.unwrap_or_default().to_vec(), m.payload.map(<[u8]>::to_vec)));
            });
            if matches!(progress.unwrap(), Progress::End { to } if to >= log.high) {
                break;
            }
        }
    }
    found
}

/// Every order of the numbers below `n`, sorted.
pub(crate) fn orders(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut all: Vec<Vec<usize>> = orders(n - 1)
        .into_iter()
        .flat_map(|shorter| {
            (0..n).map(move |at| {
                let mut order = shorter.clone();
                order.insert(at, n - 1);
                order
            })
        })
        .collect();
    all.sort();
    all
}
