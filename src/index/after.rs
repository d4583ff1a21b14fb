//! Where in a segment the documents behind a place begin.

use std::cmp::Ordering as Cmp;
use std::io;

use tantivy::columnar::{StrColumn, TermOrdHit};

use super::collect::Way;
use super::place::{Place, Rank, oriented};

/// A place as a segment compares it: texts by where they stand, or would stand, among the terms of the column.
pub(super) struct After {
    ranks: Vec<Edge>,
    key: Edge,
}

/// A rank of the place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edge {
    /// No value, where such come first.
    First,
    /// No value, where such come last.
    Missing,
    /// A number, seen from the direction asked for.
    Number(u64),
    /// The first term that is not below the text, and whether it is the text itself.
    Text { ord: u64, exact: bool },
}

impl After {
    /// Finds `place` in the columns of the sort keys; `None` stands for one that is not of texts, or that is missing.
    pub(super) fn find(place: &Place, texts: &[Option<&StrColumn>], keys: Option<&StrColumn>) -> io::Result<Self> {
        let edges = place.ranks.iter().zip(texts).map(|(rank, column)| Edge::of(rank, *column));
        Ok(Self { ranks: edges.collect::<io::Result<_>>()?, key: Edge::of_text(&place.key, keys)? })
    }

    /// How a document compares by the sort key at `at`; its rank is what the segment knows: whether it is missing (or, where those
    /// come first, whether it is not), and its number seen from the direction asked for.
    pub(super) fn compare(&self, at: usize, rank: (bool, u64), way: Way) -> Cmp {
        self.ranks.get(at).map_or(Cmp::Equal, |edge| edge.compare(rank, way))
    }

    /// Whether the key with this ordinal comes behind that of the place.
    pub(super) fn precedes_key(&self, ord: u64) -> bool {
        self.key.compare((false, ord), Way { descending: false, missing_first: false }) == Cmp::Greater
    }
}

impl Edge {
    fn of(rank: &Rank, column: Option<&StrColumn>) -> io::Result<Self> {
        match rank {
            Rank::First => Ok(Self::First),
            Rank::Missing => Ok(Self::Missing),
            Rank::Number(n) => Ok(Self::Number(*n)),
            Rank::Ascending(text) | Rank::Descending(std::cmp::Reverse(text)) => Self::of_text(text.as_bytes(), column),
        }
    }

    fn of_text(text: &[u8], column: Option<&StrColumn>) -> io::Result<Self> {
        let Some(column) = column else { return Ok(Self::Text { ord: 0, exact: false }) };
        Ok(match column.dictionary().term_ord_or_next(text)? {
            TermOrdHit::Exact(ord) => Self::Text { ord, exact: true },
            TermOrdHit::Next(ord) => Self::Text { ord, exact: false },
        })
    }

    /// How a document compares with the place.
    fn compare(self, (behind, rank): (bool, u64), Way { descending, missing_first }: Way) -> Cmp {
        match (self, behind != missing_first) {
            (Self::Missing, true) | (Self::First, true) => Cmp::Equal,
            (Self::Missing, false) => Cmp::Less,
            (Self::First, false) => Cmp::Greater,
            (_, true) if missing_first => Cmp::Less,
            (_, true) => Cmp::Greater,
            (Self::Number(edge), false) => rank.cmp(&edge),
            (Self::Text { ord, exact }, false) => {
                let order = match oriented(rank, descending).cmp(&ord) {
                    Cmp::Equal if !exact => Cmp::Greater,
                    order => order,
                };
                if descending { order.reverse() } else { order }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Way = Way { descending: false, missing_first: false };
    const DOWN: Way = Way { descending: true, missing_first: false };

    #[test]
    fn a_text_between_two_terms_is_behind_the_first_and_before_the_second() {
        // Terms b and d; the place is c.
        let between = Edge::Text { ord: 1, exact: false };
        assert_eq!([0, 1].map(|ord| between.compare((false, ord), UP)), [Cmp::Less, Cmp::Greater]);
        assert_eq!([0, 1].map(|ord| between.compare((false, !ord), DOWN)), [Cmp::Greater, Cmp::Less]);
        let exact = Edge::Text { ord: 1, exact: true };
        assert_eq!([0, 1, 2].map(|o| exact.compare((false, o), UP)), [Cmp::Less, Cmp::Equal, Cmp::Greater]);
        assert_eq!([0, 1, 2].map(|o| exact.compare((false, !o), DOWN)), [Cmp::Greater, Cmp::Equal, Cmp::Less]);
    }

    #[test]
    fn documents_without_a_value_are_behind_every_value() {
        for edge in [Edge::Number(u64::MAX), Edge::Text { ord: u64::MAX, exact: false }] {
            assert_eq!(edge.compare((true, 0), UP), Cmp::Greater);
        }
        assert_eq!(Edge::Missing.compare((true, 0), DOWN), Cmp::Equal);
        assert_eq!(Edge::Missing.compare((false, 7), DOWN), Cmp::Less);
    }

    #[test]
    fn documents_without_a_value_are_before_every_value_where_they_come_first() {
        let first = Way { descending: true, missing_first: true };
        // Behind stands who has a value.
        assert_eq!(Edge::First.compare((false, 0), first), Cmp::Equal);
        assert_eq!(Edge::First.compare((true, 7), first), Cmp::Greater);
        assert_eq!(Edge::Number(5).compare((false, 0), first), Cmp::Less);
        assert_eq!([4, 5, 6].map(|n| Edge::Number(5).compare((true, n), first)), [Cmp::Less, Cmp::Equal, Cmp::Greater]);
    }
}
