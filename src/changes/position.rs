//! Where a stream stands, and how that is written: `<partition>:<next offset>[,…][@<milliseconds>]`.

use std::collections::BTreeMap;
use std::fmt;

use crate::broker::Offset;
use crate::{Error, Result};

/// Most partitions that a position may name.
const MOST: usize = 65_536;

/// Where a stream stands: everything before it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Offset of the next change to read, by partition.
    pub next: BTreeMap<u32, Offset>,
    /// Until when nothing that was committed is missing before it, milliseconds since the epoch, where that is known.
    pub as_of_ms: Option<i64>,
    /// Where its reader has seen more than is read yet: offset of the next change to send.
    told: BTreeMap<u32, Offset>,
}

/// Where somebody wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// With everything that is there.
    Beginning,
    /// Behind what was seen before. Partitions that it does not name begin now.
    At(Position),
}

impl Named {
    /// Reads `beginning`, or a position. Its items may name the changelog `topic` in front, as other positions do.
    pub fn parse(text: &str, topic: &str) -> Result<Self> {
        if text == "beginning" {
            return Ok(Self::Beginning);
        }
        let wrong = |what: &str| {
            let shown: String = what.chars().take(80).collect();
            Error::bad_request(format!("found `{shown}`"))
        };
        let (places, as_of) = match text.rsplit_once('@') {
            Some((places, time)) => (places, Some(time.parse().map_err(|_| wrong(text))?)),
            None => (text, None),
        };
        let mut next = BTreeMap::new();
        for item in places.split(',').take(MOST) {
            let mut parts = item.trim().rsplitn(3, ':');
            let offset = parts.next().and_then(|o| o.parse::<Offset>().ok()).filter(|o| *o >= 0);
            let partition = parts.next().and_then(|p| p.parse().ok());
            let (Some(offset), Some(partition)) = (offset, partition) else { return Err(wrong(item)) };
            if parts.next().is_some_and(|named| named != topic) || next.insert(partition, offset).is_some() {
                return Err(wrong(item));
            }
        }
        Ok(Self::At(Position::new(next, as_of)))
    }
}

impl Position {
    /// A position at these offsets.
    pub fn new(next: BTreeMap<u32, Offset>, as_of_ms: Option<i64>) -> Self {
        Self { next, as_of_ms, told: BTreeMap::new() }
    }

    /// The same place, read from further back where `known` lies before it: what is read up to it was sent before.
    pub fn read_from(mut self, known: &BTreeMap<u32, Offset>) -> Self {
        for (partition, next) in &mut self.next {
            if let Some(from) = known.get(partition).filter(|from| *from < next) {
                self.told.insert(*partition, *next);
                *next = *from;
            }
        }
        self
    }

    /// Whether a change was sent to the reader before this stream began.
    pub fn was_told(&self, partition: u32, offset: Offset) -> bool {
        self.told.get(&partition).is_some_and(|told| offset < *told)
    }

    /// Whether a change is behind it, and so still to be read.
    pub fn is_before(&self, partition: u32, offset: Offset) -> bool {
        self.next.get(&partition).is_some_and(|next| offset >= *next)
    }

    /// Moves past an offset; never back.
    pub fn pass(&mut self, partition: u32, offset: Offset) {
        self.reach(partition, offset + 1);
    }

    /// Moves on to an offset; never back.
    pub fn reach(&mut self, partition: u32, offset: Offset) {
        if let Some(next) = self.next.get_mut(&partition) {
            *next = offset.max(*next);
            if self.told.get(&partition).is_some_and(|told| told <= next) {
                self.told.remove(&partition);
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (partition, offset)) in self.next.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            write!(f, "{comma}{partition}:{}", self.told.get(partition).unwrap_or(offset))?;
        }
        self.as_of_ms.map_or(Ok(()), |ms| write!(f, "@{ms}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(next: &[(u32, Offset)], as_of_ms: Option<i64>) -> Named {
        Named::At(Position::new(next.iter().copied().collect(), as_of_ms))
    }

    #[test]
    fn a_position_is_read_as_it_was_written() {
        for (named, text) in
            [(at(&[(0, 12), (7, 0)], Some(1_764_144_000_000)), "0:12,7:0@1764144000000"), (at(&[(3, 9)], None), "3:9")]
        {
            assert_eq!(Named::parse(text, "t").unwrap(), named);
            let Named::At(position) = named else { unreachable!() };
            assert_eq!(position.to_string(), text);
        }
        assert_eq!(Named::parse("beginning", "t").unwrap(), Named::Beginning);
    }

    #[test]
    fn the_topic_may_stand_in_front_if_it_is_the_right_one() {
        assert_eq!(Named::parse("a:b-changelog:0:5, 1:6", "a:b-changelog").unwrap(), at(&[(0, 5), (1, 6)], None));
        for bad in ["other:0:5", "", "0", "0:x", "0:-1", "x:1", "0:1,0:2", "0:1,", "0:1@", "0:1@x", "now"] {
            assert!(Named::parse(bad, "t").unwrap_err().message().contains("found `"), "{bad}");
        }
    }

    #[test]
    fn it_moves_forward_only_and_in_its_own_partitions() {
        let Named::At(mut position) = at(&[(0, 5)], None) else { unreachable!() };
        assert!(position.is_before(0, 5) && !position.is_before(0, 4) && !position.is_before(1, 9));
        position.pass(0, 7);
        position.pass(0, 3);
        position.reach(1, 4);
        assert_eq!(position.next, BTreeMap::from([(0, 8)]));
    }

    #[test]
    fn what_is_read_again_was_told_before_and_is_not_part_of_its_text() {
        let Named::At(position) = at(&[(0, 5), (1, 7), (2, 9)], None) else { unreachable!() };
        let mut position = position.read_from(&BTreeMap::from([(0, 2), (1, 8), (3, 0)]));
        assert_eq!(position.next, BTreeMap::from([(0, 2), (1, 7), (2, 9)]));
        assert!(position.is_before(0, 2) && position.was_told(0, 4));
        assert!(!position.was_told(0, 5) && !position.was_told(1, 6) && !position.was_told(2, 8));
        position.pass(0, 3);
        assert_eq!(position.to_string(), "0:5,1:7,2:9");
        position.reach(0, 6);
        assert_eq!(position.to_string(), "0:6,1:7,2:9");
        assert!(!position.was_told(0, 4), "nothing comes twice");
    }
}
