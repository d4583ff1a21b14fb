//! Writes the stored form: the bytes that bincode's standard configuration gives, which reads them. Written here, since its writer
//! took most of what encoding a record took (11,146 instructions of the reference record).

use crate::record::contribution::{Contribution, Folded};
use crate::record::event::{Stamp, Version};
use crate::record::journal::Journal;
use crate::record::state::{Cell, FieldState, Record};
use crate::record::value::Value;

/// Appends a record.
pub(super) fn record(out: &mut Vec<u8>, record: &Record, stamps: &[Stamp]) {
    let mut writer = Writer { out, stamps, last: 0 };
    writer.tombstone(record.tombstone);
    writer.unsigned(stamps.len() as u64);
    let mut last = 0;
    for stamp in stamps {
        writer.next_version(stamp.version, &mut last);
        writer.signed(stamp.rank.into());
    }
    writer.unsigned(record.fields.len() as u64);
    for (id, state) in &record.fields {
        writer.unsigned((*id).into());
        writer.state(state);
    }
    writer.unsigned(record.dynamic.len() as u64);
    for (name, cell) in &record.dynamic {
        writer.text(name);
        writer.cell(cell);
    }
    writer.unsigned(record.journals.len() as u64);
    for (source, journal) in &record.journals {
        writer.unsigned((*source).into());
        writer.journal(journal);
    }
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    stamps: &'a [Stamp],
    /// Place of the stamp written last: fields of one source mostly lie side by side.
    last: usize,
}

