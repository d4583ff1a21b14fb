//! How many of the documents that match have each value of a field.

use std::collections::BTreeMap;
use std::io;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use tantivy::columnar::{Column, ColumnType, MonotonicallyMappableToU64, StrColumn};
use tantivy::{DateTime, DocId, SegmentReader};

use super::view::strings;
use crate::record::{FieldType, Value};

/// Terms of a segment that are counted in an array; those beyond it in a map.
const DENSE: usize = 1 << 18;

/// A value that is counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FacetValue {
    /// Of a boolean field.
    Boolean(bool),
    /// Of an integer field.
    Integer(i64),
    /// Of a float field, in 64 bits that keep the order of floats.
    Float(u64),
    /// Of a date field, milliseconds since the epoch.
    Date(i64),
    /// Of a keyword field.
    Keyword(String),
}

impl FacetValue {
    /// As records hold it.
    pub fn value(&self) -> Value {
        match self {
            Self::Boolean(b) => Value::Bool(*b),
            Self::Integer(n) | Self::Date(n) => Value::Int(*n),
            Self::Float(bits) => Value::Float(f64::from_u64(*bits)),
            Self::Keyword(text) => Value::Str(text.as_str().into()),
        }
    }

    fn of_bits(kind: FieldType, bits: u64) -> Self {
        match kind {
            FieldType::Boolean => Self::Boolean(bits != 0),
            FieldType::Float => Self::Float(bits),
            FieldType::Date => Self::Date(DateTime::from_u64(bits).into_timestamp_millis()),
            _ => Self::Integer(i64::from_u64(bits)),
        }
    }
}

/// Documents by value.
pub type FacetCounts = BTreeMap<FacetValue, u64>;

/// Counts the values of one field in one segment. A document counts once for each of its distinct values.
pub(super) struct Counter {
    source: Source,
    kind: FieldType,
    dense: Vec<u32>,
    sparse: FxHashMap<u64, u64>,
    /// The values of one document.
    values: Vec<u64>,
}

enum Source {
    Numbers(Column<u64>),
    Texts(StrColumn),
    Missing,
}

impl Counter {
    pub(super) fn open(segment: &SegmentReader, name: &str, kind: FieldType) -> tantivy::Result<Self> {
        let number = match kind {
            FieldType::Boolean => ColumnType::Bool,
            FieldType::Float => ColumnType::F64,
            FieldType::Date => ColumnType::DateTime,
            _ => ColumnType::I64,
        };
        let source = if matches!(kind, FieldType::Keyword | FieldType::Text) {
            strings(segment, name)?.map_or(Source::Missing, Source::Texts)
        } else {
            let column = segment.fast_fields().u64_lenient_for_type(Some(&[number]), name)?;
            column.map_or(Source::Missing, |(column, _)| Source::Numbers(column))
        };
        let terms = if let Source::Texts(texts) = &source { texts.num_terms().min(DENSE) } else { 0 };
        Ok(Self { source, kind, dense: vec![0; terms], sparse: FxHashMap::default(), values: Vec::new() })
    }

    pub(super) fn collect(&mut self, doc: DocId) {
        let column = match &self.source {
            Source::Missing => return,
            Source::Numbers(column) => column,
            Source::Texts(texts) => texts.ords(),
        };
        self.values.clear();
        self.values.extend(column.values_for_doc(doc));
        if self.values.len() > 1 {
            self.values.sort_unstable();
            self.values.dedup();
        }
        for value in &self.values {
            match usize::try_from(*value).ok().and_then(|at| self.dense.get_mut(at)) {
                Some(count) => *count += 1,
                None => *self.sparse.entry(*value).or_default() += 1,
            }
        }
    }

    /// Adds what was counted to `into`.
    pub(super) fn harvest(self, into: &mut FacetCounts) -> io::Result<()> {
        let dense = self.dense.iter().enumerate().filter(|(_, n)| **n > 0).map(|(at, n)| (at as u64, u64::from(*n)));
        let counted = dense.chain(self.sparse.iter().map(|(value, n)| (*value, *n)));
        match &self.source {
            Source::Missing => {}
            Source::Numbers(_) => {
                counted.for_each(|(bits, n)| *into.entry(FacetValue::of_bits(self.kind, bits)).or_default() += n);
            }
            Source::Texts(texts) => {
                let mut counted: Vec<(u64, u64)> = counted.collect();
                counted.sort_unstable();
                let ords: Vec<u64> = counted.iter().map(|(ord, _)| *ord).collect();
                let mut counts = counted.iter().map(|(_, n)| *n);
                texts.dictionary().sorted_ords_to_term_cb(&ords, |term| {
                    let text = String::from_utf8_lossy(term).into_owned();
                    *into.entry(FacetValue::Keyword(text)).or_default() += counts.next().unwrap_or(0);
                })?;
            }
        }
        Ok(())
    }
}
