//! What a change is to a live query: whether its record was in the query before, and is now.
//!
//! The keys that are in it are known from a search when the stream begins, and kept up to date by every change; so no record has to
//! be judged twice, and nobody needs the record of before. Of what changed between the position of somebody who resumes and that
//! search nobody knows what it was before: that is said.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::FxHashSet;

use super::position::Position;
use crate::Result;
use crate::broker::Offset;
use crate::query::standing::{KeyHash, Matching, hash, too_many};

/// Keys that all live queries of the instance may remember together.
#[derive(Debug)]
pub struct Room {
    most: usize,
    used: AtomicUsize,
}

impl Room {
    /// For so many keys.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, used: AtomicUsize::new(0) })
    }

    /// Keys that there is room for.
    pub fn left(&self) -> usize {
        self.most.saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn take(&self, n: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(n).filter(|sum| *sum <= self.most);
        match self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits) {
            Ok(_) => Ok(()),
            Err(_) => Err(too_many(self.most)),
        }
    }
}

/// What a change is to a live query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It matches, and did not before.
    Entered,
    /// It matches, and did before.
    Changed,
    /// It does not match, and did before.
    Left,
}

/// The keys in a live query.
#[derive(Debug)]
pub struct Membership {
    room: Arc<Room>,
    inside: FxHashSet<KeyHash>,
    /// Below these offsets only what was told says what was before.
    unsure: BTreeMap<u32, Offset>,
    told: FxHashSet<KeyHash>,
    held: usize,
}

impl Membership {
    /// Of these keys. What changes below the offsets of `unsure` was seen by its reader as nobody knows what.
    pub fn new(room: Arc<Room>, matching: Matching, unsure: BTreeMap<u32, Offset>) -> Result<Self> {
        let held = matching.keys.len();
        room.take(held)?;
        Ok(Self { room, inside: matching.keys, unsure, told: FxHashSet::default(), held })
    }

    /// Takes in what a change says that the reader knows already.
    pub fn learn(&mut self, key: &[u8], matches: bool) -> Result<()> {
        self.put(hash(key), matches).map(drop)
    }

    /// Puts a key in or out; whether it was in.
    fn put(&mut self, key: KeyHash, matches: bool) -> Result<bool> {
        let was = self.inside.contains(&key);
        match (was, matches) {
            (false, true) => {
                self.room.take(1)?;
                self.held += 1;
                self.inside.insert(key);
            }
            (true, false) => {
                self.inside.remove(&key);
                self.give_back(1);
            }
            (true, true) | (false, false) => {}
        }
        Ok(was)
    }

    /// What the change is, and whether what it was before is known; `None`: nothing. Changes come in the order of their partition.
    pub fn judge(&mut self, partition: u32, offset: Offset, key: &[u8], matches: bool) -> Result<Option<(Kind, bool)>> {
        let key = hash(key);
        let unsure = self.unsure.get(&partition).is_some_and(|sure| offset < *sure) && !self.told.contains(&key);
        if unsure {
            self.room.take(1)?;
            self.held += 1;
            self.told.insert(key);
        }
        let was = self.put(key, matches)?;
        Ok(match (unsure, was, matches) {
            (true, _, true) => Some((Kind::Entered, false)),
            (true, _, false) => Some((Kind::Left, false)),
            (false, false, true) => Some((Kind::Entered, true)),
            (false, true, true) => Some((Kind::Changed, true)),
            (false, true, false) => Some((Kind::Left, true)),
            (false, false, false) => None,
        })
    }

    /// Forgets what is of use below a position only.
    pub fn settle(&mut self, at: &Position) {
        if self.unsure.is_empty() {
            return;
        }
        self.unsure.retain(|p, sure| at.next.get(p).is_some_and(|next| next < sure));
        if self.unsure.is_empty() {
            self.give_back(self.told.len());
            self.told = FxHashSet::default();
        }
    }

    fn give_back(&mut self, n: usize) {
        self.held -= n;
        self.room.used.fetch_sub(n, Ordering::Relaxed);
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.give_back(self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(room: &Arc<Room>, keys: &[&str], unsure: &[(u32, Offset)]) -> Membership {
        let matching = Matching { keys: keys.iter().map(|k| hash(k.as_bytes())).collect(), at: BTreeMap::new() };
        Membership::new(Arc::clone(room), matching, unsure.iter().copied().collect()).unwrap()
    }

    #[test]
    fn a_change_enters_changes_in_and_leaves_by_what_was_before_it() {
        let room = Room::new(10);
        let mut members = of(&room, &["a"], &[]);
        let mut judge = |key: &str, matches| members.judge(0, 0, key.as_bytes(), matches).unwrap();
        assert_eq!(judge("a", true), Some((Kind::Changed, true)));
        assert_eq!(judge("b", false), None);
        assert_eq!(judge("b", true), Some((Kind::Entered, true)));
        assert_eq!(judge("a", false), Some((Kind::Left, true)));
        assert_eq!(judge("a", false), None);
    }

    #[test]
    fn below_what_is_sure_each_key_is_told_once_whatever_it_was() {
        let room = Room::new(10);
        let mut members = of(&room, &["a"], &[(0, 5)]);
        let judge = |members: &mut Membership, p, offset, key: &str, matches| {
            members.judge(p, offset, key.as_bytes(), matches).unwrap()
        };
        assert_eq!(judge(&mut members, 0, 1, "a", false), Some((Kind::Left, false)));
        assert_eq!(judge(&mut members, 0, 2, "a", true), Some((Kind::Entered, true)));
        assert_eq!(judge(&mut members, 0, 3, "b", true), Some((Kind::Entered, false)));
        assert_eq!(judge(&mut members, 0, 4, "b", true), Some((Kind::Changed, true)));
        assert_eq!(judge(&mut members, 0, 5, "c", false), None);
        assert_eq!(judge(&mut members, 1, 0, "d", false), None);
        assert_eq!(room.left(), 6, "a and b are inside, and were told");
        let at = |next| Position::new(BTreeMap::from([(0, next)]), None);
        members.settle(&at(4));
        assert_eq!(room.left(), 6);
        members.settle(&at(5));
        assert_eq!(room.left(), 8);
        assert_eq!(judge(&mut members, 0, 4, "e", false), None, "nothing is unsure any more");
    }

    #[test]
    fn what_the_reader_knows_already_is_taken_in_without_a_word() {
        let room = Room::new(3);
        let mut members = of(&room, &["a"], &[(0, 9)]);
        members.learn(b"a", false).unwrap();
        members.learn(b"b", true).unwrap();
        assert_eq!(members.judge(0, 9, b"a", false).unwrap(), None, "it was told that a left");
        assert_eq!(members.judge(0, 10, b"b", false).unwrap(), Some((Kind::Left, true)));
        members.learn(b"c", true).unwrap();
        assert_eq!(room.left(), 2);
    }

    #[test]
    fn the_room_is_shared_and_given_back() {
        let room = Room::new(3);
        let mut members = of(&room, &["a", "b"], &[]);
        assert_eq!(members.judge(0, 0, b"c", true).unwrap(), Some((Kind::Entered, true)));
        assert!(members.judge(0, 1, b"d", true).is_err(), "it is full");
        members.judge(0, 2, b"a", false).unwrap();
        assert_eq!(room.left(), 1);
        let matching = Matching { keys: [hash(b"x"), hash(b"y")].into_iter().collect(), at: BTreeMap::new() };
        assert!(Membership::new(Arc::clone(&room), matching, BTreeMap::new()).is_err());
        drop(members);
        assert_eq!(room.left(), 3);
    }
}
