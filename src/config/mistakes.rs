//! Where a setting was said, and the list of everything that is wrong with a configuration.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use crate::Error;

/// Where a setting was said. Orders as a reader goes through them: the file from top to bottom, variables, flags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// In the file, both from 1; columns count characters.
    File { line: usize, column: usize },
    /// By an environment variable of this name.
    Variable(Rc<str>),
    /// By the n-th `--set`; without its value, which may be a secret.
    Flag(usize, Rc<str>),
}

impl Origin {
    /// The first character of the file.
    pub(super) const TOP: Origin = Origin::File { line: 1, column: 1 };
}

#[derive(Debug, PartialEq)]
struct Mistake {
    origin: Origin,
    path: String,
    what: String,
}

/// Everything found wrong so far. Shared by all readers of one configuration, so that one error reports all of it.
#[derive(Debug)]
pub(super) struct Mistakes {
    file: String,
    found: RefCell<Vec<Mistake>>,
}

impl Mistakes {
    /// Nothing wrong yet with `file`.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.to_owned(), found: RefCell::new(Vec::new()) }
    }

    /// Notes a mistake; `path` is the dotted name of the setting, empty for the file as a whole.
    pub(super) fn note(&self, origin: &Origin, path: &str, what: impl Into<String>) {
        self.found.borrow_mut().push(Mistake { origin: origin.clone(), path: path.to_owned(), what: what.into() });
    }

    /// Whether the setting `path`, or anything in it, was found wrong: its default must not be judged in its place.
    pub(super) fn has(&self, path: &str) -> bool {
        let inside = |p: &str| p.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.found.borrow().iter().any(|m| inside(&m.path))
    }

    /// `good` if nothing is wrong; otherwise one error with a line for each mistake and a last line that counts them.
    pub(super) fn judge<T>(self, good: T) -> crate::Result<T> {
        let mut found = self.found.into_inner();
        if found.is_empty() {
            return Ok(good);
        }
        found.sort_by(|a, b| (&a.origin, &a.path).cmp(&(&b.origin, &b.path)));
        found.dedup();
        let mut text = String::new();
        for m in &found {
            let colon = if m.path.is_empty() { "" } else { ": " };
            text.push_str(&format!("{}: {}{colon}{}\n", Place(&self.file, &m.origin), m.path, m.what));
        }
        let s = if found.len() == 1 { "" } else { "s" };
        text.push_str(&format!("{} mistake{s} in {}", found.len(), self.file));
        Err(Error::refused(text))
    }
}

/// An origin as it is written at the start of a line.
struct Place<'a>(&'a str, &'a Origin);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Origin::File { line, column } => write!(f, "{}:{line}:{column}", self.0),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag(_, key) => write!(f, "--set {key}"),
        }
    }
}
