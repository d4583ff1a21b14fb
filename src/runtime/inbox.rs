//! What one poll brought, decoded, with the raw bytes kept for the quarantine.

use crate::broker::{Message, Offset};
use crate::quarantine::{Replay, order};
use crate::record::decode::{Decoder, RawEvent};
use crate::record::{Event, Reason, Reject, TableDef};

/// What a message turned out to be.
#[derive(Debug)]
pub enum Content {
    /// An event of the table.
    Event(Event),
    /// Refused.
    Refused(Reject),
    /// A replay for another table that reads the topic: this one has had the event, at the offset where it stood first.
    Elsewhere,
}

/// For whom messages are decoded.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Application.
    pub application: &'a str,
    /// Table.
    pub def: &'a TableDef,
    /// Partitions of the table.
    pub partitions: u32,
}

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
    /// What it is.
    pub content: Content,
    /// The order of a replay for this table.
    pub replay: Option<Box<Replay>>,
    key: Option<(usize, usize)>,
    payload: Option<(usize, usize)>,
    headers: Vec<(String, Vec<u8>)>,
}

/// Key, payload and headers of a message.
pub type Raw = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Vec<u8>)>);

impl Arrived {
    /// The event, if it is one.
    pub fn event(&self) -> Option<&Event> {
        match &self.content {
            Content::Event(event) => Some(event),
            Content::Refused(_) | Content::Elsewhere => None,
        }
    }

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
    pub fn take(&mut self, reading: Reading<'_>, source: usize, decoder: &Decoder, m: &Message<'_>) {
        let headers = m.owned_headers();
        let replay = replay(reading.application, m.topic, &headers);
        let (content, replay) = match replay {
            Some(replay) if replay.table != reading.def.name => (Content::Elsewhere, None),
            replay => (content(reading, decoder, m), replay),
        };
        let (key, payload) = (self.keep(m.key), self.keep(m.payload));
        self.arrived.push(Arrived {
            partition: m.partition,
            source,
            offset: m.offset,
            timestamp_ms: m.timestamp_ms,
            content,
            replay,
            key,
            payload,
            headers,
        });
    }

    fn keep(&mut self, bytes: Option<&[u8]>) -> Option<(usize, usize)> {
        bytes.map(|b| {
            let at = self.bytes.len();
            self.bytes.extend_from_slice(b);
            (at, self.bytes.len())
        })
    }

    /// The raw message key, value and headers of an arrival.
    pub fn raw(&self, a: &Arrived) -> Raw {
        let copy = |range: Option<(usize, usize)>| range.map(|(from, to)| self.bytes[from..to].to_vec());
        (copy(a.key), copy(a.payload), a.headers.clone())
    }
}

fn content(reading: Reading<'_>, decoder: &Decoder, m: &Message<'_>) -> Content {
    let raw = RawEvent { key: m.key, payload: m.payload, timestamp_ms: m.timestamp_ms };
    let decoded = decoder.decode(reading.def, &raw);
    match decoded.and_then(|event| placed(reading.def, reading.partitions, m.partition, event)) {
        Ok(event) => Content::Event(event),
        Err(reject) => Content::Refused(reject),
    }
}

/// The order of a replay that speaks to this application.
fn replay(application: &str, topic: &str, headers: &[(String, Vec<u8>)]) -> Option<Box<Replay>> {
    let (_, value) = headers.iter().find(|(name, _)| name == order::HEADER)?;
    Replay::read(value).filter(|replay| replay.is_addressed(application, topic)).map(Box::new)
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
