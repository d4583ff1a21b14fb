//! The first documents of a search in a total order: sort keys, then the key of the record.
//!
//! Missing values come last in both directions. A field with several values is sorted by its smallest (ascending) or
//! its largest (descending). Equal documents are ordered by key, so that the order never depends on segments.

use std::cmp::{Ordering as Cmp, Reverse};
use std::collections::BinaryHeap;
use std::io;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, ColumnType, StrColumn};
use tantivy::query::Weight;
use tantivy::{DocId, Score, SegmentReader};

use super::schema::{KEY, PARTITION};
use super::view::strings;
use crate::record::FieldType;

/// One sort key, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    /// What is compared.
    pub by: SortBy,
    /// Largest first.
    pub descending: bool,
}

/// What a sort key compares.
#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    /// The score.
    Score,
    /// A column of the index: its name and type.
    Column(String, FieldType),
}

/// Sort keys in order of weight; the key of the record decides what they leave open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ordering(pub Vec<Sort>);

/// One document that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Key of the record.
    pub key: Vec<u8>,
    /// Partition of the record.
    pub partition: u32,
    /// Its score, if the order asks for it.
    pub score: Option<Score>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matches {
    /// The first documents, in order.
    pub hits: Vec<Match>,
    /// How many match, if counted.
    pub total: Option<u64>,
}

/// Collects the first `limit` documents.
pub(super) struct Top {
    pub(super) order: Ordering,
    pub(super) limit: usize,
    pub(super) count: bool,
}

impl Top {
    fn scores(&self) -> bool {
        self.order.0.iter().any(|s| s.by == SortBy::Score)
    }

    /// Whether documents below a score may be passed over unseen.
    fn may_prune(&self) -> bool {
        let best_first = Sort { by: SortBy::Score, descending: true };
        !self.count && self.limit > 0 && self.order.0.first() == Some(&best_first)
    }
}

/// Place of a document by one sort key within a segment: smaller comes first, missing values last.
type Rank = (bool, u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    ranks: smallvec::SmallVec<[Rank; 3]>,
    /// Ordinal of the key in the segment.
    key: u64,
    doc: DocId,
    /// Bits of the score.
    score: u32,
}

enum Source {
    Score,
    Numbers(Column<u64>),
    Texts(StrColumn),
    Missing,
}

impl Source {
    fn open(segment: &SegmentReader, by: &SortBy) -> tantivy::Result<Self> {
        let SortBy::Column(name, kind) = by else { return Ok(Source::Score) };
        let number = match kind {
            FieldType::Text | FieldType::Keyword => {
                return Ok(strings(segment, name)?.map_or(Source::Missing, Source::Texts));
            }
            FieldType::Integer if name == PARTITION => ColumnType::U64,
            FieldType::Integer => ColumnType::I64,
            FieldType::Float => ColumnType::F64,
            FieldType::Boolean => ColumnType::Bool,
            FieldType::Date => ColumnType::DateTime,
            FieldType::Json => return Ok(Source::Missing),
        };
        let column = segment.fast_fields().u64_lenient_for_type(Some(&[number]), name)?;
        Ok(column.map_or(Source::Missing, |(column, _)| Source::Numbers(column)))
    }

    fn rank(&self, doc: DocId, score: Score, descending: bool) -> Rank {
        let column = match self {
            Source::Score => return (false, oriented(score_rank(score), descending)),
            Source::Missing => return (true, 0),
            Source::Numbers(column) => column,
            Source::Texts(texts) => texts.ords(),
        };
        let mut values = column.values_for_doc(doc);
        let Some(first) = values.next() else { return (true, 0) };
        let extreme = if descending { values.fold(first, u64::max) } else { values.fold(first, u64::min) };
        (false, oriented(extreme, descending))
    }
}

fn oriented(value: u64, descending: bool) -> u64 {
    if descending { !value } else { value }
}

