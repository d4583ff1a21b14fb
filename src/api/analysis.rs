//! How texts are analysed, as the description of a table shows it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::record::{Analysis, Grams, StopWords};

/// How a text becomes words; what is left out does not apply.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Analysis)]
pub(crate) struct AnalysisDto {
    /// Words are brought to their stems in this language.
    #[serde(skip_serializing_if = "Option::is_none")]
    language: Option<&'static str>,
    /// Words that are passed over: those of the language, where this is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_words: Option<Vec<String>>,
    /// Letters lose their accents.
    folding: bool,
    /// Parts of words are indexed: the shortest and the longest length.
    #[serde(skip_serializing_if = "Option::is_none")]
    grams: Option<[usize; 2]>,
    /// Beginnings of words are indexed: the shortest and the longest length.
    #[serde(skip_serializing_if = "Option::is_none")]
    edge_grams: Option<[usize; 2]>,
    /// File of words that mean the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    synonyms: Option<String>,
}

impl AnalysisDto {
    /// `None` for the default.
    pub(crate) fn unless_default(of: &Analysis) -> Option<Self> {
        (*of != Analysis::default()).then(|| Self::of(of))
    }

    pub(crate) fn of(of: &Analysis) -> Self {
        let lengths = |inside| of.grams.filter(|g| g.inside == inside).map(|Grams { min, max, .. }| [min, max]);
        Self {
            language: of.language.map(crate::config::language_word),
            stop_words: match &of.stop_words {
                StopWords::None => None,
                StopWords::OfLanguage => Some(Vec::new()),
                StopWords::These(words) => Some(words.clone()),
            },
            folding: of.folding,
            grams: lengths(true),
            edge_grams: lengths(false),
            synonyms: of.synonyms.as_ref().map(|path| path.display().to_string()),
        }
    }
}
