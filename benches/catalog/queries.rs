//! Queries while events arrive: requests a second and their times, by the driver that measures the peer.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::process::{Kafka, Keld};
use super::{Options, Result};

/// Name and path of each query; the driver fills the braces.
const QUERIES: [(&str, &str, &str); 3] = [
    ("GET by key", "get", "/v1/tables/products/records/{key}"),
    ("one term, top 10", "term", "/v1/tables/products/search?q=title:{term}&limit=10"),
    (
        "term and filter, sorted by price, top 10",
        "sorted",
        "/v1/tables/products/search?q=title:{term}&filter=category:{category}&sort=price&limit=10",
    ),
];
/// Seconds of each query.
const SECONDS: u64 = 12;
/// Events arrive so many seconds longer, half of it before the first request.
const MORE: u64 = 3;
/// Number of the driver's first run: each tells the events again with later versions.
const FIRST_RUN: u32 = 10;

/// What one query did.
#[derive(Debug)]
pub(crate) struct Queried {
    pub(crate) name: &'static str,
    /// Short name, for figures.
    pub(crate) short: &'static str,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// Cores that Keld used, the work on arriving events included.
    pub(crate) cores: f64,
}

/// Runs each query with four clients while events arrive.
pub(crate) fn measure(
    driver: &Path,
    options: &Options,
    data: &Path,
    kafka: &Kafka,
    keld: &Keld,
) -> Result<Vec<Queried>> {
    let mut all = Vec::new();
    for (run, (name, short, url)) in (FIRST_RUN..).zip(QUERIES) {
        println!("   {name}, {} events/s arriving", options.rate);
        let mut events = arriving(driver, options, data, kafka, keld, run, SECONDS + MORE)?;
        std::thread::sleep(Duration::from_millis(MORE * 500));
        let output = Command::new(driver)
            .args(["query", "-base", &keld.url, "-url", url, "-clients", "4", "-seconds", &SECONDS.to_string()])
            .args(["-keys", &options.keys.to_string(), "-pids", &format!("app={}", keld.pid())])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() || !events.wait()?.success() {
            return Err(format!("{} failed at {name}", driver.display()).into());
        }
        all.push(queried(name, short, &serde_json::from_slice(&output.stdout)?)?);
    }
    Ok(all)
}

/// Events at the rate of the freshness measurement, in the background.
pub(crate) fn arriving(
    driver: &Path,
    options: &Options,
    data: &Path,
    kafka: &Kafka,
    keld: &Keld,
    run: u32,
    seconds: u64,
) -> Result<Child> {
    let steady = Command::new(driver)
        .args(["steady", "-broker", &kafka.bootstrap, "-base", &keld.url, "-marker-every", "0", "-events"])
        .arg(data.join("events.tsv"))
        .args(["-run", &run.to_string(), "-rate", &options.rate.to_string(), "-seconds", &seconds.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    Ok(steady)
}

fn queried(name: &'static str, short: &'static str, found: &Value) -> Result<Queried> {
    let number = |at: &str| found.pointer(at).and_then(Value::as_f64).ok_or_else(|| format!("no {at} in {found}"));
    let good = ["/codes/200", "/codes/404"].into_iter().filter_map(|at| found.pointer(at)?.as_f64()).sum::<f64>();
    if good < number("/ms/n")? {
        return Err(format!("{name}: not every answer was good: {found}").into());
    }
    Ok(Queried {
        name,
        short,
        rate: number("/qps")?,
        p50: number("/ms/p50")?,
        p99: number("/ms/p99")?,
        cores: number("/app_cpu_s")? / number("/wall_s")?,
    })
}
