//! The bytes of a stored record: flags, timestamp, key, headers, payload.
//!
//! The payload comes last and needs no length, so that a reader borrows it straight from RocksDB's block.

use std::sync::Arc;

use super::topics::Partition;
use crate::broker::{Headers, NewRecord};
use crate::clock;

const HAS_KEY: u8 = 1;
const HAS_PAYLOAD: u8 = 2;
const HAS_HEADERS: u8 = 4;

/// A stored record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored<'a> {
    pub(super) timestamp_ms: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) payload: Option<&'a [u8]>,
    headers: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Reads the bytes; `None` if they are not such a record.
    pub(super) fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let flags = take(&mut bytes, 1)?[0];
        let timestamp_ms = i64::from_le_bytes(take(&mut bytes, 8)?.try_into().ok()?);
        let key = if flags & HAS_KEY != 0 { Some(take_sized(&mut bytes)?) } else { None };
        let headers = if flags & HAS_HEADERS != 0 { take_sized(&mut bytes)? } else { &[] };
        let payload = if flags & HAS_PAYLOAD != 0 { Some(bytes) } else { None };
        (flags <= 7 && (payload.is_some() || bytes.is_empty())).then_some(Self { timestamp_ms, key, payload, headers })
    }

    /// Whether there are any headers.
    pub(super) fn has_headers(&self) -> bool {
        !self.headers.is_empty()
    }

    /// The headers in order; `None` if the bytes are damaged.
    pub(super) fn headers(&self) -> Option<Vec<(String, Vec<u8>)>> {
        let mut out = Vec::new();
        self.walk(&mut |name, value| out.push((name.to_owned(), value.to_vec())))?;
        Some(out)
    }

    fn walk(&self, sink: &mut dyn FnMut(&str, &[u8])) -> Option<()> {
        let mut bytes = self.headers;
        while !bytes.is_empty() {
            let name = std::str::from_utf8(take_sized(&mut bytes)?).ok()?;
            sink(name, take_sized(&mut bytes)?);
        }
        Some(())
    }
}

impl Headers for Stored<'_> {
    fn each(&self, sink: &mut dyn FnMut(&str, &[u8])) {
        // Keld wrote them: what cannot be read is damage, which the record's checksum in the store finds first.
        let _ = self.walk(sink);
    }
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(n)?;
    *bytes = tail;
    Some(head)
}

fn take_sized<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let n = u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?);
    take(bytes, usize::try_from(n).ok()?)
}

/// A length as it is stored. Records are far smaller than 4 GiB: `max_message_bytes` is checked before.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

fn encode(out: &mut Vec<u8>, record: &NewRecord, timestamp_ms: i64) {
    let flags = u8::from(record.key.is_some()) * HAS_KEY
        + u8::from(record.payload.is_some()) * HAS_PAYLOAD
        + u8::from(!record.headers.is_empty()) * HAS_HEADERS;
    out.push(flags);
    out.extend_from_slice(&timestamp_ms.to_le_bytes());
    if let Some(key) = &record.key {
        put_sized(out, key);
    }
    if !record.headers.is_empty() {
        let size: usize = record.headers.iter().map(|(n, v)| 8 + n.len() + v.len()).sum();
        out.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
        for (name, value) in &record.headers {
            put_sized(out, name.as_bytes());
            put_sized(out, value);
        }
    }
    if let Some(payload) = &record.payload {
        out.extend_from_slice(payload);
    }
}

/// Records of one append or transaction, encoded by their producer so that the log thread only has to number them.
#[derive(Debug, Default)]
pub(super) struct RecordBuffer {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    partition: Arc<Partition>,
    timestamp_ms: i64,
    end: usize,
}

/// An encoded record of a [`RecordBuffer`].
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    pub(super) partition: &'a Arc<Partition>,
    pub(super) timestamp_ms: i64,
    pub(super) value: &'a [u8],
}

impl RecordBuffer {
    /// Adds a record of `partition`; its timestamp is now unless it brings one.
    pub(super) fn push(&mut self, partition: Arc<Partition>, record: &NewRecord) {
        let timestamp_ms = record.timestamp_ms.unwrap_or_else(clock::now_ms);
        encode(&mut self.bytes, record, timestamp_ms);
        self.entries.push(Entry { partition, timestamp_ms, end: self.bytes.len() });
    }

    /// The records in the order in which they were pushed.
    pub(super) fn iter(&self) -> impl Iterator<Item = Encoded<'_>> {
        let mut begin = 0;
        self.entries.iter().map(move |e| {
            let value = self.bytes.get(begin..e.end).unwrap_or_default();
            begin = e.end;
            Encoded { partition: &e.partition, timestamp_ms: e.timestamp_ms, value }
        })
    }

    /// Records.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of all records.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets the records; keeps a moderate allocation.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.entries.shrink_to(1 << 14);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            key: Option<Vec<u8>>, payload: Option<Vec<u8>>, headers: Vec<(String, Vec<u8>)>, at: i64
        ) {
            let record = NewRecord {
                key: key.clone(), payload: payload.clone(), headers: headers.clone(), ..NewRecord::default()
            };
            let mut bytes = Vec::new();
            encode(&mut bytes, &record, at);
            let stored = Stored::decode(&bytes).unwrap();
            prop_assert_eq!(stored.key.map(<[u8]>::to_vec), key);
            prop_assert_eq!(stored.payload.map(<[u8]>::to_vec), payload);
            prop_assert_eq!(stored.timestamp_ms, at);
            prop_assert_eq!(stored.headers().unwrap(), headers);
        }

        #[test]
        fn damaged_bytes_never_panic(bytes: Vec<u8>) {
            if let Some(stored) = Stored::decode(&bytes) {
                let _ = stored.headers();
            }
        }
    }

    #[test]
    fn a_cut_record_is_not_a_record() {
        let mut bytes = Vec::new();
        encode(&mut bytes, &NewRecord { key: Some(vec![1, 2]), ..NewRecord::default() }, 3);
        assert!(Stored::decode(&bytes).is_some());
        assert_eq!(Stored::decode(&bytes[..bytes.len() - 1]), None);
        bytes.push(0);
        assert_eq!(Stored::decode(&bytes), None, "bytes after a tombstone");
    }
}
