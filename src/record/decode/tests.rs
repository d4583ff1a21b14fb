//! What a message means, and why it is refused.

use super::*;
use crate::record::derived::{Derived, Expression};
use crate::record::testing::{DAY_MS, field, table, text};
use crate::record::{FieldType, Format};
use FieldType::{Boolean, Date, Integer, Json, Keyword, Text};
use Value::{Array, Bool, Float, Int, Null, Object};

pub(super) const NOW: i64 = 1_700_000_000_000;

pub(super) fn def() -> TableDef {
    let lww = Strategy::Lww;
    let mut def = table(&[
        ("b", Boolean, lww),
        ("d", Date, lww),
        ("f", FieldType::Float, lww),
        ("i", Integer, lww),
        ("j", Json, lww),
        ("k", Keyword, lww),
        ("t", Text, lww),
    ]);
    def.sources[0].event_id = None;
    def
}

fn raw(payload: &str) -> RawEvent<'_> {
    RawEvent { key: Some(b"message key"), payload: Some(payload.as_bytes()), timestamp_ms: NOW, ..RawEvent::default() }
}

fn decode(def: &TableDef, payload: &str) -> Result<Event, Reject> {
    decode_raw(def, &raw(payload))
}

pub(super) fn decode_raw(def: &TableDef, raw: &RawEvent<'_>) -> Result<Event, Reject> {
    decode_of(def, 0, raw)
}

pub(super) fn decode_of(def: &TableDef, source: usize, raw: &RawEvent<'_>) -> Result<Event, Reject> {
    Decoder::new(def, source).decode(def, raw, &()).map(|decoded| decoded.event().unwrap())
}

pub(super) fn refused_raw(def: &TableDef, raw: &RawEvent<'_>) -> (Reason, String) {
    let reject = decode_raw(def, raw).unwrap_err();
    (reject.reason, reject.path)
}

type Members = Vec<(String, Value)>;

/// Declared values by name, and dynamic members, of `{"sku":"k","ts":1,…}`.
fn members(def: &TableDef, rest: &str) -> (Members, Members) {
    match decode(def, &format!("{{\"sku\":\"k\",\"ts\":1{rest}}}")).map(|event| event.kind) {
        Ok(EventKind::Upsert { declared, dynamic }) => {
            (declared.into_iter().map(|(at, value)| (def.fields[at].name.clone(), value)).collect(), dynamic)
        }
        other => panic!("{other:?}"),
    }
}

fn refused(def: &TableDef, payload: &str) -> (Reason, String) {
    let reject = decode(def, payload).expect_err(payload);
    assert!(!reject.detail.is_empty());
    (reject.reason, reject.path)
}

pub(super) fn named(name: &str, value: Value) -> Members {
    vec![(name.to_owned(), value)]
}

#[test]
fn an_event_has_key_stamp_source_id_and_values() {
    let mut def = def();
    def.sources[0].event_id = Some(Path::parse("id"));
    let payload = br#" {"sku":"k-1","ts":42,"id":"e-9","t":"Kettle","extra":{"b":1,"a":[1.0]},"deleted":false} "#;
    let raw = RawEvent { payload: Some(payload), timestamp_ms: NOW, ..RawEvent::default() };
    let expected = Event {
        key: b"k-1".to_vec(),
        stamp: Stamp { version: Version::single(42), rank: 10 },
        source: def.sources[0].id,
        id: Some(xxh3_64(b"e-9")),
        kind: EventKind::Upsert {
            declared: vec![(6, text("Kettle"))],
            dynamic: named("extra", Object(vec![("a".into(), Array(vec![Int(1)])), ("b".into(), Int(1))])),
        },
    };
    assert_eq!(decode_raw(&def, &raw), Ok(expected));
}

