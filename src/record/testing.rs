//! What the tests of this folder share: small tables and events in a few words.

use super::definition::name_id;
use super::*;

pub(super) const DAY_MS: i64 = 86_400_000;

/// A table over the sources `a` (rank 10, times) and `b` (rank 20, times), key from `sku`.
pub(super) fn table(fields: &[(&str, FieldType, Strategy)]) -> TableDef {
    let mut fields: Vec<FieldDef> = fields.iter().map(|(name, kind, merge)| field(name, *kind, *merge)).collect();
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    TableDef {
        name: "things".into(),
        key: KeyFrom::Path(Path::parse("sku")),
        dynamic: Dynamic::Store,
        window: Window { events: 64, time_ms: DAY_MS },
        retention: Retention::default(),
        partitioner: Partitioner::Murmur2,
        sources: vec![source("a", 10), source("b", 20)],
        fields,
        derived: Vec::new(),
        repartition: false,
        max_depth: 32,
    }
}

pub(super) fn field(name: &str, kind: FieldType, merge: Strategy) -> FieldDef {
    FieldDef {
        name: name.into(),
        id: name_id(name),
        kind,
        merge,
        path: Path::parse(name),
        limit: 1000,
        index: true,
        facet: false,
        sort: false,
        analysis: Analysis::default(),
        variants: Vec::new(),
    }
}

fn source(name: &str, rank: i32) -> SourceDef {
    SourceDef {
        name: name.into(),
        id: name_id(name),
        topic: name.into(),
        format: Format::Json,
        version: VersionFrom::Paths(vec![Path::parse("ts")]),
        event_id: Some(Path::parse("id")),
        rank,
        delete: Some(DeleteRule { field: Path::parse("deleted"), equals: Value::Bool(true) }),
        absent: Absent::Keep,
        sentinels: Vec::new(),
        tombstones: Tombstones::Delete,
        max_ahead_ms: Some(DAY_MS),
    }
}

pub(super) fn text(s: &str) -> Value {
    Value::Str(s.into())
}

/// An event of source number `source` whose id is its `id`; names that no field has are dynamic members.
pub(super) fn upsert(def: &TableDef, source: usize, version: i64, id: u64, values: &[(&str, Value)]) -> Event {
    let mut declared = Vec::new();
    let mut dynamic = Vec::new();
    for (name, value) in values {
        match def.fields.iter().position(|f| f.name == *name) {
            Some(at) => declared.push((at, value.clone())),
            None => dynamic.push(((*name).to_owned(), value.clone())),
        }
    }
    declared.sort_by_key(|(at, _)| *at);
    dynamic.sort_by(|a, b| a.0.cmp(&b.0));
    event(def, source, version, Some(id), EventKind::Upsert { declared, dynamic })
}

pub(super) fn delete(def: &TableDef, source: usize, version: i64) -> Event {
    event(def, source, version, None, EventKind::Delete)
}

fn event(def: &TableDef, source: usize, version: i64, id: Option<u64>, kind: EventKind) -> Event {
    let source = &def.sources[source];
    let stamp = Stamp { version: Version::single(version), rank: source.rank };
    Event { key: b"k".to_vec(), stamp, source: source.id, id, kind }
}

/// Merges in order; the outcomes.
pub(super) fn feed(def: &TableDef, record: &mut Record, events: &[Event]) -> Vec<Outcome> {
    events.iter().map(|event| merge(def, record, event).outcome).collect()
}

/// The record after these events.
pub(super) fn after(def: &TableDef, events: &[Event]) -> Record {
    let mut record = Record::default();
    feed(def, &mut record, events);
    record
}

/// What a client sees, without the key; `null` if the record is absent.
pub(super) fn shown(def: &TableDef, record: &Record) -> serde_json::Value {
    match render::json(def, b"k", record, None) {
        Some(mut members) => {
            assert_eq!(members.remove("sku"), Some("k".into()));
            assert!(record.is_visible());
            serde_json::Value::Object(members)
        }
        None => {
            assert!(!record.is_visible());
            serde_json::Value::Null
        }
    }
}

/// Stored bytes; checks on the way that they read back.
pub(super) fn bytes(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    codec::encode(record, &mut out);
    assert_eq!(&codec::decode(&out).unwrap(), record);
    out
}

/// Every order of `events`.
pub(super) fn permutations(events: &[Event]) -> Vec<Vec<Event>> {
    if events.len() < 2 {
        return vec![events.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..events.len() {
        let mut rest = events.to_vec();
        let first = rest.remove(at);
        for mut order in permutations(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

/// Asserts that every order of `events`, whole and with everything twice, gives the same bytes; returns the record.
pub(super) fn in_any_order(def: &TableDef, events: &[Event]) -> Record {
    let record = after(def, events);
    for mut order in permutations(events) {
        assert_eq!(bytes(&after(def, &order)), bytes(&record), "{order:?}");
        order.extend_from_slice(events);
        assert_eq!(bytes(&after(def, &order)), bytes(&record), "again: {order:?}");
    }
    record
}
