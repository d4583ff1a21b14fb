//! Stored bytes of a record: a format version byte, then bincode, which reads them; `write` writes them. Nothing else knows them.
//!
//! Format 1: tombstone; table of the distinct stamps of cells and members, ascending; fields; dynamic members; journals.
//! Cells and members name their stamp by its place in the table. The major part of a version is written as the
//! difference to the one before it in its list. Every list is strictly ascending (the values of an `append` may repeat), so a
//! record is written in one form only.

mod write;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::{BorrowDecode, BorrowDecoder, Decode};
use bincode::error::DecodeError;
use smallvec::SmallVec;

use super::contribution::{Contribution, Folded, append_cmp};
use super::event::{Stamp, Version};
use super::extreme::Extreme;
use super::journal::{Base, Entry, Journal};
use super::map::Map;
use super::set::Members;
use super::state::{Cell, FieldState, Record};
use super::value::{Value, canonical_float, length};
use crate::{Error, Kind, Result};

/// Format version written by this build.
pub const FORMAT: u8 = 1;

/// Most bytes that one stored record may hold. A changelog record is far below it.
const LIMIT: usize = 64 << 20;
const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> = bincode::config::standard().with_limit::<LIMIT>();

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
    match bincode::borrow_decode_from_slice::<Loaded, _>(body, CONFIG) {
        Ok((loaded, read)) if read == body.len() => Ok(loaded.0),
        Ok((_, read)) => Err(corrupt(format!("stored record has {} bytes too many", body.len() - read))),
        Err(cause) => Err(corrupt("stored record cannot be read".to_owned()).because(cause.to_string())),
    }
}

