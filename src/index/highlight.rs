//! Where the words of a search stand in a text.

use std::collections::BTreeMap;

use tantivy::query::Query;
use tantivy::schema::Field;
use tantivy::snippet::SnippetGenerator;
use tantivy::tokenizer::TextAnalyzer;

/// Longest piece of a text that is shown where nobody asks for more, characters.
const LONGEST: usize = 160;

/// Finds the words that a search has for one field.
pub struct Highlighter {
    field: Field,
    analyzer: TextAnalyzer,
    words: BTreeMap<String, f32>,
    /// Beginnings of words.
    prefixes: Vec<String>,
    /// Longest piece, characters.
    length: usize,
}

impl std::fmt::Debug for Highlighter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Highlighter").field("words", &self.words).finish_non_exhaustive()
    }
}

impl Highlighter {
    pub(super) fn new(
        query: &dyn Query,
        field: Field,
        analyzer: TextAnalyzer,
        prefixes: Vec<String>,
        length: Option<usize>,
    ) -> Self {
        let mut words = BTreeMap::new();
        query.query_terms(&mut |term, _| {
            if let Some(text) = term.value().as_str().filter(|_| term.field() == field) {
                words.insert(text.to_owned(), 1.0);
            }
        });
        Self { field, analyzer, words, prefixes, length: length.unwrap_or(LONGEST) }
    }

    /// The best piece of a text, escaped for HTML, with the words in `<em>`; `None` where none is in it.
    pub fn piece(&self, text: &str) -> Option<String> {
        let mut words = self.words.clone();
        if !self.prefixes.is_empty() {
            self.analyzer.clone().token_stream(text).process(&mut |token| {
                if self.prefixes.iter().any(|prefix| token.text.starts_with(prefix)) {
                    words.insert(token.text.clone(), 1.0);
                }
            });
        }
        let generator = SnippetGenerator::new(words, self.analyzer.clone(), self.field, self.length);
        let mut snippet = generator.snippet(text);
        snippet.set_snippet_prefix_postfix("<em>", "</em>");
        (!snippet.is_empty()).then(|| snippet.to_html())
    }
}
