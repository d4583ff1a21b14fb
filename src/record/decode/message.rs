//! A message as it comes from a topic.

use std::fmt;

/// The headers of a message. Nothing is read of them before somebody asks.
pub trait Headers: fmt::Debug {
    /// Shows every header in order: its name, and its value if it has one. A header whose name is not UTF-8 is passed over:
    /// no definition can name it.
    fn visit(&self, sink: &mut dyn FnMut(&str, Option<&[u8]>));
}

/// No headers.
impl Headers for () {
    fn visit(&self, _: &mut dyn FnMut(&str, Option<&[u8]>)) {}
}

impl Headers for Vec<(String, Vec<u8>)> {
    fn visit(&self, sink: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.iter().for_each(|(name, value)| sink(name, Some(value)));
    }
}

/// A message as it comes from a topic.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// Message key.
    pub key: Option<&'a [u8]>,
    /// Message value; `None` is a tombstone message.
    pub payload: Option<&'a [u8]>,
    /// Timestamp stored by the broker, milliseconds since the epoch; negative where there is none.
    pub timestamp_ms: i64,
    /// Partition.
    pub partition: u32,
    /// Headers.
    pub headers: &'a dyn Headers,
}

impl Default for RawEvent<'_> {
    fn default() -> Self {
        Self { key: None, payload: None, timestamp_ms: 0, partition: 0, headers: &() }
    }
}
