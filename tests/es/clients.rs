//! Real clients of Elasticsearch and OpenSearch, in two languages and several versions.
//!
//! `scripts/setup --tests` brings them; where they are missing the test fails.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::lab::{Lab, On, loaded};
use crate::common::report;
use crate::common::workload::Workload;

/// Where `scripts/setup` puts clients.
fn cache() -> PathBuf {
    let cache = std::env::var_os("KELD_CACHE").map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/keld"));
    let clients = cache.join("es-clients");
    assert!(clients.is_dir(), "{} is missing: run scripts/setup --tests", clients.display());
    clients
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/es/clients").join(name)
}

/// Runs a suite, which must pass; its last line.
fn run(mut command: Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{command:?}: {}\n{out}\n{err}", done.status);
    let line = out.lines().last().unwrap_or_default();
    assert!(line.contains("checks passed"), "{command:?} says nothing: {out}");
    report(line);
}

#[test]
fn real_clients_get_what_they_expect() {
    let workload = Workload::flights(Some(800), &[]);
    let lab = Lab::new(On::Local, "flights.toml");
    let ends = loaded(&lab, &workload);
    let mut instance = lab.start();
    instance.wait_caught_up(&ends);
    let url = format!("{}/es", instance.address.clone().unwrap());
    let records = lab.dir.path().join("expected.ndjson");
    let lines: Vec<String> = workload.expected.values().map(|r| serde_json::to_string(r).unwrap()).collect();
    std::fs::write(&records, lines.join("\n")).unwrap();
    for (name, kind) in
        [("elasticsearch-8", "elasticsearch"), ("elasticsearch-9", "elasticsearch"), ("opensearch", "opensearch")]
    {
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", cache().join(name).join("packages")).arg(script("suite.py"));
        command.args([kind, &url]).arg(&records);
        run(command);
    }
    for name in ["elasticsearch-8", "elasticsearch-9", "@opensearch-project/opensearch"] {
        let mut command = Command::new("node");
        command.env("TOPICS", lab.topic("")).arg(script("suite.mjs"));
        command.arg(cache().join("javascript/node_modules").join(name)).arg(&url).arg(&records);
        run(command);
    }
    instance.stop();
}
