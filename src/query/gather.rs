//! Makes one answer of those of several leaves. Pure.
//!
//! Every hit says where it stands ([`super::Place`]: sort values, then the key), and leaves have no partition in common: the
//! merged hits are those that one leaf with all partitions would give, in its order.

use super::{Hit, Place, SearchAnswer};
use crate::Result;

/// The answers of leaves as one, with at most `limit` hits.
pub fn gather<R>(leaves: Vec<SearchAnswer<R>>, limit: usize) -> Result<SearchAnswer<R>> {
    let mut all = SearchAnswer::default();
    let mut total = Some(0);
    let mut runs = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        total = total.zip(leaf.total).map(|(sum, more)| sum + more);
        for warning in leaf.warnings {
            // Everybody has read the same words.
            if !all.warnings.contains(&warning) {
                all.warnings.push(warning);
            }
        }
        for (i, facet) in leaf.facets.into_iter().enumerate() {
            match all.facets.get_mut(i) {
                Some(known) => known.merge(facet),
                None => all.facets.push(facet),
            }
        }
        match (&mut all.aggs, leaf.aggs) {
            (Some(known), Some(more)) => known.merge(more)?,
            (known, more) => *known = known.take().or(more),
        }
        all.index.extend(leaf.index);
        all.store.extend(leaf.store);
        all.missing_partitions.extend(leaf.missing_partitions);
        runs.push(leaf.hits);
    }
    all.missing_partitions.sort_unstable();
    all.total = total.filter(|_| !runs.is_empty());
    all.hits = merge(runs, limit);
    Ok(all)
}

fn place<R>(rest: &std::vec::IntoIter<Hit<R>>) -> Option<&Place> {
    rest.as_slice().first().map(|hit| &hit.place)
}

/// The first `limit` of sorted runs. There are as many runs as instances: few.
fn merge<R>(runs: Vec<Vec<Hit<R>>>, limit: usize) -> Vec<Hit<R>> {
    let mut rests: Vec<_> = runs.into_iter().map(Vec::into_iter).collect();
    let mut hits = Vec::new();
    while hits.len() < limit {
        let heads = rests.iter_mut().filter(|rest| !rest.as_slice().is_empty());
        let first = heads.min_by(|a, b| place(a).cmp(&place(b)));
        match first.and_then(Iterator::next) {
            Some(hit) => hits.push(hit),
            None => break,
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Rank;

    fn hit(rank: u64, key: &str) -> Hit<()> {
        let place = Place { ranks: vec![Rank::Number(rank)], key: key.as_bytes().to_vec() };
        Hit { place, score: None, record: (), highlight: Default::default(), explain: None, version: None }
    }

    fn leaf(hits: Vec<Hit<()>>, total: Option<u64>, missing: &[u32]) -> SearchAnswer<()> {
        SearchAnswer { hits, total, missing_partitions: missing.to_vec(), ..SearchAnswer::default() }
    }

    fn keys(answer: &SearchAnswer<()>) -> Vec<String> {
        answer.hits.iter().map(|h| String::from_utf8_lossy(&h.place.key).into_owned()).collect()
    }

    #[test]
    fn hits_are_merged_by_place_and_the_key_decides_between_equals() {
        let one = leaf(vec![hit(1, "b"), hit(2, "a"), hit(9, "z")], Some(3), &[4]);
        let other = leaf(vec![hit(1, "a"), hit(2, "b")], Some(7), &[1]);
        let all = gather(vec![one, other], 4).unwrap();
        assert_eq!(keys(&all), ["a", "b", "a", "b"]);
        assert_eq!((all.total, all.missing_partitions), (Some(10), vec![1, 4]));
    }

    #[test]
    fn a_total_is_known_only_where_all_counted() {
        assert_eq!(gather(vec![leaf(vec![], Some(3), &[]), leaf(vec![], None, &[])], 4).unwrap().total, None);
        assert_eq!(gather(Vec::<SearchAnswer<()>>::new(), 4).unwrap().total, None);
    }

    #[test]
    fn a_warning_that_several_give_is_given_once() {
        let warned = |w: &str| SearchAnswer::<()> { warnings: vec![w.to_owned()], ..SearchAnswer::default() };
        assert_eq!(gather(vec![warned("x"), warned("x"), warned("y")], 1).unwrap().warnings, ["x", "y"]);
    }
}
