//! What searches see: one immutable state of the index and the positions that it covers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use tantivy::collector::{Collector, DocSetCollector};
use tantivy::columnar::StrColumn;
use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Query, QueryParser, TermQuery, Weight};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::tokenizer::{TextAnalyzer, TokenizerManager};
use tantivy::{DateTime, Index, IndexReader, ReloadPolicy, Searcher, SegmentReader, TantivyError, Term};

use super::beginning::Beginning;
use super::collect::{Matches, Top};
use super::conjunction;
use super::equals::Scores;
use super::highlight::Highlighter;
use super::kept::Kept;
use super::masked::Masked;
use super::order::Ordering;
use super::place::Place;
use super::schema::{Fields, KEY, PARTITION, Target};
use super::statistics::{Counted, Recorder, Statistics};
use super::stop::Stop;
use super::summary::{self, Aggregator, Summary, Summed};
use super::{Covered, document};
use crate::record::{FieldType, Value};
use crate::{Error, Kind, Result};

/// An empty index of the same schema: stands in where the library asks for an index and needs none of its documents.
#[derive(Clone)]
pub(super) struct Blank {
    searcher: Searcher,
    kept: Kept,
}

impl Blank {
    /// With what is kept of searches for the next ones, `sets_memory` bytes of sets among it.
    pub(super) fn new(like: &Index, sets_memory: u64) -> tantivy::Result<Self> {
        let index = Index::builder().schema(like.schema()).settings(like.settings().clone()).create_in_ram()?;
        let reader: IndexReader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into()?;
        Ok(Self { searcher: reader.searcher(), kept: Kept::new(sets_memory) })
    }
}

/// One state of the index.
pub struct View {
    /// Segments on disk and in memory, without what newer ones have superseded.
    readers: Vec<Masked>,
    blank: Blank,
    /// Positions that it covers, by partition. Every document is of one of these partitions.
    pub covered: Arc<BTreeMap<u32, Covered>>,
    /// What scores go by instead of its own statistics.
    given: Option<Arc<Statistics>>,
    /// Fields of the index.
    pub fields: Arc<Fields>,
    /// Counts the states; a later one has a larger number.
    pub generation: u64,
}

/// What the index holds of one document: the values of every field that has a column, by field name.
pub type ColumnValues = BTreeMap<String, Vec<Value>>;

impl View {
    pub(super) fn new(
        readers: Vec<Masked>,
        blank: &Blank,
        covered: &BTreeMap<u32, Covered>,
        fields: &Arc<Fields>,
        generation: u64,
    ) -> Self {
        Self {
            readers,
            blank: blank.clone(),
            covered: Arc::new(covered.clone()),
            given: None,
            fields: Arc::clone(fields),
            generation,
        }
    }

    /// What the collector makes of the documents that match. The statistics of scores are those of all segments together.
    fn collect<C: Collector>(&self, query: &dyn Query, collector: &C) -> tantivy::Result<C::Fruit> {
        let weight = match collector.requires_scoring() {
            true => query.weight(EnableScoring::enabled_from_statistics_provider(self, &self.blank.searcher))?,
            false => conjunction::unscored(
                query,
                EnableScoring::disabled_from_searcher(self.blank()),
                &self.blank.kept.sets,
            )?,
        };
        let in_segment = |(at, reader): (usize, &Masked)| {
            collector.collect_segment(&*weight, u32::try_from(at).unwrap_or(u32::MAX), reader)
        };
        let fruits = self.readers.iter().enumerate().map(in_segment).collect::<tantivy::Result<_>>()?;
        collector.merge_fruits(fruits)
    }

    /// The same state, scored by these statistics.
    #[must_use]
    pub fn scored_by(&self, statistics: Arc<Statistics>) -> Self {
        Self {
            readers: self.readers.clone(),
            blank: self.blank.clone(),
            covered: Arc::clone(&self.covered),
            given: Some(statistics),
            fields: Arc::clone(&self.fields),
            generation: self.generation,
        }
    }

