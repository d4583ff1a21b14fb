//! The demo's producers: the packed events, then a slow tail.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::broker::{Appender, Broker, NewRecord, TopicPartition};
use crate::cli::signals::Signals;
use crate::clock;
use crate::query::Table;
use crate::record::decode::{Decoder, RawEvent};
use crate::{Error, Result};

const EVENTS: &[u8] = include_bytes!("../../../config/demo/flights.ndjson.zst");
/// Events that are kept back for the live tail.
pub(super) const TAIL: usize = 4_000;
/// Events appended at a time.
const STEP: usize = 1_000;
/// Pause between events of the live tail.
const TAIL_PAUSE: Duration = Duration::from_millis(150);

#[derive(Deserialize)]
struct Line<'a> {
    topic: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// The demo's producers.
pub(super) struct Feed {
    table: Arc<Table>,
    broker: Arc<dyn Broker>,
    appender: Arc<dyn Appender>,
    decoders: Vec<Decoder>,
    records: Vec<NewRecord>,
    fed: usize,
}

impl Feed {
    /// Unpacks the events; what an earlier run fed already is not fed again.
    pub(super) fn new(table: Arc<Table>, broker: Arc<dyn Broker>, appender: Arc<dyn Appender>) -> Result<Self> {
        let damaged = |e: std::io::Error| Error::internal("the demo's data are damaged").because(e);
        let text = zstd::decode_all(EVENTS).map_err(damaged)?;
        let decoders = (0..table.def.sources.len()).map(|i| Decoder::new(&table.def, i)).collect();
        let mut feed = Self { table, broker, appender, decoders, records: Vec::new(), fed: 0 };
        for line in text.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let line: Line<'_> =
                serde_json::from_slice(line).map_err(|e| Error::internal("the demo's data are damaged").because(e))?;
            let record = feed.record(&line.topic, line.value.get().as_bytes())?;
            feed.records.push(record);
        }
        let ends = feed.partitions().map(|tp| Ok(feed.broker.watermarks(&tp)?.high)).sum::<Result<i64>>()?;
        feed.fed = usize::try_from(ends).unwrap_or(0).min(feed.records.len());
        Ok(feed)
    }

    fn record(&self, topic: &str, value: &[u8]) -> Result<NewRecord> {
        let def = &self.table.def;
        let number = def.sources.iter().position(|s| s.topic == topic);
        let number = number.ok_or_else(|| Error::internal(format!("the demo's data name a topic {topic:?}")))?;
        let raw = RawEvent { payload: Some(value), timestamp_ms: clock::now_ms(), ..RawEvent::default() };
        let key = self.decoders[number].key_of(def, &raw).map_err(|r| Error::internal(r.to_string()))?;
        let partition = def.partitioner.partition(&key, self.table.partitions).unwrap_or(0);
        let (key, payload) = (Some(key), Some(value.to_vec()));
        Ok(NewRecord { topic: topic.into(), partition, key, payload, ..NewRecord::default() })
    }

    fn partitions(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        let sources = self.table.def.sources.iter();
        sources.flat_map(|s| (0..self.table.partitions).map(|p| TopicPartition::new(s.topic.as_str(), p)))
    }

    /// Events there are.
    pub(super) fn total(&self) -> usize {
        self.records.len()
    }

    /// Events appended.
    pub(super) fn fed(&self) -> usize {
        self.fed
    }

    /// Appends some more, leaving at least `keep`.
    pub(super) fn step(&mut self, keep: usize) -> Result<()> {
        let end = (self.fed + STEP).min(self.total().saturating_sub(keep));
        self.appender.append(self.records[self.fed..end].to_vec())?;
        self.fed = end;
        Ok(())
    }

    /// Whether everything appended can be searched.
    pub(super) fn is_visible(&self) -> Result<bool> {
        for tp in self.partitions() {
            let high = self.broker.watermarks(&tp)?.high;
            let visible = self.table.task(tp.partition).and_then(|t| t.progress().visible.get(&tp.topic).copied());
            if visible.unwrap_or(0) < high {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Feeds the rest slowly from a thread of its own, then invents corrections of arrivals.
    pub(super) fn tail(mut self, signals: Arc<Signals>) -> Result<()> {
        let work = move || {
            let mut number = 0;
            while !signals.stopped() {
                std::thread::sleep(TAIL_PAUSE);
                if let Err(e) = self.tail_one(&mut number) {
                    tracing::warn!(error = %e, "the live tail ends");
                    return;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("live-tail".into()).spawn(work);
        spawned.map(drop).map_err(|e| Error::internal("the live tail does not start").because(e))
    }

    fn tail_one(&mut self, number: &mut u64) -> Result<()> {
        let record = match self.records.get(self.fed) {
            Some(record) => record.clone(),
            None => self.correction(number)?,
        };
        self.fed += 1;
        self.appender.append(vec![record]).map(drop)
    }

    /// A correction of some flight's arrival, invented: the version is now, so it wins.
    fn correction(&self, number: &mut u64) -> Result<NewRecord> {
        static MIX: AtomicU64 = AtomicU64::new(0x9e37_79b9_7f4a_7c15);
        let mixed = MIX.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        *number += 1;
        let now = clock::now_ms();
        let pick = &self.records[(mixed >> 20) as usize % self.records.len()];
        let flight = String::from_utf8_lossy(pick.key.as_deref().unwrap_or_default()).into_owned();
        let delay = i64::from((mixed >> 8) as u8) - 60;
        let event = serde_json::json!({
            "event_id": format!("live-{now}-{number}"), "flight_id": flight, "ts": now,
            "arr_delay": delay, "delay_min": delay, "status": "landed",
        });
        self.record("operations", event.to_string().as_bytes())
    }
}
