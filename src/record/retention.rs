//! How long event time lets what is kept stay: tombstones to their horizon, records to the end of their time to live.
//!
//! Pure. Time is the task's watermark, never a clock: what is over at a watermark is over for whoever reads the same events,
//! and whether it was removed already makes no difference to an event that comes ([`merge_at`] removes it first).

use super::codec;
use super::definition::TableDef;
use super::event::{Event, EventKind, Outcome, Reason, Reject};
use super::merge::{Merged, merge, merge_refused};
use super::state::{FieldState, Record};
use crate::Result;

/// How long what is kept of a table's keys stays, in event time. Empty where versions are no times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// A tombstone stays until the watermark has passed its version by this, milliseconds; `None`: for ever.
    pub tombstone_horizon_ms: Option<i64>,
    /// What happens to an event for an unknown key that is older than the watermark less the horizon.
    pub beyond_horizon: BeyondHorizon,
    /// When whole records end; `None`: never.
    pub ttl: Option<Ttl>,
    /// A partition in which nothing came for so long, by the broker's timestamps in the table's other partitions, goes by these,
    /// less so much, milliseconds; `None`: its watermark waits for events.
    pub idle_after_ms: Option<i64>,
}

/// What happens to an event for an unknown key that is older than the watermark less the horizon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BeyondHorizon {
    /// It is merged: a first load may bring old versions.
    #[default]
    Accept,
    /// It is quarantined: its key may have been deleted so long ago that nothing tells of it any more.
    Refuse,
}

/// When whole records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// Which records.
    pub from: TtlFrom,
    /// How long after the highest version of anything that is kept of them, milliseconds.
    pub after_ms: i64,
}

/// Which records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlFrom {
    /// Those with nothing to show: everything they had was cleared or deleted. They end at the horizon at the earliest, since what is
    /// left of them says which values were cleared; without one, never.
    Released,
    /// All.
    Version,
}

/// What was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The tombstone; and with it the record, where it held nothing else.
    Tombstone,
    /// The record.
    Record,
}

impl Retention {
    /// Whether anything ever ends.
    pub fn is_active(&self) -> bool {
        self.tombstone_horizon_ms.is_some() || self.ttl.is_some()
    }

    /// The version behind which the watermark must have come for something of the record to be over: at any watermark *above*
    /// it something is. `None` if nothing ever is.
    pub fn due(&self, record: &Record) -> Option<i64> {
        [self.tombstone_due(record), self.record_due(record)].into_iter().flatten().min()
    }

    /// As [`Retention::due`], of a stored record.
    pub fn due_of_stored(&self, stored: &[u8]) -> Result<Option<i64>> {
        if self.ttl.is_some() {
            return Ok(self.due(&codec::decode(stored)?));
        }
        let Some(horizon) = self.tombstone_horizon_ms else { return Ok(None) };
        Ok(codec::tombstone(stored)?.map(|version| version.major.saturating_add(horizon)))
    }

    /// When the tombstone is over.
    pub fn tombstone_due(&self, record: &Record) -> Option<i64> {
        Some(record.tombstone?.major.saturating_add(self.tombstone_horizon_ms?))
    }

    /// When the record is over, as it is now.
    pub fn record_due(&self, record: &Record) -> Option<i64> {
        let ttl = self.ttl?;
        let after_ms = match ttl.from {
            TtlFrom::Version => ttl.after_ms,
            TtlFrom::Released if record.is_visible() => return None,
            TtlFrom::Released => ttl.after_ms.max(self.tombstone_horizon_ms?),
        };
        Some(highest(record)?.saturating_add(after_ms))
    }

