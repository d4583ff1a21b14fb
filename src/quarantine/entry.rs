//! An entry: a refused event as a record of the quarantine topic. The record's key and value are those of the event, whole or
//! cut; its headers are those of the event behind those that say why, from where and when.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::broker::{Message, NewRecord, Offset};

/// What the names of our own headers begin with.
pub const OWN: &str = "keld.";
/// Most of the `keld.error` header, bytes: paths and keys come from the event and may be of any length.
const MAX_ERROR: usize = 4 << 10;
/// Most of a message key that is kept, bytes.
const MAX_KEY: usize = 64 << 10;
/// Most of the event's own headers that is kept, bytes.
const MAX_HEADERS: usize = 32 << 10;
/// What an entry takes beside its payload at most: key, headers, error, names, the broker's framing.
const BESIDE: u64 = 112 << 10;

/// Where an entry stands in the quarantine topic. Written `<partition>-<offset>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Partition of the quarantine topic.
    pub partition: u32,
    /// Offset in it.
    pub offset: Offset,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for EntryId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('-').and_then(|(p, o)| Some((p.parse().ok()?, o.parse::<u64>().ok()?)));
        let (partition, offset) = parsed.ok_or_else(|| format!("`{text}` is no `<partition>-<offset>`"))?;
        let offset = i64::try_from(offset).map_err(|_| format!("`{offset}` is no offset"))?;
        Ok(Self { partition, offset })
    }
}

/// What the parts of an entry may take, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    payload: usize,
    key: usize,
    headers: usize,
}

impl Room {
    /// For payloads of at most `max_payload` bytes in a topic that takes messages of `max_message`: the smaller limit holds,
    /// or one large event would fail its batch for ever.
    pub fn new(max_payload: u64, max_message: u64) -> Self {
        let fits = if max_message >= 4 * BESIDE { max_message - BESIDE } else { max_message / 2 };
        let payload = usize::try_from(max_payload.min(fits)).unwrap_or(usize::MAX);
        Self { payload, key: (payload / 4).min(MAX_KEY), headers: (payload / 16).min(MAX_HEADERS) }
    }
}

/// A part of an event that was too large to keep whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Bytes that it had.
    pub from_bytes: u64,
    /// xxh3 (128 bits) of the whole, in hexadecimal.
    pub xxh3_128: String,
}

impl Cut {
    fn of(whole: &[u8]) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_128(whole);
        Self { from_bytes: whole.len() as u64, xxh3_128: format!("{hash:032x}") }
    }

    /// Whether these bytes are what was cut.
    pub fn is_of(&self, whole: &[u8]) -> bool {
        *self == Self::of(whole)
    }
}

/// A refused event, and why it was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Reason code.
    pub reason: String,
    /// The refusals in words: path, what was found (cut), what was expected.
    pub error: String,
    /// Table that refused it.
    pub table: String,
    /// Source of the table.
    pub source: String,
    /// Topic it came from.
    pub topic: String,
    /// Partition it came from.
    pub partition: u32,
    /// Offset it came from.
    pub offset: Offset,
    /// Timestamp of the event, stored by the broker, milliseconds.
    pub timestamp_ms: i64,
    /// The fields that were refused where the rest of the event was merged; empty where all of it was refused.
    pub fields: Vec<String>,
    /// The entry that it is a replay of, which was refused again.
    pub replay_of: Option<EntryId>,
    /// Message key.
    pub key: Option<Vec<u8>>,
    /// Message value.
    pub payload: Option<Vec<u8>>,
    /// Headers of the message but our own.
    pub headers: Vec<(String, Vec<u8>)>,
    /// What was cut of the key.
    pub key_cut: Option<Cut>,
    /// What was cut of the payload.
    pub payload_cut: Option<Cut>,
    /// Bytes of headers that were left out because they were too many.
    pub headers_left_out: u64,
}

impl Entry {
    /// Whether the event is here as it was: else only its source still has it.
    pub fn is_whole(&self) -> bool {
        self.key_cut.is_none() && self.payload_cut.is_none() && self.headers_left_out == 0
    }