/// Numbers scores in their order.
fn score_rank(score: Score) -> u64 {
    let bits = score.to_bits();
    u64::from(if bits >> 31 == 0 { bits | 1 << 31 } else { !bits })
}

/// Collects within one segment.
pub(super) struct Segment {
    sources: Vec<(Source, bool)>,
    keys: Option<StrColumn>,
    partitions: Column<u64>,
    scores: bool,
    limit: usize,
    heap: BinaryHeap<Entry>,
    total: u64,
}

impl Segment {
    /// Ranks one after the other, giving up as soon as the document is behind the last one kept.
    fn entry(&self, doc: DocId, score: Score) -> Option<Entry> {
        let last = if self.heap.len() < self.limit { None } else { Some(self.heap.peek()?) };
        let mut open = last;
        let mut ranks = smallvec::SmallVec::new();
        for (i, (source, descending)) in self.sources.iter().enumerate() {
            let rank = source.rank(doc, score, *descending);
            if let Some(last) = open {
                match rank.cmp(&last.ranks[i]) {
                    Cmp::Greater => return None,
                    Cmp::Less => open = None,
                    Cmp::Equal => {}
                }
            }
            ranks.push(rank);
        }
        let key = self.keys.as_ref().and_then(|k| k.ords().first(doc)).unwrap_or(u64::MAX);
        if open.is_some_and(|last| key >= last.key) {
            return None;
        }
        Some(Entry { ranks, key, doc, score: score.to_bits() })
    }

    fn keep(&mut self, doc: DocId, score: Score) {
        if let Some(entry) = self.entry(doc, score) {
            self.heap.push(entry);
            if self.heap.len() > self.limit {
                self.heap.pop();
            }
        }
    }

    /// Scores at or below this cannot come in any more. Equal scores still can: the key decides between them.
    fn threshold(&self) -> Score {
        match self.heap.peek() {
            Some(last) if self.heap.len() >= self.limit => Score::from_bits(last.score).next_down(),
            _ => Score::MIN,
        }
    }

    fn resolve(&self, entry: &Entry) -> io::Result<Placed> {
        let mut places = Vec::with_capacity(entry.ranks.len());
        for ((missing, rank), (source, descending)) in entry.ranks.iter().zip(&self.sources) {
            places.push(match source {
                _ if *missing => Place::Missing,
                Source::Texts(texts) => {
                    let text = term(texts, oriented(*rank, *descending))?;
                    if *descending { Place::LargestText(Reverse(text)) } else { Place::SmallestText(text) }
                }
                _ => Place::Number(*rank),
            });
        }
        let key = self.keys.as_ref().map_or(Ok(Vec::new()), |keys| term(keys, entry.key))?;
        let partition = self.partitions.first(entry.doc).and_then(|p| u32::try_from(p).ok()).unwrap_or(u32::MAX);
        let score = self.scores.then(|| Score::from_bits(entry.score));
        Ok(Placed { places, found: Match { key, partition, score } })
    }
}

fn term(texts: &StrColumn, ord: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    texts.dictionary().ord_to_term(ord, &mut out)?;
    Ok(out)
}

/// Place of a document by one sort key, comparable between segments.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Number(u64),
    SmallestText(Vec<u8>),
    LargestText(Reverse<Vec<u8>>),
    Missing,
}

/// A document with its place.
pub(super) struct Placed {
    places: Vec<Place>,
    found: Match,
}

impl SegmentCollector for Segment {
    type Fruit = io::Result<(Vec<Placed>, u64)>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        if self.limit > 0 {
            self.keep(doc, score);
        }
    }

    fn harvest(self) -> Self::Fruit {
        let placed: io::Result<Vec<Placed>> = self.heap.iter().map(|entry| self.resolve(entry)).collect();
        Ok((placed?, self.total))
    }
}

impl Collector for Top {
    type Fruit = Matches;
    type Child = Segment;

