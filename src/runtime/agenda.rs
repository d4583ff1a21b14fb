//! When to look for what is due in a task. Pure.
//!
//! The store's entries lag behind what is merged: those of batches that are not applied yet cannot be found. So it is kept in
//! mind from which time on there may be any, and what is on its way there.

/// When to look for what is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agenda {
    /// No entry of an applied batch stands before this time.
    from: i64,
    /// Batches on their way, by number, with the earliest time that each enters.
    entering: Vec<(u64, i64)>,
    /// The last batch that took entries away.
    taking: u64,
}

impl Default for Agenda {
    /// Nothing is known: everything may be due.
    fn default() -> Self {
        Self { from: i64::MIN, entering: Vec::new(), taking: 0 }
    }
}

impl Agenda {
    /// Batch `seq` enters something at `at`.
    pub fn enter(&mut self, seq: u64, at: i64) {
        match self.entering.last_mut() {
            Some((last, earliest)) if *last == seq => *earliest = at.min(*earliest),
            _ => self.entering.push((seq, at)),
        }
    }

    /// From which time on to look for entries before `watermark`, when everything up to batch `applied` is in the store; `None`
    /// while there are none, or the last ones found are not taken away yet.
    pub fn look(&mut self, watermark: i64, applied: u64) -> Option<i64> {
        if applied < self.taking {
            return None;
        }
        let (here, on_their_way): (Vec<_>, Vec<_>) = self.entering.iter().partition(|(seq, _)| *seq <= applied);
        self.entering = on_their_way;
        self.from = here.into_iter().map(|(_, at)| at).fold(self.from, i64::min);
        (self.from < watermark).then_some(self.from)
    }

    /// Notes what was found: batch `taking`, if any, takes it away, and the next entry stands at `next`.
    pub fn found(&mut self, taking: Option<u64>, next: Option<i64>) {
        self.taking = taking.unwrap_or(self.taking);
        self.from = next.unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_first_everything_may_be_due() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.look(i64::MIN, 0), None);
        assert_eq!(agenda.look(5, 0), Some(i64::MIN));
        agenda.found(None, Some(9));
        assert_eq!((agenda.look(9, 0), agenda.look(10, 0)), (None, Some(9)));
        agenda.found(None, None);
        assert_eq!(agenda.look(i64::MAX, 0), None, "there is none");
    }

    #[test]
    fn what_is_on_its_way_is_looked_for_once_it_is_there() {
        let mut agenda = Agenda::default();
        agenda.enter(3, 50);
        agenda.enter(3, 40);
        agenda.enter(4, 30);
        agenda.found(None, None);
        assert_eq!(agenda.look(100, 2), None);
        assert_eq!(agenda.look(100, 3), Some(40));
        agenda.found(None, None);
        assert_eq!(agenda.look(100, 4), Some(30), "a look before it was there did not find it");
    }

    #[test]
    fn what_was_found_is_not_found_again_before_it_is_gone() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.look(100, 4), Some(i64::MIN));
        agenda.found(Some(5), Some(70));
        assert_eq!(agenda.look(100, 4), None);
        assert_eq!(agenda.look(100, 5), Some(70));
    }
}
