//! The reference workloads: events in the order of delivery, and the one right answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use super::dice::Dice;

/// One delivery.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub(crate) topic: String,
    pub(crate) key: String,
    pub(crate) body: String,
}

/// A workload with its expected records.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) expected: BTreeMap<String, Map<String, Value>>,
}

impl Workload {
    /// Runs a generator of `scripts/workload`; `key` is the member that names the record.
    pub(crate) fn generate(name: &str, key: &str, arguments: &[String]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/workload");
        let done = Command::new(script).arg(name).arg("--out").arg(dir.path()).args(arguments).output().unwrap();
        assert!(done.status.success(), "scripts/workload {name}: {}", String::from_utf8_lossy(&done.stderr));
        let text = std::fs::read_to_string(dir.path().join("events.tsv")).unwrap();
        let deliveries = text.lines().map(delivery).collect();
        let text = std::fs::read_to_string(dir.path().join("expected.ndjson")).unwrap();
        let record = |line: &str| {
            let record: Map<String, Value> = serde_json::from_str(line).unwrap();
            (record[key].as_str().unwrap().to_owned(), record)
        };
        Self { deliveries, expected: text.lines().map(record).collect() }
    }

    /// `catalog.py` at this size, with further arguments.
    pub(crate) fn catalog(events: usize, keys: usize, more: &[&str]) -> Self {
        let mut arguments = vec!["--events".into(), events.to_string(), "--keys".into(), keys.to_string()];
        arguments.extend(more.iter().map(|a| (*a).to_owned()));
        Self::generate("catalog", "sku", &arguments)
    }

    /// `flights.py`, the first `flights` of them or all, with further arguments.
    pub(crate) fn flights(flights: Option<usize>, more: &[&str]) -> Self {
        let mut arguments = flights.map(|n| vec!["--flights".to_owned(), n.to_string()]).unwrap_or_default();
        arguments.extend(more.iter().map(|a| (*a).to_owned()));
        Self::generate("flights", "flight_id", &arguments)
    }

    /// The same deliveries in any order.
    pub(crate) fn shuffled(mut self) -> Self {
        Dice::thrown("an order of deliveries").shuffle(&mut self.deliveries);
        self
    }

    /// Every key that any event speaks of.
    pub(crate) fn keys(&self) -> BTreeSet<&str> {
        self.deliveries.iter().map(|d| d.key.as_str()).collect()
    }

    /// Deliveries by topic.
    pub(crate) fn by_topic(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        self.deliveries.iter().for_each(|d| *counts.entry(d.topic.clone()).or_default() += 1);
        counts
    }
}

fn delivery(line: &str) -> Delivery {
    let mut parts = line.splitn(3, '\t');
    let mut next = || parts.next().unwrap().to_owned();
    Delivery { topic: next(), key: next(), body: next() }
}
