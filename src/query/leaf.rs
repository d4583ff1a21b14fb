//! Answers from this instance's own tasks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::dress::Dress;
use super::order::{check, order};
use super::parse::{Parsed, Spent};
use super::{
    Clause, Count, Facet, Hit, MOST_EXPLAINED, SearchAnswer, SearchRequest, Table, TaskPosition, aggs, clause, facets,
    parse,
};
use crate::broker::Offset;
use crate::index::syntax::{AllQuery, BooleanQuery, Conjunction, ConstScoreQuery, Query};
use crate::index::{Match, Statistics, View};
use crate::record::{Shown, codec};
use crate::store::Store;
use crate::task::{Phase, Progress, TaskView};
use crate::{Error, Result};

/// Score of a record in a search for everything.
const EVERYTHING: f32 = 1.0;
/// Most filters of a search.
const MOST_FILTERS: usize = 32;
/// A search whose words, those of its filters included, have at most so many entries in the index is short: a millisecond or two.
const SHORT: u64 = 200_000;
/// Longest text of a short search or filter, bytes.
const SHORTEST: usize = 128;
/// Most filters of a short search.
const FEW_FILTERS: usize = 4;
/// Most hits of a short search.
const FEW: usize = 100;

/// Searches the tasks that run here. Blocking: runs on the search pool.
///
/// The index says which records match, the stores say what they are now: a hit whose record is gone by the time it is
/// fetched is left out and not counted.
pub fn search(table: &Table, request: &SearchRequest) -> Result<SearchAnswer> {
    Understood::new(table, request)?.answer(request)
}

/// As [`search`], if the words have few entries in the index.
pub fn search_if_short(table: &Table, request: &SearchRequest) -> Result<Option<SearchAnswer>> {
    let understood = Understood::new(table, request)?;
    match understood.view.is_short(understood.asked.query.as_ref(), SHORT)? {
        true => understood.answer(request).map(Some),
        false => Ok(None),
    }
}

/// Whether a request asks for nothing but hits of plain words: these are soon read, and then it is known whether the search is short.
pub fn is_plain(request: &SearchRequest) -> bool {
    let words = request.q.as_ref().is_some_and(|q| are_words(q));
    let filters = request.filter.len() <= FEW_FILTERS && request.filter.iter().all(|filter| are_words(filter));
    let alone = request.within.is_empty() && request.clause.is_none();
    let hits_only = request.facets.is_empty() && request.aggs.is_none();
    words && filters && alone && hits_only && request.limit <= FEW && request.highlight.is_empty() && !request.explain
}

fn are_words(text: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || " :._-".contains(c);
    text.len() <= SHORTEST && !text.trim().is_empty() && text.chars().all(is_plain)
}

/// A request over the tasks and the view that answer it.
struct Understood {
    tasks: Tasks,
    view: Arc<View>,
    asked: Asked,
}

impl Understood {
    fn new(table: &Table, request: &SearchRequest) -> Result<Self> {
        let tasks = Tasks::answering(table, request);
        // After the positions: the view covers at least what they say.
        let view = scored(table.index.view(), request);
        let asked = read(&view, &tasks.addressed, request)?;
        Ok(Self { tasks, view, asked })
    }

    fn answer(self, request: &SearchRequest) -> Result<SearchAnswer> {
        let Self { tasks, view, asked } = self;
        let stores = |partition: u32, keys: &[&[u8]]| match tasks.stores.get(&partition) {
            Some(store) => store.get_many(keys),
            None => Ok(vec![None; keys.len()]),
        };
        let mut answer = find(&view, request, asked, &stores)?;
        tasks.describe(&view, &mut answer);
        Ok(answer)
    }
}

/// What the scores of a search depend on, counted in the tasks that would answer it.
pub fn statistics(table: &Table, request: &SearchRequest) -> Result<Statistics> {
    let tasks = Tasks::answering(table, request);
    count(&table.index.view(), &tasks.addressed, request)
}

fn count(view: &View, addressed: &BTreeSet<u32>, request: &SearchRequest) -> Result<Statistics> {
    let parsed = words(view, request, &mut Spent::default())?;
    view.statistics(parsed.query.as_ref(), addressed)
}

/// What was asked for.
struct Asked {
    /// What is scored.
    scored: Parsed,
    /// That, with filters and partitions.
    query: Box<dyn Query>,
    /// What reading it took.
    spent: Spent,
}

fn read(view: &View, addressed: &BTreeSet<u32>, request: &SearchRequest) -> Result<Asked> {
    let mut spent = Spent::default();
    let scored = words(view, request, &mut spent)?;
    let query = narrowed(view, addressed, scored.query.box_clone(), (&request.filter, &request.within), &mut spent)?;
    Ok(Asked { scored, query, spent })
}

