//! Partitions whose records the index takes from the store, all of them at once, instead of change by change.
//!
//! Of a long catch-up only the end is of use to a search. While it lasts each record may change many times, and where there are more
//! records than changes can wait in memory, nearly every change would become a document that the next one deletes. So changes of
//! such a partition are passed over; when it is time to show something, its documents are made anew from the records as they are then.
//! On disk the index stays where it was meanwhile: a crash finds it behind its store, and the next start repairs it as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::{Behind, Covered, IndexBatch, IndexOptions};
use crate::Result;
use crate::broker::Offset;

/// The records of a task as they are now.
pub trait Records: Send + Sync + std::fmt::Debug {
    /// How many there are, about.
    fn count(&self) -> u64;

    /// Hands every key and its stored bytes to `visit`, by key, all as of one changelog position; returns that.
    fn all(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset>;
}

/// A partition whose changes are passed over.
struct Whole {
    /// Positions of what was passed over.
    covered: Covered,
    /// Timestamps of what was passed over.
    oldest: Vec<i64>,
    records: Weak<dyn Records>,
    /// Since when changes are passed over.
    since: Instant,
    /// For how long that was to be, by what was known then: what is known later makes it no shorter, for near the end of a catch-up
    /// less and less is left.
    pause: Duration,
    /// When it is to be taken.
    due: Instant,
}

/// What is known of a partition from its last batch.
struct Source {
    records: Weak<dyn Records>,
    behind: Behind,
}

/// Keeps which partitions are taken whole.
#[derive(Default)]
pub(super) struct Wholes {
    /// Partitions that catch up.
    sources: BTreeMap<u32, Source>,
    passed_over: BTreeMap<u32, Whole>,
    /// Batches of partitions whose records are being taken: they come after, as far as the records do not hold them already.
    waiting: Vec<(IndexBatch, usize)>,
    /// Partitions whose records are being taken.
    under_way: BTreeSet<u32>,
    /// Changelog positions as of which records were taken that are ahead of the batches: no document may go back to an older state.
    ahead: BTreeMap<u32, Offset>,
}

/// What becomes of a batch.
pub(super) enum Offered {
    /// Its changes are to be brought in.
    BringIn(IndexBatch),
    /// Its changes will be in the records when these are taken.
    PassedOver,
    /// It comes again when the records are taken.
    Waits,
}

/// A partition to be taken now.
pub(super) struct Take {
    pub(super) partition: u32,
    pub(super) records: Arc<dyn Records>,
    /// What its documents cover then, at least.
    pub(super) covered: Covered,
    /// Timestamps of what they show then for the first time.
    pub(super) oldest: Vec<i64>,
}

/// Which of the partitions whose changes were passed over are to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Due,
    None,
}

impl Wholes {
    /// Says what becomes of a batch that takes `size` bytes of the queue, and takes it where it is not to be brought in.
    pub(super) fn offer(&mut self, mut batch: IndexBatch, size: usize, now: Instant) -> Offered {
        self.learn(&batch);
        self.strip(&mut batch);
        if self.under_way.contains(&batch.partition) {
            self.waiting.push((batch, size));
            return Offered::Waits;
        }
        let Some(whole) = self.passed_over.get_mut(&batch.partition) else { return Offered::BringIn(batch) };
        match &batch.records {
            // Its store was closed, and nobody can take its records: a repair begins where the positions stand.
            None if whole.records.strong_count() == 0 => {
                self.passed_over.remove(&batch.partition);
                return Offered::BringIn(batch);
            }
            // Of a store that was closed, what was on its way is left with the rest: brought in, it would move positions past it.
            None => {}
            Some(records) if records.strong_count() == 0 => {}
            Some(records) => whole.records = Weak::clone(records),
        }
        whole.covered.advance(batch.changelog, batch.sources);
        whole.oldest.extend(batch.oldest_ms);
        whole.due = batch.behind.map_or(now, |behind| due(whole.since, whole.pause, behind, now));
        Offered::PassedOver
    }

    /// Takes changes out that are in the documents already. A repair, which gives no records, counts from elsewhere.
    fn strip(&mut self, batch: &mut IndexBatch) {
        match self.ahead.get(&batch.partition) {
            Some(ahead) if batch.changelog > *ahead => drop(self.ahead.remove(&batch.partition)),
            Some(_) if batch.records.is_some() => batch.changes.clear(),
            _ => {}
        }
    }

