//! `make speed`: events a second that one core decodes, merges and encodes: the catalog workload, each strategy, each format.
//!
//! Times are CPU times of the thread that works, so that others on the machine hardly show in them; `benches/RESULTS.md` keeps the
//! figures. Nothing but the work of `record/` is in them: no broker, no store, no grouping by key.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark: it prints, and stops where its own data is wrong"
)]

#[path = "speed/clock.rs"]
mod clock;
#[path = "speed/formats.rs"]
mod formats;
#[path = "speed/measure.rs"]
mod measure;
#[path = "speed/strategies.rs"]
mod strategies;
#[path = "speed/workload.rs"]
mod workload;

use std::path::PathBuf;

use clap::Parser;

use measure::Rates;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[derive(Parser)]
struct Options {
    /// An events.tsv of the catalog workload (`scripts/workload catalog`).
    events: PathBuf,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Events of each row but the workload's.
    #[arg(long, default_value_t = 300_000)]
    of_each: usize,
    /// Passed by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let options = Options::parse();
    let events = workload::read(&options.events);
    println!("| | decode | merge | encode | all three | stored bytes, each |");
    println!("|---|---|---|---|---|---|");
    let row = |name: &str, measured: &dyn Fn() -> Rates| {
        if name.contains(&options.only) {
            println!("| {name} {}", measured().row());
        }
    };
    row("**catalog workload**, JSON", &|| workload::measured(&events));
    for case in strategies::all() {
        row(&format!("strategy {}", case.name), &|| case.measured(options.of_each));
    }
    for format in formats::all() {
        row(&format!("format {}", format.name), &|| format.measured(&events, options.of_each));
    }
}
