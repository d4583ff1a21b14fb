//! The names that Debezium gives to what stands beside a row, and where the position of a change is found among them.

use super::definition::{Path, Shape};

/// How the members begin that the flattened form puts beside the columns (`add.fields.prefix`).
pub(super) const PREFIX: &str = "__";
/// What Debezium writes for a large column that a change did not touch (TOAST): as text, as bytes (base64), as an array.
pub const UNAVAILABLE: [&str; 2] = ["__debezium_unavailable_value", "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="];
/// Members of the envelope that paths may look at, written with `@`.
pub(super) const ENVELOPE: [&str; 6] = ["@source", "@op", "@ts_ms", "@ts_us", "@ts_ns", "@transaction"];

/// Marks of a delete in the flattened form: `__deleted` is true, or `__op` is `d`.
pub(super) fn marks() -> [Path; 2] {
    [Path::parse("__deleted"), Path::parse("__op")]
}

/// Where the position of a change stands.
///
/// The time of the change comes first, since sources of other kinds compare with times; changes of the same millisecond
/// (those of a transaction have one time) are ordered by where they stand in the database's log.
#[derive(Clone, Debug)]
pub(super) struct Position {
    /// Time of the change in the database, milliseconds.
    pub(super) time: Path,
    /// PostgreSQL: log sequence number.
    pub(super) lsn: Vec<Path>,
    /// MySQL: file of the binlog.
    pub(super) file: Vec<Path>,
    /// MySQL: position in the file.
    pub(super) pos: Vec<Path>,
    /// MongoDB: number within the second.
    pub(super) ord: Vec<Path>,
}

impl Position {
    /// Where it stands in this shape.
    pub(super) fn of(shape: Shape) -> Self {
        let flat = shape == Shape::Flat;
        // Debezium takes both `add.fields = source.lsn` and `add.fields = lsn`, and names the member so.
        let starts: &[&str] = if flat { &["__source_", "__"] } else { &["@source."] };
        let find = |name: &str| starts.iter().map(|start| Path::parse(&format!("{start}{name}"))).collect();
        let time = if flat { "__source_ts_ms" } else { "@source.ts_ms" };
        Self { time: Path::parse(time), lsn: find("lsn"), file: find("file"), pos: find("pos"), ord: find("ord") }
    }

    /// Every path of it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        [&self.lsn, &self.file, &self.pos, &self.ord].into_iter().flatten().chain([&self.time])
    }
}
