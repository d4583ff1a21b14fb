//! `keld ingest`: the events of a file into a topic.
//!
//! With Kafka the events are produced by this process; the embedded log belongs to the running instance, which takes them
//! over HTTP. Every line that is refused is named; the others are sent.

mod lines;
mod target;

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};

use self::lines::{Line, Lines};
use self::target::Target;
use super::IngestArgs;
use super::style;
use crate::{Error, Result};

/// Lines sent at a time, and bytes of them.
const BATCH_LINES: usize = 2_000;
const BATCH_BYTES: usize = 1 << 20;

/// Runs the command.
///
/// # Errors
/// Whatever keeps events from being sent, and any line that was refused.
pub fn run(args: &IngestArgs) -> Result<ExitCode> {
    let settings = args.config.load()?;
    let (input, bytes) = open(&args.file)?;
    let bar = progress(bytes);
    let mut target = Target::of(args, &settings)?;
    let mut lines = Lines::new(bar.wrap_read(input), args.format_of_file())?;
    let mut tally = Tally::default();
    let mut batch = Vec::new();
    let mut size = 0;
    while let Some(line) = lines.next()? {
        match line {
            Ok(line) => {
                size += line.json.len();
                batch.push(line);
            }
            Err((number, why)) => tally.refuse(&bar, number, &why)?,
        }
        if batch.len() >= BATCH_LINES || size >= BATCH_BYTES {
            send(&mut target, &mut batch, &mut tally, &bar)?;
            size = 0;
        }
    }
    send(&mut target, &mut batch, &mut tally, &bar)?;
    bar.finish_and_clear();
    tally.close(&args.topic)
}

fn open(file: &str) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if file == "-" {
        return Ok((Box::new(std::io::stdin()), None));
    }
    let open = || {
        let opened = File::open(file)?;
        let bytes = opened.metadata()?.len();
        Ok::<_, std::io::Error>((opened, bytes))
    };
    let (opened, bytes) = open().map_err(|e| Error::refused(format!("{file} cannot be read")).because(e))?;
    Ok((Box::new(opened), Some(bytes)))
}

/// Drawn on a terminal only.
fn progress(bytes: Option<u64>) -> ProgressBar {
    let Some(bytes) = bytes else { return ProgressBar::new_spinner().with_message("events") };
    let bar = ProgressBar::new(bytes);
    match ProgressStyle::with_template("{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left  {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn send(target: &mut Target, batch: &mut Vec<Line>, tally: &mut Tally, bar: &ProgressBar) -> Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let count = batch.len();
    let refused = target.send(batch).map_err(|e| e.within(format_args!("after {} events were sent", tally.sent)))?;
    tally.sent += (count - refused.len()) as u64;
    for (number, why) in refused {
        tally.refuse(bar, number, &why)?;
    }
    batch.clear();
    bar.set_message(format!("{} events", tally.sent));
    Ok(())
}

/// What became of the lines.
#[derive(Debug, Default)]
struct Tally {
    sent: u64,
    refused: u64,
}

impl Tally {
    fn refuse(&mut self, bar: &ProgressBar, number: u64, why: &str) -> Result<()> {
        self.refused += 1;
        bar.suspend(|| style::note(&format!("line {number}: {why}\n")))
    }

    fn close(self, topic: &str) -> Result<ExitCode> {
        let Self { sent, refused } = self;
        if refused > 0 {
            let all = sent + refused;
            return Err(Error::refused(format!(
                "{refused} of {all} lines were refused, {sent} events were sent to {topic}"
            ))
            .advise("the lines are named above: put them right and send them alone"));
        }
        style::out(&format!("{sent} events were sent to {topic}\n"))?;
        Ok(ExitCode::SUCCESS)
    }
}
