//! Freshness at a constant rate: from the call that produces a marker to the first answer that shows it.
//!
//! A marker is a new record with a word of its own in the title. It is looked for by search and by key, each from one
//! thread with a connection of its own, every `--look-every` milliseconds at most, until it is seen or given up.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::Value;

use super::client::{Client, Steps};
use super::load::{Events, retold};
use super::process::{Kafka, Keld, usage};
use super::send::Sender;
use super::{Options, Result};

/// Versions of the events told again lie so much after those of the catch-up, milliseconds.
const LATER: u64 = 10_000_000;
/// Least time between two looks, whichever markers they are for: where many markers are late, looking for all of them at once
/// would take the machine from what is measured.
const BREATH: Duration = Duration::from_millis(1);
/// After so long a marker is given up.
const GIVE_UP: Duration = Duration::from_secs(20);

/// Times of one way of looking, milliseconds, over the markers that were seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

/// What one of our own looking threads found.
struct Seen {
    /// Times, microseconds.
    times: Histogram<u64>,
    /// Markers that were never seen.
    lost: u64,
    /// Requests that it took.
    looks: u64,
}

impl Seen {
    fn times(&self) -> Times {
        let at = |quantile| self.times.value_at_quantile(quantile) as f64 / 1e3;
        Times { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: self.times.max() as f64 / 1e3 }
    }
}

/// The result.
#[derive(Debug)]
pub(crate) struct Freshness {
    /// Events a second, as achieved.
    pub(crate) rate: f64,
    /// Markers produced.
    pub(crate) markers: u64,
    /// Visible by search.
    pub(crate) search: Times,
    /// Visible by key.
    pub(crate) by_key: Times,
    /// Markers that were never seen, by search or by key.
    pub(crate) lost: u64,
    /// Requests that it took.
    pub(crate) looks: u64,
    /// Cores that Keld used.
    pub(crate) keld_cores: f64,
    /// Cores that the broker used.
    pub(crate) kafka_cores: f64,
    /// The producer's largest delay behind its schedule: above a few milliseconds the rate was not constant.
    pub(crate) behind: Duration,
    /// Mean time of each step of a commit, milliseconds: what of the time is the transaction's.
    pub(crate) steps: Vec<(String, f64)>,
}

fn means(before: &Steps, after: &Steps) -> Vec<(String, f64)> {
    let mean = |(step, (count, sum)): (&String, &(f64, f64))| {
        let (earlier, spent) = before.get(step).copied().unwrap_or_default();
        (step.clone(), (sum - spent) * 1e3 / (count - earlier).max(1.0))
    };
    after.iter().map(mean).collect()
}

#[derive(Clone, Debug)]
struct Marker {
    key: Arc<str>,
    word: Arc<str>,
    sent: Instant,
    looked: Instant,
}

