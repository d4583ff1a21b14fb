//! Documents that match words and every filter, found through sets of bits where scores do not count.
//!
//! The library walks along the shortest list of documents and looks each of them up in the others. Where the lists are of similar length
//! it takes a fraction of that to mark the documents of one in a set of bits and to test the documents of the next against it.

use std::fmt;

use tantivy::query::{
    BooleanQuery, ConstScoreQuery, EnableScoring, Explanation, Occur, Query, Scorer, TermQuery, TermSetQuery, Weight,
    intersect_scorers,
};
use tantivy::{BitSet, COLLECT_BLOCK_BUFFER_LEN as BLOCK, DocId, DocSet, Score, SegmentReader, Term};

use super::beginning::Beginning;

/// To look a document up takes as long as to mark so many, about.
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

    fn parts(&self) -> impl Iterator<Item = &dyn Query> {
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
        let by_library = self.as_boolean().weight(scoring)?;
        let mut parts = Vec::new();
        self.parts().for_each(|query| demands(query, &mut parts));
        if scoring.is_scoring_enabled() || !parts.iter().all(|query| is_soon_begun(*query)) {
            return Ok(by_library);
        }
        let parts = parts.into_iter().map(|query| query.weight(scoring)).collect::<tantivy::Result<_>>()?;
        Ok(Box::new(Unscored { by_library, parts }))
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.parts().for_each(|query| query.query_terms(visitor));
    }
}

/// What a query demands, each by itself.
fn demands<'a>(query: &'a dyn Query, into: &mut Vec<&'a dyn Query>) {
    if let Some(nested) = query.downcast_ref::<Conjunction>() {
        return nested.parts().for_each(|part| demands(part, into));
    }
    match query.downcast_ref::<BooleanQuery>() {
        Some(all) if !all.clauses().is_empty() && all.clauses().iter().all(|(occur, _)| *occur == Occur::Must) => {
            all.clauses().iter().for_each(|(_, part)| demands(part.as_ref(), into));
        }
        _ => into.push(query),
    }
}

/// Whether the first document of the query is found without a long search, which the library would begin where the other lists begin.
fn is_soon_begun(query: &dyn Query) -> bool {
    let some = |all: &BooleanQuery| all.clauses().iter().all(|(_, part)| is_soon_begun(part.as_ref()));
    query.is::<TermQuery>()
        || query.is::<TermSetQuery>()
        || query.is::<Beginning>()
        || query.downcast_ref::<BooleanQuery>().is_some_and(some)
}

/// Finds what matches all parts, whatever it scores.
struct Unscored {
    by_library: Box<dyn Weight>,
    parts: Vec<Box<dyn Weight>>,
}

impl Weight for Unscored {
    fn scorer(&self, segment: &SegmentReader, boost: Score) -> tantivy::Result<Box<dyn Scorer>> {
        self.by_library.scorer(segment, boost)
    }

    fn explain(&self, segment: &SegmentReader, doc: DocId) -> tantivy::Result<Explanation> {
        self.by_library.explain(segment, doc)
    }

    fn for_each_no_score(&self, segment: &SegmentReader, callback: &mut dyn FnMut(&[DocId])) -> tantivy::Result<()> {
        let scorers = self.parts.iter().map(|part| part.scorer(segment, 1.0));
        let mut lists = scorers.collect::<tantivy::Result<Vec<_>>>()?;
        lists.sort_by_key(|list| list.cost());
        if !are_similar(&lists) {
            in_blocks(&mut intersect_scorers(lists, segment.num_docs()), callback);
            return Ok(());
        }
        let Some(mut longest) = lists.pop() else { return Ok(()) };
        let mut lists = lists.into_iter();
        let Some(mut shortest) = lists.next() else {
            in_blocks(&mut longest, callback);
            return Ok(());
        };
        let mut common = BitSet::with_max_value(segment.max_doc());
        in_blocks(&mut shortest, &mut |docs| mark(docs, &mut common));
        for mut list in lists {
            let mut left = BitSet::with_max_value(segment.max_doc());
            of_both(&mut list, &common, &mut |docs| mark(docs, &mut left));
            common = left;
        }
        of_both(&mut longest, &common, callback);
        Ok(())
    }
}

/// Whether to mark all documents of all lists, the shortest of which comes first, takes less than to look those of the shortest up.
fn are_similar(lists: &[Box<dyn Scorer>]) -> bool {
    let all: u64 = lists.iter().map(|list| list.cost()).sum();
    lists.first().is_some_and(|shortest| all <= shortest.cost().saturating_mul(LOOK_UP))
}

fn mark(docs: &[DocId], into: &mut BitSet) {
    for doc in docs {
        into.insert(*doc);
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

/// Hands over what is in the list and among `others`, in whole blocks but for the last.
fn of_both(list: &mut dyn Scorer, others: &BitSet, f: &mut dyn FnMut(&[DocId])) {
    let (mut both, mut found) = ([0; 2 * BLOCK], 0);
    in_blocks(list, &mut |docs| {
        for doc in docs {
            // Every document is written, and stays if it is one: a branch would be guessed wrong too often.
            both[found] = *doc;
            found += usize::from(others.contains(*doc));
        }
        if found >= BLOCK {
            f(&both[..BLOCK]);
            both.copy_within(BLOCK..found, 0);
            found -= BLOCK;
        }
    });
    f(&both[..found]);
}

#[cfg(test)]
#[path = "conjunction_tests.rs"]
mod tests;
