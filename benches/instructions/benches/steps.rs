//! `make instructions`: instructions that the steps of an event's way take, counted by callgrind.
//!
//! A count does not depend on how busy the machine is: it is compared from commit to commit, times are not.
//! `benches/RESULTS.md` keeps the figures.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use keld::config;
use keld::index::{Fields, IndexChange, document_of};
use keld::record::decode::{Decoder, RawEvent};
use keld::record::{Event, Record, TableDef, codec, merge};
use keld::store::{SharedMemory, Store, StoreBatch};

const KEY: &str = "sku-00074606";
const WORDS: &str =
    "warranty forest workshop made matte for river hand for recycled use edition limited made made easy use";

/// The table of the reference workload.
fn table() -> TableDef {
    let text = include_str!("../../../config/catalog.toml");
    let settings = config::from_text("catalog.toml", text, &[], &[]).expect("the configuration is right");
    TableDef::clone(&settings.tables[0])
}

/// Event number `n` of one of the three sources.
fn message(n: u64) -> (usize, String) {
    let (id, at) = (format!("e-1-{n:09}"), 1_700_000_000_000 + n * 7);
    let common = format!(r#"{{"event_id":"{id}","sku":"{KEY}","ts":{at}"#);
    match n % 3 {
        0 => (
            0,
            format!(
                r#"{common},"title":"brushed compact desk {n}","brand":"brand-389","category":"light","description":"{WORDS}"}}"#
            ),
        ),
        1 => (1, format!(r#"{common},"price":{n}.25,"list_price":{n}.5,"currency":"EUR","promo":true}}"#)),
        _ => (2, format!(r#"{common},"qty":{n},"warehouse":"north","sold_delta":1}}"#)),
    }
}

struct Source {
    def: TableDef,
    decoders: Vec<Decoder>,
}

impl Source {
    fn new() -> Self {
        let def = table();
        let number = |name: &str| def.sources.iter().position(|s| s.name == name).expect("a source of the table");
        let decoders = ["catalog", "pricing", "stock"].map(|name| Decoder::new(&def, number(name))).into();
        Self { def, decoders }
    }

    fn decode(&self, source: usize, text: &str) -> Event {
        let raw =
            RawEvent { key: Some(KEY.as_bytes()), payload: Some(text.as_bytes()), timestamp_ms: 1_700_000_000_000 };
        self.decoders[source].decode(&self.def, &raw).expect("a good event")
    }

    /// A record with a history of so many events.
    fn record(&self, events: u64) -> Record {
        let mut record = Record::default();
        for n in 0..events {
            let (source, text) = message(n);
            merge(&self.def, &mut record, &self.decode(source, &text));
        }
        record
    }

    fn stored(&self) -> Vec<u8> {
        let mut out = Vec::new();
        codec::encode(&self.record(60), &mut out);
        out
    }
}

fn to_decode() -> (Source, usize, String) {
    let (source, text) = message(90);
    (Source::new(), source, text)
}

#[library_benchmark]
#[bench::catalog(to_decode())]
fn decode((source, number, text): (Source, usize, String)) -> (Source, Event) {
    let event = source.decode(number, black_box(&text));
    (source, event)
}

fn to_merge() -> (Source, Record, Event) {
    let source = Source::new();
    let (number, text) = message(60);
    let event = source.decode(number, &text);
    let record = source.record(60);
    (source, record, event)
}

#[library_benchmark]
#[bench::newest_of_61(to_merge())]
fn merge_one((source, mut record, event): (Source, Record, Event)) -> (Source, Record, Event) {
    merge(&source.def, black_box(&mut record), &event);
    (source, record, event)
}

fn to_encode() -> (Record, Vec<u8>) {
    (Source::new().record(60), Vec::with_capacity(8_192))
}

#[library_benchmark]
#[bench::of_60_events(to_encode())]
fn encode((record, mut out): (Record, Vec<u8>)) -> (Record, Vec<u8>) {
    codec::encode(black_box(&record), &mut out);
    (record, out)
}

struct Filled {
    _dir: tempfile::TempDir,
    store: Store,
}

/// A store with a thousand records, all in its memtable.
fn filled() -> Filled {
    let dir = tempfile::tempdir().expect("a folder");
    let plan = config::MemoryPlan::share(256 << 20, 1, 1);
    let store = Store::open(dir.path(), &SharedMemory::new(&plan, 1).expect("memory")).expect("a store");
    let (stored, keys): (_, Vec<String>) =
        (Source::new().stored(), (0..1_000).map(|i| format!("sku-{i:08}")).collect());
    let records = keys.iter().map(|k| (k.as_bytes(), Some(stored.as_slice()))).collect();
    store.apply(&StoreBatch { records, position: None, changelog: 1 }).expect("applied");
    Filled { _dir: dir, store }
}

#[library_benchmark]
#[bench::of_1000(filled())]
fn lookup(filled: Filled) -> (Filled, Record) {
    let stored = filled.store.get(black_box(b"sku-00000500")).expect("read").expect("it is there");
    let record = codec::decode(&stored).expect("good bytes");
    (filled, record)
}

fn to_index() -> (Fields, IndexChange) {
    let source = Source::new();
    let change = IndexChange { key: KEY.as_bytes().into(), stored: Some(source.stored()), existed: true };
    (Fields::new(source.def.into()).expect("good fields"), change)
}

#[library_benchmark]
#[bench::catalog(to_index())]
fn document((fields, change): (Fields, IndexChange)) -> (Fields, IndexChange) {
    black_box(document_of(&fields, 0, black_box(&change)).expect("a document"));
    (fields, change)
}

library_benchmark_group!(name = steps, benchmarks = [decode, merge_one, encode, lookup, document]);
main!(library_benchmark_groups = steps);
