//! What is counted of the other instances: who is there, and what they were asked.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::seconds;

/// Label of a number of instances.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabel {
    /// `alive` or `dead`.
    pub state: &'static str,
}

/// Label of another instance.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PeerLabel {
    /// Its address.
    pub peer: String,
}

/// Label of a kind of request between instances.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    /// `records`, `scan`, `search`, `statistics`, `wait`: what stands behind `/v1/peer/`.
    pub kind: &'static str,
}

/// Labels of requests by what became of them.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct RequestLabels {
    /// See [`KindLabel::kind`].
    pub kind: &'static str,
    /// What became of it.
    pub outcome: &'static str,
}

/// What is counted of the other instances.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// Other instances that are known, by whether they answer heartbeats.
    pub peers: Family<StateLabel, Gauge>,
    /// Heartbeats that were not answered in time, by address.
    pub heartbeats_missed: Family<PeerLabel, Counter>,
    /// Requests spread over instances: `complete`, `partial` (partitions are missing) or `failed`.
    pub scatters: Family<RequestLabels, Counter>,
    /// Partitions that were asked of another replica, since the first had failed.
    pub retries: Family<KindLabel, Counter>,
    /// Partitions that nobody answered for.
    pub missing: Family<KindLabel, Counter>,
    /// Requests to single instances: `answered`, `refused` (a problem), `silent` (no answer) or `crowded` (not sent).
    pub requests: Family<RequestLabels, Counter>,
    /// Time of a request to an instance, until its answer was there or given up.
    pub request: Family<KindLabel, Histogram>,
}

impl ClusterMetrics {
    /// Registers everything.
    pub(super) fn register(r: &mut Registry) -> Self {
        let m = Self {
            peers: Family::default(),
            heartbeats_missed: Family::default(),
            scatters: Family::default(),
            retries: Family::default(),
            missing: Family::default(),
            requests: Family::default(),
            request: Family::new_with_constructor(seconds as fn() -> Histogram),
        };
        r.register("peers", "Other instances that are known, by whether they answer heartbeats", m.peers.clone());
        r.register("heartbeats_missed", "Heartbeats not answered in time, by address", m.heartbeats_missed.clone());
        r.register("scatter", "Requests spread over instances, by what became of them", m.scatters.clone());
        r.register("scatter_retries", "Partitions asked of another replica after a failure", m.retries.clone());
        r.register("scatter_missing_partitions", "Partitions that nobody answered for", m.missing.clone());
        r.register("peer_requests", "Requests to other instances, by what became of them", m.requests.clone());
        r.register_with_unit("peer_request", "Time of a request to another instance", Unit::Seconds, m.request.clone());
        m
    }

    /// Counts a request spread over instances: partitions asked again, and those without an answer in the end; `None` where it
    /// was refused as a whole.
    pub fn scattered(&self, kind: &'static str, retried: usize, answered: bool, missing: Option<usize>) {
        let outcome = match missing {
            Some(0) => "complete",
            Some(_) if answered => "partial",
            _ => "failed",
        };
        self.scatters.get_or_create(&RequestLabels { kind, outcome }).inc();
        self.retries.get_or_create(&KindLabel { kind }).inc_by(retried as u64);
        self.missing.get_or_create(&KindLabel { kind }).inc_by(missing.unwrap_or(0) as u64);
    }

    /// Counts a request to one instance, and the time that it took.
    pub fn asked(&self, kind: &'static str, outcome: &'static str, took: std::time::Duration) {
        self.requests.get_or_create(&RequestLabels { kind, outcome }).inc();
        self.request.get_or_create(&KindLabel { kind }).observe(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::metrics::Metrics;

    #[test]
    fn requests_are_told_by_kind_and_outcome() {
        let metrics = Metrics::new();
        let cluster = &metrics.cluster;
        cluster.scattered("search", 0, true, Some(0));
        cluster.scattered("search", 2, true, Some(1));
        cluster.scattered("search", 0, false, Some(4));
        cluster.scattered("search", 3, false, None);
        cluster.asked("records", "silent", Duration::from_millis(3));
        let text = metrics.encode();
        for line in [
            "keld_scatter_total{kind=\"search\",outcome=\"complete\"} 1",
            "keld_scatter_total{kind=\"search\",outcome=\"partial\"} 1",
            "keld_scatter_total{kind=\"search\",outcome=\"failed\"} 2",
            "keld_scatter_retries_total{kind=\"search\"} 5",
            "keld_scatter_missing_partitions_total{kind=\"search\"} 5",
            "keld_peer_requests_total{kind=\"records\",outcome=\"silent\"} 1",
            "keld_peer_request_seconds_count{kind=\"records\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
