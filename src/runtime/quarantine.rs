//! The quarantine record of an event that was set aside: its message whole (or cut, with its hash), and why it stands there.

use std::sync::Arc;

use crate::broker::NewRecord;
use crate::config::QuarantineSettings;
use crate::record::TableDef;
use crate::task::batch::Quarantine;

/// Most of a message key that is kept, bytes: with payload and headers it must fit what topics take (1 MiB by default).
const MAX_KEY: u64 = 64 << 10;
/// Most of the `keld.error` header, bytes: paths and keys come from the event and may be of any length.
const MAX_ERROR: usize = 4 << 10;

/// Builds the record for `partitions` of the quarantine topic.
pub fn record(q: Quarantine, def: &TableDef, settings: &QuarantineSettings, partitions: u32) -> NewRecord {
    let source = &def.sources[q.source];
    let reason = q.rejects.first().map_or("unknown", |r| r.reason.code());
    let mut error = q.rejects.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    error.truncate(error.floor_char_boundary(MAX_ERROR));
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
    let payload = q.payload.map(|p| cut("payload", p, settings.max_payload, &mut headers));
    NewRecord {
        topic: Arc::from(settings.topic.as_str()),
        partition: q.partition % partitions.max(1),
        key: q.key.map(|k| cut("key", k, (settings.max_payload / 4).min(MAX_KEY), &mut headers)),
        payload: Some(payload.unwrap_or_default()),
        headers,
        timestamp_ms: None,
    }
}

/// Keeps the first `most` bytes; what is lost is told by the headers `keld.<what>_cut_from_bytes` and `keld.<what>_cut_xxh3_128`.
fn cut(what: &str, mut bytes: Vec<u8>, most: u64, headers: &mut Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if bytes.len() > most {
        let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
        headers.push((format!("keld.{what}_cut_from_bytes"), bytes.len().to_string().into_bytes()));
        headers.push((format!("keld.{what}_cut_xxh3_128"), format!("{hash:032x}").into_bytes()));
        bytes.truncate(most);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Reason, Reject};

    #[test]
    fn an_event_of_any_size_fits_a_message_with_its_key_and_its_reasons() {
        let (def, settings) =
            (crate::index::testing::def(), QuarantineSettings { topic: "q".into(), max_payload: 900 << 10 });
        let reject = Reject { reason: Reason::WrongPartition, path: String::new(), detail: "é".repeat(1 << 20) };
        let set_aside = Quarantine {
            source: 0,
            partition: 1,
            offset: 7,
            timestamp_ms: 9,
            rejects: vec![reject],
            key: Some(vec![b'k'; 1 << 20]),
            payload: Some(vec![b'p'; 1 << 20]),
        };
        let made = record(set_aside, &def, &settings, 4);
        let headers: usize = made.headers.iter().map(|(n, v)| n.len() + v.len()).sum();
        let size = made.key.map_or(0, |k| k.len()) + made.payload.map_or(0, |p| p.len()) + headers;
        assert!(size <= 980 << 10, "{size} bytes");
        assert_eq!(made.headers.iter().filter(|(n, _)| n.ends_with("_cut_from_bytes")).count(), 2);
    }
}
