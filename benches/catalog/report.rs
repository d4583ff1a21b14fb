//! What a run found, as Markdown.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::freshness::Freshness;
use super::queries::Queried;
use super::recovery::Recovery;
use super::{Options, Result};

/// Catch-up from empty state.
#[derive(Debug)]
pub(crate) struct CatchUp {
    /// Deliveries, repeated ones included.
    pub(crate) events: u64,
    /// From the start of the process to all tasks running.
    pub(crate) start_up: Duration,
    /// From all tasks running to everything applied.
    pub(crate) applied: Duration,
    /// From all tasks running to everything applied and searchable.
    pub(crate) searchable: Duration,
    /// CPU seconds of Keld in that time.
    pub(crate) keld: f64,
    /// CPU seconds of Keld since its start.
    pub(crate) keld_whole: f64,
    /// CPU seconds of the broker in that time.
    pub(crate) kafka: f64,
}

impl CatchUp {
    /// Events a second until everything is searchable.
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.searchable.as_secs_f64()
    }

    fn per_million(&self, cpu: f64) -> f64 {
        cpu / (self.events as f64 / 1e6)
    }
}

/// Comparison of every key with what is expected.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    /// Keys compared, absent ones included.
    pub(crate) keys: usize,
    /// Records expected.
    pub(crate) expected: usize,
    /// Records that a search for everything counts.
    pub(crate) searchable: u64,
    /// Keys that differ.
    pub(crate) mismatches: usize,
    examples: Vec<String>,
}

impl Verified {
    /// Nothing compared yet.
    pub(crate) fn new(keys: usize, expected: usize) -> Self {
        Self { keys, expected, ..Self::default() }
    }

    /// Notes a difference; the first few are shown.
    pub(crate) fn note(&mut self, key: &str, want: Option<&Map<String, Value>>, found: Option<&Map<String, Value>>) {
        self.mismatches += 1;
        if self.examples.len() < 5 {
            let text = |r: Option<&Map<String, Value>>| {
                r.map_or_else(|| "nothing".to_owned(), |r| Value::Object(r.clone()).to_string())
            };
            self.examples.push(format!("{key}\n  expected {}\n  found    {}", text(want), text(found)));
        }
    }

    fn is_right(&self) -> bool {
        self.mismatches == 0 && self.searchable == self.expected as u64
    }
}

/// One run.
#[derive(Debug)]
pub(crate) struct Report {
    /// Catch-up.
    pub(crate) catch_up: CatchUp,
    /// Comparison, unless left out.
    pub(crate) verified: Option<Verified>,
    /// Freshness, unless left out.
    pub(crate) freshness: Option<Freshness>,
    /// Queries, unless left out.
    pub(crate) queried: Vec<Queried>,
    /// Coming back, unless left out.
    pub(crate) recovery: Option<Recovery>,
    /// Peak resident memory of Keld before it was stopped for the first time, bytes.
    pub(crate) peak_rss: u64,
}

impl Report {
    /// Whether nothing was found wrong.
    pub(crate) fn is_right(&self) -> bool {
        let fresh = self.freshness.as_ref().is_none_or(|f| f.lost == 0);
        fresh && self.verified.as_ref().is_none_or(Verified::is_right)
    }

    /// The figures that a table over several runs is made of.
    pub(crate) fn figures(&self) -> Value {
        let c = &self.catch_up;
        let mut all = json!({
            "events": c.events,
            "per_s": c.rate(),
            "cpu_per_million": c.per_million(c.keld_whole),
            "broker_cpu_per_million": c.per_million(c.kafka),
            "peak_mib": self.peak_rss >> 20,
        });
        if let Some(v) = &self.verified {
            all["wrong"] = (v.mismatches as u64 + v.searchable.abs_diff(v.expected as u64)).into();
        }
        if let Some(f) = &self.freshness {
            for (name, times) in [("search", f.search), ("by_key", f.by_key)] {
                all[format!("{name}_p50_ms")] = times.p50.into();
                all[format!("{name}_p99_ms")] = times.p99.into();
            }
            (all["cores"], all["broker_cores"]) = (f.keld_cores.into(), f.kafka_cores.into());
        }
        for q in &self.queried {
            let when = if q.arriving { "arriving" } else { "still" };
            let figures = [("per_s", q.rate), ("p50_ms", q.p50), ("p99_ms", q.p99)].into_iter();
            let figures = figures.chain([("cores", q.cores), ("driver", q.driver), ("idle", q.idle)]);
            figures.for_each(|(figure, value)| all[format!("{}_{when}_{figure}", q.short)] = value.into());
        }
        if let Some(v) = &self.verified {
            all["records"] = v.searchable.into();
        }
        if let Some(r) = &self.recovery {
            (all["restore_s"], all["restore_cpu_s"]) = (r.restored.as_secs_f64().into(), r.restore_cpu.into());
            (all["answering_s"], all["processing_s"]) =
                (r.answering.as_secs_f64().into(), r.processing.as_secs_f64().into());
        }
        all
    }

