use std::time::Instant;

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::common::client::escape;
use crate::common::kafka::start_kafka;
use crate::common::lab::{Lab, On, PARTITIONS, loaded};
use crate::common::truth;
use crate::common::workload::Workload;
use crate::scene::{at_once, caught_up, cluster, settled, start_all, wait_for, without_copies};

const TABLE: &str = "products";

fn partition(key: &str) -> u64 {
    Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap().into()
}

/// A key of the partition, other than those that the workload has.
fn key_of(wanted: u64) -> String {
    (0..).map(|n| format!("new-{n}")).find(|key| partition(key) == wanted).unwrap()
}

#[test]
fn every_instance_gives_every_record_and_what_a_dead_one_had_is_refused_by_name() {
    if start_kafka().is_none() {
        return;
    }
    let mut lab = Lab::new(On::Kafka, "catalog.toml");
    lab.sets.push("cluster.standbys=0".to_owned());
    let workload = Workload::catalog(6_000, 600, &[]);
    let ends = loaded(&lab, &workload);
    let mut instances = start_all(&lab, 3);
    let owners = settled(&instances, TABLE, PARTITIONS);
    caught_up(&instances["keld-0"], &ends);

    for instance in instances.values() {
        // Every key, many at a time: each answer comes from several instances.
        truth::by_key(&instance.client(), TABLE, &workload);
        for key in workload.expected.keys().take(40) {
            let answer = instance.client().get(&format!("/v1/tables/{TABLE}/records/{}", escape(key)));
            assert_eq!(answer["record"].as_object(), workload.expected.get(key), "{key}");
            let place = partition(key);
            assert_eq!(
                (&answer["served_by"], &answer["role"]),
                (&json!(owners[&place][0]), &json!("active")),
                "{answer}"
            );
            let position = answer["position"].as_object().unwrap();
            assert_eq!(position.keys().collect::<Vec<_>>(), [&place.to_string()], "{answer}");
        }
    }
    // `explain` and the answers for keys that are not there come from the owner, too.
    let (known, absent) = (workload.expected.keys().next().unwrap(), key_of(0));
    for instance in instances.values() {
        let explained = instance.client().get(&format!("/v1/tables/{TABLE}/records/{}?explain=true", escape(known)));
        assert!(explained["explain"]["fields"].is_array(), "{explained}");
        let (status, problem) = instance.client().get_any(&format!("/v1/tables/{TABLE}/records/{absent}"));
        assert_eq!((status, &problem["reason"]), (404, &json!("no_such_record")), "{problem}");
        assert_eq!(problem["served_by"], owners[&0][0].as_str(), "{problem}");
    }

    // Tasks that have moved are followed where they were for a while.
    wait_for("copies to be let go", || {
        let seen = cluster(&instances["keld-0"]);
        let mut all = seen["instances"].as_object()?.values().flat_map(|i| i["tasks"].as_array().unwrap());
        all.all(|task| task["role"] == "active").then_some(())
    });
    // Kill one. What it had nobody has (there are no standbys here); the rest is answered as before.
    without_copies(&instances);
    let dead = instances.remove("keld-2").unwrap();
    dead.kill();
    let killed = Instant::now();
    let lost: Vec<u64> = owners.iter().filter(|(_, names)| names[0] == "keld-2").map(|(p, _)| *p).collect();
    let place = lost[0];
    let key = workload.expected.keys().find(|k| partition(k) == place).unwrap();
    let instance = &instances["keld-0"];
    let (status, problem) = instance.client().get_any(&format!("/v1/tables/{TABLE}/records/{}", escape(key)));
    assert_eq!((status, &problem["reason"]), (503, &json!("no_owner")), "{problem}");
    assert_eq!(problem["missing_partitions"], json!([place]), "{problem}");
    assert!(killed.elapsed() < at_once(2), "refused after {:?}", killed.elapsed());
    for key in workload.expected.keys().filter(|k| !lost.contains(&partition(k))).take(20) {
        instance.client().get(&format!("/v1/tables/{TABLE}/records/{}", escape(key)));
    }
    let many: Vec<&String> = workload.expected.keys().take(50).collect();
    let body = json!({ "keys": many }).to_string();
    let path = format!("/v1/tables/{TABLE}/records/get");
    let (status, problem) = instance.client().try_post(&path, "application/json", body.as_bytes()).unwrap();
    assert_eq!((status, &problem["reason"], &problem["missing_partitions"]), (503, &json!("no_owner"), &json!(lost)));
    // Until the group has given its tasks to the others.
    wait_for("the tasks of the dead one to be taken over", || {
        let (status, _) = instance.client().get_any(&format!("/v1/tables/{TABLE}/records/{}", escape(key)));
        (status == 200).then_some(())
    });
    wait_for("all of them", || (cluster(instance)["tables"][TABLE]["missing_partitions"] == json!([])).then_some(()));
    wait_for("all of them to run", || {
        let (status, _) = instance.client().try_post(&path, "application/json", body.as_bytes()).unwrap();
        (status == 200).then_some(())
    });
    for instance in instances.values() {
        truth::by_key(&instance.client(), TABLE, &workload);
    }
    instances.into_values().for_each(|i| i.stop());
}

#[test]
fn a_write_through_one_instance_is_read_through_any_other_as_soon_as_it_is_demanded() {
    if start_kafka().is_none() {
        return;
    }
    let lab = Lab::new(On::Kafka, "catalog.toml");
    lab.create_sources(&*lab.broker());
    let instances = start_all(&lab, 3);
    let owners = settled(&instances, TABLE, PARTITIONS);
    let names: Vec<&String> = instances.keys().collect();
    let topic = lab.topic("stock");
    for n in 0..60_usize {
        // Writer, reader and owner in every combination.
        let (writer, reader) = (&instances[names[n % 3]], &instances[names[(n / 3) % 3]]);
        let key = key_of((n / 9) as u64 % u64::from(PARTITIONS));
        let event = json!({"event_id": format!("e{n}"), "sku": key, "ts": 1_700_000_000_000_usize + n, "qty": n});
        let answer = writer.client().ingest(&topic, &event.to_string());
        let demand = escape(answer["at_least"].as_str().unwrap());
        let read = reader.client().get(&format!("/v1/tables/{TABLE}/records/{key}?at_least={demand}&timeout=9s"));
        assert_eq!(read["record"]["qty"], n, "write {n} of {key}: {read}");
        assert_eq!(read["served_by"], owners[&partition(&key)][0].as_str());
        // The demand is for another partition than the key's: it is waited for all the same.
        let other = key_of((partition(&key) + 1) % u64::from(PARTITIONS));
        let (status, problem) =
            reader.client().get_any(&format!("/v1/tables/{TABLE}/records/{other}?at_least={demand}&timeout=9s"));
        assert!(status == 200 || problem["reason"] == "no_such_record", "{problem}");
    }
    // What never comes is waited for where its partition is, and the answer says so.
    let reader = &instances[names[0]];
    for place in 0..PARTITIONS {
        let demand = format!("{topic}:{place}:99999");
        let path = format!("/v1/tables/{TABLE}/records/{}?at_least={demand}&timeout=300ms", key_of(place.into()));
        let (status, problem) = reader.client().get_any(&path);
        assert_eq!((status, &problem["reason"]), (504, &Value::from("freshness_timeout")), "{problem}");
    }
    instances.into_values().for_each(|i| i.stop());
}
