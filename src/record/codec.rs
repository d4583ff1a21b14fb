//! Stored bytes of a record: a format version byte, then what bincode's standard configuration gives; `write` writes it and `read`
//! reads it. Nothing else knows it.
//!
//! Format 1: tombstone; table of the distinct stamps of cells and members, ascending; fields; dynamic members; journals.
//! Cells and members name their stamp by its place in the table. The major part of a version is written as the
//! difference to the one before it in its list. Every list is strictly ascending (the values of an `append` may repeat), so a
//! record is written in one form only.

mod read;
mod write;

use smallvec::SmallVec;

use self::read::{Read, Reader};
use super::contribution::{Contribution, Folded, append_cmp};
use super::event::{Stamp, Version};
use super::extreme::Extreme;
use super::journal::{Base, Entry, Journal, Parts};
use super::map::Map;
use super::set::Members;
use super::state::{Cell, FieldState, Record};
use super::value::Value;
use crate::{Error, Kind, Result};

/// Format version written by this build.
pub const FORMAT: u8 = 1;

/// Most bytes that one stored record may have. A changelog record is far below it.
const LIMIT: usize = 64 << 20;

/// Appends the stored form of `record` to `out`. Equal records give equal bytes.
pub fn encode(record: &Record, out: &mut Vec<u8>) {
    out.push(FORMAT);
    write::record(out, record, &stamps(record));
}

/// Reads a stored record; any byte string gives a record or an error, never a panic or a large allocation.
pub fn decode(bytes: &[u8]) -> Result<Record> {
    let corrupt = |what: String| {
        Error::new(Kind::Corrupt, what)
            .advise("rebuild the task from its changelog with --rebuild, or run a newer build")
    };
    let Some((format, body)) = bytes.split_first() else {
        return Err(corrupt("stored record is empty".to_owned()));
    };
    if *format != FORMAT {
        return Err(corrupt(format!("stored record has format {format}, this build reads {FORMAT}")));
    }
    if body.len() > LIMIT {
        return Err(corrupt(format!("stored record has {} bytes, at most {LIMIT} can be read", bytes.len())));
    }
    let mut reader = Reader::new(body);
    match take_record(&mut reader) {
        Ok(record) if reader.left() == 0 => Ok(record),
        Ok(_) => Err(corrupt(format!("stored record has {} bytes too many", reader.left()))),
        Err(why) => Err(corrupt(format!("stored record cannot be read: {why}"))),
    }
}

/// The tombstone of a stored record, without reading the rest of it.
pub fn tombstone(bytes: &[u8]) -> Result<Option<Version>> {
    match bytes {
        [FORMAT, body @ ..] => match Reader::new(body).tombstone() {
            Ok(tombstone) => Ok(tombstone),
            // Says what is wrong.
            Err(_) => decode(bytes).map(|record| record.tombstone),
        },
        _ => decode(bytes).map(|record| record.tombstone),
    }
}

/// The distinct stamps of cells and members, ascending.
fn stamps(record: &Record) -> SmallVec<[Stamp; 8]> {
    let mut out = SmallVec::new();
    // Most records have few: those that are there already need not be sorted away.
    let mut take = |stamp: Stamp| {
        if out.spilled() || !out.contains(&stamp) {
            out.push(stamp);
        }
    };
    for (_, state) in &record.fields {
        match state {
            FieldState::Lww(cell) => take(cell.stamp),
            FieldState::Set(members) => {
                members.cleared.into_iter().for_each(&mut take);
                members.entries.iter().for_each(|(_, stamp)| take(*stamp));
            }
            FieldState::Map(map) => {
                map.cleared.into_iter().for_each(&mut take);
                map.cells.iter().for_each(|(_, cell)| take(cell.stamp));
            }
            FieldState::Extreme(_) | FieldState::Cleared(_) => {}
        }
    }
    record.dynamic.iter().for_each(|(_, cell)| take(cell.stamp));
    out.sort_unstable();
    out.dedup();
    out
}

/// Why bytes are no record.
type Wrong = &'static str;

const OUT_OF_ORDER: Wrong = "list out of order";
const UNKNOWN_KIND: Wrong = "unknown kind";

fn take_record(r: &mut Reader<'_>) -> Read<Record> {
    let tombstone = r.tombstone()?;
    let mut last = 0;
    let stamps = r.list(|r| Ok(Stamp { version: r.next_version(&mut last)?, rank: r.rank()? }), |stamp| *stamp)?;
    let fields = r.list(|r| Ok((r.small()?, take_state(r, &stamps)?)), |(id, _)| *id)?;
    let dynamic = take_cells(r, &stamps)?;
    let journals = r.list(|r| Ok((r.small()?, take_journal(r)?)), |(id, _)| *id)?;
    Ok(Record { tombstone, fields, dynamic, journals })
}

#[inline]
fn take_cell(r: &mut Reader<'_>, stamps: &[Stamp]) -> Read<Cell> {
    let stamp = r.stamp(stamps)?;
    Ok(Cell { stamp, value: r.value()? })
}

