//! The same questions, one after the other, of an instance that has everything and of one among three.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use keld::record::Partitioner;
use serde_json::{Map, Value};
use ureq::Agent;

use super::fleet::Fleet;
use super::load::expected;
use super::{Options, PARTITIONS, Result, TABLE};

/// Requests of each kind that are not counted: connections, caches.
const WARM_UP: usize = 50;

/// What is asked, by kind; the first instance is asked.
pub(crate) struct Questions {
    keys: Vec<String>,
    searches: Vec<(&'static str, Vec<String>)>,
}

/// Keys and searches drawn from the records that are there, the same in every run.
pub(crate) fn questions(options: &Options, data: &Path) -> Result<Questions> {
    let records = expected(&data.join("expected.ndjson"), "sku")?;
    let stride = (records.len() / options.requests).max(1);
    let some: Vec<_> = records.iter().step_by(stride).cycle().take(options.requests).collect();
    let text = |record: &Map<String, Value>, field: &str| -> String {
        record.get(field).and_then(Value::as_str).unwrap_or("desk").to_owned()
    };
    let word =
        |record: &Map<String, Value>, field: &str| text(record, field).split(' ').next().unwrap_or("desk").to_owned();
    let each = |of: &dyn Fn(&Map<String, Value>) -> String| some.iter().map(|(_, r)| of(r)).collect();
    Ok(Questions {
        keys: some.iter().map(|(key, _)| (*key).clone()).collect(),
        searches: vec![
            ("search: one word, top 10", each(&|r| format!("q={}&limit=10", word(r, "title")))),
            (
                "search: word and filter, sorted, top 10",
                each(&|r| {
                    format!("q={}&filter=category:{}&sort=-price&limit=10", word(r, "description"), text(r, "category"))
                }),
            ),
            (
                "search: one word, three facets",
                each(&|r| format!("q={}&limit=1&facets=brand:10,category:10,currency:3", word(r, "title"))),
            ),
        ],
    })
}

/// How long one kind of question took.
pub(crate) struct Kind {
    pub(crate) name: String,
    /// Microseconds.
    pub(crate) times: Histogram<u64>,
}

/// What came of all questions.
pub(crate) struct Asked {
    /// By kind; of reads by key those of the asked instance's own tasks, then those that it forwards.
    pub(crate) kinds: Vec<Kind>,
    /// What the searches found: totals and the keys of the hits, where their order is not that of scores.
    found: Vec<(u64, Vec<String>)>,
}

impl Asked {
    /// Asks the first instance.
    pub(crate) fn measure(fleet: &Fleet, questions: &Questions) -> Result<Self> {
        let config =
            Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10))).build();
        let agent = Agent::new_with_config(config);
        let base = fleet.running.get(&0).map(|k| format!("{}/v1/tables/{TABLE}", k.url)).ok_or("it does not run")?;
        let own: BTreeSet<u64> = fleet.running_as(0, "active").into_iter().collect();
        let place = |key: &String| Partitioner::Murmur2.partition(key.as_bytes(), PARTITIONS).map(u64::from);
        let (here, there): (Vec<&String>, Vec<&String>) =
            questions.keys.iter().partition(|key| place(key).is_some_and(|p| own.contains(&p)));
        let mut asked = Self { kinds: Vec::new(), found: Vec::new() };
        for (name, keys) in [("GET by key: owned by who is asked", here), ("GET by key: owned by another", there)] {
            let urls = keys.iter().map(|key| format!("{base}/records/{key}"));
            let (times, _) = ask(&agent, urls)?;
            asked.kinds.push(Kind { name: name.to_owned(), times });
        }
        for (name, searches) in &questions.searches {
            let (times, answers) = ask(&agent, searches.iter().map(|s| format!("{base}/search?{s}")))?;
            asked.kinds.push(Kind { name: (*name).to_owned(), times });
            asked.found.extend(answers.iter().map(found));
        }
        Ok(asked)
    }

    /// Whether other instances found the same.
    pub(crate) fn must_equal(&self, other: &Self) -> Result<()> {
        let different = self.found.iter().zip(&other.found).filter(|(a, b)| a != b).count();
        if different > 0 || self.found.len() != other.found.len() {
            return Err(format!("{different} of {} searches found something else", self.found.len()).into());
        }
        Ok(())
    }
}

/// Times, in microseconds, and answers.
fn ask(agent: &Agent, urls: impl Iterator<Item = String> + Clone) -> Result<(Histogram<u64>, Vec<Value>)> {
    for url in urls.clone().take(WARM_UP) {
        one(agent, &url)?;
    }
    let (mut times, mut answers) = (Histogram::new(3)?, Vec::new());
    for url in urls {
        let since = Instant::now();
        let body = one(agent, &url)?;
        times.record(u64::try_from(since.elapsed().as_micros())?)?;
        answers.push(serde_json::from_slice(&body)?);
    }
    Ok((times, answers))
}

/// The body of an answer, which must be good.
fn one(agent: &Agent, url: &str) -> Result<Vec<u8>> {
    let mut answer = agent.get(url).call()?;
    let body = answer.body_mut().read_to_vec()?;
    match answer.status().as_u16() {
        200 => Ok(body),
        status => Err(format!("{url}: {status} {}", String::from_utf8_lossy(&body)).into()),
    }
}

/// The total and, where they are sorted by a field, the hits; hits of equal score may stand in another order while one side still
/// counts documents that were superseded.
fn found(answer: &Value) -> (u64, Vec<String>) {
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let hits = answer.get("hits").and_then(Value::as_array);
    let sorted = hits.is_some_and(|hits| hits.iter().all(|h| h.get("score").is_none_or(Value::is_null)));
    let key = |hit: &Value| hit.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
    (total, hits.filter(|_| sorted).map(|hits| hits.iter().map(key).collect()).unwrap_or_default())
}
