//! The first documents of a search in a total order: sort keys, then the key of the record.
//!
//! Missing values come last in both directions, unless a sort key has them first. A field with several values is sorted by its smallest (ascending) or
//! its largest (descending). Equal documents are ordered by key, so that the order never depends on segments.

use std::cmp::Ordering as Cmp;
use std::collections::BinaryHeap;
use std::io;

use tantivy::collector::{Collector, SegmentCollector};
use tantivy::columnar::{Column, ColumnType, StrColumn};
use tantivy::query::Weight;
use tantivy::{DocId, Score, SegmentReader};

use super::after::After;
use super::equals::{self, KnownRuns, Scores};
use super::gather::{Run, merged};
use super::masked::Masked;
use super::order::{Ordering, Sort, SortBy};
use super::place::{Place, Rank, below_rounded, oriented, rounded, score_bits};
use super::schema::{KEY, PARTITION};
use super::stop::{LOOK_EVERY, Stop};
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
    /// The runs of segments.
    pub(super) runs: KnownRuns,
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
        (!self.count || self.scores == Scores::OneWord) && self.limit > 0 && best_first
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
        let Some(firsts) = equals::firsts(weight, segment, &self.runs, wanted, lives, &self.stop)? else {
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
        segment: &SegmentReader,
        lives: &dyn Fn(DocId) -> bool,
        found: &mut Found<'_>,
    ) -> tantivy::Result<()> {
        if self.may_prune() {
            self.prune(weight, segment, lives, found)?;
            if self.count {
                found.total = Some(weight.count(segment)?.into());
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
        weight.for_each_no_score(segment, &mut |docs| {
            docs.iter().filter(|doc| lives(**doc)).for_each(|doc| found.collect(*doc, 0.0));
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
            && self.scores == Scores::OneWord
            && let Some(documents) = equals::candidates(weight, segment, &self.runs, self.limit, lives)?
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
type Local = (bool, u64);

/// A document that may be among the first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    ranks: smallvec::SmallVec<[Local; 3]>,
    /// Ordinal of the key in the segment.
    key: u64,
    doc: DocId,
    /// Bits of the score.
    pub(super) score: u32,
}

enum Source {
    Score,
    Numbers(Column<u64>),
    Texts(StrColumn),
    Missing,
}

impl Source {
    fn open(segment: &Masked, by: &SortBy) -> tantivy::Result<Self> {
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

    fn rank(&self, doc: DocId, score: Score, Way { descending, missing_first }: Way) -> Local {
        let column = match self {
            Source::Score => return (missing_first, oriented(score_bits(score), descending)),
            Source::Missing => return (!missing_first, 0),
            Source::Numbers(column) => column,
            Source::Texts(texts) => texts.ords(),
        };
        let mut values = column.values_for_doc(doc);
        let Some(first) = values.next() else { return (!missing_first, 0) };
        let extreme = if descending { values.fold(first, u64::max) } else { values.fold(first, u64::min) };
        (missing_first, oriented(extreme, descending))
    }
}

/// The way in which a sort key puts values in order.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) descending: bool,
    pub(super) missing_first: bool,
}

/// Columns of one segment that decide the order, and that tell what a document is.
pub(super) struct Columns {
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
        let mut ranks = smallvec::SmallVec::new();
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
    fn threshold(&self) -> Score {
        match self.heap.peek() {
            Some(last) if self.heap.len() >= self.limit => below_rounded(Score::from_bits(last.score)),
            _ => Score::MIN,
        }
    }
}

impl Columns {
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
                    let text = term(texts, oriented(*local, way.descending))?;
                    // Columns of texts hold nothing but UTF-8.
                    Rank::text(String::from_utf8_lossy(&text).into_owned(), way.descending)
                }
                _ => Rank::Number(*local),
            })
        };
        entry.ranks.iter().zip(&self.sources).map(rank).collect()
    }

    pub(super) fn key(&self, entry: &Entry) -> io::Result<Vec<u8>> {
        self.keys.as_ref().map_or(Ok(Vec::new()), |keys| term(keys, entry.key))
    }

    pub(super) fn partition(&self, entry: &Entry) -> u32 {
        self.partitions
            .as_ref()
            .and_then(|p| p.first(entry.doc))
            .and_then(|p| u32::try_from(p).ok())
            .unwrap_or(u32::MAX)
    }
}

fn term(texts: &StrColumn, ord: u64) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    texts.dictionary().ord_to_term(ord, &mut out)?;
    Ok(out)
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
        let columns = Columns { sources, keys, partitions, scores: self.scores(), after };
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
        let mut found = Found { top: self, ord, segment, opened: None, total: None, seen: 0, stopped: false };
        let alive = segment.alive_bitset();
        let lives = |doc| alive.is_none_or(|a| a.is_alive(doc));
        if !self.pick(weight, segment, &lives, &mut found)? {
            self.look(weight, segment, &lives, &mut found)?;
        }
        found.harvest()
    }
}

/// What a search finds in one segment. Its columns are opened with the first document: most segments have none of a rare word,
/// and to open columns takes longer than to find that out.
struct Found<'a> {
    top: &'a Top<'a>,
    ord: u32,
    segment: &'a SegmentReader,
    opened: Option<tantivy::Result<Segment>>,
    /// Number of matches, if they were counted apart.
    total: Option<u64>,
    /// Documents seen.
    seen: u32,
    /// Whether nobody waits any more: what is left is passed over.
    stopped: bool,
}

impl Found<'_> {
    fn collect(&mut self, doc: DocId, score: Score) {
        self.seen = self.seen.wrapping_add(1);
        if self.seen.is_multiple_of(LOOK_EVERY) && self.top.stop.is_raised() {
            self.stopped = true;
        }
        if self.stopped {
            return;
        }
        if let Ok(segment) = self.opened.get_or_insert_with(|| self.top.for_segment(self.ord, self.segment)) {
            segment.collect(doc, score);
        }
    }

    fn threshold(&self) -> Score {
        match &self.opened {
            // Nothing more is of use.
            _ if self.stopped => Score::MAX,
            None => Score::MIN,
            Some(Ok(segment)) => segment.threshold(),
            Some(Err(_)) => Score::MAX,
        }
    }

    fn harvest(self) -> tantivy::Result<<Segment as SegmentCollector>::Fruit> {
        let Some(segment) = self.opened else { return Ok(None) };
        let mut run = segment?.harvest();
        if let (Some(run), Some(total)) = (&mut run, self.total) {
            run.total = total;
        }
        Ok(run)
    }
}
