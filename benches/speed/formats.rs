//! Each format: the same events of the catalog workload in another form.

use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use keld::record::decode::{Lookup, Schemas, WriterSchema};
use keld::record::{Encoding, Format, Shape, TableDef};
use serde_json::{Value, json};

use super::measure::{Message, Rates, measure};
use super::workload;

/// What stands before a message that a registry knows the schema of: the schema's id is 1.
const PREFIX: [u8; 5] = [0, 0, 0, 0, 1];

/// A format.
pub(crate) struct Case {
    /// As it is written in a configuration.
    pub(crate) name: &'static str,
    format: Format,
}

/// All of them.
pub(crate) fn all() -> Vec<Case> {
    use Format::*;
    let all = [Json, JsonSchema, Avro, DebeziumJson, DebeziumJsonFlat, DebeziumAvro, DebeziumAvroFlat];
    all.into_iter().map(|format| Case { name: keld::config::format_word(format), format }).collect()
}

/// The one schema of a case, under id 1.
struct One(Option<Arc<WriterSchema>>);

impl Schemas for One {
    fn schema(&self, _: u32) -> Lookup {
        self.0.clone().map_or(Lookup::Missing, Lookup::Known)
    }
}

impl Case {
    /// Measures the first `count` upserts of the workload in this format.
    pub(crate) fn measured(&self, events: &[Message], count: usize) -> Rates {
        let mut def: TableDef = workload::table();
        def.sources.iter_mut().for_each(|source| source.format = self.format);
        let text = self.schema().to_string();
        let schema = Schema::parse_str(&text).expect("a schema");
        let parsed = WriterSchema::parse(&text, &[]).expect("a schema");
        let upsert = |m: &&Message| !m.payload.windows(9).any(|w| w == b"\"deleted\"");
        let messages: Vec<Message> = events.iter().filter(upsert).take(count).map(|m| self.told(m, &schema)).collect();
        measure(&def, &One(Some(Arc::new(parsed))), messages.iter())
    }

    fn told(&self, m: &Message, schema: &Schema) -> Message {
        let row: Value = serde_json::from_slice(&m.payload).expect("JSON");
        let body = match self.format.shape() {
            Shape::Plain => row,
            Shape::Envelope => json!({"before": null, "after": row, "source": source(), "op": "u", "ts_ms": 1}),
            Shape::Flat => {
                let mut row = row;
                row["__op"] = "u".into();
                row["__deleted"] = "false".into();
                row
            }
        };
        let payload = match self.format.encoding() {
            Encoding::Json if self.format == Format::Json => m.payload.clone(),
            Encoding::Json => body.to_string().into_bytes(),
            Encoding::JsonSchema => [&PREFIX[..], &m.payload].concat(),
            Encoding::Avro => {
                let datum = avro(&body, &self.schema());
                let writer = GenericDatumWriter::builder(schema).build().expect("a writer");
                [PREFIX.to_vec(), writer.write_value_to_vec(datum).expect("Avro")].concat()
            }
        };
        Message { source: m.source, key: m.key.clone(), payload }
    }

    fn schema(&self) -> Value {
        let optional = |name: &str, kind: &str| json!({"name": name, "type": ["null", kind], "default": null});
        let mut fields = vec![
            json!({"name": "event_id", "type": "string"}),
            json!({"name": "sku", "type": "string"}),
            json!({"name": "ts", "type": "long"}),
        ];
        let texts = ["title", "brand", "category", "description", "currency", "warehouse"];
        fields.extend(texts.map(|name| optional(name, "string")));
        fields.extend([optional("price", "double"), optional("list_price", "double"), optional("promo", "boolean")]);
        fields.extend([optional("qty", "long"), optional("sold_delta", "long")]);
        let record = |name: &str, fields: Vec<Value>| json!({"type": "record", "name": name, "fields": fields});
        match self.format.shape() {
            Shape::Plain => record("Row", fields),
            Shape::Flat => {
                fields.extend([optional("__op", "string"), optional("__deleted", "string")]);
                record("Row", fields)
            }
            Shape::Envelope => {
                let source = record("Source", vec![optional("ts_ms", "long"), optional("lsn", "long")]);
                let around = vec![
                    json!({"name": "before", "type": ["null", record("Row", fields)]}),
                    json!({"name": "after", "type": ["null", "Row"]}),
                    json!({"name": "source", "type": source}),
                    optional("op", "string"),
                    optional("ts_ms", "long"),
                ];
                record("Envelope", around)
            }
        }
    }
}

fn source() -> Value {
    json!({"ts_ms": 1_700_000_000_000_i64, "lsn": 7})
}

/// A body as its schema has it.
fn avro(body: &Value, schema: &Value) -> Avro {
    if let Value::Array(union) = schema {
        let at = union.iter().position(|s| (s == "null") == body.is_null()).expect("a branch");
        return Avro::Union(u32::try_from(at).expect("few branches"), Box::new(avro(body, &union[at])));
    }
    match body {
        Value::Null => Avro::Null,
        Value::Bool(b) => Avro::Boolean(*b),
        Value::String(text) => Avro::String(text.clone()),
        Value::Number(n) if schema == "double" => Avro::Double(n.as_f64().expect("a number")),
        Value::Number(n) => Avro::Long(n.as_i64().expect("an integer")),
        Value::Object(members) => {
            // A row that is named, not spelled out, has the schema that `before` spells.
            let fields = schema["fields"].as_array().cloned().unwrap_or_else(row_fields);
            let field = |field: &Value| {
                let name = field["name"].as_str().expect("a name").to_owned();
                let value = avro(members.get(&name).unwrap_or(&Value::Null), &field["type"]);
                (name, value)
            };
            Avro::Record(fields.iter().map(field).collect())
        }
        Value::Array(_) => panic!("no arrays in this workload"),
    }
}

fn row_fields() -> Vec<Value> {
    let row = Case { name: "", format: Format::Avro }.schema();
    row["fields"].as_array().cloned().expect("fields")
}
