//! The definition of a table, compiled from configuration: what the pure core needs to know, and nothing else.

use super::analysis::Analysis;
use super::debezium::{self, Position};
use super::derived::Derived;
use super::partitioner::Partitioner;
use super::retention::Retention;
use super::value::Value;

/// A path into an event: member names from the root (`size.installed` → `["size", "installed"]`), or something beside the
/// payload: `@key`, `@timestamp`, `@partition`, `@header.NAME` (all that follows is the header's name). A member whose own
/// name starts with `@` is written with another one: `@@version`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path(pub Vec<String>);

/// Where a [`Path`] looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// Into the payload; the name of the member at its root.
    Member(&'a str),
    /// At the message key: text.
    Key,
    /// At the timestamp that the broker stored, milliseconds.
    Timestamp,
    /// At the partition, a number.
    Partition,
    /// At the last header of this name: text.
    Header(&'a str),
    /// At what stands around the rows of a change event (Debezium); the name of the member at its root.
    Envelope(&'a str),
    /// At nothing there is.
    Unknown,
}

impl Path {
    /// Splits at dots, but for the name of a header. Empty segments are the caller's to refuse.
    pub fn parse(text: &str) -> Self {
        match text.strip_prefix("@header.") {
            Some(name) => Path(vec!["@header".to_owned(), name.to_owned()]),
            None => Path(text.split('.').map(str::to_owned).collect()),
        }
    }
    /// Where it looks.
    pub fn input(&self) -> Input<'_> {
        let mut parts = self.0.iter().map(String::as_str);
        match (parts.next().unwrap_or_default(), parts.next(), parts.next()) {
            ("@key", None, _) => Input::Key,
            ("@timestamp", None, _) => Input::Timestamp,
            ("@partition", None, _) => Input::Partition,
            ("@header", Some(name), None) => Input::Header(name),
            (root, ..) => match root.strip_prefix('@') {
                Some(name) if name.starts_with('@') => Input::Member(name),
                Some(name) if debezium::ENVELOPE.contains(&root) => Input::Envelope(name),
                Some(_) => Input::Unknown,
                None => Input::Member(root),
            },
        }
    }
    /// Whether it looks into the payload.
    pub fn in_payload(&self) -> bool {
        matches!(self.input(), Input::Member(_) | Input::Envelope(_))
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// One kind of record: key, sources, fields.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// Name of the table, as in configuration and URLs.
    pub name: String,
    /// Where an event's key comes from.
    pub key: KeyFrom,
    /// What happens to members that no field declares.
    pub dynamic: Dynamic,
    /// How much history journals keep, per key and source.
    pub window: Window,
    /// How long tombstones and records stay.
    pub retention: Retention,
    /// How producers choose the partition of a key.
    pub partitioner: Partitioner,
    /// Whether events whose key belongs to another partition are sent on to it, instead of being quarantined.
    pub repartition: bool,
    /// Sources, ordered by name.
    pub sources: Vec<SourceDef>,
    /// Declared fields, ordered by name. Names and ids are unique.
    pub fields: Vec<FieldDef>,
    /// Fields that are computed from the record, ordered by name. Their names are no declared field's.
    pub derived: Vec<Derived>,
    /// Nesting depth of JSON beyond which an event is quarantined (`too_deep`).
    pub max_depth: usize,
}

/// Where an event's key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFrom {
    /// The message key (`@key`), as it is.
    Message,
    /// A path in the event; strings as they are, integers in decimal. Shown in the record under the path's text. Of a
    /// tombstone message, which has no payload, the message key, unless the path looks beside the payload.
    Path(Path),
}

/// What happens to members of an event that no field declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dynamic {
    /// Kept last-writer-wins, returned, not indexed.
    Store,
    /// Kept, returned and indexed.
    Index,
    /// Left out.
    Ignore,
    /// The event is quarantined.
    Reject,
}

/// How much of a key's recent events a journal holds, per source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Most entries a journal holds.
    pub events: usize,
    /// Event time between the newest and the oldest entry, milliseconds. Compared only with versions that are times.
    pub time_ms: i64,
}

