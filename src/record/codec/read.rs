//! Reads the stored form, as bincode's standard configuration has it. Read here, since its reader, which asks at each number what
//! may still be read, took two fifths of what a lookup took.

use super::Wrong;
use crate::record::event::{Stamp, Version};
use crate::record::value::Value;

/// Deepest nesting that stored bytes may have; above what any decoder of events lets through.
const MAX_DEPTH: usize = 200;

/// Room for so many items of a list at first, at most: what is claimed may be wrong.
const ROOM: usize = 64;

/// What can be read, or why it cannot.
pub(super) type Read<T> = Result<T, Wrong>;

const CUT: Wrong = "it ends too early";
const TOO_LARGE: Wrong = "number too large";

/// What is left of the bytes.
pub(super) struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes were not read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Read<u8> {
        let (first, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(*first)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte up to 250; above it a byte that says how many follow, lowest first.
    #[inline]
    pub(super) fn unsigned(&mut self) -> Read<u64> {
        match self.byte()? {
            small @ 0..=250 => Ok(small.into()),
            size => self.long(size),
        }
    }

    fn long(&mut self, size: u8) -> Read<u64> {
        match size {
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?).into()),
            253 => Ok(u64::from_le_bytes(self.array()?)),
            _ => Err(TOO_LARGE),
        }
    }

    #[inline]
    pub(super) fn small(&mut self) -> Read<u32> {
        match self.byte()? {
            small @ 0..=250 => Ok(small.into()),
            251 => Ok(u16::from_le_bytes(self.array()?).into()),
            252 => Ok(u32::from_le_bytes(self.array()?)),
            _ => Err(TOO_LARGE),
        }
    }

    /// 0, 1, 2, 3 stand for 0, -1, 1, -2.
    #[inline]
    pub(super) fn signed(&mut self) -> Read<i64> {
        let folded = self.unsigned()?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    pub(super) fn wide(&mut self) -> Read<i128> {
        let folded = match self.rest.first() {
            Some(254) => {
                self.byte()?;
                u128::from_le_bytes(self.array()?)
            }
            _ => self.unsigned()?.into(),
        };
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// A float that a merge can have written.
    pub(super) fn float(&mut self) -> Read<f64> {
        let value = f64::from_le_bytes(self.array()?);
        if value.is_finite() && !(value == 0.0 && value.is_sign_negative()) {
            Ok(value)
        } else {
            Err("float is not finite or negative zero")
        }
    }

    #[inline]
    pub(super) fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("neither yes nor no"),
        }
    }

    #[inline]
    pub(super) fn text(&mut self) -> Read<&'b str> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| TOO_LARGE)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(CUT)?;
        self.rest = rest;
        std::str::from_utf8(taken).map_err(|_| "text is not UTF-8")
    }

    /// Reads a list that ascends strictly by `key`. Grows with what is really there, not with the length that is claimed.
    #[inline]
    pub(super) fn list<T, K: Ord>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Read<T>,
        key: impl Fn(&T) -> K,
    ) -> Read<Vec<T>> {
        let claimed = self.unsigned()?;
        // Each takes a byte at least.
        let mut out: Vec<T> = Vec::with_capacity(usize::try_from(claimed).unwrap_or(0).min(self.left()).min(ROOM));
        for _ in 0..claimed {
            let next = item(self)?;
            if out.last().is_some_and(|before| key(before) >= key(&next)) {
                return Err(super::OUT_OF_ORDER);
            }
            out.push(next);
        }
        Ok(out)
    }

    pub(super) fn version(&mut self) -> Read<Version> {
        self.next_version(&mut 0)
    }

    /// The major part stands as the difference to the one before it.
    #[inline]
    pub(super) fn next_version(&mut self, last: &mut i64) -> Read<Version> {
        *last = last.wrapping_add(self.signed()?);
        Ok(Version { major: *last, minor: self.signed()? })
    }

    pub(super) fn tombstone(&mut self) -> Read<Option<Version>> {
        if self.flag()? { self.version().map(Some) } else { Ok(None) }
    }

    #[inline]
    pub(super) fn rank(&mut self) -> Read<i32> {
        let folded = self.small()?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    /// A stamp, by its place in the table.
    #[inline]
    pub(super) fn stamp(&mut self, stamps: &[Stamp]) -> Read<Stamp> {
        let at = usize::try_from(self.unsigned()?).unwrap_or(usize::MAX);
        stamps.get(at).copied().ok_or("stamp out of the table")
    }

    #[inline]
    pub(super) fn value(&mut self) -> Read<Value> {
        self.value_at(0)
    }

    fn value_at(&mut self, depth: usize) -> Read<Value> {
        if depth > MAX_DEPTH {
            return Err("value nested too deep");
        }
        Ok(match self.small()? {
            0 => Value::Null,
            1 => Value::Bool(self.flag()?),
            2 => Value::Int(self.signed()?),
            3 => Value::Float(self.float()?),
            4 => Value::Str(self.text()?.into()),
            5 => {
                let mut items = Vec::new();
                for _ in 0..self.unsigned()? {
                    items.push(self.value_at(depth + 1)?);
                }
                Value::Array(items)
            }
            6 => {
                let mut members: Vec<(String, Value)> = Vec::new();
                for _ in 0..self.unsigned()? {
                    let name = self.text()?;
                    if members.last().is_some_and(|(before, _)| before.as_str() >= name) {
                        return Err(super::OUT_OF_ORDER);
                    }
                    members.push((name.to_owned(), self.value_at(depth + 1)?));
                }
                Value::Object(members)
            }
            _ => return Err("unknown kind of value"),
        })
    }
}