    fn learn(&mut self, batch: &IndexBatch) {
        match (&batch.records, batch.behind) {
            (Some(records), Some(behind)) => {
                self.sources.insert(batch.partition, Source { records: Weak::clone(records), behind });
            }
            _ => drop(self.sources.remove(&batch.partition)),
        }
    }

    /// Partitions of which taking the records once is less work than bringing in their changes, where nothing is shown for the time
    /// `pause`.
    pub(super) fn suited(&self, pause: Duration) -> Vec<u32> {
        let is_suited = |(partition, source): &(&u32, &Source)| {
            let records = source.records.upgrade();
            records.is_some_and(|records| is_less(records.count(), source.behind, pause))
                && !self.passed_over.contains_key(partition)
                && !self.under_way.contains(partition)
        };
        self.sources.iter().filter(is_suited).map(|(partition, _)| *partition).collect()
    }

    /// Passes over changes of a partition for the time `pause`, counted from `since`. `covered` is up to where they were taken so far,
    /// `oldest` has the timestamps of what was not brought in of that.
    pub(super) fn pass_over(
        &mut self,
        partition: u32,
        covered: Covered,
        oldest: Vec<i64>,
        pause: Duration,
        since: Instant,
    ) {
        let Some(source) = self.sources.get(&partition) else { return };
        let records = Weak::clone(&source.records);
        self.passed_over.insert(partition, Whole { covered, oldest, records, since, pause, due: since + pause });
    }

    /// When the first partition is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.passed_over.values().map(|whole| whole.due).min()
    }

    /// Nothing more of these partitions waits.
    pub(super) fn calm(&mut self, partitions: &[u32], now: Instant) {
        for partition in partitions {
            self.sources.remove(partition);
            if let Some(whole) = self.passed_over.get_mut(partition) {
                whole.due = now;
            }
        }
    }

    /// The partitions to be taken now. Who has closed its store is left as it is on disk.
    pub(super) fn begin(&mut self, which: Which, now: Instant) -> Vec<Take> {
        let wanted = |whole: &Whole| which == Which::All || which == Which::Due && whole.due <= now;
        let (taken, later): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.passed_over).into_iter().partition(|(_, whole)| wanted(whole));
        self.passed_over = later;
        let take = |(partition, whole): (u32, Whole)| {
            let records = whole.records.upgrade()?;
            Some(Take { partition, records, covered: whole.covered, oldest: whole.oldest })
        };
        let takes: Vec<Take> = taken.into_iter().filter_map(take).collect();
        self.under_way.extend(takes.iter().map(|take| take.partition));
        takes
    }

    /// Whether changes were passed over that nobody has taken yet.
    pub(super) fn is_empty(&self) -> bool {
        self.passed_over.is_empty()
    }

    /// The records were taken, as of these changelog positions: gives back the batches that waited.
    pub(super) fn end(&mut self, taken: BTreeMap<u32, Offset>) -> Vec<(IndexBatch, usize)> {
        let under_way = std::mem::take(&mut self.under_way);
        self.ahead.extend(taken.into_iter().filter(|(partition, _)| under_way.contains(partition)));
        std::mem::take(&mut self.waiting)
    }

    /// Forgets a partition; returns what its waiting batches take in the queue.
    pub(super) fn forget(&mut self, partition: u32) -> usize {
        self.sources.remove(&partition);
        self.passed_over.remove(&partition);
        self.under_way.remove(&partition);
        self.ahead.remove(&partition);
        let (gone, waiting): (Vec<_>, _) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(batch, _)| batch.partition == partition);
        self.waiting = waiting;
        gone.into_iter().map(|(_, size)| size).sum()
    }
}

/// The least time between the starts of two refreshes after this batch. While input waits, the index follows the lag: half of it more
/// is not felt, nor is it felt what is shown just before all is there; and what is written less often is coalesced better.
pub(super) fn gap_after(batch: &IndexBatch, options: &IndexOptions, now_ms: i64) -> Duration {
    let (least, most) = (options.interval, options.catch_up_interval);
    let Some(behind) = batch.behind else { return least };
    let lag = batch.oldest_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest));
    let half = Duration::from_millis(u64::try_from(lag / 2).unwrap_or(0));
    half.max(behind.left).clamp(least, most)
}

