//! `make bench`: how fast Keld catches up and how fresh it is, beside a real Kafka on the same machine.
//!
//! 1. The reference workload is generated (once, cached) and loaded into a broker started for this run.
//! 2. **Catch-up**: `keld run` starts with empty state; from all tasks running to the last event applied *and* searchable.
//! 3. **Correctness**: every key of the workload is read back and compared with the expected records.
//! 4. **Freshness**: events at a constant rate; from the call that produces a marker to the answer that shows it.
//! 5. **Queries** (`--queries`): requests a second and their times, without and with events that arrive.
//! 6. **Recovery** (`--recovery`): a start with the state deleted, and one after SIGKILL.
//!
//! Everything is measured from outside, over HTTP and `/proc`, so that another system could be measured the same way.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

#[path = "catalog/client.rs"]
mod client;
#[path = "catalog/freshness.rs"]
mod freshness;
#[path = "catalog/generate.rs"]
mod generate;
#[path = "catalog/load.rs"]
mod load;
#[path = "catalog/process.rs"]
mod process;
#[path = "catalog/queries.rs"]
mod queries;
#[path = "catalog/recovery.rs"]
mod recovery;
#[path = "catalog/report.rs"]
mod report;
#[path = "catalog/send.rs"]
mod send;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use client::Client;
use generate::Shape;
use process::{Kafka, Keld, Usage, usage};
use report::{CatchUp, Report, Verified};