/// Cells by name.
fn take_cells(r: &mut Reader<'_>, stamps: &[Stamp]) -> Read<Vec<(Box<str>, Cell)>> {
    let mut out: Vec<(Box<str>, Cell)> = Vec::new();
    for _ in 0..r.unsigned()? {
        let name = r.text()?;
        if out.last().is_some_and(|(before, _)| before.as_ref() >= name) {
            return Err(OUT_OF_ORDER);
        }
        out.push((name.into(), take_cell(r, stamps)?));
    }
    Ok(out)
}

fn take_cleared(r: &mut Reader<'_>, stamps: &[Stamp]) -> Read<Option<Stamp>> {
    if r.flag()? { r.stamp(stamps).map(Some) } else { Ok(None) }
}

fn take_state(r: &mut Reader<'_>, stamps: &[Stamp]) -> Read<FieldState> {
    Ok(match r.byte()? {
        0 => FieldState::Lww(take_cell(r, stamps)?),
        1 => {
            let cleared = take_cleared(r, stamps)?;
            let mut entries: Vec<(Value, Stamp)> = Vec::new();
            for _ in 0..r.unsigned()? {
                let Cell { value, stamp } = take_cell(r, stamps)?;
                if entries.last().is_some_and(|(before, _)| before.shown_cmp(&value).is_ge()) {
                    return Err(OUT_OF_ORDER);
                }
                entries.push((value, stamp));
            }
            FieldState::Set(Members { cleared, entries })
        }
        2 => {
            let cleared = r.tombstone()?;
            let mut last = 0;
            let front = r.list(|r| Ok((r.next_version(&mut last)?, r.value()?)), |(version, _)| *version)?;
            FieldState::Extreme(Extreme { cleared, front })
        }
        3 => FieldState::Cleared(r.version()?),
        4 => FieldState::Map(Map { cleared: take_cleared(r, stamps)?, cells: take_cells(r, stamps)? }),
        _ => return Err(UNKNOWN_KIND),
    })
}

fn take_journal(r: &mut Reader<'_>) -> Read<Journal> {
    let mut last = 0;
    let base = if r.flag()? { Some(take_base(r, &mut last)?) } else { None };
    let entry = |r: &mut Reader<'_>| {
        let version = r.next_version(&mut last)?;
        let id = r.unsigned()?;
        Ok(Entry { version, id, parts: take_parts(r, version)? })
    };
    let entries = r.list(entry, |entry| (entry.version, entry.id))?;
    Ok(Journal { base, entries })
}

/// Most events make one contribution, which stands in place.
fn take_parts(r: &mut Reader<'_>, version: Version) -> Read<Parts> {
    let mut out = Parts::new();
    for _ in 0..r.unsigned()? {
        let field = r.small()?;
        if out.last().is_some_and(|(before, _)| *before >= field) {
            return Err(OUT_OF_ORDER);
        }
        out.push((field, take_contribution(r, version)?));
    }
    Ok(out)
}

fn take_base(r: &mut Reader<'_>, last: &mut i64) -> Read<Base> {
    let low = r.next_version(last)?;
    let high = (r.next_version(last)?, r.unsigned()?);
    let folded = r.list(|r| Ok((r.small()?, take_folded(r, low)?)), |(field, _)| *field)?;
    Ok(Base { low, high, folded })
}

fn take_folded(r: &mut Reader<'_>, low: Version) -> Read<Folded> {
    let mut last = low.major;
    let mut take = |r: &mut Reader<'_>| {
        let version = r.next_version(&mut last)?;
        take_valued(r, version)
    };
    Ok(match r.byte()? {
        0 => Folded::Int(r.wide()?),
        1 => Folded::Float(r.float()?),
        2 => Folded::Count(r.unsigned()?),
        3 => Folded::First(take(r)?.into()),
        4 => {
            let mut cells: Vec<Cell> = Vec::new();
            for _ in 0..r.unsigned()? {
                let cell = take(r)?;
                if cells.last().is_some_and(|before| append_cmp(before, &cell).is_gt()) {
                    return Err(OUT_OF_ORDER);
                }
                cells.push(cell);
            }
            Folded::Append(cells)
        }
        _ => return Err(UNKNOWN_KIND),
    })
}

fn take_contribution(r: &mut Reader<'_>, version: Version) -> Read<Contribution> {
    Ok(match r.byte()? {
        0 => Contribution::Int(r.signed()?),
        1 => Contribution::Float(r.float()?),
        2 => Contribution::One,
        3 => Contribution::First(take_valued(r, version)?.into()),
        4 => Contribution::Append(take_valued(r, version)?.into()),
        _ => return Err(UNKNOWN_KIND),
    })
}

/// A value of this version, with its rank.
fn take_valued(r: &mut Reader<'_>, version: Version) -> Read<Cell> {
    let stamp = Stamp { version, rank: r.rank()? };
    Ok(Cell { stamp, value: r.value()? })
}

#[cfg(test)]
mod tests;