/// Has the program that measures the peer measure Keld: the same client, the same requests to the broker.
pub(crate) fn measure_with(
    driver: &Path,
    options: &Options,
    data: &Path,
    kafka: &Kafka,
    keld: &Keld,
) -> Result<Freshness> {
    println!(
        "   freshness by {}: {} events/s, {} s after {} s of warm-up",
        driver.display(),
        options.rate,
        options.seconds,
        options.warm_up
    );
    let steady = |run: u32, seconds: u64, marker_every: u64| -> Result<Value> {
        let output = Command::new(driver)
            .args(["steady", "-broker", &kafka.bootstrap, "-prefix", &options.prefix, "-base", &keld.url])
            .arg("-events")
            .arg(data.join("events.tsv"))
            .args(["-run", &run.to_string(), "-rate", &options.rate.to_string(), "-seconds", &seconds.to_string()])
            .args(["-marker-every", &format!("{marker_every}ms"), "-poll", &format!("{}ms", options.look_every)])
            .args(["-search-url", "/v1/tables/products/search?q=title:{token}"])
            .args(["-record-url", "/v1/tables/products/records/{key}"])
            .args(["-pids", &format!("app={},broker={}", keld.pid(), kafka.pid)])
            .stderr(Stdio::inherit())
            .output()?;
        if !output.status.success() {
            return Err(format!("{} steady: {}", driver.display(), output.status).into());
        }
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    if options.warm_up > 0 {
        steady(1, options.warm_up, 0)?;
    }
    let client = Client::new(&keld.url, "products");
    let before = client.commit_steps()?;
    let found = steady(2, options.seconds, options.marker_every)?;
    let steps = means(&before, &client.commit_steps()?);
    let number = |at: &str| found.pointer(at).and_then(Value::as_f64).ok_or_else(|| format!("no {at} in {found}"));
    let count = |at: &str| found.pointer(at).and_then(Value::as_u64).ok_or_else(|| format!("no count {at} in {found}"));
    let times = |what: &str| -> Result<Times> {
        let at = |part: &str| number(&format!("/{what}/{part}"));
        Ok(Times { p50: at("p50")?, p90: at("p90")?, p99: at("p99")?, max: at("max")? })
    };
    let (wall, rate) = (number("/wall_s")?, number("/rate")?);
    Ok(Freshness {
        rate: number("/sent")? / wall,
        markers: count("/search_ms/n")?,
        search: times("search_ms")?,
        by_key: times("record_ms")?,
        lost: count("/markers_lost")?,
        looks: count("/polls")?,
        keld_cores: number("/app_cpu_s")? / wall,
        kafka_cores: number("/broker_cpu_s")? / wall,
        behind: Duration::from_secs_f64(number("/max_behind_events")? / rate),
        steps,
    })
}

/// Produces at the constant rate and looks for the markers.
pub(crate) fn measure(
    options: &Options,
    client: &Client,
    kafka: &Kafka,
    keld: &Keld,
    events: &Events,
) -> Result<Freshness> {
    println!("   freshness: {} events/s, {} s after {} s of warm-up", options.rate, options.seconds, options.warm_up);
    let every = Duration::from_millis(options.look_every);
    let done = Arc::new(AtomicBool::new(false));
    let (to_search, for_search) = sync_channel(100_000);
    let (to_key, for_key) = sync_channel(100_000);
    let searcher = {
        let (client, done) = (client.another(), Arc::clone(&done));
        std::thread::spawn(move || {
            look(&for_search, &done, every, |m| client.finds(&format!("title:{}", m.word), &m.key))
        })
    };
    let reader = {
        let (client, done) = (client.another(), Arc::clone(&done));
        std::thread::spawn(move || look(&for_key, &done, every, |m| client.has(&m.key)))
    };
    let before = client.commit_steps()?;
    let produced = produce(options, kafka, keld, events, &[to_search, to_key]);
    done.store(true, Ordering::Relaxed);
    let steps = means(&before, &client.commit_steps()?);
    let ended = |_| "a looking thread panicked";
    let (search, by_key) = (searcher.join().map_err(ended)??, reader.join().map_err(ended)??);
    let produced = produced?;
    Ok(Freshness {
        rate: produced.events as f64 / produced.took.as_secs_f64(),
        markers: produced.markers,
        search: search.times(),
        by_key: by_key.times(),
        lost: search.lost + by_key.lost,
        looks: search.looks + by_key.looks,
        keld_cores: produced.keld_cpu / produced.took.as_secs_f64(),
        kafka_cores: produced.kafka_cpu / produced.took.as_secs_f64(),
        behind: produced.behind,
        steps,
    })
}

struct Produced {
    events: u64,
    markers: u64,
    took: Duration,
    keld_cpu: f64,
    kafka_cpu: f64,
    behind: Duration,
}

fn produce(
    options: &Options,
    kafka: &Kafka,
    keld: &Keld,
    events: &Events,
    to: &[SyncSender<Marker>],
) -> Result<Produced> {
    let sender = Sender::new(&kafka.bootstrap, 1)?.into_topics_of(&options.prefix);
    let mut source = events.iter();
    let mut pace = Pace::new(options.rate);
    for _ in 0..options.warm_up * options.rate {
        pace.wait();
        tell(&sender, &mut source)?;
    }
    let (keld_from, kafka_from, since) = (usage(keld.pid())?, usage(kafka.pid)?, Instant::now());
    let marker_every = Duration::from_millis(options.marker_every);
    let (mut sent, mut markers) = (0, 0);
    pace.behind = Duration::ZERO;
    while sent < options.seconds * options.rate {
        pace.wait();
        tell(&sender, &mut source)?;
        sent += 1;
        if since.elapsed() >= marker_every * u32::try_from(markers).unwrap_or(u32::MAX) {
            mark(&sender, markers, to)?;
            markers += 1;
        }
    }
    let took = since.elapsed();
    let (keld_cpu, kafka_cpu) = (usage(keld.pid())?.since(&keld_from), usage(kafka.pid)?.since(&kafka_from));
    sender.finish()?;
    Ok(Produced { events: sent + markers, markers, took, keld_cpu, kafka_cpu, behind: pace.behind })
}

/// Sends the next event of the workload as told for the second time.
fn tell<'a>(sender: &Sender, source: &mut impl Iterator<Item = super::load::Event<'a>>) -> Result<()> {
    let event = source.next().ok_or("the workload is too short for this rate and time: more --events")?;
    let value = retold(event.value, 1, LATER).ok_or("an event without ts")?;
    sender.send(event.topic, event.key, &value)
}

