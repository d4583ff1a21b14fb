//! The status page: what this instance has, and how several look of which not all are well.

use serde_json::{Value, json};

use crate::browser::Fake;
use crate::scene::Scene;

#[test]
fn this_instance_its_tasks_and_its_figures_are_shown() {
    let mut scene = Scene::new();
    scene.browser.open("/status");
    let status = scene.client.get("/v1/status");
    let (name, tasks) = (status["instance"].as_str().unwrap(), status["tasks"].as_array().unwrap());
    scene.browser.wait_text(".instances h3", name);
    scene
        .browser
        .wait_for("the tasks", &format!("document.querySelectorAll('[data-task]').length === {}", tasks.len()));
    assert!(scene.browser.texts("[data-task] .phase .badge").iter().all(|w| w == "running"));
    scene.browser.wait_text("#health-text", "Running");
    let consumed: u64 = scene.workload.deliveries.len() as u64;
    scene.browser.wait_for(
        "the accounts",
        &format!(
            "document.querySelector('.figures').innerHTML.includes({})",
            json!(format!("{} consumed", thousands(consumed)))
        ),
    );
    // Something arrives, and the charts show it.
    scene.browser.wait_for("two looks", "document.querySelector('.chart .line').getAttribute('d')?.length > 10");
    for n in 0..20 {
        scene.thing(&format!("k{n}"), n, &json!({"name": "n"}));
    }
    scene.browser.wait_for("freshness", "/\\d+ ms/.test(document.querySelectorAll('.chart .figure')[2].innerText)");
    scene.end();
}

fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Three instances: one restores, one is dead, and a partition is nobody's.
fn cluster(look: i64) -> Value {
    let task = |partition: u32, role: &str, phase: &Value, lag: i64, at: i64| {
        json!({
            "table": "flights", "partition": partition, "role": role, "phase": phase, "applied": {"t": format!("t:{partition}:{at}")},
            "visible": {"t": format!("t:{partition}:{at}")}, "changelog": at, "indexed": at, "lag": lag, "lag_ms": lag * 10
        })
    };
    let running = json!({"name": "running"});
    let instance = |alive: bool, tasks: Vec<Value>| {
        json!({"url": "http://127.0.0.1:1", "alive": alive, "missed_heartbeats": if alive { 0 } else { 7 }, "trouble": if alive { Value::Null } else { json!("connection refused") },
               "version": "0.1.0", "stopping": false, "tasks": tasks})
    };
    let restoring = json!({"name": "restoring", "percent": 41.5, "rate": 12_000.0, "eta_s": 75.0});
    json!({
        "application": "a", "served_by": "one",
        "instances": {
            // Partition 0 moves, partition 1 has events waiting and does not.
            "one": instance(true, vec![task(0, "active", &running, 0, look), task(1, "active", &running, 5, 3)]),
            "two": instance(true, vec![task(2, "active", &restoring, 100, 9), task(0, "standby", &running, 0, look)]),
            "three": instance(false, vec![task(3, "active", &running, 0, 1)]),
        },
        "tables": {"flights": {"partitions": 4, "missing_partitions": [3], "without_standby": [1, 2, 3]}}
    })
}

#[test]
fn restoring_dead_missing_and_stalled_are_seen() {
    let mut scene = Scene::new();
    let mut look = 0;
    scene.browser.fake(move |url| {
        look += 1;
        url.ends_with("/v1/cluster").then(|| Fake::json(&cluster(look)))
    });
    scene.browser.open("/status");
    let task = |partition: u32, instance: &str| format!("[data-task='flights/{partition}/{instance}']");
    scene.browser.wait_text(&task(2, "two"), "41.5 %");
    scene.browser.wait_text(&task(2, "two"), "12,000 records/s");
    scene.browser.wait_text(&task(2, "two"), "75 s left");
    scene.browser.wait_text(&task(0, "two"), "standby");
    scene.browser.wait_text("[data-instance=three]", "no answer");
    scene.browser.wait_text("[data-instance=three]", "connection refused");
    scene.browser.wait_text(".notice", "Nobody works on 1 partition of flights");
    scene.browser.wait_text(".notice", "3 partitions of flights without a standby");
    scene.browser.wait_text(&task(1, "one"), "stalled for");
    assert!(!scene.browser.text(&task(0, "one")).contains("stalled"));
    scene.end();
}
