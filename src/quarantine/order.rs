//! What a replayed event carries: the order to apply it for one table, and what it is a replay of.

use serde::{Deserialize, Serialize};

use super::entry::EntryId;

/// Name of the header.
pub const HEADER: &str = "keld.replay";

/// The order that a replayed event carries in its header, as JSON.
///
/// It holds for one table of one application, and only in the topic that it was written to: a program that copies headers on
/// into another topic does not make a replay of its own events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// The entry it is a replay of.
    pub entry: String,
    /// Application whose entry it is.
    pub application: String,
    /// Table that refused the event.
    pub table: String,
    /// Topic it was written to.
    pub topic: String,
    /// The fields that were refused, where the rest was merged: only they are applied. Empty: the whole event is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

impl Replay {
    /// Reads a header; `None` if it is none of ours.
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The header.
    pub fn header(&self) -> crate::Result<(String, Vec<u8>)> {
        let value = serde_json::to_vec(self)
            .map_err(|e| crate::Error::internal("the header of a replay does not encode").because(e))?;
        Ok((HEADER.to_owned(), value))
    }

    /// Whether it speaks to the tables of `application` that read `topic`.
    pub fn is_addressed(&self, application: &str, topic: &str) -> bool {
        self.application == application && self.topic == topic
    }

    /// The entry it is a replay of.
    pub fn entry_id(&self) -> Option<EntryId> {
        self.entry.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_other_headers_are_none() {
        let replay = Replay {
            entry: "2-17".into(),
            application: "shop".into(),
            table: "products".into(),
            topic: "stock".into(),
            fields: vec!["sold".into()],
        };
        let (name, value) = replay.header().unwrap();
        assert_eq!(name, HEADER);
        assert_eq!(Replay::read(&value), Some(replay.clone()));
        assert_eq!(replay.entry_id(), Some(EntryId { partition: 2, offset: 17 }));
        assert!(replay.is_addressed("shop", "stock"));
        assert!(!replay.is_addressed("shop", "copies") && !replay.is_addressed("other", "stock"));
        assert_eq!(Replay::read(b"yes"), None);
    }
}
