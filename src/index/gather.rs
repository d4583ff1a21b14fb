//! The first documents of all segments, from those of each.

use std::cmp::Ordering as Cmp;
use std::io;
use std::sync::Arc;

use tantivy::Score;

use super::collect::{Columns, Entry, Match};
use super::place::{Place, Rank};

/// The first documents of one segment, in order.
pub(super) struct Run {
    pub(super) columns: Columns,
    pub(super) entries: std::vec::IntoIter<Entry>,
    pub(super) total: u64,
}

/// The next document of a run. Its key is read only if it is a hit or decides between equals: reading it takes longer than
/// everything else about it.
struct Head {
    run: Run,
    entry: Entry,
    ranks: Vec<Rank>,
    key: Option<Arc<[u8]>>,
}

impl Head {
    fn of(mut run: Run) -> io::Result<Option<Self>> {
        let Some(entry) = run.entries.next() else { return Ok(None) };
        Ok(Some(Self { ranks: run.columns.ranks(&entry)?, key: None, entry, run }))
    }

    fn key(&mut self) -> io::Result<&[u8]> {
        let key = match self.key.take() {
            Some(key) => key,
            None => self.run.columns.key(&self.entry)?,
        };
        Ok(self.key.insert(key))
    }

    fn found(mut self) -> io::Result<(Match, Option<Self>)> {
        let key = self.key()?.to_vec();
        let score = self.run.columns.scores.then(|| Score::from_bits(self.entry.score));
        let place = Place { ranks: self.ranks, key };
        let found = Match { place, partition: self.run.columns.partition(&self.entry), score };
        Ok((found, Self::of(self.run)?))
    }
}

/// Index of the first document among heads.
fn first(heads: &mut [Head]) -> io::Result<usize> {
    let mut best = 0;
    for i in 1..heads.len() {
        let (before, rest) = heads.split_at_mut(i);
        let (held, next) = (&mut before[best], &mut rest[0]);
        let order = match next.ranks.cmp(&held.ranks) {
            Cmp::Equal => next.key()?.cmp(held.key()?),
            order => order,
        };
        if order == Cmp::Less {
            best = i;
        }
    }
    Ok(best)
}

/// The first `limit` documents of all runs.
pub(super) fn merged(runs: Vec<Run>, limit: usize) -> io::Result<Vec<Match>> {
    let heads: io::Result<Vec<Option<Head>>> = runs.into_iter().map(Head::of).collect();
    let mut heads: Vec<Head> = heads?.into_iter().flatten().collect();
    let mut hits = Vec::new();
    while hits.len() < limit && !heads.is_empty() {
        let best = first(&mut heads)?;
        let (found, next) = heads.swap_remove(best).found()?;
        hits.push(found);
        heads.extend(next);
    }
    Ok(hits)
}