#[test]
fn values_are_converted_where_nothing_is_lost() {
    let def = def();
    let cases = [
        ("b", "\"true\"", Bool(true)),
        ("b", "[false,\"false\"]", Array(vec![Bool(false), Bool(false)])),
        ("d", "1700000000000", Int(NOW)),
        ("d", "\"2023-11-14T23:13:20.0019+01:00\"", Int(NOW + 1)),
        ("d", "\"1969-12-31T23:59:59.9999Z\"", Int(-1)),
        ("f", "1", Float(1.0)),
        ("f", "-0", Float(0.0)),
        ("f", "\"1.50\"", Float(1.5)),
        ("f", "1e19", Float(1e19)),
        ("i", "12.0", Int(12)),
        ("i", "1.2e1", Int(12)),
        ("i", "\"-12\"", Int(-12)),
        ("i", "[1,\"2\"]", Array(vec![Int(1), Int(2)])),
        ("i", "-9223372036854775808", Int(i64::MIN)),
        ("j", "{\"b\":-0.0,\"a\":null,\"b\":7e0}", Object(vec![("a".into(), Null), ("b".into(), Int(7))])),
        ("j", "[[1.5]]", Array(vec![Array(vec![Float(1.5)])])),
        ("k", "12", text("12")),
        ("t", "[\"a\",7]", Array(vec![text("a"), text("7")])),
        ("t", "null", Null),
    ];
    for (name, json, value) in cases {
        assert_eq!(members(&def, &format!(",\"{name}\":{json}")).0, named(name, value), "{name}: {json}");
    }
}

#[test]
fn what_would_lose_something_is_refused_with_its_path() {
    let def = def();
    let cases = [
        ("b", "1", Reason::WrongType),
        ("b", "\"yes\"", Reason::WrongType),
        ("d", "\"yesterday\"", Reason::WrongType),
        ("d", "9223372036854775807", Reason::OutOfRange),
        ("f", "9007199254740993", Reason::WrongType),
        ("f", "\"NaN\"", Reason::WrongType),
        ("f", "\"inf\"", Reason::WrongType),
        ("f", "\"1e400\"", Reason::OutOfRange),
        ("i", "1.5", Reason::WrongType),
        ("i", "\"012\"", Reason::WrongType),
        ("i", "\" 12\"", Reason::WrongType),
        ("i", "\"+12\"", Reason::WrongType),
        ("i", "\"9223372036854775808\"", Reason::OutOfRange),
        ("i", "9223372036854775808", Reason::OutOfRange),
        ("i", "1e19", Reason::OutOfRange),
        ("i", "[1,[2]]", Reason::WrongType),
        ("i", "[1,null]", Reason::WrongType),
        ("i", "true", Reason::WrongType),
        ("k", "1.5", Reason::WrongType),
        ("t", "{}", Reason::WrongType),
        ("j", "1e400", Reason::OutOfRange),
        ("extra", "18446744073709551615", Reason::OutOfRange),
    ];
    for (name, json, reason) in cases {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"{name}\":{json}}}");
        assert_eq!(refused(&def, &payload), (reason, name.to_owned()), "{payload}");
    }
    let nested = "{\"sku\":\"k\",\"ts\":1,\"extra\":{\"a\":[{\"b\":9223372036854775808}]}}";
    assert_eq!(refused(&def, nested), (Reason::OutOfRange, "extra.a.b".to_owned()));
    let beyond = "{\"sku\":\"k\",\"ts\":1,\"t\":\"\\\" 99999999999999999999\",\"x\":[1e19,-99999999999999999999]}";
    let reject = decode(&def, beyond).unwrap_err();
    assert_eq!((reject.reason, reject.detail.contains("-99999999999999999999")), (Reason::OutOfRange, true));
}

#[test]
fn a_refused_value_is_cut() {
    let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"i\":\"{}\"}}", "é".repeat(5000));
    let reject = decode(&def(), &payload).unwrap_err();
    assert!(reject.detail.contains(&"é".repeat(79)) && !reject.detail.contains(&"é".repeat(80)), "{}", reject.detail);
}