#[cfg(test)]
mod tests {
    use bincode::config::standard;
    use proptest::prelude::*;

    use super::*;

    /// What bincode and we read from the front of some bytes, and how many bytes each took; `None` where it refuses them.
    fn both<T: bincode::Decode<()>>(
        bytes: &[u8],
        ours: impl FnOnce(&mut Reader<'_>) -> Read<T>,
    ) -> [Option<(T, usize)>; 2] {
        let mut reader = Reader::new(bytes);
        let ours = ours(&mut reader).ok().map(|value| (value, bytes.len() - reader.left()));
        [
            // It makes room for what is claimed, unless that is limited.
            bincode::decode_from_slice(bytes, standard().with_limit::<1024>()).ok(),
            ours,
        ]
    }

    /// Holds some of our ways to read against bincode's.
    macro_rules! same {
        ($bytes:ident, $($read:ident),+) => {
            $(
                let [theirs, ours] = both(&$bytes, |r| r.$read());
                prop_assert_eq!(theirs, ours, "{}", stringify!($read));
            )+
        };
    }

    /// Bytes of which each kind of number begins often.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![any::<u8>(), 245..=255_u8, 0..3_u8];
        (first, proptest::collection::vec(prop_oneof![any::<u8>(), 0..2_u8, 254..=255_u8], 0..20)).prop_map(
            |(first, mut rest)| {
                rest.insert(0, first);
                rest
            },
        )
    }

    proptest! {
        #[test]
        fn what_bincode_reads_is_read_and_what_it_refuses_is_refused(bytes in bytes()) {
            same!(bytes, unsigned, small, signed, rank, wide, flag, byte);
            let [theirs, ours] = both(&bytes, |r| r.text().map(str::to_owned));
            prop_assert_eq!(theirs, ours);
        }

        #[test]
        fn what_bincode_writes_is_read(n in any::<i64>(), wide in any::<i128>(), f in -1e300_f64..1e300, text in any::<String>()) {
            let bytes = bincode::encode_to_vec((n, wide, f + 0.0, &text), standard()).unwrap();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.signed(), Ok(n));
            prop_assert_eq!(reader.wide(), Ok(wide));
            prop_assert_eq!(reader.float(), Ok(f + 0.0));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.left(), 0);
        }
    }
}
