//! Canonical JSON of a value, and the orders built on it.
//!
//! Members sorted by name, no blanks, only the escapes that JSON demands, numbers in shortest round-trip form where
//! `1.0`, `1e0` and `1` are the same. Integers and integral floats within `i64` are written in decimal; other floats as
//! the shortest digits that read back, with an exponent below 1e-5 and from 1e16 on.

use std::cmp::Ordering;
use std::fmt::{self, Write};

use super::Value;
use super::value::integral;

impl Value {
    /// Canonical JSON text.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        self.write_canonical(&mut out);
        out
    }

    /// Appends the canonical JSON text to `out`.
    pub fn write_canonical(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(_) | Value::Float(_) => out.push_str(Digits::of(self).text()),
            Value::Str(s) => write_string(s, out),
            Value::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_canonical(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write_canonical(out);
                }
                out.push('}');
            }
        }
    }

    /// Order of the canonical texts as UTF-8 bytes: what breaks ties between equal stamps. So 999 is above 1000, and
    /// null above strings and numbers.
    pub fn canonical_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => cmp_strings(a, b),
            (Value::Int(a), Value::Int(b)) if a == b => Ordering::Equal,
            (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
                Digits::of(self).text().cmp(Digits::of(other).text())
            }
            _ => match self.first_byte().cmp(&other.first_byte()) {
                Ordering::Equal if self == other => Ordering::Equal,
                Ordering::Equal => self.canonical().cmp(&other.canonical()),
                decided => decided,
            },
        }
    }

    /// Order in which the members of a set are shown and kept: text by code point, everything else by canonical text.
    pub fn shown_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Str(a), Value::Str(b)) => a.cmp(b),
            _ => self.canonical_cmp(other),
        }
    }

    /// Natural order, for `max` and `min`: numbers by size, text by code point, false before true; values of different
    /// types, arrays and objects by canonical text.
    pub fn natural_cmp(&self, other: &Value) -> Ordering {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
            (Value::Int(a), Value::Float(b)) => cmp_int_float(*a, *b),
            (Value::Float(a), Value::Int(b)) => cmp_int_float(*b, *a).reverse(),
            _ => self.shown_cmp(other),
        }
    }

    fn first_byte(&self) -> u8 {
        match self {
            Value::Null => b'n',
            Value::Bool(true) => b't',
            Value::Bool(false) => b'f',
            Value::Int(_) | Value::Float(_) => Digits::of(self).text().as_bytes().first().copied().unwrap_or(b'0'),
            Value::Str(_) => b'"',
            Value::Array(_) => b'[',
            Value::Object(_) => b'{',
        }
    }
}

fn cmp_int_float(int: i64, float: f64) -> Ordering {
    match integral(float) {
        Some(other) => int.cmp(&other),
        None if float.abs() >= 9_223_372_036_854_775_808.0 => 0.0_f64.total_cmp(&float),
        // Not integral, so below 2^52 in size: its floor is exact.
        None => int.cmp(&(float.floor() as i64)).then(Ordering::Less),
    }
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    let mut plain = 0;
    for (i, byte) in text.bytes().enumerate() {
        if needs_escape(byte) {
            out.push_str(&text[plain..i]);
            write_escape(byte, out);
            plain = i + 1;
        }
    }
    out.push_str(&text[plain..]);
    out.push('"');
}

fn write_escape(byte: u8, out: &mut impl Write) {
    // Writing to memory cannot fail.
    let _ = match byte {
        b'"' => out.write_str("\\\""),
        b'\\' => out.write_str("\\\\"),
        0x08 => out.write_str("\\b"),
        0x09 => out.write_str("\\t"),
        0x0a => out.write_str("\\n"),
        0x0c => out.write_str("\\f"),
        0x0d => out.write_str("\\r"),
        other => write!(out, "\\u{other:04x}"),
    };
}

/// Orders two strings as their quoted, escaped forms, without building these.
fn cmp_strings(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    match (a.get(same), b.get(same)) {
        (None, None) => Ordering::Equal,
        (x, y) => escaped(x.copied()).bytes().cmp(escaped(y.copied()).bytes()),
    }
}

/// What stands in the canonical text for a byte, or for the end of the string.
fn escaped(byte: Option<u8>) -> Digits {
    let mut out = Digits::default();
    match byte {
        None => out.put(b'"'),
        Some(b) if needs_escape(b) => write_escape(b, &mut out),
        Some(b) => out.put(b),
    }
    out
}

