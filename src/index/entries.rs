//! The documents of a word, block by block as the index stores them: nobody walks along.

use std::sync::Arc;

use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{BitSet, COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, SegmentReader, Term};

use super::sets::{Has, Set, Sets};

/// Documents of which a set says in one number whether they are in it. To count the documents of a set is to look at all of these numbers.
pub(super) const DOCUMENTS_A_CELL: u32 = 64;

/// Documents of a segment that have a word, ascending, those that are gone among them.
pub(super) struct Entries(Box<BlockSegmentPostings>);

impl Entries {
    /// `None` where no document has it.
    pub(super) fn of(word: &Term, segment: &SegmentReader) -> tantivy::Result<Option<Self>> {
        let index = segment.inverted_index(word.field())?;
        Ok(index.read_block_postings(word, IndexRecordOption::Basic)?.map(|entries| Self(Box::new(entries))))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.0.doc_freq()
    }

    /// Hands all over, at most a block at a time.
    pub(super) fn in_blocks(mut self, f: &mut dyn FnMut(&[DocId])) {
        while !self.0.docs().is_empty() {
            self.0.docs().chunks(BLOCK).for_each(&mut *f);
            self.0.advance();
        }
    }

    /// All as a set.
    pub(super) fn into_set(self, segment: &SegmentReader) -> Set {
        let mut bits = BitSet::with_max_value(segment.max_doc());
        self.in_blocks(&mut |docs| {
            for doc in docs {
                bits.insert(*doc);
            }
        });
        Set::new(bits)
    }
}

/// The documents of a segment that have a word, those that are gone among them.
pub(super) enum Having {
    /// Where they are many.
    Many(Arc<Set>),
    /// Where to walk along them is shorter than to look at a set.
    Few(Entries),
}

impl Having {
    /// A set is taken from those that are `known`, or made known. `None` where no document has the word.
    pub(super) fn of(word: &Term, segment: &SegmentReader, known: &Sets) -> tantivy::Result<Option<Self>> {
        if let Some(set) = known.of(segment, Has::Whole, word) {
            return Ok(Some(Self::Many(set)));
        }
        let Some(entries) = Entries::of(word, segment)? else { return Ok(None) };
        if entries.len() < segment.max_doc() / DOCUMENTS_A_CELL {
            return Ok(Some(Self::Few(entries)));
        }
        let set = Arc::new(entries.into_set(segment));
        known.keep(segment, Has::Whole, word, &set);
        Ok(Some(Self::Many(set)))
    }
}

/// How many documents of a segment have a word, and live.
pub(super) fn living(word: &Term, segment: &SegmentReader, known: &Sets) -> tantivy::Result<u64> {
    let Some(alive) = segment.alive_bitset() else {
        return Ok(Entries::of(word, segment)?.map_or(0, |entries| entries.len().into()));
    };
    Ok(match Having::of(word, segment, known)? {
        None => 0,
        Some(Having::Many(set)) => set.living(segment),
        Some(Having::Few(entries)) => {
            let mut living = 0;
            entries
                .in_blocks(&mut |docs| living += docs.iter().map(|doc| u64::from(alive.is_alive(*doc))).sum::<u64>());
            living
        }
    })
}

#[cfg(test)]
mod tests {
    use tantivy::query::TermQuery;

    use super::super::testing::{batch, change, def, options, titled};
    use super::super::{TableIndex, View};
    use super::*;
    use crate::query::parse;

    const DOCUMENTS: u32 = 4_096;

    /// One segment, of whose documents every second has the word "oak" and every thousandth the word "elm".
    fn filled(dir: &std::path::Path) -> Arc<TableIndex> {
        let (index, _) = TableIndex::open_at(Arc::new(def()), options(dir), None).expect("the index opens");
        let title = |n: u32| match n {
            n if n.is_multiple_of(1_000) => "oak elm",
            n if n.is_multiple_of(2) => "oak",
            _ => "ash",
        };
        let put = |n: u32| change(&n.to_string(), Some(titled(&def(), &n.to_string(), title(n))), false);
        index.submit(batch(0, 1, (0..DOCUMENTS).map(put).collect())).expect("submitted");
        index.flush().expect("flushed");
        index
    }

    fn without(index: &TableIndex, position: i64, gone: impl Iterator<Item = u32>) {
        index
            .submit(batch(0, position, gone.map(|n| change(&n.to_string(), None, true)).collect()))
            .expect("submitted");
        index.flush().expect("flushed");
    }

    fn word(view: &View, text: &str) -> Term {
        let query =
            parse::lenient(view, &format!("title:{text}"), &mut parse::Spent::default()).expect("a query").query;
        query.downcast_ref::<TermQuery>().expect("a word").term().clone()
    }

    fn count(index: &TableIndex, text: &str, known: &Sets) -> u64 {
        let view = index.view();
        let word = word(&view, text);
        view.readers().iter().map(|segment| living(&word, segment, known).expect("an answer")).sum()
    }

    #[test]
    fn a_set_that_is_known_counts_what_lives_now() {
        let dir = tempfile::tempdir().expect("a folder");
        let index = filled(dir.path());
        let known = Sets::new(1 << 20);
        let words = ["oak", "elm", "ash", "fir"];
        let counts = |known: &Sets| words.map(|word| count(&index, word, known));
        assert_eq!(counts(&known), [2_048, 5, 2_048, 0]);
        without(&index, 2, (0..DOCUMENTS).filter(|n| n.is_multiple_of(3)));
        let expected = [2_048 - 683, 3, 2_048 - 683, 0];
        assert_eq!([counts(&known), counts(&known)], [expected; 2], "made known, and known");
        without(&index, 3, [1, 2, 4, 2_000].into_iter());
        assert_eq!(counts(&known), [2_048 - 686, 2, 2_048 - 684, 0], "with more of them gone");
        assert_eq!(counts(&Sets::new(0)), counts(&known), "with room for none");
    }

    #[test]
    fn sets_are_made_of_frequent_words() {
        let dir = tempfile::tempdir().expect("a folder");
        let index = filled(dir.path());
        without(&index, 2, [1].into_iter());
        let known = Sets::new(1 << 20);
        let view = index.view();
        let segment = &view.readers()[0];
        let all = Arc::new(Set::new(BitSet::with_max_value_and_full(segment.max_doc())));
        for (text, is_frequent) in [("oak", true), ("elm", false)] {
            let word = word(&view, text);
            let right = count(&index, text, &known);
            assert_eq!(known.of(segment, Has::Whole, &word).is_some(), is_frequent, "{text}");
            // A wrong set shows who goes by it.
            known.keep(segment, Has::Whole, &word, &all);
            assert_eq!(count(&index, text, &known), u64::from(DOCUMENTS - 1), "{text}, of which there are {right}");
        }
    }
}
