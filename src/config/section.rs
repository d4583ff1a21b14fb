//! Walks one section of a configuration: takes what it knows, notes what is wrong, and says what it does not know.

use std::cell::RefCell;

use super::mistakes::{Mistakes, Origin};
use super::tree::{Data, Members, Node};
use super::words;

/// A value as it is wanted, or what is wrong with it.
pub(super) type Parsed<T> = Result<T, String>;

/// A section that is being read. [`Section::finish`] reports the keys that nobody asked for.
#[derive(Debug)]
pub(super) struct Section<'a> {
    members: Option<&'a Members>,
    at: Origin,
    path: String,
    mistakes: &'a Mistakes,
    /// What stands here is no section. That is noted; what such a section lacks is not worth a word.
    broken: bool,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    /// The whole configuration.
    pub(super) fn root(members: &'a Members, mistakes: &'a Mistakes) -> Self {
        Self::new(Some(members), Origin::TOP, String::new(), mistakes)
    }

    fn new(members: Option<&'a Members>, at: Origin, path: String, mistakes: &'a Mistakes) -> Self {
        Self { members, at, path, mistakes, broken: false, known: RefCell::new(Vec::new()) }
    }

    /// What stands under `key`, unread.
    pub(super) fn node(&self, key: &'static str) -> Option<&'a Node> {
        let mut known = self.known.borrow_mut();
        if !known.contains(&key) {
            known.push(key);
        }
        self.members.and_then(|m| m.get(key))
    }

    /// The value of `key`; `None` if it is not given, or given wrong, which is noted.
    pub(super) fn get<T>(&self, key: &'static str, parse: impl FnOnce(&Node) -> Parsed<T>) -> Option<T> {
        let node = self.node(key)?;
        parse(node).map_err(|what| self.mistakes.note(&node.at, &self.path_of(key), what)).ok()
    }

    /// The value of `key`, or its default.
    pub(super) fn or<T>(&self, key: &'static str, default: T, parse: impl FnOnce(&Node) -> Parsed<T>) -> T {
        self.get(key, parse).unwrap_or(default)
    }

    /// The value of `key`, which must be given; `what` says what it is.
    pub(super) fn need<T>(&self, key: &'static str, what: &str, parse: impl FnOnce(&Node) -> Parsed<T>) -> Option<T> {
        if !self.given(key) {
            self.wrong(key, format!("missing: {what}"));
        }
        self.get(key, parse)
    }

    /// The section under `key`; empty if it is not given.
    pub(super) fn sub(&self, key: &'static str) -> Section<'a> {
        match self.node(key) {
            Some(node) => self.open(key, node),
            None => Self::new(None, self.at.clone(), self.path_of(key), self.mistakes),
        }
    }

    /// The sections under `key`, by name: tables, sources, fields.
    pub(super) fn named(&self, key: &'static str) -> Vec<(&'a str, Section<'a>)> {
        let all = self.sub(key);
        let members = all.members.into_iter().flatten();
        members.map(|(name, node)| (name.as_str(), all.open(name, node))).collect()
    }

    fn open(&self, key: &str, node: &'a Node) -> Section<'a> {
        let path = self.path_of(key);
        let Data::Section(members) = &node.data else {
            self.mistakes.note(&node.at, &path, format!("expected a section, found {}", node.describe()));
            return Self { broken: true, ..Self::new(None, node.at.clone(), path, self.mistakes) };
        };
        Self::new(Some(members), node.key_at.clone(), path, self.mistakes)
    }

    /// Every member, where names are free.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a String, &'a Node)> + use<'a> {
        self.members.into_iter().flatten()
    }

    /// Whether `key` is given, rightly or wrongly.
    pub(super) fn given(&self, key: &str) -> bool {
        self.members.is_some_and(|m| m.contains_key(key))
    }

    /// Whether nothing is wrong with `keys` so far.
    pub(super) fn sound(&self, keys: &[&str]) -> bool {
        !keys.iter().any(|key| self.mistakes.has(&self.path_of(key)))
    }

    /// Notes a mistake at `key`: at its value, or at the section if it is not given.
    pub(super) fn wrong(&self, key: &str, what: impl Into<String>) {
        if self.broken {
            return;
        }
        let node = self.members.and_then(|m| m.get(key));
        self.mistakes.note(node.map_or(&self.at, |n| &n.at), &self.path_of(key), what);
    }

    /// Notes a mistake of the section itself, at its name.
    pub(super) fn wrong_itself(&self, what: impl Into<String>) {
        if !self.broken {
            self.mistakes.note(&self.at, &self.path, what);
        }
    }

    /// Notes a mistake at a member whose name is free.
    pub(super) fn wrong_at(&self, origin: &Origin, key: &str, what: impl Into<String>) {
        self.mistakes.note(origin, &self.path_of(key), what);
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(self) {
        let known = self.known.borrow();
        for (key, node) in self.members.into_iter().flatten() {
            if !known.contains(&key.as_str()) {
                let what = format!("unknown key {key:?} {}", words::hint(key, &known));
                self.mistakes.note(&node.key_at, &self.path_of(key), what);
            }
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
