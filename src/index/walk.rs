//! The first documents of a sorted search in one segment, found by going through its documents in the order asked for.

use std::cmp::Ordering as Cmp;
use std::sync::Arc;

use tantivy::columnar::{Cardinality, Column};
use tantivy::{BitSet, COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, Term};

use super::collect::{Segment, Source, Top, Way};
use super::entries::{DOCUMENTS_A_CELL, Having};
use super::found::Found;
use super::masked::Masked;
use super::order::{Sort, SortBy};
use super::orders::{InOrder, LEAST};
use super::sets::Sets;
use super::stop::LOOK_EVERY;

/// To read the value of a document that matches takes as long as to find out of so many whether they match, about.
const READ: u64 = 4;

/// Documents that have all words, and live: one bit for each of the segment.
struct Matching {
    cells: Vec<u64>,
    len: u64,
}

impl Matching {
    /// `None` where a word is too rare for it, or no document has it.
    fn of(words: &[Term], segment: &Masked, known: &Sets) -> tantivy::Result<Option<Self>> {
        let mut sets = Vec::with_capacity(words.len());
        for word in words {
            let Some(Having::Many(set)) = Having::of(word, segment, known)? else { return Ok(None) };
            sets.push(set);
        }
        let mut first = match sets.pop() {
            Some(set) => BitSet::clone(&*set),
            None => BitSet::with_max_value_and_full(segment.max_doc()),
        };
        if let Some(alive) = segment.alive_bitset() {
            first.intersect_update(alive.bitset());
        }
        let bits = |set: &BitSet, i| u64::from_le_bytes(set.tinyset(i).into_bytes());
        let cell = |i| sets.iter().fold(bits(&first, i), |cell, set| cell & bits(set, i));
        let cells: Vec<u64> = (0..segment.max_doc().div_ceil(DOCUMENTS_A_CELL)).map(cell).collect();
        let len = cells.iter().map(|cell| u64::from(cell.count_ones())).sum();
        Ok(Some(Self { cells, len }))
    }

    fn has(&self, doc: DocId) -> bool {
        self.cells[(doc / DOCUMENTS_A_CELL) as usize] >> (doc % DOCUMENTS_A_CELL) & 1 == 1
    }

    /// Hands all over, ascending, at most a block at a time.
    fn in_blocks(&self, f: &mut dyn FnMut(&[DocId])) {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        for (start, cell) in (0..).step_by(DOCUMENTS_A_CELL as usize).zip(&self.cells) {
            let mut left = *cell;
            while left != 0 {
                block[filled] = start + left.trailing_zeros();
                left &= left - 1;
                filled += 1;
                if filled == BLOCK {
                    f(&block);
                    filled = 0;
                }
            }
        }
        f(&block[..filled]);
    }
}

impl Top<'_> {
    /// Hands over what can be among the first; `false` where looking at all is the shorter way, or the order is not known yet.
    pub(super) fn walk(&self, segment: &Masked, found: &mut Found<'_>) -> tantivy::Result<bool> {
        let Some(words) = self.words.as_ref().filter(|_| self.limit > 0 && segment.max_doc() >= LEAST) else {
            return Ok(false);
        };
        let Some((order, column, way)) = self.in_order(segment)? else { return Ok(false) };
        let Some(matching) = Matching::of(words, segment, &self.kept.sets)? else { return Ok(false) };
        if matching.len == 0 {
            return Ok(true);
        }
        found.total = Some(matching.len);
        let steps = self.limit as u64 * u64::from(segment.max_doc()) / matching.len;
        if steps >= matching.len * READ {
            matching.in_blocks(&mut |docs| found.collect_block(docs));
            return Ok(true);
        }
        if let Some(into) = found.opened() {
            Walk { top: self, matching, column, way }.go(&order, into);
        }
        Ok(true)
    }

    /// The documents by the first sort key, its column, and the way it is to be gone through. Not where missing values come first.
    fn in_order(&self, segment: &Masked) -> tantivy::Result<Option<(Arc<InOrder>, Column<u64>, Way)>> {
        let Some(Sort { by: by @ SortBy::Column(name, _), descending, missing_first: false }) = self.order.0.first()
        else {
            return Ok(None);
        };
        let column = match Source::open(segment, by)? {
            Source::Numbers(column) => column,
            Source::Texts(texts) => texts.ords().clone(),
            Source::Score | Source::Missing => return Ok(None),
        };
        if column.get_cardinality() == Cardinality::Multivalued {
            return Ok(None);
        }
        let way = Way { descending: *descending, missing_first: false };
        Ok(self.kept.orders.of(segment, name, &column).map(|order| (order, column, way)))
    }
}

struct Walk<'a> {
    top: &'a Top<'a>,
    matching: Matching,
    column: Column<u64>,
    way: Way,
}

impl Walk<'_> {
    fn go(&self, order: &InOrder, into: &mut Segment) {
        let valued = order.valued();
        // Nothing before the place where the search goes on can be among the first.
        let before = |doc: &DocId| into.compare_first(self.way.of(self.column.first(*doc)), self.way) == Cmp::Less;
        let more = match self.way.descending {
            false => {
                let from = valued.partition_point(before);
                self.take(valued[from..].iter(), into)
            }
            true => {
                let until = valued.partition_point(|doc| !before(doc));
                self.take(valued[..until].iter().rev(), into)
            }
        };
        if more {
            self.take(order.missing().iter(), into);
        }
    }

    /// Takes what matches until nothing more can be among the first; whether something can.
    fn take<'d>(&self, documents: impl Iterator<Item = &'d DocId>, into: &mut Segment) -> bool {
        for (n, doc) in (0_u32..).zip(documents) {
            if n % LOOK_EVERY == LOOK_EVERY - 1 && self.top.stop.is_raised() {
                return false;
            }
            if !self.matching.has(*doc) {
                continue;
            }
            if into.is_behind_last(self.way.of(self.column.first(*doc))) {
                return false;
            }
            into.collect_sorted(*doc);
        }
        true
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
