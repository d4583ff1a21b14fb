//! Each strategy alone: a table with one field, JSON events of it on a thousand keys.

use keld::config;
use keld::record::TableDef;

use super::measure::{Message, Rates, measure};

/// Keys that the events are spread over.
const KEYS: usize = 1_000;

/// A strategy.
pub(crate) struct Case {
    /// As it is written in a configuration.
    pub(crate) name: &'static str,
    kind: &'static str,
    /// The value of event number `n`, as JSON.
    value: fn(usize) -> String,
}

/// One case of each strategy.
pub(crate) fn all() -> [Case; 9] {
    let case = |name, kind, value| Case { name, kind, value };
    [
        case("lww", "keyword", |n| format!("\"value {n}\"")),
        case("map", "json", |n| format!("{{\"k{}\":{n}}}", n % 17)),
        case("set", "keyword", |n| format!("\"tag-{}\"", n * 7 % 31)),
        case("max", "integer", |n| (n * 7_919 % 10_007).to_string()),
        case("min", "integer", |n| (n * 7_919 % 10_007).to_string()),
        case("first", "keyword", |n| format!("\"value {n}\"")),
        case("sum", "integer", |n| (n % 13).to_string()),
        case("count", "integer", |n| (n % 13).to_string()),
        case("append", "keyword", |n| format!("\"value {n}\"")),
    ]
}

impl Case {
    fn table(&self) -> TableDef {
        let (name, kind) = (self.name, self.kind);
        let text = format!(
            "application = \"speed\"\n[tables.t]\nkey = \"k\"\n[tables.t.sources.s]\ntopic = \"s\"\nversion = \"v\"\n\
             event_id = \"id\"\n[tables.t.fields]\nf = {{ type = {kind:?}, merge = {name:?} }}\n"
        );
        let settings = config::from_text("speed.toml", &text, &[], &[]).expect("the configuration is right");
        TableDef::clone(&settings.tables[0])
    }

    /// Measures `count` events.
    pub(crate) fn measured(&self, count: usize) -> Rates {
        let message = |n: usize| {
            let (key, at) = (format!("key-{:04}", n * 31 % KEYS), 1_700_000_000_000 + n);
            let payload = format!(r#"{{"id":"e-{n:09}","k":"{key}","v":{at},"f":{}}}"#, (self.value)(n));
            Message { source: 0, key, payload: payload.into_bytes() }
        };
        let messages: Vec<Message> = (0..count).map(message).collect();
        measure(&self.table(), &(), messages.iter())
    }
}
