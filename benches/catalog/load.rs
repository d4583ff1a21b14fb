//! The workload on its way into Kafka, and what is expected to come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};

use super::Result;
use super::send::Sender;

/// Events in the order of delivery, in one piece of memory.
#[derive(Debug)]
pub(crate) struct Events {
    text: String,
    lines: Vec<Range<usize>>,
}

/// One event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    /// Topic.
    pub(crate) topic: &'a str,
    /// Message key.
    pub(crate) key: &'a str,
    /// JSON.
    pub(crate) value: &'a str,
}

impl Events {
    /// Reads an events.tsv.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)?;
        let mut lines = Vec::new();
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            lines.push(at..at + line.trim_end().len());
            at += line.len();
        }
        Ok(Self { text, lines })
    }

    /// All events.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Event<'_>> {
        self.lines.iter().filter_map(|range| {
            let mut parts = self.text[range.clone()].splitn(3, '\t');
            Some(Event { topic: parts.next()?, key: parts.next()?, value: parts.next()? })
        })
    }

    /// Every key that is mentioned, sorted.
    pub(crate) fn keys(&self) -> Vec<String> {
        let keys: BTreeSet<&str> = self.iter().map(|e| e.key).collect();
        keys.into_iter().map(str::to_owned).collect()
    }
}

/// The same event told again: a new id, and a version `later` milliseconds higher, so that it changes the record.
pub(crate) fn retold(value: &str, run: u64, later: u64) -> Option<String> {
    let (head, rest) = value.split_once("\"ts\":")?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let ts: u64 = rest[..digits].parse().ok()?;
    let head = head.replacen("\"event_id\":\"", &format!("\"event_id\":\"r{run}-"), 1);
    Some(format!("{head}\"ts\":{}{}", ts + later, &rest[digits..]))
}

/// Expected records by key.
pub(crate) fn expected(path: &Path, key: &str) -> Result<BTreeMap<String, Map<String, Value>>> {
    let mut found = BTreeMap::new();
    for line in BufReader::new(std::fs::File::open(path)?).lines() {
        let record: Map<String, Value> = serde_json::from_str(&line?)?;
        let name = record.get(key).and_then(Value::as_str).ok_or("an expected record without its key")?.to_owned();
        found.insert(name, record);
    }
    Ok(found)
}

/// Loads all events, into topics whose names begin with `prefix`; how many the broker has acknowledged.
pub(crate) fn produce_all(bootstrap: &str, prefix: &str, events: &Events) -> Result<u64> {
    let sender = Sender::new(bootstrap, 20)?.into_topics_of(prefix);
    let mut sent = 0;
    for event in events.iter() {
        sender.send(event.topic, event.key, event.value)?;
        sent += 1;
    }
    match sender.finish()? {
        good if good == sent => Ok(good),
        good => Err(format!("{good} of {sent} events were acknowledged").into()),
    }
}
