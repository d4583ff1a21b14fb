//! What is stored and sent in format version 1, byte by byte: files that were written down once and are read by every later
//! build. Each is compared both ways: what they hold is what was meant, and it is written as they hold it.
//!
//! A difference here means a new format version, never an edited file.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use keld::broker::NewRecord;
use keld::config::{self, Settings};
use keld::quarantine::{Entry, Room};
use keld::record::decode::{Decoder, RawEvent};
use keld::record::{Outcome, POSITION_KEY, Record, TableDef, codec, merge, render};
use keld::store::{Position, SourcePosition};
use serde_json::{Value, json};

const CONFIG: &str = r#"
application = "golden"
[tables.things]
key = "id"
window = { events = 2 }
[tables.things.sources.a]
topic = "topic-a"
version = ["v", "w"]
version_kind = "sequence"
event_id = "e"
rank = 20
delete = { field = "deleted", equals = true }
[tables.things.sources.b]
topic = "topic-b"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = -10
[tables.things.fields]
attributes = { type = "json", merge = "map" }
highest = { type = "integer", merge = "max" }
lowest = { type = "float", merge = "min" }
notes = { type = "keyword", merge = "append" }
orders = { type = "integer", merge = "count" }
price = { type = "float" }
seen = { type = "date", merge = "first" }
sold = { type = "integer", merge = "sum" }
tags = { type = "keyword", merge = "set" }
title = { type = "text" }
weight = { type = "float", merge = "sum" }
"#;

