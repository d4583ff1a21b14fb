//! How answers of an instance are shown: tables for people, JSON for programs.

use std::io::IsTerminal;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use super::Output;
use super::style::{Ink, Style, offer};
use crate::Result;

/// Width of a table where the terminal does not tell, columns.
const WIDTH: u16 = 120;
/// Most of a cell's text that is shown, characters.
const CELL: usize = 300;

/// Writes answers to stdout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Show {
    pub(super) output: Output,
    pub(super) style: Style,
    width: u16,
}

impl Show {
    /// As wanted, else tables on a terminal and lines in a pipe.
    pub(super) fn new(wanted: Option<Output>) -> Self {
        let stdout = std::io::stdout();
        let terminal = stdout.is_terminal();
        let output = wanted.unwrap_or(if terminal { Output::Table } else { Output::Ndjson });
        let width = terminal_size::terminal_size_of(&stdout).map_or(WIDTH, |(width, _)| width.0);
        Self { output, style: Style::of(&stdout), width }
    }

    /// Writes a document, in one line or indented.
    pub(super) fn document(&self, value: &Value) -> Result<bool> {
        match self.output {
            Output::Ndjson => offer(&format!("{value}\n")),
            _ => offer(&format!("{}\n", pretty(value))),
        }
    }

    /// Writes rows under a head, in aligned columns; those of `numbers` to the right.
    pub(super) fn table(&self, head: &[&str], numbers: &[usize], rows: Vec<Vec<String>>) -> Result<bool> {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        table.set_header(head.iter().map(|name| clean(name).to_uppercase()));
        table.add_rows(rows);
        for at in 0..head.len() {
            if let Some(column) = table.column_mut(at) {
                column.set_padding((0, 2));
                if numbers.contains(&at) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        // Colours come last: their codes would count as width.
        let text = table.trim_fmt();
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let newline = if rest.is_empty() { "" } else { "\n" };
        offer(&format!("{}\n{rest}{newline}", self.style.paint(Ink::Bold, first)))
    }

    /// Writes what is worth knowing beside the answer, to people alone.
    pub(super) fn aside(&self, text: &str) -> Result<()> {
        if self.output == Output::Table {
            offer(&format!("{}\n", self.style.paint(Ink::Dim, text)))?;
        }
        Ok(())
    }

    /// Writes records as rows: the key, further columns, then every field that one of them has.
    pub(super) fn records(&self, more: &[&str], records: &[Row<'_>]) -> Result<bool> {
        let mut fields: Vec<&str> = Vec::new();
        for name in records.iter().filter_map(|r| r.record).flat_map(Map::keys) {
            if !fields.contains(&name.as_str()) {
                fields.push(name);
            }
        }
        // What is shown in the first column anyway.
        fields.retain(|name| !records.iter().all(|r| r.value(name).and_then(Value::as_str) == Some(r.key)));
        let head: Vec<&str> = ["key"].iter().chain(more).chain(&fields).copied().collect();
        let number = |name: &&str| {
            let mut values = records.iter().filter_map(|r| r.value(name)).filter(|v| !v.is_null()).peekable();
            values.peek().is_some() && values.all(Value::is_number)
        };
        let first = 1 + more.len();
        let numbers: Vec<usize> =
            fields.iter().enumerate().filter(|(_, f)| number(f)).map(|(at, _)| first + at).collect();
        let row = |r: &Row<'_>| {
            let of = fields.iter().map(|name| r.value(name).map_or_else(String::new, cell));
            [clean(r.key)].into_iter().chain(r.more.iter().cloned()).chain(of).collect()
        };
        self.table(&head, &numbers, records.iter().map(row).collect())
    }
}

/// A record as a row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub(super) key: &'a str,
    pub(super) more: Vec<String>,
    pub(super) record: Option<&'a Map<String, Value>>,
}

impl<'a> Row<'a> {
    /// An entry of an answer that has a record.
    pub(super) fn of(entry: &'a Value) -> Option<Self> {
        let key = entry["key"].as_str().unwrap_or_default();
        Some(Self { key, more: Vec::new(), record: Some(entry["record"].as_object()?) })
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.record?.get(name)
    }
}

/// A value as a cell.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Array(items) => clean(&items.iter().map(cell).collect::<Vec<_>>().join(", ")),
        other => clean(&other.to_string()),
    }
}

/// Indented JSON.
pub(super) fn pretty(value: &Value) -> String {
    // Serialising what was parsed cannot fail.
    serde_json::to_string_pretty(value).unwrap_or_default()
}

/// Without control characters, which could do anything to a terminal, and not too long.
pub(super) fn clean(text: &str) -> String {
    let mut cut: String = text.chars().take(CELL).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CELL).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cells_hold_no_control_characters_and_are_cut() {
        assert_eq!(cell(&json!("a\u{1b}[31m\nb")), "a [31m b");
        assert_eq!(cell(&json!(["x", 1, null])), "x, 1, ");
        assert_eq!(
            (cell(&json!(null)), cell(&json!(1.5)), cell(&json!(true))),
            (String::new(), "1.5".into(), "true".into())
        );
        assert_eq!(cell(&json!("é".repeat(CELL + 5))).chars().count(), CELL + 1);
    }
}
