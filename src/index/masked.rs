//! A segment as searches see it, with the columns of it that were opened before, and keys that were read.
//!
//! Columns never change, and a segment is searched many times under many masks. To open a column of a million documents is to unpack
//! what stands at the head of each of its blocks: for a search that finds few documents that takes longer than the search. To read a
//! key is to walk through a block of them; and since the first keys of a run win among documents that score the same, searches for
//! different words read the same ones.

use std::collections::HashMap;
use std::hash::Hash;
use std::io;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tantivy::SegmentReader;
use tantivy::columnar::{Column, ColumnType, StrColumn};

use super::view::strings;

/// Keys of a segment that are kept.
const KEPT: usize = 1_024;

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
    /// Keys by their ordinals.
    keys: RwLock<FxHashMap<u64, Arc<[u8]>>>,
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

    /// The key that has this ordinal in `keys`, the column of keys.
    pub(super) fn key(&self, keys: &StrColumn, ord: u64) -> io::Result<Arc<[u8]>> {
        if let Some(key) = self.opened.keys.read().get(&ord) {
            return Ok(Arc::clone(key));
        }
        let key: Arc<[u8]> = text(keys, ord)?.into();
        let mut known = self.opened.keys.write();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(ord, Arc::clone(&key));
        Ok(key)
    }
}

/// The text that has this ordinal in a column.
pub(super) fn text(texts: &StrColumn, ord: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    texts.dictionary().ord_to_term(ord, &mut out)?;
    Ok(out)
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

#[cfg(test)]
impl Masked {
    pub(super) fn shares_columns_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.opened, &other.opened)
    }
}
