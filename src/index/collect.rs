//! The first documents of a search in a total order: sort keys, then the key of the record.
//!
//! Missing values come last in both directions, unless a sort key has them first. A field with several values is sorted by its smallest (ascending) or
//! its largest (descending). Equal documents are ordered by key, so that the order never depends on segments.

use std::cmp::Ordering as Cmp;
use std::collections::BinaryHeap;
use std::io;
use std::sync::Arc;

use smallvec::SmallVec;
use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Cardinality, Column, ColumnType, StrColumn};
use tantivy::query::Weight;
use tantivy::{COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, Score, SegmentReader, Term};

use super::after::After;
use super::entries;
use super::equals::{self, Scores};
use super::found::Found;
use super::gather::{Run, merged};
use super::kept::Kept;
use super::masked::{Masked, text};
use super::order::{Ordering, Sort, SortBy};
use super::place::{Place, Rank, below_rounded, oriented, rounded, score_bits};
use super::schema::{KEY, PARTITION};
use super::stop::Stop;
use crate::record::FieldType;

/// One document that matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// Where it stands in the order, with the key of its record.
    pub place: Place,
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
pub(super) struct Top<'a> {
    pub(super) order: Ordering,
    /// Documents up to this place are counted, but not among the first.
    pub(super) after: Option<Place>,
    pub(super) limit: usize,
    pub(super) count: bool,
    /// What is known of the query's scores.
    pub(super) scores: Scores,
    /// Words that are demanded, all of them, and nothing else; `None` where the query is of another kind.
    pub(super) words: Option<Vec<Term>>,
    /// What is known of segments.
    pub(super) kept: Kept,
    /// The segments that are searched.
    pub(super) segments: &'a [Masked],
    pub(super) stop: Stop,
}

impl Top<'_> {
    fn scores(&self) -> bool {
        self.order.0.iter().any(|s| s.by == SortBy::Score)
    }

    /// Whether documents below a score may be passed over unseen. Of one word this and counting without scores take less than scoring
    /// every match.
    fn may_prune(&self) -> bool {
        let best_first = self.order.0.first().is_some_and(|s| s.by == SortBy::Score && s.descending);
        (!self.count || matches!(self.scores, Scores::OneWord(_))) && self.limit > 0 && best_first
    }

    /// Whether the key decides between documents that score the same, from the first on: then runs help.
    fn by_runs(&self) -> bool {
        matches!(&*self.order.0, [Sort { by: SortBy::Score, .. }]) && self.after.is_none() && self.limit > 0
    }

    /// Hands over what can be among the first where all score the same; `false` where that is no shorter way.
    fn pick(
        &self,
        weight: &dyn Weight,
        segment: &SegmentReader,
        lives: &dyn Fn(DocId) -> bool,
        found: &mut Found<'_>,
    ) -> tantivy::Result<bool> {
        if !self.by_runs() || !matches!(self.scores, Scores::Everything | Scores::Same) {
            return Ok(false);
        }
        let everything = self.scores == Scores::Everything;
        let wanted = (self.limit, self.count && !everything);
        let Some(firsts) = equals::firsts(weight, segment, &self.kept.runs, wanted, lives, &self.stop)? else {
            return Ok(false);
        };
        firsts.documents.into_iter().for_each(|doc| found.collect(doc, firsts.score));
        found.total = if everything { Some(segment.num_docs().into()) } else { firsts.total };
        Ok(true)
    }

    /// Hands over what matches, but for what cannot be among the first.
    fn look(
        &self,
        weight: &dyn Weight,
        masked: &Masked,
        lives: &dyn Fn(DocId) -> bool,
        found: &mut Found<'_>,
    ) -> tantivy::Result<()> {
        let segment: &SegmentReader = masked;
        if self.may_prune() {
            self.prune(weight, segment, lives, found)?;
            // What is counted is pruned only where it is one word.
            if self.count
                && let Scores::OneWord(word) = &self.scores
            {
                found.total = Some(entries::living(word, segment, &self.kept.sets)?);
            }
            return Ok(());
        }
        if self.scores() {
            return weight.for_each(segment, &mut |doc, score| {
                if lives(doc) {
                    found.collect(doc, score);
                }
            });
        }
        if self.walk(masked, found)? {
            return Ok(());
        }
        weight.for_each_no_score(segment, &mut |docs| {
            let living: SmallVec<[DocId; BLOCK]> = docs.iter().copied().filter(|doc| lives(*doc)).collect();
            found.collect_block(&living);
        })
    }

    /// Hands over what can be among the first.
    fn prune(
        &self,
        weight: &dyn Weight,
        segment: &SegmentReader,
        lives: &dyn Fn(DocId) -> bool,
        found: &mut Found<'_>,
    ) -> tantivy::Result<()> {
        if self.by_runs()
            && matches!(self.scores, Scores::OneWord(_))
            && let Some(documents) = equals::candidates(weight, segment, &self.kept.runs, self.limit, lives)?
        {
            documents.into_iter().for_each(|(doc, score)| found.collect(doc, score));
            return Ok(());
        }
        weight.for_each_pruning(Score::MIN, segment, &mut |doc, score| {
            if lives(doc) {
                found.collect(doc, score);
            }
            found.threshold()
        })
    }
}

