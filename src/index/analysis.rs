//! How texts become terms: one analyzer for what is indexed, one for what is looked for.
//!
//! Both cut words, lower them, and fold, stop and stem as the field says. Then they differ. Of words that mean the same one stands
//! for all: what is indexed has it beside the word itself, what is looked for has it instead. And of the beginnings or parts of a
//! word that are indexed, what is looked for is one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language as Known, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter,
    TextAnalyzer, Token, TokenStream, Tokenizer, TokenizerManager,
};

use crate::record::{Analysis, Grams, Language, StopWords};
use crate::{Error, Result};

/// Words of so many bytes or more are passed over, as everywhere in the library.
const LONGEST_WORD: usize = 40;
/// Name of the analyzer of fields that ask for nothing.
pub(super) const PLAIN: &str = "default";

/// The analyzers of a table.
#[derive(Clone)]
pub(super) struct Analyzers {
    /// For what is indexed.
    pub(super) index: TokenizerManager,
    /// For what is looked for.
    pub(super) query: TokenizerManager,
    /// For the beginnings of words, where nothing may stand for something else.
    pub(super) plain: TokenizerManager,
}

impl Default for Analyzers {
    fn default() -> Self {
        let manager = TokenizerManager::default;
        Self { index: manager(), query: manager(), plain: manager() }
    }
}

impl Analyzers {
    /// Makes the analyzers of a field; their name, which tells them from all others.
    pub(super) fn add(&self, analysis: &Analysis) -> Result<String> {
        if *analysis == Analysis::default() {
            return Ok(PLAIN.to_owned());
        }
        let text = analysis.synonyms.as_deref().map(read).transpose()?.unwrap_or_default();
        // Another text of synonyms is another name, and so another fingerprint of the index: it is built anew.
        let identity = format!("{:?} {text}", Analysis { synonyms: None, ..analysis.clone() });
        let name = format!("words-{:016x}", xxhash_rust::xxh3::xxh3_64(identity.as_bytes()));
        let synonyms = Arc::new(synonyms(&text, analysis)?);
        let grams = analysis.grams;
        let analyzer = |side| {
            let words = Words { base: base(analysis), synonyms: synonyms.clone(), grams, side, tokens: Vec::new() };
            TextAnalyzer::from(words)
        };
        self.index.register(&name, analyzer(Side::Index));
        self.query.register(&name, analyzer(Side::Query));
        self.plain.register(&name, base(analysis));
        Ok(name)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        Error::refused(format!("the synonyms in {} cannot be read", path.display()))
            .because(e)
            .advise("give the path of a text file: words that mean the same in a line, separated by commas")
    })
}

/// Cuts, lowers, folds, stops and stems.
fn base(analysis: &Analysis) -> TextAnalyzer {
    let mut words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter_dynamic(RemoveLongFilter::limit(LONGEST_WORD))
        .filter_dynamic(LowerCaser);
    match &analysis.stop_words {
        StopWords::None => {}
        StopWords::OfLanguage => {
            if let Some(filter) = analysis.language.and_then(|l| StopWordFilter::new(known(l))) {
                words = words.filter_dynamic(filter);
            }
        }
        StopWords::These(all) => {
            words = words.filter_dynamic(StopWordFilter::remove(all.iter().map(|w| w.to_lowercase())));
        }
    }
    if let Some(language) = analysis.language {
        words = words.filter_dynamic(Stemmer::new(known(language)));
    }
    if analysis.folding {
        words = words.filter_dynamic(AsciiFoldingFilter);
    }
    words.build()
}

fn known(language: Language) -> Known {
    match language {
        Language::Arabic => Known::Arabic,
        Language::Danish => Known::Danish,
        Language::Dutch => Known::Dutch,
        Language::English => Known::English,
        Language::Finnish => Known::Finnish,
        Language::French => Known::French,
        Language::German => Known::German,
        Language::Greek => Known::Greek,
        Language::Hungarian => Known::Hungarian,
        Language::Italian => Known::Italian,
        Language::Norwegian => Known::Norwegian,
        Language::Portuguese => Known::Portuguese,
        Language::Romanian => Known::Romanian,
        Language::Russian => Known::Russian,
        Language::Spanish => Known::Spanish,
        Language::Swedish => Known::Swedish,
        Language::Tamil => Known::Tamil,
        Language::Turkish => Known::Turkish,
    }
}

