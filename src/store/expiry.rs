//! The family `expiry`: which records are due at which time of the task's watermark.
//!
//! An entry is the time (8 bytes, so that they sort) and the key, without a value; the earliest stand first. The restore and the
//! audit need no more than this of it:
//!
//! - `INV-STORE-3`: a record that is due at a time has an entry at that time or before it.
//!
//! An entry that is one too many costs a look when its time comes. So an update that only puts off the time of a record writes
//! none, and a restore need not know what it replaces: it looks at entries when their time has come ([`Store::follow`]), as an
//! owner's sweep does.

use std::sync::Arc;

use rocksdb::{Direction, IteratorMode, WriteBatch};

use super::task_store::{EXPIRY, Store, StoreBatch};
use crate::Result;
use crate::record::Retention;

/// Rules by which the entries that are there were made.
const RULES: &[u8] = b"expiry_rules";
/// Entries written at a time when all are made anew.
const PORTION: usize = 10_000;

/// Entries that one step of [`Store::follow`] looks at, beside two for every record that it brings.
const STEP: usize = 1_000;
/// Of these, records read at a time.
const READ: usize = 64;
/// Bytes of records read from which a step ends early.
const STEP_BYTES: usize = 4 << 20;

/// How far a store that follows a changelog has settled the entries whose time has come: rounds over all of them, in steps.
#[derive(Clone, Debug, Default)]
pub struct Settled {
    /// The task's watermark, as the last position tells it.
    watermark: Option<i64>,
    /// The first entry of the next step.
    from: Vec<u8>,
    /// Time of the first entry that the next round has to look at, of those that this one will not come by any more.
    again: Option<i64>,
}

impl Settled {
    fn see_again(&mut self, at: i64) {
        self.again = Some(self.again.map_or(at, |again| again.min(at)));
    }
}

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

    /// The entry that a stored record needs, brought into a batch; its time.
    pub(super) fn put_entry_of(&self, write: &mut WriteBatch, key: &[u8], stored: &[u8]) -> Result<Option<i64>> {
        let at = self.due_at(stored)?;
        if let Some(at) = at {
            write.put_cf(&self.family(EXPIRY)?, entry(at, key), b"");
        }
        Ok(at)
    }

    fn due_at(&self, stored: &[u8]) -> Result<Option<i64>> {
        self.retention().map_or(Ok(None), |retention| retention.due_of_stored(stored))
    }

    /// Applies a stretch of a changelog that somebody else writes, as [`Store::apply`] does, and a step of what its watermark makes
    /// due: an entry goes unless its record is due at just that time, and the one that the record needs comes. The record itself
    /// goes when its owner says so.
    ///
    /// A step looks at more entries than the stretch brings, so they do not pile up behind the watermark.
    pub fn follow(&self, batch: &StoreBatch<'_>, settled: &mut Settled) -> Result<()> {
        if let Some(at) = self.apply(batch)? {
            settled.see_again(at);
        }
        settled.watermark = settled.watermark.max(batch.position.and_then(|position| position.watermark));
        match settled.watermark {
            Some(watermark) => self.settle(settled, watermark, STEP + 2 * batch.records.len()),
            None => Ok(()),
        }
    }

    fn settle(&self, settled: &mut Settled, watermark: i64, most: usize) -> Result<()> {
        let (due, mut is_round) = self.page(&settled.from, watermark, most)?;
        let (mut write, mut read) = (WriteBatch::default(), 0);
        for portion in due.chunks(READ) {
            if read >= STEP_BYTES {
                is_round = false;
                break;
            }
            read += self.settle_some(portion, settled, &mut write)?;
            if let Some(last) = portion.last() {
                // The next one in order.
                settled.from = [last.as_slice(), &[0]].concat();
            }
        }
        if is_round {
            // What is due at the watermark or later was not looked at.
            settled.from = entry(settled.again.take().map_or(watermark, |again| again.min(watermark)), b"");
        }
        if write.is_empty() { Ok(()) } else { self.write(write) }
    }

    /// The bytes of records that were read.
    fn settle_some(&self, entries: &[Vec<u8>], settled: &mut Settled, write: &mut WriteBatch) -> Result<usize> {
        let family = self.family(EXPIRY)?;
        let mut keys: Vec<&[u8]> = entries.iter().filter_map(|entry| Some(parts(entry)?.1)).collect();
        keys.sort_unstable();
        keys.dedup();
        let (mut needed, mut read) = (vec![None; keys.len()], 0);
        self.visit_sorted(&keys, &mut |n, stored| {
            read += stored.map_or(0, <[u8]>::len);
            needed[n] = stored.map_or(Ok(None), |stored| self.due_at(stored))?;
            Ok(())
        })?;
        for old in entries {
            let Some((at, key)) = parts(old) else { continue };
            let due = keys.binary_search(&key).ok().and_then(|n| needed[n]);
            if let Some(due) = due {
                settled.see_again(due);
            }
            if due != Some(at) {
                write.delete_cf(&family, old);
                if let Some(due) = due {
                    write.put_cf(&family, entry(due, key), b"");
                }
            }
        }
        Ok(read)
    }

    /// Entries from one on that are due at a watermark, at most `most`, and whether these are all.
    fn page(&self, from: &[u8], watermark: i64, most: usize) -> Result<(Vec<Vec<u8>>, bool)> {
        let mut page = Vec::new();
        for item in self.iterate(EXPIRY, IteratorMode::From(from, Direction::Forward))? {
            let (entry, _) = item.map_err(|e| self.failed("scanning", e))?;
            if parts(&entry).is_none_or(|(at, _)| at >= watermark) {
                break;
            }
            if page.len() == most {
                return Ok((page, false));
            }
            page.push(entry.into_vec());
        }
        Ok((page, true))
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
