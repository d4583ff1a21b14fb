//! How fresh an answer must be: `at_least`, `timeout` and `stale`, and waiting for it.
//!
//! `at_least=topic:partition:offset` is the offset of an *event*; positions are of the *next* event, so a position
//! covers an event when it is greater.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::params::Params;
use super::problem::{Problem, Reason};
use crate::broker::Offset;
use crate::query::{AtLeast, Table};
use crate::task::{Phase, Progress, TaskView};

/// How long a read waits for `at_least` when it does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
/// A task that looks too stale gets so long to show that it only just got something to do.
const GRACE: Duration = Duration::from_millis(250);
/// While waiting, the task of a partition is looked up again so often: it may move to another worker or instance.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Most events one request may wait for.
const MAX_DEMANDS: usize = 256;

/// What an event must be before the read may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// In the store, for reads by key.
    Applied,
    /// In the index, for searches.
    Visible,
}

impl Stage {
    fn of(self, progress: &Progress, topic: &str) -> Offset {
        let positions = match self {
            Stage::Applied => &progress.applied,
            Stage::Visible => &progress.visible,
        };
        positions.get(topic).copied().unwrap_or(0)
    }
    fn word(self) -> &'static str {
        match self {
            Stage::Applied => "applied",
            Stage::Visible => "visible to search",
        }
    }
}

/// What a read demands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Freshness {
    /// Events that must be covered.
    pub(crate) at_least: Vec<AtLeast>,
    /// How long to wait for them.
    pub(crate) timeout: Duration,
    /// Whether data may be stale or of a task that is not running.
    pub(crate) allow_stale: bool,
}

impl Freshness {
    /// Takes `timeout` only: for what waits by itself.
    pub(crate) fn timeout_only(params: &mut Params, longest: Duration) -> Result<Self, Problem> {
        let timeout = params.duration("timeout")?.unwrap_or(DEFAULT_TIMEOUT).min(before(longest));
        Ok(Self { at_least: Vec::new(), timeout, allow_stale: false })
    }

    /// Takes `at_least`, `timeout` and `stale`; `longest` is `api.timeout`.
    pub(crate) fn take(params: &mut Params, longest: Duration) -> Result<Self, Problem> {
        let texts = params.commas("at_least")?.unwrap_or_default();
        if texts.len() > MAX_DEMANDS {
            let found = format!("{} events", texts.len());
            return Err(Problem::parameter("at_least", found, format_args!("at most {MAX_DEMANDS}")));
        }
        let at_least = texts.iter().map(|t| parse_at_least(t)).collect::<Result<_, _>>()?;
        let allow_stale = params.choice("stale", &[("allow", true), ("refuse", false)])?.unwrap_or(false);
        Ok(Self { at_least, allow_stale, ..Self::timeout_only(params, longest)? })
    }

    /// The demands on these partitions only.
    pub(crate) fn of(&self, partitions: &[u32]) -> Self {
        let here = self.at_least.iter().filter(|d| partitions.contains(&d.partition));
        Self { at_least: here.cloned().collect(), ..*self }
    }

    /// What another instance demands, within the limits that clients have here.
    pub(crate) fn within(self, longest: Duration) -> Result<Self, Problem> {
        if self.at_least.len() > MAX_DEMANDS {
            let found = format!("{} events", self.at_least.len());
            return Err(Problem::parameter("at_least", found, format_args!("at most {MAX_DEMANDS}")));
        }
        Ok(Self { timeout: self.timeout.min(longest), ..self })
    }

    /// The longest that it may wait for events.
    pub(crate) fn patience(&self) -> Duration {
        if self.at_least.is_empty() { Duration::ZERO } else { self.timeout }
    }

    /// For a request over several tables, what each of them must cover: the events of its own topics. Refuses demands that none of
    /// them can ever cover.
    pub(crate) fn shared(&self, tables: &[Arc<Table>]) -> Result<Vec<Self>, Problem> {
        let reads = |table: &Table, demand: &AtLeast| table.def.sources.iter().any(|s| s.topic == demand.topic);
        for demand in &self.at_least {
            match tables.iter().find(|table| reads(table, demand)).or(tables.first()) {
                Some(table) => check(demand, table)?,
                None => return Ok(Vec::new()),
            }
        }
        let of = |table: &Arc<Table>| {
            let own = self.at_least.iter().filter(|demand| reads(table, demand));
            Self { at_least: own.cloned().collect(), ..*self }
        };
        Ok(tables.iter().map(of).collect())
    }

    /// Refuses demands that the table can never cover.
    pub(crate) fn check(&self, table: &Table) -> Result<(), Problem> {
        self.at_least.iter().try_for_each(|demand| check(demand, table))
    }
}

/// A little before `longest`, so that the answer of who waits comes before the end of the request itself.
fn before(longest: Duration) -> Duration {
    longest.saturating_sub((longest / 10).min(Duration::from_millis(250)))
}

