use std::collections::BTreeSet;
use std::time::{Duration, Instant};

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
}
