//! What a hit shows beside its record: pieces of texts with the words that were looked for, and why it has its score.

use std::collections::BTreeMap;

use super::SearchRequest;
use super::parse::Prefix;
use crate::index::syntax::Query;
use crate::index::{Explainer, Highlighter, View};
use crate::record::{FieldType, Record, Shown, TableDef, Value};
use crate::{Error, Result};

/// Most fields of a search that are highlighted.
pub const MOST_FIELDS: usize = 16;

/// Adds to hits what was asked for.
pub(super) struct Dress<'a> {
    explainer: Option<Explainer<'a>>,
    highlighters: Vec<(String, Highlighter)>,
}

impl<'a> Dress<'a> {
    /// For hits of this query.
    pub(super) fn new(
        view: &'a View,
        request: &SearchRequest,
        words: &'a dyn Query,
        prefixes: &[Prefix],
        whole: &'a dyn Query,
    ) -> Result<Self> {
        if request.highlight.len() > MOST_FIELDS {
            let found = request.highlight.len();
            return Err(Error::bad_request(format!("highlight: found {found} fields, expected at most {MOST_FIELDS}")));
        }
        let highlighter = |name: &String| {
            let target =
                view.fields.resolve(name).filter(|t| t.kind == FieldType::Text && t.indexed && t.path == *name);
            let Some(target) = target.filter(|_| !name.contains('.')) else {
                return Err(Error::bad_request(format!("highlight: field {name:?} is no text that is searched")));
            };
            let length = request.highlight_length;
            let prefixes = prefixes.iter().filter(|p| p.field == target.field).map(|p| p.text.clone()).collect();
            Ok((name.clone(), view.highlighter(words, &target, prefixes, length)?))
        };
        let highlighters = request.highlight.iter().map(highlighter).collect::<Result<_>>()?;
        let explainer = request.explain.then(|| view.explainer(whole)).transpose()?;
        Ok(Self { explainer, highlighters })
    }

    /// By field, one piece for each text that has any of the words.
    pub(super) fn highlight(&self, def: &TableDef, key: &[u8], record: &Record) -> BTreeMap<String, Vec<String>> {
        if self.highlighters.is_empty() {
            return BTreeMap::new();
        }
        let Some(shown) = Shown::of(def, key, record, None) else { return BTreeMap::new() };
        let pieces = |(name, highlighter): &(String, Highlighter)| {
            let texts: Vec<&str> = shown.get(name).map(texts).unwrap_or_default();
            (name.clone(), texts.into_iter().filter_map(|t| highlighter.piece(t)).collect::<Vec<_>>())
        };
        self.highlighters.iter().map(pieces).filter(|(_, pieces)| !pieces.is_empty()).collect()
    }

    /// Why the document of this key has its score, where that was asked for.
    pub(super) fn explain(&self, key: &[u8]) -> Result<Option<serde_json::Value>> {
        self.explainer.as_ref().map_or(Ok(None), |explainer| explainer.explain(key))
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Str(text) => vec![text.as_str()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}
