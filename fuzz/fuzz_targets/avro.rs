//! Any bytes are decoded or refused by every decoder of Avro.
#![no_main]

use std::sync::LazyLock;

use keld_fuzz::{All, decode, record::Format};
use libfuzzer_sys::fuzz_target;

static SCHEMAS: LazyLock<All> = LazyLock::new(All::new);

fuzz_target!(|payload: &[u8]| {
    for format in [Format::Avro, Format::DebeziumAvro, Format::DebeziumAvroFlat] {
        decode(format, payload, &*SCHEMAS);
    }
});
