//! What scores depend on: how many documents there are, how long they are, and how many of them have a word.
//!
//! A search over several instances must score as one instance would that had all documents. So each tells the numbers of the
//! partitions that it is asked for, they are added up, and every one of them scores by the sum.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tantivy::fieldnorm::FieldNormReader;
use tantivy::index::SegmentId;
use tantivy::query::{Bm25StatisticsProvider, EnableScoring, Query};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, SegmentReader, TERMINATED, Term};

use super::View;
use super::masked::Masked;
use super::schema::PARTITION;
use crate::Result;

/// Segments whose counts are kept.
const KEPT: usize = 1_000;

/// The numbers that the scores of a query depend on. Fields go by name: their numbers depend on the definition of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Documents.
    pub documents: u64,
    /// Words of all documents, by field.
    pub tokens: BTreeMap<String, u64>,
    /// Documents that have a term, by field and term.
    pub frequencies: BTreeMap<String, Vec<(Vec<u8>, u64)>>,
}

impl Statistics {
    /// Adds what another instance counted in other partitions.
    pub fn add(&mut self, other: &Self) {
        self.documents += other.documents;
        for (field, tokens) in &other.tokens {
            *self.tokens.entry(field.clone()).or_default() += tokens;
        }
        for (field, terms) in &other.frequencies {
            let known = self.frequencies.entry(field.clone()).or_default();
            for (term, count) in terms {
                match known.iter_mut().find(|(t, _)| t == term) {
                    Some((_, sum)) => *sum += count,
                    None => known.push((term.clone(), *count)),
                }
            }
        }
    }

    /// Documents that have a term; `None` if nobody counted it.
    pub(super) fn frequency(&self, field: &str, term: &Term) -> Option<u64> {
        let wanted = value(term);
        let found = self.frequencies.get(field)?.iter().find(|(t, _)| *t == wanted)?;
        // A term cannot be in more documents than there are.
        Some(found.1.min(self.documents))
    }
}

/// Type and value of a term.
fn value(term: &Term) -> Vec<u8> {
    let mut value = vec![term.typ().to_code()];
    value.extend_from_slice(term.serialized_value_bytes());
    value
}

/// What one segment holds of each partition. Documents that were superseded count until they are merged away: they count in
/// frequencies, too.
#[derive(Debug, Default)]
struct Counts {
    documents: BTreeMap<u32, u64>,
    tokens: HashMap<Field, BTreeMap<u32, u64>>,
}

/// Counts of segments, which never change.
#[derive(Clone, Debug, Default)]
pub(super) struct Counted(Arc<Mutex<HashMap<SegmentId, Counts>>>);

impl Counted {
    fn documents(&self, segment: &SegmentReader, of: &BTreeSet<u32>) -> tantivy::Result<u64> {
        self.look(segment, |counts| {
            if counts.documents.is_empty() {
                counts.documents = by_partition(segment, |_| 1)?;
            }
            Ok(sum(&counts.documents, of))
        })
    }

    fn tokens(&self, segment: &SegmentReader, field: Field, of: &BTreeSet<u32>) -> tantivy::Result<u64> {
        self.look(segment, |counts| {
            if let Some(known) = counts.tokens.get(&field) {
                return Ok(sum(known, of));
            }
            let lengths = segment.get_fieldnorms_reader(field)?;
            let length = |doc| u64::from(FieldNormReader::fieldnorm(&lengths, doc));
            let found = by_partition(segment, length)?;
            let tokens = sum(&found, of);
            counts.tokens.insert(field, found);
            Ok(tokens)
        })
    }

    fn look<T>(
        &self,
        segment: &SegmentReader,
        f: impl FnOnce(&mut Counts) -> tantivy::Result<T>,
    ) -> tantivy::Result<T> {
        let mut all = self.0.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        f(all.entry(segment.segment_id()).or_default())
    }
}

