//! How fast a worker reads while it catches up.

use std::time::{Duration, Instant};

/// Counts what was read since the catch-up began.
#[derive(Debug, Default)]
pub struct Pace {
    began: Option<Instant>,
    events: u64,
}

impl Pace {
    /// `events` more were read by `now`; returns how long `unread` ones will take at the pace so far.
    pub fn left(&mut self, events: u64, unread: u64, now: Instant) -> Duration {
        let Some(began) = self.began else {
            // These were read before: nobody knows in what time.
            self.began = Some(now);
            return Duration::ZERO;
        };
        self.events += events;
        let each = now.duration_since(began).as_secs_f64() / self.events.max(1) as f64;
        Duration::try_from_secs_f64(each * unread as f64).unwrap_or(Duration::MAX)
    }

    /// Nothing more waits.
    pub fn rest(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_takes_as_long_as_what_was_read_since_the_catch_up_began() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert_eq!(pace.left(1_000_000, 3_000, at(0)), Duration::ZERO);
        assert_eq!(pace.left(500, 2_500, at(1)), Duration::from_secs(5));
        assert_eq!(pace.left(1_500, 1_000, at(2)), Duration::from_secs(1));
        pace.rest();
        assert_eq!(pace.left(10, 10, at(60)), Duration::ZERO);
        assert_eq!(pace.left(0, u64::MAX, at(1_000_000_000)), Duration::MAX);
    }
}