/// Place of a document by one sort key within a segment: smaller comes first. Whether it has no value, or, where those come first,
/// whether it has one; then the value.
pub(super) type Local = (bool, u64);

/// A document that may be among the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    ranks: SmallVec<[Local; 3]>,
    /// Ordinal of the key in the segment.
    key: u64,
    doc: DocId,
    /// Bits of the score.
    pub(super) score: u32,
}

pub(super) enum Source {
    Score,
    Numbers(Column<u64>),
    Texts(StrColumn),
    Missing,
}

impl Source {
    pub(super) fn open(segment: &Masked, by: &SortBy) -> tantivy::Result<Self> {
        let SortBy::Column(name, kind) = by else { return Ok(Source::Score) };
        let number = match kind {
            FieldType::Text | FieldType::Keyword => {
                return Ok(segment.texts(name)?.map_or(Source::Missing, Source::Texts));
            }
            FieldType::Integer if name == PARTITION => ColumnType::U64,
            FieldType::Integer => ColumnType::I64,
            FieldType::Float => ColumnType::F64,
            FieldType::Boolean => ColumnType::Bool,
            FieldType::Date => ColumnType::DateTime,
            FieldType::Json => return Ok(Source::Missing),
        };
        Ok(segment.numbers(name, number)?.map_or(Source::Missing, Source::Numbers))
    }

    fn texts(&self) -> Option<&StrColumn> {
        match self {
            Source::Texts(texts) => Some(texts),
            _ => None,
        }
    }

    fn rank(&self, doc: DocId, score: Score, way: Way) -> Local {
        let column = match self {
            Source::Score => return way.of(Some(score_bits(score))),
            Source::Missing => return way.of(None),
            Source::Numbers(column) => column,
            Source::Texts(texts) => texts.ords(),
        };
        let mut values = column.values_for_doc(doc);
        let first = values.next();
        way.of(
            first.map(|first| if way.descending { values.fold(first, u64::max) } else { values.fold(first, u64::min) })
        )
    }
}

/// The way in which a sort key puts values in order.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) descending: bool,
    pub(super) missing_first: bool,
}

impl Way {
    pub(super) fn of(self, value: Option<u64>) -> Local {
        match value {
            Some(value) => (self.missing_first, oriented(value, self.descending)),
            None => (!self.missing_first, 0),
        }
    }
}

/// Columns of one segment that decide the order, and that tell what a document is.
pub(super) struct Columns {
    segment: Masked,
    sources: Vec<(Source, Way)>,
    keys: Option<StrColumn>,
    partitions: Option<Column<u64>>,
    pub(super) scores: bool,
    after: Option<After>,
}

/// Collects within one segment.
pub(super) struct Segment {
    columns: Columns,
    limit: usize,
    heap: BinaryHeap<Entry>,
    bar: Option<Bar>,
    total: u64,
}

/// What a document must beat to be among the first, where these are all there and only the score counts, best first. All documents
/// of a frequent word often have the same score, and each is measured against this.
#[derive(Clone, Copy)]
struct Bar {
    score: Score,
    /// Ordinal of the key.
    key: u64,
}

