//! Records in the order of their keys, from the stores.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Stop, Table};
use crate::Result;
use crate::record::{Shown, TableDef, codec};
use crate::store::Store;

/// Most stored entries that a scan looks at in one partition: a long row of deleted keys must not hold a page up.
const MOST_SEEN: usize = 20_000;

/// A scan of the keys that begin with a prefix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScanRequest {
    /// What keys begin with; empty: all keys.
    pub prefix: String,
    /// Keys up to this one are left out.
    pub after: Option<Vec<u8>>,
    /// Most records.
    pub limit: usize,
    /// Members of the record to return; `None`: all.
    pub fields: Option<Vec<String>>,
    /// Stops the scan when nobody waits for it any more.
    #[serde(skip)]
    pub stop: Stop,
}

/// Records in the order of their keys; `R` is the record in whatever form it travels.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScanAnswer<R = Shown> {
    /// Keys and records.
    pub records: Vec<(Vec<u8>, R)>,
    /// The key up to which the answer is complete; `None`: it is complete to the last key with the prefix.
    pub end: Option<Vec<u8>>,
}

impl<R> ScanAnswer<R> {
    /// The same with records in another form.
    pub fn map<S>(self, mut record: impl FnMut(R) -> S) -> ScanAnswer<S> {
        ScanAnswer { records: self.records.into_iter().map(|(key, r)| (key, record(r))).collect(), end: self.end }
    }
}

/// Scans the stores given: those of some partitions of the table. Blocking: runs on the lookup pool.
pub fn leaf(table: &Table, stores: &[Arc<Store>], request: &ScanRequest) -> Result<ScanAnswer> {
    let scans: Vec<Scan<'_>> = stores
        .iter()
        .map(|store| {
            let scan: Scan<'_> = Box::new(move |from, visit| store.scan_some(from, visit));
            scan
        })
        .collect();
    scan(&table.def, &scans, request)
}

/// Hands the stored entries of a partition from a key on to a visitor, until it returns false.
type Scan<'a> = Box<dyn Fn(&[u8], &mut dyn FnMut(&[u8], &[u8]) -> Result<bool>) -> Result<()> + 'a>;

/// The first records over all partitions. Of a partition nothing is read behind the last key that can still come in.
fn scan(def: &TableDef, partitions: &[Scan<'_>], request: &ScanRequest) -> Result<ScanAnswer> {
    let mut page = Page { records: BTreeMap::new(), end: None, limit: request.limit };
    let from = match &request.after {
        Some(after) => [after.as_slice(), &[0]].concat(),
        None => request.prefix.clone().into_bytes(),
    };
    for partition in partitions {
        let mut seen = 0;
        partition(&from, &mut |key, stored| {
            if !key.starts_with(request.prefix.as_bytes()) || page.is_beyond(key) {
                return Ok(false);
            }
            seen += 1;
            if !page.records.contains_key(key)
                && let Some(record) = Shown::of(def, key, &codec::decode(stored)?, request.fields.as_deref())
            {
                page.add(key, record);
            }
            if seen >= MOST_SEEN || request.stop.is_raised() {
                page.cut(key);
                return Ok(false);
            }
            Ok(true)
        })?;
    }
    Ok(page.answer())
}

/// Puts answers of several leaves together.
pub fn merge<R>(answers: Vec<ScanAnswer<R>>, limit: usize) -> ScanAnswer<R> {
    let mut page = Page { records: BTreeMap::new(), end: None, limit };
    answers.iter().filter_map(|a| a.end.as_deref()).for_each(|end| page.cut(end));
    for (key, record) in answers.into_iter().flat_map(|a| a.records) {
        if !page.is_beyond(&key) && !page.records.contains_key(&key) {
            page.add(&key, record);
        }
    }
    page.answer()
}

/// The first records found so far.
struct Page<R> {
    records: BTreeMap<Vec<u8>, R>,
    /// Behind this key the page is not complete.
    end: Option<Vec<u8>>,
    limit: usize,
}

impl<R> Page<R> {
    /// Whether nothing behind this key can come in.
    fn is_beyond(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_some_and(|end| key > end)
    }

    fn add(&mut self, key: &[u8], record: R) {
        self.records.insert(key.to_vec(), record);
        if self.records.len() > self.limit {
            self.records.pop_last();
            if let Some((last, _)) = self.records.last_key_value() {
                let last = last.clone();
                self.cut(&last);
            }
        }
    }

    /// Ends the page at this key at the latest.
    fn cut(&mut self, end: &[u8]) {
        if self.end.as_deref().is_none_or(|held| end < held) {
            self.end = Some(end.to_vec());
            self.records.retain(|key, _| key.as_slice() <= end);
        }
    }

    fn answer(self) -> ScanAnswer<R> {
        ScanAnswer { records: self.records.into_iter().collect(), end: self.end }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
