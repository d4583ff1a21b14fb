//! What a decoder computes ahead: which member of an event goes where.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::record::definition::{KeyFrom, Path, SourceDef, TableDef, VersionFrom};

/// The consumed paths of a source as a tree, and what each of them is used for. A consumed path has a slot, in which
/// the value found there waits until the whole event has been read (of a repeated member the last one counts).
#[derive(Debug)]
pub(super) struct Plan {
    /// The tree; the first node is the root.
    pub(super) nodes: Vec<Node>,
    /// Number of slots.
    pub(super) slots: usize,
    /// Slot of the key, where it is taken from the event.
    pub(super) key: Option<usize>,
    /// Slots of the parts of the version.
    pub(super) version: Vec<usize>,
    /// Slot of the event id.
    pub(super) event_id: Option<usize>,
    /// Slot that the delete rule looks at.
    pub(super) delete: Option<usize>,
    /// Slot of each declared field, and whether no later field needs it too.
    pub(super) fields: Vec<(usize, bool)>,
    /// Names of declared fields: a member of such a name that is not the field's path is left out.
    pub(super) names: FxHashSet<Box<str>>,
}

/// A member on the way to a consumed path, or at its end.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// Name of the member.
    pub(super) name: Box<str>,
    /// Members that a longer path goes on with.
    pub(super) children: FxHashMap<Box<str>, usize>,
    /// Slot of the path that ends here.
    pub(super) slot: Option<usize>,
    /// Every slot here and further down.
    pub(super) below: Vec<usize>,
}

impl Plan {
    pub(super) fn new(def: &TableDef, source: &SourceDef) -> Self {
        let paths = def.consumed(source).paths;
        let slot = |path: &Path| paths.binary_search(path).unwrap_or_default();
        let fields: Vec<usize> = def.fields.iter().map(|field| slot(&field.path)).collect();
        let mut nodes = vec![Node::default()];
        for (at, path) in paths.iter().enumerate() {
            grow(&mut nodes, path, at);
        }
        Plan {
            nodes,
            slots: paths.len(),
            key: match &def.key {
                KeyFrom::Path(path) => Some(slot(path)),
                KeyFrom::Message => None,
            },
            version: match &source.version {
                VersionFrom::Timestamp => Vec::new(),
                VersionFrom::Paths(paths) => paths.iter().map(slot).collect(),
            },
            event_id: source.event_id.as_ref().map(slot),
            delete: source.delete.as_ref().map(|rule| slot(&rule.field)),
            fields: fields.iter().enumerate().map(|(i, at)| (*at, !fields[i + 1..].contains(at))).collect(),
            names: def.fields.iter().map(|field| field.name.as_str().into()).collect(),
        }
    }

    /// A plan with one path only: for the key alone.
    pub(super) fn key_only(path: &Path) -> Self {
        let mut nodes = vec![Node::default()];
        grow(&mut nodes, path, 0);
        Plan {
            nodes,
            slots: 1,
            key: Some(0),
            version: Vec::new(),
            event_id: None,
            delete: None,
            fields: Vec::new(),
            names: FxHashSet::default(),
        }
    }
}

fn grow(nodes: &mut Vec<Node>, path: &Path, slot: usize) {
    let mut at = 0;
    for name in &path.0 {
        let fresh = nodes.len();
        at = *nodes[at].children.entry(name.as_str().into()).or_insert(fresh);
        if at == fresh {
            nodes.push(Node { name: name.as_str().into(), ..Node::default() });
        }
        nodes[at].below.push(slot);
    }
    nodes[at].slot = Some(slot);
}