/// The tombstone of a stored record, without reading the rest of it.
pub fn tombstone(bytes: &[u8]) -> Result<Option<Version>> {
    match bytes {
        [FORMAT, body @ ..] => match bincode::decode_from_slice::<Option<Version>, _>(body, CONFIG) {
            Ok((tombstone, _)) => Ok(tombstone),
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

struct Loaded(Record);

impl<'de, C> BorrowDecode<'de, C> for Loaded {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(d: &mut D) -> Result<Self, DecodeError> {
        let tombstone = Option::<Version>::decode(d)?;
        let mut last = 0;
        let stamps = list(d, |d| Ok(Stamp { version: take_version(d, &mut last)?, rank: i32::decode(d)? }), |s| *s)?;
        let fields = list(d, |d| Ok((u32::decode(d)?, take_state(d, &stamps)?)), |(id, _)| *id)?;
        let dynamic = take_cells(d, &stamps)?;
        let journals = list(d, |d| Ok((u32::decode(d)?, take_journal(d)?)), |(id, _)| *id)?;
        Ok(Loaded(Record { tombstone, fields, dynamic, journals }))
    }
}

const OUT_OF_ORDER: DecodeError = DecodeError::Other("list out of order");
const UNKNOWN_KIND: DecodeError = DecodeError::Other("unknown kind");

/// Reads a list that ascends strictly by `key`. Grows with what is really there, not with the length that is claimed.
fn list<'de, D: BorrowDecoder<'de>, T, K: Ord>(
    d: &mut D,
    mut item: impl FnMut(&mut D) -> Result<T, DecodeError>,
    key: impl Fn(&T) -> K,
) -> Result<Vec<T>, DecodeError> {
    let mut out: Vec<T> = Vec::new();
    for _ in 0..length(d)? {
        let next = item(d)?;
        if out.last().is_some_and(|before| key(before) >= key(&next)) {
            return Err(OUT_OF_ORDER);
        }
        out.push(next);
    }
    Ok(out)
}

fn take_version<'de, D: BorrowDecoder<'de>>(d: &mut D, last: &mut i64) -> Result<Version, DecodeError> {
    *last = last.wrapping_add(i64::decode(d)?);
    Ok(Version { major: *last, minor: i64::decode(d)? })
}

fn take_stamp<'de, D: BorrowDecoder<'de>>(d: &mut D, stamps: &[Stamp]) -> Result<Stamp, DecodeError> {
    let at = usize::try_from(u64::decode(d)?).unwrap_or(usize::MAX);
    stamps.get(at).copied().ok_or(DecodeError::Other("stamp out of the table"))
}

fn take_cell<'de, D: BorrowDecoder<'de>>(d: &mut D, stamps: &[Stamp]) -> Result<Cell, DecodeError> {
    let stamp = take_stamp(d, stamps)?;
    Ok(Cell { stamp, value: Value::borrow_decode(d)? })
}

/// Cells by name.
fn take_cells<'de, D: BorrowDecoder<'de>>(d: &mut D, stamps: &[Stamp]) -> Result<Vec<(Box<str>, Cell)>, DecodeError> {
    let mut out: Vec<(Box<str>, Cell)> = Vec::new();
    for _ in 0..length(d)? {
        let name = <&str>::borrow_decode(d)?;
        if out.last().is_some_and(|(before, _)| before.as_ref() >= name) {
            return Err(OUT_OF_ORDER);
        }
        out.push((name.into(), take_cell(d, stamps)?));
    }
    Ok(out)
}

fn take_cleared<'de, D: BorrowDecoder<'de>>(d: &mut D, stamps: &[Stamp]) -> Result<Option<Stamp>, DecodeError> {
    if bool::decode(d)? { take_stamp(d, stamps).map(Some) } else { Ok(None) }
}

fn take_state<'de, D: BorrowDecoder<'de>>(d: &mut D, stamps: &[Stamp]) -> Result<FieldState, DecodeError> {
    Ok(match u8::decode(d)? {
        0 => FieldState::Lww(take_cell(d, stamps)?),
        1 => {
            let cleared = take_cleared(d, stamps)?;
            let mut entries: Vec<(Value, Stamp)> = Vec::new();
            for _ in 0..length(d)? {
                let Cell { value, stamp } = take_cell(d, stamps)?;
                if entries.last().is_some_and(|(before, _)| before.shown_cmp(&value).is_ge()) {
                    return Err(OUT_OF_ORDER);
                }
                entries.push((value, stamp));
            }
            FieldState::Set(Members { cleared, entries })
        }
        2 => {
            let cleared = Option::<Version>::decode(d)?;
            let mut last = 0;
            let pair = |d: &mut D| Ok((take_version(d, &mut last)?, Value::borrow_decode(d)?));
            FieldState::Extreme(Extreme { cleared, front: list(d, pair, |(version, _)| *version)? })
        }
        3 => FieldState::Cleared(Version::decode(d)?),
        4 => FieldState::Map(Map { cleared: take_cleared(d, stamps)?, cells: take_cells(d, stamps)? }),
        _ => return Err(UNKNOWN_KIND),
    })
}

fn take_journal<'de, D: BorrowDecoder<'de>>(d: &mut D) -> Result<Journal, DecodeError> {
    let mut last = 0;
    let base = if bool::decode(d)? { Some(take_base(d, &mut last)?) } else { None };
    let entry = |d: &mut D| {
        let version = take_version(d, &mut last)?;
        let id = u64::decode(d)?;
        let parts = list(d, |d| Ok((u32::decode(d)?, take_contribution(d, version)?)), |(field, _)| *field)?;
        Ok(Entry { version, id, parts: parts.into() })
    };
    let entries = list(d, entry, |entry| (entry.version, entry.id))?;
    Ok(Journal { base, entries })
}

fn take_base<'de, D: BorrowDecoder<'de>>(d: &mut D, last: &mut i64) -> Result<Base, DecodeError> {
    let low = take_version(d, last)?;
    let high = (take_version(d, last)?, u64::decode(d)?);
    let folded = list(d, |d| Ok((u32::decode(d)?, take_folded(d, low)?)), |(field, _)| *field)?;
    Ok(Base { low, high, folded })
}

fn take_folded<'de, D: BorrowDecoder<'de>>(d: &mut D, low: Version) -> Result<Folded, DecodeError> {
    let mut last = low.major;
    let mut take = |d: &mut D| take_valued(d, |d| take_version(d, &mut last));
    Ok(match u8::decode(d)? {
        0 => Folded::Int(i128::decode(d)?),
        1 => Folded::Float(canonical_float(f64::decode(d)?)?),
        2 => Folded::Count(u64::decode(d)?),
        3 => Folded::First(take(d)?.into()),
        4 => {
            let mut cells: Vec<Cell> = Vec::new();
            for _ in 0..length(d)? {
                let cell = take(d)?;
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

fn take_contribution<'de, D: BorrowDecoder<'de>>(d: &mut D, version: Version) -> Result<Contribution, DecodeError> {
    Ok(match u8::decode(d)? {
        0 => Contribution::Int(i64::decode(d)?),
        1 => Contribution::Float(canonical_float(f64::decode(d)?)?),
        2 => Contribution::One,
        3 => Contribution::First(take_valued(d, |_| Ok(version))?.into()),
        4 => Contribution::Append(take_valued(d, |_| Ok(version))?.into()),
        _ => return Err(UNKNOWN_KIND),
    })
}

/// A value with its version, taken by `version`, and its rank.
fn take_valued<'de, D: BorrowDecoder<'de>>(
    d: &mut D,
    version: impl FnOnce(&mut D) -> Result<Version, DecodeError>,
) -> Result<Cell, DecodeError> {
    let stamp = Stamp { version: version(d)?, rank: i32::decode(d)? };
    Ok(Cell { stamp, value: Value::borrow_decode(d)? })
}

#[cfg(test)]
mod tests;
