//! Where events go: to a running instance over HTTP, or to Kafka.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::lines::Line;
use crate::app;
use crate::broker::{Appender, NewRecord};
use crate::cli::IngestArgs;
use crate::cli::client::escape;
use crate::clock;
use crate::config::{BrokerKind, Settings};
use crate::record::Path;
use crate::record::decode::{Placement, RawEvent};
use crate::{Error, Kind, Result};

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause before an instance that has enough to do is asked again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often an instance that has enough to do is asked again.
const ATTEMPTS: usize = 240;

/// Where events go.
pub(super) enum Target {
    Instance(Instance),
    Kafka(Box<Kafka>),
}

/// Lines that were refused, and why.
pub(super) type Refused = Vec<(u64, String)>;

impl Target {
    pub(super) fn of(args: &IngestArgs, settings: &Settings) -> Result<Self> {
        let key = args.key.as_deref().map(Path::parse);
        match settings.broker.kind {
            BrokerKind::Kafka => Kafka::new(settings, &args.topic, key).map(|kafka| Target::Kafka(Box::new(kafka))),
            BrokerKind::Local => Ok(Target::Instance(Instance::new(args, settings))),
        }
    }

    /// Sends a batch; returns the lines that were refused. Of the others every one is durable.
    pub(super) fn send(&mut self, batch: &[Line]) -> Result<Refused> {
        match self {
            Target::Instance(instance) => instance.send(batch),
            Target::Kafka(kafka) => kafka.send(batch),
        }
    }
}

/// A running instance.
pub(super) struct Instance {
    agent: ureq::Agent,
    url: String,
}

/// What of an answer matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    detail: String,
    advice: String,
    lines: Vec<BadLine>,
}

#[derive(Debug, Deserialize)]
struct BadLine {
    line: usize,
    error: String,
}

impl Instance {
    fn new(args: &IngestArgs, settings: &Settings) -> Self {
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).max_redirects(0);
        let base = args.url.as_deref().unwrap_or(&settings.instance.advertise).trim_end_matches('/');
        let key = args.key.as_deref().map(|path| format!("?key_path={}", escape(path))).unwrap_or_default();
        Self { agent: config.build().into(), url: format!("{base}/v1/topics/{}/events{key}", escape(&args.topic)) }
    }

    /// An instance takes all lines of a request or none, and names those that it would not take: without them it is asked again.
    fn send(&self, batch: &[Line]) -> Result<Refused> {
        let mut left: Vec<&Line> = batch.iter().collect();
        let mut refused = Refused::new();
        while !left.is_empty() {
            let body = left.iter().map(|line| line.json.as_slice()).collect::<Vec<_>>().join(&b'\n');
            let Some(problem) = self.post(&body)? else { break };
            let mut bad: Vec<usize> = problem.lines.iter().map(|bad| bad.line).collect();
            let named = problem.lines.into_iter();
            refused.extend(named.filter_map(|bad| Some((left.get(bad.line.checked_sub(1)?)?.number, bad.error))));
            bad.sort_unstable();
            bad.dedup();
            if !bad.iter().any(|line| (1..=left.len()).contains(line)) {
                return Err(Error::internal(format!("{} refuses lines that were not sent", self.url)));
            }
            let sent = left.len();
            for line in bad.into_iter().rev().filter(|line| (1..=sent).contains(line)) {
                left.remove(line - 1);
            }
        }
        refused.sort_unstable();
        Ok(refused)
    }

    /// `None` if everything was taken; else the problem with lines that name it.
    fn post(&self, body: &[u8]) -> Result<Option<Problem>> {
        for _ in 0..ATTEMPTS {
            let sent = self.agent.post(&self.url).header("content-type", "application/x-ndjson").send(body);
            let mut answer = sent.map_err(|e| {
                let error =
                    Error::new(Kind::BrokerAway, format!("no instance takes events at {}", self.url)).because(e);
                error.advise(
                    "the embedded log belongs to a running instance: start it (`keld run`), or name it with --url",
                )
            })?;
            let (status, text) = (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap_or_default());
            match status {
                200 => return Ok(None),
                429 | 503 => std::thread::sleep(PAUSE),
                _ => {
                    let problem: Problem = serde_json::from_str(&text).unwrap_or_default();
                    if !problem.lines.is_empty() {
                        return Ok(Some(problem));
                    }
                    let what = if problem.detail.is_empty() { text } else { problem.detail };
                    return Err(Error::refused(format!("{} answers {status}: {what}", self.url)).advise(problem.advice));
                }
            }
        }
        Err(Error::new(Kind::BrokerAway, format!("{} takes no events now", self.url)))
    }
}

/// A topic of Kafka.
pub(super) struct Kafka {
    placement: Placement,
    appender: Arc<dyn Appender>,
    topic: Arc<str>,
    key: Option<Path>,
}

impl Kafka {
    fn new(settings: &Settings, topic: &str, key: Option<Path>) -> Result<Self> {
        let broker = app::reach(settings)?;
        let missing = || Error::refused(format!("there is no topic {topic:?}")).advise("create it, or correct --topic");
        let partitions = broker.topic(topic)?.ok_or_else(missing)?.partitions;
        let unread = || {
            let known: Vec<&str> = settings.tables.iter().flat_map(|t| &t.sources).map(|s| s.topic.as_str()).collect();
            Error::refused(format!("no table reads the topic {topic:?}"))
                .advise(format!("the topics are {}", known.join(", ")))
        };
        let placement = Placement::of(&settings.tables, topic, partitions).ok_or_else(unread)?;
        Ok(Self { placement, appender: broker.appender()?, topic: topic.into(), key })
    }

    fn send(&self, batch: &[Line]) -> Result<Refused> {
        let (mut records, mut refused) = (Vec::with_capacity(batch.len()), Refused::new());
        for line in batch {
            match self.record(line) {
                Ok(record) => records.push(record),
                Err(why) => refused.push((line.number, why)),
            }
        }
        if !records.is_empty() {
            self.appender.append(records)?;
        }
        Ok(refused)
    }

    fn record(&self, line: &Line) -> Result<NewRecord, String> {
        let given = self.key.as_ref().map(|path| self.placement.key_at(path, &line.json));
        let given = given.transpose().map_err(|reject| reject.to_string())?;
        let (key, payload) = (given.as_deref(), Some(line.json.as_slice()));
        let event = RawEvent { key, payload, timestamp_ms: clock::now_ms(), ..RawEvent::default() };
        let (key, partition) = self.placement.place(&event)?;
        let (topic, key, payload) = (self.topic.clone(), Some(key), Some(line.json.clone()));
        Ok(NewRecord { topic, partition, key, payload, ..NewRecord::default() })
    }
}