fn sum(by_partition: &BTreeMap<u32, u64>, of: &BTreeSet<u32>) -> u64 {
    of.iter().filter_map(|p| by_partition.get(p)).sum()
}

fn by_partition(segment: &SegmentReader, weight: impl Fn(u32) -> u64) -> tantivy::Result<BTreeMap<u32, u64>> {
    let partitions = segment.fast_fields().u64(PARTITION)?;
    let mut all = BTreeMap::new();
    for doc in 0..segment.max_doc() {
        if let Some(partition) = partitions.first(doc).and_then(|p| u32::try_from(p).ok()) {
            *all.entry(partition).or_default() += weight(doc);
        }
    }
    Ok(all)
}

/// Counts what a query asks for, in some partitions of a view, and takes note of it.
pub(super) struct Recorder<'a> {
    view: &'a View,
    of: &'a BTreeSet<u32>,
    /// Whether the view holds other partitions, too.
    narrowed: bool,
    seen: Mutex<Statistics>,
}

impl<'a> Recorder<'a> {
    /// The statistics that the scores of `query` need.
    pub(super) fn record(view: &'a View, of: &'a BTreeSet<u32>, query: &dyn Query) -> Result<Statistics> {
        let narrowed = !view.covered.keys().all(|p| of.contains(p));
        let this = Self { view, of, narrowed, seen: Mutex::default() };
        let weigh = || {
            this.total_num_docs()?;
            query.weight(EnableScoring::enabled_from_statistics_provider(&this, view.blank())).map(drop)
        };
        weigh().map_err(|e| view.failed(e))?;
        Ok(this.seen.into_inner())
    }

    fn frequency(&self, segment: &SegmentReader, term: &Term) -> tantivy::Result<u64> {
        let inverted = segment.inverted_index(term.field())?;
        if !self.narrowed {
            return Ok(inverted.doc_freq(term)?.into());
        }
        let Some(mut postings) = inverted.read_postings(term, IndexRecordOption::Basic)? else { return Ok(0) };
        let partitions = segment.fast_fields().u64(PARTITION)?;
        let mut count = 0;
        let mut doc = postings.doc();
        while doc != TERMINATED {
            let partition = partitions.first(doc).and_then(|p| u32::try_from(p).ok());
            count += u64::from(partition.is_some_and(|p| self.of.contains(&p)));
            doc = postings.advance();
        }
        Ok(count)
    }
}

impl Bm25StatisticsProvider for Recorder<'_> {
    fn total_num_tokens(&self, field: Field) -> tantivy::Result<u64> {
        let tokens = if field == self.view.fields.terms {
            self.total_num_docs()?
        } else if self.narrowed {
            let of = |segment: &Masked| self.view.counted().tokens(segment, field, self.of);
            self.view.readers().iter().map(of).sum::<tantivy::Result<u64>>()?
        } else {
            self.view.total_num_tokens(field)?
        };
        self.seen.lock().tokens.insert(self.view.field_name(field), tokens);
        Ok(tokens)
    }

    fn total_num_docs(&self) -> tantivy::Result<u64> {
        let documents = if self.narrowed {
            let of = |segment: &Masked| self.view.counted().documents(segment, self.of);
            self.view.readers().iter().map(of).sum::<tantivy::Result<u64>>()?
        } else {
            self.view.total_num_docs()?
        };
        self.seen.lock().documents = documents;
        Ok(documents)
    }

    fn doc_freq(&self, term: &Term) -> tantivy::Result<u64> {
        let counts = self.view.readers().iter().map(|segment| self.frequency(segment, term));
        let count = counts.sum::<tantivy::Result<u64>>()?;
        let mut seen = self.seen.lock();
        let terms = seen.frequencies.entry(self.view.field_name(term.field())).or_default();
        let wanted = value(term);
        if !terms.iter().any(|(t, _)| *t == wanted) {
            terms.push((wanted, count));
        }
        Ok(count)
    }
}
