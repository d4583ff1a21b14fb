//! What a client tells about itself: log lines (rate-limited), errors, statistics.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use serde::Deserialize;

use super::errors::code_of;

/// The same trouble is told at most once in this time; a broker that is down must not flood the log.
const QUIET: Duration = Duration::from_secs(30);
/// Kinds of trouble remembered for that; beyond it, all is forgotten and told again.
const REMEMBERED: usize = 256;

/// Listens to one client of librdkafka.
#[derive(Debug, Default)]
pub(super) struct Watch {
    name: String,
    told: Mutex<HashMap<String, (Instant, u64)>>,
    words: Mutex<String>,
    seen: Mutex<Statistics>,
}

impl Watch {
    pub(super) fn new(name: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), ..Self::default() })
    }

    /// librdkafka's words about its last error; empty if there was none.
    pub(super) fn words(&self) -> String {
        self.words.lock().clone()
    }

    /// Forgets those words: they have been told.
    pub(super) fn clear_words(&self) {
        self.words.lock().clear();
    }

    /// What is known of the fetching of a partition.
    pub(super) fn tail(&self, topic: &str, partition: u32) -> Option<Tail> {
        self.seen.lock().topics.get(topic)?.partitions.get(&partition.to_string()).copied()
    }

    /// Forgets what was known of partitions, since another assignment begins.
    pub(super) fn forget_tails(&self) {
        self.seen.lock().topics.clear();
    }

    /// Adds this client's numbers to a total.
    pub(super) fn add_to(&self, total: &mut Totals) {
        let seen = self.seen.lock();
        total.queued_records += seen.msg_cnt;
        total.queued_bytes += seen.msg_size;
        for part in seen.topics.values().flat_map(|t| t.partitions.values()) {
            total.prefetched_records += part.fetchq_cnt;
            total.prefetched_bytes += part.fetchq_size;
        }
        for broker in seen.brokers.values().filter(|b| b.nodeid >= 0) {
            total.connections += u64::from(broker.state == "UP");
            total.slowest_rtt_us = total.slowest_rtt_us.max(broker.rtt.p99);
        }
    }

    /// How many lines of this sort were kept quiet since the last one that was told; `None`: keep this one quiet, too.
    fn may_tell(&self, sort: &str) -> Option<u64> {
        let mut told = self.told.lock();
        if told.len() > REMEMBERED {
            told.clear();
        }
        match told.get_mut(sort) {
            Some((at, quiet)) if at.elapsed() < QUIET => {
                *quiet += 1;
                None
            }
            Some((at, quiet)) => {
                *at = Instant::now();
                Some(std::mem::take(quiet))
            }
            None => {
                told.insert(sort.to_owned(), (Instant::now(), 0));
                Some(0)
            }
        }
    }

    fn log(&self, level: RDKafkaLogLevel, sort: &str, text: &str) {
        use RDKafkaLogLevel as L;
        if matches!(level, L::Debug | L::Info) {
            tracing::debug!(target: "kafka", client = self.name, sort, "{text}");
            return;
        }
        // Settings that concern only producers are passed to consumers as well, and the other way round.
        if sort == "CONFWARN" {
            tracing::debug!(target: "kafka", client = self.name, sort, "{text}");
            return;
        }
        let Some(quiet) = self.may_tell(sort) else { return };
        match level {
            L::Notice => tracing::info!(target: "kafka", client = self.name, sort, quiet, "{text}"),
            L::Warning => tracing::warn!(target: "kafka", client = self.name, sort, quiet, "{text}"),
            _ => tracing::error!(target: "kafka", client = self.name, sort, quiet, "{text}"),
        }
    }

    fn error(&self, error: &KafkaError, reason: &str) {
        let code = code_of(error);
        if code == Some(Code::PartitionEOF) {
            return;
        }
        reason.clone_into(&mut self.words.lock());
        if let Some(quiet) = self.may_tell(&format!("{code:?}")) {
            tracing::warn!(target: "kafka", client = self.name, quiet, "{reason}");
        }
    }

    fn statistics(&self, json: &[u8]) {
        match serde_json::from_slice(json) {
            Ok(statistics) => *self.seen.lock() = statistics,
            Err(e) => self.log(RDKafkaLogLevel::Warning, "STATISTICS", &e.to_string()),
        }
    }
}

