//! How long the files of tasks that are not here any more are kept: a task that comes back reads only the tail, so they are worth
//! their disk for a while. What goes is deleted beside everything else, with a log line; the changelog has it all.

use std::time::{Duration, Instant};

use super::supervisor::Supervisor;
use super::worker::spawn;
use crate::broker::TopicPartition;
use crate::config::StateSettings;
use crate::store::{Store, disk_bytes, last_held, note_held};
use crate::{Result, clock};

/// How often it is looked, at most.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked, at least, where files are kept for a short time only.
const LOOK_AT_LEAST: Duration = Duration::from_secs(1);
/// After the group has settled first nothing is deleted for so long: tasks are still on their way to their old places.
const GRACE: Duration = Duration::from_secs(600);

/// Files of a task that is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept<T> {
    task: T,
    last_held_ms: i64,
    bytes: u64,
}

/// Why files are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Nobody here has used them for too long.
    Old,
    /// Together they take too much, and these have been unused for longest.
    TooMuch,
}

/// Decides which files go: those unused for longer than `retention`, and of the rest the least recently used ones, until no more
/// than `budget` bytes are left. Pure.
fn surplus<T: Clone>(mut kept: Vec<Kept<T>>, now_ms: i64, settings: &StateSettings) -> Vec<(Kept<T>, Why)> {
    let retention = i64::try_from(settings.retention.as_millis()).unwrap_or(i64::MAX);
    kept.sort_by_key(|k| k.last_held_ms);
    let mut left: u64 = kept.iter().map(|k| k.bytes).sum();
    let mut gone = Vec::new();
    for files in kept {
        let why = if now_ms.saturating_sub(files.last_held_ms) > retention {
            Why::Old
        } else if left > settings.budget {
            Why::TooMuch
        } else {
            break;
        };
        left -= files.bytes;
        gone.push((files, why));
    }
    gone
}

/// When it was looked last, and since when the group has been settled.
#[derive(Debug, Default)]
pub(super) struct Tidy {
    pub(super) settled: Option<Instant>,
    looked: Option<Instant>,
}

impl Tidy {
    fn is_time(&mut self, settings: &StateSettings) -> bool {
        let every = (settings.retention / 2).clamp(LOOK_AT_LEAST, LOOK_EVERY);
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= every);
        if due {
            self.looked = Some(Instant::now());
        }
        due
    }
}

impl Supervisor {
    /// Notes what is in use, and deletes what has not been for too long.
    pub(super) fn tidy(&mut self) -> Result<()> {
        let settings = self.settings.state.clone();
        if !self.tidy.is_time(&settings) {
            return Ok(());
        }
        let now_ms = clock::now_ms();
        let mut kept = Vec::new();
        for (topic, table) in &self.tables {
            let (opener, tasks) = (&table.context.opener, table.context.opener.table.tasks());
            for partition in 0..opener.table.partitions {
                let (dir, tp) = (opener.dir(partition), TopicPartition::new(topic.as_str(), partition));
                if !dir.exists() || self.working.get(&tp).is_some_and(|thread| !thread.is_finished()) {
                    continue;
                }
                let held = last_held(&dir).filter(|_| !tasks.contains_key(&partition));
                let Some(last_held_ms) = held else {
                    note_held(&dir, now_ms)?;
                    continue;
                };
                kept.push(Kept { task: tp, last_held_ms, bytes: disk_bytes(&dir) });
            }
        }
        if self.tidy.settled.is_none_or(|since| since.elapsed() < GRACE.min(settings.retention)) {
            return Ok(());
        }
        surplus(kept, now_ms, &settings).into_iter().try_for_each(|(files, why)| self.delete(files, why, now_ms))
    }

    /// Deletes the files of a task, and its documents. Whoever opens it next waits for that.
    fn delete(&mut self, files: Kept<TopicPartition>, why: Why, now_ms: i64) -> Result<()> {
        let tp = files.task.clone();
        let opener = self.table(&tp)?.context.opener.clone();
        let ended = self.table(&tp)?.context.ended.clone();
        let (name, dir) = (opener.task_name(tp.partition), opener.dir(tp.partition));
        let unused = Duration::from_millis(now_ms.abs_diff(files.last_held_ms));
        let reason = match why {
            Why::Old => "longer than state.retention",
            Why::TooMuch => "and all such files together take more than state.budget",
        };
        let working = spawn(format!("delete-{name}"), ended, move || {
            // Documents first: they would find no record.
            opener.table.index.clear_partition(tp.partition)?;
            opener.table.index.flush()?;
            Store::destroy(&dir)?;
            let (bytes, unused) = (files.bytes, unused.as_secs());
            tracing::info!(
                task = name,
                bytes,
                unused,
                "files of a task are deleted: unused for so many seconds, {reason}"
            );
            Ok(())
        })?;
        self.working.insert(files.task, working);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(task: u32, last_held_ms: i64, bytes: u64) -> Kept<u32> {
        Kept { task, last_held_ms, bytes }
    }

    fn gone(files: &[Kept<u32>], budget: u64) -> Vec<(u32, Why)> {
        let settings = StateSettings { retention: Duration::from_millis(100), budget };
        surplus(files.to_vec(), 1_000, &settings).into_iter().map(|(k, why)| (k.task, why)).collect()
    }

    #[test]
    fn what_is_older_than_the_retention_goes_and_no_more_where_the_rest_fits() {
        let files = [kept(1, 950, 10), kept(2, 899, 10), kept(3, 900, 10), kept(4, 1_000, 10)];
        assert_eq!(gone(&files, 30), [(2, Why::Old)]);
        assert_eq!(gone(&files, u64::MAX), [(2, Why::Old)]);
        assert_eq!(gone(&[], 0), []);
    }

    #[test]
    fn above_the_budget_the_least_recently_used_go_first_until_it_fits() {
        let files = [kept(1, 990, 40), kept(2, 920, 30), kept(3, 950, 20), kept(4, 910, 10)];
        assert_eq!(gone(&files, 100), []);
        assert_eq!(gone(&files, 99), [(4, Why::TooMuch)]);
        assert_eq!(gone(&files, 60), [(4, Why::TooMuch), (2, Why::TooMuch)]);
        assert_eq!(gone(&files, 39).len(), 4, "the last one alone is too large");
        // What goes by age makes room.
        let files = [kept(1, 990, 40), kept(2, 500, 100)];
        assert_eq!(gone(&files, 40), [(2, Why::Old)]);
    }
}
