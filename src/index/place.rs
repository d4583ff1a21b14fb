//! Where a document stands in the order of a search: the same for every segment, instance and page.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};
use tantivy::DateTime;
use tantivy::columnar::MonotonicallyMappableToU64;

use super::order::{Ordering, Sort, SortBy};
use super::schema::PARTITION;
use crate::record::{FieldType, Value};

/// What one sort key says of a document. The smaller one comes first, whichever direction was asked for; missing values come
/// last, or first where that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Rank {
    /// The document has no value, and such come first.
    First,
    /// A number, date, boolean or score, in 64 bits that keep their order.
    Number(u64),
    /// A text, the smallest first.
    Ascending(String),
    /// A text, the largest first.
    Descending(Reverse<String>),
    /// The document has no value.
    Missing,
}

/// Where a document stands: what the sort keys say, then its key. No two documents have the same place, and places of one order
/// compare as documents are to follow each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// One rank for each sort key.
    pub ranks: Vec<Rank>,
    /// Key of the record.
    pub key: Vec<u8>,
}

impl Place {
    /// The values that the sort keys compared, as records show them; null where there was none.
    pub fn values(&self, order: &Ordering) -> Vec<Value> {
        order.0.iter().zip(&self.ranks).map(|(sort, rank)| rank.value(sort)).collect()
    }
}

impl Place {
    /// The place of these sort values, as [`Self::values`] gives them, and this key; `None` where they are no such values.
    pub fn of(order: &Ordering, values: &[serde_json::Value], key: Vec<u8>) -> Option<Self> {
        let ranks = order.0.iter().zip(values).map(|(sort, value)| Rank::of(sort, value));
        let ranks: Vec<Rank> = ranks.collect::<Option<_>>()?;
        (values.len() == order.0.len()).then_some(Self { ranks, key })
    }
}

impl Rank {
    fn of(sort: &Sort, value: &serde_json::Value) -> Option<Self> {
        if value.is_null() {
            return Some(if sort.missing_first { Self::First } else { Self::Missing });
        }
        let bits = match &sort.by {
            #[expect(clippy::cast_possible_truncation, reason = "a score has no more digits")]
            SortBy::Score => score_bits(value.as_f64()? as f32),
            SortBy::Column(_, FieldType::Text | FieldType::Keyword) => {
                return Some(Self::text(value.as_str()?.to_owned(), sort.descending));
            }
            SortBy::Column(name, FieldType::Integer) if name == PARTITION => value.as_u64()?,
            SortBy::Column(_, FieldType::Integer) => value.as_i64()?.to_u64(),
            SortBy::Column(_, FieldType::Float) => value.as_f64()?.to_u64(),
            SortBy::Column(_, FieldType::Boolean) => u64::from(value.as_bool().or(value.as_i64().map(|n| n != 0))?),
            SortBy::Column(_, FieldType::Date) => super::document::date(value.as_i64()?).to_u64(),
            SortBy::Column(_, FieldType::Json) => return None,
        };
        Some(Self::Number(oriented(bits, sort.descending)))
    }

    /// A text, seen from the direction asked for.
    pub(super) fn text(text: String, descending: bool) -> Self {
        if descending { Self::Descending(Reverse(text)) } else { Self::Ascending(text) }
    }

    fn value(&self, sort: &Sort) -> Value {
        let bits = match self {
            Self::First | Self::Missing => return Value::Null,
            Self::Ascending(text) | Self::Descending(Reverse(text)) => return Value::Str(text.as_str().into()),
            Self::Number(rank) => oriented(*rank, sort.descending),
        };
        match &sort.by {
            SortBy::Score => Value::Float(score_of(bits).into()),
            SortBy::Column(name, FieldType::Integer) if name == PARTITION => {
                Value::Int(i64::try_from(bits).unwrap_or(i64::MAX))
            }
            SortBy::Column(_, FieldType::Integer) => Value::Int(i64::from_u64(bits)),
            SortBy::Column(_, FieldType::Float) => Value::Float(f64::from_u64(bits)),
            SortBy::Column(_, FieldType::Boolean) => Value::Bool(bits != 0),
            SortBy::Column(_, FieldType::Date) => Value::Int(DateTime::from_u64(bits).into_timestamp_millis()),
            SortBy::Column(_, FieldType::Text | FieldType::Keyword | FieldType::Json) => Value::Null,
        }
    }
}

/// Turns an order round, where the largest is to come first.
pub(super) fn oriented(bits: u64, descending: bool) -> u64 {
    if descending { !bits } else { bits }
}

/// Numbers scores in their order.
pub(super) fn score_bits(score: f32) -> u64 {
    let bits = score.to_bits();
    u64::from(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits })
}

/// Bits of a score that depend on the order in which the library adds up those of several words: it differs with where documents lie
/// in their segments, and so from replica to replica.
const UNSURE: u32 = 8;

