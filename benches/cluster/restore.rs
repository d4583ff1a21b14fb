//! Restores: the state is deleted, and comes back from the changelog.

use std::time::Duration;

use keld::broker::kafka::{KafkaBroker, KafkaOptions};
use keld::broker::{Broker, Progress, TopicPartition};
use keld::record::POSITION_KEY;

use super::client::Client;
use super::fleet::Fleet;
use super::process::usage;
use super::{Options, PARTITIONS, Result, TABLE};

/// The application of `config/catalog.toml`.
const APPLICATION: &str = "catalog";

/// What there was to restore, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Restore {
    /// Records of the changelog.
    pub(crate) records: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// From the start of the process until reads by key are answered from every task, whose stores are complete.
    pub(crate) readable: Duration,
    /// Until everything is searchable and processing goes on.
    pub(crate) ready: Duration,
    /// CPU seconds until then.
    pub(crate) cpu: f64,
}

impl Restore {
    /// Restores the first instance, which is alone, again and again.
    pub(crate) fn measure(options: &Options, fleet: &mut Fleet) -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for number in 1..=options.restores {
            println!("== restore {number} of {}", options.restores);
            fleet.take(0)?.stop()?;
            let (records, bytes) = size(&fleet.bootstrap)?;
            std::fs::remove_dir_all(fleet.dir(0).join("state"))?;
            fleet.start(0)?;
            let (started, url) = fleet.running.get(&0).map(|k| (k.started, k.url.clone())).ok_or("it does not run")?;
            fleet.wait("the stores to be complete", |f| in_store(f) == PARTITIONS as usize)?;
            let readable = started.elapsed();
            let client = Client::new(&url, TABLE);
            fleet.wait("the restore", |_| client.is_ready())?;
            let ready = started.elapsed();
            let pid = fleet.running.get(&0).map(|k| k.pid()).ok_or("it does not run")?;
            all.push(Self { records, bytes, readable, ready, cpu: usage(pid)?.cpu });
        }
        Ok(all)
    }

    /// Records a second until everything is searchable.
    pub(crate) fn rate(&self) -> f64 {
        self.records as f64 / self.ready.as_secs_f64()
    }
}

/// Tasks whose store is complete.
fn in_store(fleet: &Fleet) -> usize {
    let complete = ["indexing", "running"];
    let phase = |task: &serde_json::Value| task.pointer("/phase/name").and_then(|p| p.as_str().map(str::to_owned));
    fleet.tasks(0).iter().filter_map(phase).filter(|p| complete.contains(&p.as_str())).count()
}

/// Records and bytes of the changelog, position records left out.
fn size(bootstrap: &str) -> Result<(u64, u64)> {
    let broker = KafkaBroker::connect(KafkaOptions::new(bootstrap.to_owned(), "bench"))?;
    let (mut records, mut bytes) = (0, 0);
    for partition in 0..PARTITIONS {
        let tp = TopicPartition::new(format!("{APPLICATION}-{TABLE}-changelog"), partition);
        let mut reader = broker.reader(&tp, broker.watermarks(&tp)?.low)?;
        loop {
            let progress = reader.read(10_000, Duration::from_millis(200), &mut |m| {
                if m.key.is_some_and(|key| key != POSITION_KEY) {
                    records += 1;
                    bytes += (m.key.map_or(0, <[u8]>::len) + m.payload.map_or(0, <[u8]>::len)) as u64;
                }
            })?;
            if matches!(progress, Progress::End { .. }) {
                break;
            }
        }
    }
    Ok((records, bytes))
}
