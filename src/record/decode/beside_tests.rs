//! Paths that look beside the payload.

use super::tests::{NOW, decode_raw, def, named, refused_raw};
use super::*;
use crate::record::testing::text;

fn path(text: &str) -> Path {
    Path::parse(text)
}

fn headers(all: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    all.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn message<'a>(payload: Option<&'a str>, headers: &'a dyn Headers) -> RawEvent<'a> {
    let payload = payload.map(str::as_bytes);
    RawEvent { key: Some(b"message key"), payload, timestamp_ms: NOW, partition: 3, headers }
}

/// Headers that nobody may ask for.
#[derive(Debug)]
struct Untouched;

impl Headers for Untouched {
    fn visit(&self, _: &mut dyn FnMut(&str, Option<&[u8]>)) {
        panic!("headers were read, and no path names one");
    }
}

/// Headers without a value.
#[derive(Debug)]
struct Valueless(&'static str);

impl Headers for Valueless {
    fn visit(&self, sink: &mut dyn FnMut(&str, Option<&[u8]>)) {
        sink(self.0, None);
    }
}

#[test]
fn every_part_of_an_event_may_stand_beside_the_payload() {
    let mut def = def();
    def.key = KeyFrom::Path(path("@header.ce.subject"));
    def.sources[0].version = VersionFrom::Paths(vec![path("@header.lsn"), path("@partition")]);
    def.sources[0].event_id = Some(path("@header.ce.id"));
    def.sources[0].max_ahead_ms = None;
    def.fields[1].path = path("@timestamp");
    def.fields[3].path = path("@partition");
    def.fields[5].path = path("@key");
    def.fields[6].path = path("@header.who");
    let headers = headers(&[("ce.subject", "k-1"), ("lsn", "77"), ("ce.id", "e-1"), ("who", "first"), ("who", "last")]);
    let event = decode_raw(&def, &message(Some("{\"x\":1}"), &headers)).unwrap();
    let declared = vec![(1, Value::Int(NOW)), (3, Value::Int(3)), (5, text("message key")), (6, text("last"))];
    assert_eq!(event.key, b"k-1");
    assert_eq!(event.stamp.version, Version { major: 77, minor: 3 });
    assert_eq!(event.id, Some(xxh3_64(b"e-1")));
    assert_eq!(event.kind, EventKind::Upsert { declared, dynamic: named("x", Value::Int(1)) });
}

#[test]
fn a_header_is_converted_where_nothing_is_lost() {
    let mut def = def();
    def.fields[3].path = path("@header.n");
    let with = |value: &str| {
        let headers = headers(&[("n", value)]);
        decode_raw(&def, &message(Some("{\"sku\":\"k\",\"ts\":1}"), &headers)).map(|e| e.kind)
    };
    let upsert = |value| EventKind::Upsert { declared: vec![(3, value)], dynamic: Vec::new() };
    assert_eq!(with("12"), Ok(upsert(Value::Int(12))));
    assert_eq!(with("1.5").map_err(|r| (r.reason, r.path)), Err((Reason::WrongType, "@header.n".to_owned())));
    let valueless = decode_raw(&def, &message(Some("{\"sku\":\"k\",\"ts\":1}"), &Valueless("n"))).map(|e| e.kind);
    assert_eq!(valueless, Ok(upsert(Value::Null)), "a header without a value says null");
    let none = decode_raw(&def, &message(Some("{\"sku\":\"k\",\"ts\":1}"), &())).map(|e| e.kind);
    assert_eq!(none, Ok(EventKind::Upsert { declared: Vec::new(), dynamic: Vec::new() }), "no header says nothing");
}

#[test]
fn headers_are_read_only_where_a_path_names_one() {
    let mut def = def();
    def.fields[5].path = path("@key");
    decode_raw(&def, &message(Some("{\"sku\":\"k\",\"ts\":1}"), &Untouched)).unwrap();
}

#[test]
fn what_is_missing_or_no_text_is_refused_by_its_path() {
    let mut def = def();
    def.key = KeyFrom::Path(path("@header.id"));
    let bytes = vec![("id".to_owned(), vec![0xff])];
    let payload = Some("{\"ts\":1}");
    assert_eq!(refused_raw(&def, &message(payload, &bytes)), (Reason::WrongType, "@header.id".to_owned()));
    assert_eq!(refused_raw(&def, &message(payload, &())), (Reason::MissingKey, "@header.id".to_owned()));
    def.key = KeyFrom::Message;
    def.sources[0].version = VersionFrom::Paths(vec![path("@header.v")]);
    assert_eq!(refused_raw(&def, &message(payload, &())), (Reason::MissingVersion, "@header.v".to_owned()));
}

#[test]
fn a_tombstone_message_has_what_stands_beside_it() {
    let mut def = def();
    def.key = KeyFrom::Path(path("@header.id"));
    def.sources[0].version = VersionFrom::Paths(vec![path("@header.lsn")]);
    def.sources[0].max_ahead_ms = None;
    let both = headers(&[("id", "k-1"), ("lsn", "5")]);
    let event = decode_raw(&def, &message(None, &both)).unwrap();
    assert_eq!((event.key.as_slice(), event.stamp.version.major, event.kind), (&b"k-1"[..], 5, EventKind::Delete));
    let no_version = headers(&[("id", "k-1")]);
    assert_eq!(refused_raw(&def, &message(None, &no_version)), (Reason::MissingVersion, "@header.lsn".to_owned()));
    def.sources[0].version = VersionFrom::Paths(vec![path("ts")]);
    let event = decode_raw(&def, &message(None, &no_version)).unwrap();
    assert_eq!(event.stamp.version, Version::single(NOW), "a version of the payload is not there");
}

#[test]
fn a_member_whose_name_begins_with_an_at_is_written_with_two() {
    let mut def = def();
    def.sources[0].version = VersionFrom::Paths(vec![path("@@timestamp")]);
    def.fields[3].path = path("@@meta.n");
    let event = decode_raw(&def, &message(Some("{\"sku\":\"k\",\"@timestamp\":9,\"@meta\":{\"n\":4}}"), &())).unwrap();
    assert_eq!(event.stamp.version, Version::single(9));
    assert_eq!(event.kind, EventKind::Upsert { declared: vec![(3, Value::Int(4))], dynamic: Vec::new() });
}
