//! What hits are ordered by.

use crate::record::FieldType;

/// One sort key, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// What is compared.
    pub by: SortBy,
    /// Largest first.
    pub descending: bool,
    /// Whether documents without a value come first instead of last.
    pub missing_first: bool,
}

/// What a sort key compares.
#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    /// The score.
    Score,
    /// A column of the index: its name and type.
    Column(String, FieldType),
}

/// Sort keys in order of weight; the key of the record decides what they leave open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ordering(pub Vec<Sort>);
