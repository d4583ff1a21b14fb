//! Documents that match words and every filter, found through sets of bits where scores do not count.
//!
//! The library walks along the shortest list of documents and looks each of them up in the others. Where the lists are of similar length
//! it takes a fraction of that to mark the documents of one in a set of bits and to test the documents of the next against it.

use std::fmt;
use std::sync::Arc;

use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EnableScoring, Explanation, Occur, Query, Scorer, TermQuery, TermSetQuery,
    Weight, intersect_scorers,
};
use tantivy::{BitSet, COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, DocSet, Score, SegmentReader, TantivyError, Term};

use super::beginning::Beginning;
use super::entries::Entries;
use super::sets::{Has, Set, Sets};

/// To look a document up takes as long as to take so many, about.
const LOOK_UP: u64 = 8;

/// What is scored, and filters that change no score.
pub struct Conjunction {
    scored: Box<dyn Query>,
    filters: Vec<Box<dyn Query>>,
}

impl Conjunction {
    /// What matches `scored` and all of `filters`, with the scores of the former.
    pub fn new(scored: Box<dyn Query>, filters: Vec<Box<dyn Query>>) -> Self {
        Self { scored, filters }
    }

    /// What is demanded, each by itself.
    pub(super) fn parts(&self) -> impl Iterator<Item = &dyn Query> {
        std::iter::once(&self.scored).chain(&self.filters).map(AsRef::as_ref)
    }

    fn as_boolean(&self) -> BooleanQuery {
        let demanded = |part: (usize, &dyn Query)| match part {
            (0, scored) => (Occur::Must, scored.box_clone()),
            (_, filter) => (Occur::Must, Box::new(ConstScoreQuery::new(filter.box_clone(), 0.0)) as Box<dyn Query>),
        };
        BooleanQuery::new(self.parts().enumerate().map(demanded).collect())
    }
}

impl Clone for Conjunction {
    fn clone(&self) -> Self {
        Self { scored: self.scored.box_clone(), filters: self.filters.iter().map(|query| query.box_clone()).collect() }
    }
}

impl fmt::Debug for Conjunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conjunction").field("scored", &self.scored).field("filters", &self.filters).finish()
    }
}

impl Query for Conjunction {
    fn weight(&self, scoring: EnableScoring<'_>) -> tantivy::Result<Box<dyn Weight>> {
        match scoring.is_scoring_enabled() {
            true => self.as_boolean().weight(scoring),
            false => Unscored::of(self, scoring, None)?.map_or_else(|| self.as_boolean().weight(scoring), Ok),
        }
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.parts().for_each(|query| query.query_terms(visitor));
    }
}

/// How to find what matches a query, whatever it scores; sets of words are taken from those that are `known`, or made known.
pub(super) fn unscored(
    query: &dyn Query,
    scoring: EnableScoring<'_>,
    known: &Sets,
) -> tantivy::Result<Box<dyn Weight>> {
    Unscored::of(query, scoring, Some(known))?.map_or_else(|| query.weight(scoring), Ok)
}

/// What a query demands, each by itself, without what everything does.
fn demanded(query: &dyn Query) -> Vec<&dyn Query> {
    let mut all = Vec::new();
    demands(query, &mut all);
    let narrow: Vec<_> = all.iter().copied().filter(|part| !part.is::<AllQuery>()).collect();
    if narrow.is_empty() { all } else { narrow }
}

/// The words that a query demands, if it demands words and nothing else: none where it finds everything.
pub(super) fn words(query: &dyn Query) -> Option<Vec<Term>> {
    let parts = demanded(query).into_iter().filter(|part| !part.is::<AllQuery>());
    parts.map(|part| part.downcast_ref::<TermQuery>().map(|word| word.term().clone())).collect()
}

fn demands<'a>(query: &'a dyn Query, into: &mut Vec<&'a dyn Query>) {
    if let Some(nested) = query.downcast_ref::<Conjunction>() {
        return nested.parts().for_each(|part| demands(part, into));
    }
    match query.downcast_ref::<BooleanQuery>().filter(|all| demands_all(all)) {
        Some(all) => all.clauses().iter().for_each(|(_, part)| demands(part.as_ref(), into)),
        None => into.push(query),
    }
}

fn demands_all(query: &BooleanQuery) -> bool {
    let clauses = query.clauses();
    // Of none that may match, one that must would be missing.
    let possible = query.get_minimum_number_should_match() == 0;
    possible && !clauses.is_empty() && clauses.iter().all(|(occur, _)| *occur == Occur::Must)
}

