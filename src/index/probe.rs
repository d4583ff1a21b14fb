//! A few records as an index of their own, in memory: which of them match a query, by the very same analysis and queries as in
//! the index of the table.

use tantivy::index::{Index, IndexSettings, Segment};
use tantivy::indexer::{AddOperation, SegmentWriter};
use tantivy::query::{EnableScoring, Query};
use tantivy::schema::Schema;
use tantivy::tokenizer::TokenizerManager;
use tantivy::{Searcher, SegmentReader, TantivyDocument};

use super::document;
use super::schema::KEY;
use super::stop::Stop;
use super::view::{View, strings};
use crate::Result;
use crate::record::{Record, codec, render};

/// Memory that the writer of a small segment may use, bytes. From 15 MB on it would clear a large table for each segment.
const WRITER_MEMORY: usize = 300_000;

/// Keys that are read between two looks at whether to stop.
const KEYS_AT_ONCE: usize = 4096;

/// Writes documents as one segment in memory; `None` where there are none.
pub(super) fn segment_of(
    schema: &Schema,
    settings: &IndexSettings,
    tokenizers: &TokenizerManager,
    documents: Vec<TantivyDocument>,
) -> tantivy::Result<Option<Segment>> {
    let Some(count) = u32::try_from(documents.len()).ok().filter(|n| *n > 0) else { return Ok(None) };
    // An index of its own for each: one for all would keep the names of all files that ever were.
    let index = Index::builder()
        .schema(schema.clone())
        .settings(settings.clone())
        .tokenizers(tokenizers.clone())
        .create_in_ram()?;
    let segment = index.new_segment();
    let mut writer = SegmentWriter::for_segment(WRITER_MEMORY, segment.clone())?;
    for document in documents {
        writer.add_document(AddOperation { opstamp: 0, document })?;
    }
    writer.finalize()?;
    Ok(Some(segment.with_max_doc(count)))
}

/// Records that can be asked which of them match.
pub struct Probe {
    segment: Option<SegmentReader>,
    /// Of each document, the place of its record.
    places: Vec<usize>,
    blank: Searcher,
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("documents", &self.places.len()).finish_non_exhaustive()
    }
}

/// A record to be probed: partition, key, stored bytes.
pub type Probed<'a> = (u32, &'a [u8], &'a [u8]);

impl View {
    /// The records as an index of their own; `None` is one that is not there. What has nothing to show, or a key that cannot be
    /// searched, matches nothing.
    pub fn probe<'a>(&self, records: impl Iterator<Item = Option<Probed<'a>>>) -> Result<Probe> {
        let (mut documents, mut places) = (Vec::new(), Vec::new());
        for (place, (partition, key, stored)) in records.enumerate().filter_map(|(i, r)| Some((i, r?))) {
            let record: Record = codec::decode(stored)?;
            if !render::is_shown(&self.fields.def, &record) {
                continue;
            }
            if let Some(document) = document::build(&self.fields, partition, key, &record, &mut |_, _| {}) {
                documents.push(document);
                places.push(place);
            }
        }
        let like = self.blank();
        let segment = segment_of(like.schema(), like.index().settings(), &self.fields.analyzers.index, documents)
            .and_then(|segment| segment.map(|s| SegmentReader::open(&s)).transpose())
            .map_err(|e| self.failed(e))?;
        Ok(Probe { segment, places, blank: like.clone() })
    }

    /// Hands the key of every document that matches to `visit`, in no order; false as soon as there are more than `most`. An error
    /// if it was stopped.
    pub fn matching_keys(
        &self,
        query: &dyn Query,
        most: usize,
        stop: &Stop,
        visit: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let weight = query.weight(EnableScoring::disabled_from_searcher(self.blank())).map_err(|e| self.failed(e))?;
        let mut left = most;
        for segment in self.readers() {
            self.unless_stopped(stop)?;
            let alive = segment.alive_bitset();
            let Some(keys) = strings(segment, KEY).map_err(|e| self.failed(e))? else { continue };
            let mut ords = Vec::new();
            weight
                .for_each_no_score(segment, &mut |docs| {
                    if ords.len() > left || stop.is_raised() {
                        return;
                    }
                    let lives = docs.iter().filter(|doc| alive.is_none_or(|a| a.is_alive(**doc)));
                    ords.extend(lives.filter_map(|doc| keys.ords().first(*doc)));
                })
                .map_err(|e| self.failed(e))?;
            let Some(fewer) = left.checked_sub(ords.len()) else { return Ok(false) };
            left = fewer;
            ords.sort_unstable();
            for ords in ords.chunks(KEYS_AT_ONCE) {
                self.unless_stopped(stop)?;
                keys.dictionary().sorted_ords_to_term_cb(ords, |key| visit(key)).map_err(|e| self.failed(e.into()))?;
            }
        }
        self.unless_stopped(stop).map(|()| true)
    }
}

impl Probe {
    /// Places of the records that match, ascending.
    pub fn matches(&self, query: &dyn Query) -> Result<Vec<usize>> {
        let mut found = Vec::new();
        let Some(segment) = &self.segment else { return Ok(found) };
        let failed = |e| crate::Error::internal("records of a stream cannot be matched").because(e);
        let weight = query.weight(EnableScoring::disabled_from_searcher(&self.blank)).map_err(failed)?;
        weight
            .for_each_no_score(segment, &mut |docs| {
                found.extend(docs.iter().filter_map(|doc| self.places.get(*doc as usize).copied()));
            })
            .map_err(failed)?;
        found.sort_unstable();
        Ok(found)
    }
}
