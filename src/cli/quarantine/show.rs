//! What the command prints: a table on a terminal, one JSON object a line in a pipe.

use std::io::IsTerminal;

use serde_json::Value;

use crate::Result;
use crate::cli::show::{clean, pretty};
use crate::cli::style::{Ink, Style, out};

/// Most of an error that a row of the table shows, characters.
const ERROR: usize = 100;

/// Prints entries and fates.
pub(super) struct Show {
    people: bool,
    style: Style,
    rows: usize,
}

impl Show {
    /// For stdout.
    pub(super) fn new() -> Self {
        let stdout = std::io::stdout();
        Self { people: stdout.is_terminal(), style: Style::of(&stdout), rows: 0 }
    }

    /// An entry, whole.
    pub(super) fn whole(entry: &Value) -> Result<()> {
        let show = Self::new();
        if !show.people {
            return out(&format!("{entry}\n"));
        }
        out(&format!("{}\n", pretty(entry)))
    }

    /// A line of the list.
    pub(super) fn entry(&mut self, entry: &Value) -> Result<()> {
        if !self.people {
            return out(&format!("{entry}\n"));
        }
        if self.rows == 0 {
            let head = row(["ID", "SET ASIDE (UTC)", "TABLE", "REASON", "ORIGIN"], "WHY");
            out(&format!("{}\n", self.style.paint(Ink::Bold, head)))?;
        }
        self.rows += 1;
        out(&format!("{}\n", self.line(entry)))
    }

    fn line(&self, entry: &Value) -> String {
        let of = |name: &str| entry[name].as_str().unwrap_or_default();
        let time = utc(entry["quarantined_ms"].as_i64());
        let why: String = of("error").chars().take(ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let replayed = entry["replayed_ms"].as_i64().map(|at| format!("replayed {}: ", utc(Some(at))));
        let why = replayed.unwrap_or_default() + &why;
        let line = row([of("id"), &time, of("table"), of("reason"), of("origin")], &why);
        if entry["replayed_ms"].is_null() { line } else { self.style.paint(Ink::Dim, line) }
    }

    /// What to know of the list.
    pub(super) fn end_of_list(&self, shown: usize, looked_at: u64, more: bool) -> Result<()> {
        if !self.people {
            return Ok(());
        }
        let more = if more { "; there are more: raise --limit" } else { "" };
        let how = "keld quarantine show ID shows one whole, keld quarantine replay ID tries it again";
        let text = format!("{shown} entries, {looked_at} looked at{more}\n{how}");
        out(&format!("{}\n", self.style.paint(Ink::Dim, text)))
    }

    /// What became of an entry.
    pub(super) fn fate(&mut self, fate: &Value) -> Result<()> {
        if !self.people {
            return out(&format!("{fate}\n"));
        }
        let of = |name: &str| fate[name].as_str().unwrap_or_default();
        let ink = match of("fate") {
            "replayed" => return Ok(()),
            "already" => Ink::Dim,
            _ => Ink::Red,
        };
        let before = fate["replayed_ms"].as_i64().map(|at| format!("replayed {}", utc(Some(at)))).unwrap_or_default();
        out(&format!("{}  {}  {}{before}\n", of("id"), self.style.paint(ink, of("fate")), clean(of("why"))))
    }

    /// The sum of a replay.
    pub(super) fn end_of_replay(&self, replayed: u64, already: u64, refused: u64, dry_run: bool) -> Result<()> {
        if !self.people {
            return Ok(());
        }
        let verb = if dry_run { "would be replayed" } else { "replayed" };
        let ink = if refused > 0 { Ink::Yellow } else { Ink::Green };
        let head = self.style.paint(ink, format!("{replayed} {verb}"));
        out(&format!("{head}, {already} replayed before, {refused} cannot be\n"))
    }
}

fn row(cells: [&str; 5], why: &str) -> String {
    let [id, time, table, reason, origin] = cells;
    format!("{id:<12} {time:<20} {table:<14} {reason:<18} {origin:<28} {why}")
}

fn utc(ms: Option<i64>) -> String {
    let at = ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_names_the_entry_and_why_and_holds_no_control_characters() {
        let show = Show { people: true, style: Style::plain(), rows: 0 };
        let entry = json!({
            "id": "2-17", "table": "products", "reason": "wrong_type", "origin": "shop.stock:1:4711",
            "error": "wrong_type: price: \u{1b}[31m\"cheap\"", "quarantined_ms": 0, "replayed_ms": null
        });
        let line = show.line(&entry);
        assert!(
            line.starts_with("2-17 ") && line.contains("1970-01-01 00:00:00") && line.contains("shop.stock:1:4711")
        );
        assert!(line.ends_with("wrong_type: price:  [31m\"cheap\""), "{line}");
        let mut replayed = entry;
        replayed["replayed_ms"] = json!(1_000);
        assert!(show.line(&replayed).contains("replayed 1970-01-01 00:00:01: wrong_type"));
    }
}