    fn for_segment(&self, _: u32, segment: &SegmentReader) -> tantivy::Result<Segment> {
        let open = |s: &Sort| Ok((Source::open(segment, &s.by)?, s.descending));
        Ok(Segment {
            sources: self.order.0.iter().map(open).collect::<tantivy::Result<_>>()?,
            keys: strings(segment, KEY)?,
            partitions: segment.fast_fields().u64(PARTITION)?,
            scores: self.scores(),
            limit: self.limit,
            heap: BinaryHeap::new(),
            total: 0,
        })
    }

    fn requires_scoring(&self) -> bool {
        self.scores()
    }

    fn merge_fruits(&self, segments: Vec<io::Result<(Vec<Placed>, u64)>>) -> tantivy::Result<Matches> {
        let mut all = Vec::new();
        let mut total = 0;
        for segment in segments {
            let (placed, matched) = segment?;
            all.extend(placed);
            total += matched;
        }
        all.sort_by(|a, b| a.places.cmp(&b.places).then_with(|| a.found.key.cmp(&b.found.key)));
        let hits = all.into_iter().take(self.limit).map(|p| p.found).collect();
        Ok(Matches { hits, total: self.count.then_some(total) })
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ord: u32,
        segment: &SegmentReader,
    ) -> tantivy::Result<<Segment as SegmentCollector>::Fruit> {
        let mut found = Found { top: self, ord, segment, opened: None };
        let alive = segment.alive_bitset();
        let lives = |doc| alive.is_none_or(|a| a.is_alive(doc));
        if self.may_prune() {
            weight.for_each_pruning(Score::MIN, segment, &mut |doc, score| {
                if lives(doc) {
                    found.collect(doc, score);
                }
                found.threshold()
            })?;
        } else if self.scores() {
            weight.for_each(segment, &mut |doc, score| {
                if lives(doc) {
                    found.collect(doc, score);
                }
            })?;
        } else {
            weight.for_each_no_score(segment, &mut |docs| {
                docs.iter().filter(|doc| lives(**doc)).for_each(|doc| found.collect(*doc, 0.0));
            })?;
        }
        found.harvest()
    }
}

/// What a search finds in one segment. Its columns are opened with the first document: most segments have none of a rare word,
/// and to open columns takes longer than to find that out.
struct Found<'a> {
    top: &'a Top,
    ord: u32,
    segment: &'a SegmentReader,
    opened: Option<tantivy::Result<Segment>>,
}

impl Found<'_> {
    fn collect(&mut self, doc: DocId, score: Score) {
        if let Ok(segment) = self.opened.get_or_insert_with(|| self.top.for_segment(self.ord, self.segment)) {
            segment.collect(doc, score);
        }
    }

    fn threshold(&self) -> Score {
        match &self.opened {
            None => Score::MIN,
            Some(Ok(segment)) => segment.threshold(),
            // Nothing more is of use.
            Some(Err(_)) => Score::MAX,
        }
    }

    fn harvest(self) -> tantivy::Result<<Segment as SegmentCollector>::Fruit> {
        self.opened.map_or_else(|| Ok(Ok((Vec::new(), 0))), |segment| Ok(segment?.harvest()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_ranks_keep_the_order_of_scores() {
        let scores = [f32::MIN, -1.5, -0.0, 0.0, f32::MIN_POSITIVE, 0.1, 1.0, f32::MAX];
        assert!(scores.windows(2).all(|w| score_rank(w[0]) < score_rank(w[1])));
    }

    #[test]
    fn missing_values_come_last_in_both_directions() {
        let text = |t: &str| t.as_bytes().to_vec();
        assert!(Place::Number(u64::MAX) < Place::Missing);
        assert!(Place::SmallestText(text("a")) < Place::SmallestText(text("b")));
        assert!(Place::LargestText(Reverse(text("b"))) < Place::LargestText(Reverse(text("a"))));
        assert!(Place::LargestText(Reverse(text("a"))) < Place::Missing);
    }
}