/// When a partition is to be taken whose changes are passed over since then: when `pause` is over, whatever else is shown meanwhile; a
/// little later, but by no more than that time again, where everything will be there by then.
fn due(since: Instant, pause: Duration, behind: Behind, now: Instant) -> Instant {
    let due = since + pause;
    if behind.left < pause / 2 { due.max(now + behind.left).min(due + pause) } else { due }
}

/// Whether taking so many records once is less work than bringing in what changes until something is shown again.
fn is_less(records: u64, behind: Behind, pause: Duration) -> bool {
    let share = if behind.left > pause { pause.as_secs_f64() / behind.left.as_secs_f64() } else { 1.0 };
    records as f64 <= behind.unread as f64 * share
}

#[cfg(test)]
mod tests {
    use super::super::testing::batch;
    use super::*;

    #[derive(Debug)]
    struct Ten;

    impl Records for Ten {
        fn count(&self) -> u64 {
            10
        }

        fn all(&self, _: &mut dyn FnMut(&[u8], &[u8]) -> Result<()>) -> Result<Offset> {
            Ok(7)
        }
    }

    fn hurried(partition: u32, changelog: Offset, records: &Arc<Ten>, unread: u64) -> IndexBatch {
        let records: Weak<Ten> = Arc::downgrade(records);
        let behind = Some(Behind { unread, left: Duration::from_secs(1) });
        IndexBatch { behind, records: Some(records), ..batch(partition, changelog, Vec::new()) }
    }

    const PAUSE: Duration = Duration::from_secs(2);

    fn pass_over_what_suits(wholes: &mut Wholes, now: Instant) {
        for partition in wholes.suited(PAUSE) {
            wholes.pass_over(partition, Covered::default(), Vec::new(), PAUSE, now);
        }
    }

    #[test]
    fn records_are_taken_where_more_changes_are_expected_than_there_are_records() {
        let behind = |unread, left| Behind { unread, left: Duration::from_secs(left) };
        assert!(is_less(10, behind(10, 1), PAUSE));
        assert!(!is_less(11, behind(10, 1), PAUSE));
        // Of what is read in four seconds half comes before something is shown again.
        assert!(is_less(5, behind(10, 4), PAUSE));
        assert!(!is_less(6, behind(10, 4), PAUSE));
    }

