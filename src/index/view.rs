//! What searches see: one immutable state of the index and the positions that it covers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tantivy::collector::DocSetCollector;
use tantivy::columnar::StrColumn;
use tantivy::query::{Query, QueryParser, TermQuery};
use tantivy::schema::IndexRecordOption;
use tantivy::tokenizer::TextAnalyzer;
use tantivy::{IndexReader, Searcher, SegmentReader, TantivyError, Term};

use super::collect::{Matches, Ordering, Top};
use super::schema::{Fields, KEY, PARTITION, Target};
use super::{Covered, document};
use crate::record::{FieldType, Value};
use crate::{Error, Kind, Result};

/// One state of the index.
#[derive(Debug)]
pub struct View {
    searcher: Searcher,
    /// Positions that it covers, by partition. Every document is of one of these partitions.
    pub covered: Arc<BTreeMap<u32, Covered>>,
    /// Fields of the index.
    pub fields: Arc<Fields>,
    /// Counts the states; a later one has a larger number.
    pub generation: u64,
}

/// What the index holds of one document: the values of every field that has a column, by field name.
pub type ColumnValues = BTreeMap<String, Vec<Value>>;

impl View {
    pub(super) fn new(
        reader: &IndexReader,
        covered: &BTreeMap<u32, Covered>,
        fields: &Arc<Fields>,
        generation: u64,
    ) -> Self {
        let (covered, fields) = (Arc::new(covered.clone()), Arc::clone(fields));
        Self { searcher: reader.searcher(), covered, fields, generation }
    }

    /// Documents that can be found.
    pub fn documents(&self) -> u64 {
        self.searcher.num_docs()
    }

    /// Segments that a search visits.
    pub fn segments(&self) -> usize {
        self.searcher.segment_readers().len()
    }

    /// A parser of single terms for this index; words without a field name go to [`Fields::of_words`].
    pub fn parser(&self) -> QueryParser {
        let words = self.fields.of_words().iter().map(|t| t.field).collect();
        QueryParser::for_index(self.searcher.index(), words)
    }

    /// What cuts texts of this field into terms.
    pub fn analyzer(&self, target: &Target) -> Result<TextAnalyzer> {
        let name = if target.kind == FieldType::Keyword { "raw" } else { "default" };
        let found = self.searcher.index().tokenizers().get(name);
        found.ok_or_else(|| Error::internal(format!("the index has no analyzer {name}")))
    }

    /// Selects the documents of these partitions.
    pub fn of_partitions(&self, partitions: &BTreeSet<u32>) -> Box<dyn Query> {
        let terms = partitions.iter().map(|p| Term::from_field_u64(self.fields.partition, u64::from(*p)));
        Box::new(tantivy::query::TermSetQuery::new(terms))
    }

    /// The first `limit` documents that match, in order, and how many match if asked.
    pub fn search(&self, query: &dyn Query, order: Ordering, limit: usize, count: bool) -> Result<Matches> {
        self.searcher.search(query, &Top { order, limit, count }).map_err(|e| self.failed(e))
    }

    /// Hands the key of every document of a partition to `visit`, in no order; a key that has two documents comes twice.
    pub fn document_keys(&self, partition: u32, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut key = Vec::new();
        for segment in self.searcher.segment_readers() {
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
        let found = self.searcher.search(&query, &DocSetCollector).map_err(|e| self.failed(e))?;
        let read = |address: tantivy::DocAddress| {
            let segment = self.searcher.segment_reader(address.segment_ord);
            self.columns(segment, address.doc_id).map_err(|e| self.failed(e))
        };
        found.into_iter().map(read).collect()
    }

    fn columns(&self, segment: &SegmentReader, doc: u32) -> tantivy::Result<ColumnValues> {
        let mut all = BTreeMap::new();
        for def in &self.fields.def.fields {
            if self.fields.sortable(&def.name).is_some() {
                all.insert(def.name.clone(), column(segment, &def.name, def.kind, doc)?);
            }
        }
        Ok(all)
    }

    fn failed(&self, e: TantivyError) -> Error {
        Error::new(Kind::Internal, format!("the index of table {} cannot answer", self.fields.def.name)).because(e)
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
