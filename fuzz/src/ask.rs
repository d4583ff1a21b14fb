//! Bytes to requests as programs write them: JSON as it is, else a walk through the words of the language, so that most of what
//! is tried is understood, and the rest is nearly right.

mod aggs;
mod dsl;

use serde_json::{Map, Value};

/// Names of fields: of every type, of none, derived ones, members of JSON, patterns.
const FIELDS: &[&str] = &[
    "text",
    "text.keyword",
    "word",
    "word.keyword",
    "int",
    "float",
    "bool",
    "date",
    "json",
    "json.size.w",
    "set",
    "sum",
    "max",
    "min",
    "both",
    "ratio",
    "extra",
    "nothing",
    "_id",
    "_index",
    "k",
    "_score",
    "*",
    "t*",
    "text^2",
    "word^1e38",
    "",
];
/// Words and values of the records, times, patterns, and what tells parsers apart.
const TEXTS: &[&str] = &[
    "kettle",
    "walnut desk",
    "kettel~1",
    "ket*",
    "*",
    "?",
    "a",
    "b",
    "k-1",
    "7",
    "-7",
    "1.5",
    "1e400",
    "-0.0",
    "true",
    "false",
    "2026-01-31",
    "2026-01-31T12:00:00Z",
    "now",
    "now-1d/d",
    "now+400000y",
    "2026-02||/M",
    "12:30",
    "AUTO",
    "AUTO:3,6",
    "2",
    "75%",
    "-1",
    "2<75% 9<-3",
    "and",
    "or",
    "yyyy-MM-dd",
    "epoch_millis",
    "+01:00",
    "Europe/Berlin",
    "walnut AND (ket* OR NOT desk)",
    "int:[1 TO 9]",
    "date:[now-1y TO now]",
    "text:\"walnut desk\"~2",
    "/ke.*/",
    "(",
    "\"",
    "\\",
    "[a-z]{2,9}",
    "(a|b)+",
    "~",
    "",
    "\u{0}",
    "é",
    "best_fields",
    "most_fields",
    "cross_fields",
    "phrase",
    "phrase_prefix",
    "bool_prefix",
    "all",
    "none",
];

/// The request that some bytes stand for: `query` or `aggregations` of what is no JSON.
pub struct Ask<'a> {
    bytes: &'a [u8],
}

/// JSON if the bytes are some, else what `walk` makes of them.
fn read(bytes: &[u8], walk: fn(&mut Ask<'_>) -> Value) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| walk(&mut Ask { bytes }))
}

/// A query.
pub fn query(bytes: &[u8]) -> Value {
    read(bytes, |ask| ask.query(0))
}

/// Aggregations.
pub fn aggregations(bytes: &[u8]) -> Value {
    read(bytes, |ask| ask.aggregations(0))
}

impl Ask<'_> {
    /// The next byte; what comes behind the last one is 0, with which everything ends.
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first)
    }

    fn below(&mut self, n: usize) -> usize {
        self.byte() % n.max(1)
    }

    /// One time in so many.
    fn rarely(&mut self, n: usize) -> bool {
        self.byte() % n == n - 1
    }

    fn of(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn field(&mut self) -> Value {
        self.of(FIELDS).into()
    }

    /// A text: one that is known, or what stands in the bytes.
    fn text(&mut self) -> String {
        if !self.rarely(4) {
            return self.of(TEXTS).to_owned();
        }
        let length = self.below(24).min(self.bytes.len());
        let (text, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        String::from_utf8_lossy(text).into_owned()
    }

    fn number(&mut self) -> Value {
        const NUMBERS: [f64; 12] =
            [0.0, 1.0, 2.0, -1.0, 0.5, 7.0, -0.0, 1e18, -1e18, 1e300, 1e-300, 1_769_860_800_000.0];
        match self.below(3) {
            0 => self.byte().into(),
            1 => NUMBERS[self.below(NUMBERS.len())].into(),
            _ => u64::MAX.into(),
        }
    }

    fn scalar(&mut self) -> Value {
        match self.below(8) {
            0..=3 => self.text().into(),
            4 | 5 => self.number(),
            6 => (self.byte() % 2 == 0).into(),
            _ => Value::Null,
        }
    }

    /// Anything.
    fn any(&mut self, depth: usize) -> Value {
        match self.below(6) {
            0 if depth < 4 => Value::Array(self.list(4, |ask| ask.any(depth + 1))),
            1 if depth < 4 => {
                let members = self.list(4, |ask| (ask.text(), ask.any(depth + 1)));
                Value::Object(members.into_iter().collect())
            }
            _ => self.scalar(),
        }
    }

    fn list<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let n = self.below(most + 1);
        (0..n).map(|_| one(self)).collect()
    }

    /// Some of the members that a thing may have, each with a value that is mostly of its kind.
    fn members(&mut self, into: &mut Map<String, Value>, names: &[&'static str]) {
        for _ in 0..self.below(4) {
            let name = self.of(names);
            let value = if self.rarely(8) { self.any(2) } else { self.scalar() };
            into.insert(name.to_owned(), value);
        }
    }
}
