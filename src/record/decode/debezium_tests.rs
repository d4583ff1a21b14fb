//! Change events of Debezium. The messages have the shapes that its documentation shows.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::tests::NOW;
use super::*;
use crate::record::debezium::UNAVAILABLE;
use crate::record::testing::{self, text};
use crate::record::{FieldType, Format};

/// Customers, keyed by `id`.
fn def(format: Format) -> TableDef {
    let mut def = testing::table(&[
        ("biography", FieldType::Text, Strategy::Lww),
        ("email", FieldType::Keyword, Strategy::Lww),
        ("first_name", FieldType::Keyword, Strategy::Lww),
    ]);
    def.key = KeyFrom::Path(Path::parse("id"));
    let source = &mut def.sources[0];
    source.format = format;
    source.version = VersionFrom::Position;
    source.event_id = None;
    source.delete = None;
    source.sentinels = vec![text(UNAVAILABLE[0])];
    source.tombstones = if format.shape() == Shape::Envelope { Tombstones::Ignore } else { Tombstones::Delete };
    def
}

fn decode_with(def: &TableDef, key: &str, payload: Option<&Json>) -> Result<Decoded, Reject> {
    let payload = payload.map(Json::to_string);
    let raw = RawEvent {
        key: Some(key.as_bytes()),
        payload: payload.as_ref().map(String::as_bytes),
        timestamp_ms: NOW,
        ..RawEvent::default()
    };
    Decoder::new(def, 0).decode(def, &raw, &())
}

fn decode(def: &TableDef, payload: &Json) -> Result<Decoded, Reject> {
    decode_with(def, r#"{"id":1004}"#, Some(payload))
}

fn event(def: &TableDef, payload: &Json) -> Event {
    decode(def, payload).unwrap().event().unwrap_or_else(|| panic!("no event: {payload}"))
}

/// An update of PostgreSQL.
fn update() -> Json {
    json!({
        "before": null,
        "after": {"id": 1004, "first_name": "Dana", "last_name": "Kretchmar", "email": "annek@noanswer.org"},
        "source": {
            "version": "2.7.3.Final", "connector": "postgresql", "name": "PostgreSQL_server", "ts_ms": 1_559_033_904_863_i64,
            "snapshot": "false", "db": "postgres", "schema": "public", "table": "customers", "txId": 556,
            "lsn": 24_023_128, "xmin": null
        },
        "op": "u", "ts_ms": 1_465_584_025_523_i64, "transaction": null
    })
}

/// As a converter with schemas writes it.
fn wrapped(payload: &Json) -> Json {
    json!({"schema": {"type": "struct", "fields": [{"field": "after", "type": "struct"}], "optional": false}, "payload": payload})
}

fn with(mut payload: Json, name: &str, value: Json) -> Json {
    payload[name] = value;
    payload
}

#[test]
fn an_update_is_the_row_as_it_is_now() {
    let def = def(Format::DebeziumJson);
    let expected = Event {
        key: b"1004".to_vec(),
        stamp: Stamp { version: Version { major: 1_559_033_904_863, minor: 24_023_128 }, rank: 10 },
        source: def.sources[0].id,
        id: None,
        kind: EventKind::Upsert {
            declared: vec![(1, text("annek@noanswer.org")), (2, text("Dana"))],
            dynamic: vec![("last_name".to_owned(), text("Kretchmar"))],
        },
    };
    assert_eq!(event(&def, &update()), expected);
    assert_eq!(event(&def, &wrapped(&update())), expected, "with its schema beside it");
    for op in ["c", "r"] {
        assert_eq!(event(&def, &with(update(), "op", json!(op))), expected, "op {op}");
    }
}

#[test]
fn the_order_of_the_members_does_not_matter() {
    let def = def(Format::DebeziumJson);
    let text = r#" { "op" : "c", "ts_ms":1, "after":{"id":1,"email":"new"},"source":{"ts_ms":5,"lsn":"7"},
        "before":null, "after" : { "id" : 1, "email" : "last" } } "#;
    let raw = RawEvent { payload: Some(text.as_bytes()), timestamp_ms: NOW, ..RawEvent::default() };
    let event = Decoder::new(&def, 0).decode(&def, &raw, &()).unwrap().event().unwrap();
    assert_eq!(event.stamp.version, Version { major: 5, minor: 7 });
    assert_eq!(event.kind, EventKind::Upsert { declared: vec![(1, Value::Str("last".into()))], dynamic: Vec::new() });
}