#[test]
fn accumulators_take_one_value_and_count_takes_any() {
    let mut def = table(&[
        ("max", Date, Strategy::Max),
        ("n", Integer, Strategy::Count),
        ("s", Integer, Strategy::Sum),
        ("tags", Keyword, Strategy::Set),
    ]);
    def.sources[0].event_id = Some(Path::parse("ts"));
    for name in ["max", "n", "s"] {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"{name}\":[1]}}");
        assert_eq!(refused(&def, &payload), (Reason::WrongType, name.to_owned()));
    }
    assert_eq!(members(&def, ",\"n\":\"order-7\"").0, named("n", Int(1)));
    assert_eq!(members(&def, ",\"s\":\"7\"").0, named("s", Int(7)));
    assert_eq!(members(&def, ",\"tags\":\"a\"").0, named("tags", text("a")));
    assert_eq!(members(&def, ",\"tags\":[\"a\",1]").0, named("tags", Array(vec![text("a"), text("1")])));
}

#[test]
fn a_contribution_needs_an_event_id() {
    let mut def = table(&[("s", Integer, Strategy::Sum)]);
    for id in ["", ",\"id\":null", ",\"id\":\"\""] {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"s\":1{id}}}");
        assert_eq!(refused(&def, &payload), (Reason::MissingEventId, "id".to_owned()), "{payload}");
    }
    assert_eq!(refused(&def, "{\"sku\":\"k\",\"ts\":1,\"id\":1.5}"), (Reason::WrongType, "id".to_owned()));
    assert_eq!(decode(&def, "{\"sku\":\"k\",\"ts\":1,\"s\":null}").map(|e| e.id), Ok(None), "a null needs none");
    let id = |json: &str| decode(&def, &format!("{{\"sku\":\"k\",\"ts\":1,\"s\":1,\"id\":{json}}}")).map(|e| e.id);
    assert_eq!(id("12"), id("\"12\""));
    assert_eq!(id("12"), Ok(Some(xxh3_64(b"12"))));
    def.sources[0].event_id = None;
    assert_eq!(refused(&def, "{\"sku\":\"k\",\"ts\":1,\"s\":1}").0, Reason::MissingEventId);
}

#[test]
fn what_is_not_one_json_object_is_undecodable_with_its_position() {
    let def = def();
    for payload in
        ["", "null", "[]", "7", "{\"sku\":\"k\",\"ts\":1} x", "{\"sku\":\"k\"", "{\"sku\":\"k\",}", "\u{feff}{}"]
    {
        let reject = decode(&def, payload).expect_err(payload);
        assert_eq!((reject.reason, reject.path.as_str()), (Reason::Undecodable, ""), "{payload}");
        assert!(reject.detail.contains("line 1 column"), "{}", reject.detail);
    }
    let bad = RawEvent { payload: Some(b"{\"sku\":\"\xff\"}"), timestamp_ms: NOW, ..RawEvent::default() };
    let reject = decode_raw(&def, &bad).unwrap_err();
    assert_eq!((reject.reason, reject.detail.as_str()), (Reason::Undecodable, "invalid UTF-8 at byte 8"));
}

#[test]
fn escapes_mean_their_characters_and_broken_ones_are_refused() {
    let def = def();
    let escaped = r#"{"\u0073ku":"k","ts":1,"\u0074":"\ud83d\ude00 \u00e9\/\n"}"#;
    let event = decode(&def, escaped).unwrap();
    assert_eq!(event.kind, EventKind::Upsert { declared: vec![(6, text("😀 é/\n"))], dynamic: Vec::new() });
    for broken in ["\\ud83d", "\\ude00\\ud83d", "\\x41", "\\u12", "a\u{1}b", "a\nb"] {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"t\":\"{broken}\"}}");
        assert_eq!(refused(&def, &payload), (Reason::Undecodable, String::new()), "{payload}");
    }
}

