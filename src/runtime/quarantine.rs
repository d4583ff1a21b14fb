//! The quarantine record of an event that was set aside: its message whole (or cut, with its hash), and why it stands there.

use std::sync::Arc;

use crate::task::batch::Quarantine;
use crate::broker::NewRecord;
use crate::config::QuarantineSettings;
use crate::record::TableDef;

/// Builds the record for `partitions` of the quarantine topic.
pub fn record(q: Quarantine, def: &TableDef, settings: &QuarantineSettings, partitions: u32) -> NewRecord {
    let source = &def.sources[q.source];
    let reason = q.rejects.first().map_or("unknown", |r| r.reason.code());
    let error = q.rejects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let mut headers: Vec<(String, Vec<u8>)> = [
        ("reason", reason.to_owned()),
        ("error", error),
        ("table", def.name.clone()),
        ("source", source.name.clone()),
        ("topic", source.topic.clone()),
        ("partition", q.partition.to_string()),
        ("offset", q.offset.to_string()),
        ("timestamp_ms", q.timestamp_ms.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (format!("keld.{name}"), value.into_bytes()))
    .collect();
    let payload = q.payload.map(|p| cut(p, settings.max_payload, &mut headers));
    NewRecord {
        topic: Arc::from(settings.topic.as_str()),
        partition: q.partition % partitions.max(1),
        key: q.key.map(|k| cut(k, settings.max_payload / 4, &mut headers)),
        payload: Some(payload.unwrap_or_default()),
        headers,
        timestamp_ms: None,
    }
}

fn cut(mut bytes: Vec<u8>, most: u64, headers: &mut Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if bytes.len() > most {
        let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
        headers.push(("keld.cut_from_bytes".to_owned(), bytes.len().to_string().into_bytes()));
        headers.push(("keld.cut_xxh3_128".to_owned(), format!("{hash:032x}").into_bytes()));
        bytes.truncate(most);
    }
    bytes
}
