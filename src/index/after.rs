//! Where in a segment the documents behind a place begin.

use std::cmp::Ordering as Cmp;
use std::io;

use tantivy::columnar::{StrColumn, TermOrdHit};

use super::place::{Place, Rank, oriented};

/// A place as a segment compares it: texts by where they stand, or would stand, among the terms of the column.
pub(super) struct After {
    ranks: Vec<Edge>,
    key: Edge,
}

/// A rank of the place.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Edge {
    Missing,
    /// A number, seen from the direction asked for.
    Number(u64),
    /// The first term that is not below the text, and whether it is the text itself.
    Text {
        ord: u64,
        exact: bool,
    },
}

impl After {
    /// Finds `place` in the columns of the sort keys; `None` stands for one that is not of texts, or that is missing.
    pub(super) fn find(place: &Place, texts: &[Option<&StrColumn>], keys: Option<&StrColumn>) -> io::Result<Self> {
        let edges = place.ranks.iter().zip(texts).map(|(rank, column)| Edge::of(rank, *column));
        Ok(Self { ranks: edges.collect::<io::Result<_>>()?, key: Edge::of_text(&place.key, keys)? })
    }

    /// How a document compares by the sort key at `at`; its rank is what the segment knows: whether it is missing, and its number
    /// seen from the direction asked for.
    pub(super) fn compare(&self, at: usize, rank: (bool, u64), descending: bool) -> Cmp {
        self.ranks.get(at).map_or(Cmp::Equal, |edge| edge.compare(rank, descending))
    }

    /// Whether the key with this ordinal comes behind that of the place.
    pub(super) fn precedes_key(&self, ord: u64) -> bool {
        self.key.compare((false, ord), false) == Cmp::Greater
    }
}

impl Edge {
    fn of(rank: &Rank, column: Option<&StrColumn>) -> io::Result<Self> {
        match rank {
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
    fn compare(self, (missing, rank): (bool, u64), descending: bool) -> Cmp {
        match (self, missing) {
            (Self::Missing, true) => Cmp::Equal,
            (Self::Missing, false) => Cmp::Less,
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

    #[test]
    fn a_text_between_two_terms_is_behind_the_first_and_before_the_second() {
        // Terms b and d; the place is c.
        let between = Edge::Text { ord: 1, exact: false };
        assert_eq!([0, 1].map(|ord| between.compare((false, ord), false)), [Cmp::Less, Cmp::Greater]);
        assert_eq!([0, 1].map(|ord| between.compare((false, !ord), true)), [Cmp::Greater, Cmp::Less]);
        let exact = Edge::Text { ord: 1, exact: true };
        assert_eq!([0, 1, 2].map(|o| exact.compare((false, o), false)), [Cmp::Less, Cmp::Equal, Cmp::Greater]);
        assert_eq!([0, 1, 2].map(|o| exact.compare((false, !o), true)), [Cmp::Greater, Cmp::Equal, Cmp::Less]);
    }

    #[test]
    fn documents_without_a_value_are_behind_every_value() {
        for edge in [Edge::Number(u64::MAX), Edge::Text { ord: u64::MAX, exact: false }] {
            assert_eq!(edge.compare((true, 0), false), Cmp::Greater);
        }
        assert_eq!(Edge::Missing.compare((true, 0), true), Cmp::Equal);
        assert_eq!(Edge::Missing.compare((false, 7), true), Cmp::Less);
    }
}