    #[test]
    fn changes_are_passed_over_until_their_time_and_those_that_come_meanwhile_wait() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        assert!(matches!(wholes.offer(hurried(0, 3, &ten, 10), 1, now), Offered::BringIn(_)));
        assert!(matches!(wholes.offer(hurried(1, 3, &ten, 9), 1, now), Offered::BringIn(_)));
        assert_eq!(wholes.suited(PAUSE), [0]);
        pass_over_what_suits(&mut wholes, now);
        assert!(wholes.suited(PAUSE).is_empty(), "it is passed over already");
        assert!(matches!(wholes.offer(hurried(0, 4, &ten, 10), 1, now), Offered::PassedOver));
        assert!(matches!(wholes.offer(hurried(1, 4, &ten, 9), 1, now), Offered::BringIn(_)), "too few changes");
        assert!(wholes.begin(Which::Due, now).is_empty() && !wholes.is_empty(), "it is not time yet");
        wholes.calm(&[0], now);
        let taken = wholes.begin(Which::Due, now);
        assert_eq!(taken.iter().map(|t| (t.partition, t.covered.changelog)).collect::<Vec<_>>(), [(0, 4)]);
        for at in [5, 7, 8] {
            assert!(matches!(wholes.offer(hurried(0, at, &ten, 10), 1, now), Offered::Waits));
        }
        let at = taken[0].records.all(&mut |_, _| Ok(())).unwrap();
        let waited = wholes.end(BTreeMap::from([(0, at)]));
        assert_eq!(waited.iter().map(|(batch, _)| batch.changelog).collect::<Vec<_>>(), [5, 7, 8]);
    }

    #[test]
    fn what_the_records_held_already_is_taken_out_of_batches_but_not_of_repairs() {
        let ten = Arc::new(Ten);
        let change = || super::super::testing::change("a", None, true);
        let mut wholes = Wholes::default();
        wholes.offer(hurried(0, 3, &ten, 10), 1, Instant::now());
        pass_over_what_suits(&mut wholes, Instant::now());
        assert_eq!(wholes.begin(Which::All, Instant::now()).len(), 1);
        wholes.end(BTreeMap::from([(0, 7)]));
        let mut left = |given: IndexBatch| {
            let given = IndexBatch { changes: vec![change()], ..given };
            match wholes.offer(given, 1, Instant::now()) {
                Offered::BringIn(batch) => batch.changes.len(),
                Offered::PassedOver | Offered::Waits => panic!("nothing was chosen"),
            }
        };
        assert_eq!(left(hurried(0, 7, &ten, 10)), 0);
        assert_eq!(left(batch(0, 7, Vec::new())), 1, "a repair");
        assert_eq!(left(hurried(1, 7, &ten, 10)), 1, "another partition");
        assert_eq!(left(hurried(0, 8, &ten, 10)), 1);
        assert_eq!(left(hurried(0, 7, &ten, 10)), 1, "forgotten with the first batch beyond");
    }

    #[test]
    fn a_partition_is_taken_in_time_however_long_it_catches_up() {
        let (since, second) = (Instant::now(), Duration::from_secs(1));
        let left = |s| Behind { unread: 1, left: second * s };
        assert_eq!(due(since, 10 * second, left(100), since + 3 * second), since + 10 * second);
        assert_eq!(due(since, 10 * second, left(4), since + 3 * second), since + 10 * second, "long before");
        assert_eq!(due(since, 10 * second, left(4), since + 9 * second), since + 13 * second, "the end is near");
        assert_eq!(due(since, 10 * second, left(4), since + 18 * second), since + 20 * second, "and does not come");
    }

    #[test]
    fn a_batch_behind_which_nothing_waits_ends_the_pause() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        wholes.offer(hurried(0, 3, &ten, 10), 1, now);
        pass_over_what_suits(&mut wholes, now);
        assert!(matches!(wholes.offer(batch(0, 4, Vec::new()), 1, now), Offered::PassedOver));
        assert_eq!(wholes.due(), Some(now));
    }

    #[test]
    fn timestamps_of_what_was_passed_over_come_with_its_records() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        wholes.offer(hurried(0, 3, &ten, 10), 1, now);
        wholes.pass_over(0, Covered::default(), vec![4], PAUSE, now);
        for oldest in [5, 6] {
            wholes.offer(IndexBatch { oldest_ms: Some(oldest), ..hurried(0, oldest, &ten, 10) }, 1, now);
        }
        assert_eq!(wholes.due(), Some(now + PAUSE));
        assert!(wholes.begin(Which::None, now + 9 * PAUSE).is_empty());
        assert_eq!(wholes.begin(Which::Due, now + PAUSE)[0].oldest, [4, 5, 6]);
    }

    #[test]
    fn a_partition_whose_store_was_closed_stays_as_it_is_on_disk() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        wholes.offer(hurried(0, 3, &ten, 10), 1, now);
        pass_over_what_suits(&mut wholes, now);
        drop(ten);
        assert!(wholes.begin(Which::All, now).is_empty());
        assert!(wholes.is_empty());
    }

    #[test]
    fn a_partition_that_comes_back_with_another_store_is_not_passed_over_for_the_old_one() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        wholes.offer(hurried(0, 3, &ten, 10), 1, now);
        pass_over_what_suits(&mut wholes, now);
        let late = hurried(0, 4, &ten, 10);
        drop(ten);
        assert!(matches!(wholes.offer(late, 1, now), Offered::PassedOver), "positions would move past what is missing");
        let repair = batch(0, 2, vec![super::super::testing::change("a", None, true)]);
        assert!(matches!(wholes.offer(repair, 1, now), Offered::BringIn(batch) if batch.changes.len() == 1));
        assert!(wholes.is_empty() && wholes.due().is_none());
    }

    #[test]
    fn a_partition_that_is_cleared_is_forgotten_with_what_waits() {
        let (ten, now) = (Arc::new(Ten), Instant::now());
        let mut wholes = Wholes::default();
        for partition in [0, 1] {
            wholes.offer(hurried(partition, 3, &ten, 10), 1, now);
        }
        pass_over_what_suits(&mut wholes, now);
        assert_eq!(wholes.begin(Which::All, now).len(), 2);
        for (partition, size) in [(0, 5), (0, 6), (1, 7)] {
            assert!(matches!(wholes.offer(hurried(partition, 8, &ten, 10), size, now), Offered::Waits));
        }
        assert_eq!(wholes.forget(0), 11);
        assert_eq!(wholes.end(BTreeMap::from([(0, 9), (1, 9)])).len(), 1);
        assert_eq!(wholes.ahead, BTreeMap::from([(1, 9)]), "what comes to a cleared partition is new");
    }
}
