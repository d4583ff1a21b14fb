//! `make bench-cluster`: what several instances cost and save, on one machine beside a real Kafka.
//!
//! 1. The reference workload is generated (once, cached) and processed by one instance.
//! 2. **Restore**: its state is deleted; from its start until every task processes and everything is searchable.
//! 3. **Asking**: the same searches and reads by key, one after the other, of that one instance, then of one of three over the same
//!    data: what scattering and gathering, and forwarding to the owner, add. Answers must be equal.
//! 4. **Promotion**: an instance is killed while events arrive, again and again: how long until others process its tasks, and how
//!    much of that lies behind the group's decision.
//!
//! Everything is measured from outside, over HTTP, `/proc` and the log, but for the size of the changelog.

#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]

#[path = "cluster/asking.rs"]
mod asking;
#[path = "catalog/client.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod client;
#[path = "cluster/fleet.rs"]
mod fleet;
#[path = "catalog/generate.rs"]
mod generate;
#[path = "catalog/load.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod load;
#[path = "catalog/process.rs"]
#[expect(dead_code, reason = "the other benchmark uses more of it")]
mod process;
#[path = "cluster/promotion.rs"]
mod promotion;
#[path = "cluster/report.rs"]
mod report;
#[path = "cluster/restore.rs"]
mod restore;
#[path = "catalog/send.rs"]
mod send;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use asking::Asked;
use fleet::Fleet;
use generate::Shape;
use process::Kafka;
use promotion::Promotion;
use report::Report;
use restore::Restore;

/// What went wrong, in words.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Partitions of every topic.
pub(crate) const PARTITIONS: u32 = 12;
/// Instances in the second half.
pub(crate) const INSTANCES: usize = 3;
/// The table of `config/catalog.toml`.
pub(crate) const TABLE: &str = "products";

/// What several instances cost and save.
#[derive(Clone, Debug, Parser)]
#[command(name = "make bench-cluster ARGS=…")]
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
    /// Restores, each with the state deleted.
    #[arg(long, default_value_t = 3)]
    pub(crate) restores: usize,
    /// Requests of each kind.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) requests: usize,
    /// Kills of an instance.
    #[arg(long, default_value_t = 6)]
    pub(crate) kills: usize,
    /// Events a second that arrive meanwhile.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) rate: u64,
    /// The group's session timeout, seconds.
    #[arg(long, default_value_t = 6)]
    pub(crate) session: u64,
    /// A setting handed to `keld run`; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Append the result to benches/RESULTS.md.
    #[arg(long)]
    record: bool,
    /// Configuration of the table.
    #[arg(long, default_value = "config/catalog.toml")]
    pub(crate) config: PathBuf,
    /// The binary to measure instead of the one just built.
    #[arg(long)]
    pub(crate) keld: Option<PathBuf>,
    /// Where broker and state go; removed afterwards unless it is given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            println!("FAILED: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let shape = Shape { events: options.events, keys: options.keys, seed: options.seed, more: "" };
    let data = shape.generated(&root())?;
    let scratch = tempfile::tempdir()?;
    let dir = options.dir.clone().unwrap_or_else(|| scratch.path().to_owned());
    std::fs::create_dir_all(&dir)?;
    let kafka = Kafka::start(&root(), &dir.join("kafka"))?;
    send::create_topics(&kafka.bootstrap, &["catalog", "pricing", "stock"], i32::try_from(PARTITIONS)?)?;
    let events = load::Events::read(&data.join("events.tsv"))?;
    let loaded = load::produce_all(&kafka.bootstrap, "", &events)?;
    println!("== {loaded} events are in Kafka; one instance processes them");
    let mut fleet = Fleet::new(options, &dir, &kafka.bootstrap);
    fleet.start(0)?;
    fleet.wait("the events to be processed", |f| f.visible() >= loaded)?;

    let restores = Restore::measure(options, &mut fleet)?;
    println!("== asking one instance");
    let questions = asking::questions(options, &data)?;
    let alone = Asked::measure(&fleet, &questions)?;
    println!("== asking one of three");
    (1..INSTANCES).try_for_each(|number| fleet.start(number))?;
    fleet.wait_steady()?;
    let among = Asked::measure(&fleet, &questions)?;
    alone.must_equal(&among)?;
    let promotions = Promotion::measure(options, &mut fleet, &events)?;
    fleet.stop()?;
    let text = Report { options, restores, alone, among, promotions }.render();
    println!("\n{text}");
    if options.record {
        report::record(&root().join("benches/RESULTS.md"), &text)?;
    }
    Ok(())
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