/// What went wrong, in words; a benchmark has nobody who could react otherwise.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Throughput and freshness of Keld beside a real Kafka.
#[derive(Clone, Debug, Parser)]
#[command(name = "make bench ARGS=…")]
pub(crate) struct Options {
    /// Distinct events of the workload.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Keys of the workload.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) keys: u64,
    /// Seed of the workload.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// More flags for the generator, such as "--dup 0.3 --late 0.3 --skew 0.99".
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub(crate) workload: String,
    /// How often to do it all, each time with a new broker (unless --kafka names one) and empty state.
    #[arg(long, default_value_t = 1)]
    pub(crate) runs: usize,
    /// Freshness: events a second; 0 leaves it out.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) rate: u64,
    /// Freshness: seconds with markers.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Freshness: seconds at the same rate before the first marker.
    #[arg(long, default_value_t = 30)]
    pub(crate) warm_up: u64,
    /// Freshness: milliseconds between two markers.
    #[arg(long, default_value_t = 25)]
    pub(crate) marker_every: u64,
    /// Freshness: least milliseconds between two looks for the same marker.
    #[arg(long, default_value_t = 2)]
    pub(crate) look_every: u64,
    /// Freshness: measure with this program, the driver of the peer (`scripts/peer --driver` builds it and prints where it is).
    #[arg(long)]
    pub(crate) driver: Option<PathBuf>,
    /// Do not measure freshness; --rate is then that of the events that arrive during queries.
    #[arg(long)]
    pub(crate) no_freshness: bool,
    /// Also measure queries, without and with events that arrive at the rate of freshness; needs --driver.
    #[arg(long, requires = "driver")]
    pub(crate) queries: bool,
    /// Queries: seconds of each, without and with events.
    #[arg(long, default_value_t = 12)]
    pub(crate) query_seconds: u64,
    /// Queries: clients, each of which asks again when it has its answer.
    #[arg(long, default_value_t = 4)]
    pub(crate) clients: usize,
    /// Also measure a start with the state deleted, and one after SIGKILL; needs --driver.
    #[arg(long, requires = "driver")]
    pub(crate) recovery: bool,
    /// Do not compare the records after the catch-up.
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// A setting handed to `keld run`, such as processing.guarantee=at_least_once; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Append the result to benches/RESULTS.md.
    #[arg(long)]
    pub(crate) record: bool,
    /// Also write the run's figures into this file, as one JSON object of numbers; the last run's, if there are several.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// What to call the run in the report.
    #[arg(long, default_value = "")]
    pub(crate) label: String,
    /// Configuration of the table.
    #[arg(long, default_value = "config/catalog.toml")]
    pub(crate) config: PathBuf,
    /// The binary to measure instead of the one just built.
    #[arg(long)]
    pub(crate) keld: Option<PathBuf>,
    /// Where broker and state go; removed afterwards unless it is given.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// Measure beside a broker that runs already: the file with what `scripts/kafka start` printed. It goes on afterwards.
    #[arg(long, value_name = "FILE")]
    pub(crate) kafka: Option<PathBuf>,
    /// Put before the names of the topics and of the application, so that measurements may share a broker.
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Sources of the table; their topics have their names.
const SOURCES: [&str; 3] = ["catalog", "pricing", "stock"];

fn main() -> ExitCode {
    match all_runs(Options::parse()) {
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

fn all_runs(mut options: Options) -> Result<bool> {
    if options.kafka.is_some() && options.runs > 1 {
        return Err("--kafka is for one run: a second one would find the topics of the first".into());
    }
    let topic = |source| format!("tables.products.sources.{source}.topic={}{source}", options.prefix);
    let mut own: Vec<String> = SOURCES.into_iter().map(topic).collect();
    own.push(format!("application={}catalog", options.prefix));
    own.append(&mut options.set);
    options.set = own;
    let options = &options;
    let shape = Shape { events: options.events, keys: options.keys, seed: options.seed, more: &options.workload };
    let data = shape.generated(&root())?;
    let mut right = true;
    for run in 1..=options.runs {
        println!("== run {run} of {}", options.runs);
        let report = one_run(options, &data)?;
        let text = report.render(options);
        println!("\n{text}");
        right &= report.is_right();
        if let Some(path) = &options.json {
            std::fs::write(path, report.figures().to_string())?;
        }
        if options.record {
            report::record(&root().join("benches/RESULTS.md"), &text)?;
        }
    }
    Ok(right)
}

fn one_run(options: &Options, data: &Path) -> Result<Report> {
    let scratch = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let kafka = match &options.kafka {
        Some(printed) => Kafka::running(printed)?,
        None => Kafka::start(&root(), &dir.join("kafka"))?,
    };
    let topics = SOURCES.map(|source| format!("{}{source}", options.prefix));
    send::create_topics(&kafka.bootstrap, &topics.each_ref().map(String::as_str), 4)?;
    let events = load::Events::read(&data.join("events.tsv"))?;
    let since = Instant::now();
    let loaded = load::produce_all(&kafka.bootstrap, &options.prefix, &events)?;
    println!("   loaded {loaded} events in {:.1} s", since.elapsed().as_secs_f64());

    let mut keld = Keld::start(options, &root(), &dir, &kafka.bootstrap)?;
    let client = Client::new(&keld.url, "products");
    let catch_up = catch_up(&client, &mut keld, &kafka, loaded)?;
    println!("   caught up: {:.0} events/s", catch_up.rate());
    let verified = match options.no_verify {
        true => None,
        false => Some(verify(&client, data, &events)?),
    };
    let freshness = match (options.rate, &options.driver) {
        _ if options.no_freshness => None,
        (0, _) => None,
        (_, Some(driver)) => Some(freshness::measure_with(driver, options, data, &kafka, &keld)?),
        (_, None) => Some(freshness::measure(options, &client, &kafka, &keld, &events)?),
    };
    let queried = match &options.driver {
        Some(driver) if options.queries => queries::measure(driver, options, data, &kafka, &keld)?,
        _ => Vec::new(),
    };
    let peak_rss = usage(keld.pid())?.peak_rss;
    let (recovery, keld) = match &options.driver {
        Some(driver) if options.recovery => {
            let (found, keld) = recovery::measure(driver, options, data, &dir, &kafka, keld)?;
            (Some(found), keld)
        }
        _ => (None, keld),
    };
    keld.stop()?;
    Ok(Report { catch_up, verified, freshness, queried, recovery, peak_rss })
}

/// Waits until everything loaded is applied and searchable.
fn catch_up(client: &Client, keld: &mut Keld, kafka: &Kafka, target: u64) -> Result<CatchUp> {
    let started = keld.started;
    let (mut running, mut applied_at) = (None, None);
    let mut shown = Instant::now();
    loop {
        let now = Instant::now();
        if let Some(progress) = client.progress() {
            if running.is_none() && (progress.all_running || progress.applied > 0) {
                running = Some((now, usage(keld.pid())?, usage(kafka.pid)?));
            }
            if applied_at.is_none() && progress.applied >= target {
                applied_at = Some(now);
            }
            if progress.visible >= target
                && let (Some((from, keld_from, kafka_from)), Some(applied_at)) = (running, applied_at)
            {
                let (keld_to, kafka_to) = (usage(keld.pid())?, usage(kafka.pid)?);
                return Ok(CatchUp {
                    events: target,
                    start_up: from - started,
                    applied: applied_at - from,
                    searchable: now - from,
                    keld: keld_to.since(&keld_from),
                    keld_whole: keld_to.since(&Usage::default()),
                    kafka: kafka_to.since(&kafka_from),
                });
            }
            if shown.elapsed() > Duration::from_secs(5) {
                println!("   applied {}, searchable {} of {target}", progress.applied, progress.visible);
                shown = now;
            }
        }
        keld.check_alive()?;
        if started.elapsed() > Duration::from_secs(1_800) {
            return Err("not caught up after half an hour".into());
        }
        std::thread::sleep((now + Duration::from_millis(20)).saturating_duration_since(Instant::now()));
    }
}

/// Compares every key that the workload ever mentions with what is expected of it.
fn verify(client: &Client, data: &Path, events: &load::Events) -> Result<Verified> {
    let expected = load::expected(&data.join("expected.ndjson"), "sku")?;
    let keys = events.keys();
    let mut verified = Verified::new(keys.len(), expected.len());
    for chunk in keys.chunks(500) {
        for (key, found) in client.records(chunk)? {
            let want = expected.get(&key);
            if found.as_ref() != want {
                verified.note(&key, want, found.as_ref());
            }
        }
    }
    verified.searchable = client.count("")?;
    Ok(verified)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
