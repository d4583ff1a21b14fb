//! What the demo prints: the account of what it fed, and three searches with their answers.

use std::time::{Duration, Instant};

use crate::Result;
use crate::cli::style::{Ink, Style, out};
use crate::query::{Hit, SearchRequest, SortKey, Table, leaf};
use crate::record::Value;
use crate::store::Accounting;

/// The account of what was fed.
pub(super) fn account(table: &Table, fed: usize, took: Duration) -> Result<()> {
    let mut sum = Accounting::default();
    for task in table.tasks().values() {
        task.progress().accounting.values().for_each(|a| sum.add(a));
    }
    out(&format!(
        "{fed} events are in; {} records, searchable after {:.1} s ({} applied, {} duplicate, {} stale, {} quarantined)\n",
        table.index.stats().documents,
        took.as_secs_f64(),
        sum.applied,
        sum.duplicate,
        sum.stale,
        sum.quarantined
    ))
}

/// Three searches with their answers.
pub(super) fn examples(table: &Table) -> Result<()> {
    let search = |q: &str, filter: &[&str], sort: &str| SearchRequest {
        q: (!q.is_empty()).then(|| q.to_owned()),
        filter: filter.iter().map(|f| (*f).to_owned()).collect(),
        sort: keys(sort),
        limit: 3,
        ..SearchRequest::default()
    };
    example(table, "a crew that was late, towards Chicago", &search("crew chicago", &[], ""))?;
    example(table, "the longest delays in snow", &search("snow", &["status:landed"], "-worst_delay"))?;
    example(
        table,
        "cancelled flights to Boston, by departure",
        &search("", &["status:cancelled", "dest:BOS"], "sched_dep"),
    )
}

fn keys(sort: &str) -> Vec<SortKey> {
    let key = |text: &str| SortKey {
        field: text.trim_start_matches('-').to_owned(),
        descending: text.starts_with('-'),
        missing_first: false,
    };
    sort.split(',').filter(|s| !s.is_empty()).map(key).collect()
}

fn example(table: &Table, title: &str, request: &SearchRequest) -> Result<()> {
    let style = Style::of(&std::io::stdout());
    let started = Instant::now();
    let answer = leaf::search(table, request)?;
    let took = started.elapsed();
    let mut url = format!("/v1/tables/flights/search?limit={}", request.limit);
    request.q.iter().for_each(|q| url.push_str(&format!("&q={}", q.replace(' ', "+"))));
    request.filter.iter().for_each(|f| url.push_str(&format!("&filter={f}")));
    let sort: Vec<String> =
        request.sort.iter().map(|s| format!("{}{}", if s.descending { "-" } else { "" }, s.field)).collect();
    if !sort.is_empty() {
        url.push_str(&format!("&sort={}", sort.join(",")));
    }
    out(&format!(
        "\n{}  {} of them, {:.1} ms\n{}\n",
        style.paint(Ink::Bold, title),
        answer.total.unwrap_or(0),
        took.as_secs_f64() * 1000.0,
        style.paint(Ink::Dim, url)
    ))?;
    answer.hits.iter().try_for_each(|hit| out(&line(hit)))
}

fn line(hit: &Hit) -> String {
    let of = |name: &str| match hit.record.get(name) {
        None => String::new(),
        Some(Value::Str(s)) => s.to_string(),
        Some(v) => v.to_json().to_string(),
    };
    format!(
        "  {:24} {:10} {} to {}{}  {}\n",
        String::from_utf8_lossy(&hit.place.key),
        of("status"),
        of("origin"),
        of("dest"),
        if hit.record.get("worst_delay").is_some() {
            format!(", {} min late", of("worst_delay"))
        } else {
            String::new()
        },
        of("notice")
    )
}