impl Segment {
    fn is_below_bar(&self, doc: DocId, score: Score) -> bool {
        self.bar.is_some_and(|bar| {
            score < bar.score || score.to_bits() == bar.score.to_bits() && self.columns.key_ord(doc) >= bar.key
        })
    }

    /// Ranks one after the other, giving up as soon as the document is behind the last one kept, or not behind the place where
    /// the search goes on.
    fn entry(&self, doc: DocId, score: Score) -> Option<Entry> {
        let mut last = if self.heap.len() < self.limit { None } else { Some(self.heap.peek()?) };
        let mut after = self.columns.after.as_ref();
        let mut ranks = SmallVec::new();
        for (i, (source, way)) in self.columns.sources.iter().enumerate() {
            let rank = source.rank(doc, score, *way);
            if let Some(held) = last {
                match rank.cmp(&held.ranks[i]) {
                    Cmp::Greater => return None,
                    Cmp::Less => last = None,
                    Cmp::Equal => {}
                }
            }
            if let Some(place) = after {
                match place.compare(i, rank, *way) {
                    Cmp::Less => return None,
                    Cmp::Greater => after = None,
                    Cmp::Equal => {}
                }
            }
            ranks.push(rank);
        }
        let key = self.columns.key_ord(doc);
        if last.is_some_and(|held| key >= held.key) || after.is_some_and(|place| !place.precedes_key(key)) {
            return None;
        }
        Some(Entry { ranks, key, doc, score: score.to_bits() })
    }

    /// Takes documents without scores. Where a number of each decides first, these are read together, and whoever is behind the last
    /// one kept is passed over.
    pub(super) fn collect_block(&mut self, docs: &[DocId]) {
        let mut first = [None; BLOCK];
        let Some((column, way)) = self.columns.first_numbers().filter(|_| docs.len() <= BLOCK) else {
            return docs.iter().for_each(|doc| self.collect(*doc, 0.0));
        };
        column.first_vals(docs, &mut first[..docs.len()]);
        for (doc, number) in docs.iter().zip(first) {
            if self.is_behind_last(way.of(number)) {
                self.total += 1;
            } else {
                self.collect(*doc, 0.0);
            }
        }
    }

    /// Takes a document that is among the first by what was seen so far, without a score.
    pub(super) fn collect_sorted(&mut self, doc: DocId) {
        self.keep(doc, 0.0);
    }

    /// How the first rank of a document compares with the place where the search goes on; behind it where it has just begun.
    pub(super) fn compare_first(&self, first: Local, way: Way) -> Cmp {
        self.columns.after.as_ref().map_or(Cmp::Greater, |after| after.compare(0, first, way))
    }

    /// Whether a document of this first rank is behind the last one kept.
    pub(super) fn is_behind_last(&self, first: Local) -> bool {
        self.heap.len() >= self.limit
            && self.heap.peek().is_some_and(|last| last.ranks.first().is_some_and(|r| first > *r))
    }

    fn keep(&mut self, doc: DocId, score: Score) {
        if self.is_below_bar(doc, score) {
            return;
        }
        if let Some(entry) = self.entry(doc, score) {
            self.heap.push(entry);
            if self.heap.len() > self.limit {
                self.heap.pop();
            }
            if self.columns.by_score_alone() && self.heap.len() == self.limit {
                self.bar = self.heap.peek().map(|last| Bar { score: Score::from_bits(last.score), key: last.key });
            }
        }
    }

    /// Scores at or below this cannot come in any more. Equal scores still can: the key decides between them.
    pub(super) fn threshold(&self) -> Score {
        match self.heap.peek() {
            Some(last) if self.heap.len() >= self.limit => below_rounded(Score::from_bits(last.score)),
            _ => Score::MIN,
        }
    }
}

impl Columns {
    /// Numbers, at most one of each document, that decide before anything else.
    fn first_numbers(&self) -> Option<(&Column<u64>, Way)> {
        match self.sources.first()? {
            (Source::Numbers(column), way) if column.get_cardinality() != Cardinality::Multivalued => {
                Some((column, *way))
            }
            _ => None,
        }
    }

