//! Event time of a task: how far its sources have come. Pure.
//!
//! The watermark is the minimum, over the sources, of the highest version seen; a source that is read to its end does not hold
//! it back. When all are, it is the maximum. It never goes back, and position records keep it: at an end there is nothing that
//! would tell again how far it had come.

use crate::record::TableDef;
use crate::store::Position;

/// Event time of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Highest version seen of each source, its first part.
    highest: Vec<Option<i64>>,
    /// Which are read to their end.
    ended: Vec<bool>,
    reached: Option<i64>,
}

impl Watermark {
    /// As a position says; whether a source is read to its end is not known yet.
    pub fn of(def: &TableDef, position: &Position) -> Self {
        let highest = def.sources.iter().map(|s| position.sources.get(&s.name).and_then(|at| at.watermark));
        let highest: Vec<Option<i64>> = highest.collect();
        let ended = vec![false; highest.len()];
        Self { highest, ended, reached: position.watermark }
    }

    /// The watermark, if it is known.
    pub fn reached(&self) -> Option<i64> {
        self.reached
    }

    /// An event of a source, which may have more now.
    pub fn see(&mut self, source: usize, version: i64) {
        if let (Some(highest), Some(ended)) = (self.highest.get_mut(source), self.ended.get_mut(source)) {
            *ended = false;
            if highest.is_none_or(|highest| version > highest) {
                *highest = Some(version);
                self.advance();
            }
        }
    }

    /// Notes which sources are read to their end.
    pub fn look(&mut self, is_at_end: impl Fn(usize) -> bool) {
        for (source, ended) in self.ended.iter_mut().enumerate() {
            *ended = is_at_end(source);
        }
        self.advance();
    }

    /// Time that passed elsewhere while nothing came here; counts only where all sources are read to their end.
    pub fn idle(&mut self, time: i64) {
        if self.ended.iter().all(|ended| *ended) {
            self.reached = self.reached.max(Some(time));
        }
    }

    fn advance(&mut self) {
        let mut open = self.highest.iter().zip(&self.ended).filter(|(_, ended)| !**ended).peekable();
        let now = if open.peek().is_none() {
            self.highest.iter().copied().max().flatten()
        } else {
            open.map(|(highest, _)| *highest).min().flatten()
        };
        self.reached = self.reached.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two sources, nothing seen.
    fn fresh() -> Watermark {
        Watermark { highest: vec![None; 2], ended: vec![false; 2], reached: None }
    }

    #[test]
    fn the_slowest_source_that_has_more_decides() {
        let mut w = fresh();
        w.see(0, 100);
        assert_eq!(w.reached(), None, "nothing is known of the other");
        w.see(1, 40);
        assert_eq!(w.reached(), Some(40));
        w.see(0, 200);
        w.see(1, 30);
        assert_eq!(w.reached(), Some(40), "a late event says nothing new");
        w.see(1, 150);
        assert_eq!(w.reached(), Some(150));
    }

    #[test]
    fn a_source_at_its_end_does_not_hold_back() {
        let mut w = fresh();
        w.see(0, 100);
        w.look(|source| source == 1);
        assert_eq!(w.reached(), Some(100), "the other is empty");
        w.look(|source| source == 0);
        assert_eq!(w.reached(), Some(100), "the other has something unread, but time does not go back");
        w.see(1, 500);
        assert_eq!(w.reached(), Some(500), "the first is at its end");
        w.see(0, 110);
        w.see(1, 600);
        assert_eq!(w.reached(), Some(500), "the first has something again");
        w.look(|_| true);
        assert_eq!(w.reached(), Some(600), "all are at their end");
    }

    #[test]
    fn time_passes_elsewhere_only_for_who_waits_for_nothing() {
        let mut w = fresh();
        w.see(0, 100);
        w.idle(1_000);
        assert_eq!(w.reached(), None);
        w.look(|_| true);
        w.idle(1_000);
        assert_eq!(w.reached(), Some(1_000));
        w.idle(900);
        assert_eq!(w.reached(), Some(1_000));
    }

    #[test]
    fn a_position_keeps_it() {
        let def = crate::index::testing::def();
        let mut position = Position::default();
        position.watermark = Some(70);
        let at = crate::store::SourcePosition { watermark: Some(50), ..Default::default() };
        position.sources.insert(def.sources[0].name.clone(), at);
        let mut w = Watermark::of(&def, &position);
        assert_eq!(w.reached(), Some(70));
        w.see(0, 60);
        assert_eq!(w.reached(), Some(70));
        w.see(0, 80);
        assert_eq!(w.reached(), Some(80));
    }
}
