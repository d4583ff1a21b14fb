//! An event, its version and stamp, and what became of it.

use super::value::Value;

/// Orders the events of a key: one or two signed integers taken from the event, compared in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// First part (milliseconds, log sequence number, …).
    pub major: i64,
    /// Second part; 0 where the source has one part only.
    pub minor: i64,
}

impl Version {
    /// A version of one part.
    pub const fn single(major: i64) -> Self {
        Version { major, minor: 0 }
    }
}

/// (version, source rank): what decides between two values of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Version of the event that wrote the value.
    pub version: Version,
    /// Rank of its source.
    pub rank: i32,
}

/// A decoded event of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The record it speaks of.
    pub key: Vec<u8>,
    /// Version and rank.
    pub stamp: Stamp,
    /// [`super::SourceDef::id`] of its source.
    pub source: u32,
    /// 64-bit xxh3 of the event id, where the source has one.
    pub id: Option<u64>,
    /// What it says.
    pub kind: EventKind,
}

impl Event {
    /// Bytes that its values and their names take when they are stored, at most about.
    pub fn weight(&self) -> usize {
        let EventKind::Upsert { declared, dynamic } = &self.kind else { return 0 };
        let of = |value: &Value| size_of::<Value>() + value.heap_size();
        let declared: usize = declared.iter().map(|(_, value)| of(value)).sum();
        declared + dynamic.iter().map(|(name, value)| name.len() + of(value)).sum::<usize>()
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The record is gone as of the version.
    Delete,
    /// Values for some fields. `declared` holds (index into [`super::TableDef::fields`], typed value; `Null` clears),
    /// ordered by index; `dynamic` holds undeclared members, ordered by name.
    Upsert {
        /// Values of declared fields.
        declared: Vec<(usize, Value)>,
        /// Values of undeclared members.
        dynamic: Vec<(String, Value)>,
    },
}

/// What became of an event. Every consumed event ends in exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The record's bytes changed.
    Applied,
    /// Held already: id in the window, or nothing in it that is not held, stamp and value.
    Duplicate,
    /// Superseded by what is held.
    Stale,
    /// Could not be decoded, typed, placed, or judged in some part.
    Quarantined,
}

/// Why an event, or a part of it, was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The payload is not what the format says.
    Undecodable,
    /// A value of another type, or one that loses something when converted.
    WrongType,
    /// A number that its type cannot hold; a sum that leaves 64 bits.
    OutOfRange,
    /// No key at its path, or an empty one.
    MissingKey,
    /// The message has no key and the table takes it from there.
    NullKey,
    /// The key starts with the reserved prefix, is not UTF-8, or is too long.
    BadKey,
    /// No version at its path.
    MissingVersion,
    /// The version lies further ahead of the message's timestamp than `max_ahead`.
    VersionAhead,
    /// No event id, and a field needs one.
    MissingEventId,
    /// Nested deeper than `max_depth`.
    TooDeep,
    /// A member that no field declares, where `dynamic = "reject"`.
    Undeclared,
    /// A contribution older than the window that cannot be told from a duplicate.
    OutsideWindow,
    /// The record would become larger than the changelog takes.
    TooLarge,
    /// The key belongs to another partition.
    WrongPartition,
    /// The registry has no schema of the id that the message names.
    UnknownSchema,
    /// An operation that no single record can carry out (a truncated table).
    Unsupported,
    /// Its key is not known, and its version is older than the tombstone horizon, where `beyond_horizon = "refuse"`.
    BeyondHorizon,
}

impl Reason {
    /// The code in quarantine headers, metrics and the API.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::Undecodable => "undecodable",
            Reason::WrongType => "wrong_type",
            Reason::OutOfRange => "out_of_range",
            Reason::MissingKey => "missing_key",
            Reason::NullKey => "null_key",
            Reason::BadKey => "bad_key",
            Reason::MissingVersion => "missing_version",
            Reason::VersionAhead => "version_ahead",
            Reason::MissingEventId => "missing_event_id",
            Reason::TooDeep => "too_deep",
            Reason::Undeclared => "undeclared",
            Reason::OutsideWindow => "outside_window",
            Reason::TooLarge => "too_large",
            Reason::WrongPartition => "wrong_partition",
            Reason::UnknownSchema => "unknown_schema",
            Reason::Unsupported => "unsupported",
            Reason::BeyondHorizon => "beyond_horizon",
        }
    }
}

/// A refusal: reason, the path it is about, and a sentence with the offending value (cut).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// Path in the event, empty for the whole.
    pub path: String,
    /// One sentence: what was found, what was expected.
    pub detail: String,
}

impl std::fmt::Display for Reject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.reason.code())?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.detail)
    }
}
