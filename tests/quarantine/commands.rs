//! `keld quarantine` beside a running instance; its output here goes into a pipe.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::common::lab::On;
use crate::scene::{Scene, deep, event, listed};

fn keld(address: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keld"));
    command.env_clear().arg("quarantine").args(arguments).args(["--url", address]);
    command.output().unwrap()
}

/// The lines of a command that must succeed, each one JSON object.
fn lines(address: &str, arguments: &[&str]) -> Vec<Value> {
    let done = keld(address, arguments);
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    let out = String::from_utf8(done.stdout).unwrap();
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// The last line on stderr of a command that must fail.
fn failure(address: &str, arguments: &[&str]) -> String {
    let done = keld(address, arguments);
    assert!(!done.status.success(), "{arguments:?} must fail");
    let err = String::from_utf8(done.stderr).unwrap();
    err.lines().last().unwrap().to_owned()
}

pub(crate) fn the_command_line_lists_shows_and_replays(on: On) {
    let mut scene = Scene::new(on);
    let mut events: Vec<Value> = (0..7).map(|n| deep(&format!("deep-{n}"), n)).collect();
    events.push(event("typed", 1, &json!({ "price": "cheap" })));
    scene.send(&events);
    let instance = scene.start(0);
    let address = instance.address.clone().unwrap();

    let all = lines(&address, &["list", "--limit", "5"]);
    assert_eq!(all, listed(&instance.client(), "limit=5"), "the command shows what the instance answers");
    let deep = lines(&address, &["list", "--reason", "too_deep", "--since", "1h"]);
    assert_eq!(deep.len(), 7);
    assert!(lines(&address, &["list", "--until", "1h"]).is_empty());
    let typed = lines(&address, &["list", "--reason", "wrong_type"]);
    let id = typed[0]["id"].as_str().unwrap();
    assert_eq!(lines(&address, &["show", id])[0]["payload"], json!(events[7].to_string()));

    let rehearsed = lines(&address, &["replay", "--reason", "too_deep", "--dry-run"]);
    assert_eq!(rehearsed.len(), 7);
    let replayed = lines(&address, &["replay", "--reason", "too_deep"]);
    assert!(replayed.len() == 7 && replayed.iter().all(|fate| fate["fate"] == "replayed"), "{replayed:?}");
    assert!(lines(&address, &["replay", "--reason", "too_deep"]).iter().all(|fate| fate["id"] != deep[0]["id"]));
    assert_eq!(lines(&address, &["replay", deep[0]["id"].as_str().unwrap()])[0]["fate"], "already");

    assert!(failure(&address, &["replay"]).contains("--reason"), "nothing says which");
    assert!(failure(&address, &["replay", "0-99999"]).contains("1 entries cannot be replayed"));
    assert!(failure(&address, &["show", "0-99999"]).contains("no entry"));
    assert!(failure("http://127.0.0.1:1", &["list"]).contains("--url"));
    instance.stop();
}
