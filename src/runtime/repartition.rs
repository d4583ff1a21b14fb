//! Events whose key belongs to another partition: on their way there through an internal topic.
//!
//! The task that finds one writes it to the partition of its key, in the transaction that moves it past the event; the task there
//! reads the topic as a further input. A header says where the event came from, so that it is merged, counted and, where it comes
//! to that, quarantined as if it had come directly.

use serde::{Deserialize, Serialize};

use crate::broker::Offset;
use crate::record::TableDef;

/// Name of the header.
const HEADER: &str = "keld.origin";

/// Where an event came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Source of the table.
    pub source: String,
    /// Partition it came in.
    pub partition: u32,
    /// Offset it came at.
    pub offset: Offset,
    /// Timestamp stored by the broker with it, milliseconds.
    pub timestamp_ms: i64,
}

impl Origin {
    /// Takes the origin out of the headers of an event that came through the internal topic, with the number of its source;
    /// `None` if it has none, or one of a source that the table has no more.
    pub fn take(def: &TableDef, headers: &mut Vec<(String, Vec<u8>)>) -> Option<(Self, usize)> {
        let at = headers.iter().position(|(name, _)| name == HEADER)?;
        let origin: Self = serde_json::from_slice(&headers.remove(at).1).ok()?;
        let source = def.sources.iter().position(|s| s.name == origin.source)?;
        Some((origin, source))
    }

    /// The header.
    pub fn header(&self) -> crate::Result<(String, Vec<u8>)> {
        let value = serde_json::to_vec(self)
            .map_err(|e| crate::Error::internal("the origin of an event does not encode").because(e))?;
        Ok((HEADER.to_owned(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_taken_out_of_the_headers_it_was_put_into() {
        let def = crate::index::testing::def();
        let origin = Origin { source: def.sources[0].name.clone(), partition: 3, offset: 7, timestamp_ms: -1 };
        let own = ("trace".to_owned(), vec![0, 255]);
        let mut headers = vec![own.clone(), origin.header().unwrap()];
        assert_eq!(Origin::take(&def, &mut headers), Some((origin.clone(), 0)));
        assert_eq!(headers, [own]);
        assert_eq!(Origin::take(&def, &mut headers), None);
        let gone = Origin { source: "gone".into(), ..origin };
        assert_eq!(Origin::take(&def, &mut vec![gone.header().unwrap()]), None);
    }
}
