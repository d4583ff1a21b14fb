//! Writes are refused with the way on: records are made of events in topics.

use std::collections::BTreeSet;

use axum::http::Method;

use super::super::context::Context;
use super::super::problem::{Problem, Reason};
use super::is_below;

/// What requests by POST that write have in their path.
const WRITES: &[&str] = &[
    "_bulk",
    "_doc",
    "_create",
    "_update",
    "_update_by_query",
    "_delete_by_query",
    "_reindex",
    "_rollover",
    "_aliases",
];

fn is_write(method: &Method, path: &str) -> bool {
    match *method {
        Method::PUT | Method::DELETE | Method::PATCH => true,
        Method::POST => path.split('/').any(|segment| WRITES.contains(&segment)),
        _ => false,
    }
}

/// What a request that would write is told; `None` for what is no such request.
pub(super) fn refused(ctx: &Context, method: &Method, path: &str) -> Option<Problem> {
    if !is_below(path) || !is_write(method, path) {
        return None;
    }
    let name = path.split('/').nth(2).unwrap_or_default();
    let tables = &ctx.state.tables;
    let asked = tables.iter().filter(|(table, _)| *table == name || !tables.contains_key(name));
    let topics: BTreeSet<&str> =
        asked.flat_map(|(_, table)| &table.def.sources).map(|source| source.topic.as_str()).collect();
    let topics: Vec<&str> = topics.into_iter().collect();
    let shown: String = path.chars().take(200).collect();
    let detail = format!("{method} {shown} would write, and nothing is written here: records are made of events");
    let advice = format!(
        "produce events to the topics {}, with a Kafka client or by POST /v1/topics/{{topic}}/events",
        topics.join(", ")
    );
    Some(Problem::new(Reason::MethodNotAllowed, detail, advice).with("topics", topics))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_write_is_told_from_what_is_only_not_known() {
        for (method, path, write) in [
            (Method::POST, "/es/t/_bulk", true),
            (Method::POST, "/es/_bulk", true),
            (Method::PUT, "/es/t", true),
            (Method::DELETE, "/es/t/_doc/1", true),
            (Method::POST, "/es/t/_async_search", false),
            (Method::GET, "/es/t/_doc/1", false),
        ] {
            assert_eq!(is_write(&method, path), write, "{method} {path}");
        }
    }
}
