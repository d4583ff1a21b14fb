//! Which entries were replayed: a compacted topic with a mark for each, written in the same transaction as the replayed event.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::entry::EntryId;
use crate::broker::{Broker, NewRecord, Offset, Progress, TopicPartition};
use crate::{Error, Kind, Result};

/// Marks read at a time.
const READ_MAX: usize = 10_000;
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(500);
/// How long the marks may take to be read, from where they were read before.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a mark says beside its key, the entry's id.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    /// When the entry was written, milliseconds: an entry of a quarantine topic that was made anew has another.
    entry_ms: i64,
    /// When it was replayed, milliseconds.
    replayed_ms: i64,
}

/// The marks, as far as they were read; about 50 bytes of memory for each.
#[derive(Debug)]
pub struct Marks {
    topic: Arc<str>,
    next: Option<Offset>,
    known: BTreeMap<EntryId, (i64, i64)>,
}

impl Marks {
    /// The marks in partition 0 of `topic`; nothing is read yet.
    pub fn new(topic: &str) -> Self {
        Self { topic: topic.into(), next: None, known: BTreeMap::new() }
    }

    /// Reads what was added, to the end of the topic as it is now.
    pub fn refresh(&mut self, broker: &dyn Broker) -> Result<()> {
        let tp = TopicPartition::new(self.topic.clone(), 0);
        let log = broker.watermarks(&tp)?;
        // A topic that was made anew has none of the marks that were read.
        let next = self.next.filter(|next| (log.low..=log.high).contains(next)).unwrap_or(log.low);
        if next == log.low {
            self.known.clear();
        }
        self.next = Some(next);
        if next >= log.stable {
            return Ok(());
        }
        let mut reader = broker.reader(&tp, next)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let known = &mut self.known;
            let progress = reader.read(READ_MAX, READ_WAIT, &mut |m| known.extend(read(m.key, m.payload)))?;
            if let Progress::End { to } = progress
                && to >= log.stable
            {
                self.next = Some(to);
                return Ok(());
            }
        }
        Err(Error::new(
            Kind::BrokerAway,
            format!("the marks of replayed entries in {tp} could not be read to their end"),
        ))
    }

    /// When an entry, written at `entry_ms`, was replayed, milliseconds; `None` if it was not.
    pub fn replayed(&self, id: EntryId, entry_ms: i64) -> Option<i64> {
        self.known.get(&id).filter(|(at, _)| *at == entry_ms).map(|(_, replayed)| *replayed)
    }

    /// The record that marks an entry, written at `entry_ms`.
    pub fn mark(&self, id: EntryId, entry_ms: i64, replayed_ms: i64) -> Result<NewRecord> {
        let payload = serde_json::to_vec(&Mark { entry_ms, replayed_ms })
            .map_err(|e| Error::internal("a mark does not encode").because(e))?;
        let key = Some(id.to_string().into_bytes());
        Ok(NewRecord { topic: self.topic.clone(), key, payload: Some(payload), ..NewRecord::default() })
    }
}

/// Reads a mark; what is none is passed over.
fn read(key: Option<&[u8]>, payload: Option<&[u8]>) -> Option<(EntryId, (i64, i64))> {
    let id = std::str::from_utf8(key?).ok()?.parse().ok()?;
    let mark: Mark = serde_json::from_slice(payload?).ok()?;
    Some((id, (mark.entry_ms, mark.replayed_ms)))
}
