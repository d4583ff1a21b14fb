//! `keld get`: records by their keys.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::client::{Client, escape, query};
use super::show::{Row, Show, cell, clean};
use super::style::note;
use super::{ABSENT, GetArgs, Output};
use crate::{Kind, Result};

/// Keys asked for at a time.
const MANY: usize = 500;

/// Runs the command.
///
/// # Errors
/// The instance cannot be reached or refuses.
pub fn run(args: &GetArgs) -> Result<ExitCode> {
    let (client, show) = (Client::new(&args.server.url), Show::new(args.server.output));
    let found = if args.explain { explained(&client, args)? } else { plain(&client, args)? };
    let missing: Vec<&str> = found.iter().filter(|e| e["record"].is_null()).filter_map(|e| e["key"].as_str()).collect();
    write(&show, &found)?;
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    note(&format!("no record in {}: {}\n", args.table, missing.join(", ")))?;
    Ok(ExitCode::from(ABSENT))
}

fn plain(client: &Client, args: &GetArgs) -> Result<Vec<Value>> {
    let mut found = Vec::with_capacity(args.keys.len());
    for keys in args.keys.chunks(MANY) {
        let mut body = json!({ "keys": keys });
        if let Some(fields) = &args.fields {
            body["fields"] = fields.split(',').map(str::trim).collect();
        }
        let path = format!("/v1/tables/{}/records/get", escape(&args.table));
        let mut answer = client.post(&path, &body)?;
        if let Value::Array(entries) = answer["records"].take() {
            found.extend(entries);
        }
    }
    Ok(found)
}

fn explained(client: &Client, args: &GetArgs) -> Result<Vec<Value>> {
    let mut pairs = vec![("explain".to_owned(), "true".to_owned())];
    pairs.extend(args.fields.clone().map(|fields| ("fields".to_owned(), fields)));
    let one = |key: &String| {
        let path = format!("/v1/tables/{}/records/{}?{}", escape(&args.table), escape(key), query(&pairs));
        match client.get(&path) {
            Ok(answer) => Ok(json!({"key": key, "record": answer["record"], "explain": answer["explain"]})),
            // The table may be what is not there: then no key tells it apart.
            Err(e) if e.kind() == Kind::NotFound && e.message().contains("no record") => {
                Ok(json!({"key": key, "record": null}))
            }
            Err(e) => Err(e),
        }
    };
    args.keys.iter().map(one).collect()
}

fn write(show: &Show, found: &[Value]) -> Result<()> {
    match show.output {
        Output::Json => drop(show.document(&json!(found))?),
        Output::Ndjson => {
            for entry in found {
                if !show.document(entry)? {
                    break;
                }
            }
        }
        Output::Table => table(show, found)?,
    }
    Ok(())
}

/// One record a field a line, several a record a line.
fn table(show: &Show, found: &[Value]) -> Result<()> {
    let explained = found.iter().any(|entry| entry["explain"].is_object());
    if explained || found.len() == 1 {
        return found.iter().try_for_each(|entry| fields(show, entry));
    }
    let rows: Vec<Row<'_>> = found.iter().filter_map(Row::of).collect();
    if rows.is_empty() { Ok(()) } else { show.records(&[], &rows).map(drop) }
}

/// A record, with the winners of its fields where they were asked for.
fn fields(show: &Show, entry: &Value) -> Result<()> {
    let Some(record) = entry["record"].as_object() else { return Ok(()) };
    show.aside(entry["key"].as_str().unwrap_or_default())?;
    if !entry["explain"].is_object() {
        let rows = record.iter().map(|(name, value)| vec![clean(name), cell(value)]).collect();
        return show.table(&["field", "value"], &[], rows).map(drop);
    }
    let explained = entry["explain"]["fields"].as_array();
    let origin = |name: &str| explained.into_iter().flatten().find(|field| field["name"] == *name);
    let row = |(name, value): (&String, &Value)| {
        let field = origin(name);
        let merge = field.map_or_else(String::new, |f| cell(&f["merge"]));
        // Of a map or a set each member has its own; the whole of it is in the JSON.
        let from = field.and_then(|f| f["from"].as_array()).filter(|all| all.len() == 1).and_then(|all| all.first());
        let of = |member: &str| from.map_or_else(String::new, |origin| cell(&origin[member]));
        vec![clean(name), cell(value), merge, of("sources"), of("version"), of("events")]
    };
    let rows = record.iter().map(row).collect();
    show.table(&["field", "value", "merge", "source", "version", "event"], &[], rows)?;
    show.aside("-o json shows journals, ties and deletes, too")
}
