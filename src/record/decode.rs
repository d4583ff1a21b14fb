//! From a message to an [`Event`]: decoding, typing, key, version, delete marker.

use super::{Event, Reject, TableDef};

/// A message as it comes from a topic.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Message key.
    pub key: Option<&'a [u8]>,
    /// Message value; `None` is a tombstone message.
    pub payload: Option<&'a [u8]>,
    /// Timestamp stored by the broker, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

/// Decodes messages of one source of a table. Built once; holds what can be computed ahead.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    /// A decoder for source number `source` of `def`.
    pub fn new(_def: &TableDef, _source: usize) -> Self {
        todo!()
    }

    /// Decodes one message, or says why not.
    pub fn decode(&self, _def: &TableDef, _raw: &RawEvent<'_>) -> Result<Event, Reject> {
        todo!()
    }

    /// The record key of a JSON payload that a client wants to append, without judging the rest of it.
    pub fn key_of(&self, _def: &TableDef, _raw: &RawEvent<'_>) -> Result<Vec<u8>, Reject> {
        todo!()
    }
}
