//! What a search finds in one segment, while it looks.

use tantivy::collector::{Collector as _, SegmentCollector};
use tantivy::{DocId, Score, SegmentReader};

use super::collect::{Segment, Top};
use super::stop::LOOK_EVERY;

/// What a search finds in one segment. Its columns are opened with the first document: most segments have none of a rare word,
/// and to open columns takes longer than to find that out.
pub(super) struct Found<'a> {
    top: &'a Top<'a>,
    ord: u32,
    segment: &'a SegmentReader,
    opened: Option<tantivy::Result<Segment>>,
    /// Number of matches, if they were counted apart.
    pub(super) total: Option<u64>,
    /// Documents seen.
    seen: u32,
    /// Whether nobody waits any more: what is left is passed over.
    stopped: bool,
}

impl<'a> Found<'a> {
    pub(super) fn new(top: &'a Top<'a>, ord: u32, segment: &'a SegmentReader) -> Self {
        Self { top, ord, segment, opened: None, total: None, seen: 0, stopped: false }
    }

    pub(super) fn collect(&mut self, doc: DocId, score: Score) {
        if let Some(segment) = self.segment_for(1) {
            segment.collect(doc, score);
        }
    }

    pub(super) fn collect_block(&mut self, docs: &[DocId]) {
        if let Some(segment) = self.segment_for(docs.len()) {
            segment.collect_block(docs);
        }
    }

    /// Where so many documents more go, unless nobody waits any more.
    fn segment_for(&mut self, documents: usize) -> Option<&mut Segment> {
        let looks = self.seen / LOOK_EVERY;
        // At most a block.
        self.seen = self.seen.wrapping_add(u32::try_from(documents).unwrap_or(LOOK_EVERY));
        if self.seen / LOOK_EVERY != looks && self.top.stop.is_raised() {
            self.stopped = true;
        }
        if self.stopped || documents == 0 {
            return None;
        }
        self.opened.get_or_insert_with(|| self.top.for_segment(self.ord, self.segment)).as_mut().ok()
    }

    /// What collects here, unless nobody waits any more, or it cannot be opened, of which `harvest` tells.
    pub(super) fn opened(&mut self) -> Option<&mut Segment> {
        self.segment_for(1)
    }

    pub(super) fn threshold(&self) -> Score {
        match &self.opened {
            // Nothing more is of use.
            _ if self.stopped => Score::MAX,
            None => Score::MIN,
            Some(Ok(segment)) => segment.threshold(),
            Some(Err(_)) => Score::MAX,
        }
    }

    pub(super) fn harvest(self) -> tantivy::Result<<Segment as SegmentCollector>::Fruit> {
        let Some(segment) = self.opened else { return Ok(None) };
        let mut run = segment?.harvest();
        if let (Some(run), Some(total)) = (&mut run, self.total) {
            run.total = total;
        }
        Ok(run)
    }
}
