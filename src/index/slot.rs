//! One segment of the index, on disk or in memory, with the documents in it that newer ones have superseded.

use std::sync::Arc;

use tantivy::directory::OwnedBytes;
use tantivy::fastfield::{AliveBitSet, write_alive_bitset};
use tantivy::index::{InvertedIndexReader, Segment, SegmentId};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{BitSet, DocSet, SegmentReader, TERMINATED, Term};

use super::masked::{Masked, Opened};

/// A segment and its mask. Holding the segment keeps its files.
pub(super) struct Slot {
    segment: Segment,
    /// Terms of the segment, the keys of its documents among them.
    terms: Arc<InvertedIndexReader>,
    /// As it was written: without the documents that the segment's own deletes cover.
    whole: Arc<SegmentReader>,
    /// Documents that are not superseded since.
    alive: BitSet,
    /// As it is shown.
    shown: Arc<SegmentReader>,
    /// Its columns, as far as they were opened.
    opened: Arc<Opened>,
    /// Whether `shown` is older than `alive`.
    dirty: bool,
}

impl Slot {
    /// Opens a segment whose documents have their keys among `terms`.
    pub(super) fn open(segment: Segment, terms: Field) -> tantivy::Result<Self> {
        let whole = Arc::new(SegmentReader::open(&segment)?);
        Ok(Self {
            terms: whole.inverted_index(terms)?,
            alive: BitSet::with_max_value_and_full(whole.max_doc()),
            shown: whole.clone(),
            opened: Arc::default(),
            dirty: false,
            whole,
            segment,
        })
    }

    /// Masks the document of a key; false if there is none to mask.
    pub(super) fn kill(&mut self, key: &Term) -> tantivy::Result<bool> {
        let Some(info) = self.terms.get_term_info(key)? else { return Ok(false) };
        let mut postings = self.terms.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
        let mut doc = postings.doc();
        while doc != TERMINATED {
            if self.alive.contains(doc) && !self.whole.is_deleted(doc) {
                self.alive.remove(doc);
                self.dirty = true;
                return Ok(true);
            }
            doc = postings.advance();
        }
        Ok(false)
    }

    /// The segment without what is masked by now.
    pub(super) fn reader(&mut self) -> tantivy::Result<Masked> {
        if self.dirty {
            self.shown = Arc::new(SegmentReader::open_with_custom_alive_set(&self.segment, Some(self.mask()?))?);
            self.dirty = false;
        }
        Ok(Masked::new(Arc::clone(&self.shown), Arc::clone(&self.opened)))
    }

    /// Takes over what was opened of the same segment by an older slot.
    pub(super) fn take_over_from(&mut self, older: &[Self]) {
        if let Some(same) = older.iter().find(|slot| slot.id() == self.id()) {
            self.opened = Arc::clone(&same.opened);
        }
    }

    /// Which segment it is.
    pub(super) fn id(&self) -> SegmentId {
        self.segment.id()
    }

    /// The segment, to be merged with others.
    pub(super) fn segment(&self) -> Segment {
        self.segment.clone()
    }

    /// The mask, to be merged with.
    pub(super) fn mask(&self) -> tantivy::Result<AliveBitSet> {
        let mut bytes = Vec::new();
        write_alive_bitset(&self.alive, &mut bytes)?;
        Ok(AliveBitSet::open(OwnedBytes::new(bytes)))
    }

    /// Whether every document is masked.
    pub(super) fn is_empty(&self) -> bool {
        self.alive.len() == 0
    }
}

/// Masks the document of a key in the segment that has it.
pub(super) fn kill_in(slots: &mut [Slot], key: &Term) -> tantivy::Result<()> {
    for slot in slots {
        if slot.kill(key)? {
            break;
        }
    }
    Ok(())
}