    /// Cuts what has no room, and keeps the hash of what is cut.
    fn fit(&mut self, room: Room) {
        let cut = |part: &mut Option<Vec<u8>>, most: usize| {
            let bytes = part.as_mut().filter(|bytes| bytes.len() > most)?;
            let cut = Cut::of(bytes);
            bytes.truncate(most);
            Some(cut)
        };
        self.key_cut = cut(&mut self.key, room.key);
        self.payload_cut = cut(&mut self.payload, room.payload);
        self.error.truncate(self.error.floor_char_boundary(MAX_ERROR));
        self.headers.retain(|(name, _)| !name.starts_with(OWN));
        let size: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        if size > room.headers {
            self.headers.clear();
            self.headers_left_out = size as u64;
        }
    }

    /// The record of the quarantine topic.
    pub fn into_record(mut self, topic: &Arc<str>, partitions: u32, room: Room) -> NewRecord {
        self.fit(room);
        let mut headers = self.own_headers();
        headers.append(&mut self.headers);
        NewRecord {
            topic: topic.clone(),
            partition: self.partition % partitions.max(1),
            key: self.key,
            payload: Some(self.payload.unwrap_or_default()),
            headers,
            timestamp_ms: None,
        }
    }

    fn own_headers(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = vec![
            ("reason", self.reason.clone()),
            ("error", self.error.clone()),
            ("table", self.table.clone()),
            ("source", self.source.clone()),
            ("topic", self.topic.clone()),
            ("partition", self.partition.to_string()),
            ("offset", self.offset.to_string()),
            ("timestamp_ms", self.timestamp_ms.to_string()),
        ];
        if !self.fields.is_empty() {
            all.push(("fields", self.fields.join(",")));
        }
        if self.payload.is_none() {
            all.push(("tombstone", "true".to_owned()));
        }
        all.extend(self.replay_of.map(|id| ("replay_of", id.to_string())));
        for (cut, bytes, hash) in [
            (&self.key_cut, "key_cut_from_bytes", "key_cut_xxh3_128"),
            (&self.payload_cut, "payload_cut_from_bytes", "payload_cut_xxh3_128"),
        ] {
            let Some(cut) = cut else { continue };
            all.push((bytes, cut.from_bytes.to_string()));
            all.push((hash, cut.xxh3_128.clone()));
        }
        if self.headers_left_out > 0 {
            all.push(("headers_left_out_bytes", self.headers_left_out.to_string()));
        }
        all.into_iter().map(|(name, value)| (format!("{OWN}{name}"), value.into_bytes())).collect()
    }

