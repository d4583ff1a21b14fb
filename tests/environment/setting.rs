//! A small table, its events, the records that they must leave, and a file system that can be filled.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::common::kafka::start_kafka;
use crate::common::lab::{Instance, Lab, On};
use crate::common::truth;
use crate::common::workload::{Delivery, Workload};

pub(crate) const CONFIG: &str = r#"
application = "env"
[tables.things]
key = "id"
[tables.things.sources.feed]
topic = "feed"
version = "ts"
event_id = "event_id"
[tables.things.sources.extra]
topic = "extra"
version = "ts"
event_id = "event_id"
[tables.things.fields]
name = { type = "text" }
last = { type = "integer" }
sum = { type = "integer", merge = "sum", path = "add" }
"#;

/// Keys of a workload.
const KEYS: usize = 500;

/// Events `0..count` of both sources, `pad` bytes of text in each, and the records that they leave.
pub(crate) fn workload(count: usize, pad: usize) -> Workload {
    let mut expected: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut deliveries = Vec::with_capacity(count);
    for n in 0..count {
        let (key, topic) = (format!("thing-{}", n % KEYS), if n % 3 == 0 { "extra" } else { "feed" });
        let name = format!("name {n} {}", "x".repeat(pad));
        let body = json!({ "id": key, "ts": 1_700_000_000_000_i64 + i64::try_from(n).unwrap(), "event_id": n, "name": name, "last": n, "add": 2 });
        deliveries.push(Delivery { topic: topic.to_owned(), key: key.clone(), body: body.to_string() });
        let record = expected.entry(key.clone()).or_default();
        let sum = record.get("sum").and_then(Value::as_i64).unwrap_or(0) + 2;
        *record = json!({ "id": key, "name": name, "last": n, "sum": sum }).as_object().unwrap().clone();
    }
    Workload { deliveries, expected }
}

/// Every record is right, and everything was counted once: `keld verify` counts since the beginning.
pub(crate) fn exact(lab: &Lab, mut instance: Instance, workload: &Workload, ends: &BTreeMap<(String, u32), i64>) {
    instance.wait_caught_up(ends);
    let client = instance.client();
    truth::by_key(&client, "things", workload);
    truth::by_search(&client, "things", "id", workload);
    instance.stop();
    let audits = lab.verify();
    let consumed = audits.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["consumed"].as_u64().unwrap());
    assert_eq!(consumed.sum::<u64>(), workload.deliveries.len() as u64, "events consumed since the beginning");
}

/// Whether a test over this broker can run; says so loudly if not.
pub(crate) fn available(on: On) -> bool {
    on == On::Local || start_kafka().is_some()
}

/// The last line of a process that must fail: it says `keld: error:`, and speaks of every one of `about`.
pub(crate) fn failed(instance: Instance, about: &[&str]) -> String {
    let (status, err) = instance.wait_end();
    assert!(status.code().is_some_and(|code| code > 0), "{status}\n{err}");
    let last = err.lines().last().unwrap_or_default().to_owned();
    let why = last.strip_prefix("keld: error: ").unwrap_or_else(|| panic!("the last line is no error:\n{err}"));
    for word in about {
        assert!(why.contains(word), "{word:?} in the last line: {last}");
    }
    assert!(!err.contains("panicked at"), "{err}");
    last
}

/// A file system in memory over a directory, unmounted at the end.
pub(crate) struct Mount(PathBuf);

impl Mount {
    /// `None`, loudly, where mounting is not permitted.
    pub(crate) fn new(over: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(over).unwrap();
        if mount(&["-t", "tmpfs", "-o", options, "tmpfs"], over) {
            return Some(Self(over.to_owned()));
        }
        println!("SKIPPED: cannot mount a tmpfs here (needs root and CAP_SYS_ADMIN); this test checked NOTHING");
        None
    }

    pub(crate) fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.0), "remounting {options}");
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Fills the file system up to `left` bytes.
    pub(crate) fn fill(&self, left: u64) {
        self.empty();
        let free = Command::new("stat").args(["-f", "-c", "%a %S"]).arg(&self.0).output().unwrap();
        let text = String::from_utf8(free.stdout).unwrap();
        let mut numbers = text.split_whitespace().map(|n| n.parse::<u64>().unwrap());
        let bytes = numbers.next().unwrap() * numbers.next().unwrap();
        let size = bytes.saturating_sub(left).to_string();
        assert!(Command::new("fallocate").args(["-l", &size]).arg(self.ballast()).status().unwrap().success());
    }

    /// Gives the space back.
    pub(crate) fn empty(&self) {
        // There may be none.
        let _ = std::fs::remove_file(self.ballast());
    }
}

fn mount(options: &[&str], at: &Path) -> bool {
    Command::new("mount").args(options).arg(at).output().is_ok_and(|o| o.status.success())
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A process that a failed test left behind may still use it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