#[test]
fn depth_counts_the_event_itself_as_one() {
    let mut def = def();
    def.max_depth = 3;
    assert_eq!(members(&def, ",\"j\":[[1]]").0, named("j", Array(vec![Array(vec![Int(1)])])));
    for path in ["j", "extra"] {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,\"{path}\":[[[1]]]}}");
        assert_eq!(refused(&def, &payload), (Reason::TooDeep, path.to_owned()));
    }
    def.max_depth = 10_000;
    let deep = format!("{{\"sku\":\"k\",\"ts\":1,\"j\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(refused(&def, &deep), (Reason::TooDeep, "j".to_owned()));
}

#[test]
fn keys_come_from_the_path_or_the_message() {
    let mut def = def();
    let key =
        |def: &TableDef, json: &str| decode(def, &format!("{{\"ts\":1{json}}}")).map(|e| e.key).map_err(|r| r.reason);
    assert_eq!(key(&def, ",\"sku\":\"a b\""), Ok(b"a b".to_vec()));
    assert_eq!(key(&def, ",\"sku\":-7"), Ok(b"-7".to_vec()));
    for (json, reason) in [
        ("", Reason::MissingKey),
        (",\"sku\":null", Reason::MissingKey),
        (",\"sku\":\"\"", Reason::MissingKey),
        (",\"sku\":1.5", Reason::WrongType),
        (",\"sku\":[\"a\"]", Reason::WrongType),
        (",\"sku\":\"\\u0000keld/position\"", Reason::BadKey),
    ] {
        assert_eq!(key(&def, json), Err(reason), "{json}");
    }
    def.key = KeyFrom::Message;
    let from_message = |key: Option<&[u8]>| {
        let raw = RawEvent { key, payload: Some(b"{\"ts\":1}"), timestamp_ms: NOW, ..RawEvent::default() };
        let decoder = Decoder::new(&def, 0);
        let event = decode_raw(&def, &raw).map(|e| e.key);
        assert_eq!(decoder.key_of(&def, &raw), event);
        event.map_err(|r| r.reason)
    };
    assert_eq!(from_message(Some(b"a")), Ok(b"a".to_vec()));
    assert_eq!(from_message(None), Err(Reason::NullKey));
    assert_eq!(from_message(Some(b"")), Err(Reason::MissingKey));
    assert_eq!(from_message(Some(b"\xff")), Err(Reason::BadKey));
    assert_eq!(from_message(Some(b"\0keld")), Err(Reason::BadKey));
}

#[test]
fn the_key_alone_is_found_whatever_the_rest_is_worth() {
    let mut def = def();
    def.key = KeyFrom::Path(Path::parse("after.id"));
    let decoder = Decoder::new(&def, 0);
    let key = decoder.key_of(&def, &raw("{\"i\":\"no integer\",\"after\":{\"x\":1,\"id\":\"k-1\"}}"));
    assert_eq!(key, Ok(b"k-1".to_vec()));
    assert_eq!(decoder.key_of(&def, &raw("{}")).map_err(|r| r.reason), Err(Reason::MissingKey));
    assert_eq!(decoder.key_of(&def, &raw("{")).map_err(|r| r.reason), Err(Reason::Undecodable));
}

