//! The pure merge: `merge(record, event) → outcome`, changing the record in place.

use super::{Event, Outcome, Record, Reject, TableDef};

/// What a merge did.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    /// The one outcome of the event.
    pub outcome: Outcome,
    /// Whether the record's bytes changed (also possible when the outcome is quarantined).
    pub changed: bool,
    /// Parts that were refused, when the outcome is [`Outcome::Quarantined`].
    pub rejects: Vec<Reject>,
    /// Deletes that came later than the window, and members that a limit pushed out; for metrics.
    pub window_misses: u32,
    /// Members that a limit pushed out.
    pub evicted: u32,
    /// Ids seen again with other content.
    pub id_conflicts: u32,
}

/// Merges `event` into `record`. Total: every event that decodes can be merged.
pub fn merge(_def: &TableDef, _record: &mut Record, _event: &Event) -> Merged {
    todo!()
}
