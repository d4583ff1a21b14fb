//! Any JSON is a request for aggregations or refused, as Elasticsearch writes it and as it is written here. What is understood has a
//! result, the same whether the parts come from here or from another instance.
#![no_main]

use keld_fuzz::index::syntax::AllQuery;
use keld_fuzz::query::aggs::{self, AggPartial};
use keld_fuzz::query::parse::Spent;
use keld_fuzz::{Error, Kind, api, ask, query, view};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The moment that `now` is.
const NOW_MS: i64 = 1_770_000_000_000;
const MOST_BUCKETS: u32 = 1_000;

fuzz_target!(|data: &[u8]| {
    let body = ask::aggregations(data);
    let _ = aggregated(&body);
    match api::es::adapt(&view().fields, &body, NOW_MS) {
        Err(what) => assert!(what.contains("aggs") || what.contains("query"), "{body}: {what}"),
        Ok(None) => {}
        Ok(Some(adapted)) => {
            if let Some(result) = aggregated(adapted.request()) {
                let shown = adapted.show(result, false);
                let wanted = body.as_object().expect("only objects are understood").keys();
                wanted.for_each(|name| assert!(shown.get(name).is_some(), "{body}: {name} is missing: {shown}"));
            }
        }
    }
});

/// The result of a request over all records; `None` where it is refused.
fn aggregated(request: &Value) -> Option<Value> {
    let view = view();
    let partial = query::aggregate(&view, Box::new(AllQuery), request, MOST_BUCKETS, &mut Spent::default());
    let partial = partial.map_err(|e| refused(request, &e)).ok()?;
    let sent = AggPartial::decode(&partial.encode().expect("parts are sent")).expect("parts are read");
    let here = aggs::finish(&view.fields, request, partial, MOST_BUCKETS);
    let there = aggs::finish(&view.fields, request, sent, MOST_BUCKETS);
    match (here, there) {
        (Ok(here), Ok(there)) => {
            // As text: what is no number is the same. Where `multi_terms` leaves some out, any of those that count the same may
            // stay (ARCHITECTURE.md).
            let (here_text, there_text) = (here.to_string(), there.to_string());
            let cut = here_text.replace("\"sum_other_doc_count\":0", "").contains("sum_other_doc_count");
            if !(cut && request.to_string().contains("multi_terms")) {
                assert_eq!(here_text, there_text, "{request}");
            }
            Some(here)
        }
        (Err(e), Err(_)) => {
            refused(request, &e);
            None
        }
        (here, there) => panic!("{request}: {here:?} here, {there:?} there"),
    }
}

/// An error that says whose fault it is, and where.
fn refused(request: &Value, e: &Error) {
    assert_eq!(e.kind(), Kind::BadRequest, "{request}: {e}");
    assert!(e.message().contains("aggs") || e.message().contains("query"), "{request}: {e}");
}