#[test]
fn versions_are_integers_times_pairs_or_the_timestamp() {
    let mut def = def();
    let version = |def: &TableDef, ts: &str| {
        decode(def, &format!("{{\"sku\":\"k\",\"b\":true{ts}}}"))
            .map(|e| e.stamp.version)
            .map_err(|r| (r.reason, r.path))
    };
    assert_eq!(version(&def, ",\"ts\":-5"), Ok(Version::single(-5)));
    assert_eq!(version(&def, ",\"ts\":\"123\""), Ok(Version::single(123)));
    assert_eq!(version(&def, ",\"ts\":\"2023-11-14T22:13:20Z\""), Ok(Version::single(NOW)));
    let ts = || "ts".to_owned();
    assert_eq!(version(&def, ""), Err((Reason::MissingVersion, ts())));
    assert_eq!(version(&def, ",\"ts\":null"), Err((Reason::MissingVersion, ts())));
    assert_eq!(version(&def, ",\"ts\":true"), Err((Reason::WrongType, ts())));
    assert_eq!(version(&def, ",\"ts\":\"soon\""), Err((Reason::WrongType, ts())));
    let (limit, ahead) = (NOW + DAY_MS, NOW + DAY_MS + 1);
    assert_eq!(version(&def, &format!(",\"ts\":{limit}")), Ok(Version::single(limit)));
    assert_eq!(version(&def, &format!(",\"ts\":{ahead}")), Err((Reason::VersionAhead, ts())));
    def.sources[0].max_ahead_ms = None;
    def.sources[0].version = VersionFrom::Paths(vec![Path::parse("ts"), Path::parse("src.lsn")]);
    assert_eq!(
        version(&def, &format!(",\"ts\":{ahead},\"src\":{{\"lsn\":7}}")),
        Ok(Version { major: ahead, minor: 7 })
    );
    assert_eq!(version(&def, ",\"ts\":1,\"src\":{}"), Err((Reason::MissingVersion, "src.lsn".to_owned())));
    def.sources[0].version = VersionFrom::Timestamp;
    assert_eq!(version(&def, ""), Ok(Version::single(NOW)));
}

#[test]
fn a_tombstone_message_deletes_its_key_at_the_brokers_timestamp() {
    let def = def();
    let decoder = Decoder::new(&def, 0);
    let raw = |key| RawEvent { key, timestamp_ms: NOW, ..RawEvent::default() };
    let event = decode_raw(&def, &raw(Some(b"k-1"))).unwrap();
    assert_eq!(
        (event.key, event.stamp.version, event.kind),
        (b"k-1".to_vec(), Version::single(NOW), EventKind::Delete)
    );
    assert_eq!(decoder.key_of(&def, &raw(Some(b"k-1"))), Ok(b"k-1".to_vec()));
    assert_eq!(decode_raw(&def, &raw(None)).map_err(|r| r.reason), Err(Reason::NullKey));
    assert_eq!(decode_raw(&def, &raw(Some(b"\xff"))).map_err(|r| r.reason), Err(Reason::BadKey));
}

#[test]
fn fields_of_a_delete_are_not_looked_at() {
    let mut def = def();
    def.dynamic = Dynamic::Reject;
    let event = decode(&def, "{\"sku\":\"k\",\"ts\":5,\"deleted\":true,\"i\":\"no integer\",\"extra\":1}").unwrap();
    assert_eq!((event.stamp.version, event.kind), (Version::single(5), EventKind::Delete));
    let kind = |json: &str| decode(&def, &format!("{{\"sku\":\"k\",\"ts\":5,\"deleted\":{json}}}")).map(|e| e.kind);
    for json in ["false", "null", "\"true\"", "1"] {
        assert!(matches!(kind(json), Ok(EventKind::Upsert { .. })), "{json}");
    }
}

#[test]
fn undeclared_members_are_stored_ignored_or_rejected() {
    let mut def = def();
    let rest = ",\"y\":1,\"x\":null,\"y\":\"last\",\"i\":3";
    let (declared, dynamic) = members(&def, rest);
    assert_eq!(declared, named("i", Int(3)));
    assert_eq!(dynamic, [("x".to_owned(), Null), ("y".to_owned(), text("last"))]);
    def.dynamic = Dynamic::Index;
    assert_eq!(members(&def, rest).1, dynamic);
    def.dynamic = Dynamic::Ignore;
    assert_eq!(members(&def, rest), (named("i", Int(3)), Vec::new()));
    def.dynamic = Dynamic::Reject;
    let payload = format!("{{\"sku\":\"k\",\"ts\":1{rest}}}");
    assert_eq!(refused(&def, &payload), (Reason::Undeclared, "y".to_owned()));
}

