//! `make growth`: what an event costs while the state grows.
//!
//! For each number of records: events of new keys bring the state there, then `--updates` events change records drawn at random
//! from all of them. Rates go from the first event produced to the last one searchable, the producer running beside Keld, so CPU
//! seconds are what to compare: they go on until merges and compactions have ended as well, for what one stretch leaves behind is
//! no cost of the next. After it: memory, bytes on disk, what compaction still owes, and the records
//! themselves, which must be what the last event of each says.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

#[path = "catalog/client.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod client;
#[path = "catalog/process.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod process;
#[path = "catalog/send.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod send;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use keld::store::disk_bytes;
use serde_json::{Value, json};

use client::Client;
use process::{Kafka, Keld, usage};
use send::Sender;

/// What went wrong, in words.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Version of the first event, milliseconds; versions count up from here.
const T: u64 = 1_700_000_000_000;
/// Distinct values of the keyword.
const STATES: u64 = 100;
/// Records compared with what is expected of them, at each size.
const COMPARED: usize = 2_000;
/// Share of a processor below which Keld has nothing left to do.
const QUIET: f64 = 0.1;
/// Seconds one after the other that must be so.
const QUIET_SECONDS: u32 = 2;
/// How long a stretch may take.
const PATIENCE: Duration = Duration::from_secs(7_200);

/// What an event costs while the state grows.
#[derive(Clone, Debug, Parser)]
#[command(name = "make growth ARGS=…")]
pub(crate) struct Options {
    /// Numbers of records to measure at, growing.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000, 50_000_000])]
    records: Vec<u64>,
    /// Events that change records, at each size.
    #[arg(long, default_value_t = 1_000_000)]
    updates: u64,
    /// A setting handed to `keld run`; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The binary to measure instead of the one just built.
    #[arg(long)]
    pub(crate) keld: Option<PathBuf>,
    /// Configuration of the table `things`.
    #[arg(long, default_value = "benches/growth.toml")]
    pub(crate) config: PathBuf,
    /// Where broker and state go; removed afterwards unless it is given. About 250 bytes a record.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A stretch of events.
#[derive(Debug)]
struct Stretch {
    events: u64,
    /// From the first one produced to the last one searchable.
    wall: Duration,
    /// CPU seconds from the first one produced until nothing was left to do.
    cpu: f64,
}

/// What was found at one size.
#[derive(Debug)]
struct Found {
    records: u64,
    load: Stretch,
    updates: Stretch,
    resident: u64,
    store: u64,
    index: u64,
    debt: u64,
    wrong: usize,
    searchable: u64,
}

/// What was told, so that expectations can be computed.
struct World {
    /// What updated records hold: what their last update said.
    updated: HashMap<u64, u64>,
    /// Draws.
    random: u64,
}

impl World {
    /// Splitmix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// Updates of records drawn from the first `records`, each with a value of its own above all that was told before.
    fn updates(&mut self, number: u64, records: u64, first: u64) -> Vec<(u64, u64)> {
        let drawn: Vec<(u64, u64)> = (0..number).map(|i| (self.draw(records), first + i)).collect();
        self.updated.extend(drawn.iter().copied());
        drawn
    }

