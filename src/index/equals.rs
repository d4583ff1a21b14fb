//! The first documents of a search of which many score the same: of one word, of the beginning of a word, of a filter alone.
//!
//! The key decides between equals, so whoever wants ten of a frequent word has to look at all documents that score like the tenth. But
//! changes are written in the order of their keys: a segment is a few *runs* of ascending keys, and of the equals of a run only the first
//! ten can be among the ten. The library finds the score of the tenth without looking at most documents; the runs give the rest.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tantivy::columnar::Cardinality;
use tantivy::index::SegmentId;
use tantivy::query::{
    AllQuery, ConstScoreQuery, ExistsQuery, FuzzyTermQuery, Query, RangeQuery, RegexQuery, TermQuery, Weight,
};
use tantivy::{DocId, Score, SegmentReader, Term};

use super::beginning::{Beginning, Living};
use super::place::{rounded, up_to_rounded};
use super::schema::KEY;
use super::stop::{LOOK_EVERY, Stop};
use super::view::strings;

/// Segments whose runs are kept.
const KEPT: usize = 1_000;
/// Where runs are shorter than this on average, they save nothing.
const SHORTEST: usize = 128;
/// Keys that are read at a time.
const CHUNK: usize = 1_024;
/// Of fewer documents all are looked at.
const FEW: u32 = 150;

/// What can be told of the scores of a query before it is run.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scores {
    /// One word: many are the same, and the library passes over documents that score less than those that it has.
    OneWord(Term),
    /// All are the same, and how many match is known without looking: all that live.
    Everything,
    /// All are the same.
    Same,
    /// Nothing.
    Any,
}

impl Scores {
    pub(super) fn of(query: &dyn Query) -> Self {
        let same = query.is::<ConstScoreQuery>()
            || query.is::<Beginning>()
            || query.is::<ExistsQuery>()
            || query.is::<FuzzyTermQuery>()
            || query.is::<RangeQuery>()
            || query.is::<RegexQuery>();
        match same {
            true => Self::Same,
            false if query.is::<AllQuery>() => Self::Everything,
            false => query.downcast_ref::<TermQuery>().map_or(Self::Any, |word| Self::OneWord(word.term().clone())),
        }
    }
}

/// Where the runs of a segment begin, ascending; the first at 0.
#[derive(Debug, PartialEq)]
struct Runs(Vec<DocId>);

impl Runs {
    /// `None` where they are too short, or not every document has a key.
    fn of(segment: &SegmentReader) -> tantivy::Result<Option<Self>> {
        let Some(keys) = strings(segment, KEY)?.filter(|keys| keys.ords().get_cardinality() == Cardinality::Full)
        else {
            return Ok(None);
        };
        let (mut starts, mut last, mut chunk) = (vec![0], 0, [0; CHUNK]);
        let documents = segment.max_doc();
        for from in (0..documents).step_by(CHUNK) {
            let chunk = &mut chunk[..CHUNK.min((documents - from) as usize)];
            keys.ords().values.get_range(from.into(), chunk);
            for (doc, key) in (from..).zip(chunk) {
                if *key < last {
                    starts.push(doc);
                }
                last = *key;
            }
            if starts.len() * SHORTEST > documents as usize {
                return Ok(None);
            }
        }
        Ok(Some(Self(starts)))
    }

    /// Where each begins, and what is behind its last document.
    fn bounds(&self, documents: DocId) -> impl Iterator<Item = (DocId, DocId)> {
        let ends = self.0[1..].iter().copied().chain([documents]);
        self.0.iter().copied().zip(ends)
    }
}

/// Runs of segments, which never change.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownRuns(Arc<Mutex<HashMap<SegmentId, Option<Arc<Runs>>>>>);

impl KnownRuns {
    fn of(&self, segment: &SegmentReader) -> tantivy::Result<Option<Arc<Runs>>> {
        if let Some(known) = self.0.lock().get(&segment.segment_id()) {
            return Ok(known.clone());
        }
        let found = Runs::of(segment)?.map(Arc::new);
        let mut all = self.0.lock();
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(segment.segment_id(), found.clone());
        Ok(found)
    }
}

/// A document and its score; greater is better.
#[derive(Clone, Copy, PartialEq)]
struct Scored(Score, DocId);

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0).then(other.1.cmp(&self.1))
    }
}

