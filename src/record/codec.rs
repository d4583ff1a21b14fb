//! Stored bytes of a record: a format version byte, then bincode. The only file that knows them.

use super::Record;

/// Format version written by this build.
pub const FORMAT: u8 = 1;

/// Appends the stored form of `record` to `out`. Equal records give equal bytes.
pub fn encode(_record: &Record, _out: &mut Vec<u8>) {
    todo!()
}

/// Reads a stored record; any byte string gives a record or an error, never a panic or a large allocation.
pub fn decode(_bytes: &[u8]) -> crate::Result<Record> {
    todo!()
}
