//! Coming back: with the state deleted, and after SIGKILL while events arrive.

use std::path::Path;
use std::time::Duration;

use super::client::Client;
use super::process::{Kafka, Keld, usage};
use super::queries::arriving;
use super::{Options, Result, root};

/// Seconds of events before the kill, and after it.
const BEFORE: u64 = 10;
const AFTER: u64 = 15;
/// Number of the driver's run.
const RUN: u32 = 20;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long coming back took.
#[derive(Debug)]
pub(crate) struct Recovery {
    /// From the start with the state deleted until all tasks run and everything is searchable.
    pub(crate) restored: Duration,
    /// CPU seconds of that.
    pub(crate) restore_cpu: f64,
    /// Records that a search for everything counts then.
    pub(crate) records: u64,
    /// From the start after SIGKILL until a read by key is answered with what is there (`stale=allow`).
    pub(crate) answering: Duration,
    /// Until every task runs again.
    pub(crate) processing: Duration,
}

/// Stops, deletes the state, starts; then kills while events arrive, and starts. The last process is handed back.
pub(crate) fn measure(
    driver: &Path,
    options: &Options,
    data: &Path,
    dir: &Path,
    kafka: &Kafka,
    keld: Keld,
) -> Result<(Recovery, Keld)> {
    let key = first_key(data)?;
    println!("   restoring with the state deleted");
    keld.stop()?;
    std::fs::remove_dir_all(dir.join("state"))?;
    let mut keld = Keld::start(options, &root(), dir, &kafka.bootstrap)?;
    let client = Client::new(&keld.url, "products");
    let restored = until(&mut keld, || client.is_ready())?;
    let restore_cpu = usage(keld.pid())?.cpu;
    let records = client.count("")?;

    println!("   SIGKILL with {} events/s arriving", options.rate);
    let mut events = arriving(driver, options, data, kafka, &keld, RUN, BEFORE + AFTER)?;
    std::thread::sleep(Duration::from_secs(BEFORE));
    keld.kill()?;
    let mut keld = Keld::start(options, &root(), dir, &kafka.bootstrap)?;
    let client = Client::new(&keld.url, "products");
    let answering = until(&mut keld, || client.has_stale(&key))?;
    let processing = until(&mut keld, || client.is_ready())?;
    if !events.wait()?.success() {
        return Err(format!("{} failed while Keld was killed", driver.display()).into());
    }
    Ok((Recovery { restored, restore_cpu, records, answering, processing }, keld))
}

/// Time from the start of the process until `done`.
fn until(keld: &mut Keld, done: impl Fn() -> bool) -> Result<Duration> {
    while !done() {
        keld.check_alive()?;
        if keld.started.elapsed() > PATIENCE {
            return Err(format!("not back within {PATIENCE:?}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(keld.started.elapsed())
}

/// A key that has a record.
fn first_key(data: &Path) -> Result<String> {
    let text = std::fs::read_to_string(data.join("expected.ndjson"))?;
    let first: serde_json::Value = serde_json::from_str(text.lines().next().ok_or("no expected records")?)?;
    Ok(first["sku"].as_str().ok_or("an expected record without sku")?.to_owned())
}
