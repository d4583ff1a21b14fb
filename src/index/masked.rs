//! A segment as searches see it, with the columns of it that were opened before.
//!
//! Columns never change, and a segment is searched many times under many masks. To open a column of a million documents is to unpack
//! what stands at the head of each of its blocks: for a search that finds few documents that takes longer than the search.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::RwLock;
use tantivy::SegmentReader;
use tantivy::columnar::{Column, ColumnType, StrColumn};

use super::view::strings;

/// A segment under its mask; cheap to clone.
#[derive(Clone)]
pub(super) struct Masked {
    reader: Arc<SegmentReader>,
    opened: Arc<Opened>,
}

/// Columns of a segment that were opened, whatever its mask.
#[derive(Default)]
pub(super) struct Opened {
    texts: RwLock<HashMap<String, Option<StrColumn>>>,
    numbers: RwLock<HashMap<(String, ColumnType), Option<Column<u64>>>>,
}

impl Masked {
    pub(super) fn new(reader: Arc<SegmentReader>, opened: Arc<Opened>) -> Self {
        Self { reader, opened }
    }

    /// A column of texts; `None` if no document of the segment has one.
    pub(super) fn texts(&self, name: &str) -> tantivy::Result<Option<StrColumn>> {
        once(&self.opened.texts, name, || name.to_owned(), || strings(&self.reader, name))
    }

    /// A column of this type, as numbers of the same order; `None` if no document of the segment has one.
    pub(super) fn numbers(&self, name: &str, kind: ColumnType) -> tantivy::Result<Option<Column<u64>>> {
        let key = (name.to_owned(), kind);
        once(
            &self.opened.numbers,
            &key,
            || key.clone(),
            || {
                let column = self.reader.fast_fields().u64_lenient_for_type(Some(&[kind]), name)?;
                Ok(column.map(|(column, _)| column))
            },
        )
    }
}

/// What is known of `key`, or is known from now on.
fn once<K: Hash + Eq + std::borrow::Borrow<Q>, Q: Hash + Eq + ?Sized, V: Clone>(
    known: &RwLock<HashMap<K, V>>,
    key: &Q,
    owned: impl FnOnce() -> K,
    open: impl FnOnce() -> tantivy::Result<V>,
) -> tantivy::Result<V> {
    if let Some(found) = known.read().get(key) {
        return Ok(found.clone());
    }
    let opened = open()?;
    known.write().insert(owned(), opened.clone());
    Ok(opened)
}

impl Deref for Masked {
    type Target = SegmentReader;
    fn deref(&self) -> &SegmentReader {
        &self.reader
    }
}
