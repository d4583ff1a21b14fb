//! The record model: how events become a record (`MERGE.md`).
//!
//! Pure: no input or output, no clock. `merge(record, event) → (record', outcome)` gives the same bytes for the same
//! set of events, in any order, each delivered any number of times within the window.

mod analysis;
mod canonical;
pub mod codec;
mod contribution;
pub mod debezium;
pub mod decode;
pub mod definition;
pub mod derived;
pub mod event;
pub mod explain;
mod extreme;
mod journal;
mod map;
pub mod merge;
pub mod partitioner;
pub mod render;
pub mod retention;
mod set;
mod shown;
pub mod state;
mod sums;
#[cfg(test)]
mod testing;
pub mod value;

pub use analysis::{Analysis, Grams, Language, StopWords};
pub use definition::{
    Absent, Consumed, DeleteRule, Dynamic, Encoding, FieldDef, FieldType, Format, Input, KeyFrom, Path, Shape,
    SourceDef, Strategy, TableDef, Tombstones, VersionFrom, Window,
};
pub use derived::Derived;
pub use event::{Event, EventKind, Outcome, Reason, Reject, Stamp, Version};
pub use merge::{Merged, merge, merge_refused};
pub use partitioner::Partitioner;
pub use retention::{BeyondHorizon, Ended, Retention, Ttl, TtlFrom, merge_at};
pub use shown::Shown;
pub use state::Record;
pub use value::Value;

/// Longest key, bytes. A key must fit a term of the index and the margin of a changelog record.
pub const MAX_KEY_BYTES: usize = 8 << 10;
/// User keys may not start with this; what Keld itself keeps in a changelog stands under it.
pub const RESERVED_PREFIX: &[u8] = b"\0keld";
/// Key of the position record in every changelog partition.
pub const POSITION_KEY: &[u8] = b"\0keld/position";
