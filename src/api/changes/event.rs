//! Events of a stream, as text.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Bytes;
use rustc_hash::FxHashSet;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::Result;
use crate::changes::{Change, Chunk, Kind, Membership, Position};
use crate::query::Table;
use crate::query::standing::Standing;

/// Events are handed to the connection in frames of at most so many bytes, and written until there are enough of them for one.
pub(super) const FRAME: usize = 64 << 10;

/// Turns changes into events of one stream.
pub(super) struct Writer {
    pub(super) table: Arc<Table>,
    pub(super) keys: Option<FxHashSet<Box<[u8]>>>,
    pub(super) fields: Option<Vec<String>>,
    pub(super) query: Option<(Arc<Standing>, Membership)>,
}

/// Events of a chunk, as many as are written at a time.
#[derive(Debug, Default)]
pub(super) struct Piece {
    text: String,
    pub(super) events: u64,
    /// Whether the chunk has more.
    pub(super) more: bool,
}

impl Piece {
    /// Its text, cut for the connection.
    pub(super) fn frames(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let mut text = Bytes::from(std::mem::take(&mut self.text));
        std::iter::from_fn(move || (!text.is_empty()).then(|| text.split_to(FRAME.min(text.len()))))
    }
}

/// What an event says.
#[derive(Debug, Serialize)]
struct Data<'a> {
    key: Cow<'a, str>,
    partition: u32,
    offset: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    /// What cannot be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'static str>,
    time_ms: i64,
}

impl Writer {
    /// The next events of a chunk that are behind the position, which moves on. It is called again where there are more: all that
    /// is kept from one time to the next is the position.
    pub(super) fn piece(&mut self, chunk: &Chunk, at: &mut Position) -> Result<Piece> {
        let mut piece = Piece::default();
        let wanted = |c: &Change, at: &Position| {
            at.is_before(c.partition, c.offset) && self.keys.as_ref().is_none_or(|keys| keys.contains(&c.key))
        };
        let places: Vec<usize> = (0..chunk.changes.len()).filter(|i| wanted(&chunk.changes[*i], at)).collect();
        let matching = match &self.query {
            Some((standing, _)) if !places.is_empty() => standing.of(&*chunk.probe(&self.table.index.view())?)?,
            _ => Vec::new(),
        };
        for place in places {
            if piece.text.len() >= FRAME {
                piece.more = true;
                return Ok(piece);
            }
            let change = &chunk.changes[place];
            let was_told = at.was_told(change.partition, change.offset);
            at.pass(change.partition, change.offset);
            let matches = matching.binary_search(&place).is_ok();
            if was_told {
                self.learn(change, matches)?;
                continue;
            }
            let Some((name, data)) = self.event(change, matches)? else { continue };
            event(&mut piece.text, name, at, &data);
            piece.events += 1;
        }
        // What is not sent is passed, too.
        chunk.next.iter().for_each(|(partition, next)| at.reach(*partition, *next));
        if let Some((_, membership)) = &mut self.query {
            membership.settle(at);
        }
        Ok(piece)
    }

    fn learn(&mut self, change: &Change, matches: bool) -> Result<()> {
        match &mut self.query {
            Some((_, membership)) => membership.learn(&change.key, matches),
            None => Ok(()),
        }
    }

    fn event<'c>(&mut self, change: &'c Change, matches: bool) -> Result<Option<(&'static str, Data<'c>)>> {
        let Change { partition, offset, time_ms, key, .. } = change;
        let judged = match &mut self.query {
            Some((_, membership)) => membership.judge(*partition, *offset, key, matches)?,
            None => None,
        };
        if self.query.is_some() && judged.is_none() {
            return Ok(None);
        }
        let shown = change.shown(&self.table.def, self.fields.as_deref())?;
        let record = shown.map(RawValue::from_string).transpose();
        let record = record.map_err(|e| crate::Error::internal("a record is no JSON").because(e))?;
        let (name, deleted) = match (judged, record.is_some()) {
            (Some((Kind::Entered, _)), _) => ("entered", false),
            (Some((Kind::Changed, _)), _) => ("changed", false),
            (Some((Kind::Left, _)), there) => ("left", !there),
            (None, true) => ("changed", false),
            (None, false) => ("deleted", false),
        };
        let before = judged.filter(|(_, known)| !known).map(|_| "unknown");
        let record = record.filter(|_| name != "left");
        let (partition, offset, time_ms) = (*partition, *offset, *time_ms);
        let key = String::from_utf8_lossy(key);
        Ok(Some((name, Data { key, partition, offset, record, deleted, before, time_ms })))
    }
}

