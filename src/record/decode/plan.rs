//! What a decoder computes ahead: which member of an event goes where.

use std::sync::atomic::{AtomicUsize, Ordering};

use rustc_hash::{FxHashMap, FxHashSet};

use super::beside::Beside;
use crate::record::debezium::{self, Position};
use crate::record::definition::{Input, KeyFrom, Path, Shape, SourceDef, TableDef, VersionFrom};

/// The consumed paths of a source as a tree, and what each of them is used for. A consumed path has a slot, in which
/// the value found there waits until the whole event has been read (of a repeated member the last one counts).
#[derive(Debug)]
pub(super) struct Plan {
    /// The tree; the first node is the root.
    pub(super) nodes: Vec<Node>,
    /// Number of slots.
    pub(super) slots: usize,
    /// Slots that are filled from beside the payload.
    pub(super) beside: Vec<(usize, Beside)>,
    /// Slot of the key, where it is taken from the event.
    pub(super) key: Option<usize>,
    /// What is looked for around the rows of an envelope, and the slot here of each slot there.
    pub(super) envelope: Option<Box<(Plan, Vec<usize>)>>,
    /// Slots of the parts of the version.
    pub(super) version: Vec<usize>,
    /// Slots of the position of a change, where that is the version.
    pub(super) position: Option<PositionSlots>,
    /// Slots of the marks of a delete in the flattened form.
    pub(super) marks: Option<[usize; 2]>,
    /// Slot of the event id.
    pub(super) event_id: Option<usize>,
    /// Slot that the delete rule looks at.
    pub(super) delete: Option<usize>,
    /// Slot of each declared field, and whether no later field needs it too.
    pub(super) fields: Vec<(usize, bool)>,
    /// Names of declared and derived fields: a member of such a name that is not a field's path is left out.
    pub(super) names: FxHashSet<Box<str>>,
}

/// Where the parts of a change's position are.
#[derive(Debug)]
pub(super) struct PositionSlots {
    pub(super) time: usize,
    pub(super) time_path: Path,
    pub(super) lsn: Vec<usize>,
    pub(super) file: Vec<usize>,
    pub(super) pos: Vec<usize>,
    pub(super) ord: Vec<usize>,
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
    /// Which member of the event came after this one the last time: most producers write them in one order. A guess only.
    next: AtomicUsize,
}

impl Plan {
    /// The consumed member of the event that has this name; `before` is the one before it, 0 if there was none.
    #[inline]
    pub(super) fn root(&self, name: &str, before: usize) -> Option<usize> {
        let next = &self.nodes[before].next;
        let guess = next.load(Ordering::Relaxed);
        // The root has no name, and no member that is consumed is its like.
        if guess != 0 && &*self.nodes[guess].name == name {
            return Some(guess);
        }
        let found = *self.nodes[0].children.get(name)?;
        next.store(found, Ordering::Relaxed);
        Some(found)
    }

    pub(super) fn new(def: &TableDef, source: &SourceDef) -> Self {
        let paths = def.consumed(source).paths;
        let slot = |path: &Path| paths.binary_search(path).unwrap_or_default();
        let fields: Vec<usize> = def.fields.iter().map(|field| slot(&field.path)).collect();
        let shape = source.format.shape();
        let all = |of: &[Path]| of.iter().map(slot).collect();
        let position = (source.version == VersionFrom::Position).then(|| {
            let Position { time, lsn, file, pos, ord } = Position::of(shape);
            let (time, time_path) = (slot(&time), time);
            PositionSlots { time, time_path, lsn: all(&lsn), file: all(&file), pos: all(&pos), ord: all(&ord) }
        });
        let Tree { nodes, beside, envelope } = Tree::of(&paths);
        Plan {
            nodes,
            slots: paths.len(),
            beside,
            envelope: Self::envelope(&paths, &envelope),
            position,
            marks: (shape == Shape::Flat).then(|| debezium::marks().each_ref().map(slot)),
            key: match &def.key {
                KeyFrom::Path(path) => Some(slot(path)),
                KeyFrom::Message => None,
            },
            version: match &source.version {
                VersionFrom::Timestamp | VersionFrom::Position => Vec::new(),
                VersionFrom::Paths(paths) => paths.iter().map(slot).collect(),
            },
            event_id: source.event_id.as_ref().map(slot),
            delete: source.delete.as_ref().map(|rule| slot(&rule.field)),
            fields: fields.iter().enumerate().map(|(i, at)| (*at, !fields[i + 1..].contains(at))).collect(),
            names: def.shown_fields().map(|field| field.name.as_str().into()).collect(),
        }
    }

    /// A plan with one path only: for the key alone.
    pub(super) fn key_only(path: &Path) -> Self {
        let Tree { nodes, beside, envelope } = Tree::of(std::slice::from_ref(path));
        let around = Self::envelope(std::slice::from_ref(path), &envelope);
        Plan { beside, envelope: around, key: Some(0), ..Self::of(nodes, 1) }
    }

    /// The plan for what stands around the rows: the paths of these slots, without their `@`.
    fn envelope(paths: &[Path], slots: &[usize]) -> Option<Box<(Plan, Vec<usize>)>> {
        let inner = |slot: &usize| {
            let mut path = paths[*slot].clone();
            path.0[0].remove(0);
            path
        };
        let inner: Vec<Path> = slots.iter().map(inner).collect();
        let tree = Tree::of(&inner);
        (!inner.is_empty()).then(|| Box::new((Self::of(tree.nodes, inner.len()), slots.to_vec())))
    }

    /// A plan that fills slots and says nothing of what they are for.
    fn of(nodes: Vec<Node>, slots: usize) -> Self {
        Plan {
            nodes,
            slots,
            beside: Vec::new(),
            envelope: None,
            key: None,
            version: Vec::new(),
            position: None,
            marks: None,
            event_id: None,
            delete: None,
            fields: Vec::new(),
            names: FxHashSet::default(),
        }
    }
}

/// Paths, sorted by where they look.
struct Tree {
    nodes: Vec<Node>,
    beside: Vec<(usize, Beside)>,
    envelope: Vec<usize>,
}

impl Tree {
    fn of(paths: &[Path]) -> Self {
        let mut tree = Tree { nodes: vec![Node::default()], beside: Vec::new(), envelope: Vec::new() };
        for (slot, path) in paths.iter().enumerate() {
            match path.input() {
                Input::Member(root) => tree.grow(root, &path.0[1..], slot),
                Input::Envelope(_) => tree.envelope.push(slot),
                other => tree.beside.extend(Beside::of(other).map(|beside| (slot, beside))),
            }
        }
        tree
    }

    fn grow(&mut self, root: &str, rest: &[String], slot: usize) {
        let mut at = 0;
        for name in std::iter::once(root).chain(rest.iter().map(String::as_str)) {
            let fresh = self.nodes.len();
            at = *self.nodes[at].children.entry(name.into()).or_insert(fresh);
            if at == fresh {
                self.nodes.push(Node { name: name.into(), ..Node::default() });
            }
            self.nodes[at].below.push(slot);
        }
        self.nodes[at].slot = Some(slot);
    }
}
