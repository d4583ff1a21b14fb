//! Flights with their expected records, a small table that is written to while one looks, and a browser on it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::browser::Browser;
use crate::common::client::{Client, escape};
use crate::common::lab::{Instance, Lab, On, loaded};
use crate::common::workload::Workload;

/// Flights of the workload.
const FLIGHTS: usize = 700;
/// Version of the first event of `things`, milliseconds.
const T: i64 = 1_700_000_000_000;

const THINGS: &str = r#"
[tables.things]
key = "id"
dynamic = "store"
window = { events = 4, time = "24h" }
[tables.things.sources.things]
topic = "things"
version = "ts"
event_id = "event_id"
delete = { field = "deleted", equals = true }
[tables.things.fields]
name = { type = "text" }
price = { type = "float" }
big = { type = "integer" }
sold = { type = "integer", merge = "sum", path = "sold_delta" }
[tables.things.derived]
worth = { type = "float", expr = "price * 2.0" }
"#;

pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) instance: Instance,
    pub(crate) client: Client,
    pub(crate) workload: Workload,
    pub(crate) browser: Browser,
}

impl Scene {
    /// Everything, running and caught up, with a browser at 1280 × 800.
    pub(crate) fn new() -> Self {
        let workload = Workload::flights(Some(FLIGHTS), &[]);
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/flights.toml");
        let lab = Lab::with_config(On::Local, &(std::fs::read_to_string(file).unwrap() + THINGS));
        let ends = loaded(&lab, &workload);
        let mut instance = lab.start();
        instance.wait_caught_up(&ends);
        let client = instance.client();
        let mut browser = Browser::start(instance.address.as_deref().unwrap());
        browser.window(1280, 800, "light");
        Self { lab, instance, client, workload, browser }
    }

    /// Sends an event of `things` with version `T + n`, and waits until searches show it.
    pub(crate) fn thing(&self, key: &str, n: i64, more: &Value) {
        let mut event = json!({"id": key, "ts": T + n, "event_id": format!("{key}-{n}")});
        event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.ingest(&event.to_string());
    }

    /// Sends lines to the topic of `things`, and waits until searches show what they did.
    pub(crate) fn ingest(&self, lines: &str) {
        let answer = self.client.ingest(&self.lab.topic("things"), lines);
        let at_least = escape(answer["at_least"].as_str().unwrap());
        self.client.get(&format!("/v1/tables/things/search?limit=1&at_least={at_least}&timeout=9s"));
    }

    /// Expected flights that a condition holds for.
    pub(crate) fn flights(&self, holds: impl Fn(&Map<String, Value>) -> bool) -> Vec<&String> {
        self.workload.expected.iter().filter(|(_, r)| holds(r)).map(|(key, _)| key).collect()
    }

    /// How many expected flights have each value of a field, among those that a condition holds for.
    pub(crate) fn counts(&self, field: &str, holds: impl Fn(&Map<String, Value>) -> bool) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for record in self.workload.expected.values().filter(|r| holds(r)) {
            if let Some(value) = record.get(field).and_then(Value::as_str) {
                *counts.entry(value.to_owned()).or_default() += 1;
            }
        }
        counts
    }

    /// Ends in order, having found nothing to complain about.
    pub(crate) fn end(mut self) {
        self.browser.check();
        drop(self.browser);
        self.instance.stop();
    }
}

/// Whether a field has this text.
pub(crate) fn has(record: &Map<String, Value>, field: &str, text: &str) -> bool {
    record.get(field).and_then(Value::as_str) == Some(text)
}
