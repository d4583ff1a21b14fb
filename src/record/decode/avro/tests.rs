//! What the values of a message are; written by `apache-avro`, by hand where a message is to be wrong.

use std::collections::HashMap;

use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use apache_avro::{Decimal, Schema};
use serde_json::{Value as Json, json};

use super::WriterSchema;
use crate::record::event::{Reason, Reject};
use crate::record::value::Value;

const MAX_DEPTH: usize = 32;

fn schema(fields: Json) -> Json {
    json!({"type": "record", "name": "test.R", "fields": fields})
}

fn compiled(schema: &Json) -> WriterSchema {
    WriterSchema::parse(&schema.to_string(), &[]).unwrap()
}

fn written(schema: &Json, fields: Vec<(&str, Avro)>) -> Vec<u8> {
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let schema = Schema::parse(schema).unwrap();
    let writer = GenericDatumWriter::builder(&schema).build().unwrap();
    writer.write_value_to_vec(Avro::Record(fields)).unwrap()
}

fn read(schema: &Json, message: &[u8]) -> Result<Json, Reject> {
    compiled(schema).members(message, MAX_DEPTH).map(|members| Value::Object(members).to_json())
}

/// What a field of this type shows of a value.
fn shown(kind: Json, value: Avro) -> Json {
    let schema = schema(json!([{"name": "v", "type": kind}]));
    read(&schema, &written(&schema, vec![("v", value)])).unwrap()["v"].clone()
}

#[test]
fn every_type_has_its_value() {
    let fixed = |size: usize| json!({"type": "fixed", "name": "F", "size": size});
    let logical = |kind: &str, logical: &str| json!({"type": kind, "logicalType": logical});
    let cases = [
        (json!("null"), Avro::Null, json!(null)),
        (json!("boolean"), Avro::Boolean(true), json!(true)),
        (json!("int"), Avro::Int(-7), json!(-7)),
        (json!("long"), Avro::Long(i64::MIN), json!(i64::MIN)),
        (json!("float"), Avro::Float(1.5), json!(1.5)),
        (json!("double"), Avro::Double(-0.1), json!(-0.1)),
        (json!("double"), Avro::Double(2.0), json!(2)),
        (json!("string"), Avro::String("é".into()), json!("é")),
        (json!("bytes"), Avro::Bytes(vec![0, 255, 16]), json!("AP8Q")),
        (fixed(2), Avro::Fixed(2, vec![1, 2]), json!("AQI=")),
        (json!(["null", "string"]), Avro::Union(1, Box::new(Avro::String("x".into()))), json!("x")),
        (json!(["null", "string"]), Avro::Union(0, Box::new(Avro::Null)), json!(null)),
        (json!({"type": "enum", "name": "E", "symbols": ["A", "B"]}), Avro::Enum(1, "B".into()), json!("B")),
        (json!({"type": "array", "items": "int"}), Avro::Array(vec![Avro::Int(1), Avro::Int(2)]), json!([1, 2])),
        (json!({"type": "array", "items": "int"}), Avro::Array(vec![]), json!([])),
        (
            json!({"type": "map", "values": "long"}),
            Avro::Map(HashMap::from([("b".to_owned(), Avro::Long(2)), ("a".to_owned(), Avro::Long(1))])),
            json!({"a": 1, "b": 2}),
        ),
        (logical("int", "date"), Avro::Date(-1), json!(-86_400_000)),
        (logical("int", "time-millis"), Avro::TimeMillis(5), json!(5)),
        (logical("long", "timestamp-millis"), Avro::TimestampMillis(1_700_000_000_123), json!(1_700_000_000_123_i64)),
        (logical("long", "timestamp-micros"), Avro::TimestampMicros(1_999), json!(1)),
        (logical("long", "timestamp-micros"), Avro::TimestampMicros(-1), json!(-1)),
        (logical("long", "local-timestamp-millis"), Avro::LocalTimestampMillis(9), json!(9)),
        (
            logical("string", "uuid"),
            Avro::Uuid("550e8400-e29b-41d4-a716-446655440000".parse().unwrap()),
            json!("550e8400-e29b-41d4-a716-446655440000"),
        ),
    ];
    for (kind, value, expected) in cases {
        assert_eq!(shown(kind.clone(), value), expected, "{kind}");
    }
}

