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
        self.beat_at(self.now());
    }
    fn beat_at(&self, now: u64) {
        self.beat.store(now + 1, Ordering::Relaxed);
    }
    /// There is nothing to do.
    pub fn rest(&self) {
        self.beat.store(0, Ordering::Relaxed);
    }
    /// How long the step takes already that the thread is at; `None` while it rests.
    pub fn silent(&self) -> Option<Duration> {
        self.silent_at(self.now())
    }
    fn silent_at(&self, now: u64) -> Option<Duration> {
        let beat = self.beat.load(Ordering::Relaxed).checked_sub(1)?;
        Some(Duration::from_millis(now.saturating_sub(beat)))
    }
}

/// How long the slowest of these threads has been at one step, if that is longer than `limit`.
pub fn stalled(pulses: &[&Pulse], limit: Duration) -> Option<Duration> {
    longest(pulses.iter().filter_map(|p| p.silent()), limit)
}

fn longest(silent: impl Iterator<Item = Duration>, limit: Duration) -> Option<Duration> {
    silent.max().filter(|silent| *silent > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(30);

    #[test]
    fn who_rests_is_not_stuck_and_who_neither_rests_nor_beats_is() {
        let (merge, commit) = (Pulse::default(), Pulse::default());
        let stuck = |now| longest([&merge, &commit].into_iter().filter_map(|p| p.silent_at(now)), LIMIT);
        assert_eq!(stuck(100), None, "nothing has begun");
        merge.beat_at(100);
        commit.beat_at(100);
        commit.rest();
        assert_eq!(stuck(130), None, "a step has just begun");
        assert_eq!(stuck(131), Some(Duration::from_millis(31)), "the merge thread is still at it");
        merge.beat_at(131);
        assert_eq!(stuck(140), None, "it goes on");
        merge.rest();
        assert_eq!(stuck(900), None, "there is nothing to do");
    }

    #[test]
    fn a_beat_is_of_now() {
        let pulse = Pulse::default();
        pulse.beat();
        std::thread::sleep(LIMIT);
        assert!(pulse.silent() >= Some(LIMIT) && stalled(&[&pulse], LIMIT / 2) >= Some(LIMIT));
    }
}
