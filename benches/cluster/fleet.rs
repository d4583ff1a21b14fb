//! Some instances, by their number, and what they say of themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::Keld;
use super::{INSTANCES, Options, PARTITIONS, Result, root};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// The instances that run.
pub(crate) struct Fleet {
    options: Options,
    dir: PathBuf,
    /// Where Kafka is.
    pub(crate) bootstrap: String,
    /// By number.
    pub(crate) running: BTreeMap<usize, Keld>,
}

impl Fleet {
    pub(crate) fn new(options: &Options, dir: &Path, bootstrap: &str) -> Self {
        let (dir, bootstrap) = (dir.to_owned(), bootstrap.to_owned());
        Self { options: options.clone(), dir, bootstrap, running: BTreeMap::new() }
    }

    /// The folder of an instance: its log, and its state below `state`.
    pub(crate) fn dir(&self, number: usize) -> PathBuf {
        self.dir.join(format!("keld-{number}"))
    }

    pub(crate) fn start(&mut self, number: usize) -> Result<()> {
        let mut options = self.options.clone();
        options.set.push(format!("instance.id=keld-{number}"));
        options.set.push(format!("broker.session_timeout={}s", options.session));
        let dir = self.dir(number);
        std::fs::create_dir_all(&dir)?;
        self.running.insert(number, Keld::start(&options, &root(), &dir, &self.bootstrap)?);
        Ok(())
    }

    pub(crate) fn take(&mut self, number: usize) -> Result<Keld> {
        self.running.remove(&number).ok_or_else(|| format!("keld-{number} does not run").into())
    }

    pub(crate) fn stop(&mut self) -> Result<()> {
        std::mem::take(&mut self.running).into_values().try_for_each(Keld::stop)
    }

    /// Polls `is` until it holds.
    pub(crate) fn wait(&mut self, what: &str, is: impl Fn(&Self) -> bool) -> Result<()> {
        let since = Instant::now();
        while !is(self) {
            self.running.values_mut().try_for_each(Keld::check_alive)?;
            if since.elapsed() > PATIENCE {
                return Err(format!("waiting for {what}: patience is at its end").into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// What an instance says of its tasks; nothing while it does not answer.
    pub(crate) fn tasks(&self, number: usize) -> Vec<Value> {
        let ask = |keld: &Keld| -> Option<Value> {
            ureq::get(format!("{}/v1/status", keld.url)).call().ok()?.body_mut().read_json().ok()
        };
        let status = self.running.get(&number).and_then(ask).unwrap_or_default();
        status.get("tasks").and_then(Value::as_array).cloned().unwrap_or_default()
    }

    /// Partitions that an instance has in this role, and works on or follows.
    pub(crate) fn running_as(&self, number: usize, role: &str) -> Vec<u64> {
        let tasks = self.tasks(number);
        let is = |task: &&Value| {
            task.pointer("/role").is_some_and(|r| r == role)
                && task.pointer("/phase/name").is_some_and(|p| p == "running")
        };
        tasks.iter().filter(is).filter_map(|task| task.get("partition")?.as_u64()).collect()
    }

    /// Events that are searchable, of all tasks that have an owner.
    pub(crate) fn visible(&self) -> u64 {
        let tasks = self.running.keys().flat_map(|n| self.tasks(*n));
        tasks.filter(|t| t.get("role").is_some_and(|r| r == "active")).map(|t| events(t.get("visible"))).sum()
    }

    /// Waits until every instance owns its share, and every task has a copy elsewhere that has caught up.
    pub(crate) fn wait_steady(&mut self) -> Result<()> {
        let share = PARTITIONS as usize / INSTANCES;
        self.wait("the tasks to be shared and copied", |fleet| {
            let of = |role| fleet.running.keys().map(|n| fleet.running_as(*n, role)).collect::<Vec<_>>();
            // More copies than one may be there for a while: an instance that seems dead for a moment is made up for.
            let copied: BTreeSet<u64> = of("standby").into_iter().flatten().collect();
            of("active").iter().all(|owned| owned.len() == share) && copied.len() == PARTITIONS as usize
        })
    }
}

/// Events that a position covers, summed over topics.
fn events(position: Option<&Value>) -> u64 {
    let last = |text: &Value| text.as_str()?.rsplit(':').next()?.parse::<u64>().ok();
    let topics = position.and_then(Value::as_object);
    topics.map_or(0, |topics| topics.values().filter_map(last).map(|last| last + 1).sum())
}
