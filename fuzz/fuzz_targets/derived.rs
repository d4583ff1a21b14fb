//! Any text is an expression or refused, and an expression can be evaluated over any record. A line break ends it; lines that follow
//! are events.
#![no_main]

use keld_fuzz::record::derived::{self, Derived, Expression};
use keld_fuzz::record::{FieldType, Format, Record, merge};
use keld_fuzz::{decode, everything};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|b| *b == b'\n');
    let Ok(text) = std::str::from_utf8(lines.next().unwrap_or_default()) else { return };
    let mut def = everything(Format::Json);
    let mut record = Record::default();
    for event in lines.take(4).flat_map(|line| decode(Format::Json, line, &())) {
        merge(&def, &mut record, &event);
    }
    let fields: Vec<_> = def.fields.iter().collect();
    let kinds =
        [FieldType::Text, FieldType::Integer, FieldType::Float, FieldType::Boolean, FieldType::Date, FieldType::Json];
    let compile = |kind| {
        let expression = Expression::compile(text, kind, &def.key, &fields).ok()?;
        let mut field = def.derived[0].field.clone();
        field.kind = kind;
        Some(Derived { field, expression })
    };
    def.derived = kinds.into_iter().filter_map(compile).collect();
    let first = derived::values(&def, b"k-1", &record, |_| true);
    assert_eq!(first, derived::values(&def, b"k-1", &record, |_| true), "the same each time");
});
