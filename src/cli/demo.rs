//! `keld demo`: a whole pipeline over real data, with the embedded log.

mod feed;
mod show;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::DemoArgs;
use super::run::until_told;
use super::signals::Signals;
use super::style::{Ink, Style, out};
use crate::app::{self, Running, StartOptions};
use crate::config::{self, Settings};
use crate::query::Table;
use crate::{Error, Result};
use feed::Feed;

const CONFIG: &str = include_str!("../../config/demo/keld.toml");
/// How long the demo waits for its own tasks.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the command.
///
/// # Errors
/// Whatever keeps the instance from starting, or ended it.
pub fn run(args: DemoArgs) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let style = Style::of(&std::io::stdout());
    out(&format!(
        "{}\nFour producers each know a part of a flight: schedule, aircraft, operations, notices. Their events overlap, come late and\n\
         come twice. Keld makes one record per flight of them.\n\n",
        style.paint(Ink::Bold, "Flights that left New York in January 2013")
    ))?;
    let started = Instant::now();
    let running = app::start(settings(&args)?, StartOptions::default())?;
    signals.running();
    wait_ready(&running, &signals)?;
    let table = flights(&running)?;
    let mut feed = Feed::new(table.clone(), running.state.broker.clone(), running.state.appender.clone())?;
    fill(&mut feed, &running, &signals, if args.exit { 0 } else { feed::TAIL })?;
    if !signals.stopped() {
        show::account(&table, feed.fed(), started.elapsed())?;
        show::examples(&table)?;
        out(&format!(
            "\nOpen {} and search yourself.\n",
            style.paint(Ink::Bold, format!("http://{}/", running.address))
        ))?;
    }
    if args.exit {
        running.stop()?;
        return Ok(ExitCode::SUCCESS);
    }
    if !args.no_tail {
        out("A slow live tail keeps arriving, so the page moves. Ctrl-C ends.\n")?;
        feed.tail(signals.clone())?;
    }
    until_told(running, &signals)
}

fn settings(args: &DemoArgs) -> Result<Settings> {
    let overrides =
        [format!("instance.data_dir={}", args.data_dir.display()), format!("instance.listen={}", args.listen)];
    config::from_text("config/demo/keld.toml", CONFIG, &[], &overrides)
}

fn flights(running: &Running) -> Result<Arc<Table>> {
    running.state.tables.get("flights").cloned().ok_or_else(|| Error::internal("the demo has no table flights"))
}

fn wait_ready(running: &Running, signals: &Signals) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !running.is_ready() && !signals.stopped() {
        running.wait_failure(Duration::from_millis(20))?;
        if Instant::now() > until {
            return Err(Error::internal("the demo's tasks did not start within two minutes"));
        }
    }
    Ok(())
}

/// Feeds everything but the last `keep` events, then waits until it can be searched.
fn fill(feed: &mut Feed, running: &Running, signals: &Signals, keep: usize) -> Result<()> {
    let bar = ProgressBar::with_draw_target(
        Some((feed.total() - keep.min(feed.total())) as u64),
        ProgressDrawTarget::stderr(),
    );
    let template = "{msg:9} [{bar:40}] {human_pos}/{human_len} events  {per_sec}  {eta}";
    bar.set_style(
        ProgressStyle::with_template(template)
            .map_err(|e| Error::internal("progress bar").because(e))?
            .progress_chars("=> "),
    );
    bar.set_message("feeding");
    bar.set_position(feed.fed() as u64);
    while !signals.stopped() && feed.fed() + keep < feed.total() {
        feed.step(keep)?;
        bar.set_position(feed.fed() as u64);
        running.wait_failure(Duration::ZERO)?;
    }
    bar.set_message("indexing");
    let until = Instant::now() + PATIENCE;
    while !signals.stopped() && !feed.is_visible()? {
        running.wait_failure(Duration::from_millis(10))?;
        if Instant::now() > until {
            return Err(Error::internal("the demo's events did not become searchable within two minutes"));
        }
    }
    bar.finish_and_clear();
    Ok(())
}
