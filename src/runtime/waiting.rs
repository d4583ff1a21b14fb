//! Partitions of sources that wait for a schema: which, for which one, and what is unread there meanwhile.

use std::collections::BTreeMap;

use crate::record::decode::{Lookup, Schemas};
use crate::registry::Registry;

/// What waits, by partition and number of the source.
#[derive(Debug, Default)]
pub struct Waiting {
    all: BTreeMap<(u32, usize), Wait>,
}

/// One wait.
#[derive(Debug)]
pub struct Wait {
    /// Id of the schema.
    pub schema: u32,
    /// Messages that were unread when the wait began; more may have come since.
    pub unread: i64,
    announced: bool,
}

impl Waiting {
    /// A message needs this schema.
    pub fn begin(&mut self, partition: u32, source: usize, schema: u32) {
        self.all.insert((partition, source), Wait { schema, unread: 1, announced: false });
    }

    /// Whether a message is left unread because one before it waits; counts it.
    pub fn skips(&mut self, partition: u32, source: usize) -> bool {
        let wait = self.all.get_mut(&(partition, source));
        wait.map(|wait| wait.unread += 1).is_some()
    }

    /// Whether this partition of this source waits.
    pub fn holds(&self, partition: u32, source: usize) -> bool {
        self.all.contains_key(&(partition, source))
    }

    /// Unread messages where something waits.
    pub fn unread(&self, partition: u32, source: usize) -> Option<i64> {
        self.all.get(&(partition, source)).map(|wait| wait.unread)
    }

    /// Whether a wait began that was not announced.
    pub fn is_new(&self) -> bool {
        self.all.values().any(|wait| !wait.announced)
    }

    /// The waits that were not announced; they are now.
    pub fn unannounced(&mut self) -> impl Iterator<Item = (u32, usize, &mut Wait)> {
        let new = self.all.iter_mut().filter(|(_, wait)| !wait.announced);
        new.map(|((partition, source), wait)| {
            wait.announced = true;
            (*partition, *source, wait)
        })
    }

    /// Nothing of a partition waits any more.
    pub fn forget(&mut self, partition: u32) {
        self.all.retain(|(held, _), _| *held != partition);
    }

    /// Ends the waits whose schemas are known, and asks for the others; true if one ended.
    pub fn look(&mut self, registry: &Registry) -> bool {
        let before = self.all.len();
        self.all.retain(|_, wait| {
            let missing = matches!(registry.schema(wait.schema), Lookup::Missing);
            if missing {
                registry.want(wait.schema);
            }
            missing
        });
        self.all.len() < before
    }
}
