//! What the instance says about itself: description, metrics, health, status.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::lab::PATIENCE;
use crate::face::{Face, accounting};

#[test]
fn the_description_lists_every_route_and_every_route_answers() {
    let face = Face::start();
    let description = face.client.get("/openapi.json");
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"), "{}", description["openapi"]);
    let operations = |methods: &Value| -> Vec<String> { methods.as_object().unwrap().keys().cloned().collect() };
    let paths: BTreeMap<&str, Vec<String>> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(path, methods)| (path.as_str(), operations(methods)))
        .collect();
    let wanted: BTreeMap<&str, Vec<String>> = [
        ("/v1/tables", vec!["get"]),
        ("/v1/tables/{table}", vec!["get"]),
        ("/v1/tables/{table}/records/{key}", vec!["get"]),
        ("/v1/tables/{table}/records", vec!["get"]),
        ("/v1/tables/{table}/records/get", vec!["get", "post"]),
        ("/v1/tables/{table}/search", vec!["get", "post"]),
        ("/v1/tables/{table}/changes", vec!["get"]),
        ("/v1/topics/{topic}/events", vec!["post"]),
        ("/v1/quarantine", vec!["get"]),
        ("/v1/quarantine/{id}", vec!["get"]),
        ("/v1/quarantine/replay", vec!["post"]),
        ("/v1/cluster", vec!["get"]),
        ("/v1/status", vec!["get"]),
        ("/health/live", vec!["get"]),
        ("/health/ready", vec!["get"]),
        ("/metrics", vec!["get"]),
        ("/openapi.json", vec!["get"]),
    ]
    .into_iter()
    .map(|(path, methods)| (path, methods.into_iter().map(str::to_owned).collect()))
    .collect();
    // Those under /es are held against their routes where they are described; every one of them answers here.
    let native: BTreeMap<&str, Vec<String>> = paths
        .iter()
        .filter(|(path, _)| !path.starts_with("/es"))
        .map(|(path, methods)| (*path, methods.clone()))
        .collect();
    assert_eq!(native, wanted);
    let refused = face.client.get("/v1/quarantine")["entries"][0]["id"].as_str().unwrap().to_owned();
    let first = face.client.post("/es/products/_search?scroll=1m", &json!({}));
    let scroll = first["_scroll_id"].as_str().unwrap().to_owned();
    let next = json!({"scroll_id": scroll}).to_string();
    for (path, methods) in &paths {
        let id = match path {
            path if path.starts_with("/es/_search/scroll") => scroll.as_str(),
            path if path.starts_with("/es") => "p1",
            _ => &refused,
        };
        let concrete = path.replace("{table}", "products").replace("{key}", "p1").replace("{id}", id);
        let concrete = concrete.replace("{topic}", &face.lab.topic("stock")).replace("{index}", "products");
        // A stream of changes has no end: tests/changes.rs reads it.
        for method in methods.iter().filter(|_| !path.ends_with("/changes")) {
            let body: &[u8] = match path.rsplit('/').next() {
                Some("scroll") => next.as_bytes(),
                Some("_mget") => b"{\"docs\":[{\"_id\":\"p1\",\"_index\":\"products\"}]}",
                Some("_msearch") => b"{}\n{}\n",
                Some("point_in_time") => b"{\"pit_id\":[\"x\"]}",
                Some("get") => b"{\"keys\":[\"p1\"]}",
                Some("replay") => b"{\"table\":\"products\",\"dry_run\":true}",
                Some("events") => b"{\"sku\":\"p1\",\"v\":1}",
                _ => b"",
            };
            let answer = face.ask(&method.to_uppercase(), &concrete, body);
            // No record has this key; the path is there for one that has.
            let expected = if method == "get" && path.ends_with("/records/get") { 404 } else { 200 };
            assert_eq!(answer.status, expected, "{method} {concrete}: {}", answer.body);
        }
        let responses = &description["paths"][path][&methods[0]]["responses"];
        assert!(responses["200"].is_object() && responses["400"].is_object(), "{path}: {responses}");
    }
}