#[test]
fn a_delete_is_at_the_position_of_the_change_and_its_tombstone_says_nothing() {
    let def = def(Format::DebeziumJson);
    let mut delete = with(with(update(), "op", json!("d")), "after", Json::Null);
    delete["before"] = json!({"id": 1004, "first_name": null, "email": null});
    delete["source"]["lsn"] = json!(24_023_200);
    let at = Version { major: 1_559_033_904_863, minor: 24_023_200 };
    for delete in [delete.clone(), with(delete.clone(), "before", Json::Null), wrapped(&delete)] {
        let event = event(&def, &delete);
        assert_eq!((event.key.as_slice(), event.stamp.version, &event.kind), (&b"1004"[..], at, &EventKind::Delete));
    }
    assert_eq!(decode_with(&def, r#"{"id":1004}"#, None), Ok(Decoded::Nothing));
}

#[test]
fn the_key_of_a_row_that_lacks_it_stands_in_the_message_key() {
    let def = def(Format::DebeziumJson);
    let delete = json!({"op": "d", "before": null, "after": null, "source": {"ts_ms": 5}});
    let keys = [
        (r#"{"id":1004}"#, "1004"),
        (r#"{"schema":{"type":"struct","fields":[]},"payload":{"id":1004}}"#, "1004"),
        ("1004", "1004"),
        ("\"a b\"", "a b"),
        ("a-b", "a-b"),
    ];
    for (key, expected) in keys {
        let event = decode_with(&def, key, Some(&delete)).unwrap().event().unwrap();
        assert_eq!(event.key, expected.as_bytes(), "{key}");
    }
    let reject = decode_with(&def, r#"{"other":1}"#, Some(&delete)).unwrap_err();
    assert_eq!((reject.reason, reject.path.as_str()), (Reason::MissingKey, "id"));
}

#[test]
fn a_column_that_debezium_does_not_know_says_nothing() {
    let mut def = def(Format::DebeziumJson);
    let mut toasted = update();
    toasted["after"]["biography"] = json!("__debezium_unavailable_value");
    toasted["after"]["photo"] = json!("__debezium_unavailable_value");
    toasted["after"]["email"] = Json::Null;
    let EventKind::Upsert { declared, dynamic } = event(&def, &toasted).kind else { panic!("an upsert") };
    assert_eq!(declared, [(1, Value::Null), (2, text("Dana"))]);
    assert_eq!(dynamic, [("last_name".to_owned(), text("Kretchmar"))]);
    def.sources[0].absent = Absent::Clear;
    let EventKind::Upsert { declared, .. } = event(&def, &toasted).kind else { panic!("an upsert") };
    assert_eq!(declared, [(1, Value::Null), (2, text("Dana"))], "absent is one thing, unknown another");
}

#[test]
fn what_is_no_change_of_a_row_says_nothing() {
    let def = def(Format::DebeziumJson);
    let messages = [
        json!({"status": "BEGIN", "id": "571:53195829", "ts_ms": 1, "event_count": null, "data_collections": null}),
        json!({"status": "END", "id": "571:53195832", "ts_ms": 1, "event_count": 2,
            "data_collections": [{"data_collection": "s1.a", "event_count": 2}]}),
        json!({"source": {"connector": "mysql"}, "ts_ms": 1, "databaseName": "inventory", "schemaName": null,
            "ddl": "ALTER TABLE customers ADD middle_name varchar(255)", "tableChanges": [{"type": "ALTER"}]}),
        json!({"ts_ms": 1_464_583_054_056_i64}),
        json!({"op": "m", "ts_ms": 1, "source": {"lsn": 46_523_128}, "message": {"prefix": "foo", "content": "Ymfy"}}),
    ];
    for message in &messages {
        assert_eq!(decode(&def, message), Ok(Decoded::Nothing), "{message}");
        assert_eq!(decode(&def, &wrapped(message)), Ok(Decoded::Nothing), "{message}");
    }
}

#[test]
fn what_cannot_be_followed_is_refused_with_its_reason() {
    let def = def(Format::DebeziumJson);
    let truncate = json!({"op": "t", "source": {"ts_ms": 1, "lsn": 46_523_128}, "ts_ms": 1});
    let cases = [
        (truncate, Reason::Unsupported, "@op", "truncated"),
        (with(update(), "op", json!("x")), Reason::Undecodable, "", "unknown op \"x\""),
        (with(update(), "after", Json::Null), Reason::Undecodable, "", "`after`"),
        (with(update(), "after", json!("{\"_id\":1}")), Reason::Undecodable, "", "`after`"),
        (json!({"id": 1004, "email": "x"}), Reason::Undecodable, "", "debezium-json-flat"),
        (with(update(), "source", json!({"lsn": 5})), Reason::MissingVersion, "@source.ts_ms", "no version"),
    ];
    for (payload, reason, path, word) in cases {
        let reject = decode(&def, &payload).unwrap_err();
        assert_eq!((reject.reason, reject.path.as_str()), (reason, path), "{reject}");
        assert!(reject.detail.contains(word), "{reject}");
    }
}

#[test]
fn positions_are_those_of_every_connector() {
    let def = def(Format::DebeziumJson);
    let minor = |source: Json| event(&def, &with(update(), "source", source)).stamp.version.minor;
    assert_eq!(minor(json!({"ts_ms": 1, "lsn": 24_023_128})), 24_023_128);
    let mysql = |file: &str, pos: i64| minor(json!({"ts_ms": 1, "file": file, "pos": pos, "row": 0, "gtid": null}));
    assert_eq!(mysql("mysql-bin.000003", 484), 3 * 4_294_967_296 + 484);
    assert!(
        mysql("mysql-bin.000004", 4) > mysql("mysql-bin.000003", 4_000_000_000),
        "positions begin anew in each file"
    );
    assert_eq!(minor(json!({"ts_ms": 1, "ord": 31})), 31);
    assert_eq!(minor(json!({"ts_ms": 1, "commit_lsn": "00000027:00000758:0005"})), 0);
    assert_eq!(minor(json!({"ts_ms": 1, "lsn": null})), 0);
}

#[test]
fn paths_may_look_around_the_row() {
    let mut def = def(Format::DebeziumJson);
    def.sources[0].version = VersionFrom::Paths(vec![Path::parse("@source.lsn")]);
    def.sources[0].event_id = Some(Path::parse("@source.txId"));
    def.fields[0].path = Path::parse("@op");
    def.fields[1].path = Path::parse("@source.table");
    let mut payload = update();
    payload["after"]["source"] = json!({"lsn": 1});
    let event = event(&def, &payload);
    assert_eq!((event.stamp.version, event.id), (Version::single(24_023_128), Some(xxh3_64(b"556"))));
    let EventKind::Upsert { declared, dynamic } = event.kind else { panic!("an upsert") };
    assert_eq!(declared, [(0, text("u")), (1, text("customers")), (2, text("Dana"))]);
    assert!(
        dynamic.contains(&("source".to_owned(), Value::Object(vec![("lsn".to_owned(), Value::Int(1))]))),
        "a column"
    );
}

#[test]
fn a_flattened_event_is_the_row_without_what_was_added() {
    let def = def(Format::DebeziumJsonFlat);
    let flat = json!({"id": 1004, "first_name": "Dana", "last_name": "Kretchmar", "__op": "u", "__deleted": "false",
        "__table": "customers", "__lsn": 24_023_128, "__source_ts_ms": 1_559_033_904_863_i64});
    for payload in [flat.clone(), wrapped(&flat)] {
        let event = event(&def, &payload);
        assert_eq!(event.stamp.version, Version { major: 1_559_033_904_863, minor: 24_023_128 });
        let dynamic = vec![("last_name".to_owned(), text("Kretchmar"))];
        assert_eq!(event.kind, EventKind::Upsert { declared: vec![(2, text("Dana"))], dynamic });
    }
    let marks = [("__deleted", json!("true")), ("__deleted", json!(true)), ("__op", json!("d"))];
    for (name, value) in marks {
        let event = event(&def, &with(flat.clone(), name, value));
        assert_eq!((event.key.as_slice(), event.kind), (&b"1004"[..], EventKind::Delete), "{name}");
    }
    let source_lsn = with(with(flat, "__lsn", Json::Null), "__source_lsn", json!(9));
    assert_eq!(event(&def, &source_lsn).stamp.version.minor, 9);
    let bare = json!({"id": 1004, "first_name": "Dana"});
    let reject = decode(&def, &bare).unwrap_err();
    assert_eq!((reject.reason, reject.path.as_str()), (Reason::MissingVersion, "__source_ts_ms"));
}

#[test]
fn the_tombstone_of_a_flattened_source_is_its_delete() {
    let mut def = def(Format::DebeziumJsonFlat);
    let event = decode_with(&def, r#"{"id":1004}"#, None).unwrap().event().unwrap();
    assert_eq!(
        (event.key.as_slice(), event.stamp.version, event.kind),
        (&b"1004"[..], Version::single(NOW), EventKind::Delete)
    );
    def.sources[0].tombstones = Tombstones::Quarantine;
    let reject = decode_with(&def, r#"{"id":1004}"#, None).unwrap_err();
    assert_eq!((reject.reason, reject.path.as_str()), (Reason::MissingVersion, "@source"));
}

/// One schema, under the id 7.
struct One(Arc<WriterSchema>);

impl Schemas for One {
    fn schema(&self, id: u32) -> Lookup {
        match id {
            7 => Lookup::Known(self.0.clone()),
            8 => Lookup::Refused("none".into()),
            _ => Lookup::Missing,
        }
    }
}

#[test]
fn a_change_in_avro_is_the_same_event() {
    let row = json!({"type": "record", "name": "Value", "fields": [{"name": "id", "type": "int"},
        {"name": "email", "type": ["null", "string"], "default": null}]});
    let schema = json!({"type": "record", "name": "Envelope", "fields": [
        {"name": "before", "type": ["null", row]}, {"name": "after", "type": ["null", "Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "fields": [
            {"name": "ts_ms", "type": "long"}, {"name": "lsn", "type": ["null", "long"]}]}},
        {"name": "op", "type": "string"}]});
    let schemas = One(Arc::new(WriterSchema::parse(&schema.to_string(), &[]).unwrap()));
    // Nobody before; a row 4 with the text "x"; the time 5 at 6; a creation.
    let message = [0, 2, 8, 2, 2, b'x', 10, 2, 12, 2, b'c'];
    let def = def(Format::DebeziumAvro);
    let decode = |id: u8| {
        let payload = [&[0, 0, 0, 0, id], &message[..]].concat();
        let raw = RawEvent { payload: Some(&payload), timestamp_ms: NOW, ..RawEvent::default() };
        Decoder::new(&def, 0).decode(&def, &raw, &schemas)
    };
    let event = decode(7).unwrap().event().unwrap();
    assert_eq!((event.key.as_slice(), event.stamp.version), (&b"4"[..], Version { major: 5, minor: 6 }));
    assert_eq!(event.kind, EventKind::Upsert { declared: vec![(1, text("x"))], dynamic: Vec::new() });
    assert_eq!(decode(9), Ok(Decoded::Missing(9)));
    let reject = decode(8).unwrap_err();
    assert_eq!((reject.reason, reject.detail.as_str()), (Reason::UnknownSchema, "schema 8: none"));
}

#[test]
fn json_behind_the_prefix_of_a_registry_is_json() {
    let mut def = def(Format::JsonSchema);
    def.sources[0].version = VersionFrom::Timestamp;
    let decode = |payload: &[u8]| {
        let raw = RawEvent { payload: Some(payload), timestamp_ms: NOW, ..RawEvent::default() };
        Decoder::new(&def, 0).decode(&def, &raw, &())
    };
    let framed = [&[0, 0, 0, 0, 3], &br#"{"id":4,"email":"x"}"#[..]].concat();
    assert_eq!(decode(&framed).unwrap().event().unwrap().key, b"4");
    for (bare, word) in [(&b"{\"id\":4}"[..], "found 7b 22"), (b"", "found nothing"), (&[0, 0, 0], "found 00 00 00")] {
        let reject = decode(bare).unwrap_err();
        assert!(reject.reason == Reason::Undecodable && reject.detail.contains(word), "{reject}");
    }
}
