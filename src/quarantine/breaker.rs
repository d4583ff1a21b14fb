//! The rate breaker: stops a table whose events are mostly refused, before a whole topic is moved aside.

use parking_lot::Mutex;

/// Least events that are judged together: a few bad ones at the start of a topic say nothing.
pub const SAMPLE: u64 = 1_000;

/// Watches the share of refused events of one table, over all its workers. Judges at least [`SAMPLE`] events at a time, by
/// counts alone, and stays open once it has tripped: a restart closes it.
#[derive(Debug)]
pub struct Breaker {
    /// Largest share that may be refused; 1 never trips.
    max_rate: f64,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    consumed: u64,
    refused: u64,
    tripped: Option<String>,
}

impl Breaker {
    /// A breaker that trips beyond this share, above 0 and at most 1.
    pub fn new(max_rate: f64) -> Self {
        Self { max_rate, counts: Mutex::default() }
    }

    /// Counts events of `table` that were consumed, and how many of them were refused, for which `example` is a reason. Says
    /// why it trips, at most once; what was counted then must not be committed.
    pub fn count(&self, table: &str, consumed: u64, refused: u64, example: &str) -> Option<String> {
        let mut counts = self.counts.lock();
        counts.consumed += consumed;
        counts.refused += refused;
        if counts.tripped.is_some() || counts.consumed < SAMPLE {
            return None;
        }
        let (all, bad) = (std::mem::take(&mut counts.consumed), std::mem::take(&mut counts.refused));
        if bad as f64 / all as f64 <= self.max_rate {
            return None;
        }
        let why = format!(
            "{bad} of the last {all} events of table {table:?} were refused, more than quarantine.max_rate = {} allows; one of \
             them: {example}. Reading has stopped before the last of them, and nothing is lost: set right what refuses them (the \
             table's definition or the producer), or set quarantine.max_rate = 1 to set them all aside, and start again",
            self.max_rate
        );
        counts.tripped = Some(why.clone());
        Some(why)
    }

    /// Why it has tripped, if it has.
    pub fn tripped(&self) -> Option<String> {
        self.counts.lock().tripped.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_trips_beyond_its_share_of_a_sample_and_says_why() {
        let breaker = Breaker::new(0.5);
        assert_eq!(breaker.count("t", 999, 999, "x"), None, "too few to judge");
        let why = breaker.count("t", 1, 0, "wrong_type: price").unwrap();
        for word in ["999 of the last 1000", "\"t\"", "max_rate = 0.5", "wrong_type: price", "start again"] {
            assert!(why.contains(word), "{word} in {why}");
        }
        assert_eq!(breaker.tripped(), Some(why));
        assert_eq!(breaker.count("t", 5_000, 5_000, "x"), None, "it says so once");
    }

    #[test]
    fn half_is_not_more_than_half_and_every_sample_is_judged_by_itself() {
        let breaker = Breaker::new(0.5);
        assert_eq!(breaker.count("t", 4_000, 2_000, "x"), None);
        assert_eq!(breaker.count("t", 500, 500, "x"), None);
        assert_eq!(breaker.count("t", 500, 0, "x"), None);
        assert!(breaker.count("t", 1_000, 501, "x").is_some());
    }

    #[test]
    fn a_share_of_one_never_trips() {
        let breaker = Breaker::new(1.0);
        assert_eq!(breaker.count("t", 10_000, 10_000, "x"), None);
        assert_eq!(breaker.tripped(), None);
    }
}
