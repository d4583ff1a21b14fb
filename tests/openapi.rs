//! The API does what its description says: Schemathesis makes requests of `/openapi.json`, right ones and wrong ones, and holds
//! the answers against it. No answer of a ready instance may be a 5xx.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};

use common::client::Client;
use common::dice::Dice;
use common::full_scale;
use common::lab::{Instance, Lab, On};
use common::{python, report};
use serde_json::Value;

/// Requests for each operation and phase.
const EXAMPLES: usize = 60;
const EXAMPLES_FULL: usize = 1_500;
/// Requests of every day are the same, so that who changes something else is not told of old mistakes; at full size, and with
/// `KELD_TEST_SEED`, they are others.
const SEED: u64 = 1;
/// Answers that never end; `tests/changes.rs` reads them.
const ENDLESS: &[&str] = &["/v1/tables/{table}/changes"];

/// Tables that differ in their keys, their merging and what is indexed.
const CONFIG: &str = r#"
application = "shop"

[memory]
budget = "384MiB"

[api]
search_threads = 2

[tables.products]
key = "sku"
dynamic = "index"

[tables.products.sources.catalog]
topic = "catalog"
version = "v"
version_kind = "sequence"
event_id = "e"
rank = 20
delete = { field = "deleted", equals = true }

[tables.products.sources.stock]
topic = "stock"
version = "v"
version_kind = "sequence"
event_id = "e"

[tables.products.fields]
title = { type = "text", analysis = { language = "english" }, variants = { start = { edge_grams = [1, 8] } } }
brand = { type = "keyword", facet = true }
price = { type = "float", facet = true }
stock = { type = "integer", facet = true }
live = { type = "boolean", facet = true }
since = { type = "date", facet = true }
attrs = { type = "json" }
tags = { type = "keyword", merge = "set", facet = true }
sold = { type = "integer", merge = "sum", path = "sold_delta" }
seen = { type = "keyword", merge = "append", path = "by" }

[tables.products.derived]
label = { type = "text", expr = "title + ' ' + brand" }

[tables.visits]
key = "@key"
dynamic = "store"

[tables.visits.sources.visits]
topic = "visits"
version = "ts"

[tables.visits.fields]
page = { type = "keyword", facet = true }
agent = { type = "text", path = "@header.agent" }
"#;

/// Records of every kind, a deleted one, and refused events of several kinds.
fn fill(client: &Client, lab: &Lab) {
    let product = |n: usize| {
        format!(
            "{{\"sku\":\"sku-{n}\",\"v\":{n},\"e\":\"c{n}\",\"title\":\"walnut desk {n}\",\"brand\":\"b{}\",\"price\":{n}.5,\
             \"live\":{},\"since\":\"2026-01-{:02}T00:00:00Z\",\"attrs\":{{\"size\":{{\"w\":{n}}}}},\"tags\":[\"t{}\"],\
             \"by\":\"me\",\"extra\":{n},\"deleted\":{}}}\n",
            n % 5,
            n.is_multiple_of(2),
            n % 28 + 1,
            n % 7,
            n % 19 == 18
        )
    };
    client.ingest(&lab.topic("catalog"), &(0..200).map(product).collect::<String>());
    let stock =
        |n: usize| format!("{{\"sku\":\"sku-{n}\",\"v\":{n},\"e\":\"s{n}\",\"stock\":{},\"sold_delta\":1}}\n", n % 40);
    client.ingest(&lab.topic("stock"), &(0..150).map(stock).collect::<String>());
    client.ingest(&lab.topic("stock"), "{\"sku\":\"sku-1\",\"v\":9,\"e\":\"bad1\",\"stock\":\"many\"}\n");
    client.ingest(&lab.topic("catalog"), "{\"sku\":\"sku-2\",\"v\":[],\"e\":\"bad2\"}\n");
    let visits = (0..20).map(|n| format!("{{\"ts\":{n},\"page\":\"/p{n}\",\"who\":\"u{n}\"}}\n")).collect::<String>();
    let path =
        format!("/v1/topics/{}/events?key_path=who&header=agent:test&wait=visible&timeout=9s", lab.topic("visits"));
    let (status, answer) = client.try_post(&path, "application/x-ndjson", visits.as_bytes()).unwrap();
    assert_eq!(status, 200, "{answer}");
}