/// Reads lines such as `kettle, boiler, jug` (all mean the same) or `tv, telly => television`; `#` begins a comment. By term, the
/// term that stands for it.
fn synonyms(text: &str, analysis: &Analysis) -> Result<BTreeMap<String, String>> {
    let mut analyzer = base(analysis);
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let (words, target) = match line.split_once("=>") {
            Some((words, target)) => (words, Some(target)),
            None => (line, None),
        };
        let mut terms = Vec::new();
        for word in target.into_iter().chain(words.split(',')) {
            let mut found = Vec::new();
            analyzer.token_stream(word).process(&mut |t| found.push(t.text.clone()));
            match <[String; 1]>::try_from(found) {
                Ok([term]) => terms.push(term),
                Err(found) => {
                    let what = format!("{:?} is {} words", word.trim(), found.len());
                    return Err(Error::refused(format!("synonyms, line {}: {what}, expected one", number + 1))
                        .advise("write single words, separated by commas; stop words and signs are none"));
                }
            }
        }
        join(&mut all, &terms);
    }
    all.retain(|term, other| term != other);
    Ok(all)
}

/// Makes the first of these terms, or what stands for it already, stand for all of them and for what they stand for.
fn join(all: &mut BTreeMap<String, String>, terms: &[String]) {
    let Some(first) = terms.first() else { return };
    let leader = all.get(first).unwrap_or(first).clone();
    for term in terms {
        let old = all.insert(term.clone(), leader.clone()).unwrap_or_else(|| term.clone());
        all.values_mut().filter(|held| **held == old).for_each(|held| held.clone_from(&leader));
        all.insert(old, leader.clone());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Index,
    Query,
}

/// The analyzer: a base, and what is done to its terms.
#[derive(Clone)]
struct Words {
    base: TextAnalyzer,
    synonyms: Arc<BTreeMap<String, String>>,
    grams: Option<Grams>,
    side: Side,
    tokens: Vec<Token>,
}

/// Terms that were made at once.
struct Made<'a> {
    tokens: &'a mut [Token],
    /// How many were handed out.
    next: usize,
}

impl Words {
    fn push(tokens: &mut Vec<Token>, token: &Token, text: &str) {
        tokens.push(Token { text: text.to_owned(), ..token.clone() });
    }
}

impl Tokenizer for Words {
    type TokenStream<'a> = Made<'a>;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> Made<'a> {
        let Self { base, synonyms, grams, side, tokens } = self;
        tokens.clear();
        base.token_stream(text).process(&mut |token| {
            let leader = synonyms.get(&token.text);
            let words = match (*side, leader) {
                (Side::Query, Some(leader)) => [Some(leader.as_str()), None],
                (Side::Index, Some(leader)) => [Some(token.text.as_str()), Some(leader.as_str())],
                (_, None) => [Some(token.text.as_str()), None],
            };
            for word in words.into_iter().flatten() {
                match grams {
                    None => Self::push(tokens, token, word),
                    Some(grams) => cut(*grams, *side, word, &mut |part| Self::push(tokens, token, part)),
                }
            }
        });
        Made { tokens, next: 0 }
    }
}

/// The parts of a word that are indexed, or looked for.
fn cut(grams: Grams, side: Side, word: &str, each: &mut dyn FnMut(&str)) {
    let mut bounds: Vec<usize> = word.char_indices().map(|(at, _)| at).collect();
    bounds.push(word.len());
    let chars = bounds.len() - 1;
    if chars <= grams.min || (side == Side::Query && chars <= grams.max) {
        return each(word);
    }
    let lengths = match side {
        Side::Index => grams.min..=grams.max.min(chars),
        // All parts of the longest kind: together they come near the word.
        Side::Query => grams.max..=grams.max,
    };
    let last = |length: usize| if grams.inside { chars - length } else { 0 };
    for length in lengths {
        (0..=last(length)).for_each(|from| each(&word[bounds[from]..bounds[from + length]]));
    }
}