/// One source of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDef {
    /// Name, unique within the table.
    pub name: String,
    /// Stable id: low 32 bits of xxh3 of the name. Journals are kept under it.
    pub id: u32,
    /// Topic that is read.
    pub topic: String,
    /// How payloads are encoded.
    pub format: Format,
    /// Where the version comes from.
    pub version: VersionFrom,
    /// Path of the event id, needed by `sum`, `count` and `append`.
    pub event_id: Option<Path>,
    /// Breaks ties between equal versions: the higher rank wins.
    pub rank: i32,
    /// When an event is a delete, beside a null payload.
    pub delete: Option<DeleteRule>,
    /// What the absence of a declared field says.
    pub absent: Absent,
    /// Values that count as absent.
    pub sentinels: Vec<Value>,
    /// What a message without payload says.
    pub tombstones: Tombstones,
    /// A version this much later than the message's broker timestamp is quarantined; `None` for sequences, milliseconds.
    pub max_ahead_ms: Option<i64>,
}

/// How payloads are encoded, and what stands in them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// One JSON object behind the prefix of a schema registry. The schema is not asked for.
    JsonSchema,
    /// An Avro record behind the prefix of a schema registry.
    Avro,
    /// A change event of Debezium in JSON, with or without its schema beside it.
    DebeziumJson,
    /// A flattened one: the row, and what was added to it under names that begin with `__`.
    DebeziumJsonFlat,
    /// A change event of Debezium in Avro.
    DebeziumAvro,
    /// A flattened one.
    DebeziumAvroFlat,
}

/// How bytes become members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text.
    Json,
    /// JSON text behind a registry's prefix.
    JsonSchema,
    /// Avro behind a registry's prefix.
    Avro,
}

/// Where among the members the row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The members are the event.
    Plain,
    /// Rows before and after a change, in an envelope.
    Envelope,
    /// The row, with members that speak of the change.
    Flat,
}

impl Format {
    /// How bytes become members.
    pub const fn encoding(self) -> Encoding {
        match self {
            Format::Json | Format::DebeziumJson | Format::DebeziumJsonFlat => Encoding::Json,
            Format::JsonSchema => Encoding::JsonSchema,
            Format::Avro | Format::DebeziumAvro | Format::DebeziumAvroFlat => Encoding::Avro,
        }
    }
    /// Where among the members the row stands.
    pub const fn shape(self) -> Shape {
        match self {
            Format::Json | Format::JsonSchema | Format::Avro => Shape::Plain,
            Format::DebeziumJson | Format::DebeziumAvro => Shape::Envelope,
            Format::DebeziumJsonFlat | Format::DebeziumAvroFlat => Shape::Flat,
        }
    }
}

/// What a message without payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tombstones {
    /// The record of its key is gone as of its version.
    Delete,
    /// Nothing: another message has said it already.
    Ignore,
    /// Something that cannot be placed, since its version is not known: it is quarantined.
    Quarantine,
}

/// Where the version of an event comes from. A tombstone message has no payload: its version is the timestamp, unless
/// every path looks beside the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionFrom {
    /// Timestamp that the broker stored with the message, milliseconds.
    Timestamp,
    /// One path, or two that are compared in order: integers, or RFC 3339 text as milliseconds.
    Paths(Vec<Path>),
    /// The position of a change of Debezium: its time in the database (`source.ts_ms`); within a millisecond, where it
    /// stands in the database's log (`lsn`, or `file` and `pos`, or `ord`).
    Position,
}

impl VersionFrom {
    /// As it is written in a configuration.
    pub fn words(&self) -> Vec<String> {
        match self {
            VersionFrom::Timestamp => vec!["@timestamp".to_owned()],
            VersionFrom::Paths(paths) => paths.iter().map(ToString::to_string).collect(),
            VersionFrom::Position => vec!["@source".to_owned()],
        }
    }
}

/// An event whose `field` equals `equals` is a delete.
#[derive(Clone, Debug, PartialEq)]
pub struct DeleteRule {
    /// Path that is looked at.
    pub field: Path,
    /// The value that makes it a delete, compared in canonical form.
    pub equals: Value,
}

/// What the absence of a declared field in an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// Nothing.
    Keep,
    /// The field is cleared, for sources that always send whole rows: an event clears every declared field that it does
    /// not carry, those that only other sources fill included.
    Clear,
}

/// Type of a declared field. A field may hold an array of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldType {
    /// Text, analysed for search.
    Text,
    /// Text, matched whole.
    Keyword,
    /// Signed 64-bit integer.
    Integer,
    /// 64-bit float, finite.
    Float,
    /// True or false.
    Boolean,
    /// Milliseconds since the epoch; RFC 3339 or a number in, RFC 3339 in UTC out.
    Date,
    /// Any JSON.
    Json,
}