    /// Reads a record of the quarantine topic; `None` if somebody else wrote it.
    pub fn read(m: &Message<'_>) -> Option<Self> {
        let mut entry =
            Entry { key: m.key.map(<[u8]>::to_vec), payload: m.payload.map(<[u8]>::to_vec), ..Entry::default() };
        let (mut key_cut, mut payload_cut) = ((None, String::new()), (None, String::new()));
        for (name, value) in m.owned_headers() {
            let Some(own) = name.strip_prefix(OWN) else {
                entry.headers.push((name, value));
                continue;
            };
            let text = String::from_utf8_lossy(&value).into_owned();
            match own {
                "reason" => entry.reason = text,
                "error" => entry.error = text,
                "table" => entry.table = text,
                "source" => entry.source = text,
                "topic" => entry.topic = text,
                "partition" => entry.partition = text.parse().ok()?,
                "offset" => entry.offset = text.parse().ok()?,
                "timestamp_ms" => entry.timestamp_ms = text.parse().ok()?,
                "fields" => entry.fields = text.split(',').map(str::to_owned).collect(),
                "tombstone" => entry.payload = None,
                "replay_of" => entry.replay_of = text.parse().ok(),
                "key_cut_from_bytes" => key_cut.0 = text.parse().ok(),
                "key_cut_xxh3_128" => key_cut.1 = text,
                "payload_cut_from_bytes" => payload_cut.0 = text.parse().ok(),
                "payload_cut_xxh3_128" => payload_cut.1 = text,
                "headers_left_out_bytes" => entry.headers_left_out = text.parse().ok()?,
                _ => {}
            }
        }
        let cut = |(bytes, hash): (Option<u64>, String)| bytes.map(|n| Cut { from_bytes: n, xxh3_128: hash });
        entry.key_cut = cut(key_cut);
        entry.payload_cut = cut(payload_cut);
        (!entry.table.is_empty() && !entry.reason.is_empty()).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn read(record: &NewRecord) -> Option<Entry> {
        Entry::read(&Message {
            topic: &record.topic,
            partition: record.partition,
            offset: 0,
            timestamp_ms: 1,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            headers: &record.headers,
        })
    }

    fn entry() -> Entry {
        Entry {
            reason: "outside_window".into(),
            error: "sold: late".into(),
            table: "products".into(),
            source: "stock".into(),
            topic: "shop.stock".into(),
            partition: 5,
            offset: 7,
            timestamp_ms: -1,
            fields: vec!["returned".into(), "sold".into()],
            replay_of: Some(EntryId { partition: 1, offset: 9 }),
            key: Some(b"k".to_vec()),
            payload: Some(b"{}".to_vec()),
            headers: vec![("h".into(), vec![0, 255]), ("h".into(), vec![])],
            ..Entry::default()
        }
    }

    fn stored(entry: Entry, room: Room) -> NewRecord {
        entry.into_record(&"q".into(), 4, room)
    }

    #[test]
    fn what_is_written_is_read() {
        let room = Room::new(1 << 20, 1 << 20);
        assert_eq!(read(&stored(entry(), room)), Some(entry()));
        let bare = Entry { key: None, payload: None, headers: vec![], fields: vec![], replay_of: None, ..entry() };
        assert_eq!(read(&stored(bare.clone(), room)), Some(bare.clone()));
        let empty = Entry { payload: Some(vec![]), ..bare };
        assert_eq!(read(&stored(empty.clone(), room)), Some(empty));
    }

    #[test]
    fn the_record_goes_to_a_partition_of_the_quarantine() {
        assert_eq!(stored(entry(), Room::new(1 << 20, 1 << 20)).partition, 1);
    }

    #[test]
    fn headers_of_an_earlier_replay_are_not_kept() {
        let mut again = entry();
        again.headers.push(("keld.replay".into(), b"{}".to_vec()));
        let kept = read(&stored(again, Room::new(1 << 20, 1 << 20)));
        assert_eq!(kept, Some(entry()));
    }

    #[test]
    fn a_record_of_somebody_else_is_no_entry() {
        assert_eq!(read(&NewRecord { payload: Some(b"x".to_vec()), ..NewRecord::default() }), None);
    }

    #[test]
    fn an_event_of_any_size_fits_what_the_topic_takes() {
        for (max_payload, max_message) in [(900 << 10, 1_048_588), (64 << 20, 1_048_588), (900 << 10, 64 << 10)] {
            let large = Entry {
                error: "é".repeat(1 << 20),
                key: Some(vec![b'k'; 1 << 20]),
                payload: Some(vec![b'p'; 4 << 20]),
                headers: vec![("h".into(), vec![b'h'; 30 << 10])],
                ..entry()
            };
            let record = stored(large, Room::new(max_payload, max_message));
            let headers: usize = record.headers.iter().map(|(n, v)| n.len() + v.len() + 8).sum();
            let size = record.key.as_ref().map_or(0, Vec::len) + record.payload.as_ref().map_or(0, Vec::len) + headers;
            assert!(size as u64 + 1_024 <= max_message, "{size} bytes of {max_message}");
            let kept = read(&record).unwrap();
            assert!(kept.key_cut.unwrap().is_of(&vec![b'k'; 1 << 20]));
            assert!(kept.payload_cut.unwrap().is_of(&vec![b'p'; 4 << 20]));
        }
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = EntryId { partition: 3, offset: 1_234 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "3", "3-", "-4", "3--4", "a-1", "3-99999999999999999999"] {
            assert!(bad.parse::<EntryId>().is_err(), "{bad}");
        }
    }
}
