//! How the texts of a field become terms of the index: what configuration says of it.

use std::path::PathBuf;

/// How texts are cut into terms. By default words are cut at what is neither letter nor digit, and lowered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Words are brought to their stems.
    pub language: Option<Language>,
    /// Words that are passed over.
    pub stop_words: StopWords,
    /// Letters lose their accents.
    pub folding: bool,
    /// Beginnings or parts of words are indexed in the place of words.
    pub grams: Option<Grams>,
    /// File of words that mean the same.
    pub synonyms: Option<PathBuf>,
}

/// Words that are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StopWords {
    /// None.
    #[default]
    None,
    /// Those of the language.
    OfLanguage,
    /// These.
    These(Vec<String>),
}

/// Beginnings or parts of words, as lengths in characters. A shorter word stands for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grams {
    /// The shortest.
    pub min: usize,
    /// The longest.
    pub max: usize,
    /// Whether they begin anywhere in a word, or only with it.
    pub inside: bool,
}

/// A language with stems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Language {
    Arabic,
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Greek,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Tamil,
    Turkish,
}
