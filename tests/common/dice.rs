//! Chance that a seed gives again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// Numbers that look random; the same seed gives the same ones.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// Seeded by `KELD_TEST_SEED`, else anew each time; says which seed it is.
    #[expect(clippy::print_stdout, reason = "who wants this run again needs its seed")]
    pub(crate) fn thrown(what: &str) -> Self {
        let given = std::env::var("KELD_TEST_SEED").ok().map(|s| s.parse().unwrap());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(what));
        println!("{what}: KELD_TEST_SEED={seed}");
        Self(seed)
    }

    /// From 0 to `below`, `below` itself excluded.
    pub(crate) fn below(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// As [`Dice::below`], for places in a list; 0 of an empty one.
    pub(crate) fn place(&mut self, places: usize) -> usize {
        usize::try_from(self.below(places.max(1) as u64)).unwrap()
    }

    pub(crate) fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.place(all.len())]
    }

    /// Puts items into a random order.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.place(i + 1));
        }
    }

    /// A pause shorter than `longest`.
    pub(crate) fn pause(&mut self, longest: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(longest.as_micros()).unwrap()))
    }
}
