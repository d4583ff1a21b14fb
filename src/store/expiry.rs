//! The family `expiry`: which records are due at which time of the task's watermark.
//!
//! An entry is the time (8 bytes, so that they sort) and the key, without a value; the earliest stand first. The restore and the
//! audit need no more than this of it:
//!
//! - `INV-STORE-3`: a record that is due at a time has an entry at that time or before it.
//!
//! An entry that is one too many costs a look when its time comes. So an update that only puts off the time of a record writes
//! none, and a restore need not know what it replaces.

use std::sync::Arc;

use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::task_store::{EXPIRY, Store};
use crate::Result;
use crate::record::Retention;

/// Rules by which the entries that are there were made.
const RULES: &[u8] = b"expiry_rules";
/// Entries written at a time when all are made anew.
const PORTION: usize = 10_000;

/// An entry that comes or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Time: at any watermark above it the record is to be looked at.
    pub at: i64,
    /// Key of the record.
    pub key: Arc<[u8]>,
    /// Whether it comes.
    pub entered: bool,
}

/// Some entries that are due, the earliest first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct DuePage {
    /// Time and key.
    pub entries: Vec<(i64, Vec<u8>)>,
    /// Time of the next entry behind them.
    pub next: Option<i64>,
}

fn entry(at: i64, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + key.len());
    out.extend_from_slice(&at.wrapping_sub(i64::MIN).to_be_bytes());
    out.extend_from_slice(key);
    out
}

/// `None` if it is none of ours.
fn parts(entry: &[u8]) -> Option<(i64, &[u8])> {
    let (at, key) = entry.split_first_chunk::<8>()?;
    Some((i64::from_be_bytes(*at).wrapping_add(i64::MIN), key))
}

impl Store {
    /// From now on the store keeps an entry for every record that these rules make due. Makes all entries anew if they were made by
    /// other rules, or by a build that made none; how many there are then.
    pub fn keep_due(&self, retention: &Retention) -> Result<Option<u64>> {
        let rules = retention.rules();
        let made = if self.meta(RULES)?.as_deref() == Some(rules.as_bytes()) {
            None
        } else {
            Some(self.make_entries(retention, &rules)?)
        };
        self.set_retention(*retention);
        Ok(made)
    }

    fn make_entries(&self, retention: &Retention, rules: &str) -> Result<u64> {
        let family = self.family(EXPIRY)?;
        let mut write = WriteBatch::default();
        // First, so that a crash on the way is not taken for the end.
        self.put_meta(&mut write, RULES, None)?;
        write.delete_range_cf(&family, &[] as &[u8], &[0xff; 9]);
        let mut made = 0;
        if retention.is_active() {
            self.scan(b"", &mut |key, stored| {
                if let Some(at) = retention.due_of_stored(stored)? {
                    write.put_cf(&family, entry(at, key), b"");
                    made += 1;
                }
                if write.len() >= PORTION {
                    self.write(std::mem::take(&mut write))?;
                }
                Ok(true)
            })?;
        }
        self.put_meta(&mut write, RULES, Some(rules.as_bytes()))?;
        self.write(write)?;
        Ok(made)
    }

    /// Brings entries into a batch, in their order.
    pub(super) fn put_entries(&self, write: &mut WriteBatch, entries: &[Due]) -> Result<()> {
        let family = self.family(EXPIRY)?;
        for Due { at, key, entered } in entries {
            let entry = entry(*at, key);
            if *entered { write.put_cf(&family, entry, b"") } else { write.delete_cf(&family, entry) }
        }
        Ok(())
    }

    /// The entry that a stored record needs, brought into a batch.
    pub(super) fn put_entry_of(&self, write: &mut WriteBatch, key: &[u8], stored: &[u8]) -> Result<()> {
        let Some(at) = self.retention().map_or(Ok(None), |retention| retention.due_of_stored(stored))? else {
            return Ok(());
        };
        write.put_cf(&self.family(EXPIRY)?, entry(at, key), b"");
        Ok(())
    }

    /// The entries from `from` on that are due at `watermark`, at most `most`.
    pub fn due(&self, from: i64, watermark: i64, most: usize) -> Result<DuePage> {
        let mut page = DuePage::default();
        self.visit_due(from, &mut |at, key| {
            let taken = at < watermark && page.entries.len() < most;
            if taken {
                page.entries.push((at, key.to_vec()));
            } else {
                page.next = Some(at);
            }
            taken
        })?;
        Ok(page)
    }

    /// Hands every entry from `from` on to `visit`, the earliest first, until it returns false.
    pub fn visit_due(&self, from: i64, visit: &mut dyn FnMut(i64, &[u8]) -> bool) -> Result<()> {
        let start = entry(from, b"");
        let mode = IteratorMode::From(&start, Direction::Forward);
        for item in self.iterate(EXPIRY, mode)? {
            let (entry, _) = item.map_err(|e| self.failed("scanning", e))?;
            if parts(&entry).is_some_and(|(at, key)| !visit(at, key)) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_sort_by_time_then_key() {
        let in_order = [(i64::MIN, "b"), (-1, "a"), (0, ""), (0, "a"), (0, "aa"), (1, "a"), (i64::MAX, "a")];
        let entries: Vec<Vec<u8>> = in_order.iter().map(|(at, key)| entry(*at, key.as_bytes())).collect();
        assert!(entries.is_sorted());
        for ((at, key), entry) in in_order.iter().zip(&entries) {
            assert_eq!(parts(entry), Some((*at, key.as_bytes())));
        }
        assert_eq!(parts(b"short"), None);
    }
}
