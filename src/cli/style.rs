//! How the command line writes: colours where they help, and last words.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};

use crate::telemetry::colours;

/// A way to set text apart; nothing where the stream takes no colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// Headings and names.
    Bold,
    /// What matters less.
    Dim,
    /// Good.
    Green,
    /// Worth a look.
    Yellow,
    /// Bad.
    Red,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Ink::Bold => "1",
            Ink::Dim => "2",
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Red => "31",
        }
    }
}

/// Whether a stream is written to in colour.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    colours: bool,
}

impl Style {
    /// The style for `stream`: colours only on a terminal and not with `NO_COLOR`.
    pub fn of(stream: &impl IsTerminal) -> Self {
        Self { colours: colours(stream) }
    }

    /// No colours.
    pub const fn plain() -> Self {
        Self { colours: false }
    }

    /// Whether there are colours.
    pub const fn colours(self) -> bool {
        self.colours
    }

    /// `text` in `ink`.
    pub fn paint(self, ink: Ink, text: impl std::fmt::Display) -> String {
        if self.colours { format!("\x1b[{}m{text}\x1b[0m", ink.code()) } else { text.to_string() }
    }
}

/// Writes to stdout; a reader that has gone away (`keld check | head`) is no error.
///
/// # Errors
/// Anything else that keeps the text from being written.
pub fn out(text: &str) -> crate::Result<()> {
    offer(text).map(drop)
}

/// As [`out`]; false if nobody reads any more.
///
/// # Errors
/// As [`out`].
pub fn offer(text: &str) -> crate::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(harmless(text).as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(crate::Error::from(e).within("standard output")),
        Ok(()) => Ok(true),
    }
}

/// Writes to stderr what the user should know beside the result.
///
/// # Errors
/// If it cannot be written.
pub fn note(text: &str) -> crate::Result<()> {
    std::io::stderr()
        .lock()
        .write_all(harmless(text).as_bytes())
        .map_err(|e| crate::Error::from(e).within("standard error"))
}

/// Writes why the process failed to stderr; the last line of it is `keld: error: …`.
pub fn last_words(why: &str) {
    let style = Style::of(&std::io::stderr());
    // Nobody is left to tell if stderr is gone.
    _ = std::io::stderr().lock().write_all(harmless(&words(why, style)).as_bytes());
}

fn words(why: &str, style: Style) -> String {
    let why = why.trim_end();
    let (lines, last) = why.rsplit_once('\n').map_or(("", why), |(lines, last)| (lines, last));
    let newline = if lines.is_empty() { "" } else { "\n" };
    format!("{lines}{newline}{} {last}\n", style.paint(Ink::Red, "keld: error:"))
}

/// A text with the control characters that JSON leaves as they are, and terminals may obey, escaped as JSON can read them. Those before
/// the blank are escaped where values are written; what is left of them is meant.
fn harmless(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| matches!(c, '\u{7f}'..='\u{9f}');
    if !text.contains(is_control) {
        return Cow::Borrowed(text);
    }
    let mut all = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_control(c) {
            true => all.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => all.push(c),
        }
    }
    Cow::Owned(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_why() {
        assert_eq!(words("no", Style::plain()), "keld: error: no\n");
        assert_eq!(
            words("a:1: x\na:2: y\n2 mistakes in a\n", Style::plain()),
            "a:1: x\na:2: y\nkeld: error: 2 mistakes in a\n"
        );
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        assert_eq!(Style::plain().paint(Ink::Red, "x"), "x");
        assert_eq!(Style { colours: true }.paint(Ink::Red, "x"), "\x1b[31mx\x1b[0m");
    }

    #[test]
    fn no_value_steers_the_terminal_and_json_stays_what_it_is() {
        let value = serde_json::json!({"a": "x\u{9b}31m\u{7f}\u{1b}é\u{a0}"});
        let written = value.to_string();
        assert!(written.contains('\u{9b}'), "JSON leaves it: {written}");
        let shown = harmless(&written);
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert!(matches!(harmless("\u{1b}[1mé\n"), Cow::Borrowed(_)));
    }
}