fn mark(sender: &Sender, number: u64, to: &[SyncSender<Marker>]) -> Result<()> {
    let (key, word) = (format!("marker-{number:06}"), format!("qz{number:06}zq"));
    let value = format!(
        "{{\"event_id\":\"{key}\",\"sku\":\"{key}\",\"ts\":{},\"title\":\"{word}\",\"brand\":\"marker\",\
         \"category\":\"marker\",\"description\":\"marker\"}}",
        1_700_000_000_000 + LATER + number
    );
    let sent = Instant::now();
    sender.send("catalog", &key, &value)?;
    let marker = Marker { key: key.into(), word: word.into(), sent, looked: sent };
    for queue in to {
        queue.send(marker.clone()).map_err(|_| "a looking thread has ended")?;
    }
    Ok(())
}

/// Keeps to a rate: an event is due at its place on the clock, whatever the events before it took.
struct Pace {
    start: Instant,
    gap: Duration,
    count: u32,
    behind: Duration,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self {
            start: Instant::now(),
            gap: Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX),
            count: 0,
            behind: Duration::ZERO,
        }
    }

    /// Waits until the next event is due; sleeps a millisecond at least, so that events go out in small groups.
    fn wait(&mut self) {
        let due = self.start + self.gap * self.count;
        self.count += 1;
        let now = Instant::now();
        if due > now {
            std::thread::sleep((due - now).max(Duration::from_millis(1)));
        } else {
            self.behind = self.behind.max(now - due);
        }
    }
}

/// Looks for markers until `done` is set and none is left.
fn look(queue: &Receiver<Marker>, done: &AtomicBool, every: Duration, shows: impl Fn(&Marker) -> bool) -> Result<Seen> {
    let mut seen = Seen { times: Histogram::new_with_bounds(1, 60_000_000, 3)?, lost: 0, looks: 0 };
    let mut open: VecDeque<Marker> = VecDeque::new();
    let mut last = Instant::now();
    loop {
        match queue.try_recv() {
            Ok(marker) => open.push_back(marker),
            Err(TryRecvError::Disconnected) if open.is_empty() => return Ok(seen),
            Err(_) if open.is_empty() && done.load(Ordering::Relaxed) => return Ok(seen),
            Err(_) => {
                let Some(mut marker) = open.pop_front() else {
                    std::thread::sleep(Duration::from_millis(1));
                    continue;
                };
                let next = (marker.looked + every).max(last + BREATH);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                marker.looked = Instant::now();
                last = marker.looked;
                seen.looks += 1;
                if shows(&marker) {
                    seen.times.record(u64::try_from(marker.sent.elapsed().as_micros())?)?;
                } else if marker.sent.elapsed() > GIVE_UP {
                    seen.lost += 1;
                } else {
                    open.push_back(marker);
                }
            }
        }
    }
}
