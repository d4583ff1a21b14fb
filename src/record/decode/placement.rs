//! Where an event that a client sends belongs: its key, on which all tables that read the topic must agree, and its partition.

use std::sync::Arc;

use super::identity::path_key;
use super::json::{self, Rules, Slot};
use super::plan::Plan;
use super::{Decoder, RawEvent};
use crate::record::definition::{Dynamic, KeyFrom, Path, TableDef};
use crate::record::event::Reject;
use crate::record::value::Value;

/// Finds key and partition of the events of one topic.
#[derive(Debug)]
pub struct Placement {
    readers: Vec<(Arc<TableDef>, Decoder)>,
    partitions: u32,
}

impl Placement {
    /// For a topic of so many partitions; `None` if no table reads it.
    pub fn of<'t>(tables: impl IntoIterator<Item = &'t Arc<TableDef>>, topic: &str, partitions: u32) -> Option<Self> {
        let mut readers = Vec::new();
        for def in tables {
            let sources = def.sources.iter().enumerate().filter(|(_, source)| source.topic == topic);
            readers.extend(sources.map(|(source, _)| (def.clone(), Decoder::new(def, source))));
        }
        (!readers.is_empty()).then_some(Self { readers, partitions })
    }

    /// Whether some table takes the message key.
    pub fn takes_message_keys(&self) -> bool {
        self.readers.iter().any(|(def, _)| def.key == KeyFrom::Message)
    }

    /// Key and partition of an event, or why it has none.
    pub fn place(&self, event: &RawEvent<'_>) -> Result<(Vec<u8>, u32), String> {
        let mut agreed: Option<(Vec<u8>, u32)> = None;
        for (def, decoder) in &self.readers {
            let key = decoder.key_of(def, event).map_err(|reject| reject.to_string())?;
            let spread = || (xxhash_rust::xxh3::xxh3_64(&key) % u64::from(self.partitions.max(1))) as u32;
            // Where any placement will do, a key still keeps to one partition, so that its events stay in order.
            let partition = def.partitioner.partition(&key, self.partitions).unwrap_or_else(spread);
            match &agreed {
                None => agreed = Some((key, partition)),
                Some(other) if *other == (key, partition) => {}
                Some(_) => {
                    return Err("the tables that read this topic do not agree on its key or partition".to_owned());
                }
            }
        }
        agreed.ok_or_else(|| "no table reads this topic".to_owned())
    }

    /// What stands at a path of a JSON event, as a key.
    pub fn key_at(&self, path: &Path, payload: &[u8]) -> Result<Vec<u8>, Reject> {
        path_key(path, &self.slot_at(path, payload)?)
    }

    /// What stands at a path of a JSON event, as the value of a header: text as it is, anything else as JSON. `None` for what is
    /// absent or null.
    pub fn header_at(&self, path: &Path, payload: &[u8]) -> Result<Option<Vec<u8>>, Reject> {
        Ok(match self.slot_at(path, payload)? {
            Slot::Absent | Slot::Kept | Slot::Given(Value::Null) => None,
            Slot::Given(Value::Str(text)) => Some(text.as_bytes().to_vec()),
            Slot::Given(other) => Some(other.canonical().into_bytes()),
        })
    }

    fn slot_at(&self, path: &Path, payload: &[u8]) -> Result<Slot, Reject> {
        let max_depth = self.readers.iter().map(|(def, _)| def.max_depth).max().unwrap_or(1);
        let plan = Plan::key_only(path);
        let rules = Rules { plan: &plan, dynamic: Dynamic::Ignore, max_depth, sentinels: &[], hidden: None };
        Ok(json::parse(payload, rules)?.slots.swap_remove(0))
    }
}