#[test]
fn declared_paths_go_into_objects_and_leave_the_rest() {
    let mut def = def();
    def.fields[3].path = Path::parse("size.installed");
    def.fields[5].path = Path::parse("size.unit.name");
    let i = || named("i", Int(5));
    let rest = |value| named("size", value);
    let object = |name: &str, value| Object(named(name, value));
    assert_eq!(members(&def, ",\"size\":{\"installed\":5}"), (i(), Vec::new()));
    assert_eq!(members(&def, ",\"size\":{\"installed\":5,\"other\":1}"), (i(), rest(object("other", Int(1)))));
    assert_eq!(members(&def, ",\"size\":{\"unit\":{\"name\":\"kB\"}}"), (named("k", text("kB")), Vec::new()));
    let deep = rest(object("unit", object("x", Int(1))));
    assert_eq!(members(&def, ",\"size\":{\"unit\":{\"name\":\"kB\",\"x\":1}}"), (named("k", text("kB")), deep));
    assert_eq!(members(&def, ",\"size\":{}"), (Vec::new(), Vec::new()), "lacks it");
    assert_eq!(members(&def, ",\"size\":{\"installed\":null}"), (named("i", Null), Vec::new()));
    assert_eq!(members(&def, ",\"size\":null"), (Vec::new(), rest(Null)));
    assert_eq!(members(&def, ",\"size\":7"), (Vec::new(), rest(Int(7))));
    let repeated = ",\"size\":{\"unit\":{\"name\":\"kB\"},\"other\":1},\"size\":{\"installed\":5}";
    assert_eq!(members(&def, repeated), (i(), Vec::new()), "the last one counts, alone");
    def.dynamic = Dynamic::Reject;
    let payload = "{\"sku\":\"k\",\"ts\":1,\"size\":{\"installed\":5,\"other\":1}}";
    assert_eq!(refused(&def, payload), (Reason::Undeclared, "size.other".to_owned()));
}

#[test]
fn a_path_may_serve_two_fields_and_lie_on_the_way_to_another() {
    let mut def = def();
    def.fields.push(field("z", Json, Strategy::Lww));
    def.fields[4].path = Path::parse("size");
    def.fields[7].path = Path::parse("size");
    def.fields[3].path = Path::parse("size.installed");
    let whole = Object(vec![("installed".into(), Int(5)), ("x".into(), Int(1))]);
    let expected = [("i".to_owned(), Int(5)), ("j".to_owned(), whole.clone()), ("z".to_owned(), whole)];
    assert_eq!(members(&def, ",\"size\":{\"x\":1,\"installed\":5}"), (expected.to_vec(), Vec::new()));
}

#[test]
fn the_name_of_a_declared_field_belongs_to_the_field() {
    let mut def = def();
    def.fields[3].path = Path::parse("delta");
    assert_eq!(members(&def, ",\"i\":\"whatever\",\"delta\":1"), (named("i", Int(1)), Vec::new()));
}

#[test]
fn a_source_of_whole_rows_clears_what_it_does_not_carry() {
    let mut def = table(&[("a", Integer, Strategy::Lww), ("b", Integer, Strategy::Lww), ("c", Integer, Strategy::Lww)]);
    def.sources[0].absent = Absent::Clear;
    def.sources[0].sentinels = vec![text("__gone")];
    def.fields[2].path = Path::parse("o.c");
    let cleared = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), Null)).collect::<Vec<_>>();
    assert_eq!(members(&def, "").0, cleared(&["a", "b", "c"]));
    assert_eq!(members(&def, ",\"a\":\"__gone\",\"o\":{}").0, cleared(&["b", "c"]));
    assert_eq!(members(&def, ",\"a\":\"__gone\",\"o\":\"__gone\",\"x\":\"__gone\""), (cleared(&["b"]), Vec::new()));
    def.sources[0].absent = Absent::Keep;
    assert_eq!(members(&def, ",\"a\":\"__gone\",\"b\":null").0, cleared(&["b"]));
}