    /// What a record holds: a new one says its own number.
    fn expected(&self, record: u64) -> Value {
        let n = self.updated.get(&record).copied().unwrap_or(record);
        json!({ "id": key(record), "n": n, "state": format!("s{}", n % STATES) })
    }
}

fn key(record: u64) -> String {
    format!("thing-{record:09}")
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("FAILED: records differ from what was expected");
            ExitCode::FAILURE
        }
        Err(e) => {
            println!("FAILED: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let kafka = Kafka::start(&root, &dir.join("kafka"))?;
    send::create_topics(&kafka.bootstrap, &["things"], 4)?;
    let mut keld = Keld::start(options, &root, &dir, &kafka.bootstrap)?;
    let client = Client::new(&keld.url, "things");
    let (mut world, mut told) = (World { updated: HashMap::new(), random: 1 }, 0);
    let mut found: Vec<Found> = Vec::new();
    for &records in &options.records {
        let before = found.last().map_or(0, |f| f.records);
        if records <= before {
            return Err("--records must grow".into());
        }
        let load = stretch(&kafka, &mut keld, &client, &mut told, (before..records).map(|r| (r, r)))?;
        println!("   {records} records: loaded in {:.0} s", load.wall.as_secs_f64());
        let drawn = world.updates(options.updates, records, records + told);
        let updates = stretch(&kafka, &mut keld, &client, &mut told, drawn.into_iter())?;
        let state = dir.join("state/growth/things");
        let whole = disk_bytes(&state);
        let index = disk_bytes(&state.join("index"));
        found.push(Found {
            records,
            load,
            updates,
            resident: usage(keld.pid())?.peak_rss,
            store: whole - index,
            index,
            debt: debt(&keld.url)?,
            wrong: wrong(&client, &mut world, records)?,
            searchable: client.count("")?,
        });
        println!("{}", row(&found[0], &found[found.len() - 1]));
    }
    keld.stop()?;
    println!("\n{}", table(options, &found));
    Ok(found.iter().all(|f| f.wrong == 0 && f.searchable == f.records))
}

/// Produces events, each a record and what it says of it, and waits until the last of them is searchable.
fn stretch(
    kafka: &Kafka,
    keld: &mut Keld,
    client: &Client,
    told: &mut u64,
    events: impl Iterator<Item = (u64, u64)>,
) -> Result<Stretch> {
    let sender = Sender::new(&kafka.bootstrap, 20)?;
    let (since, before, first) = (Instant::now(), usage(keld.pid())?, *told);
    for (record, n) in events {
        let (key, state, ts) = (key(record), n % STATES, T + *told);
        sender.send("things", &key, &format!(r#"{{"id":"{key}","ts":{ts},"n":{n},"state":"s{state}"}}"#))?;
        *told += 1;
    }
    let events = sender.finish()?;
    if events != *told - first {
        return Err(format!("{events} of {} events were acknowledged", *told - first).into());
    }
    while client.progress().is_none_or(|p| p.visible < *told) {
        keld.check_alive()?;
        if since.elapsed() > PATIENCE {
            return Err(format!("not searchable after {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let wall = since.elapsed();
    settle(keld, since)?;
    Ok(Stretch { events, wall, cpu: usage(keld.pid())?.since(&before) })
}

/// Waits until merges and compactions have ended.
fn settle(keld: &mut Keld, since: Instant) -> Result<()> {
    let (mut quiet, mut before) = (0, usage(keld.pid())?);
    while quiet < QUIET_SECONDS {
        keld.check_alive()?;
        if since.elapsed() > PATIENCE {
            return Err(format!("still at work after {} s", PATIENCE.as_secs()).into());
        }
        let asked = Instant::now();
        std::thread::sleep(Duration::from_secs(1));
        let now = usage(keld.pid())?;
        quiet = if now.since(&before) < QUIET * asked.elapsed().as_secs_f64() { quiet + 1 } else { 0 };
        before = now;
    }
    Ok(())
}

/// Records that are not what is expected of them, of some that were updated and some drawn from all.
fn wrong(client: &Client, world: &mut World, records: u64) -> Result<usize> {
    let mut compared: Vec<u64> = world.updated.keys().copied().take(COMPARED / 2).collect();
    compared.extend((compared.len()..COMPARED).map(|_| world.draw(records)));
    let mut wrong = 0;
    for some in compared.chunks(500) {
        let keys: Vec<String> = some.iter().map(|&record| key(record)).collect();
        for (&record, (_, found)) in some.iter().zip(client.records(&keys)?) {
            wrong += usize::from(found.map(Value::Object) != Some(world.expected(record)));
        }
    }
    Ok(wrong)
}

/// Bytes that compaction still owes, by Keld's own metric.
fn debt(url: &str) -> Result<u64> {
    let text = ureq::get(format!("{url}/metrics")).call()?.body_mut().read_to_string()?;
    let lines = text.lines().filter(|l| l.starts_with("keld_store_compaction_debt_bytes{"));
    let values: Vec<u64> = lines.filter_map(|l| l.rsplit_once(' ')?.1.parse().ok()).collect();
    if values.is_empty() { Err("/metrics tells no compaction debt".into()) } else { Ok(values.iter().sum()) }
}

impl Stretch {
    fn rate(&self) -> f64 {
        self.events as f64 / self.wall.as_secs_f64()
    }

    fn per_million(&self) -> f64 {
        self.cpu * 1e6 / self.events as f64
    }
}

/// One size as a row, beside the first.
fn row(first: &Found, f: &Found) -> String {
    const MIB: f64 = 1_048_576.0;
    let each = |bytes: u64| bytes as f64 / f.records as f64;
    format!(
        "| {} | {:.0} | {:.1} | {:.2} | {:.0} | **{:.1}** | **{:.2}** | {:.0} | {:.0} | {:.0} | {:.0} | {} |",
        f.records,
        f.load.rate(),
        f.load.per_million(),
        f.load.per_million() / first.load.per_million(),
        f.updates.rate(),
        f.updates.per_million(),
        f.updates.per_million() / first.updates.per_million(),
        f.resident as f64 / MIB,
        each(f.store),
        each(f.index),
        f.debt as f64 / MIB,
        f.wrong as u64 + f.records.abs_diff(f.searchable),
    )
}

fn table(options: &Options, found: &[Found]) -> String {
    let mut text = String::from(
        "| records | new: events/s | CPU-s/M | to first | updates: events/s | CPU-s/M | to first | peak MiB | store, bytes each | index, bytes each | compaction owes, MiB | wrong |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for f in found {
        let _ = writeln!(text, "{}", row(&found[0], f));
    }
    let _ = write!(text, "\n{} updates at each size; settings: {:?}", options.updates, options.set);
    text
}