/// Whether the first document of the query is found without a long search, which the library would begin where the other lists begin.
fn is_soon_begun(query: &dyn Query) -> bool {
    let some = |all: &BooleanQuery| all.clauses().iter().all(|(_, part)| is_soon_begun(part.as_ref()));
    query.is::<TermQuery>()
        || query.is::<TermSetQuery>()
        || query.is::<Beginning>()
        || query.downcast_ref::<BooleanQuery>().is_some_and(some)
}

/// One of the things that are demanded.
struct Part {
    /// If it is a word and no more.
    word: Option<Term>,
    weight: Box<dyn Weight>,
}

impl Part {
    /// What matches in a segment; `None` where nothing does, if that is soon known.
    fn open(&self, segment: &SegmentReader) -> tantivy::Result<Option<List<'_>>> {
        let Some(word) = &self.word else { return Ok(Some(List::Other(self.weight.scorer(segment, 1.0)?))) };
        Ok(Entries::of(word, segment)?.map(|entries| List::Word(entries, self, word)))
    }
}

/// Documents of a segment in ascending order, of which none was taken yet.
enum List<'a> {
    Word(Entries, &'a Part, &'a Term),
    Other(Box<dyn Scorer>),
}

impl List<'_> {
    /// How much it is to take all.
    fn cost(&self) -> u64 {
        match self {
            List::Word(entries, ..) => entries.len().into(),
            List::Other(scorer) => scorer.cost(),
        }
    }

    fn into_scorer(self, segment: &SegmentReader) -> tantivy::Result<Box<dyn Scorer>> {
        match self {
            List::Word(_, part, _) => part.weight.scorer(segment, 1.0),
            List::Other(scorer) => Ok(scorer),
        }
    }

    /// Hands all over, at most a block at a time.
    fn in_blocks(self, f: &mut dyn FnMut(&[DocId])) {
        match self {
            List::Word(entries, ..) => entries.in_blocks(f),
            List::Other(mut scorer) => in_blocks(scorer.as_mut(), f),
        }
    }

    /// All as a set; that of a word is kept for other searches.
    fn into_set(self, segment: &SegmentReader, known: Option<&Sets>) -> Arc<Set> {
        match self {
            List::Word(entries, _, word) => {
                let bits = Arc::new(entries.into_set(segment));
                if let Some(known) = known {
                    known.keep(segment, Has::Whole, word, &bits);
                }
                bits
            }
            List::Other(mut scorer) => {
                let mut bits = BitSet::with_max_value(segment.max_doc());
                in_blocks(scorer.as_mut(), &mut |docs| {
                    for doc in docs {
                        bits.insert(*doc);
                    }
                });
                Arc::new(Set::new(bits))
            }
        }
    }
}

/// Hands over what is left of a list, at most a block at a time.
fn in_blocks(list: &mut dyn Scorer, f: &mut dyn FnMut(&[DocId])) {
    let mut block = [0; BLOCK];
    loop {
        let found = list.fill_buffer(&mut block);
        f(&block[..found]);
        if found < BLOCK {
            return;
        }
    }
}

/// Hands over what is also among all of `others`, in whole blocks but for the last.
struct Sieve<'a> {
    others: &'a [Arc<Set>],
    both: [DocId; 2 * BLOCK],
    found: usize,
    to: &'a mut dyn FnMut(&[DocId]),
}

impl<'a> Sieve<'a> {
    fn new(others: &'a [Arc<Set>], to: &'a mut dyn FnMut(&[DocId])) -> Self {
        Self { others, both: [0; 2 * BLOCK], found: 0, to }
    }

    /// Takes at most a block.
    fn take(&mut self, docs: &[DocId]) {
        match self.others {
            [] => (self.to)(docs),
            [other] => self.sift(docs, |doc| other.contains(doc)),
            others => self.sift(docs, |doc| others.iter().all(|other| other.contains(doc))),
        }
    }

    fn sift(&mut self, docs: &[DocId], fits: impl Fn(DocId) -> bool) {
        for doc in docs {
            // Every document is written, and stays if it is one: a branch would be guessed wrong too often.
            self.both[self.found] = *doc;
            self.found += usize::from(fits(*doc));
        }
        if self.found >= BLOCK {
            (self.to)(&self.both[..BLOCK]);
            self.both.copy_within(BLOCK..self.found, 0);
            self.found -= BLOCK;
        }
    }

    fn finish(self) {
        (self.to)(&self.both[..self.found]);
    }
}

