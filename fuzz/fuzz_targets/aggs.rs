//! Any JSON is a request for aggregations or refused, as Elasticsearch writes it and as it is written here. What is understood has a
//! result, the same whether the parts come from here or from another instance.
#![no_main]

use keld_fuzz::index::syntax::AllQuery;
use keld_fuzz::query::aggs::{self, AggPartial, tops};
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
            filled(request, here)
        }
        (Err(e), Err(_)) => {
            refused(request, &e);
            None
        }
        (here, there) => panic!("{request}: {here:?} here, {there:?} there"),
    }
}

/// The result with something in the place of `top_hits`; a search for what a bucket stands for finds what it counts.
fn filled(request: &Value, mut result: Value) -> Option<Value> {
    let view = view();
    let tops = tops::searches(&view.fields, request, &result, true).map_err(|e| refused(request, &e)).ok()?;
    for mut top in tops {
        let bucket = result.pointer(&top.at).unwrap_or_else(|| panic!("{request}: {} is not in {result}", top.at));
        // At the top there is no bucket.
        if let (Some(of), Some(counted)) = (top.of.take(), bucket["doc_count"].as_u64()) {
            match query::count(&view, of.clone()) {
                Ok(found) => assert_eq!(found, counted, "{request}: {bucket}: {of:?}"),
                Err(e) => refused(request, &e),
            }
        }
        top.place(&mut result, Value::Null);
    }
    Some(result)
}

/// An error that says whose fault it is, and where.
fn refused(request: &Value, e: &Error) {
    assert_eq!(e.kind(), Kind::BadRequest, "{request}: {e}");
    assert!(e.message().contains("aggs") || e.message().contains("query"), "{request}: {e}");
}