impl TokenStream for Made<'_> {
    fn advance(&mut self) -> bool {
        let more = self.next < self.tokens.len();
        self.next += usize::from(more);
        more
    }
    fn token(&self) -> &Token {
        &self.tokens[self.next - 1]
    }
    fn token_mut(&mut self) -> &mut Token {
        &mut self.tokens[self.next - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(analysis: &Analysis, text: &str) -> (Vec<String>, Vec<String>) {
        let analyzers = Analyzers::default();
        let name = analyzers.add(analysis).unwrap();
        let cut = |manager: &TokenizerManager| {
            let mut found = Vec::new();
            manager.get(&name).unwrap().token_stream(text).process(&mut |t| found.push(t.text.clone()));
            found
        };
        (cut(&analyzers.index), cut(&analyzers.query))
    }

    fn both(analysis: &Analysis, text: &str) -> String {
        let (index, query) = terms(analysis, text);
        assert_eq!(index, query);
        index.join(" ")
    }

    #[test]
    fn words_are_lowered_stopped_stemmed_and_folded_as_the_field_says() {
        let plain = Analysis::default();
        assert_eq!(both(&plain, "The Kettles, boiling"), "the kettles boiling");
        let english = Analysis { language: Some(Language::English), ..Analysis::default() };
        assert_eq!(both(&english, "The Kettles, boiling"), "the kettl boil");
        let stopped = Analysis { stop_words: StopWords::OfLanguage, ..english };
        assert_eq!(both(&stopped, "The Kettles, boiling"), "kettl boil");
        let these = Analysis { stop_words: StopWords::These(vec!["Boiling".to_owned()]), ..Analysis::default() };
        assert_eq!(both(&these, "The Kettles, boiling"), "the kettles");
        let folded = Analysis { folding: true, ..Analysis::default() };
        assert_eq!(both(&folded, "Crème brûlée"), "creme brulee");
        let german = Analysis { language: Some(Language::German), folding: true, ..Analysis::default() };
        assert_eq!(both(&german, "Häuser"), both(&german, "Haus"));
    }

    #[test]
    fn beginnings_and_parts_of_words_are_indexed_and_one_of_them_looked_for() {
        let grams = |inside, min, max| Analysis { grams: Some(Grams { min, max, inside }), ..Analysis::default() };
        let (index, query) = terms(&grams(false, 2, 4), "kettle a");
        assert_eq!((index.join(" "), query.join(" ")), ("ke ket kett a".to_owned(), "kett a".to_owned()));
        let (index, query) = terms(&grams(true, 2, 3), "pané");
        assert_eq!((index.join(" "), query.join(" ")), ("pa an né pan ané".to_owned(), "pan ané".to_owned()));
        assert_eq!(terms(&grams(true, 2, 3), "né").1, ["né"]);
    }

    #[test]
    fn of_words_that_mean_the_same_one_stands_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synonyms.txt");
        std::fs::write(&path, "# kitchen\nKettles, boiler\njug, boiler  # joins them\ntv, telly => television\n")
            .unwrap();
        let analysis =
            Analysis { language: Some(Language::English), synonyms: Some(path.clone()), ..Analysis::default() };
        let looked_for = |text: &str| terms(&analysis, text).1;
        assert_eq!(looked_for("kettle"), looked_for("boilers"));
        assert_eq!(looked_for("kettle"), looked_for("jug"));
        assert_eq!(looked_for("telly"), looked_for("television"));
        assert_ne!(looked_for("telly"), looked_for("jug"));
        let (index, query) = terms(&analysis, "boiler");
        assert!(index.contains(&query[0]) && index.contains(&"boiler".to_owned()), "{index:?} {query:?}");
        let name = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Analyzers::default().add(&analysis)
        };
        assert_ne!(name("a, b").unwrap(), name("a, c").unwrap(), "another file is another analyzer");
        let error = name("tea pot, kettle").unwrap_err();
        assert!(error.message().contains("line 1") && error.message().contains("tea pot"), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(Analyzers::default().add(&analysis).unwrap_err().message().contains("synonyms.txt"));
    }
}