    /// Takes away what is over at a watermark. Nothing more is over afterwards.
    pub fn prune(&self, record: &mut Record, watermark: Option<i64>) -> Option<Ended> {
        let (tombstone_due, record_due) = (self.tombstone_due(record), self.record_due(record));
        let over = |due: Option<i64>| due.zip(watermark).is_some_and(|(due, watermark)| due < watermark);
        let tombstone = over(tombstone_due);
        if tombstone {
            record.tombstone = None;
        }
        // Of a record that held nothing but its tombstone, what was over first counts, however late that is seen.
        let with_tombstone = record.is_empty() && record_due.is_none_or(|due| tombstone_due <= Some(due));
        if over(record_due) && !with_tombstone {
            *record = Record::default();
            return Some(Ended::Record);
        }
        tombstone.then_some(Ended::Tombstone)
    }

    /// Why an event for an unknown key is refused. A delete of such changes nothing, and needs no refusal.
    fn refusal(&self, event: &Event, watermark: Option<i64>) -> Option<Reject> {
        let (horizon, watermark) = (self.tombstone_horizon_ms?, watermark?);
        let version = event.stamp.version.major;
        let refused = self.beyond_horizon == BeyondHorizon::Refuse
            && event.kind != EventKind::Delete
            && version.saturating_add(horizon) < watermark;
        refused.then(|| Reject {
            reason: Reason::BeyondHorizon,
            path: String::new(),
            detail: format!(
                "nothing is known of its key, and its version {version} lies more than {horizon} ms behind the watermark \
                 {watermark}: it might bring back what was deleted"
            ),
        })
    }

    /// What the times at which records are due depend on, as text: other times need other entries in a store.
    pub fn rules(&self) -> String {
        format!("1 {:?} {:?}", self.tombstone_horizon_ms, self.ttl)
    }
}

impl Record {
    /// The highest version of anything that is kept of it, a delete included, its first part; `None` if nothing is.
    pub fn version(&self) -> Option<i64> {
        highest(self)
    }
}

/// The highest version of anything that is kept, its first part; `None` of an empty record.
fn highest(record: &Record) -> Option<i64> {
    let fields = record.fields.iter().filter_map(|(_, state)| match state {
        FieldState::Lww(cell) => Some(cell.stamp.version),
        FieldState::Set(members) => {
            members.entries.iter().map(|(_, stamp)| *stamp).chain(members.cleared).max().map(|s| s.version)
        }
        FieldState::Extreme(front) => front.front.iter().map(|(version, _)| *version).chain(front.cleared).max(),
        FieldState::Cleared(version) => Some(*version),
        FieldState::Map(map) => {
            map.cells.iter().map(|(_, cell)| cell.stamp).chain(map.cleared).max().map(|s| s.version)
        }
    });
    let dynamic = record.dynamic.iter().map(|(_, cell)| cell.stamp.version);
    let journals = record.journals.iter().filter_map(|(_, journal)| {
        let entry = journal.entries.last().map(|entry| entry.version);
        entry.max(journal.base.as_ref().map(|base| base.high.0))
    });
    record.tombstone.into_iter().chain(fields).chain(dynamic).chain(journals).max().map(|version| version.major)
}

/// Merges an event that comes when the task's watermark is `watermark`: what is over by then goes first, whether or not it was
/// removed already. `replay`: a person has judged the event, or those fields of it, if any are named.
///
/// What an event tells of an unknown key and is over at once is not kept: it is stale.
pub fn merge_at(
    def: &TableDef,
    record: &mut Record,
    event: &Event,
    watermark: Option<i64>,
    replay: Option<&[String]>,
) -> Merged {
    let retention = &def.retention;
    let ended = retention.prune(record, watermark);
    let unknown = record.is_empty();
    let refusal = if unknown && replay.is_none() { retention.refusal(event, watermark) } else { None };
    let mut merged = match (refusal, replay) {
        (Some(reject), _) => Merged::refused(reject),
        (None, Some(fields)) if !fields.is_empty() => merge_refused(def, record, event, fields),
        (None, _) => merge(def, record, event),
    };
    if unknown && retention.prune(record, watermark).is_some() {
        merged.changed = false;
        if merged.outcome != Outcome::Quarantined {
            merged.outcome = Outcome::Stale;
        }
    }
    Merged { changed: merged.changed || ended.is_some(), ended, ..merged }
}

#[cfg(test)]
mod tests;