/// Source and payload, in the order of arrival.
const HISTORY: [(usize, &str); 12] = [
    (0, r#"{"id":"k-é","v":1,"w":0,"e":"a0","title":"before the delete","sold":1000,"tags":["gone"]}"#),
    (0, r#"{"id":"k-é","v":2,"w":0,"deleted":true}"#),
    (0, r#"{"id":"k-é","v":10,"w":7,"e":"a1","title":"Kettle \"blue\"","price":19.5,"sold":3,"orders":"x"}"#),
    (0, r#"{"id":"k-é","v":11,"w":-1,"e":"a2","sold":4,"weight":0.25,"orders":1,"tags":["b","a"]}"#),
    (0, r#"{"id":"k-é","v":12,"w":0,"e":"a3","sold":5,"notes":["one","two"],"seen":"2023-11-14T22:13:20Z"}"#),
    (0, r#"{"id":"k-é","v":13,"w":0,"e":"a4","notes":"three","seen":0,"highest":7,"lowest":-0.5}"#),
    (0, r#"{"id":"k-é","v":14,"w":0,"e":"a5","notes":"four","highest":5,"attributes":{"size":"L","weight":null}}"#),
    (1, r#"{"id":"k-é","v":1700000000000,"e":"b1","attributes":{"colour":{"name":"red"}},"tags":"c","price":null}"#),
    (1, r#"{"id":"k-é","v":15,"e":"a1","orders":1,"weight":1e300,"lowest":2.5}"#),
    (1, r#"{"id":"k-é","v":16,"e":"b3","sold":null,"extra":{"b":[1,null,true],"a":0.1}}"#),
    (1, r#"{"id":"k-é","v":-3,"e":"b4","title":"stale"}"#),
    (0, r#"{"id":"k-é","v":17,"w":1,"e":"a6","sold":-6,"more":"dynamic"}"#),
];

fn settings() -> Settings {
    config::from_text("golden.toml", CONFIG, &[], &[]).unwrap()
}

fn table() -> Arc<TableDef> {
    settings().tables[0].clone()
}

fn record(def: &TableDef) -> Record {
    let decoders: Vec<Decoder> = (0..2).map(|source| Decoder::new(def, source)).collect();
    let mut record = Record::default();
    for (source, payload) in HISTORY {
        let raw = RawEvent {
            key: None,
            payload: Some(payload.as_bytes()),
            timestamp_ms: 1_700_000_000_000,
            ..RawEvent::default()
        };
        let event = decoders[source].decode(def, &raw, &()).unwrap().event().unwrap();
        assert_ne!(merge(def, &mut record, &event).outcome, Outcome::Quarantined, "{payload}");
    }
    record
}

fn stored(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(record, &mut out);
    out
}

fn position() -> Position {
    let accounting =
        serde_json::from_value(json!({"applied": 9, "duplicate": 2, "stale": 1, "quarantined": 3})).unwrap();
    let a = SourcePosition {
        topic: "topic-a".to_owned(),
        next: 4711,
        watermark: Some(17),
        timestamp_ms: 1_700_000_000_000,
        gap: 5,
        accounting,
    };
    let b = SourcePosition { topic: "topic-b".to_owned(), ..SourcePosition::default() };
    let mut position = Position::default();
    "golden-keld-0-things-0".clone_into(&mut position.writer);
    position.sources = [("a".to_owned(), a), ("b".to_owned(), b)].into();
    position
}

/// What is written in `tests/golden`, without its comments.
fn golden(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n")
}

/// Bytes as lines of hex digits.
fn hex(bytes: &[u8]) -> String {
    bytes.chunks(48).fold(String::new(), |mut out, line| {
        line.iter().for_each(|byte| write!(out, "{byte:02x}").unwrap());
        out + "\n"
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn a_stored_record_of_format_1() {
    let (def, written) = (table(), unhex(&golden("record_v1.hex")));
    assert_eq!(hex(&stored(&record(&def))), hex(&written), "as it is written");
    let read = codec::decode(&written).unwrap();
    assert_eq!(read, record(&def), "as it is read");
    let shown = Value::Object(render::json(&def, "k-é".as_bytes(), &read, None).unwrap());
    assert_eq!(shown, serde_json::from_str::<Value>(&golden("record_v1.json")).unwrap(), "as it is shown");
}

#[test]
fn changelog_records_of_format_1() {
    let def = table();
    let mut deleted = Record::default();
    let payload = br#"{"id":"gone","v":1700000000000,"w":0,"deleted":true}"#;
    let raw = RawEvent { payload: Some(payload), timestamp_ms: 1_700_000_000_000, ..RawEvent::default() };
    merge(&def, &mut deleted, &Decoder::new(&def, 0).decode(&def, &raw, &()).unwrap().event().unwrap());
    let records = [
        ("k-é".as_bytes(), stored(&record(&def))),
        (b"gone", stored(&deleted)),
        (POSITION_KEY, position().encode().unwrap()),
    ];
    let mut written = records.iter().fold(String::new(), |out, (key, value)| out + &hex(key) + &hex(value) + "\n");
    written.pop();
    let held = golden("changelog_v1.hex");
    assert_eq!(written, held, "as they are written");

    let read: Vec<Vec<u8>> = held.split("\n\n").map(|one| unhex(one.split_once('\n').unwrap().1)).collect();
    assert_eq!(codec::decode(&read[0]).unwrap(), record(&def));
    let grave = codec::decode(&read[1]).unwrap();
    assert_eq!((grave.is_visible(), grave.tombstone().map(|v| v.major)), (false, Some(1_700_000_000_000)));
    assert_eq!(Position::decode(&read[2]).unwrap(), position());
}

/// A quarantine record as text: one header a line, then key and payload in hex.
fn text(record: &NewRecord) -> String {
    let header =
        |(name, value): &(String, Vec<u8>)| format!("{name} = {}\n", String::from_utf8(value.clone()).unwrap());
    let headers: String = record.headers.iter().map(header).collect();
    let bytes = |b: &Option<Vec<u8>>| b.as_ref().map_or("null\n".to_owned(), |b| hex(b));
    format!("{headers}key\n{}payload\n{}", bytes(&record.key), bytes(&record.payload))
}

#[test]
fn a_quarantine_record_of_format_1() {
    let def = table();
    let payload = r#"{"id":"k","v":1,"w":2,"e":"a1","price":"dear","padding":"of 104 bytes that are cut"}"#.as_bytes();
    let raw =
        RawEvent { key: Some(b"k"), payload: Some(payload), timestamp_ms: 1_700_000_000_000, ..RawEvent::default() };
    let reject = Decoder::new(&def, 0).decode(&def, &raw, &()).unwrap_err();
    let quarantined = |key: Option<&[u8]>, max_payload| {
        let entry = Entry {
            reason: reject.reason.code().to_owned(),
            error: reject.to_string(),
            table: def.name.clone(),
            source: def.sources[0].name.clone(),
            topic: def.sources[0].topic.clone(),
            partition: 5,
            offset: 4711,
            timestamp_ms: 1_700_000_000_000,
            key: key.map(<[u8]>::to_vec),
            payload: Some(payload.to_vec()),
            ..Entry::default()
        };
        let topic = settings().quarantine.topic.as_str().into();
        let made = entry.into_record(&topic, 4, Room::new(max_payload, 1 << 20));
        assert_eq!((&*made.topic, made.partition, made.timestamp_ms), ("golden-quarantine", 1, None));
        text(&made)
    };
    let written = quarantined(Some(b"k"), 1 << 20) + "\n" + &quarantined(None, 32);
    assert_eq!(written, golden("quarantine_v1.txt"));
}
