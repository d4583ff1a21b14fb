//! How a partition's log is cut into segments, and which of them retention drops. Pure.
//!
//! A segment is only an entry of the books: its first offset, its end, its bytes and its newest timestamp. The first
//! segment begins at the log's start and the last one ends at its end, so the segments *are* both offsets.

use std::collections::VecDeque;

use super::db;
use super::topics::Limits;
use crate::broker::Offset;

/// A span of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    pub(super) newest_ms: i64,
}

impl Segment {
    fn empty(at: Offset) -> Self {
        Self { base: at, end: at, bytes: 0, newest_ms: i64::MIN }
    }

    /// As it is stored; the base is in the key.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        db::from_words(&[self.end, i64::try_from(self.bytes).unwrap_or(i64::MAX), self.newest_ms])
    }

    /// Reads what [`Segment::to_bytes`] wrote.
    pub(super) fn from_bytes(base: Offset, value: &[u8]) -> Option<Self> {
        let [end, bytes, newest_ms] = db::words::<3>(value)?;
        Some(Self { base, end, bytes: u64::try_from(bytes).ok()?, newest_ms })
    }
}

/// The segments of a partition. Never empty; neighbours touch: `list[i].end == list[i + 1].base`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segments {
    list: VecDeque<Segment>,
    /// Bytes of `list`.
    closed_bytes: u64,
    active: Segment,
    /// Base of the first segment that changed since it was stored last.
    unsaved: Option<Offset>,
}

impl Segments {
    /// The books of a new partition.
    pub(super) fn new() -> Self {
        Self::restore(VecDeque::new())
    }

    /// Takes over stored segments, in order.
    pub(super) fn restore(mut list: VecDeque<Segment>) -> Self {
        let active = list.pop_back().unwrap_or(Segment::empty(0));
        Self { closed_bytes: list.iter().map(|s| s.bytes).sum(), list, active, unsaved: None }
    }

    /// Start of the log.
    pub(super) fn start(&self) -> Offset {
        self.list.front().unwrap_or(&self.active).base
    }

    /// End of the log: the offset of the next record.
    pub(super) fn end(&self) -> Offset {
        self.active.end
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.closed_bytes + self.active.bytes
    }

    /// Enters a record and returns its offset. Begins a new segment when the last one holds `segment_bytes`.
    pub(super) fn append(&mut self, bytes: usize, timestamp_ms: i64, segment_bytes: u64) -> Offset {
        if self.active.bytes >= segment_bytes {
            let next = Segment::empty(self.active.end);
            self.unsaved.get_or_insert(self.active.base);
            self.closed_bytes += self.active.bytes;
            self.list.push_back(std::mem::replace(&mut self.active, next));
        }
        self.unsaved.get_or_insert(self.active.base);
        let offset = self.active.end;
        self.active.end += 1;
        self.active.bytes += bytes as u64;
        self.active.newest_ms = self.active.newest_ms.max(timestamp_ms);
        offset
    }

    /// Takes bytes that the cleaner removed out of the books; only for logs of one segment.
    pub(super) fn shrink(&mut self, bytes: u64) {
        self.active.bytes = self.active.bytes.saturating_sub(bytes);
        self.unsaved.get_or_insert(self.active.base);
    }

    /// The segments that have to be stored again; marks them as stored.
    pub(super) fn take_unsaved(&mut self) -> Vec<Segment> {
        let Some(from) = self.unsaved.take() else { return Vec::new() };
        let closed = self.list.iter().rev().take_while(|s| s.base >= from);
        closed.copied().chain([self.active]).collect()
    }

    /// How many segments from the front are past `limits` at `now_ms`. The last one counts too if it holds records
    /// and all of them are too old.
    pub(super) fn expired(&self, limits: &Limits, now_ms: i64) -> usize {
        let mut bytes = self.bytes();
        let mut count = 0;
        for (i, segment) in self.list.iter().chain([&self.active]).enumerate() {
            let last = i == self.list.len();
            let too_old = limits.retention_ms.is_some_and(|keep| {
                segment.end > segment.base && segment.newest_ms < now_ms.saturating_sub_unsigned(keep)
            });
            let too_much = !last && limits.retention_bytes.is_some_and(|keep| bytes - segment.bytes >= keep);
            if !too_old && !too_much {
                break;
            }
            bytes -= segment.bytes;
            count = i + 1;
        }
        count
    }

    /// Drops `count` segments from the front; returns them.
    pub(super) fn drop_front(&mut self, count: usize) -> Vec<Segment> {
        let closed = count.min(self.list.len());
        let mut dropped: Vec<_> = self.list.drain(..closed).collect();
        self.closed_bytes -= dropped.iter().map(|s| s.bytes).sum::<u64>();
        if count > closed {
            let next = Segment::empty(self.active.end);
            dropped.push(std::mem::replace(&mut self.active, next));
            self.unsaved = Some(self.active.base);
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ms: Option<u64>, bytes: Option<u64>) -> Limits {
        Limits {
            retention_ms: ms,
            retention_bytes: bytes,
            segment_bytes: 10,
            delete_retention_ms: 0,
            max_message_bytes: 0,
        }
    }

    /// Six records of 5 bytes at 0, 10, … 50 ms: three segments of two records.
    fn three() -> Segments {
        let mut s = Segments::new();
        for i in 0..6 {
            assert_eq!(s.append(5, i * 10, 10), i);
        }
        s
    }

    #[test]
    fn a_segment_ends_when_it_is_full() {
        let mut s = three();
        let saved: Vec<_> = s.take_unsaved().iter().map(|s| (s.base, s.end, s.bytes, s.newest_ms)).collect();
        assert_eq!(saved, [(2, 4, 10, 30), (0, 2, 10, 10), (4, 6, 10, 50)]);
        assert!(s.take_unsaved().is_empty());
        assert_eq!((s.start(), s.end(), s.bytes()), (0, 6, 30));
    }

    #[test]
    fn size_keeps_at_least_the_limit_and_the_last_segment() {
        let s = three();
        assert_eq!(s.expired(&limits(None, Some(21)), 0), 0);
        assert_eq!(s.expired(&limits(None, Some(20)), 0), 1);
        assert_eq!(s.expired(&limits(None, Some(0)), 0), 2);
        assert_eq!(s.expired(&limits(None, None), i64::MAX), 0);
    }

    #[test]
    fn time_drops_segments_whose_newest_record_is_too_old() {
        let s = three();
        assert_eq!(s.expired(&limits(Some(100), None), 110), 0);
        assert_eq!(s.expired(&limits(Some(100), None), 111), 1);
        assert_eq!(s.expired(&limits(Some(100), None), 151), 3);
    }

    #[test]
    fn a_log_that_is_dropped_whole_keeps_its_end() {
        let mut s = three();
        assert_eq!(s.drop_front(3).len(), 3);
        assert_eq!((s.start(), s.end(), s.bytes()), (6, 6, 0));
        assert_eq!(s.expired(&limits(Some(0), Some(0)), i64::MAX), 0, "nothing is left to drop");
        assert_eq!(s.take_unsaved(), [Segment::empty(6)]);
        assert_eq!(s.append(1, 60, 10), 6);
    }

    #[test]
    fn stored_segments_come_back() {
        let mut s = three();
        let mut stored = s.take_unsaved();
        stored.sort_by_key(|s| s.base);
        let read = stored.iter().map(|s| Segment::from_bytes(s.base, &s.to_bytes()).unwrap()).collect();
        assert_eq!(Segments::restore(read), s);
    }
}