fn wait_filled(instance: &mut Instance) {
    instance.wait_for("records of all tables", |client| {
        let total = |table: &str| client.get_any(&format!("/v1/tables/{table}/search?limit=1")).1["total"].as_u64();
        let refused = client.get_any("/v1/quarantine").1["entries"].as_array().map(Vec::len);
        let ready = client.try_get("/health/ready").ok()?.0 == 200;
        (ready && total("products") == Some(190) && total("visits") == Some(20) && refused == Some(2)).then_some(())
    });
}

#[test]
fn no_request_is_answered_otherwise_than_described() {
    let chosen = full_scale() || std::env::var_os("KELD_TEST_SEED").is_some();
    let seed = if chosen { Dice::thrown("openapi").below(1 << 32) } else { SEED };
    let lab = Lab::with_config(On::Local, CONFIG);
    let mut instance = lab.start();
    instance.wait_for("its tasks to run", |c| (c.try_get("/health/ready").ok()?.0 == 200).then_some(()));
    fill(&instance.client(), &lab);
    wait_filled(&mut instance);
    let before = consumed(&instance.client());
    let examples = if full_scale() { EXAMPLES_FULL } else { EXAMPLES };
    let config = config(&lab);
    let address = instance.address.clone().unwrap();
    // Out of a file, or it would leave the path of the description out.
    let (description, findings) = (lab.dir.path().join("openapi.json"), lab.dir.path().join("findings.json"));
    std::fs::write(&description, instance.client().get("/openapi.json").to_string()).unwrap();
    let mut command = python::module("schemathesis.cli");
    command.arg("--config-file").arg(&config).args(["--no-color", "run", "--url", &address]);
    command.arg(&description);
    // All checks are on unless the configuration says otherwise, which `--checks` would overrule.
    command.args(["--mode", "all", "--max-examples", &examples.to_string()]);
    command.args(["--seed", &seed.to_string(), "--continue-on-failure", "--request-timeout", "30"]);
    command.args(["--suppress-health-check", "all"]).arg("--report-json-path").arg(&findings);
    command.args(ENDLESS.iter().flat_map(|path| ["--exclude-path", *path]));
    // Its data base of examples would be another input than the seed.
    command.args(["--generation-database", "none"]).current_dir(lab.dir.path());
    let done = command.output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout) + String::from_utf8_lossy(&done.stderr);
    println!("{said}");
    assert!(done.status.success(), "schemathesis --seed {seed} found what must not be:\n{said}");
    let operations = described(&instance.client());
    let selected = operations - ENDLESS.len();
    assert!(said.contains(&format!("{selected} selected / {operations} total")), "every operation is tried:\n{said}");
    let after = consumed(&instance.client());
    assert!(
        after > before,
        "some events must have been taken: {before}, {after}: {}",
        instance.client().get("/v1/status")
    );
    // What was tried has left no trace but in what it may change.
    assert_eq!(instance.client().try_get("/health/ready").unwrap().0, 200);
    let panicked = instance.stderr().lines().filter(|line| line.contains("panicked")).count();
    assert_eq!(panicked, 0, "{}", instance.stderr());
    instance.stop();
    report(&format!(
        "schemathesis: {selected} operations, {examples} examples each and phase, seed {seed}: nothing found"
    ));
}

/// The configuration of Schemathesis, completed.
fn config(lab: &Lab) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi");
    let text = std::fs::read_to_string(dir.join("schemathesis.toml")).unwrap();
    let text = text.replace("<hooks>", dir.join("hooks.py").to_str().unwrap()).replace("<lab>", &lab.name);
    let path = lab.dir.path().join("schemathesis.toml");
    std::fs::write(&path, text).unwrap();
    path
}

/// Events that all tables have consumed.
fn consumed(client: &Client) -> u64 {
    let status = client.get("/v1/status");
    let tables = status["tables"].as_array().unwrap().iter();
    let accounts = tables.flat_map(|table| table["accounting"].as_object().unwrap().values());
    accounts.map(|account| account["consumed"].as_u64().unwrap()).sum()
}

/// Operations in the description.
fn described(client: &Client) -> usize {
    let description = client.get("/openapi.json");
    description["paths"].as_object().unwrap().values().map(|path: &Value| path.as_object().unwrap().len()).sum()
}
