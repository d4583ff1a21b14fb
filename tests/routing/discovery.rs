use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::common::client::Client;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS};
use crate::scene::{cluster, settled, start_all, wait_for};

#[test]
fn instances_find_each_other_through_the_group_and_notice_a_death() {
    if start_kafka().is_none() {
        return;
    }
    let lab = Lab::new(On::Kafka, "catalog.toml");
    lab.create_sources(&*lab.broker());
    let mut instances = start_all(&lab, 3);
    let owners = settled(&instances, "products", PARTITIONS);
    let names: BTreeSet<&String> = owners.values().flatten().collect();
    assert_eq!(names.len(), 3, "{owners:?}");
    // Everybody tells of everybody, at the address where it listens.
    for seen in instances.values().map(cluster) {
        for (name, instance) in &instances {
            let told = &seen["instances"][name];
            assert_eq!(told["url"].as_str(), instance.address.as_deref(), "{seen}");
            assert_eq!((&told["alive"], &told["stopping"]), (&true.into(), &false.into()), "{seen}");
        }
        assert_eq!(seen["tables"]["products"]["missing_partitions"], serde_json::json!([]), "{seen}");
    }
    let dead = instances.remove("keld-2").unwrap();
    let dead_address = dead.address.clone();
    let killed = Instant::now();
    dead.kill();
    for instance in instances.values() {
        wait_for("the death to be noticed", || {
            (cluster(instance)["instances"]["keld-2"]["alive"] == false).then_some(())
        });
    }
    // Long before the session of ten seconds ends.
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    let seen = cluster(&instances["keld-0"]);
    let missing = seen["tables"]["products"]["missing_partitions"].as_array().unwrap();
    assert!(!missing.is_empty(), "{seen}");
    assert!(seen["instances"]["keld-2"]["missed_heartbeats"].as_u64().unwrap() >= 3, "{seen}");
    metrics_tell_the_death(&instances["keld-0"].client(), dead_address.as_deref().unwrap());
}

/// A search that needs the partitions of the dead is answered in part, or by who has copies; either way it is counted.
fn metrics_tell_the_death(client: &Client, dead: &str) {
    let (status, found) = client.get_any("/v1/tables/products/search?stale=allow");
    assert_eq!(status, 200, "{found}");
    let missing = found["missing_partitions"].as_array().unwrap().len() as f64;
    let metrics = metrics(client);
    let value = |line: &str| metrics.get(line).copied().unwrap_or(0.0);
    assert_eq!(value("keld_peers{state=\"alive\"}"), 1.0);
    assert_eq!(value("keld_peers{state=\"dead\"}"), 1.0);
    assert!(value(&format!("keld_heartbeats_missed_total{{peer=\"{dead}\"}}")) >= 3.0, "{metrics:?}");
    let outcome = if missing > 0.0 { "partial" } else { "complete" };
    assert_eq!(value(&format!("keld_scatter_total{{kind=\"search\",outcome=\"{outcome}\"}}")), 1.0, "{metrics:?}");
    assert_eq!(value("keld_scatter_missing_partitions_total{kind=\"search\"}"), missing);
    let answered = value("keld_peer_requests_total{kind=\"search\",outcome=\"answered\"}");
    assert!(answered >= 1.0, "{metrics:?}");
    assert!(value("keld_peer_request_seconds_count{kind=\"search\"}") >= answered, "{metrics:?}");
}

/// Every value, by name and labels.
fn metrics(client: &Client) -> HashMap<String, f64> {
    let (status, text) = client.try_get("/metrics").unwrap();
    assert_eq!(status, 200, "{text}");
    let line = |line: &str| line.rsplit_once(' ').map(|(name, value)| (name.to_owned(), value.parse().unwrap()));
    text.lines().filter(|line| !line.starts_with('#')).filter_map(line).collect()
}
