//! `make instructions`: instructions that the steps of an event's way take, counted by callgrind (`scripts/instructions`).
//!
//! A count does not depend on how busy the machine is: it is compared from commit to commit, times are not.
//! `benches/RESULTS.md` keeps the figures. Run without callgrind a step is only executed.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark: it prints, and stops where its own data is wrong"
)]

use std::hint::black_box;

use clap::{Parser, ValueEnum};
use keld::config;
use keld::index::{Fields, IndexChange, document_of};
use keld::record::decode::{Decoded, Decoder, RawEvent};
use keld::record::{Event, Record, Shown, TableDef, codec, merge};
use keld::store::{SharedMemory, Store, StoreBatch};

const KEY: &str = "sku-00074606";
const WORDS: &str =
    "warranty forest workshop made matte for river hand for recycled use edition limited made made easy use";
/// How often a step is done while instructions are counted: what happens once hardly shows.
const TIMES: usize = 1_000;
/// Events that have made the record that is merged into, encoded and shown.
const HISTORY: u64 = 60;

#[derive(Parser)]
struct Options {
    /// The step to do; without one their names are listed.
    step: Option<Step>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Step {
    /// A message becomes an event.
    Decode,
    /// An event is merged into a record.
    Merge,
    /// A record becomes its stored bytes.
    Encode,
    /// A key is looked up in the store, and its bytes become a record.
    Lookup,
    /// A record becomes the JSON of an answer.
    Show,
    /// A change becomes a search document.
    Document,
}

fn main() {
    let Some(step) = Options::parse().step else {
        for step in Step::value_variants() {
            println!("{}", step.to_possible_value().expect("a step that is not hidden").get_name());
        }
        return;
    };
    match step {
        Step::Decode => decode(),
        Step::Merge => merge_one(),
        Step::Encode => encode(),
        Step::Lookup => lookup(),
        Step::Show => show(),
        Step::Document => document(),
    }
    println!("{TIMES}");
}

/// What is counted. Not inlined, for callgrind finds it by its name.
#[inline(never)]
fn counted(mut step: impl FnMut(usize)) {
    (0..TIMES).for_each(&mut step);
}

/// The table of the reference workload.
fn table() -> TableDef {
    let text = include_str!("../config/catalog.toml");
    let settings = config::from_text("catalog.toml", text, &[], &[]).expect("the configuration is right");
    TableDef::clone(&settings.tables[0])
}

/// Event number `n`, of one of the three sources.
fn message(n: u64) -> (usize, String) {
    let (id, at) = (format!("e-1-{n:09}"), 1_700_000_000_000 + n * 7);
    let common = format!(r#"{{"event_id":"{id}","sku":"{KEY}","ts":{at}"#);
    let catalog = r#""brand":"brand-389","category":"light""#;
    match n % 3 {
        0 => (0, format!(r#"{common},"title":"brushed compact desk {n}",{catalog},"description":"{WORDS}"}}"#)),
        1 => (1, format!(r#"{common},"price":{n}.25,"list_price":{n}.5,"currency":"EUR","promo":true}}"#)),
        _ => (2, format!(r#"{common},"qty":{n},"warehouse":"north","sold_delta":1}}"#)),
    }
}

struct Catalog {
    def: TableDef,
    decoders: Vec<Decoder>,
}

impl Catalog {
    fn new() -> Self {
        let def = table();
        let number = |name: &str| def.sources.iter().position(|s| s.name == name).expect("a source of the table");
        let decoders = ["catalog", "pricing", "stock"].map(|name| Decoder::new(&def, number(name))).into();
        Self { def, decoders }
    }

    fn decode(&self, source: usize, text: &str) -> Event {
        let (key, payload) = (Some(KEY.as_bytes()), Some(text.as_bytes()));
        let raw = RawEvent { key, payload, timestamp_ms: 1_700_000_000_000, ..RawEvent::default() };
        match self.decoders[source].decode(&self.def, &raw, &()) {
            Ok(Decoded::Event(event)) => event,
            other => panic!("a good event, not {other:?}"),
        }
    }

    fn event(&self, n: u64) -> Event {
        let (source, text) = message(n);
        self.decode(source, &text)
    }

    fn record(&self) -> Record {
        let mut record = Record::default();
        for n in 0..HISTORY {
            merge(&self.def, &mut record, &self.event(n));
        }
        record
    }

    fn stored(&self) -> Vec<u8> {
        let mut out = Vec::new();
        codec::encode(&self.record(), &mut out);
        out
    }
}

fn decode() {
    let catalog = Catalog::new();
    let messages: Vec<_> = (0..TIMES as u64).map(message).collect();
    counted(|i| {
        black_box(catalog.decode(messages[i].0, black_box(&messages[i].1)));
    });
}

fn merge_one() {
    let catalog = Catalog::new();
    let events: Vec<Event> = (0..TIMES as u64).map(|n| catalog.event(HISTORY + n)).collect();
    let mut record = catalog.record();
    counted(|i| {
        black_box(merge(&catalog.def, black_box(&mut record), &events[i]));
    });
}

fn encode() {
    let record = Catalog::new().record();
    let mut out = Vec::with_capacity(8_192);
    counted(|_| {
        out.clear();
        codec::encode(black_box(&record), &mut out);
    });
}

fn lookup() {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = config::MemoryPlan::share(256 << 20, 1, 1);
    let store = Store::open(dir.path(), &SharedMemory::new(&plan, 1).expect("memory")).expect("a store");
    let stored = Catalog::new().stored();
    let keys: Vec<String> = (0..TIMES).map(|i| format!("sku-{i:08}")).collect();
    let records = keys.iter().map(|k| (k.as_bytes(), Some(stored.as_slice()))).collect();
    store.apply(&StoreBatch { records, position: None, changelog: 1 }).expect("applied");
    counted(|i| {
        let found = store.get(black_box(keys[i].as_bytes())).expect("read").expect("it is there");
        black_box(codec::decode(&found).expect("good bytes"));
    });
}

fn show() {
    let catalog = Catalog::new();
    let record = catalog.record();
    counted(|_| {
        let shown = Shown::of(&catalog.def, KEY.as_bytes(), black_box(&record), None);
        black_box(serde_json::to_vec(&shown).expect("JSON"));
    });
}

fn document() {
    let catalog = Catalog::new();
    let change = IndexChange { key: KEY.as_bytes().into(), stored: Some(catalog.stored().into()), existed: true };
    let fields = Fields::new(catalog.def.into()).expect("good fields");
    counted(|_| {
        black_box(document_of(&fields, 0, black_box(&change), &mut |_, _| {}).expect("a document"));
    });
}
