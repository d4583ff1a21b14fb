//! Keld over HTTP, as far as the benchmark needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};
use ureq::Agent;

use super::Result;

/// How far the instance has come, summed over tasks and topics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    /// Whether there are tasks and all of them process.
    pub(crate) all_running: bool,
    /// Events in the stores.
    pub(crate) applied: u64,
    /// Events visible to search.
    pub(crate) visible: u64,
}

/// By step of a commit: how often, and how long together, seconds.
pub(crate) type Steps = BTreeMap<String, (f64, f64)>;

/// A record, or `None` where there is none.
pub(crate) type Found = (String, Option<Map<String, Value>>);

/// A client with connections of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    base: String,
    table: String,
}

impl Client {
    /// A client of one table of the instance at `base`.
    pub(crate) fn new(base: &str, table: &str) -> Self {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10))).build();
        Self { agent: Agent::new_with_config(config), base: base.to_owned(), table: table.to_owned() }
    }

    /// The same with connections of its own.
    pub(crate) fn another(&self) -> Self {
        Self::new(&self.base, &self.table)
    }

    /// Progress as `/v1/status` tells it; `None` while nothing answers.
    pub(crate) fn progress(&self) -> Option<Progress> {
        let mut answer = self.agent.get(format!("{}/v1/status", self.base)).call().ok()?;
        let status: Value = answer.body_mut().read_json().ok()?;
        let tasks = status.get("tasks").and_then(Value::as_array)?;
        let running = |task: &Value| task.pointer("/phase/name").and_then(Value::as_str) == Some("running");
        Some(Progress {
            all_running: !tasks.is_empty() && tasks.iter().all(running),
            applied: tasks.iter().map(|t| events(t.get("applied"))).sum(),
            visible: tasks.iter().map(|t| events(t.get("visible"))).sum(),
        })
    }

    /// Records by key.
    pub(crate) fn records(&self, keys: &[String]) -> Result<Vec<Found>> {
        let url = format!("{}/v1/tables/{}/records/get", self.base, self.table);
        let mut answer = self.agent.post(url).send_json(json!({ "keys": keys, "stale": "allow" }))?;
        let status = answer.status();
        let body: Value = answer.body_mut().with_config().limit(1 << 30).read_json()?;
        let Some(records) = body.get("records").and_then(Value::as_array) else {
            return Err(format!("multi-get answered {status}: {body}").into());
        };
        let mut found = Vec::with_capacity(records.len());
        for entry in records {
            let key = entry.get("key").and_then(Value::as_str).ok_or("a record without its key")?;
            found.push((key.to_owned(), entry.get("record").and_then(Value::as_object).cloned()));
        }
        if found.len() != keys.len() {
            return Err(format!("asked for {} keys, {} were answered", keys.len(), found.len()).into());
        }
        Ok(found)
    }

    /// By step of a commit, how often it was done and how long that took together, seconds.
    pub(crate) fn commit_steps(&self) -> Result<Steps> {
        let text = self.agent.get(format!("{}/metrics", self.base)).call()?.body_mut().read_to_string()?;
        let mut steps = Steps::new();
        for line in text.lines().filter_map(|l| l.strip_prefix("keld_commit_step_seconds_")) {
            let Some((name, value)) = line.rsplit_once(' ') else { continue };
            let Some((what, step)) = name.split_once("{step=\"") else { continue };
            let step = steps.entry(step.trim_end_matches("\"}").to_owned()).or_default();
            match what {
                "count" => step.0 = value.parse()?,
                "sum" => step.1 = value.parse()?,
                _ => {}
            }
        }
        if steps.is_empty() { Err("/metrics tells nothing of the steps of a commit".into()) } else { Ok(steps) }
    }

    /// Whether every task runs.
    pub(crate) fn is_ready(&self) -> bool {
        let answer = self.agent.get(format!("{}/health/ready", self.base)).call();
        answer.is_ok_and(|mut a| a.body_mut().read_to_vec().is_ok() && a.status() == 200)
    }

    /// Whether a record is answered with what is there, be it stale.
    pub(crate) fn has_stale(&self, key: &str) -> bool {
        self.has(&format!("{key}?stale=allow"))
    }

    /// Number of records that match.
    pub(crate) fn count(&self, q: &str) -> Result<u64> {
        let mut answer = self.search(q, 1, "exact")?;
        let body: Value = answer.body_mut().read_json()?;
        body.get("total").and_then(Value::as_u64).ok_or_else(|| format!("a search answered {body}").into())
    }

    /// Whether a search for `q` shows `key` now.
    pub(crate) fn finds(&self, q: &str, key: &str) -> bool {
        let Ok(mut answer) = self.search(q, 5, "none") else { return false };
        let body: Value = answer.body_mut().read_json().unwrap_or_default();
        let hits = body.get("hits").and_then(Value::as_array);
        hits.is_some_and(|hits| hits.iter().any(|h| h.get("key").and_then(Value::as_str) == Some(key)))
    }

    fn search(&self, q: &str, limit: usize, count: &str) -> Result<ureq::http::Response<ureq::Body>> {
        let url = format!("{}/v1/tables/{}/search", self.base, self.table);
        Ok(self.agent.get(url).query("q", q).query("limit", limit.to_string()).query("count", count).call()?)
    }

    /// Whether there is a record of `key` now.
    pub(crate) fn has(&self, key: &str) -> bool {
        let answer = self.agent.get(format!("{}/v1/tables/{}/records/{key}", self.base, self.table)).call();
        answer.is_ok_and(|mut a| {
            let found = a.status() == 200;
            // The body is read to its end, so that the connection is used again.
            a.body_mut().read_to_vec().is_ok() && found
        })
    }
}

/// Number of events that a task covers: per topic, one more than the offset in `topic:partition:offset`.
fn events(last: Option<&Value>) -> u64 {
    let last = last.and_then(Value::as_object).into_iter().flat_map(Map::values).filter_map(Value::as_str);
    last.filter_map(|l| l.rsplit(':').next()?.parse::<u64>().ok()).map(|offset| offset + 1).sum()
}
