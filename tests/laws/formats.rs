//! Every decoder takes any bytes: it ends, and says the same each time.

use std::sync::Arc;

use super::check;
use super::decoding::table;
use keld::record::decode::{Decoded, Decoder, Lookup, RawEvent, Schemas, WriterSchema};
use keld::record::{Format, Path, Reject, TableDef, VersionFrom};
use proptest::prelude::*;
use serde_json::json;

const FORMATS: [Format; 7] = [
    Format::Json,
    Format::JsonSchema,
    Format::Avro,
    Format::DebeziumJson,
    Format::DebeziumJsonFlat,
    Format::DebeziumAvro,
    Format::DebeziumAvroFlat,
];

fn def(format: Format, preset: bool) -> TableDef {
    let mut def = table();
    def.sources[0].format = format;
    if preset {
        def.sources[0].version = VersionFrom::Position;
        def.sources[0].event_id = Some(Path::parse("@source.id"));
        def.fields[0].path = Path::parse("@header.h");
    }
    def
}

/// A schema under every id below 128; of the others nothing is known.
struct All(Arc<WriterSchema>);

impl All {
    /// Every kind of type, recursion included.
    fn new() -> Self {
        let fields = json!([
            {"name": "sku", "type": "string"}, {"name": "v", "type": "long"}, {"name": "id", "type": ["null", "string"]},
            {"name": "bool", "type": ["null", "boolean"]}, {"name": "float", "type": "double"},
            {"name": "date", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "json", "type": ["null", {"type": "map", "values": {"type": "array", "items": ["null", "int", "bytes"]}}]},
            {"name": "dec", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
            {"name": "fix", "type": ["null", {"type": "fixed", "name": "F", "size": 3}]},
            {"name": "enum", "type": ["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}]},
            {"name": "op", "type": ["null", "string"]}, {"name": "after", "type": ["null", "R"]},
        ]);
        let schema = json!({"type": "record", "name": "R", "fields": fields}).to_string();
        Self(Arc::new(WriterSchema::parse(&schema, &[]).unwrap_or_else(|e| panic!("{e:?}"))))
    }
}

impl Schemas for All {
    fn schema(&self, id: u32) -> Lookup {
        if id < 128 { Lookup::Known(self.0.clone()) } else { Lookup::Missing }
    }
}

/// Decodes under every format, twice.
fn decode_all(key: Option<&[u8]>, payload: &[u8], schemas: &All) -> Vec<Result<Decoded, Reject>> {
    let headers = vec![("h".to_owned(), payload.to_vec())];
    let raw = RawEvent { key, payload: Some(payload), timestamp_ms: 7, partition: 3, headers: &headers };
    let once = |(format, preset)| {
        let def = def(format, preset);
        let decoder = Decoder::new(&def, 0);
        let decoded = decoder.decode(&def, &raw, schemas);
        assert_eq!(decoded, decoder.decode(&def, &raw, schemas), "{format:?} {payload:?}");
        decoded
    };
    FORMATS.into_iter().flat_map(|format| [(format, false), (format, true)]).map(once).collect()
}

/// A message that an Avro decoder takes: the fields of the schema in their order.
fn avro_message() -> Vec<u8> {
    let mut message = vec![0, 0, 0, 0, 1];
    message.extend_from_slice(&[6, b'k', b'-', b'1', 10, 2, 2, b'7', 2, 1]);
    message.extend_from_slice(&0.5_f64.to_le_bytes());
    // A time; a map of one array of null, 1 and a byte; 0.05; three bytes; B; no op; nothing after.
    message.extend_from_slice(&[0x80, 0x7d, 2, 2, 2, b'm', 6, 0, 2, 2, 4, 2, 9, 0, 0, 2, 2, 5, 2, 1, 2, 3, 2, 2, 0, 0]);
    message
}

fn json_messages() -> [Vec<u8>; 3] {
    let row = json!({"sku": "k-1", "v": 1, "w": 2, "id": "7", "int": 3, "json": {"a": [1, {"b": null}]}});
    let source = json!({"ts_ms": 5, "lsn": 6, "file": "bin.000001", "pos": 4, "id": "7"});
    let change = json!({"op": "u", "before": null, "after": row, "source": source, "ts_ms": 8});
    let wrapped = json!({"schema": {"type": "struct"}, "payload": change});
    [row.to_string().into_bytes(), change.to_string().into_bytes(), wrapped.to_string().into_bytes()]
}

#[test]
fn the_valid_messages_are_events() {
    let schemas = All::new();
    let events = |payload: &[u8], format: usize| {
        matches!(decode_all(None, payload, &schemas)[2 * format], Ok(Decoded::Event(_)))
    };
    let [row, change, wrapped] = json_messages();
    assert!(events(&row, 0) && events(&change, 3) && events(&wrapped, 3));
    let avro = decode_all(None, &avro_message(), &schemas).swap_remove(4);
    // The version of the table has a second part that the schema lacks: everything before was read.
    assert!(matches!(&avro, Err(reject) if reject.path == "w"), "{avro:?}");
}

#[test]
fn any_bytes_are_decoded_or_refused_by_every_decoder() {
    let schemas = All::new();
    let damage = prop::collection::vec((any::<u16>(), any::<u8>(), 0..3_u8), 0..6);
    check(1, &(0..4_usize, damage, any::<Vec<u8>>(), any::<bool>()), |(which, damage, noise, framed)| {
        let [row, change, wrapped] = json_messages();
        let mut payload = [row, change, wrapped, avro_message()][which].clone();
        for (at, byte, how) in damage {
            let at = usize::from(at) % payload.len().max(1);
            match how {
                0 if !payload.is_empty() => payload[at] = byte,
                1 => payload.truncate(at),
                _ => payload.insert(at.min(payload.len()), byte),
            }
        }
        decode_all(Some(&noise), &payload, &schemas);
        let noise = if framed { [&[0, 0, 0, 0, 1][..], &noise].concat() } else { noise };
        decode_all(None, &noise, &schemas);
        Ok(())
    });
}