/// How the values of a field are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// The value with the highest stamp.
    Lww,
    /// Sum over distinct event ids; integer or float fields.
    Sum,
    /// Number of distinct event ids that carry a value, whatever its type; integer fields.
    Count,
    /// Union of values.
    Set,
    /// Largest value.
    Max,
    /// Smallest value.
    Min,
    /// An object, each key the value with the highest stamp; `json` fields.
    Map,
    /// The value with the lowest live stamp.
    First,
    /// The newest values in the order of their stamps, over distinct event ids.
    Append,
}

impl Strategy {
    /// Whether the field is made of contributions, which journals keep.
    pub fn accumulates(self) -> bool {
        matches!(self, Strategy::Sum | Strategy::Count | Strategy::First | Strategy::Append)
    }

    /// Whether contributions can be told apart by the id of their event only.
    pub fn needs_event_id(self) -> bool {
        matches!(self, Strategy::Sum | Strategy::Count | Strategy::Append)
    }

    /// The `limit` of a field that gives none; `None` where a limit has no meaning.
    pub fn limit(self) -> Option<usize> {
        match self {
            Strategy::Set | Strategy::Map => Some(1_000),
            Strategy::Append => Some(100),
            Strategy::Lww | Strategy::Sum | Strategy::Count | Strategy::Max | Strategy::Min | Strategy::First => None,
        }
    }
}

/// A declared field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldDef {
    /// Name, as shown in records and queries.
    pub name: String,
    /// Stable id: low 32 bits of xxh3 of the name. Stored records name declared fields by it.
    pub id: u32,
    /// Type.
    pub kind: FieldType,
    /// Strategy.
    pub merge: Strategy,
    /// Where in an event the value stands; the name by default.
    pub path: Path,
    /// Most members of a set, keys of a map, values of an append.
    pub limit: usize,
    /// Searchable (default true).
    pub index: bool,
    /// Facet counts wanted; implies a column.
    pub facet: bool,
    /// Sorting wanted on a text field; every other type can always be sorted by.
    pub sort: bool,
    /// How a text becomes terms.
    pub analysis: Analysis,
    /// Other ways in which a text is indexed as well, by name; searched as `field.name`.
    pub variants: Vec<(String, Analysis)>,
}

/// Stable 32-bit id of a field or source name.
pub fn name_id(name: &str) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) & 0xffff_ffff) as u32
}

impl TableDef {
    /// The declared field of this name.
    pub fn field(&self, name: &str) -> Option<&FieldDef> {
        self.fields.binary_search_by(|f| f.name.as_str().cmp(name)).ok().map(|i| &self.fields[i])
    }
    /// Every field that records show and searches find: the declared ones, then the derived ones.
    pub fn shown_fields(&self) -> impl Iterator<Item = &FieldDef> {
        self.fields.iter().chain(self.derived.iter().map(|derived| &derived.field))
    }
    /// The declared field with this id.
    pub fn field_by_id(&self, id: u32) -> Option<&FieldDef> {
        self.fields.iter().find(|f| f.id == id)
    }
    /// What an event of `source` spends on key, version, id, delete marker and fields; the rest is dynamic.
    pub fn consumed(&self, source: &SourceDef) -> Consumed {
        let mut paths: Vec<Path> = self.fields.iter().map(|f| f.path.clone()).collect();
        if let KeyFrom::Path(p) = &self.key {
            paths.push(p.clone());
        }
        if let VersionFrom::Paths(p) = &source.version {
            paths.extend(p.iter().cloned());
        }
        if source.version == VersionFrom::Position {
            paths.extend(Position::of(source.format.shape()).paths().cloned());
        }
        if source.format.shape() == Shape::Flat {
            paths.extend(debezium::marks());
        }
        paths.extend(source.event_id.clone());
        paths.extend(source.delete.as_ref().map(|d| d.field.clone()));
        paths.sort();
        paths.dedup();
        Consumed { paths }
    }
}

/// Paths of an event that are spoken for; computed once per source.
#[derive(Clone, Debug)]
pub struct Consumed {
    /// Sorted, distinct.
    pub paths: Vec<Path>,
}
