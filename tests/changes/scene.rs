//! A small shop whose products change all the time, what is right of it, and readers that apply what a stream says.

use std::collections::BTreeMap;
use std::time::Instant;

use keld::record::Partitioner;
use serde_json::{Map, Value, json};

use crate::common::client::{Client, escape};
use crate::common::dice::Dice;
use crate::common::lab::{Lab, On, PARTITIONS, PATIENCE};
use crate::common::sse::{Event, Events};

pub(crate) const TABLE: &str = "products";
pub(crate) const CHANGES: &str = "/v1/tables/products/changes";

const CONFIG: &str = r#"
application = "shop"

[memory]
budget = "256MiB"

[tables.products]
key = "sku"
window = { events = 32 }

[tables.products.sources.catalog]
topic = "catalog"
version = "v"
version_kind = "sequence"
delete = { field = "deleted", equals = true }

[tables.products.fields]
title = { type = "text" }
brand = { type = "keyword" }
price = { type = "integer" }
note = { type = "text", index = false }
"#;

pub(crate) fn shop(on: On) -> Lab {
    let lab = Lab::with_config(on, CONFIG);
    if on == On::Kafka {
        lab.create_sources(&*lab.broker());
    } else {
        lab.load(&[]);
    }
    lab
}

/// Records by key.
pub(crate) type Records = BTreeMap<String, Map<String, Value>>;

/// Changes products by chance, and knows what they are.
pub(crate) struct Maker {
    dice: Dice,
    version: u64,
    pub(crate) now: Records,
    keys: u64,
    /// What a read passes to see everything that was sent.
    at_least: Option<String>,
}

impl Maker {
    pub(crate) fn new(what: &str, keys: u64) -> Self {
        Self { dice: Dice::thrown(what), version: 0, now: Records::new(), keys, at_least: None }
    }

    /// The next event.
    pub(crate) fn event(&mut self) -> Value {
        let key = format!("k{}", self.dice.below(self.keys));
        self.version += 1;
        if self.dice.below(8) == 0 {
            self.now.remove(&key);
            return json!({"sku": key, "v": self.version, "deleted": true});
        }
        let words = ["red kettle", "blue kettle", "red pan", "green lid", "old red lamp"];
        let (title, price) = (*self.dice.one_of(&words), self.dice.below(100));
        let record = json!({"sku": key, "title": title, "brand": self.dice.one_of(&["acme", "bolt"]), "price": price});
        let mut event = record.clone();
        event["v"] = json!(self.version);
        self.now.insert(key, record.as_object().unwrap().clone());
        event
    }

    /// Sends `n` events.
    pub(crate) fn send(&mut self, lab: &Lab, client: &Client, n: usize) {
        let lines: String = (0..n).map(|_| format!("{}\n", self.event())).collect();
        self.ingest(lab, client, &lines);
    }

    fn ingest(&mut self, lab: &Lab, client: &Client, lines: &str) {
        let answer = client.ingest(&lab.topic("catalog"), lines);
        self.at_least = answer["at_least"].as_str().map(str::to_owned);
    }

    /// Waits until everything that was sent is applied.
    pub(crate) fn settle(&self, client: &Client) {
        let Some(at) = &self.at_least else { return };
        let path = format!("/v1/tables/{TABLE}/search?limit=1&timeout=9s&at_least={}", escape(at));
        let until = Instant::now() + PATIENCE;
        while client.try_get(&path).unwrap().0 != 200 {
            assert!(Instant::now() < until, "what was sent is not applied");
        }
    }

    /// Sends a last product to each partition, which every query of these tests finds; their keys.
    pub(crate) fn send_ends(&mut self, lab: &Lab, client: &Client) -> Vec<String> {
        // In a commit of their own: the order of keys within one is nobody's promise.
        self.settle(client);
        let keys = ends();
        let mut lines = String::new();
        for key in &keys {
            self.version += 1;
            let record = json!({"sku": key, "title": "red kettle", "brand": "acme", "price": 99});
            let mut event = record.clone();
            event["v"] = json!(self.version);
            self.now.insert(key.clone(), record.as_object().unwrap().clone());
            lines += &format!("{event}\n");
        }
        self.ingest(lab, client, &lines);
        keys
    }

    /// What a query selects.
    pub(crate) fn selected(&self, keep: Keep) -> Records {
        self.now.iter().filter(|(_, record)| keep(record)).map(|(k, r)| (k.clone(), r.clone())).collect()
    }
}

/// A key in each partition.
pub(crate) fn ends() -> Vec<String> {
    let in_partition = |p: u32| {
        let mut names = (0..).map(|n| format!("end-{n}"));
        names.find(|name| Partitioner::Murmur2.partition(name.as_bytes(), PARTITIONS) == Some(p)).unwrap()
    };
    (0..PARTITIONS).map(in_partition).collect()
}