/// Writes one event with its position.
pub(super) fn event(into: &mut String, name: &str, at: &Position, data: &impl Serialize) {
    // Serialising texts, numbers and raw JSON cannot fail, nor can writing to a String.
    let data = serde_json::to_string(data).unwrap_or_default();
    let _ = write!(into, "event: {name}\nid: {at}\ndata: {data}\n\n");
}

/// A sign of life, with the position.
pub(super) fn heartbeat(at: &Position) -> String {
    format!(": heartbeat\nid: {at}\n\n")
}

/// An event without a position of its own: a client that comes back keeps that of the last change.
pub(super) fn plain(name: &str, data: &impl Serialize) -> String {
    format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::api::testing;
    use crate::broker::Message;
    use crate::changes::Room;
    use crate::index::testing::{change, def, titled};
    use crate::query::standing::{Matching, hash};

    /// A writer for a table, and the folder of its index.
    fn writer(query: Option<(&str, &[&str])>) -> (Writer, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let table = testing::table(dir.path());
        let query = query.map(|(text, inside)| {
            let standing = Standing::new(&table.index.view(), Some(text), &[]).unwrap();
            let keys = inside.iter().map(|key| hash(key.as_bytes())).collect();
            let matching = Matching { keys, at: BTreeMap::new() };
            (Arc::new(standing), Membership::new(Room::new(100), matching, BTreeMap::new()).unwrap())
        });
        (Writer { table, keys: None, fields: None, query }, dir)
    }

    /// A chunk with records of these keys and titles from an offset of partition 0 on.
    fn chunk(from: i64, records: &[(&str, &str)]) -> Chunk {
        let mut chunk = Chunk::default();
        for (offset, (key, title)) in (from..).zip(records) {
            let stored = change(key, Some(titled(&def(), key, title)), false).stored;
            let (key, payload) = (Some(key.as_bytes()), stored.as_deref());
            chunk.take(&Message { topic: "t", partition: 0, offset, timestamp_ms: 1, key, payload, headers: &() });
        }
        chunk
    }

    fn at(next: i64) -> Position {
        Position::new(BTreeMap::from([(0, next)]), None)
    }

    /// Name and key of each event.
    fn told(text: &[u8]) -> Vec<(String, String)> {
        let text = std::str::from_utf8(text).unwrap();
        let event = |event: &str| {
            let line = |name: &str| event.lines().find_map(|l| l.strip_prefix(name)).unwrap().to_owned();
            let data: serde_json::Value = serde_json::from_str(&line("data: ")).unwrap();
            (line("event: "), data["key"].as_str().unwrap().to_owned())
        };
        text.split_terminator("\n\n").map(event).collect()
    }

    #[test]
    fn a_chunk_is_written_in_pieces_of_bounded_size() {
        const LARGE: usize = 100_000;
        let (mut writer, _dir) = writer(None);
        let note = "x".repeat(LARGE);
        let keys: Vec<String> = (0..12).map(|n| format!("k{n}")).collect();
        let records: Vec<_> = keys.iter().map(|key| (key.as_str(), note.as_str())).collect();
        let (chunk, mut at) = (chunk(5, &records), at(7));
        let (mut pieces, mut all) = (0, Vec::new());
        loop {
            let mut piece = writer.piece(&chunk, &mut at).unwrap();
            let frames: Vec<Bytes> = piece.frames().collect();
            let size: usize = frames.iter().map(Bytes::len).sum();
            assert!(size <= FRAME + LARGE + 1_000, "{size} bytes");
            assert!(frames.iter().all(|frame| (1..=FRAME).contains(&frame.len())));
            frames.iter().for_each(|frame| all.extend_from_slice(frame));
            pieces += 1;
            if !piece.more {
                break;
            }
        }
        let expected: Vec<_> = keys[2..].iter().map(|key| ("changed".to_owned(), key.clone())).collect();
        assert_eq!((pieces, told(&all)), (10, expected), "each once, behind where it began");
        assert_eq!(at, self::at(17));
    }

    #[test]
    fn what_was_told_before_is_known_and_not_told_again() {
        let (mut writer, _dir) = writer(Some(("kettle", &["a"])));
        let chunk = chunk(0, &[("a", "a pan"), ("b", "a kettle"), ("a", "a lid"), ("b", "a lid"), ("c", "a kettle")]);
        // The search is as of offset 0, the reader has seen what is before 2.
        let mut at = at(2).read_from(&BTreeMap::from([(0, 0)]));
        let mut piece = writer.piece(&chunk, &mut at).unwrap();
        let text: Vec<u8> = piece.frames().flatten().collect();
        let event = |name: &str, key: &str| (name.to_owned(), key.to_owned());
        assert_eq!(told(&text), [event("left", "b"), event("entered", "c")]);
        assert_eq!(at, self::at(5));
    }
}