/// A short text on the stack: any number takes at most 24 bytes.
#[derive(Default)]
struct Digits {
    bytes: [u8; 32],
    len: usize,
}

impl Digits {
    fn of(number: &Value) -> Self {
        let mut out = Digits::default();
        // Writing to memory cannot fail, and no number is longer than the buffer.
        let _ = match number {
            Value::Int(i) => write!(out, "{i}"),
            Value::Float(f) => match integral(*f) {
                Some(i) => write!(out, "{i}"),
                None => write!(out, "{f:?}"),
            },
            _ => Ok(()),
        };
        out
    }

    fn put(&mut self, byte: u8) {
        if let Some(slot) = self.bytes.get_mut(self.len) {
            *slot = byte;
            self.len += 1;
        }
    }

    fn bytes(&self) -> impl Iterator<Item = &u8> {
        self.bytes[..self.len].iter()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Digits {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        s.bytes().for_each(|b| self.put(b));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::Value;

    fn text(s: &str) -> Value {
        Value::Str(s.into())
    }

    #[test]
    fn canonical_text_is_minimal_json() {
        let object = Value::object(vec![
            ("b".into(), Value::Array(vec![Value::Null, Value::Bool(true)])),
            ("a".into(), text("x")),
            ("b".into(), Value::Array(Vec::new())),
        ]);
        let cases = [
            (object, r#"{"a":"x","b":[]}"#),
            (Value::Float(1.0), "1"),
            (Value::Float(1e17), "100000000000000000"),
            (Value::Float(1e19), "1e19"),
            (Value::Float(-0.5), "-0.5"),
            (Value::Float(1.5e-7), "1.5e-7"),
            (Value::Float(f64::MAX), "1.7976931348623157e308"),
            (Value::Int(i64::MIN), "-9223372036854775808"),
            (text("q\"\\/\u{8}\u{c}\n\r\t\u{1f}\u{7f}é"), "\"q\\\"\\\\/\\b\\f\\n\\r\\t\\u001f\u{7f}é\""),
        ];
        for (value, expected) in cases {
            assert_eq!(value.canonical(), expected);
            assert!(serde_json::from_str::<serde_json::Value>(expected).is_ok());
        }
    }

    #[test]
    fn the_order_is_that_of_the_texts() {
        let texts = [
            "", "a", "ab", "a!", "a ", "a\"", "a\\", "a\n", "a\u{1}", "a\u{2}", "a\u{10}", "a]", "a\u{7f}", "é", "😀",
            "\u{ffff}",
        ];
        let mut values: Vec<Value> = texts.map(text).into();
        values.extend([Value::Null, Value::Bool(true), Value::Bool(false)]);
        values.extend([0, 5, 7, 10, 999, 1000, -1, -10, i64::MAX].map(Value::Int));
        values.extend([0.5, -0.5, 1e19, 1e-7, 10.0, 1000.25].map(Value::Float));
        values.push(Value::Array(vec![Value::Int(1), Value::Int(2)]));
        values.push(Value::Array(vec![Value::Int(10)]));
        values.push(Value::Object(vec![("a".into(), Value::Int(1))]));
        values.push(Value::Object(Vec::new()));
        for a in &values {
            for b in &values {
                assert_eq!(a.canonical_cmp(b), a.canonical().cmp(&b.canonical()), "{a:?} and {b:?}");
            }
        }
    }

    #[test]
    fn numbers_have_a_natural_order() {
        let rising = [
            Value::Float(-1e19),
            Value::Int(i64::MIN),
            Value::Int(-2),
            Value::Float(-1.5),
            Value::Int(-1),
            Value::Float(0.5),
            Value::Int(9),
            Value::Int(1000),
            Value::Float(1000.5),
            Value::Int(i64::MAX),
            Value::Float(1e19),
        ];
        for (i, a) in rising.iter().enumerate() {
            for (j, b) in rising.iter().enumerate() {
                assert_eq!(a.natural_cmp(b), i.cmp(&j), "{a:?} and {b:?}");
            }
        }
        assert_eq!(Value::Int(10).natural_cmp(&Value::Float(10.0)), Ordering::Equal);
        assert_eq!(text("a!").natural_cmp(&text("a")), Ordering::Greater, "by code point, not by quoted form");
    }
}
