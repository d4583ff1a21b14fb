//! A query as a tree: what programs ask for, as `q` and `filter` are what people type.
//!
//! Whatever language it was written in is gone here: fields have the names of the index, times are milliseconds, and nothing depends
//! on a clock. So a clause can be sent to other instances, each of which makes the same query of it.

mod compile;
mod least;
mod pattern;

use serde::{Deserialize, Serialize};

pub(super) use compile::compile;
pub use least::Least;
pub use pattern::{Expression, of_lucene, of_wildcard};

/// Deepest nesting of clauses.
pub const DEEPEST: usize = 30;
/// Most values of one [`Clause::Values`].
pub const MOST_VALUES: usize = 10_000;

/// What documents must be like. Values stand as texts, as a filter would write them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Clause {
    /// Every document.
    All,
    /// No document.
    Nothing,
    /// Clauses that must, should and must not hold.
    Bool(Bool),
    /// Any of these holds; the score is the best one, and a part of the others.
    Best {
        /// The clauses.
        of: Vec<Clause>,
        /// How much of the other scores counts, from 0 to 1.
        tie_breaker: f32,
    },
    /// Holds where the clause does, with this score.
    Constant {
        /// The clause.
        of: Box<Clause>,
        /// The score.
        score: f32,
    },
    /// The clause, its score times a factor.
    Boost {
        /// The clause.
        of: Box<Clause>,
        /// The factor.
        by: f32,
    },
    /// A field has words of a text.
    Words(Words),
    /// A field has the words of a text behind each other.
    Phrase {
        /// Field.
        field: String,
        /// Text.
        text: String,
        /// How many places the words may be out of theirs.
        slop: u32,
        /// Whether the last word is the beginning of one.
        prefix: bool,
    },
    /// A field has one of these values; of a text field, one of these words as it is indexed.
    Values {
        /// Field.
        field: String,
        /// Values.
        values: Vec<String>,
        /// Whether it is scored as rare or frequent values are, or all count the same.
        scored: bool,
    },
    /// A field of texts is, whole, one of these.
    Exact {
        /// Field.
        field: String,
        /// Values.
        values: Vec<String>,
    },
    /// A field has a value within bounds.
    Range {
        /// Field.
        field: String,
        /// Lower bound.
        lower: Option<Edge>,
        /// Upper bound.
        upper: Option<Edge>,
    },
    /// A field has a value.
    Has {
        /// Field.
        field: String,
    },
    /// A value, or a word of a text, begins so.
    Prefix {
        /// Field.
        field: String,
        /// Beginning.
        text: String,
    },
    /// A value, or a word of a text, is wholly of this form.
    Pattern {
        /// Field.
        field: String,
        /// A regular expression.
        regex: String,
        /// What everything of this form begins with.
        beginning: String,
    },
    /// A value, or a word of a text, is this one but for a few letters.
    Fuzzy {
        /// Field.
        field: String,
        /// Value.
        text: String,
        /// Most letters that differ, 0 to 2.
        distance: u8,
    },
    /// What a person typed, in the grammar of `filter`.
    Text(Text),
    /// A filter, read as those of a search are.
    Filter(String),
    /// The column of a field has this value, as a bucket of an aggregation shows it; null: the field has no value.
    Same {
        /// Field.
        field: String,
        /// Value.
        value: serde_json::Value,
    },
}

/// Clauses that must, should and must not hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bool {
    /// All of these hold, and are scored.
    pub must: Vec<Clause>,
    /// All of these hold.
    pub filter: Vec<Clause>,
    /// `least` of these hold, and are scored.
    pub should: Vec<Clause>,
    /// None of these holds.
    pub must_not: Vec<Clause>,
    /// How many of `should` must hold; by default one where there is neither `must` nor `filter`.
    pub least: Option<Least>,
}

/// Words of a text in a field.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Words {
    /// Field.
    pub field: String,
    /// Text.
    pub text: String,
    /// Whether all words must be there, or any.
    pub all: bool,
    /// How many of the words must be there, where not all must.
    pub least: Option<Least>,
    /// How many letters may differ.
    pub fuzziness: Option<Fuzziness>,
    /// Whether the last word is the beginning of one.
    pub prefix: bool,
    /// Whether a text without any word stands for every document, or none.
    pub none_is_all: bool,
    /// Whether a value that the field cannot have is no error: no document has it.
    pub lenient: bool,
}

/// How many letters of a word may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fuzziness {
    /// None below the first length, one below the second, else two.
    Auto(usize, usize),
    /// So many.
    Letters(u8),
}

impl Fuzziness {
    /// By the length of the word.
    pub const AUTO: Self = Self::Auto(3, 6);

    /// Most letters of this word that may differ.
    pub fn of(self, word: &str) -> u8 {
        match self {
            Self::Letters(n) => n,
            Self::Auto(low, high) => {
                let length = word.chars().count();
                u8::from(length >= low) + u8::from(length >= high)
            }
        }
    }
}

/// A bound of a range.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Value.
    pub value: String,
    /// Whether the value itself is within.
    pub inclusive: bool,
}

/// A text in the grammar of `filter`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Where words without a field are looked for, and how much they count there; empty: in every field that has words.
    pub fields: Vec<(String, f32)>,
    /// Whether all words must be there, or any.
    pub all: bool,
    /// Whether what cannot be understood is passed over.
    pub lenient: bool,
}

impl Clause {
    /// Whether statistics of the documents change its scores.
    pub fn is_scored(&self) -> bool {
        match self {
            Self::All | Self::Nothing | Self::Constant { .. } | Self::Exact { .. } | Self::Range { .. } => false,
            Self::Has { .. } | Self::Pattern { .. } | Self::Fuzzy { .. } => false,
            Self::Filter(_) | Self::Same { .. } => false,
            Self::Values { scored, .. } => *scored,
            Self::Words(_) | Self::Phrase { .. } | Self::Prefix { .. } | Self::Text(_) => true,
            Self::Bool(all) => all.must.iter().chain(&all.should).any(Self::is_scored),
            Self::Best { of, .. } => of.iter().any(Self::is_scored),
            Self::Boost { of, .. } => of.is_scored(),
        }
    }

    /// One clause that holds where all of these do.
    pub fn all_of(mut clauses: Vec<Self>) -> Self {
        match clauses.len() {
            0 => Self::All,
            1 => clauses.pop().unwrap_or(Self::All),
            _ => Self::Bool(Bool { must: clauses, ..Bool::default() }),
        }
    }

    /// One clause that holds where any of these does.
    pub fn any_of(mut clauses: Vec<Self>) -> Self {
        match clauses.len() {
            0 => Self::Nothing,
            1 => clauses.pop().unwrap_or(Self::Nothing),
            _ => Self::Bool(Bool { should: clauses, ..Bool::default() }),
        }
    }

    /// A clause that holds where this one does not.
    #[must_use]
    pub fn negated(self) -> Self {
        Self::Bool(Bool { must_not: vec![self], ..Bool::default() })
    }

    /// The clause with its score times a factor.
    #[must_use]
    pub fn boosted(self, by: f32) -> Self {
        if by == 1.0 { self } else { Self::Boost { of: Box::new(self), by } }
    }
}
