//! The catalog workload, whole, through the table that is configured for it.

use std::path::Path;

use keld::config;
use keld::record::TableDef;

use super::measure::{Message, Rates, measure};

/// The table of the workload.
pub(crate) fn table() -> TableDef {
    let text = include_str!("../../config/catalog.toml");
    let settings = config::from_text("catalog.toml", text, &[], &[]).expect("the configuration is right");
    TableDef::clone(&settings.tables[0])
}

/// Every delivery, in its order.
pub(crate) fn read(path: &Path) -> Vec<Message> {
    let def = table();
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let message = |line: &str| {
        let mut parts = line.splitn(3, '\t');
        let mut part = || parts.next().unwrap_or_else(|| panic!("no event: {line}"));
        let (topic, key, payload) = (part(), part().to_owned(), part().as_bytes().to_vec());
        let source = def.sources.iter().position(|s| s.topic == topic).unwrap_or_else(|| panic!("no topic {topic}"));
        Message { source, key, payload }
    };
    text.lines().map(message).collect()
}

/// All of it.
pub(crate) fn measured(events: &[Message]) -> Rates {
    measure(&table(), &(), events.iter())
}