    /// The run as Markdown.
    pub(crate) fn render(&self, options: &Options) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, options);
        out
    }

    fn write(&self, out: &mut String, options: &Options) -> std::fmt::Result {
        let c = &self.catch_up;
        writeln!(out, "### {} · {}\n", today(), if options.label.is_empty() { "keld" } else { &options.label })?;
        writeln!(out, "{}; commit {}.", machine(), commit())?;
        writeln!(
            out,
            "`make bench ARGS=\"keld --events {} --keys {} --seed {}{}{}\"`{}\n",
            options.events,
            options.keys,
            options.seed,
            if options.workload.is_empty() { String::new() } else { format!(" --workload '{}'", options.workload) },
            options.set.iter().map(|s| format!(" --set {s}")).collect::<String>(),
            if options.driver.is_some() { "; freshness by the peer's driver" } else { "" },
        )?;
        writeln!(out, "| catch-up, {} deliveries, {} keys | |\n|---|---|", c.events, options.keys)?;
        writeln!(out, "| events/s, applied and searchable | **{:.0}** |", c.rate())?;
        writeln!(
            out,
            "| seconds: applied / applied and searchable | {:.2} / {:.2} |",
            c.applied.as_secs_f64(),
            c.searchable.as_secs_f64()
        )?;
        writeln!(out, "| seconds from start to all tasks running | {:.2} |", c.start_up.as_secs_f64())?;
        writeln!(
            out,
            "| CPU-seconds per million: Keld / Keld with its start / broker | **{:.1}** / {:.1} / {:.1} |",
            c.per_million(c.keld),
            c.per_million(c.keld_whole),
            c.per_million(c.kafka)
        )?;
        writeln!(out, "| peak resident memory, whole run | {} MiB |", self.peak_rss >> 20)?;
        if let Some(v) = &self.verified {
            writeln!(
                out,
                "| keys compared / records expected / searchable / mismatches | {} / {} / {} / **{}** |",
                v.keys, v.expected, v.searchable, v.mismatches
            )?;
        }
        if let Some(f) = &self.freshness {
            self.write_freshness(out, options, f)?;
        }
        self.write_queries(out, options)?;
        if let Some(r) = &self.recovery {
            writeln!(
                out,
                "\nState deleted → all tasks running, {} records searchable: **{:.2} s**, {:.1} CPU-seconds. SIGKILL at {} events/s → reads by key answered again: **{:.2} s**; processing again: **{:.2} s**.",
                r.records,
                r.restored.as_secs_f64(),
                r.restore_cpu,
                options.rate,
                r.answering.as_secs_f64(),
                r.processing.as_secs_f64()
            )?;
        }
        for example in self.verified.iter().flat_map(|v| &v.examples) {
            writeln!(out, "\nMISMATCH {example}")?;
        }
        Ok(())
    }

    fn write_queries(&self, out: &mut String, options: &Options) -> std::fmt::Result {
        if self.queried.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n| {} clients | events/s | a second | a second and core | p50, ms | p99, ms | cores: Keld | driver | idle |",
            options.clients
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
        for q in &self.queried {
            let events = if q.arriving { options.rate } else { 0 };
            writeln!(
                out,
                "| {} | {events} | **{:.0}** | {:.0} | {:.2} | **{:.2}** | {:.2} | {:.2} | {:.2} |",
                q.name,
                q.rate,
                q.rate / q.cores,
                q.p50,
                q.p99,
                q.cores,
                q.driver,
                q.idle
            )?;
        }
        Ok(())
    }

    fn write_freshness(&self, out: &mut String, options: &Options, f: &Freshness) -> std::fmt::Result {
        writeln!(
            out,
            "\n| produced to visible, ms, at {:.0} events/s for {} s | p50 | p90 | p99 | max | markers |\n|---|---|---|---|---|---|",
            f.rate, options.seconds
        )?;
        for (name, t) in [("search", f.search), ("by key", f.by_key)] {
            writeln!(
                out,
                "| {name} | **{:.1}** | {:.1} | **{:.1}** | {:.1} | {} |",
                t.p50, t.p90, t.p99, t.max, f.markers
            )?;
        }
        writeln!(
            out,
            "\nCores: Keld {:.2}, broker {:.2}, {} looks included. Markers never seen: {}. The producer was at most {:.1} ms behind its schedule.",
            f.keld_cores,
            f.kafka_cores,
            f.looks,
            f.lost,
            f.behind.as_secs_f64() * 1e3
        )?;
        let steps: Vec<String> = f.steps.iter().map(|(step, mean)| format!("{step} {mean:.1}")).collect();
        writeln!(out, "Steps of a commit, mean ms: {}.", steps.join(", "))
    }
}

/// Appends a report to the file of results.
pub(crate) fn record(path: &Path, text: &str) -> Result<()> {
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "\n{}", text.trim_end())?;
    Ok(())
}

fn today() -> String {
    jiff::Timestamp::from_millisecond(keld::clock::now_ms())
        .map_or_else(|e| e.to_string(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map_or("unknown CPU", |l| l.trim_start_matches(['\t', ' ', ':']));
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = memory
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:"))
        .and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok());
    format!("{cores} cores ({model}), {} GiB, shared by broker, Keld and this driver", kib.unwrap_or(0) >> 20)
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