impl Writer<'_> {
    fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// One byte up to 250; above it a byte that says how many follow, lowest first.
    #[expect(clippy::cast_possible_truncation, reason = "each branch has looked at the size")]
    #[inline]
    fn unsigned(&mut self, value: u64) {
        if value <= 250 {
            self.out.push(value as u8);
        } else if value <= u16::MAX.into() {
            let [a, b] = (value as u16).to_le_bytes();
            self.out.extend_from_slice(&[251, a, b]);
        } else if value <= u32::MAX.into() {
            let [a, b, c, d] = (value as u32).to_le_bytes();
            self.out.extend_from_slice(&[252, a, b, c, d]);
        } else {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            self.out.extend_from_slice(&[253, a, b, c, d, e, f, g, h]);
        }
    }

    /// Small numbers of either sign stay small: 0, -1, 1, -2 become 0, 1, 2, 3.
    #[inline]
    fn signed(&mut self, value: i64) {
        self.unsigned((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    fn wide(&mut self, value: i128) {
        let folded = (value.cast_unsigned() << 1) ^ (value >> 127).cast_unsigned();
        match u64::try_from(folded) {
            Ok(small) => self.unsigned(small),
            Err(_) => {
                self.byte(254);
                self.out.extend_from_slice(&folded.to_le_bytes());
            }
        }
    }

    fn float(&mut self, value: f64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.unsigned(text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }

    fn version(&mut self, version: Version) {
        self.signed(version.major);
        self.signed(version.minor);
    }

    fn tombstone(&mut self, version: Option<Version>) {
        self.byte(version.is_some().into());
        if let Some(version) = version {
            self.version(version);
        }
    }

    /// The major part as the difference to the one before it.
    fn next_version(&mut self, version: Version, last: &mut i64) {
        self.signed(version.major.wrapping_sub(*last));
        *last = version.major;
        self.signed(version.minor);
    }

    fn stamp(&mut self, stamp: Stamp) {
        if self.stamps.get(self.last) != Some(&stamp) {
            self.last = self.stamps.partition_point(|held| *held < stamp);
        }
        self.unsigned(self.last as u64);
    }

    fn cleared(&mut self, cleared: Option<Stamp>) {
        self.byte(cleared.is_some().into());
        if let Some(stamp) = cleared {
            self.stamp(stamp);
        }
    }

    fn cell(&mut self, cell: &Cell) {
        self.stamp(cell.stamp);
        self.value(&cell.value);
    }

    /// The kind, then the content.
    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.byte(0),
            Value::Bool(b) => self.out.extend_from_slice(&[1, (*b).into()]),
            Value::Int(i) => {
                self.byte(2);
                self.signed(*i);
            }
            Value::Float(f) => {
                self.byte(3);
                self.float(*f);
            }
            Value::Str(text) => {
                self.byte(4);
                self.text(text);
            }
            Value::Array(items) => {
                self.byte(5);
                self.unsigned(items.len() as u64);
                items.iter().for_each(|item| self.value(item));
            }
            Value::Object(members) => {
                self.byte(6);
                self.unsigned(members.len() as u64);
                for (name, value) in members {
                    self.text(name);
                    self.value(value);
                }
            }
        }
    }

    fn state(&mut self, state: &FieldState) {
        match state {
            FieldState::Lww(cell) => {
                self.byte(0);
                self.cell(cell);
            }
            FieldState::Set(members) => {
                self.byte(1);
                self.cleared(members.cleared);
                self.unsigned(members.entries.len() as u64);
                for (value, stamp) in &members.entries {
                    self.stamp(*stamp);
                    self.value(value);
                }
            }
            FieldState::Extreme(extreme) => {
                self.byte(2);
                self.tombstone(extreme.cleared);
                self.unsigned(extreme.front.len() as u64);
                let mut last = 0;
                for (version, value) in &extreme.front {
                    self.next_version(*version, &mut last);
                    self.value(value);
                }
            }
            FieldState::Cleared(version) => {
                self.byte(3);
                self.version(*version);
            }
            FieldState::Map(map) => {
                self.byte(4);
                self.cleared(map.cleared);
                self.unsigned(map.cells.len() as u64);
                for (key, cell) in &map.cells {
                    self.text(key);
                    self.cell(cell);
                }
            }
        }
    }

    fn journal(&mut self, journal: &Journal) {
        self.byte(journal.base.is_some().into());
        let mut last = 0;
        if let Some(base) = &journal.base {
            self.next_version(base.low, &mut last);
            self.next_version(base.high.0, &mut last);
            self.unsigned(base.high.1);
            self.unsigned(base.folded.len() as u64);
            for (field, folded) in &base.folded {
                self.unsigned((*field).into());
                self.folded(folded, base.low);
            }
        }
        self.unsigned(journal.entries.len() as u64);
        for entry in &journal.entries {
            self.next_version(entry.version, &mut last);
            self.unsigned(entry.id);
            self.unsigned(entry.parts.len() as u64);
            for (field, part) in &entry.parts {
                self.unsigned((*field).into());
                self.contribution(part);
            }
        }
    }

    fn contribution(&mut self, part: &Contribution) {
        let mut kept = |kind, cell: &Cell| {
            self.byte(kind);
            self.signed(cell.stamp.rank.into());
            self.value(&cell.value);
        };
        match part {
            Contribution::First(cell) => kept(3, cell),
            Contribution::Append(cell) => kept(4, cell),
            Contribution::One => self.byte(2),
            Contribution::Int(i) => {
                self.byte(0);
                self.signed(*i);
            }
            Contribution::Float(f) => {
                self.byte(1);
                self.float(*f);
            }
        }
    }

    /// Values that are folded have a stamp of their own; the first version is written as the difference to `low`.
    fn folded(&mut self, folded: &Folded, low: Version) {
        let mut last = low.major;
        let mut kept = |writer: &mut Self, cell: &Cell| {
            writer.next_version(cell.stamp.version, &mut last);
            writer.signed(cell.stamp.rank.into());
            writer.value(&cell.value);
        };
        match folded {
            Folded::Int(sum) => {
                self.byte(0);
                self.wide(*sum);
            }
            Folded::Float(sum) => {
                self.byte(1);
                self.float(*sum);
            }
            Folded::Count(n) => {
                self.byte(2);
                self.unsigned(*n);
            }
            Folded::First(cell) => {
                self.byte(3);
                kept(self, cell);
            }
            Folded::Append(cells) => {
                self.byte(4);
                self.unsigned(cells.len() as u64);
                cells.iter().for_each(|cell| kept(self, cell));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Writer;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut Writer { out: &mut out, stamps: &[], last: 0 });
        out
    }

    /// Numbers of any size, and those where the form changes.
    fn numbers() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..65_u32, -3..4_i64).prop_map(|(n, bits, off)| {
            let cut = n.checked_shr(64 - bits.min(64)).unwrap_or(0);
            if bits % 2 == 0 { cut } else { (1_u64.checked_shl(bits).unwrap_or(0)).wrapping_add_signed(off) }
        })
    }

    proptest! {
        #[test]
        fn numbers_and_texts_are_those_of_bincode(n in numbers(), f in any::<f64>(), text in any::<String>()) {
            let config = bincode::config::standard();
            let wide = i128::from(n.cast_signed()) * i128::from(n >> 7);
            prop_assert_eq!(written(|w| w.unsigned(n)), bincode::encode_to_vec(n, config).unwrap());
            prop_assert_eq!(written(|w| w.signed(n.cast_signed())), bincode::encode_to_vec(n.cast_signed(), config).unwrap());
            prop_assert_eq!(written(|w| w.wide(wide)), bincode::encode_to_vec(wide, config).unwrap());
            prop_assert_eq!(written(|w| w.float(f)), bincode::encode_to_vec(f, config).unwrap());
            prop_assert_eq!(written(|w| w.text(&text)), bincode::encode_to_vec(&text, config).unwrap());
        }
    }

    #[test]
    fn the_form_of_a_number_changes_where_that_of_bincode_does() {
        let config = bincode::config::standard();
        let edges = [0, 1, 250, 251, 252, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX >> 1, u64::MAX];
        for n in edges {
            assert_eq!(written(|w| w.unsigned(n)), bincode::encode_to_vec(n, config).unwrap(), "{n}");
            for i in [n.cast_signed(), n.cast_signed().wrapping_neg()] {
                assert_eq!(written(|w| w.signed(i)), bincode::encode_to_vec(i, config).unwrap(), "{i}");
                for wide in [i128::from(i), i128::from(i) << 40, i128::MIN, i128::MAX] {
                    assert_eq!(written(|w| w.wide(wide)), bincode::encode_to_vec(wide, config).unwrap(), "{wide}");
                }
            }
            if let Ok(small) = u32::try_from(n) {
                assert_eq!(written(|w| w.unsigned(small.into())), bincode::encode_to_vec(small, config).unwrap());
                let i = small.cast_signed();
                assert_eq!(written(|w| w.signed(i.into())), bincode::encode_to_vec(i, config).unwrap(), "{i}");
            }
        }
    }
}
