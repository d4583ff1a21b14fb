//! Any text is a schema or refused, and any message ends under any schema. A line break ends the schema.
#![no_main]

use keld_fuzz::record::decode::WriterSchema;
use keld_fuzz::{All, decode, record::Format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let (schema, message) = data.split_at(at);
    let Ok(text) = std::str::from_utf8(schema) else { return };
    let Ok(schema) = WriterSchema::parse(text, &[]) else { return };
    decode(Format::Avro, &[&[0, 0, 0, 0, 2], message].concat(), &All::of(schema));
});
