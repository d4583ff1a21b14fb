//! What one poll brought, decoded, with the raw bytes kept for the quarantine.

use super::repartition::Origin;
use crate::broker::{Message, Offset};
use crate::quarantine::{Replay, order};
use crate::record::decode::{Decoded, Decoder, RawEvent, Schemas};
use crate::record::{Event, Reason, Reject, TableDef};

/// What a message turned out to be.
#[derive(Debug)]
pub enum Content {
    /// An event of the table.
    Event(Event),
    /// Refused.
    Refused(Reject),
    /// An event whose key belongs to this other partition, where it is sent on.
    Misplaced(u32),
    /// A replay for another table that reads the topic: this one has had the event, at the offset where it stood first.
    Elsewhere,
    /// A message that says nothing about any record.
    Nothing,
}

/// For whom messages are decoded.
#[derive(Clone, Copy)]
pub struct Reading<'a> {
    /// Application.
    pub application: &'a str,
    /// Table.
    pub def: &'a TableDef,
    /// Partitions of the table.
    pub partitions: u32,
    /// A decoder for each of its sources.
    pub decoders: &'a [Decoder],
    /// Schemas that are here.
    pub schemas: &'a dyn Schemas,
}

/// What is wrong with a message of the internal topic that somebody else wrote.
const NOT_OURS: &str =
    "a message of the internal topic without the header that Keld gives it, or of a source that is gone";

/// One message, decoded or refused.
#[derive(Debug)]
pub struct Arrived {
    /// Partition.
    pub partition: u32,
    /// Number of the topic it was read from: that of a source, or one past the last for the internal topic.
    pub input: usize,
    /// Offset behind it there.
    pub next: Offset,
    /// Number of the source in the definition.
    pub source: usize,
    /// Partition of its source that it came in.
    pub from: u32,
    /// Offset in its source.
    pub offset: Offset,
    /// Broker timestamp, milliseconds.
    pub timestamp_ms: i64,
    /// Bytes that the event may bring into its record, about: of the message, or of what was read out of it if that is more.
    pub weight: usize,
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
            Content::Refused(_) | Content::Misplaced(_) | Content::Elsewhere | Content::Nothing => None,
        }
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

    /// Decodes a message of topic number `input`, by the decoder of its source, and takes it in. If a schema is needed that is
    /// not here, it is not taken, and the id is returned.
    pub fn take(&mut self, reading: Reading<'_>, input: usize, m: &Message<'_>) -> Option<u32> {
        let mut headers = m.owned_headers();
        let moved = input >= reading.decoders.len();
        let origin = if moved { Origin::take(reading.def, &mut headers) } else { None };
        let source = origin.as_ref().map_or(if moved { 0 } else { input }, |(_, source)| *source);
        let origin = origin.map(|(origin, _)| origin);
        let from = origin.as_ref().map_or(m.partition, |o| o.partition);
        let timestamp_ms = origin.as_ref().map_or(m.timestamp_ms, |o| o.timestamp_ms);
        let raw = RawEvent { key: m.key, payload: m.payload, timestamp_ms, partition: from, headers: &headers };
        let decoder = &reading.decoders[source];
        let replay = replay(reading.application, &reading.def.sources[source].topic, &headers);
        let (content, replay) = match replay {
            _ if moved && origin.is_none() => (Content::Refused(not_ours()), None),
            Some(replay) if replay.table != reading.def.name => (Content::Elsewhere, None),
            replay => match decoder.decode(reading.def, &raw, reading.schemas) {
                Ok(Decoded::Missing(schema)) => return Some(schema),
                Ok(Decoded::Nothing) => (Content::Nothing, replay),
                Ok(Decoded::Event(event)) => (placed(reading, event, m.partition, moved), replay),
                Err(reject) => (Content::Refused(reject), replay),
            },
        };
        let (key, payload) = (self.keep(m.key), self.keep(m.payload));
        self.arrived.push(Arrived {
            partition: m.partition,
            input,
            next: m.offset + 1,
            source,
            from,
            offset: origin.as_ref().map_or(m.offset, |o| o.offset),
            timestamp_ms,
            weight: weight(decoder, m, &content),
            content,
            replay,
            key,
            payload,
            headers,
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

    /// The raw message key, value and headers of an arrival.
    pub fn raw(&self, a: &Arrived) -> Raw {
        let copy = |range: Option<(usize, usize)>| range.map(|(from, to)| self.bytes[from..to].to_vec());
        (copy(a.key), copy(a.payload), a.headers.clone())
    }
}

fn weight(decoder: &Decoder, m: &Message<'_>, content: &Content) -> usize {
    let payload = m.payload.map_or(0, <[u8]>::len);
    match content {
        Content::Event(event) if !decoder.payload_holds_all() => payload.max(event.weight()),
        _ => payload,
    }
}

/// A key must stand in the partition where its readers look for it.
fn placed(reading: Reading<'_>, event: Event, partition: u32, moved: bool) -> Content {
    match reading.def.partitioner.partition(&event.key, reading.partitions) {
        Some(belongs) if belongs != partition && reading.def.repartition && !moved => Content::Misplaced(belongs),
        Some(belongs) if belongs != partition => Content::Refused(misplaced(reading, &event, partition, belongs)),
        _ => Content::Event(event),
    }
}

fn not_ours() -> Reject {
    Reject { reason: Reason::Undecodable, path: String::new(), detail: NOT_OURS.to_owned() }
}

/// The order of a replay that speaks to this application.
fn replay(application: &str, topic: &str, headers: &[(String, Vec<u8>)]) -> Option<Box<Replay>> {
    let (_, value) = headers.iter().find(|(name, _)| name == order::HEADER)?;
    Replay::read(value).filter(|replay| replay.is_addressed(application, topic)).map(Box::new)
}

fn misplaced(reading: Reading<'_>, event: &Event, partition: u32, belongs: u32) -> Reject {
    Reject {
        reason: Reason::WrongPartition,
        path: String::new(),
        detail: format!(
            "key {:?} belongs to partition {belongs} of {} by the table's partitioner, it came in {partition}: \
             does the producer use another partitioner or another message key?",
            String::from_utf8_lossy(&event.key),
            reading.partitions
        ),
    }
}
