//! Any bytes are a stored record or refused; a record that was read is written and read back as it is.
#![no_main]

use keld_fuzz::record::{Format, codec, explain::explain, render};
use keld_fuzz::{encoded, everything};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = codec::decode(bytes) else { return };
    // Not always in the same bytes: a reader takes numbers in longer forms and stamps that nothing uses, which no writer writes.
    encoded(&record);
    // Whatever is stored can be shown and explained under a definition that knows its fields or not.
    let def = everything(Format::Json);
    let _ = render::json(&def, b"k-1", &record, None);
    let _ = explain(&def, b"k-1", &record);
});
