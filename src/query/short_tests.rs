//! Which searches run where they are asked for.

use super::super::{FacetRequest, SortKey};
use super::*;

#[test]
fn plain_words_are_soon_read() {
    let asked = |q: &str| SearchRequest { q: Some(q.to_owned()), limit: 10, ..SearchRequest::default() };
    for q in ["desk", "walnut desk", "title:desk", "größe 4.5", "a_b OR c", "brand-012", "a -b"] {
        assert!(is_plain(&asked(q)), "{q}");
    }
    let long = "x".repeat(SHORTEST + 1);
    for q in ["", " ", "desk*", "desk~1", "\"walnut desk\"", "price:[1 TO 2]", "(a)", "a^2", &long] {
        assert!(!is_plain(&asked(q)), "{q}");
    }
    let sorted = vec![SortKey { field: "price".to_owned(), descending: false, missing_first: false }];
    assert!(is_plain(&SearchRequest { sort: sorted, ..asked("desk") }));
    let filtered = |filters: &[&str]| SearchRequest {
        filter: filters.iter().map(|&filter| filter.to_owned()).collect(),
        ..asked("desk")
    };
    assert!(is_plain(&filtered(&["live:true", "brand:oak"])));
    assert!(is_plain(&filtered(&["live:true"; FEW_FILTERS])));
    let facets = vec![FacetRequest { field: "brand".to_owned(), size: 10 }];
    let more = [
        SearchRequest { q: None, ..asked("") },
        filtered(&["live:true"; FEW_FILTERS + 1]),
        filtered(&["live:true", "price:[1 TO 2]"]),
        filtered(&[""]),
        SearchRequest { limit: FEW + 1, ..asked("desk") },
        SearchRequest { facets, ..asked("desk") },
        SearchRequest { aggs: Some(serde_json::json!({})), ..asked("desk") },
        SearchRequest { highlight: vec!["title".to_owned()], ..asked("desk") },
        SearchRequest { explain: true, ..asked("desk") },
    ];
    for (n, request) in more.iter().enumerate() {
        assert!(!is_plain(request), "{n}");
    }
}
