//! Queries, while nothing else happens and while events arrive: requests a second and their times, by the driver that measures the
//! peer.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::process::{Kafka, Keld};
use super::{Options, Result};

/// What is asked. The driver fills the braces, each time with others. `stale=allow`, for the peer never says that it is behind either.
struct Query {
    name: &'static str,
    /// Short name, for figures; the peer's have the same.
    short: &'static str,
    path: &'static str,
}

const QUERIES: [Query; 7] = [
    Query { name: "GET by key", short: "get", path: "records/{key}?stale=allow" },
    Query {
        name: "one term, top 10, all matches counted",
        short: "term",
        path: "search?stale=allow&q=title:{term}&limit=10",
    },
    Query {
        name: "one term, top 10, not counted",
        short: "uncounted",
        path: "search?stale=allow&q=title:{term}&limit=10&count=none",
    },
    Query {
        name: "term and filter, sorted by price, top 10",
        short: "sorted",
        path: "search?stale=allow&q=title:{term}&filter=category:{category}&sort=price&limit=10",
    },
    Query {
        name: "term, top 10, with facets of two fields",
        short: "facets",
        path: "search?stale=allow&q=title:{term}&limit=10&facets=category,brand:20",
    },
    Query {
        name: "term, mean price by category",
        short: "aggs",
        // {"c": {"terms": {"field": "category"}, "aggs": {"p": {"avg": {"field": "price"}}}}}
        path: "search?stale=allow&q=title:{term}&limit=1&aggs=%7B%22c%22%3A%7B%22terms%22%3A%7B%22field%22%3A%22category%22%7D%2C\
               %22aggs%22%3A%7B%22p%22%3A%7B%22avg%22%3A%7B%22field%22%3A%22price%22%7D%7D%7D%7D%7D",
    },
    Query { name: "beginning of a word, top 10", short: "prefix", path: "search?stale=allow&q=title:{term}*&limit=10" },
];
/// Beginnings of words that titles have; of some of them two or three.
const BEGINNINGS: &str = "ket,lam,ch,des,sh,ki,kn,bla,s,bi,he,ja,ba,t,st,mi";
/// Seconds of each query that are not counted: code is compiled and caches are filled, here and there.
const WARM_UP: u64 = 3;
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
    /// Whether events arrived meanwhile.
    pub(crate) arriving: bool,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Milliseconds.
    pub(crate) p50: f64,
    /// Milliseconds.
    pub(crate) p99: f64,
    /// Cores that Keld used, the work on arriving events included.
    pub(crate) cores: f64,
    /// Cores that asking took.
    pub(crate) driver: f64,
    /// Cores that nobody used: with more of them the driver could have asked for more.
    pub(crate) idle: f64,
}

/// Runs each query with some clients, first while nothing else happens, then while events arrive.
pub(crate) fn measure(
    driver: &Path,
    options: &Options,
    data: &Path,
    kafka: &Kafka,
    keld: &Keld,
) -> Result<Vec<Queried>> {
    let mut all = Vec::new();
    for query in &QUERIES {
        println!("   {}", query.name);
        ask(driver, options, keld, query, WARM_UP.min(options.query_seconds))?;
        all.push(queried(query, false, &ask(driver, options, keld, query, options.query_seconds)?)?);
    }
    for (run, query) in (FIRST_RUN..).zip(&QUERIES).filter(|_| options.rate > 0) {
        println!("   {}, {} events/s arriving", query.name, options.rate);
        let mut events = arriving(driver, options, data, kafka, keld, run, options.query_seconds + MORE)?;
        std::thread::sleep(Duration::from_millis(MORE * 500));
        let found = ask(driver, options, keld, query, options.query_seconds)?;
        if !events.wait()?.success() {
            return Err(format!("{} failed to tell events during {}", driver.display(), query.name).into());
        }
        all.push(queried(query, true, &found)?);
    }
    Ok(all)
}

/// What the driver says of so many seconds of a query.
fn ask(driver: &Path, options: &Options, keld: &Keld, query: &Query, seconds: u64) -> Result<Value> {
    let mut command = Command::new(driver);
    command.args(["query", "-base", &keld.url, "-url", &format!("/v1/tables/products/{}", query.path)]);
    command.args(["-clients", &options.clients.to_string(), "-seconds", &seconds.to_string()]);
    command.args(["-keys", &options.keys.to_string(), "-pids", &format!("app={}", keld.pid())]);
    if query.short == "prefix" {
        command.args(["-terms", BEGINNINGS]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{} failed at {}", driver.display(), query.name).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
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
        .args(["steady", "-broker", &kafka.bootstrap, "-prefix", &options.prefix, "-base", &keld.url])
        .args(["-marker-every", "0", "-events"])
        .arg(data.join("events.tsv"))
        .args(["-run", &run.to_string(), "-rate", &options.rate.to_string(), "-seconds", &seconds.to_string()])
        .stdout(Stdio::null())
        .spawn()?;
    Ok(steady)
}

fn queried(query: &Query, arriving: bool, found: &Value) -> Result<Queried> {
    let Query { name, short, .. } = query;
    let number = |at: &str| found.pointer(at).and_then(Value::as_f64).ok_or_else(|| format!("no {at} in {found}"));
    let good = ["/codes/200", "/codes/404"].into_iter().filter_map(|at| found.pointer(at)?.as_f64()).sum::<f64>();
    if good < number("/ms/n")? || *short != "get" && found.pointer("/codes/404").is_some() {
        return Err(format!("{name}: not every answer was good: {found}").into());
    }
    let wall = number("/wall_s")?;
    let cores = std::thread::available_parallelism()?.get() as f64;
    let busy = number("/app_cpu_s")? + number("/driver_cpu_s")? + number("/other_cpu_s")?;
    Ok(Queried {
        name,
        short,
        arriving,
        rate: number("/qps")?,
        p50: number("/ms/p50")?,
        p99: number("/ms/p99")?,
        cores: number("/app_cpu_s")? / wall,
        driver: number("/driver_cpu_s")? / wall,
        idle: (cores - busy / wall).max(0.0),
    })
}