/// What is scored: `q`, and the clause.
fn words(view: &View, request: &SearchRequest, spent: &mut Spent) -> Result<Parsed> {
    let typed = request.q.as_deref().unwrap_or_default();
    let Some(clause) = &request.clause else { return parse::lenient(view, typed, spent) };
    let mut parsed = clause::compile(view, clause, spent)?;
    if !typed.trim().is_empty() {
        let typed = parse::lenient(view, typed, spent)?;
        parsed.query = Box::new(BooleanQuery::intersection(vec![parsed.query, typed.query]));
        parsed.warnings.extend(typed.warnings);
        parsed.prefixes.extend(typed.prefixes);
    }
    Ok(parsed)
}

fn scored(view: Arc<View>, request: &SearchRequest) -> Arc<View> {
    match &request.statistics {
        Some(given) => Arc::new(view.scored_by(Arc::clone(given))),
        None => view,
    }
}

/// The stored bytes of keys of a partition, in the order asked.
type Fetch<'a> = &'a dyn Fn(u32, &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;

/// Searches a view.
fn find(view: &View, request: &SearchRequest, asked: Asked, fetch: Fetch<'_>) -> Result<SearchAnswer> {
    let Asked { scored, query, mut spent } = asked;
    let order = order(&view.fields, request)?;
    if let Some(place) = &request.after {
        check(place, &order)?;
    }
    let columns = facets::columns(&view.fields, &request.facets)?;
    let dress = Dress::new(view, request, scored.query.as_ref(), &scored.prefixes, query.as_ref())?;
    let (mut hits, mut after) = (Vec::new(), request.after.clone());
    let (mut total, mut gone) = (None, 0);
    loop {
        let wanted = request.limit - hits.len();
        let count = request.count == Count::Exact && total.is_none();
        let matches = view.search(query.as_ref(), order.clone(), after, wanted, count, &request.stop)?;
        total = total.or(matches.total);
        let found = matches.hits.len();
        after = matches.hits.last().map(|m| m.place.clone());
        let explained = MOST_EXPLAINED.saturating_sub(hits.len());
        let shown = current(view, matches.hits, request, (&dress, explained), fetch)?;
        gone += (found - shown.len()) as u64;
        hits.extend(shown);
        // What is gone leaves room for others: an answer with fewer hits than asked for says that there are no more.
        if found < wanted || hits.len() >= request.limit {
            break;
        }
    }
    let mut answer = SearchAnswer { hits, warnings: scored.warnings, ..SearchAnswer::default() };
    answer.total = total.map(|t| t.saturating_sub(gone));
    if !columns.is_empty() || request.aggs.is_some() {
        let (aggs, most) = (request.aggs.as_ref(), request.max_buckets);
        let (counts, partial) = aggs::collect(view, query, &columns, aggs, most, &request.stop, &mut spent)?;
        answer.facets = counts.into_iter().map(Facet::of).collect();
        answer.aggs = partial;
    }
    Ok(answer)
}

/// Adds the filters, and the partitions where the index holds others too.
pub(super) fn narrowed(
    view: &View,
    addressed: &BTreeSet<u32>,
    q: Box<dyn Query>,
    (filters, within): (&[String], &[Clause]),
    spent: &mut Spent,
) -> Result<Box<dyn Query>> {
    if filters.len() > MOST_FILTERS {
        return Err(Error::bad_request(format!("filter: found {}, expected at most {MOST_FILTERS}", filters.len()))
            .advise("join conditions by AND in one filter"));
    }
    let narrowed = !view.covered.keys().all(|p| addressed.contains(p));
    if narrowed && filters.is_empty() && within.is_empty() && q.is::<AllQuery>() {
        // In a conjunction the library leaves out what matches everything, and its score.
        return Ok(Box::new(ConstScoreQuery::new(view.of_partitions(addressed), EVERYTHING)));
    }
    let mut parts = Vec::new();
    for (i, filter) in filters.iter().enumerate() {
        parts.push(parse::strict(view, &format!("filter[{i}]"), filter, spent)?);
    }
    for clause in within {
        parts.push(clause::compile(view, clause, spent)?.query);
    }
    if narrowed {
        parts.push(view.of_partitions(addressed));
    }
    Ok(if parts.is_empty() { q } else { Box::new(Conjunction::new(q, parts)) })
}

/// Fetches what the records are now: one request to each store.
fn current(
    view: &View,
    matches: Vec<Match>,
    request: &SearchRequest,
    (dress, explained): (&Dress<'_>, usize),
    fetch: Fetch<'_>,
) -> Result<Vec<Hit>> {
    let (def, only) = (&view.fields.def, request.fields.as_deref());
    let mut by_partition: BTreeMap<u32, Vec<(usize, &Match)>> = BTreeMap::new();
    for (at, hit) in matches.iter().enumerate() {
        by_partition.entry(hit.partition).or_default().push((at, hit));
    }
    let mut records = HashMap::with_capacity(matches.len());
    for (partition, hits) in by_partition {
        let keys: Vec<&[u8]> = hits.iter().map(|(_, h)| h.place.key.as_slice()).collect();
        for ((at, hit), stored) in hits.iter().zip(fetch(partition, &keys)?) {
            view.unless_stopped(&request.stop)?;
            let Some(record) = stored.map(|bytes| codec::decode(&bytes)).transpose()? else { continue };
            let key = &hit.place.key;
            if let Some(shown) = Shown::of(def, key, &record, only) {
                let explain = if *at < explained { dress.explain(key)? } else { None };
                let version = if request.versions { record.version() } else { None };
                records.insert(key.clone(), (shown, dress.highlight(def, key, &record), explain, version));
            }
        }
    }
    let hit = |m: Match| {
        let (record, highlight, explain, version) = records.remove(&m.place.key)?;
        Some(Hit { record, highlight, explain, version, place: m.place, score: m.score })
    };
    Ok(matches.into_iter().filter_map(hit).collect())
}

/// The tasks that can answer, as they were before the search.
pub(super) struct Tasks {
    pub(super) addressed: BTreeSet<u32>,
    stores: BTreeMap<u32, Arc<Store>>,
    progress: BTreeMap<u32, (Progress, i64)>,
    missing: Vec<u32>,
}

impl Tasks {
    /// Those addressed that run; all that have a store where stale data will do.
    pub(super) fn answering(table: &Table, request: &SearchRequest) -> Self {
        let addressed = |partition: &u32| request.partitions.as_ref().is_none_or(|p| p.contains(partition));
        let mut this = Self {
            addressed: BTreeSet::new(),
            stores: BTreeMap::new(),
            progress: BTreeMap::new(),
            missing: Vec::new(),
        };
        for (partition, task) in table.tasks().iter().filter(|(p, _)| addressed(p)) {
            if request.stale || *task.phase() == Phase::Running {
                this.add(*partition, task);
            }
        }
        this.missing = (0..table.partitions).filter(|p| addressed(p) && !this.addressed.contains(p)).collect();
        this
    }

    fn add(&mut self, partition: u32, task: &TaskView) {
        let Some(store) = task.store() else { return };
        self.progress.insert(partition, (task.progress(), task.unread()));
        self.stores.insert(partition, store);
        self.addressed.insert(partition);
    }

    /// Says what the answer covers.
    fn describe(self, view: &View, answer: &mut SearchAnswer) {
        for (partition, (progress, lag)) in self.progress {
            let mut visible = progress.visible;
            for (topic, offset) in view.covered.get(&partition).map(|c| &c.sources).into_iter().flatten() {
                let known = visible.entry(Arc::clone(topic)).or_insert(*offset);
                *known = (*known).max(*offset);
            }
            let unseen = behind(&visible, &progress.applied);
            // What is visible stands in the store, though its progress was read before.
            let mut applied = progress.applied;
            for (topic, offset) in &visible {
                let known = applied.entry(Arc::clone(topic)).or_insert(*offset);
                *known = (*known).max(*offset);
            }
            answer.index.insert(partition, TaskPosition { sources: visible, lag: lag + unseen });
            answer.store.insert(partition, TaskPosition { sources: applied, lag });
        }
        answer.missing_partitions = self.missing;
    }
}

/// Events that are applied but not visible.
fn behind(visible: &BTreeMap<Arc<str>, Offset>, applied: &BTreeMap<Arc<str>, Offset>) -> i64 {
    applied.iter().map(|(topic, at)| (at - visible.get(topic).copied().unwrap_or(0)).max(0)).sum()
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "paging_tests.rs"]
mod paging_tests;

#[cfg(test)]
#[path = "summary_tests.rs"]
mod summary_tests;

#[cfg(test)]
#[path = "analysis_tests.rs"]
mod analysis_tests;

#[cfg(test)]
#[path = "clause_tests.rs"]
mod clause_tests;

#[cfg(test)]
#[path = "gather_tests.rs"]
mod gather_tests;

#[cfg(test)]
#[path = "standing_tests.rs"]
mod standing_tests;

#[cfg(test)]
#[path = "tops_tests.rs"]
mod tops_tests;

#[cfg(test)]
#[path = "short_tests.rs"]
mod short_tests;
