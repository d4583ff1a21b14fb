//! Rows about a task that comes to another place.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use keld::record::Partitioner;
use serde_json::{Value, json};

use crate::bench::{Bench, TABLE, a};
use crate::common::client::Client;
use crate::common::lab::{Instance, On, PARTITIONS, PATIENCE};
use crate::common::workload::Delivery;

/// More than a restore applies at a time, so that it can be stopped before the last.
const FILLERS: usize = 2_100;
/// Where the restore stalls, behind the first that it applied, and for how long: longer than all requests take.
const STALL: &str = "restore.1_applied:1:stall=30000";
/// An instance that gives its tasks away when it stops.
const LEAVE: [&str; 2] = ["--on-stop", "leave"];

fn partition(key: &str) -> u32 {
    Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).unwrap()
}

/// Copies a folder whole.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Every way to ask for the record `hot`, with further parameters; status, answer, and where the record stands in it.
fn ask(client: &Client, more: &str) -> [(u16, Value, &'static str); 4] {
    let table = format!("/v1/tables/{TABLE}");
    let get = |path: &str| client.get_any(&format!("{table}/{path}{more}"));
    let many = format!("{table}/records/get?{}", more.trim_start_matches(['&', '?']));
    let (one, scanned, found) = (get("records/hot?"), get("records?prefix=hot"), get("search?filter=id:hot"));
    let many = client.try_post(&many, "application/json", br#"{"keys": ["hot"]}"#).unwrap();
    [
        (one.0, one.1, "/record"),
        (many.0, many.1, "/records/0/record"),
        (scanned.0, scanned.1, "/records/0/record"),
        (found.0, found.1, "/hits/0/record"),
    ]
}

/// Waits until the restore of a partition stalls and all other tasks run: they open their stores beside it, and nothing that asks
/// all partitions is answered before.
fn wait_stalled(instance: &Instance, partition: u32) {
    let client = instance.client();
    let others = || (0..PARTITIONS).filter(|other| *other != partition);
    let stalled = || instance.stderr().contains("fault point restore.1_applied fired");
    let until = Instant::now() + PATIENCE;
    while !(stalled() && others().all(|other| phase(&client, other) == "running")) {
        assert!(Instant::now() < until, "the restore never stalled beside running tasks\n{}", instance.stderr());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The phase of a task, by its partition; null where it is not listed yet.
fn phase(client: &Client, partition: u32) -> Value {
    let status = client.get("/v1/status");
    let task = status["tasks"].as_array().unwrap().iter().find(|t| t["partition"] == partition);
    task.map_or(Value::Null, |task| task["phase"]["name"].clone())
}

/// Row 14: a task comes to an instance that has files of it from long ago. Until they are up to date nobody is answered from
/// them, but who says that this will do; and such an answer says that it is one.
pub(crate) fn bug_14_after_a_move_nobody_gets_an_old_answer_for_a_new_one(on: On) {
    let mut bench = Bench::new(on);
    let here = partition("hot");
    let files = bench.lab.data_dir().join(&bench.lab.name).join(TABLE);
    let aside = bench.lab.dir.path().join("aside");
    let hot = |v: u32, name: &str| a(&json!({"id": "hot", "v": v, "e": v, "name": name}));
    bench.load(&[hot(1, "old")]);
    bench.start_with(&LEAVE).stop();
    copy(&files, &aside);

    let fillers: Vec<String> = (0..).map(|n| format!("f{n}")).filter(|k| partition(k) == here).take(FILLERS).collect();
    let filler = |key: &String| a(&json!({"id": key, "v": 1, "e": key, "size": 1}));
    bench.load(&fillers.iter().map(filler).collect::<Vec<Delivery>>());
    bench.start_with(&LEAVE).stop();
    bench.load(&[hot(2, "new")]);
    bench.start_with(&LEAVE).stop();

    fs::remove_dir_all(&files).unwrap();
    fs::rename(&aside, &files).unwrap();
    let ends = bench.lab.ends(&*bench.lab.broker());
    let elsewhere = ["--set", "instance.id=elsewhere", LEAVE[0], LEAVE[1]];
    let mut instance = bench.lab.spawn(&elsewhere, &[("KELD_FAULT", STALL)]);
    instance.wait_listening();
    wait_stalled(&instance, here);
    let client = instance.client();
    let (status, answer) = client.get_any("/health/ready");
    assert_eq!((status, &answer["reason"]), (503, &json!("not_ready")), "{answer}");
    for (status, answer, _) in ask(&client, "") {
        assert_eq!((status, &answer["reason"]), (503, &json!("restoring")), "{answer}");
        assert!(!answer.to_string().contains("old"), "{answer}");
    }
    let topic = bench.lab.topic("a");
    for (status, answer, place) in ask(&client, "&stale=allow") {
        assert_eq!((status, &answer.pointer(place).unwrap()["name"]), (200, &json!("old")), "{answer}");
        assert_eq!(answer["caught_up"], false, "{answer}");
        // What it does cover can be told from what was written meanwhile.
        assert_eq!(answer["position"][here.to_string()][&topic], format!("{topic}:{here}:0"), "{answer}");
    }
    assert_eq!(phase(&client, here), "restoring", "it went on while this looked: it has seen nothing");

    instance.wait_caught_up(&ends);
    assert_eq!(client.get("/health/ready")["status"], "ready");
    for (status, answer, place) in ask(&client, "").into_iter().chain(ask(&client, "&stale=allow")) {
        assert_eq!((status, &answer.pointer(place).unwrap()["name"]), (200, &json!("new")), "{answer}");
        assert_eq!(answer["caught_up"], true, "{answer}");
    }
    instance.stop();
    let mut expected: Vec<Value> = fillers.iter().map(|key| json!({"id": key, "size": 1})).collect();
    expected.push(json!({"id": "hot", "name": "new"}));
    bench.expect(&expected);
    bench.whole_path(&[("a", [FILLERS as u64 + 2, 0, 0, 0])]);
}
