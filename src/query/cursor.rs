//! Where the next page begins, as a text that clients hand back.
//!
//! A cursor is the place of the last hit: its sort values and its key. Nothing is kept between two pages. The next page has the
//! records that come behind that place *then*, so whatever happens in between, a record whose place does not change is neither
//! missed nor repeated.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

use super::SearchRequest;
use crate::index::{Place, Rank};
use crate::{Error, Result};

/// Changes whenever cursors are written differently.
const VERSION: u8 = 1;
/// Longest cursor that is read, bytes: eight texts of 64 KiB are the longest place.
const LONGEST: usize = 2 << 20;

#[derive(Serialize, Deserialize)]
struct Stored {
    v: u8,
    /// Of what it is a cursor.
    of: u64,
    r: Vec<Rank>,
    k: String,
}

/// The cursor of the page behind `place` in answers to whatever `of` identifies.
pub fn write(of: u64, place: &Place) -> String {
    // Keys are UTF-8: what is not was quarantined.
    let k = String::from_utf8_lossy(&place.key).into_owned();
    let stored = Stored { v: VERSION, of, r: place.ranks.clone(), k };
    BASE64.encode(serde_json::to_vec(&stored).unwrap_or_default())
}

/// The place in a cursor, if it was written for whatever `of` identifies.
pub fn read(text: &str, of: u64) -> Result<Place> {
    let wrong = |what: &str| {
        Error::bad_request(format!("cursor: {what}"))
            .advise("pass the cursor of the page before, with everything else as it was; or start anew without one")
    };
    if text.len() > LONGEST {
        return Err(wrong("it is too long to be one"));
    }
    let bytes = BASE64.decode(text).map_err(|_| wrong("it is none: it was cut or changed"))?;
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| wrong("it is none: it was cut or changed"))?;
    if stored.v != VERSION {
        return Err(wrong("it was written by another version of Keld"));
    }
    if stored.of != of {
        return Err(wrong("it belongs to another search: table, q, filter or sort differ"));
    }
    Ok(Place { ranks: stored.r, key: stored.k.into_bytes() })
}

/// Identifies a search by what decides which records it finds, and in which order.
pub fn of_search(table: &str, request: &SearchRequest) -> u64 {
    let parts = ("search", table, &request.q, &request.clause, &request.filter, &request.sort);
    xxhash_rust::xxh3::xxh3_64(&serde_json::to_vec(&parts).unwrap_or_default())
}

/// Identifies a scan of the keys that begin with `prefix`.
pub fn of_scan(table: &str, prefix: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(&serde_json::to_vec(&("scan", table, prefix)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::SortKey;

    fn place() -> Place {
        Place {
            ranks: vec![Rank::Number(u64::MAX), Rank::Ascending("é".to_owned()), Rank::Missing],
            key: b"k".to_vec(),
        }
    }

    #[test]
    fn a_cursor_gives_its_place_back_to_the_same_search_only() {
        let request = SearchRequest { q: Some("a".to_owned()), filter: vec!["b:1".to_owned()], ..Default::default() };
        let of = of_search("t", &request);
        let cursor = write(of, &place());
        assert_eq!(read(&cursor, of).unwrap(), place());
        assert!(cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{cursor}");
        let sort = vec![SortKey { field: "x".to_owned(), descending: true, missing_first: false }];
        let others = [
            of_search("u", &request),
            of_search("t", &SearchRequest { q: None, ..request.clone() }),
            of_search("t", &SearchRequest { filter: Vec::new(), ..request.clone() }),
            of_search("t", &SearchRequest { sort, ..request.clone() }),
            of_scan("t", ""),
        ];
        for other in others {
            assert!(read(&cursor, other).unwrap_err().message().contains("another search"));
        }
        let page = SearchRequest { limit: 7, fields: Some(vec!["x".to_owned()]), ..request };
        assert_eq!(of_search("t", &page), of, "the size of a page and what is shown of it may change");
    }

    #[test]
    fn texts_that_are_no_cursors_are_refused() {
        let cursor = write(7, &place());
        let other = BASE64.encode(br#"{"v":2,"of":7,"r":[],"k":""}"#);
        let long = "A".repeat(LONGEST + 1);
        for text in ["", "x", "!!!", &cursor[1..], &cursor[..cursor.len() - 2], &other, &long] {
            let error = read(text, 7).unwrap_err();
            assert_eq!(error.kind(), crate::Kind::BadRequest, "{error}");
            assert!(error.message().starts_with("cursor: "));
        }
    }
}