/// Value of the sample with this name and these labels.
fn sample(metrics: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let is =
        |line: &&str| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label));
    metrics.lines().find(is)?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn metrics_count_outcomes_time_every_step_and_tell_sizes() {
    let face = Face::start();
    let until = Instant::now() + PATIENCE;
    let written = |metrics: &str| {
        sample(metrics, "keld_index_writes_total", &["table=\"products\"", "tier=\"disk\""]).is_some_and(|n| n >= 4.0)
            && sample(metrics, "keld_index_commits_total", &["table=\"products\""]).is_some_and(|n| n >= 1.0)
    };
    let metrics = loop {
        let (status, metrics) = face.client.try_get("/metrics").unwrap();
        assert_eq!(status, 200);
        // What is shown from memory goes to the disk a moment later.
        if written(&metrics) {
            break metrics;
        }
        assert!(Instant::now() < until, "the four documents are not on disk\n{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(metrics.ends_with("# EOF\n"), "OpenMetrics end so");
    let value = |name: &str, labels: &[&str]| {
        sample(&metrics, name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{metrics}"))
    };
    for (source, account) in accounting().as_object().unwrap() {
        for outcome in ["applied", "duplicate", "stale", "quarantined"] {
            let labels = ["table=\"products\"", &format!("source=\"{source}\""), &format!("outcome=\"{outcome}\"")];
            assert_eq!(value("keld_events_total", &labels), account[outcome].as_f64().unwrap(), "{labels:?}");
        }
    }
    assert_eq!(value("keld_quarantined_total", &["table=\"products\"", "reason=\"wrong_type\""]), 1.0);
    let commits = value("keld_commits_total", &[]);
    assert!(commits >= 1.0);
    for step in ["produce", "drain", "offsets", "commit", "apply"] {
        let labels = [&*format!("step=\"{step}\"")];
        assert_eq!(value("keld_commit_step_seconds_count", &labels), commits, "{step}");
        assert!(value("keld_commit_step_seconds_sum", &labels) >= 0.0, "{step}");
    }
    for freshness in ["keld_applied_after_seconds", "keld_visible_after_seconds"] {
        assert!(value(&format!("{freshness}_count"), &["table=\"products\""]) >= 1.0);
        assert!(value(&format!("{freshness}_bucket"), &["le=\"+Inf\""]) >= 1.0);
    }
    for partition in 0..4 {
        let labels = ["table=\"products\"", &*format!("partition=\"{partition}\"")];
        assert_eq!(value("keld_lag_events", &labels), 0.0);
        assert!(value("keld_store_bytes", &labels) >= 0.0);
    }
    assert_eq!(value("keld_index_documents", &["table=\"products\""]), 4.0);
    assert!(value("keld_index_bytes", &["table=\"products\""]) > 0.0);
    assert!(value("keld_index_segments", &["table=\"products\""]) >= 1.0);
    // Told for both tiers, whichever the documents went to first.
    value("keld_index_writes_total", &["table=\"products\"", "tier=\"live\""]);
    assert!(value("keld_memory_bytes", &["part=\"resident\""]) > 1e6);
    assert_eq!(value("keld_memory_bytes", &["part=\"budget\""]), f64::from(256 << 20));
    assert!(value("keld_broker_stat", &["part=\"log_bytes\""]) > 0.0);
    // Every metric is explained.
    let named = |kind: &str| -> BTreeSet<&str> {
        metrics.lines().filter_map(|l| l.strip_prefix(kind)?.split(' ').next()).collect()
    };
    assert_eq!(named("# TYPE "), named("# HELP "));
}

#[test]
fn a_running_instance_is_live_and_ready() {
    let face = Face::start();
    assert_eq!(face.client.get("/health/live"), json!({"status": "live"}));
    assert_eq!(face.client.get("/health/ready"), json!({"status": "ready"}));
}

#[test]
fn status_tells_positions_lag_sizes_and_memory() {
    let face = Face::start();
    let status = face.client.get("/v1/status");
    assert_eq!((&status["application"], &status["instance"]), (&json!(face.lab.name), &json!("shop-0")));
    assert_eq!(status["broker"], json!({"kind": "local", "trouble": null}));
    assert_eq!(status["stopping"], false);
    assert!(status["memory"]["resident"].as_u64().unwrap() > 1 << 20);
    assert_eq!(status["memory"]["plan"]["budget"], 256 << 20);
    let tasks = status["tasks"].as_array().unwrap();
    assert_eq!(tasks.len(), 4);
    for task in tasks {
        assert_eq!(
            (&task["table"], &task["role"], &task["phase"]),
            (&json!("products"), &json!("active"), &json!({"name": "running"}))
        );
        assert_eq!((&task["lag"], &task["applied"]), (&json!(0), &task["visible"]), "{task}");
        assert_eq!(task["changelog"], task["indexed"], "{task}");
    }
    let table = &status["tables"][0];
    assert_eq!((&table["documents"], &table["missing_partitions"]), (&json!(4), &json!([])));
    assert_eq!(table["accounting"], accounting());
}

#[test]
fn accounts_go_on_over_restarts_and_restores() {
    let face = Face::start();
    let accounts = |face: &Face| face.client.get("/v1/status")["tables"][0]["accounting"].clone();
    assert_eq!(accounts(&face), accounting());
    let face = face.restart(|_| {});
    assert_eq!(accounts(&face), accounting(), "after a restart");
    let face = face.restart(|lab| {
        std::fs::remove_dir_all(lab.data_dir().join(&lab.name).join("products")).unwrap();
    });
    assert_eq!(accounts(&face), accounting(), "restored from the changelog");
    let path = format!("/v1/topics/{}/events?wait=visible&timeout=9s", face.lab.topic("stock"));
    assert_eq!(face.ask("POST", &path, b"{\"sku\":\"p3\",\"v\":1,\"stock\":9}").status, 200);
    let mut more = accounting();
    more["stock"]["consumed"] = json!(4);
    more["stock"]["applied"] = json!(4);
    assert_eq!(accounts(&face), more, "one more event");
    assert_eq!(accounts(&face.restart(|_| {})), more, "after another restart");
}

#[test]
fn one_instance_is_a_cluster_of_one() {
    let face = Face::start();
    let (seen, status) = (face.client.get("/v1/cluster"), face.client.get("/v1/status"));
    let instances = seen["instances"].as_object().unwrap();
    assert_eq!(instances.keys().collect::<Vec<_>>(), [status["instance"].as_str().unwrap()], "{seen}");
    let own = &instances.values().next().unwrap();
    assert_eq!(own["alive"], true);
    assert_eq!(own["tasks"].as_array().unwrap().len(), status["tasks"].as_array().unwrap().len());
    for (task, told) in status["tasks"].as_array().unwrap().iter().zip(own["tasks"].as_array().unwrap()) {
        for member in ["table", "partition", "role", "phase", "applied", "visible", "changelog", "lag"] {
            assert_eq!(told[member], task[member], "{member}");
        }
    }
    for table in seen["tables"].as_object().unwrap().values() {
        assert_eq!(table["missing_partitions"], serde_json::json!([]), "{seen}");
        assert_eq!(table["without_standby"].as_array().unwrap().len() as u64, table["partitions"].as_u64().unwrap());
    }
}

/// The threads of a process: name, as far as the system keeps it, and niceness.
#[cfg(target_os = "linux")]
fn threads(pid: u32) -> Vec<(String, i32)> {
    let of = |stat: &str| {
        let (head, rest) = stat.rsplit_once(')').unwrap();
        let nice = rest.split_whitespace().nth(16).unwrap();
        (head.split_once('(').unwrap().1.to_owned(), nice.parse().unwrap())
    };
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    // A thread may end meanwhile.
    tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok()).map(|s| of(&s)).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn threads_on_the_way_of_an_event_go_before_those_of_answers_and_these_before_the_disk() {
    let face = Face::start();
    let all = threads(face.instance.pid());
    let of = |beginning: &str| -> BTreeSet<i32> {
        all.iter().filter(|(name, _)| name.starts_with(beginning)).map(|(_, nice)| *nice).collect()
    };
    let own = of("keld");
    assert_eq!(own.len(), 1, "{all:?}");
    assert!(own.iter().all(|nice| *nice < 5), "run the tests with less niceness: {all:?}");
    for name in ["merge-", "commit-", "index-"] {
        assert_eq!(of(name), own, "{name}: {all:?}");
    }
    for (name, niceness) in [("http", 5), ("writer-", 10)] {
        assert_eq!(of(name), BTreeSet::from([niceness]), "{name}: {all:?}");
    }
}
