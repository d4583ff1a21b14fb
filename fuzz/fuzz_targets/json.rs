//! Any bytes are decoded or refused by every decoder of JSON.
#![no_main]

use keld_fuzz::{decode, record::Format};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    for format in [Format::Json, Format::DebeziumJson, Format::DebeziumJsonFlat] {
        decode(format, payload, &());
    }
    decode(Format::JsonSchema, &[&[0, 0, 0, 0, 2], payload].concat(), &());
});