/// Reads `topic:partition:offset`.
fn parse_at_least(text: &str) -> Result<AtLeast, Problem> {
    let mut parts = text.rsplitn(3, ':');
    let offset = parts.next().and_then(|o| o.parse::<Offset>().ok()).filter(|o| *o >= 0);
    let partition = parts.next().and_then(|p| p.parse().ok());
    match (parts.next().filter(|t| !t.is_empty()), partition, offset) {
        (Some(topic), Some(partition), Some(offset)) => Ok(AtLeast { topic: topic.to_owned(), partition, offset }),
        _ => {
            let shown: String = text.chars().take(80).collect();
            Err(Problem::parameter("at_least", format_args!("found `{shown}`"), "`topic:partition:offset`"))
        }
    }
}

/// Whether the table can ever cover the demand.
fn check(demand: &AtLeast, table: &Table) -> Result<(), Problem> {
    let topics: Vec<&str> = table.def.sources.iter().map(|s| s.topic.as_str()).collect();
    if !topics.contains(&demand.topic.as_str()) {
        let found = format!("table `{}` does not read topic `{}`", table.def.name, demand.topic);
        return Err(Problem::parameter("at_least", found, format_args!("one of the topics {}", topics.join(", "))));
    }
    if demand.partition >= table.partitions {
        let found = format!("topic `{}` has no partition {}", demand.topic, demand.partition);
        return Err(Problem::parameter("at_least", found, format_args!("a partition below {}", table.partitions)));
    }
    Ok(())
}

/// Lets a read pass when the tasks it needs are fit to answer: in a phase to answer, past the events that it demands, and
/// not too far behind. `needed` is asked again after waiting, for tasks may move meanwhile.
pub(crate) async fn admit(
    table: &Table,
    freshness: &Freshness,
    stage: Stage,
    max_lag: Duration,
    needed: impl Fn() -> Result<Vec<Arc<TaskView>>, Problem>,
) -> Result<Vec<Arc<TaskView>>, Problem> {
    let phases = |views: &[Arc<TaskView>]| views.iter().try_for_each(|v| admit_phase(v, stage, freshness.allow_stale));
    let mut views = needed()?;
    phases(&views)?;
    if !freshness.at_least.is_empty() {
        wait(table, &freshness.at_least, stage, freshness.timeout).await?;
        views = needed()?;
        phases(&views)?;
    }
    if !freshness.allow_stale {
        for view in &views {
            admit_lag(view, max_lag).await?;
        }
    }
    Ok(views)
}

/// Waits until every demand is covered, or says which one was not in time.
pub(crate) async fn wait(table: &Table, demands: &[AtLeast], stage: Stage, timeout: Duration) -> Result<(), Problem> {
    let deadline = Instant::now() + timeout;
    for demand in demands {
        wait_for(&|| table.task(demand.partition), demand, stage, deadline, timeout).await?;
    }
    Ok(())
}

/// Waits for one demand. `task` finds the task of the partition, which may change meanwhile.
async fn wait_for(
    task: &(dyn Fn() -> Option<Arc<TaskView>> + Sync),
    demand: &AtLeast,
    stage: Stage,
    deadline: Instant,
    timeout: Duration,
) -> Result<(), Problem> {
    loop {
        let Some(view) = task() else { return Err(no_owner(demand.partition)) };
        let mut progress = view.watch();
        drop(view);
        let pause = LOOK_AGAIN.min(deadline.saturating_duration_since(Instant::now()));
        let covered = progress.wait_for(|p| stage.of(p, &demand.topic) > demand.offset);
        // The guard of the watch must not live across an await.
        match tokio::time::timeout(pause, covered).await.map(|seen| seen.is_ok()) {
            Ok(true) => return Ok(()),
            // The view is gone: the task moved. Not in a hot loop, for its successor may not be there yet.
            Ok(false) => tokio::time::sleep(pause.min(Duration::from_millis(5))).await,
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            let reached = task().map_or(0, |view| view.look(|p| stage.of(p, &demand.topic)));
            return Err(late(demand, stage, reached, timeout));
        }
    }
}

fn late(demand: &AtLeast, stage: Stage, reached: Offset, timeout: Duration) -> Problem {
    let AtLeast { topic, partition, offset } = demand;
    let detail = format!(
        "after {} ms the event at offset {offset} of {topic}[{partition}] is not yet {}; the next one there is {reached}",
        timeout.as_millis(),
        stage.word()
    );
    Problem::new(Reason::FreshnessTimeout, detail, "ask again with a longer `timeout`, or without `at_least`")
        .with("at_least", format!("{topic}:{partition}:{offset}"))
        .with("reached", reached)
}

/// This instance does not have a partition.
pub(crate) fn no_owner(partition: u32) -> Problem {
    Problem::new(
        Reason::NoOwner,
        format!("partition {partition} is not on this instance now"),
        "try again in a moment; after a start or a rebalance partitions need a second to arrive",
    )
    .retry_after(1)
    .with("missing_partitions", vec![partition])
}

