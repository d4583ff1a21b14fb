//! A table with a field of every type and strategy, a schema with every type, and the way of a message through them.

use std::sync::{Arc, LazyLock};

use crate::config;
use crate::record::decode::{Decoded, Decoder, Lookup, RawEvent, Schemas, WriterSchema};
use crate::record::{Event, Format, Record, Reject, TableDef, codec};

const CONFIG: &str = r#"application = "fuzz"
[schema_registry]
url = "http://127.0.0.1:1"
[tables.t]
key = "k"
dynamic = "index"
window = { events = 4, time = "1h" }
max_depth = 16
[tables.t.sources.a]
topic = "a"
version = ["v", "w"]
event_id = "id"
rank = 2
delete = { field = "deleted", equals = true }
sentinels = ["__none"]
[tables.t.sources.b]
topic = "b"
version = "v"
event_id = "id"
rank = 1
absent = "clear"
[tables.t.fields]
text = { type = "text" }
word = { type = "keyword", path = "o.word" }
int = { type = "integer" }
float = { type = "float" }
bool = { type = "boolean" }
date = { type = "date" }
json = { type = "json" }
map = { type = "json", merge = "map", limit = 3 }
set = { type = "keyword", merge = "set", limit = 3 }
max = { type = "date", merge = "max" }
min = { type = "keyword", merge = "min" }
first = { type = "json", merge = "first" }
sum = { type = "integer", merge = "sum" }
total = { type = "float", merge = "sum" }
count = { type = "integer", merge = "count" }
append = { type = "float", merge = "append", limit = 3 }
header = { type = "keyword", path = "@header.h" }
[tables.t.derived]
both = { type = "text", expr = "text + ' ' + word" }
ratio = { type = "float", expr = "float / total" }
"#;

/// The table, its sources in this format.
pub fn everything(format: Format) -> TableDef {
    static PARSED: LazyLock<Arc<TableDef>> = LazyLock::new(|| {
        let settings = config::from_text("fuzz.toml", CONFIG, &[], &[]).unwrap_or_else(|e| panic!("{e}"));
        settings.tables[0].clone()
    });
    let mut def = TableDef::clone(&PARSED);
    def.sources.iter_mut().for_each(|source| source.format = format);
    def
}

/// A schema with every type under every even id; of the odd ones nothing is known.
pub struct All(Arc<WriterSchema>);

impl All {
    /// The schema.
    pub fn new() -> Self {
        let text = r#"{"type": "record", "name": "R", "fields": [
            {"name": "k", "type": "string"}, {"name": "v", "type": "long"}, {"name": "w", "type": ["null", "int"]},
            {"name": "id", "type": ["null", "string", "long"]}, {"name": "bool", "type": ["null", "boolean"]},
            {"name": "float", "type": "double"}, {"name": "total", "type": "float"},
            {"name": "date", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "max", "type": {"type": "int", "logicalType": "date"}},
            {"name": "map", "type": ["null", {"type": "map", "values": {"type": "array", "items": ["null", "int", "bytes"]}}]},
            {"name": "int", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2}]},
            {"name": "json", "type": ["null", {"type": "fixed", "name": "F", "size": 3}, "R"]},
            {"name": "min", "type": ["null", {"type": "enum", "name": "E", "symbols": ["A", "B"]}]},
            {"name": "first", "type": ["null", {"type": "string", "logicalType": "uuid"}]},
            {"name": "op", "type": ["null", "string"]}, {"name": "after", "type": ["null", "R"]},
            {"name": "before", "type": ["null", "R"]}, {"name": "__deleted", "type": ["null", "string"]}]}"#;
        Self(Arc::new(WriterSchema::parse(text, &[]).unwrap_or_else(|e| panic!("{e:?}"))))
    }

    /// Another schema in its place.
    pub fn of(schema: WriterSchema) -> Self {
        Self(Arc::new(schema))
    }
}

impl Default for All {
    fn default() -> Self {
        Self::new()
    }
}

impl Schemas for All {
    fn schema(&self, id: u32) -> Lookup {
        if id % 2 == 0 { Lookup::Known(self.0.clone()) } else { Lookup::Missing }
    }
}

/// A message with this payload.
pub fn raw<'a>(payload: &'a [u8], headers: &'a Vec<(String, Vec<u8>)>) -> RawEvent<'a> {
    RawEvent { key: Some(b"k-1"), payload: Some(payload), timestamp_ms: 1_700_000_000_000, partition: 3, headers }
}

/// Decodes a payload as a message of both sources, twice: it ends, and says the same each time.
pub fn decode(format: Format, payload: &[u8], schemas: &dyn Schemas) -> Vec<Event> {
    let def = everything(format);
    let headers = vec![("h".to_owned(), payload.to_vec())];
    let once = |source| -> Option<Event> {
        let decoder = Decoder::new(&def, source);
        let told: Result<Decoded, Reject> = decoder.decode(&def, &raw(payload, &headers), schemas);
        assert_eq!(told, decoder.decode(&def, &raw(payload, &headers), schemas));
        told.ok()?.event()
    };
    (0..def.sources.len()).filter_map(once).collect()
}

/// The stored bytes of a record, which must read back as it.
pub fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(record, &mut bytes);
    assert_eq!(&codec::decode(&bytes).unwrap_or_else(|e| panic!("{e}")), record);
    bytes
}
