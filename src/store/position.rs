//! How far a task has come: kept in the store and, as the position record, in the changelog itself.
//!
//! Both are written in the same transaction as the records that they speak of, so a position is exactly what the records
//! cover. JSON: it is small, written once a batch, and people read it when something is wrong.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::broker::Offset;
use crate::record::{Ended, Outcome};
use crate::{Error, Kind, Result};

/// Format version of the position record.
const FORMAT: u32 = 1;

/// What became of the events of one source, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    /// The record's bytes changed.
    pub applied: u64,
    /// Held already.
    pub duplicate: u64,
    /// Superseded by what is held.
    pub stale: u64,
    /// Set aside.
    pub quarantined: u64,
}

impl Accounting {
    /// Counts one event.
    pub fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Applied => self.applied += 1,
            Outcome::Duplicate => self.duplicate += 1,
            Outcome::Stale => self.stale += 1,
            Outcome::Quarantined => self.quarantined += 1,
        }
    }
    /// Adds another account.
    pub fn add(&mut self, other: &Accounting) {
        self.applied += other.applied;
        self.duplicate += other.duplicate;
        self.stale += other.stale;
        self.quarantined += other.quarantined;
    }
    /// Events consumed: the sum of the four.
    pub fn consumed(&self) -> u64 {
        self.applied + self.duplicate + self.stale + self.quarantined
    }
}

/// How far one source of a task has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Topic.
    pub topic: String,
    /// Next offset to read.
    pub next: Offset,
    /// Highest version seen, its first part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// Broker timestamp of the newest event, milliseconds.
    #[serde(default)]
    pub timestamp_ms: i64,
    /// Events that retention took before they were read, where `on_gap = "continue"`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gap: u64,
    /// What became of its events.
    #[serde(default)]
    pub accounting: Accounting,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What event time has ended, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedCount {
    /// Tombstones past their horizon.
    pub tombstones: u64,
    /// Records past their time to live.
    pub records: u64,
}

impl EndedCount {
    /// Counts what a record, or its merge, ended.
    pub fn count(&mut self, ended: Option<Ended>) {
        match ended {
            Some(Ended::Tombstone) => self.tombstones += 1,
            Some(Ended::Record) => self.records += 1,
            None => {}
        }
    }
    /// Adds another count.
    pub fn add(&mut self, other: EndedCount) {
        self.tombstones += other.tombstones;
        self.records += other.records;
    }
    fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// How far a task has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    format: u32,
    /// Transactional id that wrote this; whoever takes the task over fences it.
    pub writer: String,
    /// By source name.
    pub sources: BTreeMap<String, SourcePosition>,
    /// Next offset of the internal topic that misplaced events come through, where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repartition: Option<Offset>,
    /// Event time that the task has reached, where versions are times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<i64>,
    /// What event time has ended.
    #[serde(default, skip_serializing_if = "EndedCount::is_zero")]
    pub ended: EndedCount,
}

impl Default for Position {
    fn default() -> Self {
        Self {
            format: FORMAT,
            writer: String::new(),
            sources: BTreeMap::new(),
            repartition: None,
            watermark: None,
            ended: EndedCount::default(),
        }
    }
}

impl Position {
    /// The stored form.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal("position record does not encode").because(e))
    }

    /// Reads a stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let position: Self = serde_json::from_slice(bytes)
            .map_err(|e| Error::new(Kind::Corrupt, "a position record cannot be read").because(e))?;
        if position.format > FORMAT {
            return Err(Error::refused(format!(
                "the position record has format {}, this build reads up to {FORMAT}",
                position.format
            ))
            .advise("run the newer build that wrote it"));
        }
        Ok(position)
    }

    /// The next offset of a source, if it was ever read.
    pub fn next(&self, source: &str) -> Option<Offset> {
        self.sources.get(source).map(|s| s.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_stored_form_and_a_newer_format_is_refused() {
        let mut p = Position { writer: "shop-keld-0-products-0".into(), ..Default::default() };
        p.sources.insert("a".into(), SourcePosition { topic: "t".into(), next: 42, ..Default::default() });
        assert_eq!(Position::decode(&p.encode().unwrap()).unwrap(), p);
        let newer = br#"{"format":2,"writer":"x","sources":{}}"#;
        assert_eq!(Position::decode(newer).unwrap_err().kind(), Kind::Refused);
        assert_eq!(Position::decode(b"{").unwrap_err().kind(), Kind::Corrupt);
    }
}
