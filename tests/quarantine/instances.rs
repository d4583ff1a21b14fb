//! Several instances: any of them lists the whole quarantine and replays from it, and what several are asked to replay at a time
//! is replayed once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::lab::{Instance, On, PARTITIONS, PATIENCE, lasting_port};
use crate::common::report;
use crate::scene::{Scene, late, listed, thing};

/// Instances.
const INSTANCES: usize = 3;
/// Keys, each with one event that is refused in part.
const KEYS: usize = 24;

pub(crate) fn any_instance_lists_everything_and_a_replay_through_all_at_a_time_happens_once() {
    let mut scene = Scene::new(On::Kafka);
    // Nobody dies here: a busy machine shall neither end a session nor a request.
    scene.lab.sets.extend(["broker.session_timeout=45s".to_owned(), "api.timeout=50s".to_owned()]);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("late-{n}")).collect();
    let events: Vec<Value> = keys.iter().flat_map(|key| late(key)).collect();
    scene.send(&events);
    let mut instances: Vec<Instance> =
        (0..INSTANCES).map(|n| scene.lab.spawn_member(n, lasting_port(), &[], &[])).collect();
    instances.iter_mut().for_each(Instance::wait_listening);
    let clients: Vec<Client> = instances.iter().map(Instance::client).collect();
    wait(&instances, "the instances to share the tasks and consume everything", || {
        let owners: BTreeSet<usize> = owners(&clients)?.into_values().collect();
        (owners.len() > 1 && consumed(&clients) == events.len() as u64).then_some(())
    });
    let place = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap();
    assert_eq!(keys.iter().map(place).collect::<BTreeSet<_>>().len(), PARTITIONS as usize, "every task refuses some");

    let lists: Vec<Vec<Value>> = wait(&instances, "everybody to list the same", || {
        let lists: Vec<Vec<Value>> = clients.iter().map(|c| listed(c, "reason=outside_window&limit=1000")).collect();
        (lists.iter().all(|list| list.len() == KEYS && *list == lists[0])).then_some(lists)
    });
    for (client, entry) in lists[0].iter().enumerate().map(|(n, entry)| (&clients[n % INSTANCES], entry)) {
        let shown = client.get(&format!("/v1/quarantine/{}", entry["id"].as_str().unwrap()));
        assert_eq!((&shown["key"], &shown["replayed_ms"]), (&entry["key"], &Value::Null), "{shown}");
    }

    let answers: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let threads: Vec<_> = clients.iter().map(|client| scope.spawn(move || replay_patiently(client))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().map(|(replayed, _)| replayed).sum::<usize>(), KEYS, "{answers:?}");
    wait(&instances, "the replays to be consumed", || {
        (consumed(&clients) == (events.len() + KEYS) as u64).then_some(())
    });
    for client in &clients {
        for key in &keys {
            assert_eq!(thing(client, key)["sold"], 7, "{key}: once");
        }
        let marked = listed(client, "reason=outside_window&limit=1000");
        assert!(marked.len() == KEYS && marked.iter().all(|e| e["replayed_ms"].is_i64()), "{marked:?}");
    }
    let accounts = accounts(&clients);
    let outcomes = ["applied", "duplicate", "stale", "quarantined"].map(|o| accounts[o]);
    assert_eq!((outcomes.iter().sum::<u64>(), accounts["quarantined"]), (accounts["consumed"], KEYS as u64));
    instances.into_iter().for_each(Instance::stop);
    report(&format!(
        "quarantine: {INSTANCES} instances list the same {KEYS} entries; asked to replay them at a time they replayed {:?} ({} attempts \
         ended by another's), each event once",
        answers.iter().map(|(replayed, _)| replayed).collect::<Vec<_>>(),
        answers.iter().map(|(_, ended)| ended).sum::<usize>(),
    ));
}

/// Replays everything there is, again when another instance came in between; how many this one replayed, and how often it was
/// refused.
fn replay_patiently(client: &Client) -> (usize, usize) {
    let body = json!({ "reason": "outside_window" }).to_string();
    let (mut refused, until) = (0, Instant::now() + PATIENCE);
    loop {
        let asked = client.try_post("/v1/quarantine/replay", "application/json", body.as_bytes());
        let (status, answer) = asked.unwrap();
        if status == 200 {
            assert_eq!(answer["cursor"], Value::Null, "{answer}");
            return (usize::try_from(answer["replayed"].as_u64().unwrap()).unwrap(), refused);
        }
        assert_eq!(answer["safe_to_repeat"], true, "{status} {answer}");
        assert!(Instant::now() < until, "{status} {answer}");
        refused += 1;
    }
}

/// Who works on each partition of `things`; `None` while one has not exactly one owner.
fn owners(clients: &[Client]) -> Option<BTreeMap<u64, usize>> {
    let mut owners = BTreeMap::new();
    for (number, client) in clients.iter().enumerate() {
        let status = client.get("/v1/status");
        let own = status["tasks"].as_array()?.iter().filter(|t| t["table"] == "things" && t["role"] == "active");
        for task in own.filter(|t| t["phase"]["name"] == "running") {
            if owners.insert(task["partition"].as_u64()?, number).is_some() {
                return None;
            }
        }
    }
    (owners.len() == PARTITIONS as usize).then_some(owners)
}

/// The accounts of `things` over all instances.
fn accounts(clients: &[Client]) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for client in clients {
        let status = client.get("/v1/status");
        let table = status["tables"].as_array().unwrap().iter().find(|t| t["name"] == "things").unwrap().clone();
        for (name, count) in table["accounting"]["things"].as_object().unwrap() {
            *sums.entry(name.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
    }
    sums
}

fn consumed(clients: &[Client]) -> u64 {
    accounts(clients).get("consumed").copied().unwrap_or(0)
}

fn wait<T>(instances: &[Instance], what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < until, "waiting for {what}: patience is at its end\n{}", said(instances));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// What every instance says of itself, and has said.
fn said(instances: &[Instance]) -> String {
    let of = |instance: &Instance| format!("{}\n{}", instance.client().get("/v1/status"), instance.stderr());
    instances.iter().map(of).collect::<Vec<_>>().join("\n")
}
