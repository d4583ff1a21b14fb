//! Compares an instance with a workload's expected records: by key, by search, by the changelog, and in its accounts.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use keld::broker::{Progress, TopicPartition};
use keld::config;
use keld::record::{POSITION_KEY, codec, render};
use serde_json::{Map, Value, json};

use super::client::{Client, escape};
use super::lab::Lab;
use super::workload::Workload;

/// Keys asked for at a time.
const MANY: usize = 500;
/// Threads that search.
const SEARCHERS: usize = 4;

/// Every key by GET: equal to expected, and absent where nothing is expected.
pub(crate) fn by_key(client: &Client, table: &str, workload: &Workload) {
    let keys: Vec<&str> = workload.keys().into_iter().collect();
    for chunk in keys.chunks(MANY) {
        let answer = client.post(&format!("/v1/tables/{table}/records/get"), &json!({ "keys": chunk }));
        let mut got: HashMap<&str, &Value> = HashMap::new();
        for record in answer["records"].as_array().unwrap() {
            if record["record"].is_object() {
                got.insert(record["key"].as_str().unwrap(), &record["record"]);
            }
        }
        for key in chunk {
            let expected = workload.expected.get(*key);
            let found = got.get(key).map(|r| r.as_object().unwrap());
            assert_eq!(found, expected, "GET {key}");
        }
    }
}

/// Every live key is found once by search, with its record, and there is no other.
pub(crate) fn by_search(client: &Client, table: &str, key_field: &str, workload: &Workload) {
    let all = client.get(&format!("/v1/tables/{table}/search?limit=1"));
    assert_eq!(all["total"], workload.expected.len(), "documents in all");
    let keys: Vec<&String> = workload.expected.keys().collect();
    std::thread::scope(|scope| {
        for part in keys.chunks(keys.len().div_ceil(SEARCHERS).max(1)) {
            scope.spawn(move || {
                for key in part {
                    let filter = escape(&format!("{key_field}:\"{key}\""));
                    let answer = client.get(&format!("/v1/tables/{table}/search?filter={filter}&limit=2"));
                    assert_eq!(answer["total"], 1, "search for {key}: {answer}");
                    let record = answer["hits"][0]["record"].as_object();
                    assert_eq!(record, workload.expected.get(*key), "search for {key}");
                }
            });
        }
    });
}

/// The changelog's compacted view holds the expected records and no other. The instance must not run on the embedded log.
pub(crate) fn by_changelog(lab: &Lab, table: &str, workload: &Workload) {
    let settings = config::load(&lab.config, &[], &lab.sets).unwrap();
    let def = settings.tables.iter().find(|t| t.name == table).unwrap();
    let broker = lab.broker();
    let mut live: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for partition in 0..lab.partitions {
        let tp = TopicPartition::new(settings.changelog_topic(table), partition);
        let log = broker.watermarks(&tp).unwrap();
        let mut last: HashMap<Vec<u8>, Option<Vec<u8>>> = HashMap::new();
        let mut reader = broker.reader(&tp, log.low).unwrap();
        loop {
            let progress = reader.read(10_000, Duration::from_millis(200), &mut |m| {
                last.insert(m.key.unwrap().to_vec(), m.payload.map(<[u8]>::to_vec));
            });
            if let Progress::End { to } = progress.unwrap()
                && to >= log.high
            {
                break;
            }
        }
        for (key, stored) in last.into_iter().filter(|(k, _)| k != POSITION_KEY) {
            let Some(stored) = stored else { continue };
            let record = codec::decode(&stored).unwrap();
            if let Some(shown) = render::json(def, &key, &record, None) {
                live.insert(String::from_utf8(key).unwrap(), shown);
            }
        }
    }
    assert!(
        live == workload.expected,
        "the changelog differs from the expected records: {}",
        first_difference(&live, workload)
    );
}

fn first_difference(live: &BTreeMap<String, Map<String, Value>>, workload: &Workload) -> String {
    let keys = live.keys().chain(workload.expected.keys());
    keys.filter(|k| live.get(*k) != workload.expected.get(*k))
        .map(|k| format!("{k}: changelog {:?}, expected {:?}", live.get(k), workload.expected.get(k)))
        .next()
        .unwrap_or_default()
}

/// The accounting identity: what was consumed is what was delivered, per source, and the four outcomes add up to it.
pub(crate) fn accounts(status: &Value, table: &str, topic_of: &BTreeMap<String, u64>) -> Value {
    let tables = status["tables"].as_array().unwrap();
    let table = tables.iter().find(|t| t["name"] == table).unwrap();
    let accounts = table["accounting"].as_object().unwrap();
    let n = |account: &Value, name: &str| account[name].as_u64().unwrap();
    for (source, delivered) in topic_of {
        let account = &accounts[source];
        assert_eq!(n(account, "consumed"), *delivered, "source {source}: {account}");
        let sum = ["applied", "duplicate", "stale", "quarantined"].iter().map(|o| n(account, o)).sum::<u64>();
        assert_eq!(sum, *delivered, "source {source}: {account}");
    }
    table["accounting"].clone()
}
