//! Takes messages through decoding, merging and encoding, and times each.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use keld::record::decode::{Decoded, Decoder, RawEvent, Schemas};
use keld::record::{Event, Record, TableDef, codec, merge};

use super::clock::cpu;

/// Messages that one step is done for before the next step: long enough to time, and few enough that the records of a step are
/// still in the cache for the next, as they are where each is merged and encoded in one go.
const CHUNK: usize = 256;

/// A message of a table's source.
pub(crate) struct Message {
    /// Number of the source.
    pub(crate) source: usize,
    /// Message key.
    pub(crate) key: String,
    /// Payload.
    pub(crate) payload: Vec<u8>,
}

/// What the steps took.
pub(crate) struct Rates {
    events: usize,
    decode: Duration,
    merge: Duration,
    encode: Duration,
    bytes: usize,
}

impl Rates {
    /// Cells of a row: events a second of each step and of all, and the mean size of what was encoded.
    pub(crate) fn row(&self) -> String {
        let rate = |time: Duration| format!("{:.0}", self.events as f64 / time.as_secs_f64());
        let all = self.decode + self.merge + self.encode;
        let bytes = self.bytes / self.events.max(1);
        let [decode, merge, encode, all] = [self.decode, self.merge, self.encode, all].map(rate);
        format!("| {decode} | {merge} | {encode} | **{all}** | {bytes} |")
    }
}

/// Decodes every message, merges it into the record of its key, and encodes that record: once for every event. As in Keld, records
/// lie in memory as they are stored: those of a chunk are read out of that before, which counts as merging.
pub(crate) fn measure<'m>(def: &TableDef, schemas: &dyn Schemas, messages: impl Iterator<Item = &'m Message>) -> Rates {
    let decoders: Vec<Decoder> = (0..def.sources.len()).map(|n| Decoder::new(def, n)).collect();
    let mut stored: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut rates =
        Rates { events: 0, decode: Duration::ZERO, merge: Duration::ZERO, encode: Duration::ZERO, bytes: 0 };
    let mut messages = messages.peekable();
    let mut bytes = Vec::new();
    while messages.peek().is_some() {
        let chunk: Vec<&Message> = messages.by_ref().take(CHUNK).collect();
        let start = cpu();
        let events: Vec<Event> = chunk.iter().map(|m| decode(&decoders[m.source], def, schemas, m)).collect();
        let decoded = cpu();
        let (keys, at) = by_key(&events);
        let placed = cpu();
        let mut records: Vec<Record> = keys.iter().map(|key| read(stored.get(*key))).collect();
        for (event, at) in events.iter().zip(&at) {
            black_box(merge(def, &mut records[*at], event));
        }
        let merged = cpu();
        for at in &at {
            bytes.clear();
            codec::encode(&records[*at], &mut bytes);
            rates.bytes += black_box(&bytes).len();
        }
        let encoded = cpu();
        rates.events += chunk.len();
        rates.decode += decoded - start;
        rates.merge += merged - placed;
        rates.encode += encoded - merged;
        for (key, record) in keys.into_iter().zip(&records) {
            let mut bytes = Vec::new();
            codec::encode(record, &mut bytes);
            stored.insert(key.to_vec(), bytes);
        }
    }
    rates
}

/// The keys of events, each once, and the place of each event's key among them.
fn by_key(events: &[Event]) -> (Vec<&[u8]>, Vec<usize>) {
    let (mut keys, mut places) = (Vec::new(), HashMap::new());
    let at = events.iter().map(|event| {
        *places.entry(event.key.as_slice()).or_insert_with(|| {
            keys.push(event.key.as_slice());
            keys.len() - 1
        })
    });
    let at = at.collect();
    (keys, at)
}

fn read(stored: Option<&Vec<u8>>) -> Record {
    stored.map_or_else(Record::default, |bytes| codec::decode(bytes).expect("a record that was encoded"))
}

fn decode(decoder: &Decoder, def: &TableDef, schemas: &dyn Schemas, message: &Message) -> Event {
    let (key, payload) = (Some(message.key.as_bytes()), Some(message.payload.as_slice()));
    let raw = RawEvent { key, payload, timestamp_ms: 1_800_000_000_000, ..RawEvent::default() };
    match decoder.decode(def, &raw, schemas) {
        Ok(Decoded::Event(event)) => event,
        other => panic!("a good event, not {other:?} of {}", String::from_utf8_lossy(&message.payload)),
    }
}