/// Sums over all clients of a broker.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) queued_records: u64,
    pub(super) queued_bytes: u64,
    pub(super) prefetched_records: u64,
    pub(super) prefetched_bytes: u64,
    pub(super) connections: u64,
    pub(super) slowest_rtt_us: u64,
}

/// The few numbers of librdkafka's statistics that matter here; the rest is skipped while parsing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Statistics {
    msg_cnt: u64,
    msg_size: u64,
    brokers: HashMap<String, BrokerStatistics>,
    topics: HashMap<String, TopicStatistics>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BrokerStatistics {
    nodeid: i64,
    state: String,
    rtt: Window,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Window {
    p99: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct TopicStatistics {
    partitions: HashMap<String, Tail>,
}

/// How far the fetching of a partition was when the statistics were taken.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tail {
    fetchq_cnt: u64,
    fetchq_size: u64,
    /// Next offset to fetch: past control records, which no application sees.
    next_offset: i64,
    /// Last stable offset; negative: not known yet.
    ls_offset: i64,
}

impl Tail {
    /// Records between `position` and the last stable offset; `None` if nothing was fetched yet.
    pub(super) fn lag(&self, position: i64) -> Option<i64> {
        if self.ls_offset < 0 {
            return None;
        }
        let reached = if self.fetchq_cnt == 0 { position.max(self.next_offset) } else { position };
        Some((self.ls_offset - reached).max(0))
    }
}

/// Makes a context of rdkafka out of a type with a `watch` field.
macro_rules! listens {
    ($context:ty) => {
        impl ::rdkafka::ClientContext for $context {
            fn log(&self, level: ::rdkafka::config::RDKafkaLogLevel, sort: &str, text: &str) {
                ::rdkafka::ClientContext::log(&self.watch, level, sort, text);
            }
            fn stats_raw(&self, json: &[u8]) {
                ::rdkafka::ClientContext::stats_raw(&self.watch, json);
            }
            fn error(&self, error: ::rdkafka::error::KafkaError, reason: &str) {
                ::rdkafka::ClientContext::error(&self.watch, error, reason);
            }
        }
    };
}
pub(super) use listens;

/// A [`Watch`] as the context of a client that needs nothing more.
#[derive(Clone, Debug)]
pub(super) struct Listener(pub(super) Arc<Watch>);

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, sort: &str, text: &str) {
        self.0.log(level, sort, text);
    }

    fn stats_raw(&self, json: &[u8]) {
        self.0.statistics(json);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

impl ConsumerContext for Listener {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_trouble_is_told_once_and_other_trouble_too() {
        let watch = Watch::new("c");
        assert_eq!(watch.may_tell("FAIL"), Some(0));
        assert_eq!(watch.may_tell("FAIL"), None);
        assert_eq!(watch.may_tell("OTHER"), Some(0));
    }

    #[test]
    fn lag_counts_to_the_stable_end_and_control_records_do_not_count() {
        let watch = Watch::new("c");
        assert!(watch.tail("t", 2).is_none());
        watch.statistics(
            br#"{"name":"x","msg_cnt":3,"brokers":{"b":{"nodeid":1,"state":"UP","rtt":{"p99":900}}},"topics":{"t":{"age":1,
                "partitions":{"2":{"fetchq_cnt":0,"next_offset":11,"ls_offset":11},
                              "3":{"fetchq_cnt":4,"next_offset":11,"ls_offset":12},"4":{"ls_offset":-1001}}}}}"#,
        );
        assert_eq!(watch.tail("t", 2).and_then(|t| t.lag(10)), Some(0), "offset 10 is a commit marker");
        assert_eq!(watch.tail("t", 3).and_then(|t| t.lag(7)), Some(5));
        assert_eq!(watch.tail("t", 4).and_then(|t| t.lag(0)), None);
        let mut totals = Totals::default();
        watch.add_to(&mut totals);
        assert_eq!((totals.queued_records, totals.prefetched_records, totals.connections), (3, 4, 1));
    }
}
