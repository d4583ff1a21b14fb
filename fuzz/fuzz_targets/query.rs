//! Any text is a query to the lenient grammar. The strict one takes it or says what is wrong with it, and what it takes means the same
//! to both. Whatever comes out can be searched by.
#![no_main]

use keld_fuzz::index::{Ordering, Stop};
use keld_fuzz::query::parse::{self, Spent};
use keld_fuzz::{Kind, view};
use libfuzzer_sys::fuzz_target;

/// Longest text that the grammars read, bytes, and most words and conditions.
const LONGEST: usize = 16 * 1024;
const MOST_LEAVES: usize = 1_024;

fuzz_target!(|text: &str| {
    let view = view();
    let lenient = parse::lenient(&view, text, &mut Spent::default()).expect("any text is a query");
    assert!(lenient.warnings.len() <= 21, "{:?}", lenient.warnings);
    assert_eq!(text.len() > LONGEST, lenient.warnings.iter().any(|w| w.contains("bytes were read")));
    let found = view.search(lenient.query.as_ref(), Ordering::default(), None, 10, true, &Stop::default());
    let found = found.expect("what was understood can be searched by");
    let leaves = format!("{:?}", lenient.query).matches("TermQuery(").count();
    assert!(leaves <= 32 * MOST_LEAVES, "{leaves} terms");

    match parse::strict(&view, "filter", text, &mut Spent::default()) {
        Err(e) => {
            assert_eq!(e.kind(), Kind::BadRequest, "{e}");
            assert!(e.message().starts_with("filter: "), "{e}");
        }
        Ok(strict) => {
            assert!(text.len() <= LONGEST && !text.trim().is_empty());
            let same = view.search(strict.as_ref(), Ordering::default(), None, 10, true, &Stop::default());
            assert_eq!(same.expect("a filter can be searched by").total, found.total, "{text:?}");
            assert!(lenient.warnings.is_empty(), "{:?}", lenient.warnings);
        }
    }
});
