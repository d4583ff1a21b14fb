//! What one poll brought, decoded, with the raw bytes kept for the quarantine.

use crate::broker::{Message, Offset};
use crate::record::decode::{Decoder, RawEvent};
use crate::record::{Event, Reason, Reject, TableDef};

/// One message, decoded or refused.
#[derive(Debug)]
pub struct Arrived {
    /// Partition.
    pub partition: u32,
    /// Number of the source in the definition.
    pub source: usize,
    /// Offset.
    pub offset: Offset,
    /// Broker timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// The event, or why there is none.
    pub event: Result<Event, Reject>,
    key: Option<(usize, usize)>,
    payload: Option<(usize, usize)>,
}

impl Arrived {
    /// Bytes of the message's value.
    pub fn payload_len(&self) -> usize {
        self.payload.map_or(0, |(from, to)| to - from)
    }
}

/// What one poll brought. Reused from poll to poll.
#[derive(Debug, Default)]
pub struct Inbox {
    /// In the order of arrival.
    pub arrived: Vec<Arrived>,
    bytes: Vec<u8>,
}

impl Inbox {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.arrived.clear();
        self.bytes.clear();
    }

    /// Decodes a message of source number `source` and takes it in.
    pub fn take(&mut self, def: &TableDef, partitions: u32, source: usize, decoder: &Decoder, m: &Message<'_>) {
        let raw = RawEvent {
            key: m.key,
            payload: m.payload,
            timestamp_ms: m.timestamp_ms,
            partition: m.partition,
            headers: m.headers,
        };
        let event = decoder.decode(def, &raw).and_then(|e| placed(def, partitions, m.partition, e));
        let (key, payload) = (self.keep(m.key), self.keep(m.payload));
        self.arrived.push(Arrived {
            partition: m.partition,
            source,
            offset: m.offset,
            timestamp_ms: m.timestamp_ms,
            event,
            key,
            payload,
        });
    }

    fn keep(&mut self, bytes: Option<&[u8]>) -> Option<(usize, usize)> {
        bytes.map(|b| {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(b);
            (at, self.bytes.len())
        })
    }

    /// The raw message key and value of an arrival.
    pub fn raw(&self, a: &Arrived) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let copy = |range: Option<(usize, usize)>| range.map(|(from, to)| self.bytes[from..to].to_vec());
        (copy(a.key), copy(a.payload))
    }
}

/// A key must stand in the partition where its readers look for it.
fn placed(def: &TableDef, partitions: u32, partition: u32, event: Event) -> Result<Event, Reject> {
    match def.partitioner.partition(&event.key, partitions) {
        Some(belongs) if belongs != partition => Err(Reject {
            reason: Reason::WrongPartition,
            path: String::new(),
            detail: format!(
                "key {:?} belongs to partition {belongs} of {partitions} by the table's partitioner, it came in {partition}: \
                 does the producer use another partitioner or another message key?",
                String::from_utf8_lossy(&event.key)
            ),
        }),
        _ => Ok(event),
    }
}