pub(crate) type Keep = fn(&Map<String, Value>) -> bool;

/// A stream's parameters, and the records that it is about.
pub(crate) const QUERIES: &[(&str, Keep)] = &[
    ("", |_| true),
    ("q=red", |r| r["title"].as_str().unwrap().split(' ').any(|w| w == "red")),
    ("filter=price:[50 TO *]", |r| r["price"].as_u64().unwrap() >= 50),
    ("q=kettle&filter=brand:acme&filter=price:[20 TO 99]", |r| {
        let price = r["price"].as_u64().unwrap();
        r["title"].as_str().unwrap().ends_with("kettle") && r["brand"] == "acme" && (20..=99).contains(&price)
    }),
];

/// The path of a stream with these parameters.
pub(crate) fn path(query: &str) -> String {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap();
        format!("{name}={}", escape(value))
    };
    let pairs: Vec<String> = query.split('&').filter(|p| !p.is_empty()).map(pair).collect();
    format!("{CHANGES}?{}", pairs.join("&"))
}

/// Reads a stream into a map.
pub(crate) struct Reader {
    pub(crate) events: Events,
    pub(crate) path: String,
    pub(crate) records: Records,
    pub(crate) id: String,
    /// Partition and offset of every change.
    pub(crate) seen: Vec<(u64, i64)>,
    /// Whether what is told must fit what is held.
    pub(crate) exact: bool,
    live_query: bool,
}

impl Reader {
    /// Opens a stream, then reads what is there.
    pub(crate) fn begin(address: &str, query: &str) -> Self {
        let path = path(query);
        let (events, hello) = Events::hello(address, &path, None);
        assert_eq!(hello.data["table"], TABLE);
        assert_eq!(hello.id.as_deref(), hello.data["position"].as_str());
        let live_query = query.contains("q=") || query.contains("filter=");
        let client = Client::new(address);
        let searched = path.replacen("/changes?", "/search?limit=1000&", 1);
        let searched = if live_query { searched } else { "/v1/tables/products/search?limit=1000".into() };
        // Who begins with everything needs nothing else.
        let found = if query.contains("from=") { json!({"hits": []}) } else { client.get(&searched) };
        let record =
            |hit: &Value| (hit["key"].as_str().unwrap().to_owned(), hit["record"].as_object().unwrap().clone());
        let records = found["hits"].as_array().unwrap().iter().map(record).collect();
        Self { events, path, records, id: hello.id.unwrap(), seen: Vec::new(), exact: true, live_query }
    }

    /// Closes the stream and goes on behind what was seen.
    pub(crate) fn reconnect(&mut self, address: &str) {
        let (events, hello) = Events::hello(address, &self.path, Some(&self.id));
        let places = |id: &str| id.split('@').next().unwrap().to_owned();
        assert_eq!(places(&hello.id.unwrap()), places(&self.id), "it goes on where it was");
        self.events = events;
    }

    /// Applies an event.
    pub(crate) fn apply(&mut self, event: &Event) {
        let data = &event.data;
        if event.name == "cut" {
            panic!("it was cut: {data}");
        }
        self.id = event.id.clone().unwrap();
        self.seen.push((data["partition"].as_u64().unwrap(), data["offset"].as_i64().unwrap()));
        let key = data["key"].as_str().unwrap().to_owned();
        let sure = self.exact && data["before"].is_null();
        assert!(sure || !self.exact, "nothing is unknown to who was there from the beginning: {data}");
        let was = match event.name.as_str() {
            "entered" | "changed" => self.records.insert(key, data["record"].as_object().unwrap().clone()),
            "left" | "deleted" => {
                assert!(data["record"].is_null(), "{data}");
                self.records.remove(&key)
            }
            other => panic!("an event of no known name: {other}"),
        };
        let names: &[&str] = if self.live_query { &["entered", "changed", "left"] } else { &["changed", "deleted"] };
        assert!(names.contains(&event.name.as_str()), "{}", event.name);
        if sure && self.live_query {
            assert_eq!(was.is_some(), event.name != "entered", "{} {data}: before it there was {was:?}", event.name);
        }
    }

    /// Applies events until each of the last products has come.
    pub(crate) fn read_to(&mut self, ends: &[String]) {
        let mut open: Vec<&String> = ends.iter().collect();
        while !open.is_empty() {
            let event = self.events.next().unwrap_or_else(|| panic!("it ended"));
            self.apply(&event);
            open.retain(|key| event.data["key"] != **key);
        }
    }
}