/// Documents of one word among which the first `limit` of a segment by score and key are, each with its score; `None` where looking at
/// all of them is the shorter way. `lives` says which documents there still are.
pub(super) fn candidates(
    weight: &dyn Weight,
    segment: &SegmentReader,
    known: &KnownRuns,
    limit: usize,
    lives: &dyn Fn(DocId) -> bool,
) -> tantivy::Result<Option<Vec<(DocId, Score)>>> {
    let mut scorer = weight.scorer(segment, 1.0)?;
    let matches = scorer.size_hint();
    if matches < FEW {
        return Ok(None);
    }
    let Some(runs) = known.of(segment)? else { return Ok(None) };
    let best = best(weight, segment, limit, lives)?;
    let Some(Reverse(Scored(bar, _))) = best.peek().copied().filter(|_| best.len() == limit) else {
        return Ok(Some(best.into_iter().map(|Reverse(Scored(score, doc))| (doc, score)).collect()));
    };
    let better = best.into_iter().filter(|Reverse(Scored(score, _))| *score > bar);
    let mut found: Vec<(DocId, Score)> = better.map(|Reverse(Scored(score, doc))| (doc, score)).collect();
    // Few documents that score like the last one, or many that are gone: looking on is no shorter than looking at all.
    let mut patience = matches / 4;
    for (start, end) in runs.bounds(segment.max_doc()) {
        let mut doc = if scorer.doc() < start { scorer.seek(start) } else { scorer.doc() };
        let mut equals = 0;
        // Past the last match comes `TERMINATED`, which is past every end.
        while doc < end && equals < limit {
            if patience == 0 {
                return Ok(None);
            }
            patience -= 1;
            if lives(doc) && rounded(scorer.score()).to_bits() == bar.to_bits() {
                found.push((doc, bar));
                equals += 1;
            }
            doc = scorer.advance();
        }
    }
    Ok(Some(found))
}

/// Documents that all score the same.
pub(super) struct Firsts {
    /// Those among which the first `limit` of a segment by key are.
    pub(super) documents: Vec<DocId>,
    /// What each of them scores.
    pub(super) score: Score,
    /// How many there are, if they were counted.
    pub(super) total: Option<u64>,
}

/// The first documents of a query that scores all of them the same; `None` where looking at all is the shorter way.
pub(super) fn firsts(
    weight: &dyn Weight,
    segment: &SegmentReader,
    known: &KnownRuns,
    (limit, count): (usize, bool),
    lives: &dyn Fn(DocId) -> bool,
    stop: &Stop,
) -> tantivy::Result<Option<Firsts>> {
    if segment.max_doc() < FEW {
        return Ok(None);
    }
    let Some(runs) = known.of(segment)? else { return Ok(None) };
    let mut scorer = weight.scorer(segment, 1.0)?;
    let counted = scorer.downcast_ref::<Living>().map(Living::total);
    let walks = count && counted.is_none();
    let mut documents = Vec::new();
    let (mut seen, mut total) = (0_u32, 0);
    for (start, end) in runs.bounds(segment.max_doc()) {
        let mut doc = if scorer.doc() < start { scorer.seek(start) } else { scorer.doc() };
        let mut room = limit;
        while doc < end && (walks || room > 0) {
            if lives(doc) {
                total += 1;
                if room > 0 {
                    documents.push(doc);
                    room -= 1;
                }
            }
            seen = seen.wrapping_add(1);
            if seen.is_multiple_of(LOOK_EVERY) && stop.is_raised() {
                return Ok(Some(Firsts { documents, score: 0.0, total: None }));
            }
            doc = scorer.advance();
        }
    }
    Ok(Some(Firsts { documents, score: scorer.score(), total: count.then(|| counted.unwrap_or(total)) }))
}

