//! The live tier: the newest documents, in small segments in memory, until the index on disk has them.
//!
//! Owns those segments. Does not own the order of changes: whoever adds a document masks its older copies first. A
//! generation is what one commit of the index on disk brings there; with that commit its segments here are dropped.

use tantivy::directory::RamDirectory;
use tantivy::index::{IndexSettings, Segment};
use tantivy::indexer::merge_filtered_segments;
use tantivy::schema::{Field, Schema};
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Index, TantivyDocument, Term};

use super::masked::Masked;
use super::probe::segment_of;
use super::slot::Slot;

/// Segments of one size that are merged into one of the next. Fewer: more merging. More: more segments in each search.
const FAN: usize = 6;

struct LiveSlot {
    slot: Slot,
    generation: u64,
    /// Merges behind it.
    level: u32,
}

/// The live tier of a table.
pub(super) struct Live {
    schema: Schema,
    settings: IndexSettings,
    tokenizers: TokenizerManager,
    terms: Field,
    slots: Vec<LiveSlot>,
    generation: u64,
}

impl Live {
    /// An empty tier for documents like those of `index`, whose keys are among `terms`.
    pub(super) fn new(index: &Index, terms: Field) -> Self {
        Self {
            schema: index.schema(),
            settings: index.settings().clone(),
            tokenizers: index.tokenizers().clone(),
            terms,
            slots: Vec::new(),
            generation: 0,
        }
    }

    /// The generation that documents are added to.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Adds documents as one segment.
    pub(super) fn add(&mut self, documents: Vec<TantivyDocument>) -> tantivy::Result<()> {
        match segment_of(&self.schema, &self.settings, &self.tokenizers, documents)? {
            Some(segment) => self.push(segment, 0),
            None => Ok(()),
        }
    }

    fn push(&mut self, segment: Segment, level: u32) -> tantivy::Result<()> {
        let slot = Slot::open(segment, self.terms)?;
        self.slots.push(LiveSlot { slot, generation: self.generation, level });
        Ok(())
    }

    /// Masks the document that a key has in a generation; false if it has none there.
    pub(super) fn kill(&mut self, key: &Term, generation: u64) -> tantivy::Result<bool> {
        // Newest first: what is updated is often what was updated just before.
        for live in self.slots.iter_mut().rev().filter(|s| s.generation == generation) {
            if live.slot.kill(key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Documents that are added from now on belong to the next generation.
    pub(super) fn next_generation(&mut self) {
        self.generation += 1;
    }

    /// Drops every generation but the current one.
    pub(super) fn drop_older(&mut self) {
        let current = self.generation;
        self.slots.retain(|s| s.generation == current);
    }

    /// Merges segments of one size, if there are enough of them; at most one merge a call.
    pub(super) fn merge(&mut self) -> tantivy::Result<()> {
        self.slots.retain(|s| !s.slot.is_empty());
        let current = |s: &&LiveSlot| s.generation == self.generation;
        let most = self.slots.iter().filter(current).map(|s| s.level).max().unwrap_or(0);
        let full = |level: &u32| self.slots.iter().filter(current).filter(|s| s.level == *level).count() >= FAN;
        let Some(level) = (0..=most).find(full) else { return Ok(()) };
        let generation = self.generation;
        let is_input = |s: &LiveSlot| s.generation == generation && s.level == level;
        let inputs: Vec<_> = self.slots.iter().filter(|s| is_input(s)).collect();
        let segments: Vec<Segment> = inputs.iter().map(|s| s.slot.segment()).collect();
        let masks = inputs.iter().map(|s| s.slot.mask().map(Some)).collect::<tantivy::Result<_>>()?;
        let merged = merge_filtered_segments(&segments, self.settings.clone(), masks, RamDirectory::create())?;
        self.slots.retain(|s| !is_input(s));
        for segment in merged.searchable_segments()? {
            self.push(segment, level + 1)?;
        }
        Ok(())
    }

    /// The segments without what is masked by now.
    pub(super) fn readers(&mut self) -> tantivy::Result<Vec<Masked>> {
        self.slots.iter_mut().map(|s| s.slot.reader()).collect()
    }
}
