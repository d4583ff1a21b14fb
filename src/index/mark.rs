//! The terms of everything that is matched whole: keys, partitions, keywords, integers, booleans, in one field of the index.
//!
//! With a field of its own for each, each would have a dictionary of its own in every segment, and Tantivy's writer of a dictionary
//! sets 20,000 cells up before its first term: with nine of them that was a fifth of the index thread's time at 5,000 events a
//! second. In front of a value stands the mark of the field that it belongs to.

use tantivy::Term;
use tantivy::schema::Field;

/// Most bytes of a mark.
pub(super) const LONGEST_MARK: usize = 3 * REPEATED;
/// A mark is one character so many times: one more than a fuzzy search may change, so that none reaches another field's terms.
const REPEATED: usize = 3;

/// Whose value a term is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(char);

impl Mark {
    /// Of the key.
    pub(super) const KEY: Self = Self('\u{100}');
    /// Of the partition.
    pub(super) const PARTITION: Self = Self('\u{101}');

    /// Of the declared field at this place.
    pub(super) fn of_field(at: usize) -> Self {
        // Behind the two above; what is no character is passed over.
        let mut all = ('\u{102}'..=char::MAX).skip(at);
        Self(all.next().unwrap_or(char::MAX))
    }

    /// The text of the term of a value.
    pub(super) fn text(self, value: &str) -> String {
        let mut text = String::with_capacity(LONGEST_MARK + value.len());
        (0..REPEATED).for_each(|_| text.push(self.0));
        text.push_str(value);
        text
    }

    /// The term of a value.
    pub(super) fn term(self, field: Field, value: &str) -> Term {
        Term::from_field_text(field, &self.text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_differ_in_every_character() {
        let marks = [Mark::KEY, Mark::PARTITION, Mark::of_field(0), Mark::of_field(1), Mark::of_field(60_000)];
        for (i, a) in marks.iter().enumerate() {
            assert_eq!(a.text("x").chars().rev().skip(1).count(), REPEATED);
            assert!(a.text("").len() <= LONGEST_MARK);
            let others = marks.iter().skip(i + 1);
            others.for_each(|b| assert!(a.text("").chars().zip(b.text("").chars()).all(|(x, y)| x != y)));
        }
    }
}