/// The `limit` best scores, rounded, and documents that have them; of those that score like the last one, any. The last one comes first.
fn best(
    weight: &dyn Weight,
    segment: &SegmentReader,
    limit: usize,
    lives: &dyn Fn(DocId) -> bool,
) -> tantivy::Result<BinaryHeap<Reverse<Scored>>> {
    let mut best = BinaryHeap::new();
    weight.for_each_pruning(Score::MIN, segment, &mut |doc, score| {
        if lives(doc) {
            best.push(Reverse(Scored(rounded(score), doc)));
            if best.len() > limit {
                best.pop();
            }
        }
        best.peek().filter(|_| best.len() == limit).map_or(Score::MIN, |Reverse(last)| up_to_rounded(last.0))
    })?;
    Ok(best)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use tantivy::query::{EnableScoring, Query};

    use super::super::testing::{batch, change, def, options, record, text};
    use super::super::{Matches, Ordering as Order, Sort, SortBy, Stop, TableIndex, View};
    use super::*;
    use crate::query::parse;
    use crate::record::Record;

    const BATCH: usize = 3_000;
    const DOCUMENTS: usize = 5 * BATCH;
    /// More than there are better ones, so that the last hits are of the many equals.
    const MANY: usize = 200;

    fn key(n: usize) -> String {
        format!("k{:05}", n * 7_919 % 20_000)
    }

    fn is_gone(n: usize) -> bool {
        n.is_multiple_of(5)
    }

    /// Titles that score the same, but for a few better and a few worse ones.
    fn titled(n: usize) -> Record {
        let title = match n % 97 {
            0 => "oak oak desk".to_owned(),
            1 => "oak desk with drawers".to_owned(),
            n => format!("oak desk {n}"),
        };
        record(&def(), &key(n), &(BTreeMap::from([("title", text(&title))]), BTreeMap::new()))
    }

    /// Each batch is written when it comes, and they are committed together, but for the first: a segment of one run, one of four,
    /// and the masks of what is gone.
    fn filled(dir: &std::path::Path) -> Arc<TableIndex> {
        let mut slow = options(dir);
        (slow.queue_memory, slow.interval) = (128 << 10, Duration::from_secs(3600));
        (slow.catch_up_interval, slow.commit_interval) = (slow.interval, slow.interval);
        let (index, _) = TableIndex::open_at(Arc::new(def()), slow, None).expect("the index opens");
        for (position, from) in (1..).zip((0..DOCUMENTS).step_by(BATCH)) {
            let put = (from..from + BATCH).map(|n| change(&key(n), Some(titled(n)), false));
            index.submit(batch(0, position, put.collect())).expect("submitted");
            if position == 1 {
                index.flush().expect("flushed");
            }
        }
        index.flush().expect("flushed");
        let gone = (0..DOCUMENTS).filter(|n| is_gone(*n)).map(|n| change(&key(n), None, true));
        index.submit(batch(0, 6, gone.collect())).expect("submitted");
        index.flush().expect("flushed");
        index
    }

    fn search(view: &View, query: &dyn Query, limit: usize, count: bool) -> Matches {
        let order = Order(vec![Sort { by: SortBy::Score, descending: true, missing_first: false }]);
        view.search(query, order, None, limit, count, &Stop::default()).expect("an answer")
    }

    fn parsed(view: &View, text: &str) -> Box<dyn Query> {
        parse::lenient(view, text, &mut parse::Spent::default()).expect("a query").query
    }

    /// Of each segment that is looked at in runs, their number.
    fn runs(view: &View, query: &dyn Query) -> Vec<usize> {
        let known = KnownRuns::default();
        let scoring = EnableScoring::enabled_from_statistics_provider(view, view.blank());
        let weight = query.weight(scoring).expect("a weight");
        let of = |segment: &super::super::masked::Masked| {
            let alive = segment.alive_bitset();
            let lives = |doc| alive.is_none_or(|a| a.is_alive(doc));
            let found = match Scores::of(query) {
                Scores::OneWord(_) => candidates(&*weight, segment, &known, MANY, &lives).expect("an answer").is_some(),
                _ => {
                    let found = firsts(&*weight, segment, &known, (MANY, true), &lives, &Stop::default());
                    found.expect("an answer").is_some()
                }
            };
            found.then(|| known.of(segment).expect("an answer").map(|runs| runs.0.len())).flatten()
        };
        view.readers().iter().filter_map(of).collect()
    }

    /// The hits of a search are the first of these keys, as many as are asked for, and all are counted.
    fn finds(view: &View, query: &dyn Query, expected: &[Vec<u8>]) {
        let runs = runs(view, query);
        assert!(runs.iter().any(|n| *n > 1), "no segment was looked at in several runs: {runs:?}");
        for limit in [1, 10, 100, MANY, 5_000, DOCUMENTS] {
            for count in [false, true] {
                let found = search(view, query, limit, count);
                let keys: Vec<&Vec<u8>> = found.hits.iter().map(|hit| &hit.place.key).collect();
                assert!(keys.into_iter().eq(expected.iter().take(limit)), "{limit} {count}");
                assert_eq!(found.total, count.then_some(expected.len() as u64));
            }
        }
    }

    #[test]
    fn the_first_of_equals_are_those_of_all() {
        let dir = tempfile::tempdir().expect("a folder");
        let index = filled(dir.path());
        let view = index.view();
        // By the titles alone: better ones first, then the many, then the worse; among equals by key.
        let rank = |n: usize| [0, 2].get(n % 97).copied().unwrap_or(1);
        let expected: BTreeSet<(usize, Vec<u8>)> =
            (0..DOCUMENTS).filter(|n| !is_gone(*n)).map(|n| (rank(n), key(n).into_bytes())).collect();
        let expected: Vec<Vec<u8>> = expected.into_iter().map(|(_, key)| key).collect();
        finds(&view, &*parsed(&view, "title:oak"), &expected);
    }

    #[test]
    fn where_all_score_the_same_the_first_are_those_by_key() {
        let dir = tempfile::tempdir().expect("a folder");
        let index = filled(dir.path());
        let view = index.view();
        let keys = |which: &dyn Fn(usize) -> bool| -> Vec<Vec<u8>> {
            let all: BTreeSet<Vec<u8>> =
                (0..DOCUMENTS).filter(|n| !is_gone(*n) && which(*n)).map(|n| key(n).into_bytes()).collect();
            all.into_iter().collect()
        };
        let query = parsed(&view, "title:des*");
        assert_eq!(Scores::of(&*query), Scores::Same);
        finds(&view, &*query, &keys(&|_| true));
        // Titles of the many end in the number of the rest.
        let query = parsed(&view, "title:5*");
        finds(&view, &*query, &keys(&|n| matches!(n % 97, 5 | 50..=59)));
        let query = parsed(&view, "*");
        assert_eq!(Scores::of(&*query), Scores::Everything);
        finds(&view, &*query, &keys(&|_| true));
    }
}
