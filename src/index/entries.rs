//! The documents of a word, block by block as the index stores them: nobody walks along.

use tantivy::postings::BlockSegmentPostings;
use tantivy::schema::IndexRecordOption;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, SegmentReader, Term};

/// Documents of a segment that have a word, ascending, those that are gone among them.
pub(super) struct Entries(Box<BlockSegmentPostings>);

impl Entries {
    /// `None` where no document has it.
    pub(super) fn of(word: &Term, segment: &SegmentReader) -> tantivy::Result<Option<Self>> {
        let index = segment.inverted_index(word.field())?;
        Ok(index.read_block_postings(word, IndexRecordOption::Basic)?.map(|entries| Self(Box::new(entries))))
    }

    /// How many there are.
    pub(super) fn len(&self) -> u32 {
        self.0.doc_freq()
    }

    /// Hands all over, at most a block at a time.
    pub(super) fn in_blocks(mut self, f: &mut dyn FnMut(&[DocId])) {
        while !self.0.docs().is_empty() {
            self.0.docs().chunks(BLOCK).for_each(&mut *f);
            self.0.advance();
        }
    }
}

/// How many documents of a segment have a word, and live.
pub(super) fn living(word: &Term, segment: &SegmentReader) -> tantivy::Result<u64> {
    let Some(entries) = Entries::of(word, segment)? else { return Ok(0) };
    let Some(alive) = segment.alive_bitset() else { return Ok(entries.len().into()) };
    let mut living = 0;
    entries.in_blocks(&mut |docs| living += docs.iter().map(|doc| u64::from(alive.is_alive(*doc))).sum::<u64>());
    Ok(living)
}