/// Whether a task may be read: running, or its store is caught up and only its index is not, which reads by key do not need, or
/// the caller takes what there is.
pub(crate) fn admit_phase(view: &TaskView, stage: Stage, allow_stale: bool) -> Result<(), Problem> {
    let caught_up = stage == Stage::Applied && matches!(*view.phase(), Phase::Indexing { .. });
    if (allow_stale || caught_up) && view.store().is_some() {
        return Ok(());
    }
    let place = format!("partition {} of table `{}`", view.partition, view.table);
    match &*view.phase() {
        Phase::Running => Ok(()),
        Phase::Releasing => Err(Problem::new(
            Reason::Releasing,
            format!("{place} is moving to another instance"),
            "try again in a moment",
        )
        .retry_after(1)),
        Phase::Stopped(why) => Err(Problem::new(
            Reason::Stopped,
            format!("{place} has stopped: {why}"),
            "a person has to act; `stale=allow` reads what is there, if its store is open",
        )),
        phase @ (Phase::Opening | Phase::Restoring { .. } | Phase::Indexing { .. }) => Err(restoring(&place, phase)),
    }
}

fn restoring(place: &str, phase: &Phase) -> Problem {
    let state = RestoreState::of(phase);
    let detail = match state.percent {
        Some(percent) => format!("{place} is {}: {percent:.0} % done", phase.word()),
        None => format!("{place} is {}", phase.word()),
    };
    let eta = Duration::try_from_secs_f64(state.eta_s.unwrap_or(1.0).ceil());
    let wait = eta.map_or(60, |eta| eta.as_secs()).clamp(1, 60);
    let mut problem =
        Problem::new(Reason::Restoring, detail, "wait, or pass `stale=allow` to read what is there already")
            .retry_after(wait);
    if let Some(percent) = state.percent {
        problem = problem.with("percent", percent);
    }
    if let Some(eta) = state.eta_s {
        problem = problem.with("eta_s", eta);
    }
    problem
}

/// How far a restore has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct RestoreState {
    /// Of the changelog, rounded to a tenth.
    pub(crate) percent: Option<f64>,
    /// Seconds left at the present rate.
    pub(crate) eta_s: Option<f64>,
}

impl RestoreState {
    /// Of a phase; nothing to say for phases that are not counted.
    pub(crate) fn of(phase: &Phase) -> Self {
        let Phase::Restoring { at, end, rate } = phase else { return Self { percent: None, eta_s: None } };
        let tenth = |x: f64| (x * 10.0).round() / 10.0;
        let share = if *end > 0 { *at as f64 / *end as f64 } else { 1.0 };
        let left = end.saturating_sub(*at).max(0) as f64;
        Self {
            percent: Some(tenth((share * 100.0).clamp(0.0, 100.0))),
            eta_s: (*rate > 0.0).then(|| tenth(left / rate)),
        }
    }
}

/// How far a task is behind in time: the age of the newest applied event while unread ones wait, else 0. Milliseconds.
///
/// This is the age of what was applied, not the time that the oldest unread event waits, which nobody knows before it is
/// read: after a pause of the producers it is too pessimistic for the moment until the first event is applied.
pub(crate) fn lag_ms(view: &TaskView, now_ms: i64) -> i64 {
    if view.unread() <= 0 { 0 } else { now_ms.saturating_sub(view.look(|p| p.last_event_ms)).max(0) }
}

/// Refuses a task that is behind by more than `max_lag`. What looks stale gets a quarter of a second to apply something
/// newer: after a pause of the producers, one unread event makes a task look as old as its last event.
pub(crate) async fn admit_lag(view: &TaskView, max_lag: Duration) -> Result<(), Problem> {
    let limit = i64::try_from(max_lag.as_millis()).unwrap_or(i64::MAX);
    let stale = || lag_ms(view, crate::clock::now_ms()) > limit;
    if !stale() {
        return Ok(());
    }
    let mut progress = view.watch();
    // Either it becomes fresh, or the time is over; both are judged below.
    let _ = tokio::time::timeout(GRACE, async { while stale() && progress.changed().await.is_ok() {} }).await;
    if !stale() {
        return Ok(());
    }
    let (events, behind) = (view.unread(), lag_ms(view, crate::clock::now_ms()));
    let detail = format!(
        "partition {} of table `{}` has {events} unread events and the newest applied one is {behind} ms old; the limit \
         is {limit} ms",
        view.partition, view.table
    );
    Err(Problem::new(Reason::TooStale, detail, "try again later, or pass `stale=allow` to read what is there")
        .retry_after(1)
        .with("lag", events)
        .with("lag_ms", behind))
}

#[cfg(test)]
#[path = "freshness_tests.rs"]
mod tests;
