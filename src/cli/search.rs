//! `keld search`: what matches, page by page if all of it is wanted.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::client::{Client, escape};
use super::show::{Row, Show, cell, clean, pretty};
use super::{Output, SearchArgs};
use crate::{Error, Result};

/// Hits asked for at a time where all are wanted.
const PAGE: usize = 500;

/// Runs the command.
///
/// # Errors
/// The instance cannot be reached or refuses.
pub fn run(args: &SearchArgs) -> Result<ExitCode> {
    let (client, show) = (Client::new(&args.server.url), Show::new(args.server.output));
    let path = format!("/v1/tables/{}/search", escape(&args.table));
    let mut body = request(args)?;
    let (mut shown, mut whole) = (0, Value::Null);
    loop {
        let mut answer = client.post(&path, &Value::Object(body.clone()))?;
        let cursor = answer["cursor"].clone();
        for warning in answer["warnings"].as_array().into_iter().flatten() {
            super::style::note(&format!("note: {}\n", cell(warning)))?;
        }
        shown += answer["hits"].as_array().map_or(0, Vec::len);
        let goes_on = page(&show, &answer)?;
        if show.output != Output::Json {
            // They are shown: all of them together may be more than memory holds.
            answer["hits"] = Value::Array(Vec::new());
        }
        whole = together(whole, answer);
        if !args.all || cursor.is_null() || !goes_on {
            break;
        }
        body.insert("cursor".to_owned(), cursor);
        // They are of all matches, and the same on each page.
        body.remove("facets");
        body.remove("aggs");
    }
    end(&show, args, &whole, shown)?;
    Ok(ExitCode::SUCCESS)
}

fn request(args: &SearchArgs) -> Result<Map<String, Value>> {
    let words = args.query.join(" ");
    let list =
        |text: &Option<String>| text.as_ref().map(|text| json!(text.split(',').map(str::trim).collect::<Vec<_>>()));
    let aggs = args.aggs.as_deref().map(serde_json::from_str::<Value>).transpose();
    let aggs = aggs.map_err(|e| Error::bad_request("--aggs is not JSON").because(e))?;
    let limit = args.limit.or(args.all.then_some(PAGE));
    let all = [
        ("q", (!words.is_empty()).then(|| json!(words))),
        ("filter", (!args.filter.is_empty()).then(|| json!(args.filter))),
        ("sort", list(&args.sort)),
        ("limit", limit.map(|n| json!(n))),
        ("fields", list(&args.fields)),
        ("highlight", list(&args.highlight)),
        ("facets", list(&args.facets)),
        ("aggs", aggs),
        // Who asks for all does not want some of them.
        ("partial", args.all.then(|| json!("refuse"))),
    ];
    Ok(all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

/// Shows the hits of a page; false if nobody reads any more.
fn page(show: &Show, answer: &Value) -> Result<bool> {
    let hits = answer["hits"].as_array().map_or(&[] as &[Value], Vec::as_slice);
    match show.output {
        Output::Json => Ok(true),
        Output::Ndjson => {
            for hit in hits {
                if !show.document(hit)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Output::Table if hits.is_empty() => Ok(true),
        Output::Table => {
            let scored = hits.iter().any(|hit| hit["score"].is_number());
            let marked = hits.iter().any(|hit| hit["highlight"].is_object());
            let mut more = Vec::new();
            more.extend(scored.then_some("score"));
            more.extend(marked.then_some("found"));
            let row = |hit| {
                let mut row = Row::of(hit)?;
                row.more.extend(scored.then(|| hit["score"].as_f64().map_or_else(String::new, |s| format!("{s:.2}"))));
                row.more.extend(marked.then(|| pieces(&hit["highlight"])));
                Some(row)
            };
            show.records(&more, &hits.iter().filter_map(row).collect::<Vec<_>>())
        }
    }
}

/// The pieces of a hit's texts, words that were looked for in stars.
fn pieces(highlight: &Value) -> String {
    let all =
        highlight.as_object().into_iter().flat_map(|fields| fields.values()).filter_map(Value::as_array).flatten();
    let text: Vec<&str> = all.filter_map(Value::as_str).collect();
    let plain = text.join(" … ").replace("<em>", "*").replace("</em>", "*");
    let plain = plain.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#x27;", "'");
    clean(&plain.replace("&amp;", "&"))
}

/// The pages as one answer.
fn together(whole: Value, mut page: Value) -> Value {
    if whole.is_null() {
        return page;
    }
    let mut whole = whole;
    if let (Some(hits), Value::Array(more)) = (whole["hits"].as_array_mut(), page["hits"].take()) {
        hits.extend(more);
    }
    whole["cursor"] = page["cursor"].take();
    whole
}

/// What is not hits: as a last line, as tables, or as part of the one document.
fn end(show: &Show, args: &SearchArgs, whole: &Value, shown: usize) -> Result<()> {
    match show.output {
        Output::Json => show.document(whole).map(drop),
        Output::Ndjson if args.facets.is_none() && args.aggs.is_none() => Ok(()),
        Output::Ndjson => {
            let mut summary = whole.clone();
            summary.as_object_mut().map(|members| members.remove("hits"));
            show.document(&json!({ "summary": summary })).map(drop)
        }
        Output::Table => {
            for (field, facet) in whole["facets"].as_object().into_iter().flatten() {
                let values = facet["values"].as_array().into_iter().flatten();
                let rows = values.map(|v| vec![cell(&v["value"]), cell(&v["count"])]).collect();
                show.aside("")?;
                show.table(&[field, "records"], &[1], rows)?;
            }
            if let Some(aggs) = whole["aggs"].as_object() {
                show.aside("")?;
                super::style::offer(&format!("{}\n", pretty(&json!(aggs))))?;
            }
            let missing = whole["missing_partitions"].as_array().map_or(0, Vec::len);
            let of = whole["total"].as_u64().map_or_else(String::new, |total| format!(" of {total}"));
            let without = if missing > 0 { format!("; {missing} partitions did not answer") } else { String::new() };
            let more = if !args.all && !whole["cursor"].is_null() { "; --all shows every one" } else { "" };
            show.aside(&format!("{shown}{of} hits in {} ms{without}{more}", cell(&whole["took_ms"])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_plain_text() {
        let highlight = json!({"title": ["<em>oak</em> &amp; co &lt;b&gt;"], "notice": ["a"]});
        assert_eq!(pieces(&highlight), "a … *oak* & co <b>");
    }

    #[test]
    fn pages_become_one_answer() {
        let first = together(Value::Null, json!({"hits": [1], "total": 2, "cursor": "x", "facets": {"a": 1}}));
        let whole = together(first, json!({"hits": [2], "total": 2, "cursor": null}));
        assert_eq!(whole, json!({"hits": [1, 2], "total": 2, "cursor": null, "facets": {"a": 1}}));
    }
}