    /// What the scores of a query depend on, counted in these partitions.
    pub fn statistics(&self, query: &dyn Query, partitions: &BTreeSet<u32>) -> Result<Statistics> {
        Recorder::record(self, partitions, query)
    }

    pub(super) fn readers(&self) -> &[Masked] {
        &self.readers
    }

    pub(super) fn blank(&self) -> &Searcher {
        &self.blank.searcher
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> &Kept {
        &self.blank.kept
    }

    pub(super) fn counted(&self) -> &Counted {
        &self.blank.kept.counted
    }

    pub(super) fn field_name(&self, field: Field) -> String {
        self.blank.searcher.schema().get_field_name(field).to_owned()
    }

    /// Documents that can be found.
    pub fn documents(&self) -> u64 {
        self.readers.iter().map(|r| u64::from(r.num_docs())).sum()
    }

    /// Segments that a search visits.
    pub fn segments(&self) -> usize {
        self.readers.len()
    }

    /// A parser of single terms for this index; words without a field name go to the text fields.
    pub fn parser(&self) -> QueryParser {
        let words = self.fields.of_words();
        let words = words.iter().filter(|t| t.kind == FieldType::Text).map(|t| t.field).collect();
        QueryParser::new(self.fields.schema.clone(), words, self.fields.analyzers.query.clone())
    }

    /// As [`Self::parser`], for words in these fields of texts, each with what it counts.
    pub fn parser_of(&self, words: &[(Target, f32)]) -> QueryParser {
        let texts = || words.iter().filter(|(t, _)| t.kind == FieldType::Text);
        let fields = texts().map(|(t, _)| t.field).collect();
        let mut parser = QueryParser::new(self.fields.schema.clone(), fields, self.fields.analyzers.query.clone());
        texts().for_each(|(t, boost)| parser.set_field_boost(t.field, *boost));
        parser
    }

    /// What cuts a text that is looked for in this field into terms.
    pub fn analyzer(&self, target: &Target) -> Result<TextAnalyzer> {
        self.analyzer_of(&self.fields.analyzers.query, target)
    }

    /// What cuts the beginning of a word, or a word that may be misspelt: nothing stands for something else.
    pub fn plain_analyzer(&self, target: &Target) -> Result<TextAnalyzer> {
        self.analyzer_of(&self.fields.analyzers.plain, target)
    }

    fn analyzer_of(&self, all: &TokenizerManager, target: &Target) -> Result<TextAnalyzer> {
        let name = self.fields.analyzer(target);
        all.get(name).ok_or_else(|| Error::internal(format!("the index has no analyzer {name}")))
    }

    /// Finds the words of a query, and others that begin so, in texts of this field; shows pieces of so many characters at most.
    pub fn highlighter(
        &self,
        query: &dyn Query,
        target: &Target,
        prefixes: Vec<String>,
        length: Option<usize>,
    ) -> Result<Highlighter> {
        let analyzer = self.analyzer_of(&self.fields.analyzers.index, target)?;
        Ok(Highlighter::new(query, target.field, analyzer, prefixes, length))
    }

    /// What has a term that begins so.
    pub fn beginning(&self, prefix: Term) -> Beginning {
        Beginning::new(prefix, self.blank.kept.sets.clone())
    }

    /// Whether more than `most` terms of a segment begin so.
    pub fn has_more_terms(&self, prefix: &Term, most: usize) -> Result<bool> {
        let beginning = self.beginning(prefix.clone());
        for reader in &self.readers {
            let mut left = most;
            let mut fits = |_: &_, _: &_| {
                let fits = left > 0;
                left = left.saturating_sub(1);
                Ok(fits)
            };
            if !beginning.terms(reader, &mut fits).map_err(|e| self.failed(e))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Explains scores of this query.
    pub fn explainer(&self, query: &dyn Query) -> Result<Explainer<'_>> {
        let scoring = EnableScoring::enabled_from_statistics_provider(self, &self.blank.searcher);
        Ok(Explainer { view: self, weight: query.weight(scoring).map_err(|e| self.failed(e))? })
    }

    /// Selects the documents of these partitions.
    pub fn of_partitions(&self, partitions: &BTreeSet<u32>) -> Box<dyn Query> {
        let terms = partitions.iter().map(|p| self.fields.partition_term(*p));
        Box::new(tantivy::query::TermSetQuery::new(terms))
    }

    /// The first `limit` documents that match behind the place `after`, in order, and how many match at all if asked.
    pub fn search(
        &self,
        query: &dyn Query,
        order: Ordering,
        after: Option<Place>,
        limit: usize,
        count: bool,
        stop: &Stop,
    ) -> Result<Matches> {
        let (scores, words, kept) = (Scores::of(query), conjunction::words(query), self.blank.kept.clone());
        let segments = &self.readers;
        let top = Top { order, after, limit, count, scores, words, kept, segments, stop: stop.clone() };
        let found = self.collect(query, &top).map_err(|e| self.failed(e))?;
        self.unless_stopped(stop)?;
        Ok(found)
    }

    /// What the documents that match amount to: facets by column and type, and aggregations.
    pub fn summarise(
        &self,
        query: &dyn Query,
        facets: &[(String, FieldType)],
        aggregator: Option<&Aggregator>,
        stop: &Stop,
    ) -> Result<Summed> {
        let summary = Summary { facets, aggregator, stop };
        let summed = self.collect(query, &summary).map_err(|e| summary::blame(e, |e| self.failed(e)))?;
        let summed = summed?;
        self.unless_stopped(stop)?;
        Ok(summed)
    }

    /// The first and the last moment in a column of dates, milliseconds; documents that are superseded may widen it.
    pub fn dates(&self, column: &str) -> Result<Option<(i64, i64)>> {
        let mut all: Option<(i64, i64)> = None;
        for reader in &self.readers {
            let found = reader.fast_fields().column_opt::<DateTime>(column).map_err(|e| self.failed(e))?;
            if let Some(dates) = found.filter(|dates| dates.values.num_vals() > 0) {
                let (low, high) =
                    (dates.min_value().into_timestamp_millis(), dates.max_value().into_timestamp_millis());
                let (least, most) = all.unwrap_or((low, high));
                all = Some((least.min(low), most.max(high)));
            }
        }
        Ok(all)
    }

    /// An error if the search was stopped.
    pub fn unless_stopped(&self, stop: &Stop) -> Result<()> {
        if stop.is_raised() {
            return Err(Error::new(Kind::TimedOut, format!("a search of table {} was stopped", self.fields.def.name))
                .advise("ask for less at a time, or raise api.timeout"));
        }
        Ok(())
    }

    /// Hands the key of every document of a partition to `visit`, in no order; a key that has two documents comes twice.
    pub fn document_keys(&self, partition: u32, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut key = Vec::new();
        for segment in &self.readers {
            let partitions = segment.fast_fields().u64(PARTITION).map_err(|e| self.failed(e))?;
            let keys = strings(segment, KEY).map_err(|e| self.failed(e))?;
            for doc in segment.doc_ids_alive() {
                if partitions.first(doc) != Some(u64::from(partition)) {
                    continue;
                }
                key.clear();
                if let Some(keys) = &keys
                    && let Some(ord) = keys.ords().first(doc)
                {
                    keys.dictionary().ord_to_term(ord, &mut key).map_err(|e| self.failed(e.into()))?;
                }
                visit(&key)?;
            }
        }
        Ok(())
    }

    /// What the index holds of a key: one entry for each of its documents (one, if all is well).
    pub fn document_values(&self, key: &[u8]) -> Result<Vec<ColumnValues>> {
        let Some(term) = document::key_term(&self.fields, key) else { return Ok(Vec::new()) };
        let query = TermQuery::new(term, IndexRecordOption::Basic);
        let found = self.collect(&query, &DocSetCollector).map_err(|e| self.failed(e))?;
        let read = |address: tantivy::DocAddress| {
            let segment = &self.readers[address.segment_ord as usize];
            self.columns(segment, address.doc_id).map_err(|e| self.failed(e))
        };
        found.into_iter().map(read).collect()
    }

    fn columns(&self, segment: &SegmentReader, doc: u32) -> tantivy::Result<ColumnValues> {
        let mut all = BTreeMap::new();
        for def in &self.fields.all {
            if self.fields.sortable(&def.name).is_some() {
                all.insert(def.name.clone(), column(segment, &def.name, def.kind, doc)?);
            }
        }
        Ok(all)
    }

    pub(super) fn failed(&self, e: TantivyError) -> Error {
        Error::new(Kind::Internal, format!("the index of table {} cannot answer", self.fields.def.name)).because(e)
    }
}

/// Explains the scores of one query.
pub struct Explainer<'a> {
    view: &'a View,
    weight: Box<dyn Weight>,
}

impl Explainer<'_> {
    /// Why the document of this key has its score, as a tree of JSON; `None` if it does not match, or is not here.
    pub fn explain(&self, key: &[u8]) -> Result<Option<serde_json::Value>> {
        let view = self.view;
        let Some(term) = document::key_term(&view.fields, key) else { return Ok(None) };
        let found = view.collect(&TermQuery::new(term, IndexRecordOption::Basic), &DocSetCollector);
        let Some(address) = found.map_err(|e| view.failed(e))?.into_iter().next() else { return Ok(None) };
        match self.weight.explain(&view.readers[address.segment_ord as usize], address.doc_id) {
            Ok(explanation) => Ok(serde_json::to_value(explanation).ok()),
            Err(TantivyError::InvalidArgument(_)) => Ok(None),
            Err(e) => Err(view.failed(e)),
        }
    }
}