#[test]
fn decimals_keep_every_digit() {
    let decimal = |scale: usize| json!({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": scale});
    let cases: [(usize, &[u8], &str); 7] = [
        (2, &[0x04, 0xd2], "12.34"),
        (2, &[0xfb, 0x2e], "-12.34"),
        (2, &[5], "0.05"),
        (2, &[0xff], "-0.01"),
        (0, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "2361183241434822606847"),
        (4, &[0], "0.0000"),
        (3, &[], "0.000"),
    ];
    for (scale, unscaled, text) in cases {
        let schema = schema(json!([{"name": "v", "type": decimal(scale)}]));
        let mut message = vec![2 * u8::try_from(unscaled.len()).unwrap()];
        message.extend_from_slice(unscaled);
        assert_eq!(read(&schema, &message).unwrap()["v"], json!(text));
    }
    let fixed = json!({"type": "fixed", "name": "D", "size": 3, "logicalType": "decimal", "precision": 6, "scale": 2});
    assert_eq!(shown(fixed, Avro::Decimal(Decimal::from(vec![0, 0x04, 0xd2]))), json!("12.34"));
    let wide = schema(json!([{"name": "v", "type": decimal(2)}]));
    let message = [&[0x88, 0x04][..], &[1; 260]].concat();
    assert_eq!(read(&wide, &message).unwrap_err().reason, Reason::OutOfRange);
}

#[test]
fn named_types_are_found_wherever_they_are_named() {
    let schema = schema(json!([
        {"name": "first", "type": {"type": "record", "name": "Point", "fields": [{"name": "x", "type": "int"}]}},
        {"name": "second", "type": "test.Point"},
        {"name": "rest", "type": {"type": "array", "items": "Point"}},
    ]));
    let point = |x| Avro::Record(vec![("x".to_owned(), Avro::Int(x))]);
    let fields = vec![("first", point(1)), ("second", point(2)), ("rest", Avro::Array(vec![point(3)]))];
    let expected = json!({"first": {"x": 1}, "second": {"x": 2}, "rest": [{"x": 3}]});
    assert_eq!(read(&schema, &written(&schema, fields)).unwrap(), expected);
}

#[test]
fn a_schema_may_refer_to_others() {
    let money = json!({"type": "enum", "name": "shop.Money", "symbols": ["EUR", "USD"]}).to_string();
    let item = json!({"type": "record", "name": "shop.Item", "fields": [{"name": "in", "type": "shop.Money"}]});
    let schema = WriterSchema::parse(&item.to_string(), &[money]).unwrap();
    let members = schema.members(&[2], MAX_DEPTH).unwrap();
    assert_eq!(members, [("in".to_owned(), Value::Str("USD".into()))]);
    assert!(WriterSchema::parse(&item.to_string(), &[]).unwrap_err().contains("shop.Money"));
}

#[test]
fn a_recursive_schema_is_followed_as_deep_as_events_may_be() {
    let list = json!({"type": "record", "name": "List", "fields": [
        {"name": "value", "type": "int"}, {"name": "next", "type": ["null", "List"]}]});
    // A value and the branch that goes on, again and again; then a value and the branch that ends.
    let nested = |depth: usize| [[2, 2].repeat(depth - 1), vec![4, 0]].concat();
    let expected = json!({"value": 1, "next": {"value": 2, "next": null}});
    assert_eq!(read(&list, &nested(2)).unwrap(), expected);
    assert!(read(&list, &nested(MAX_DEPTH)).is_ok());
    let reject = read(&list, &nested(MAX_DEPTH + 1)).unwrap_err();
    assert_eq!((reject.reason, reject.path.starts_with("next.next.")), (Reason::TooDeep, true), "{reject}");
    assert_eq!(read(&list, &nested(1_000_000)).unwrap_err().reason, Reason::TooDeep);
}

#[test]
fn a_message_that_is_cut_anywhere_is_refused_whole() {
    let schema = schema(json!([
        {"name": "b", "type": "boolean"},
        {"name": "s", "type": "string"},
        {"name": "m", "type": {"type": "map", "values": "double"}},
        {"name": "u", "type": ["null", "string"]},
    ]));
    let fields = vec![
        ("b", Avro::Boolean(true)),
        ("s", Avro::String("text".into())),
        ("m", Avro::Map(HashMap::from([("k".to_owned(), Avro::Double(0.5))]))),
        ("u", Avro::Union(0, Box::new(Avro::Null))),
    ];
    let message = written(&schema, fields);
    assert!(read(&schema, &message).is_ok());
    for cut in 0..message.len() {
        let reject = read(&schema, &message[..cut]).unwrap_err();
        assert_eq!(reject.reason, Reason::Undecodable, "{cut} bytes: {reject}");
    }
    let longer = [&message[..], &[0]].concat();
    let reject = read(&schema, &longer).unwrap_err();
    assert!(reject.detail.contains("1 bytes are left"), "{reject}");
}

#[test]
fn what_is_wrong_is_said_with_its_field() {
    let schema = schema(json!([
        {"name": "a", "type": {"type": "record", "name": "In", "fields": [{"name": "e",
            "type": ["null", {"type": "enum", "name": "E", "symbols": ["A"]}]}]}},
        {"name": "n", "type": "int"},
        {"name": "f", "type": "double"},
    ]));
    let float = |x: f64| x.to_le_bytes().to_vec();
    let cases = [
        (vec![4], "a.e", Reason::Undecodable, "branch 2 of a union of 2"),
        (vec![2, 2], "a.e", Reason::Undecodable, "symbol 1 of 1"),
        (vec![2, 1], "a.e", Reason::Undecodable, "-1 is no length"),
        (vec![0, 0x80, 0x80, 0x80, 0x80, 0x10], "n", Reason::Undecodable, "2147483648 does not fit 32 bits"),
        ([&[0; 1][..], &[0xff; 10]].concat(), "n", Reason::Undecodable, "more than 64 bits"),
        ([vec![0, 2], float(f64::NAN)].concat(), "f", Reason::OutOfRange, "NaN"),
        ([vec![0, 2], float(f64::INFINITY)].concat(), "f", Reason::OutOfRange, "inf"),
    ];
    for (message, path, reason, word) in cases {
        let reject = read(&schema, &message).unwrap_err();
        assert_eq!((reject.path.as_str(), reject.reason), (path, reason), "{reject}");
        assert!(reject.detail.contains(word) && reject.detail.contains("byte"), "{reject}");
    }
}

#[test]
fn a_count_allocates_nothing_and_ends() {
    let items = schema(json!([{"name": "v", "type": {"type": "array", "items": "null"}}]));
    let count = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let reject = read(&items, &count).unwrap_err();
    assert!(reject.detail.contains("more values than bytes"), "{reject}");
    // A negative count, with the size of the block behind it.
    assert_eq!(read(&items, &[3, 0, 0]).unwrap(), json!({"v": [null, null]}));
    let text = schema(json!([{"name": "v", "type": "string"}]));
    assert!(read(&text, &count).unwrap_err().detail.contains("ends early"));
}

#[test]
fn a_message_must_be_a_record_or_a_map() {
    assert_eq!(read(&json!("string"), &[2, b'x']).unwrap_err().reason, Reason::Undecodable);
    assert_eq!(read(&json!({"type": "map", "values": "int"}), &[2, 2, b'x', 2, 0]).unwrap(), json!({"x": 1}));
}