/// A finite score of 0 or more, so that it is the same on every replica, but for one in many that lies right between two: nothing but this is compared or shown.
pub(super) fn rounded(score: f32) -> f32 {
    let half = 1 << (UNSURE - 1);
    f32::from_bits(score.to_bits().saturating_add(half) >> UNSURE << UNSURE)
}

/// The largest score that is rounded to less than this one, which is rounded.
pub(super) fn below_rounded(score: f32) -> f32 {
    let half = 1 << (UNSURE - 1);
    if score > 0.0 { f32::from_bits(score.to_bits().saturating_sub(half + 1)) } else { score.next_down() }
}

/// The largest score that is rounded to this one, which is rounded.
pub(super) fn up_to_rounded(score: f32) -> f32 {
    let half = 1 << (UNSURE - 1);
    f32::from_bits(score.to_bits().saturating_add(half - 1))
}

/// The score of [`score_bits`].
fn score_of(number: u64) -> f32 {
    let bits = u32::try_from(number).unwrap_or(u32::MAX);
    f32::from_bits(if bits >> 31 == 1 { bits & !(1 << 31) } else { !bits })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_bits_keep_the_order_of_scores_and_give_them_back() {
        let scores = [f32::MIN, -1.5, -0.0, 0.0, f32::MIN_POSITIVE, 0.1, 1.0, f32::MAX];
        assert!(scores.windows(2).all(|w| score_bits(w[0]) < score_bits(w[1])));
        assert!(scores.iter().all(|s| score_of(score_bits(*s)).to_bits() == s.to_bits()));
    }

    #[test]
    fn scores_are_told_apart_by_four_digits_and_not_by_their_last() {
        for score in [1.0_f32, 0.37, 12.345, 7_654.3] {
            let kept = rounded(score);
            assert!((kept - score).abs() <= score * 1e-4, "{score}: {kept}");
            assert_eq!((rounded(kept), rounded(kept.next_up()), rounded(kept.next_down())), (kept, kept, kept));
            let below = below_rounded(kept);
            assert!(rounded(below) < kept && rounded(below.next_up()) == kept, "{score}: {below}");
            let above = up_to_rounded(kept);
            assert!(rounded(above) == kept && rounded(above.next_up()) > kept, "{score}: {above}");
        }
        assert_eq!((rounded(0.0), rounded(1.0)), (0.0, 1.0));
        assert!(below_rounded(0.0) < 0.0);
    }

    #[test]
    fn missing_values_come_last_in_both_directions_and_the_key_decides_at_the_end() {
        let place = |rank: &Rank, key: &str| Place { ranks: vec![rank.clone()], key: key.as_bytes().to_vec() };
        let text = |t: &str, descending| Rank::text(t.to_owned(), descending);
        assert!(Rank::Number(u64::MAX) < Rank::Missing && Rank::Number(oriented(0, true)) < Rank::Missing);
        assert!(text("a", false) < text("b", false) && text("b", true) < text("a", true));
        assert!(text("a", true) < Rank::Missing && text("z", false) < Rank::Missing);
        assert!(place(&Rank::Missing, "a") < place(&Rank::Missing, "b"));
        assert!(place(&Rank::Number(1), "b") < place(&Rank::Number(2), "a"));
    }

    #[test]
    fn places_give_back_the_values_that_were_compared() {
        let kinds = [
            (FieldType::Integer, (-5_i64).to_u64(), Value::Int(-5)),
            (FieldType::Float, (-2.5_f64).to_u64(), Value::Float(-2.5)),
            (FieldType::Boolean, 1, Value::Bool(true)),
            (
                FieldType::Date,
                DateTime::from_timestamp_millis(1_700_000_000_123).to_u64(),
                Value::Int(1_700_000_000_123),
            ),
        ];
        for (kind, bits, value) in kinds {
            for descending in [false, true] {
                let by = SortBy::Column("x".to_owned(), kind);
                let order = Ordering(vec![Sort { by, descending, missing_first: false }]);
                let place = Place { ranks: vec![Rank::Number(oriented(bits, descending))], key: Vec::new() };
                assert_eq!(place.values(&order), std::slice::from_ref(&value), "{kind:?}");
                let given = [serde_json::to_value(&value).unwrap()];
                assert_eq!(Place::of(&order, &given, Vec::new()), Some(place), "{kind:?}");
            }
        }
        let order = Ordering(vec![Sort { by: SortBy::Score, descending: true, missing_first: false }; 2]);
        let place =
            Place { ranks: vec![Rank::Number(oriented(score_bits(1.5), true)), Rank::Missing], key: Vec::new() };
        assert_eq!(place.values(&order), [Value::Float(1.5), Value::Null]);
    }

    #[test]
    fn a_place_survives_json() {
        let ranks = vec![Rank::Number(u64::MAX), Rank::text("é".to_owned(), true), Rank::Missing];
        let place = Place { ranks, key: b"k".to_vec() };
        let text = serde_json::to_string(&place).unwrap();
        assert_eq!(serde_json::from_str::<Place>(&text).unwrap(), place);
    }
}