impl fmt::Debug for Explainer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explainer").field("view", self.view).finish_non_exhaustive()
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("generation", &self.generation)
            .field("covered", &self.covered)
            .finish_non_exhaustive()
    }
}

/// Counts superseded documents until they are merged away, as the library does: of two documents neither is more right than
/// the other, and a term must not be in more documents than there are.
impl Bm25StatisticsProvider for View {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        if let Some(tokens) = self.given.as_ref().and_then(|g| g.tokens.get(&self.field_name(field))) {
            return Ok(*tokens);
        }
        if field == self.fields.terms {
            // Of many fields in one: for each of them a document is as long as any other.
            return self.total_num_docs();
        }
        self.readers.iter().map(|r| Ok(r.inverted_index(field)?.total_num_tokens())).sum()
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        if let Some(given) = &self.given {
            return Ok(given.documents);
        }
        Ok(self.readers.iter().map(|r| u64::from(r.max_doc())).sum())
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        if let Some(given) = &self.given {
            // What nobody counted is in no document: all who were asked have read the same query.
            return Ok(given.frequency(&self.field_name(term.field()), term).unwrap_or(0));
        }
        self.readers.iter().map(|r| Ok(u64::from(r.inverted_index(term.field())?.doc_freq(term)?))).sum()
    }
}