    fn by_score_alone(&self) -> bool {
        matches!(&*self.sources, [(Source::Score, Way { descending: true, .. })])
    }

    /// Ordinal of a document's key; behind all others where it has none.
    fn key_ord(&self, doc: DocId) -> u64 {
        self.keys.as_ref().and_then(|keys| keys.ords().first(doc)).unwrap_or(u64::MAX)
    }

    pub(super) fn ranks(&self, entry: &Entry) -> io::Result<Vec<Rank>> {
        let rank = |((behind, local), (source, way)): (&Local, &(Source, Way))| {
            Ok(match source {
                _ if *behind != way.missing_first => {
                    if way.missing_first {
                        Rank::First
                    } else {
                        Rank::Missing
                    }
                }
                Source::Texts(texts) => {
                    let text = text(texts, oriented(*local, way.descending))?;
                    // Columns of texts hold nothing but UTF-8.
                    Rank::text(String::from_utf8_lossy(&text).into_owned(), way.descending)
                }
                _ => Rank::Number(*local),
            })
        };
        entry.ranks.iter().zip(&self.sources).map(rank).collect()
    }

    pub(super) fn key(&self, entry: &Entry) -> io::Result<Arc<[u8]>> {
        self.keys.as_ref().map_or_else(|| Ok(Arc::default()), |keys| self.segment.key(keys, entry.key))
    }

    pub(super) fn partition(&self, entry: &Entry) -> u32 {
        self.partitions
            .as_ref()
            .and_then(|p| p.first(entry.doc))
            .and_then(|p| u32::try_from(p).ok())
            .unwrap_or(u32::MAX)
    }
}

impl SegmentCollector for Segment {
    type Fruit = Option<Run>;

    fn collect(&mut self, doc: DocId, score: Score) {
        self.total += 1;
        if self.limit > 0 {
            self.keep(doc, rounded(score));
        }
    }

    fn harvest(self) -> Self::Fruit {
        let entries = self.heap.into_sorted_vec().into_iter();
        Some(Run { columns: self.columns, entries, total: self.total })
    }
}

impl Collector for Top<'_> {
    type Fruit = Matches;
    type Child = Segment;

    fn for_segment(&self, ord: u32, _: &SegmentReader) -> tantivy::Result<Segment> {
        let segment = &self.segments[ord as usize];
        let way = |s: &Sort| Way { descending: s.descending, missing_first: s.missing_first };
        let open = |s: &Sort| Ok((Source::open(segment, &s.by)?, way(s)));
        let sources = self.order.0.iter().map(open).collect::<tantivy::Result<Vec<_>>>()?;
        let keys = segment.texts(KEY)?;
        let texts: Vec<Option<&StrColumn>> = sources.iter().map(|(source, _)| source.texts()).collect();
        let after = self.after.as_ref().map(|place| After::find(place, &texts, keys.as_ref())).transpose()?;
        let partitions = segment.numbers(PARTITION, ColumnType::U64)?;
        let columns = Columns { segment: segment.clone(), sources, keys, partitions, scores: self.scores(), after };
        Ok(Segment { columns, limit: self.limit, heap: BinaryHeap::new(), bar: None, total: 0 })
    }

    fn requires_scoring(&self) -> bool {
        self.scores()
    }

    fn merge_fruits(&self, segments: Vec<Option<Run>>) -> tantivy::Result<Matches> {
        let runs: Vec<Run> = segments.into_iter().flatten().collect();
        let total = self.count.then(|| runs.iter().map(|run| run.total).sum());
        Ok(Matches { hits: merged(runs, self.limit)?, total })
    }

    fn collect_segment(
        &self,
        weight: &dyn Weight,
        ord: u32,
        segment: &SegmentReader,
    ) -> tantivy::Result<<Segment as SegmentCollector>::Fruit> {
        if self.stop.is_raised() {
            return Ok(None);
        }
        let mut found = Found::new(self, ord, segment);
        let alive = segment.alive_bitset();
        let lives = |doc| alive.is_none_or(|a| a.is_alive(doc));
        if !self.pick(weight, segment, &lives, &mut found)? {
            self.look(weight, &self.segments[ord as usize], &lives, &mut found)?;
        }
        found.harvest()
    }
}
