//! What a run found, as Markdown.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::asking::Asked;
use super::promotion::Promotion;
use super::restore::Restore;
use super::{INSTANCES, Options, PARTITIONS, Result};

/// Everything that was measured.
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) restores: Vec<Restore>,
    pub(crate) alone: Asked,
    pub(crate) among: Asked,
    pub(crate) promotions: Vec<Promotion>,
}

impl Report<'_> {
    pub(crate) fn render(&self) -> String {
        let mut text = self.head();
        self.restores(&mut text);
        self.asking(&mut text);
        self.promotions(&mut text);
        text
    }

    fn head(&self) -> String {
        let o = self.options;
        format!(
            "### {} UTC · several instances on one machine\n\n{} cores; commit {}; `make bench-cluster`: {} events of {} keys, {PARTITIONS} \
             partitions, {} requests of each kind one after the other, {} kills with {} events/s arriving, session timeout {} s.\n",
            jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M"),
            std::thread::available_parallelism().map_or(0, usize::from),
            commit(),
            o.events,
            o.keys,
            o.requests,
            o.kills,
            o.rate,
            o.session,
        )
    }

    // A String takes everything that is written to it.
    fn restores(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n| restore, state deleted | records | MB | stores complete, s | searchable, s | records/s | MB/s | CPU-s | records/CPU-s | MB/CPU-s |\n|---|---|---|---|---|---|---|---|---|---|"
        );
        for (number, r) in self.restores.iter().enumerate() {
            let mb = r.bytes as f64 / 1e6;
            let _ = writeln!(
                text,
                "| {} | {} | {mb:.1} | {:.2} | {:.2} | {:.0} | {:.1} | {:.1} | {:.0} | {:.1} |",
                number + 1,
                r.records,
                r.readable.as_secs_f64(),
                r.ready.as_secs_f64(),
                r.rate(),
                mb / r.ready.as_secs_f64(),
                r.cpu,
                r.records as f64 / r.cpu,
                mb / r.cpu,
            );
        }
    }

    fn asking(&self, text: &mut String) {
        let _ = writeln!(
            text,
            "\n| ms | one instance: p50 | p99 | one of {INSTANCES}: p50 | p99 | added: p50 | p99 |\n|---|---|---|---|---|---|---|"
        );
        let ms = |us: u64| us as f64 / 1e3;
        for (alone, among) in self.alone.kinds.iter().zip(&self.among.kinds) {
            // Alone an instance owns everything: what it forwards later is compared with its own, too.
            let alone = if alone.times.is_empty() { &self.alone.kinds[0] } else { alone };
            let at = |p: f64| (ms(alone.times.value_at_percentile(p)), ms(among.times.value_at_percentile(p)));
            let ((a50, b50), (a99, b99)) = (at(50.0), at(99.0));
            let _ = writeln!(
                text,
                "| {} | {a50:.2} | {a99:.2} | {b50:.2} | {b99:.2} | {:+.2} | {:+.2} |",
                among.name,
                b50 - a50,
                b99 - a99
            );
        }
    }

    fn promotions(&self, text: &mut String) {
        let mut each: Vec<Duration> = self.promotions.iter().flat_map(|p| p.promotions.clone()).collect();
        let mut whole: Vec<Duration> = self.promotions.iter().map(|p| p.processing).collect();
        let _ = writeln!(text, "\n| promotion of copies, s | least | median | most |\n|---|---|---|---|");
        let mut row = |name: &str, all: &mut Vec<Duration>| {
            all.sort_unstable();
            let (Some(first), Some(last)) = (all.first(), all.last()) else { return };
            let [least, median, most] = [*first, all[all.len() / 2], *last].map(|t| t.as_secs_f64());
            let _ = writeln!(text, "| {name} ({}) | {least:.3} | {median:.3} | {most:.3} |", all.len());
        };
        row("from the group's decision to the task at its worker, each task", &mut each);
        row("from SIGKILL to all tasks processed elsewhere, each kill", &mut whole);
        let read: u64 = self.promotions.iter().map(|p| p.read).sum();
        let _ = writeln!(text, "\n{read} records of changelogs were read for all promotions together.");
    }
}

fn commit() -> String {
    let said = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    said.map_or_else(|_| "unknown".to_owned(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}

/// Appends to the record of results.
pub(crate) fn record(path: &Path, text: &str) -> Result<()> {
    let mut file = std::fs::File::options().append(true).open(path)?;
    Ok(write!(file, "\n{text}")?)
}
