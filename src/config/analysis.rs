//! Reads `analysis` and `variants` of a text field: how it becomes terms, and in which other ways it is indexed as well.

use std::path::PathBuf;

use super::parse::{choice, switch, text};
use super::section::{Parsed, Section};
use super::tree::{Data, Node};
use super::words;
use crate::record::{Analysis, FieldType, Grams, Language, StopWords};

/// Longest part of a word, characters: each length is a term of its own for each word.
const LONGEST: usize = 20;
/// Most variants of a field.
const MOST_VARIANTS: usize = 8;

/// Languages, as they are written.
const LANGUAGES: &[(&str, Language)] = &[
    ("arabic", Language::Arabic),
    ("danish", Language::Danish),
    ("dutch", Language::Dutch),
    ("english", Language::English),
    ("finnish", Language::Finnish),
    ("french", Language::French),
    ("german", Language::German),
    ("greek", Language::Greek),
    ("hungarian", Language::Hungarian),
    ("italian", Language::Italian),
    ("norwegian", Language::Norwegian),
    ("portuguese", Language::Portuguese),
    ("romanian", Language::Romanian),
    ("russian", Language::Russian),
    ("spanish", Language::Spanish),
    ("swedish", Language::Swedish),
    ("tamil", Language::Tamil),
    ("turkish", Language::Turkish),
];

/// The word for a language, as it is written in a configuration.
pub fn language_word(language: Language) -> &'static str {
    LANGUAGES.iter().find(|(_, known)| *known == language).map_or("?", |(word, _)| word)
}

/// How a field becomes terms: its own way, and its variants by name, ordered.
pub(super) fn of_field(field: &Section<'_>, kind: Option<FieldType>) -> (Analysis, Vec<(String, Analysis)>) {
    for key in ["analysis", "variants"] {
        if field.given(key) && kind.is_some_and(|kind| kind != FieldType::Text) {
            field.wrong(key, "applies to type = \"text\" only");
        }
    }
    let own = analysis(field.sub("analysis"));
    let variants = field.named("variants");
    if variants.len() > MOST_VARIANTS {
        field.wrong("variants", format!("found {}, expected at most {MOST_VARIANTS}", variants.len()));
    }
    let variant = |(name, section): (&str, Section<'_>)| {
        if let Some(what) = words::bad_name(name) {
            section.wrong_itself(what);
        }
        (name.to_owned(), analysis(section))
    };
    (own, variants.into_iter().map(variant).collect())
}

fn analysis(s: Section<'_>) -> Analysis {
    let language = s.get("language", choice("language", LANGUAGES));
    let (inside, beginning) = (s.get("grams", lengths), s.get("edge_grams", lengths));
    if inside.is_some() && beginning.is_some() {
        s.wrong("edge_grams", "does not go with grams");
    }
    let grams = |(min, max), inside| Grams { min, max, inside };
    let analysis = Analysis {
        language,
        stop_words: s.or("stop_words", StopWords::None, stop_words),
        folding: s.or("folding", false, switch),
        grams: inside.map(|l| grams(l, true)).or(beginning.map(|l| grams(l, false))),
        synonyms: s.get("synonyms", maybe).flatten().map(PathBuf::from),
    };
    let stops = matches!(
        language,
        Some(Language::Arabic | Language::Greek | Language::Romanian | Language::Tamil | Language::Turkish) | None
    );
    if analysis.stop_words == StopWords::OfLanguage && stops && s.sound(&["language"]) {
        s.wrong("stop_words", "there is no list for this language, or none is given (list the words)");
    }
    s.finish();
    analysis
}

/// Text; an empty one is none.
fn maybe(node: &Node) -> Parsed<Option<String>> {
    match &node.data {
        Data::Text(t) if t.is_empty() => Ok(None),
        _ => text(node).map(Some),
    }
}

fn stop_words(node: &Node) -> Parsed<StopWords> {
    match &node.data {
        Data::List(items) => items.iter().map(text).collect::<Parsed<_>>().map(StopWords::These),
        _ => match switch(node) {
            Ok(true) => Ok(StopWords::OfLanguage),
            Ok(false) => Ok(StopWords::None),
            Err(what) => Err(format!("{what} (or a list of words)")),
        },
    }
}

/// The shortest and the longest length.
fn lengths(node: &Node) -> Parsed<(usize, usize)> {
    let number = |node: &Node| match node.data {
        Data::Int(n) => usize::try_from(n).ok(),
        _ => None,
    };
    let found = match &node.data {
        Data::List(items) => items.iter().map(number).collect::<Option<Vec<usize>>>(),
        _ => None,
    };
    match found.as_deref() {
        Some([min, max]) if *min >= 1 && min <= max && *max <= LONGEST => Ok((*min, *max)),
        _ => Err(format!(
            "expected the shortest and the longest length, such as [2, 10], at most {LONGEST}, found {}",
            node.describe()
        )),
    }
}
