//! Documents with a word that begins so.
//!
//! The library has automata for this. They are built for each search, and how many documents match is found by walking through them.

use std::sync::Arc;

use tantivy::postings::TermInfo;
use tantivy::query::{BitSetDocSet, EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::schema::IndexRecordOption;
use tantivy::{
    BitSet, COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, DocSet, InvertedIndexReader, Score, SegmentReader, TantivyError,
    Term,
};

use super::sets::{Has, Set, Sets};

/// Documents with a term of the same field that begins as this one; all score the same.
#[derive(Clone, Debug)]
pub struct Beginning {
    term: Term,
    known: Sets,
}

impl Beginning {
    /// What has a term that begins so. Sets of documents are taken from those that are `known`, or made known.
    pub(super) fn new(term: Term, known: Sets) -> Self {
        Self { term, known }
    }

    /// Hands over the terms of a segment that begin so, while `f` wants more; whether it wanted all.
    pub(super) fn terms(
        &self,
        segment: &SegmentReader,
        mut f: impl FnMut(&InvertedIndexReader, &TermInfo) -> tantivy::Result<bool>,
    ) -> tantivy::Result<bool> {
        let index = segment.inverted_index(self.term.field())?;
        let start = self.term.serialized_value_bytes();
        let mut terms = index.terms().range().ge(start).into_stream()?;
        while terms.advance() && terms.key().starts_with(start) {
            if !f(&index, terms.value())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All of a segment, those that are gone among them.
    fn set(&self, segment: &SegmentReader) -> tantivy::Result<Arc<Set>> {
        if let Some(known) = self.known.of(segment, Has::Beginning, &self.term) {
            return Ok(known);
        }
        let mut bits = BitSet::with_max_value(segment.max_doc());
        self.terms(segment, |index, term| {
            let mut entries = index.read_block_postings_from_terminfo(term, IndexRecordOption::Basic)?;
            while !entries.docs().is_empty() {
                for doc in entries.docs() {
                    bits.insert(*doc);
                }
                entries.advance();
            }
            Ok(true)
        })?;
        let set = Arc::new(Set::new(bits));
        self.known.keep(segment, Has::Beginning, &self.term, &set);
        Ok(set)
    }
}

impl Query for Beginning {
    fn weight(&self, _: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        Ok(Box::new(self.clone()))
    }
}

impl Weight for Beginning {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let mut found = BitSet::clone(&*self.set(segment)?);
        if let Some(alive) = segment.alive_bitset() {
            found.intersect_update(alive.bitset());
        }
        Ok(Box::new(Living { docs: BitSetDocSet::from(found), score: boost }))
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        match self.scorer(segment, 1.0)?.seek(doc) == doc {
            true => Ok(Explanation::new("Beginning", 1.0)),
            false => Err(TantivyError::InvalidArgument(format!("document {doc} does not match"))),
        }
    }
}

/// Documents that match and live, of which it is known how many there are.
pub(super) struct Living {
    docs: BitSetDocSet,
    score: Score,
}

impl Living {
    /// How many there are, found or not.
    pub(super) fn total(&self) -> u64 {
        self.docs.size_hint().into()
    }
}

impl DocSet for Living {
    fn advance(&mut self) -> DocId {
        self.docs.advance()
    }

    fn seek(&mut self, target: DocId) -> DocId {
        self.docs.seek(target)
    }

    fn fill_buffer(&mut self, buffer: &mut [DocId; BLOCK]) -> usize {
        self.docs.fill_buffer(buffer)
    }

    fn doc(&self) -> DocId {
        self.docs.doc()
    }

    fn size_hint(&self) -> u32 {
        self.docs.size_hint()
    }
}

impl Scorer for Living {
    fn score(&mut self) -> Score {
        self.score
    }
}
