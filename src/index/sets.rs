//! Sets of the documents that have a word, or one that begins so, kept for searches that look for the same again.
//!
//! Filters come back: the same brand, the same state, whatever else is looked for. So do words that many look for, of which all that live
//! are to be counted. A segment never changes, so neither does the set of its documents that have a word, whatever the mask.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Atomic};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tantivy::index::SegmentId;
use tantivy::{BitSet, SegmentReader, Term};

/// Sets of smaller segments are made as fast as they are looked up.
const SMALLEST: u32 = 2_048;
/// About what an entry takes beside its bits, bytes.
const OVERHEAD: u64 = 256;
/// What the library is told to expect. It cuts the room into pieces where there are many, and keeps nothing larger than a piece: sets of a
/// large segment would be lost on a machine with many processors.
const FEW: usize = 32;

/// How the documents of a set have its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Has {
    /// As it is.
    Whole,
    /// As the beginning of a word of the same field.
    Beginning,
}

type Key = (SegmentId, Has, Term);

/// The documents of a segment that have a word, those that are gone among them.
#[derive(Debug)]
pub(super) struct Set {
    bits: BitSet,
    /// How many documents of the segment lived when somebody counted those of them that are in the set, and how many these were. A
    /// mask only ever grows: as many live as then if the same do.
    living: AtomicU64,
}

impl Set {
    pub(super) fn new(bits: BitSet) -> Self {
        Self { bits, living: AtomicU64::new(u64::MAX) }
    }

    /// How many of them live.
    pub(super) fn living(&self, segment: &SegmentReader) -> u64 {
        let Some(alive) = segment.alive_bitset() else { return self.bits.len() as u64 };
        let (documents, known) = (segment.num_docs(), self.living.load(Atomic::Relaxed));
        if known >> 32 == u64::from(documents) {
            return known & u64::from(u32::MAX);
        }
        let mut living = self.bits.clone();
        living.intersect_update(alive.bitset());
        let count = living.len() as u64;
        self.living.store(u64::from(documents) << 32 | count, Atomic::Relaxed);
        count
    }
}

impl Deref for Set {
    type Target = BitSet;
    fn deref(&self) -> &BitSet {
        &self.bits
    }
}

/// The sets that are kept; cheap to clone, and all clones are one.
#[derive(Clone, Debug)]
pub(super) struct Sets(Arc<Cache<Key, Arc<Set>, Bytes>>);

#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<Key, Arc<Set>> for Bytes {
    fn weight(&self, _: &Key, bits: &Arc<Set>) -> u64 {
        u64::from(bits.max_value()) / 8 + OVERHEAD
    }
}

impl Sets {
    /// At most so many bytes of them.
    pub(super) fn new(bytes: u64) -> Self {
        Self(Arc::new(Cache::with_weighter(FEW, bytes, Bytes)))
    }

    /// The documents of a segment that have this word, if they are kept.
    pub(super) fn of(&self, segment: &SegmentReader, has: Has, word: &Term) -> Option<Arc<Set>> {
        if segment.max_doc() < SMALLEST {
            return None;
        }
        self.0.get(&(segment.segment_id(), has, word.clone()))
    }

    /// Keeps them.
    pub(super) fn keep(&self, segment: &SegmentReader, has: Has, word: &Term, set: &Arc<Set>) {
        if segment.max_doc() >= SMALLEST {
            self.0.insert((segment.segment_id(), has, word.clone()), Arc::clone(set));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, change, def, options, titled};
    use super::super::{TableIndex, View};
    use super::*;

    fn filled(documents: usize) -> (tempfile::TempDir, Arc<View>) {
        let dir = tempfile::tempdir().expect("a folder");
        let (index, _) = TableIndex::open_at(Arc::new(def()), options(dir.path()), None).expect("the index opens");
        let put = |n: usize| change(&n.to_string(), Some(titled(&def(), &n.to_string(), "oak")), false);
        index.submit(batch(0, 1, (0..documents).map(put).collect())).expect("submitted");
        index.flush().expect("flushed");
        let view = index.view();
        (dir, view)
    }

    fn word(view: &View, text: &str) -> Term {
        Term::from_field_text(view.fields.of_words()[0].field, text)
    }

    #[test]
    fn sets_are_kept_by_segment_and_word_as_far_as_there_is_room() {
        let (_dir, view) = filled(SMALLEST as usize);
        let segment: &SegmentReader = &view.readers()[0];
        let bits = Arc::new(Set::new(BitSet::with_max_value(segment.max_doc())));
        let each = u64::from(SMALLEST) / 8 + OVERHEAD;
        let sets = Sets::new(20 * each);
        assert!(sets.of(segment, Has::Whole, &word(&view, "0")).is_none());
        for n in 0..100 {
            let word = word(&view, &n.to_string());
            sets.keep(segment, Has::Whole, &word, &bits);
            assert!(sets.of(segment, Has::Beginning, &word).is_none(), "{n}: not what begins so");
            assert!(sets.of(segment, Has::Whole, &word).is_some_and(|kept| Arc::ptr_eq(&kept, &bits)), "{n}");
        }
        let kept = (0..100).filter(|n| sets.of(segment, Has::Whole, &word(&view, &n.to_string())).is_some()).count();
        assert!((10..=20).contains(&kept), "{kept} of 100 where 20 have room");
        let (_other_dir, other) = filled(SMALLEST as usize);
        assert!(sets.of(&other.readers()[0], Has::Whole, &word(&view, "99")).is_none(), "another segment");
    }

    #[test]
    fn a_set_may_take_most_of_a_large_room() {
        let (_dir, view) = filled(SMALLEST as usize);
        let segment: &SegmentReader = &view.readers()[0];
        let sets = Sets::new(1 << 20);
        sets.keep(segment, Has::Whole, &word(&view, "oak"), &Arc::new(Set::new(BitSet::with_max_value(6 << 20))));
        assert!(sets.of(segment, Has::Whole, &word(&view, "oak")).is_some(), "three quarters of it");
        sets.keep(segment, Has::Whole, &word(&view, "elm"), &Arc::new(Set::new(BitSet::with_max_value(9 << 20))));
        assert!(sets.of(segment, Has::Whole, &word(&view, "elm")).is_none(), "more than there is");
    }

    #[test]
    fn sets_of_small_segments_are_not_kept() {
        let (_dir, view) = filled(SMALLEST as usize - 1);
        let segment: &SegmentReader = &view.readers()[0];
        let sets = Sets::new(1 << 20);
        sets.keep(
            segment,
            Has::Whole,
            &word(&view, "oak"),
            &Arc::new(Set::new(BitSet::with_max_value(segment.max_doc()))),
        );
        assert!(sets.of(segment, Has::Whole, &word(&view, "oak")).is_none());
    }
}