/// Whether to take all documents of all lists, the shortest of which comes first, and to make the sets of bits for it, is less than to
/// look those of the shortest up.
fn are_similar(lists: &[List<'_>], documents: DocId) -> bool {
    let sets = lists.len().saturating_sub(1) as u64 * u64::from(documents / 64);
    let all: u64 = lists.iter().map(List::cost).sum();
    lists.first().is_some_and(|shortest| all + sets <= shortest.cost().saturating_mul(LOOK_UP))
}

/// Finds what matches all parts, whatever it scores.
struct Unscored {
    parts: Vec<Part>,
    /// Sets of other searches.
    known: Option<Sets>,
}

impl Unscored {
    /// Finds by lists and sets what `query` demands; `None` where it is better left to the library.
    fn of(
        query: &dyn Query,
        scoring: EnableScoring<'_>,
        known: Option<&Sets>,
    ) -> tantivy::Result<Option<Box<dyn Weight>>> {
        let parts = demanded(query);
        if !parts.iter().all(|query| is_soon_begun(*query)) {
            return Ok(None);
        }
        let part = |query: &dyn Query| {
            let word = query.downcast_ref::<TermQuery>().map(|word| word.term().clone());
            Ok(Part { word, weight: query.weight(scoring)? })
        };
        let parts = parts.into_iter().map(part).collect::<tantivy::Result<_>>()?;
        Ok(Some(Box::new(Self { parts, known: known.cloned() })))
    }

    /// The lists to take, the shortest of all first, and the sets that are known of other parts; `None` where nothing matches.
    fn open(&self, segment: &SegmentReader) -> tantivy::Result<Option<(Vec<List<'_>>, Vec<Arc<Set>>)>> {
        let (mut lists, mut sets) = (Vec::with_capacity(self.parts.len()), Vec::new());
        for part in &self.parts {
            match self.set_of(part, segment) {
                Some(set) => sets.push((set, part)),
                None => match part.open(segment)? {
                    Some(list) => lists.push(list),
                    None => return Ok(None),
                },
            }
        }
        lists.sort_by_key(List::cost);
        sets.sort_by_key(|(set, _)| set.len());
        let least = sets.first().map(|(set, part)| (set.len() as u64, *part));
        if let Some((_, part)) = least.filter(|(len, _)| lists.first().is_none_or(|list| *len < list.cost())) {
            // Sets are tested fast, and walked through slowly.
            let Some(list) = part.open(segment)? else { return Ok(None) };
            lists.insert(0, list);
            sets.remove(0);
        }
        Ok(Some((lists, sets.into_iter().map(|(set, _)| set).collect())))
    }

    fn set_of(&self, part: &Part, segment: &SegmentReader) -> Option<Arc<Set>> {
        self.known.as_ref().zip(part.word.as_ref()).and_then(|(known, word)| known.of(segment, Has::Whole, word))
    }
}

impl Weight for Unscored {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        let scorers = self.parts.iter().map(|part| part.weight.scorer(segment, boost));
        Ok(intersect_scorers(scorers.collect::<tantivy::Result<_>>()?, segment.num_docs()))
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        match self.scorer(segment, 1.0)?.seek(doc) == doc {
            true => Ok(Explanation::new("all of it, whatever it scores", 1.0)),
            false => Err(TantivyError::InvalidArgument(format!("document {doc} does not match"))),
        }
    }

    fn for_each_no_score(&self, segment: &SegmentReader, callback: &mut dyn FnMut(&[DocId])) -> tantivy::Result<()> {
        let Some((mut lists, mut sets)) = self.open(segment)? else { return Ok(()) };
        if lists.len() > 1 && !are_similar(&lists, segment.max_doc()) {
            let scorers = lists.into_iter().map(|list| list.into_scorer(segment)).collect::<tantivy::Result<_>>()?;
            let mut found = intersect_scorers(scorers, segment.num_docs());
            let mut sieve = Sieve::new(&sets, callback);
            in_blocks(found.as_mut(), &mut |docs| sieve.take(docs));
            sieve.finish();
            return Ok(());
        }
        let longer = lists.drain(1..).map(|list| list.into_set(segment, self.known.as_ref()));
        sets.extend(longer);
        let Some(shortest) = lists.pop() else { return Ok(()) };
        let mut sieve = Sieve::new(&sets, callback);
        shortest.in_blocks(&mut |docs| sieve.take(docs));
        sieve.finish();
        Ok(())
    }
}

#[cfg(test)]
#[path = "conjunction_tests.rs"]
mod tests;
