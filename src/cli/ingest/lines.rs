//! Reads events out of a file: one JSON object a line, or CSV with a header.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use crate::cli::args::FileFormat;
use crate::{Error, Result};

/// An event and the line of the file that it stands in, counted from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) number: u64,
    pub(super) json: Vec<u8>,
}

/// The events of a file.
pub(super) enum Lines<R: Read> {
    Json { from: BufReader<R>, number: u64 },
    Csv { from: Box<csv::Reader<R>>, columns: Vec<String> },
}

/// An event, or the number of a line that is none, and why.
pub(super) type Next = Result<Line, (u64, String)>;

impl<R: Read> Lines<R> {
    /// Reads a CSV file's header.
    pub(super) fn new(from: R, format: FileFormat) -> Result<Self> {
        if format == FileFormat::Ndjson {
            return Ok(Lines::Json { from: BufReader::new(from), number: 0 });
        }
        let mut from = Box::new(csv::Reader::from_reader(from));
        let header =
            from.headers().map_err(|e| Error::refused("the header of the CSV file cannot be read").because(e))?;
        let columns: Vec<String> = header.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
        for (at, name) in columns.iter().enumerate() {
            if name.is_empty() || columns[..at].contains(name) {
                return Err(Error::refused(format!("column {} of the CSV file is named {name:?}", at + 1))
                    .advise("give every column a name of its own in the first line"));
            }
        }
        Ok(Lines::Csv { from, columns })
    }

    /// The next event. Blank lines are passed over.
    pub(super) fn next(&mut self) -> Result<Option<Next>> {
        match self {
            Lines::Json { from, number } => next_json(from, number),
            Lines::Csv { from, columns } => next_row(from, columns),
        }
    }
}

fn next_json(from: &mut impl BufRead, number: &mut u64) -> Result<Option<Next>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let unreadable = |e| Error::refused(format!("the file cannot be read behind line {number}")).because(e);
        if from.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
            return Ok(None);
        }
        *number += 1;
        let json = line.trim_ascii();
        if !json.is_empty() {
            return Ok(Some(Ok(Line { number: *number, json: json.to_vec() })));
        }
    }
}

/// A row as an object of texts; tables convert them where nothing is lost. An empty cell says nothing.
fn next_row<R: Read>(from: &mut csv::Reader<R>, columns: &[String]) -> Result<Option<Next>> {
    let mut row = csv::StringRecord::new();
    match from.read_record(&mut row) {
        Ok(false) => Ok(None),
        Ok(true) => {
            let number = row.position().map_or(0, csv::Position::line);
            let cells = columns.iter().zip(row.iter()).filter(|(_, cell)| !cell.is_empty());
            let members: Map<String, Value> = cells.map(|(name, cell)| (name.clone(), cell.into())).collect();
            Ok(Some(Ok(Line { number, json: Value::Object(members).to_string().into_bytes() })))
        }
        Err(e) if e.is_io_error() => Err(Error::refused("the file cannot be read").because(e)),
        Err(e) => {
            let number = e.position().map_or(0, csv::Position::line);
            Ok(Some(Err((number, e.to_string()))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, format: FileFormat) -> Vec<Result<(u64, String), u64>> {
        let mut lines = Lines::new(text.as_bytes(), format).unwrap();
        let mut out = Vec::new();
        while let Some(next) = lines.next().unwrap() {
            out.push(next.map(|l| (l.number, String::from_utf8(l.json).unwrap())).map_err(|(number, _)| number));
        }
        out
    }

    #[test]
    fn lines_are_counted_from_one_and_blank_ones_are_passed_over() {
        let found = all("{\"a\":1}\r\n\n  {\"b\":2} ", FileFormat::Ndjson);
        assert_eq!(found, [Ok((1, "{\"a\":1}".to_owned())), Ok((3, "{\"b\":2}".to_owned()))]);
    }

    #[test]
    fn a_row_is_an_object_of_its_cells_and_empty_ones_say_nothing() {
        let text = "\u{feff}sku,note,price\nk-1,\"a \"\"b\"\"\nand c\",12\nk-2,,\"1.5\"\nk-3,x\n";
        let expected = [
            Ok((2, r#"{"note":"a \"b\"\nand c","price":"12","sku":"k-1"}"#.to_owned())),
            Ok((4, r#"{"price":"1.5","sku":"k-2"}"#.to_owned())),
            Err(5),
        ];
        assert_eq!(all(text, FileFormat::Csv), expected);
    }

    #[test]
    fn columns_need_names_of_their_own() {
        for text in ["a,b,a\n1,2,3\n", "a,,c\n1,2,3\n"] {
            assert!(Lines::new(text.as_bytes(), FileFormat::Csv).is_err(), "{text}");
        }
    }
}
