//! Whether the threads of a worker still get anywhere. The group's heartbeats come from another thread, so they prove nothing.
//!
//! A thread *beats* whenever it has finished a step, and *rests* while it waits for work. Who neither beats nor rests for
//! `instance.stall_timeout` is stuck: in the disk, in the broker, or in a defect.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The sign of life of one thread.
#[derive(Debug, Default)]
pub struct Pulse {
    origin: OnceLock<Instant>,
    /// Milliseconds from `origin` to the last beat, plus one; 0: at rest.
    beat: AtomicU64,
}

impl Pulse {
    fn now(&self) -> u64 {
        let origin = self.origin.get_or_init(Instant::now);
        u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }
    /// A step is done, the next begins.
    pub fn beat(&self) {
        self.beat.store(self.now() + 1, Ordering::Relaxed);
    }
    /// There is nothing to do.
    pub fn rest(&self) {
        self.beat.store(0, Ordering::Relaxed);
    }
    /// How long the step takes already that the thread is at; `None` while it rests.
    pub fn silent(&self) -> Option<Duration> {
        let beat = self.beat.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(self.now().saturating_sub(beat)))
    }
}

/// How long the slowest of these threads has been at one step, if that is longer than `limit`.
pub fn stalled(pulses: &[&Pulse], limit: Duration) -> Option<Duration> {
    pulses.iter().filter_map(|p| p.silent()).max().filter(|silent| *silent > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(30);

    #[test]
    fn who_rests_is_not_stuck_and_who_neither_rests_nor_beats_is() {
        let (merge, commit) = (Pulse::default(), Pulse::default());
        assert_eq!(stalled(&[&merge, &commit], LIMIT), None, "nothing has begun");
        merge.beat();
        commit.beat();
        commit.rest();
        assert_eq!(stalled(&[&merge, &commit], LIMIT), None, "a step has just begun");
        std::thread::sleep(2 * LIMIT);
        assert!(stalled(&[&merge, &commit], LIMIT) >= Some(LIMIT), "the merge thread is still at it");
        merge.beat();
        assert_eq!(stalled(&[&merge, &commit], LIMIT), None, "it goes on");
        std::thread::sleep(2 * LIMIT);
        merge.rest();
        assert_eq!(stalled(&[&merge, &commit], LIMIT), None, "there is nothing to do");
    }
}