#[test]
fn a_map_takes_objects_and_a_first_and_an_append_take_arrays_too() {
    let mut def =
        table(&[("m", Json, Strategy::Map), ("f", Integer, Strategy::First), ("l", Keyword, Strategy::Append)]);
    def.sources[0].sentinels = vec![text("__gone")];
    let of = |json: &str| members(&def, json).0;
    let object = Object(vec![("b".into(), Null), ("c".into(), Object(named("d", Int(1))))]);
    assert_eq!(of(",\"m\":{\"c\":{\"d\":1},\"a\":\"__gone\",\"b\":null}"), named("m", object));
    assert_eq!(
        of(",\"m\":null,\"f\":[1,\"2\"]"),
        [("f".to_owned(), Array(vec![Int(1), Int(2)])), ("m".to_owned(), Null)]
    );
    for (json, reason) in [("\"m\":[{}]", "m"), ("\"m\":1", "m"), ("\"f\":\"x\"", "f"), ("\"id\":1,\"l\":[true]", "l")]
    {
        let payload = format!("{{\"sku\":\"k\",\"ts\":1,{json}}}");
        assert_eq!(refused(&def, &payload), (Reason::WrongType, reason.to_owned()), "{json}");
    }
    assert_eq!(refused(&def, "{\"sku\":\"k\",\"ts\":1,\"l\":\"x\"}"), (Reason::MissingEventId, "id".to_owned()));
}

#[test]
fn the_second_source_has_its_own_rules() {
    let mut def = def();
    def.sources[1].version = VersionFrom::Timestamp;
    assert_eq!(def.sources[1].format, Format::Json);
    let event = decode_of(&def, 1, &raw("{\"sku\":\"k\",\"ts\":1}")).unwrap();
    assert_eq!(event.stamp, Stamp { version: Version::single(NOW), rank: 20 });
    assert_eq!(event.kind, EventKind::Upsert { declared: Vec::new(), dynamic: named("ts", Int(1)) });
}

#[test]
fn a_member_with_the_name_of_a_derived_field_is_left_out() {
    let mut def = def();
    def.dynamic = Dynamic::Store;
    let expression = Expression::compile("i + 1", Integer, &def.key, &def.fields.iter().collect::<Vec<_>>()).unwrap();
    let rest = ",\"margin\":5,\"other\":6";
    assert_eq!(
        members(&def, rest).1,
        named("margin", Int(5)).into_iter().chain(named("other", Int(6))).collect::<Vec<_>>()
    );
    let derived = field("margin", Integer, Strategy::Lww);
    def.derived = vec![Derived { field: derived, expression }];
    assert_eq!(members(&def, rest), (Vec::new(), named("other", Int(6))));
}

#[test]
fn the_order_of_members_and_of_earlier_events_changes_nothing() {
    let def = def();
    let decoder = Decoder::new(&def, 0);
    let all =
        ["\"sku\":\"k\"", "\"ts\":1", "\"t\":\"a\"", "\"k\":\"b\"", "\"i\":2", "\"extra\":{\"t\":3}", "\"t\":\"c\""];
    // Every rotation, with and without every second member.
    for (from, step) in (0..all.len()).flat_map(|from| [(from, 1), (from, 2)]) {
        let mut text: Vec<&str> = all.iter().cycle().skip(from).take(all.len()).step_by(step).copied().collect();
        text.extend(all[..2].iter().filter(|needed| !text.contains(needed)).copied().collect::<Vec<_>>());
        let payload = format!("{{{}}}", text.join(","));
        let seasoned = decoder.decode(&def, &raw(&payload), &()).unwrap().event().unwrap();
        let sorted: std::collections::BTreeMap<&str, &str> =
            text.iter().map(|member| member.split_once(':').unwrap()).collect();
        let sorted: Vec<String> = sorted.iter().map(|(name, value)| format!("{name}:{value}")).collect();
        assert_eq!(seasoned, decode(&def, &format!("{{{}}}", sorted.join(","))).unwrap(), "{payload}");
    }
}
