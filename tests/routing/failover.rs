use std::time::Instant;

use keld::record::Partitioner;
use serde_json::json;

use crate::common::client::escape;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::report;
use crate::common::truth;
use crate::common::workload::Workload;
use crate::scene::{at_once, caught_up, cluster, settled, start_all, wait_for};

const TABLE: &str = "products";

/// R5, the small form: who reads through the others gets the same records from the standby, said to be one, and soon.
#[test]
fn a_standby_answers_for_a_dead_owner_before_its_tasks_move() {
    if start_kafka().is_none() {
        return;
    }
    let lab = Lab::new(On::Kafka, "catalog.toml");
    let workload = Workload::catalog(6_000, 600, &[]);
    let ends = loaded(&lab, &workload);
    let mut instances = start_all(&lab, 3);
    let owners = settled(&instances, TABLE, PARTITIONS);
    caught_up(&instances["keld-0"], &ends);
    // Every partition has a standby that has read the whole changelog.
    wait_for("standbys that have caught up", || {
        let seen = cluster(&instances["keld-0"]);
        let tasks: Vec<_> =
            seen["instances"].as_object()?.values().flat_map(|i| i["tasks"].as_array().unwrap()).collect();
        let has = |partition: u32| {
            let of = |role: &str| tasks.iter().find(|t| t["partition"] == partition && t["role"] == role);
            let (owner, standby) = (of("active")?, of("standby")?);
            let ready = standby["phase"]["name"] == "running" && standby["indexed"] == standby["changelog"];
            (ready && standby["applied"] == owner["applied"]).then_some(())
        };
        (0..PARTITIONS).all(|p| has(p).is_some()).then_some(())
    });
    let whole = instances["keld-0"].client().get(&format!("/v1/tables/{TABLE}/search?sort=_key&limit=1000"));

    instances.remove("keld-2").unwrap().kill();
    let killed = Instant::now();
    let lost: Vec<u64> = owners.iter().filter(|(_, names)| names[0] == "keld-2").map(|(p, _)| *p).collect();
    let place = |key: &str| u64::from(Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap());
    let key = workload.expected.keys().find(|k| lost.contains(&place(k))).unwrap();
    for instance in instances.values() {
        let answer = instance.client().get(&format!("/v1/tables/{TABLE}/records/{}", escape(key)));
        assert_eq!(answer["role"], "standby", "{answer}");
        assert_eq!(answer["record"].as_object(), workload.expected.get(key), "{answer}");
        let found = instance.client().get(&format!("/v1/tables/{TABLE}/search?sort=_key&limit=1000"));
        assert_eq!((&found["hits"], &found["missing_partitions"]), (&whole["hits"], &json!([])));
        assert_ne!(found["role"], "active", "some of it is a standby's");
    }
    let took = killed.elapsed();
    // The session of ten seconds has not ended: nobody owns the partitions now.
    assert!(took < at_once(2), "{took:?}");
    report(&format!("failover: records and searches of a dead owner from standbys, all within {took:?} of its death"));
    for instance in instances.values() {
        truth::by_key(&instance.client(), TABLE, &workload);
    }
    instances.into_values().for_each(|i| i.stop());
}
