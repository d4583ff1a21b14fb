//! A small table and records for the tests of index and query.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use super::{IndexBatch, IndexChange, IndexOptions, TableIndex};
use crate::metrics::Metrics;
use crate::record::codec;
use crate::record::{
    Absent, Analysis, Dynamic, Event, EventKind, FieldDef, FieldType, Format, KeyFrom, Partitioner, Path, Record,
    Retention, SourceDef, Stamp, Strategy, TableDef, Tombstones, Value, Version, VersionFrom, Window, definition,
    merge,
};

/// A declared field that is last-writer-wins.
pub(crate) fn field(name: &str, kind: FieldType) -> FieldDef {
    FieldDef {
        name: name.to_owned(),
        id: definition::name_id(name),
        kind,
        merge: Strategy::Lww,
        path: Path::parse(name),
        limit: 1000,
        index: true,
        facet: false,
        sort: false,
        analysis: Analysis::default(),
        variants: Vec::new(),
    }
}

fn source() -> SourceDef {
    SourceDef {
        name: "events".to_owned(),
        id: definition::name_id("events"),
        topic: "events".to_owned(),
        format: Format::Json,
        version: VersionFrom::Timestamp,
        event_id: None,
        rank: 0,
        delete: None,
        absent: Absent::Keep,
        sentinels: Vec::new(),
        tombstones: Tombstones::Delete,
        max_ahead_ms: None,
    }
}

/// A table with one field of each type: at, attrs, brand, live, name (sortable text), price, sold, tags, title.
pub(crate) fn def() -> TableDef {
    let mut name = field("name", FieldType::Text);
    name.sort = true;
    let mut fields = vec![
        field("at", FieldType::Date),
        field("attrs", FieldType::Json),
        field("brand", FieldType::Keyword),
        field("live", FieldType::Boolean),
        name,
        field("price", FieldType::Float),
        field("sold", FieldType::Integer),
        field("tags", FieldType::Keyword),
        field("title", FieldType::Text),
    ];
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    for field in &mut fields {
        field.facet = !matches!(field.kind, FieldType::Text | FieldType::Json);
    }
    TableDef {
        name: "products".to_owned(),
        key: KeyFrom::Path(Path::parse("sku")),
        dynamic: Dynamic::Index,
        window: Window { events: 64, time_ms: 86_400_000 },
        retention: Retention::default(),
        partitioner: Partitioner::Murmur2,
        sources: vec![source()],
        fields,
        derived: Vec::new(),
        repartition: false,
        max_depth: 32,
    }
}

/// Values of declared fields by name, then of undeclared members.
pub(crate) type Members = (BTreeMap<&'static str, Value>, BTreeMap<&'static str, Value>);

/// The record of a key after one event.
pub(crate) fn record(def: &TableDef, key: &str, (declared, dynamic): &Members) -> Record {
    let position = |name: &str| def.fields.iter().position(|f| f.name == name).expect("a declared field");
    let event = Event {
        key: key.as_bytes().to_vec(),
        stamp: Stamp { version: Version::single(1), rank: 0 },
        source: definition::name_id("events"),
        id: None,
        kind: EventKind::Upsert {
            declared: declared.iter().map(|(n, v)| (position(n), v.clone())).collect(),
            dynamic: dynamic.iter().map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        },
    };
    let mut record = Record::default();
    merge(def, &mut record, &event);
    record
}

/// Text as a value.
pub(crate) fn text(s: &str) -> Value {
    Value::Str(s.into())
}

/// A record with a title only.
pub(crate) fn titled(def: &TableDef, key: &str, title: &str) -> Record {
    record(def, key, &(BTreeMap::from([("title", text(title))]), BTreeMap::new()))
}

/// One change.
pub(crate) fn change(key: &str, record: Option<Record>, existed: bool) -> IndexChange {
    let stored = record.map(|record| {
        let mut bytes = Vec::new();
        codec::encode(&record, &mut bytes);
        bytes.into()
    });
    IndexChange { key: Arc::from(key.as_bytes()), stored, existed }
}

/// A batch that takes a partition to this position.
pub(crate) fn batch(partition: u32, changelog: i64, changes: Vec<IndexChange>) -> IndexBatch {
    IndexBatch {
        partition,
        changelog,
        sources: vec![(Arc::from("events"), changelog * 10)],
        changes,
        oldest_ms: Some(0),
        behind: None,
        records: None,
    }
}

/// Options with short intervals.
pub(crate) fn options(dir: &FilePath) -> IndexOptions {
    IndexOptions {
        dir: dir.to_owned(),
        writer_memory: 15_000_000,
        queue_memory: 1 << 20,
        sets_memory: 1 << 20,
        interval: Duration::from_millis(1),
        catch_up_interval: Duration::from_millis(20),
        commit_interval: Duration::from_millis(50),
        sync_interval: Duration::from_secs(3600),
        metrics: Metrics::new().table("products", &["events".to_owned()], &["cents".to_owned()]),
    }
}

/// All keys of a partition that the index holds, sorted, repeated where there are several documents.
pub(crate) fn keys(index: &TableIndex, partition: u32) -> Vec<String> {
    let mut keys = Vec::new();
    let mut visit = |key: &[u8]| {
        keys.push(String::from_utf8(key.to_vec()).expect("a key"));
        Ok(())
    };
    index.view().document_keys(partition, &mut visit).expect("the keys");
    keys.sort();
    keys
}
