//! `keld demo` as a script runs it: interrupted, resumed, run again, and then run on by `keld run` over the same state.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::lab::Instance;
use common::truth;
use common::workload::Workload;
use serde_json::{Map, Value};

/// Events in the packed file, as its README says.
const EVENTS: u64 = 104_648;
/// Records that they leave.
const RECORDS: u64 = 25_079;
/// Flights that the packed file speaks of.
const FLIGHTS: usize = 25_100;

fn keld(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    command.env_clear().args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn demo(dir: &Path, listen: &str) -> Command {
    keld(&["demo", "--exit", "--data-dir", dir.to_str().unwrap(), "--listen", listen])
}

/// Runs a demo to its end; what it printed.
fn run_demo(dir: &Path) -> String {
    let done = demo(dir, "127.0.0.1:0").output().unwrap();
    let (out, err) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr).into_owned());
    assert!(done.status.success(), "keld demo: {}\n{out}\n{err}", done.status);
    out
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn config() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo/keld.toml")
}

/// `keld <what>` on the demo's configuration and state.
fn on_demo(what: &str, dir: &Path) -> Command {
    let data_dir = format!("instance.data_dir={}", dir.display());
    keld(&[what, "--config", config().to_str().unwrap(), "--set", &data_dir, "--set", "instance.listen=127.0.0.1:0"])
}

/// A demo that is told to stop while it feeds: it must close cleanly, having said nothing of answers.
fn interrupt(dir: &Path) {
    let address = free_address();
    let mut instance = Instance::new(demo(dir, &address).spawn().unwrap());
    instance.address = Some(format!("http://{address}"));
    instance.wait_for("the first events", |client| {
        let (_, status) = client.try_get("/v1/status").ok()?;
        let status: Value = serde_json::from_str(&status).ok()?;
        let accounts = status["tables"][0]["accounting"].as_object()?.values();
        (accounts.map(|a| a["consumed"].as_u64().unwrap()).sum::<u64>() > 0).then_some(())
    });
    instance.signal("INT");
    let (status, err) = instance.wait_end();
    assert_eq!(status.code(), Some(0), "{err}");
}

/// The number of hits and the lines of an example search.
fn example<'o>(out: &'o str, title: &str) -> (u64, Vec<&'o str>) {
    let mut lines = out.lines().skip_while(|l| !l.starts_with(title));
    let head = lines.next().unwrap_or_else(|| panic!("no example {title:?} in\n{out}"));
    let total = head.strip_prefix(title).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    let url = lines.next().unwrap();
    assert!(url.starts_with("/v1/tables/flights/search?"), "{url}");
    (total, lines.take_while(|l| l.starts_with("  ")).collect())
}

/// The third example, worked out from the expected records alone.
fn cancelled_to_boston(workload: &Workload) -> (u64, Vec<String>) {
    let is = |r: &Map<String, Value>, field: &str, value: &str| r.get(field).and_then(Value::as_str) == Some(value);
    let matching = workload.expected.iter().filter(|(_, r)| is(r, "status", "cancelled") && is(r, "dest", "BOS"));
    let mut all: Vec<(String, String)> =
        matching.map(|(key, r)| (r["sched_dep"].as_str().unwrap().to_owned(), key.clone())).collect();
    all.sort();
    (all.len() as u64, all.into_iter().take(3).map(|(_, key)| key).collect())
}

fn check_output(out: &str, workload: &Workload) {
    assert!(out.contains(&format!("{EVENTS} events are in; {RECORDS} records")), "{out}");
    for title in ["a crew that was late, towards Chicago", "the longest delays in snow"] {
        let (total, hits) = example(out, title);
        assert!(total > 0 && hits.len() == 3, "{out}");
    }
    let (total, hits) = example(out, "cancelled flights to Boston, by departure");
    let keys: Vec<String> = hits.iter().map(|l| l.split_whitespace().next().unwrap().to_owned()).collect();
    assert_eq!((total, keys), cancelled_to_boston(workload));
    assert!(out.contains("Open http://127.0.0.1:"), "{out}");
}

/// The four outcomes in the line that accounts for everything fed.
fn account(out: &str) -> &str {
    let line = out.lines().find(|l| l.contains("events are in")).unwrap();
    &line[line.rfind('(').unwrap()..]
}

#[test]
fn the_demo_shows_the_truth_feeds_nothing_twice_and_can_be_run_on() {
    let workload = Workload::flights(Some(FLIGHTS), &[]);
    assert_eq!((workload.deliveries.len() as u64, workload.expected.len() as u64), (EVENTS, RECORDS));
    let dir = tempfile::tempdir().unwrap();
    interrupt(dir.path());
    let first = run_demo(dir.path());
    check_output(&first, &workload);
    let again = run_demo(dir.path());
    check_output(&again, &workload);
    assert_eq!(account(&first), account(&again), "the second run fed something twice");

    let mut instance = Instance::new(on_demo("run", dir.path()).spawn().unwrap());
    instance.wait_listening();
    let ready = |client: &common::client::Client| (client.get_any("/health/ready").0 == 200).then_some(());
    instance.wait_for("all tasks", ready);
    let client = instance.client();
    truth::by_key(&client, "flights", &workload);
    let all = client.get("/v1/tables/flights/search?limit=1");
    assert_eq!(all["total"], RECORDS);
    instance.stop();
    let verified = on_demo("verify", dir.path()).arg("--json").output().unwrap();
    let out = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success(), "{out}\n{}", String::from_utf8_lossy(&verified.stderr));
    let consumed = out.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["consumed"].as_u64().unwrap());
    assert_eq!(consumed.sum::<u64>(), EVENTS);
}
