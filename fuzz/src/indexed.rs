//! An index with some records of the table, made once.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::index::{IndexBatch, IndexChange, IndexOptions, TableIndex, View};
use crate::metrics::Metrics;
use crate::record::{Format, Record, codec, merge};
use crate::tables::{decode, everything};

const EVENTS: &[&str] = &[
    r#"{"k":"k-1","v":1,"id":"a","text":"walnut desk & kettle","o":{"word":"walnut"},"int":7,"float":1.5,"bool":true,"date":"2026-01-31T12:00:00Z","set":["a","b"],"json":{"size":{"w":3}},"sum":2,"extra":"12:30"}"#,
    r#"{"k":"k-2","v":2,"id":"b","text":"the kettle","o":{"word":"ket"},"int":-7,"float":-0.0,"bool":false,"date":0,"set":["b"],"json":["x",1],"total":4}"#,
    r#"{"k":"k-3","v":3,"id":"c","text":"kettel kettle kettles","o":{"word":""},"max":"2026-02-01T00:00:00Z","min":"m","append":2}"#,
    r#"{"k":"k-4","v":4,"id":"d"}"#,
];

/// The index as searches see it.
pub fn view() -> Arc<View> {
    static INDEX: OnceLock<Arc<TableIndex>> = OnceLock::new();
    INDEX.get_or_init(|| fill().unwrap_or_else(|e| panic!("{e}"))).view()
}

fn fill() -> crate::Result<Arc<TableIndex>> {
    let def = Arc::new(everything(Format::Json));
    let dir = std::env::temp_dir().join(format!("keld-fuzz-{}", std::process::id()));
    let derived: Vec<String> = def.derived.iter().map(|d| d.field.name.clone()).collect();
    let options = IndexOptions {
        dir: dir.clone(),
        writer_memory: 16 << 20,
        queue_memory: 1 << 20,
        interval: Duration::from_millis(1),
        catch_up_interval: Duration::from_millis(1),
        commit_interval: Duration::from_millis(10),
        sync_interval: Duration::from_secs(86_400),
        sets_memory: 1 << 20,
        metrics: Metrics::new().table("t", &["a".to_owned(), "b".to_owned()], &derived),
    };
    let (index, _) = TableIndex::open(def.clone(), options)?;
    let change = |(n, text): (usize, &&str)| {
        let mut record = Record::default();
        for event in decode(Format::Json, text.as_bytes(), &()) {
            merge(&def, &mut record, &event);
        }
        let mut stored = Vec::new();
        codec::encode(&record, &mut stored);
        IndexChange { key: format!("k-{}", n + 1).into_bytes().into(), stored: Some(stored.into()), existed: false }
    };
    let changes: Vec<IndexChange> = EVENTS.iter().enumerate().map(change).collect();
    let batch = IndexBatch {
        partition: 0,
        changelog: 1,
        sources: Vec::new(),
        changes,
        oldest_ms: None,
        behind: None,
        records: None,
    };
    index.submit_last(batch)?;
    index.flush()?;
    assert_eq!(index.view().documents(), EVENTS.len() as u64);
    // Its files stay open; nobody needs their names any more.
    let _ = std::fs::remove_dir_all(&dir);
    Ok(index)
}