/// A column of texts; `None` if the segment has none.
pub(super) fn strings(segment: &SegmentReader, name: &str) -> tantivy::Result<Option<StrColumn>> {
    segment.fast_fields().str(name)
}

fn column(segment: &SegmentReader, name: &str, kind: FieldType, doc: u32) -> tantivy::Result<Vec<Value>> {
    let columns = segment.fast_fields();
    Ok(match kind {
        FieldType::Integer => columns.i64(name)?.values_for_doc(doc).map(Value::Int).collect(),
        FieldType::Float => columns.f64(name)?.values_for_doc(doc).map(Value::Float).collect(),
        FieldType::Boolean => columns.bool(name)?.values_for_doc(doc).map(Value::Bool).collect(),
        FieldType::Date => {
            columns.date(name)?.values_for_doc(doc).map(|d| Value::Int(d.into_timestamp_millis())).collect()
        }
        FieldType::Text | FieldType::Keyword => {
            let Some(texts) = strings(segment, name)? else { return Ok(Vec::new()) };
            let mut all = Vec::new();
            for ord in texts.ords().values_for_doc(doc) {
                let mut text = String::new();
                texts.ord_to_str(ord, &mut text)?;
                all.push(Value::Str(text.into()));
            }
            all
        }
        FieldType::Json => Vec::new(),
    })
}
