//! Instances of one application over one Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::full_scale;
use crate::common::lab::{Instance, Lab, PATIENCE};

/// How long an answer may take after a death: so many seconds, or, beside the other tests, less than the session of ten seconds, by whose end
/// others own the tasks.
pub(crate) fn at_once(seconds: u64) -> Duration {
    Duration::from_secs(if full_scale() { seconds } else { 8 })
}

/// An instance of the laboratory's application with a name and a data directory of its own.
pub(crate) fn start(lab: &Lab, name: &str) -> Instance {
    start_as(lab, name, &lab.name)
}

/// An instance of another application over the same topics.
pub(crate) fn start_as(lab: &Lab, name: &str, application: &str) -> Instance {
    let dir = format!("instance.data_dir={}", lab.dir.path().join(application).join(name).display());
    let (id, application) = (format!("instance.id={name}"), format!("application={application}"));
    // As long as a lookup is waited for: one that is off the processor for a moment is not dead. Who is dead refuses connections.
    let misses = "cluster.misses=10";
    let mut instance = lab.spawn(&["--set", &dir, "--set", &id, "--set", &application, "--set", misses], &[]);
    instance.wait_listening();
    instance
}

/// Several of them, by name: `keld-0`, `keld-1`, …
pub(crate) fn start_all(lab: &Lab, n: usize) -> BTreeMap<String, Instance> {
    (0..n).map(|i| format!("keld-{i}")).map(|name| (name.clone(), start(lab, &name))).collect()
}

/// Polls `check` until it gives something.
pub(crate) fn wait_for<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < until, "waiting for {what}: patience is at its end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What an instance says of the cluster.
pub(crate) fn cluster(instance: &Instance) -> Value {
    instance.client().get("/v1/cluster")
}

/// Who works on which partition of a table, as an instance sees it: only what runs on living instances.
pub(crate) fn owners(seen: &Value, table: &str) -> BTreeMap<u64, Vec<String>> {
    let mut owners: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for (name, instance) in seen["instances"].as_object().unwrap() {
        for task in instance["tasks"].as_array().unwrap() {
            let counts = instance["alive"] == true && task["role"] == "active" && task["phase"]["name"] == "running";
            if counts && task["table"] == table {
                owners.entry(task["partition"].as_u64().unwrap()).or_default().push(name.clone());
            }
        }
    }
    owners
}

/// Waits until every instance sees the same one owner of each of `partitions`, at each instance at least one.
pub(crate) fn settled(
    instances: &BTreeMap<String, Instance>,
    table: &str,
    partitions: u32,
) -> BTreeMap<u64, Vec<String>> {
    wait_for("the instances to agree", || {
        let seen: Vec<_> = instances.values().map(|i| owners(&cluster(i), table)).collect();
        let first = seen.first()?;
        let whole = first.len() == partitions as usize && first.values().all(|names| names.len() == 1);
        let everybody = instances.keys().all(|name| first.values().any(|names| names.contains(name)));
        (whole && everybody && seen.iter().all(|s| s == first)).then(|| first.clone())
    })
}

/// Waits until the cluster, as an instance sees it, has applied and shows everything up to `ends`.
pub(crate) fn caught_up(instance: &Instance, ends: &BTreeMap<(String, u32), i64>) {
    wait_for("catching up", || {
        let seen = cluster(instance);
        let tasks: Vec<&Value> =
            seen["instances"].as_object().unwrap().values().flat_map(|i| i["tasks"].as_array().unwrap()).collect();
        let next = |task: &Value, which: &str, topic: &str| {
            task[which][topic].as_str().map_or(0, |s| s.rsplit(':').next().unwrap().parse::<i64>().unwrap() + 1)
        };
        let reached = |(topic, partition): &(String, u32), end: i64| {
            tasks.iter().any(|t| {
                t["partition"] == *partition
                    && t["role"] == "active"
                    && next(t, "applied", topic) >= end
                    && next(t, "visible", topic) >= end
            })
        };
        ends.iter().all(|(place, end)| reached(place, *end)).then_some(())
    });
}

/// Waits until no instance keeps a copy of a task that moved on.
pub(crate) fn without_copies(instances: &BTreeMap<String, Instance>) {
    wait_for("copies of tasks that moved to go", || {
        let seen: Vec<Value> = instances.values().map(cluster).collect();
        let mut tasks = seen.iter().flat_map(|s| s["instances"].as_object().unwrap().values());
        tasks.all(|i| i["tasks"].as_array().unwrap().iter().all(|t| t["role"] == "active")).then_some(())
    });
}
