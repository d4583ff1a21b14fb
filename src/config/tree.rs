//! A configuration as a tree in which every node knows where it was said. File, variables and flags meet here.

use std::collections::BTreeMap;

use toml_span::Span;
use toml_span::value::ValueInner;

use super::mistakes::Origin;

/// Members of a section, by name.
pub(super) type Members = BTreeMap<String, Node>;

/// A value and where it was said.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Where its name stands.
    pub(super) key_at: Origin,
    /// Where its value stands; of a section: its name.
    pub(super) at: Origin,
    /// The value.
    pub(super) data: Data,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) enum Data {
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    List(Vec<Node>),
    Section(Members),
    /// Text of a variable or flag: becomes whatever type is wanted of it.
    Loose(String),
}

impl Node {
    /// What was found, for "expected …, found …".
    pub(super) fn describe(&self) -> String {
        match &self.data {
            Data::Text(t) | Data::Loose(t) => format!("{t:?}"),
            Data::Int(n) => format!("the number {n}"),
            Data::Float(x) => format!("the number {x}"),
            Data::Bool(b) => b.to_string(),
            Data::List(_) => "a list".to_owned(),
            Data::Section(_) => "a section".to_owned(),
        }
    }
}

/// Reads a file's text. The error says where the text stops being TOML.
pub(super) fn parse(text: &str) -> Result<Members, (Origin, String)> {
    let lines = Lines::new(text);
    match toml_span::parse(text) {
        Ok(mut root) => Ok(members(&lines, root.take())),
        Err(e) => Err((lines.origin(e.span.start), e.to_string())),
    }
}

/// Reads the text of a variable or flag: quoted text, a list or a section where it looks like one, else loose text.
pub(super) fn loose(text: &str, origin: &Origin) -> Node {
    let node = |data| Node { key_at: origin.clone(), at: origin.clone(), data };
    if text.starts_with(['"', '\'', '[', '{'])
        && let Ok(mut tree) = parse(&format!("value = {text}"))
        && let Some(mut value) = tree.remove("value")
        && tree.is_empty()
    {
        moved(&mut value, origin);
        return value;
    }
    node(Data::Loose(text.to_owned()))
}

fn moved(node: &mut Node, origin: &Origin) {
    (node.key_at, node.at) = (origin.clone(), origin.clone());
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|n| moved(n, origin)),
        Data::Section(members) => members.values_mut().for_each(|n| moved(n, origin)),
        _ => {}
    }
}

/// Puts `node` at `path`, in place of what stands there, making the sections on the way. The error says which part of
/// the path is no section.
pub(super) fn insert(root: &mut Members, path: &[String], node: Node) -> Result<(), String> {
    let Some((last, sections)) = path.split_last() else { return Ok(()) };
    let mut here = root;
    for (depth, name) in sections.iter().enumerate() {
        let (key_at, at) = (node.key_at.clone(), node.at.clone());
        let step = here.entry(name.clone()).or_insert(Node { key_at, at, data: Data::Section(Members::new()) });
        match &mut step.data {
            Data::Section(members) => here = members,
            _ => return Err(format!("{} is a value, not a section", path[..=depth].join("."))),
        }
    }
    here.insert(last.clone(), node);
    Ok(())
}

fn members(lines: &Lines<'_>, value: ValueInner<'_>) -> Members {
    let ValueInner::Table(table) = value else { return Members::new() };
    table
        .into_iter()
        .map(|(key, mut value)| {
            let key_at = lines.origin(key.span.start);
            let span = value.span;
            (key.name.into_owned(), node(lines, key_at, span, value.take()))
        })
        .collect()
}

fn node(lines: &Lines<'_>, key_at: Origin, span: Span, value: ValueInner<'_>) -> Node {
    let at = if matches!(value, ValueInner::Table(_)) { key_at.clone() } else { lines.origin(span.start) };
    let data = match value {
        ValueInner::String(s) => Data::Text(s.into_owned()),
        ValueInner::Integer(n) => Data::Int(n),
        ValueInner::Float(x) => Data::Float(x),
        ValueInner::Boolean(b) => Data::Bool(b),
        ValueInner::Array(items) => Data::List(
            items
                .into_iter()
                .map(|mut item| {
                    let span = item.span;
                    node(lines, lines.origin(span.start), span, item.take())
                })
                .collect(),
        ),
        table @ ValueInner::Table(_) => Data::Section(members(lines, table)),
    };
    Node { key_at, at, data }
}

/// Turns byte offsets into lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, starts }
    }

    /// The parser's spans of texts begin behind the quotes: steps back over them.
    fn origin(&self, offset: usize) -> Origin {
        let bytes = self.text.as_bytes();
        let mut at = offset.min(bytes.len());
        while at > 0 && matches!(bytes[at - 1], b'"' | b'\'') {
            at -= 1;
        }
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= at);
        let column = self.text[self.starts[line - 1]..at].chars().count() + 1;
        Origin::File { line, column }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: usize, column: usize) -> Origin {
        Origin::File { line, column }
    }

    #[test]
    fn every_node_knows_where_it_was_said() {
        let text = "a = \"é\"\n[s.t]\n\"ké y\" = [1, 'x']\nn = { m = true }\n";
        let root = parse(text).unwrap();
        assert_eq!((&root["a"].key_at, &root["a"].at), (&at(1, 1), &at(1, 5)));
        let Data::Section(s) = &root["s"].data else { panic!("s") };
        assert_eq!(s["t"].at, at(2, 4));
        let Data::Section(t) = &s["t"].data else { panic!("t") };
        assert_eq!((&t["ké y"].key_at, &t["ké y"].at), (&at(3, 1), &at(3, 10)));
        let Data::List(items) = &t["ké y"].data else { panic!("list") };
        assert_eq!((&items[0].at, &items[1].at), (&at(3, 11), &at(3, 14)));
        let Data::Section(n) = &t["n"].data else { panic!("n") };
        assert_eq!((&n["m"].key_at, &n["m"].at), (&at(4, 7), &at(4, 11)));
    }

    #[test]
    fn text_that_is_no_toml_says_where() {
        let (origin, _) = parse("a = 1\nb = = 2\n").unwrap_err();
        assert_eq!(origin, at(2, 5));
    }

    #[test]
    fn loose_text_is_typed_only_where_it_looks_typed() {
        let origin = Origin::Variable("KELD_X".into());
        assert!(matches!(loose("12", &origin).data, Data::Loose(t) if t == "12"));
        assert!(matches!(loose("\"a\"", &origin).data, Data::Text(t) if t == "a"));
        assert!(matches!(loose("[1, 2]", &origin).data, Data::List(l) if l.len() == 2 && l[1].at == origin));
        assert!(matches!(loose("[broken", &origin).data, Data::Loose(_)));
    }
}
