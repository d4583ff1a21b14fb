//! What one poll brought, decoded, with the raw bytes kept for the quarantine.

use crate::broker::{Message, Offset};
use crate::record::decode::{Decoded, Decoder, RawEvent, Schemas};
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
    /// The event; `None` of a message that says nothing about any record; or why there is none.
    pub event: Result<Option<Event>, Reject>,
    /// Bytes that the event may bring into its record, about: of the message, or of what was read out of it if that is more.
    pub weight: usize,
    key: Option<(usize, usize)>,
    payload: Option<(usize, usize)>,
}

impl Arrived {
    /// The event, if there is one.
    pub fn event(&self) -> Option<&Event> {
        self.event.as_ref().ok().and_then(Option::as_ref)
    }
}

/// How messages of one source become events.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Definition of the table.
    pub def: &'a TableDef,
    /// Its partitions.
    pub partitions: u32,
    /// Number of the source.
    pub source: usize,
    /// Decoder of the source.
    pub decoder: &'a Decoder,
    /// Schemas that are here.
    pub schemas: &'a dyn Schemas,
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

    /// Decodes a message and takes it in. If a schema is needed that is not here, it is not taken, and the id is returned.
    pub fn take(&mut self, reading: Reading<'_>, m: &Message<'_>) -> Option<u32> {
        let Reading { def, partitions, source, decoder, schemas } = reading;
        let raw = RawEvent {
            key: m.key,
            payload: m.payload,
            timestamp_ms: m.timestamp_ms,
            partition: m.partition,
            headers: m.headers,
        };
        let event = match decoder.decode(def, &raw, schemas) {
            Ok(Decoded::Missing(id)) => return Some(id),
            Ok(Decoded::Event(event)) => placed(def, partitions, m.partition, event).map(Some),
            Ok(Decoded::Nothing) => Ok(None),
            Err(reject) => Err(reject),
        };
        let (key, payload) = (self.keep(m.key), self.keep(m.payload));
        self.arrived.push(Arrived {
            partition: m.partition,
            source,
            offset: m.offset,
            timestamp_ms: m.timestamp_ms,
            weight: weight(decoder, m, &event),
            event,
            key,
            payload,
        });
        None
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

fn weight(decoder: &Decoder, m: &Message<'_>, event: &Result<Option<Event>, Reject>) -> usize {
    let payload = m.payload.map_or(0, <[u8]>::len);
    match event {
        Ok(Some(event)) if !decoder.payload_holds_all() => payload.max(event.weight()),
        _ => payload,
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
