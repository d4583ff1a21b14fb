//! Random tables and histories. Everything is drawn from small ranges, so that ties, repetitions and overlaps happen.

use super::model::{Windows, accumulates, needs_id};
use keld::record::definition::name_id;
use keld::record::{
    Absent, Analysis, Dynamic, Event, EventKind, FieldDef, FieldType, Format, KeyFrom, Partitioner, Path, SourceDef,
    Stamp, Strategy as Merge, TableDef, Tombstones, Value, Version, VersionFrom, Window,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The one key that every history speaks of.
pub(crate) const KEY: &str = "k-1";
const MEMBERS: [&str; 4] = ["x", "y", "z z", "é"];
const KINDS: [(Merge, FieldType); 24] = [
    (Merge::Lww, FieldType::Keyword),
    (Merge::Sum, FieldType::Integer),
    (Merge::Set, FieldType::Keyword),
    (Merge::Max, FieldType::Integer),
    (Merge::Count, FieldType::Integer),
    (Merge::Lww, FieldType::Json),
    (Merge::Sum, FieldType::Float),
    (Merge::Min, FieldType::Float),
    (Merge::Set, FieldType::Integer),
    (Merge::Max, FieldType::Date),
    (Merge::Min, FieldType::Keyword),
    (Merge::Lww, FieldType::Integer),
    (Merge::Lww, FieldType::Float),
    (Merge::Lww, FieldType::Boolean),
    (Merge::Lww, FieldType::Date),
    (Merge::Lww, FieldType::Text),
    (Merge::Map, FieldType::Json),
    (Merge::First, FieldType::Keyword),
    (Merge::Append, FieldType::Keyword),
    (Merge::Map, FieldType::Json),
    (Merge::First, FieldType::Json),
    (Merge::Append, FieldType::Json),
    (Merge::First, FieldType::Date),
    (Merge::Append, FieldType::Integer),
];

/// What a law wants of its histories.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    /// Windows smaller than the history happen.
    pub(crate) small_windows: bool,
    /// One event in so many is a delete; 0 for the usual share.
    pub(crate) delete_every: u8,
    /// Nulls on sums and counts happen even where the window is small (a base that is split is nobody's promise).
    pub(crate) clears_in_small_windows: bool,
    /// Most events; 0 for the usual number.
    pub(crate) events: usize,
}

/// A table, the distinct events of one key, and how they are to be delivered.
pub(crate) struct Case {
    pub(crate) def: TableDef,
    pub(crate) events: Vec<Event>,
    drafts: Vec<Draft>,
}

/// One event as drawn, before it is fitted to the table.
#[derive(Clone, Debug)]
struct Draft {
    source: u8,
    version: (i64, i64),
    delete: u8,
    values: Vec<(u8, u8)>,
    /// Its place in three orders of arrival.
    places: [u16; 3],
    /// Whether to deliver something again after it, and what.
    again: Option<u16>,
    /// Whether to store and read the record after it.
    cut: bool,
}

impl Case {
    /// Order of arrival number `which`, within the window: an event that would leave a later one outside comes later.
    pub(crate) fn order(&self, which: usize) -> Vec<&Event> {
        let mut waiting: Vec<usize> = (0..self.events.len()).collect();
        waiting.sort_by_key(|i| (self.drafts[*i].places[which], *i));
        let mut windows = Windows::new(&self.def);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let safe = |at: &usize| {
                let mut next = windows.clone();
                next.take(&self.events[waiting[*at]]);
                waiting.iter().enumerate().all(|(other, e)| other == *at || next.admits(&self.events[*e]))
            };
            let at = (0..waiting.len()).find(safe).unwrap_or(0);
            let event = &self.events[waiting.remove(at)];
            windows.take(event);
            order.push(event);
        }
        order
    }

    /// As drawn, heedless of the window.
    pub(crate) fn unsafe_order(&self) -> Vec<&Event> {
        self.events.iter().collect()
    }

    /// What to deliver once more after step `step` of an order, as an index into the steps done.
    pub(crate) fn again(&self, step: usize) -> Option<usize> {
        self.drafts[step].again.map(|seed| usize::from(seed) % (step + 1))
    }

    /// Whether a batch ends after step `step`.
    pub(crate) fn cut(&self, step: usize) -> bool {
        self.drafts[step].cut
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "\n{:?}, key from {:?}", self.def.window, self.def.key)?;
        for s in &self.def.sources {
            writeln!(f, "  {} id {} rank {} {:?} event id {:?}", s.name, s.id, s.rank, s.version, s.event_id)?;
        }
        for (i, d) in self.def.fields.iter().enumerate() {
            writeln!(f, "  field {i} {}: {:?} {:?}, limit {}", d.name, d.merge, d.kind, d.limit)?;
        }
        for (e, d) in self.events.iter().zip(&self.drafts) {
            let (Version { major, minor }, rank) = (e.stamp.version, e.stamp.rank);
            writeln!(f, "  ({major},{minor})r{rank} from {} id {:?}: {:?}", e.source, e.id, e.kind)?;
            writeln!(f, "      places {:?} again {:?} cut {}", d.places, d.again, d.cut)?;
        }
        Ok(())
    }
}

/// Tables with histories.
pub(crate) fn cases(wish: Wish) -> impl Strategy<Value = Case> {
    let most = if wish.events == 0 { 24 } else { wish.events };
    let deletes = if wish.delete_every == 0 { 24 } else { wish.delete_every };
    // Sums and counts three times as often as their share.
    let fields = vec((0..KINDS.len() + 8, 1..4_usize), 1..7);
    let sources = vec((0..3_i32, any::<bool>(), 0..4_u8), 1..4);
    let windows = (any::<bool>(), 1..5_usize, prop_oneof![Just(86_400_000_i64), 1..4_i64]);
    (fields, sources, windows, any::<bool>(), vec(draft(deletes), 1..most)).prop_map(
        move |(fields, sources, (small, events, time_ms), keyed, drafts)| {
            let small = small && wish.small_windows;
            let window = if small { Window { events, time_ms } } else { Window { events: 64, time_ms: 86_400_000 } };
            let clears = !small || wish.clears_in_small_windows;
            let def = table(&fields, &sources, window, keyed);
            Case { events: events_of(&def, &drafts, clears), def, drafts }
        },
    )
}

fn draft(delete_every: u8) -> impl Strategy<Value = Draft> {
    let values = vec((0..10_u8, 0..10_u8), 1..5);
    let again = prop_oneof![2 => Just(None), 1 => any::<u16>().prop_map(Some)];
    (0..4_u8, (-2..7_i64, 0..2_i64), 0..delete_every, values, any::<[u16; 3]>(), again, any::<bool>()).prop_map(
        |(source, version, delete, values, places, again, cut)| Draft {
            source,
            version,
            delete,
            values,
            places,
            again,
            cut,
        },
    )
}

/// A table of the fields and sources asked for.
fn table(fields: &[(usize, usize)], sources: &[(i32, bool, u8)], window: Window, keyed: bool) -> TableDef {
    TableDef {
        name: "things".into(),
        key: if keyed { KeyFrom::Path(Path::parse("sku")) } else { KeyFrom::Message },
        dynamic: Dynamic::Store,
        window,
        retention: keld::record::Retention::default(),
        partitioner: Partitioner::Any,
        sources: (0..).zip(sources).map(|(n, (rank, timed, ids))| source(n, *rank, *timed, *ids > 0)).collect(),
        fields: (0..).zip(fields).map(|(n, (kind, limit))| field(&format!("f{n}"), kind_of(*kind), *limit)).collect(),
        repartition: false,
        derived: Vec::new(),
        max_depth: 32,
    }
}

fn kind_of(kind: usize) -> (Merge, FieldType) {
    KINDS.get(kind).copied().unwrap_or(KINDS[[1, 4, 6][kind % 3]])
}

/// A source; timed ones take the broker's timestamp as their version, the others a sequence of two parts.
pub(crate) fn source(number: usize, rank: i32, timed: bool, ids: bool) -> SourceDef {
    let name = format!("s{number}");
    let sequence = || VersionFrom::Paths(vec![Path::parse("v"), Path::parse("w")]);
    SourceDef {
        id: name_id(&name),
        topic: name.clone(),
        name,
        format: Format::Json,
        version: if timed { VersionFrom::Timestamp } else { sequence() },
        event_id: ids.then(|| Path::parse("id")),
        rank,
        delete: None,
        absent: Absent::Keep,
        sentinels: Vec::new(),
        tombstones: Tombstones::Delete,
        max_ahead_ms: timed.then_some(86_400_000),
    }
}

/// A declared field whose path is its name.
pub(crate) fn field(name: &str, (merge, kind): (Merge, FieldType), limit: usize) -> FieldDef {
    let path = Path::parse(name);
    let (analysis, variants) = (Analysis::default(), Vec::new());
    let id = name_id(name);
    let name = name.into();
    FieldDef { name, id, kind, merge, path, limit, index: true, facet: false, sort: false, analysis, variants }
}

fn events_of(def: &TableDef, drafts: &[Draft], clears: bool) -> Vec<Event> {
    let mut ids: BTreeMap<u32, u64> = BTreeMap::new();
    let event = |draft: &Draft| {
        let source = &def.sources[usize::from(draft.source) % def.sources.len()];
        let next = ids.entry(source.id).or_default();
        *next += 1;
        // The same ids in every source, and not in the order of the versions.
        let id = next.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let minor = if source.version == VersionFrom::Timestamp { 0 } else { draft.version.1 };
        Event {
            key: KEY.as_bytes().to_vec(),
            stamp: Stamp { version: Version { major: draft.version.0, minor }, rank: source.rank },
            source: source.id,
            id: source.event_id.is_some().then_some(id),
            kind: if draft.delete == 1 { EventKind::Delete } else { upsert(def, source, &draft.values, clears) },
        }
    };
    drafts.iter().map(event).collect()
}

fn upsert(def: &TableDef, source: &SourceDef, values: &[(u8, u8)], clears: bool) -> EventKind {
    let (mut declared, mut dynamic) = (BTreeMap::new(), BTreeMap::new());
    for (slot, pick) in values {
        let at = usize::from(*slot) % (def.fields.len() + MEMBERS.len());
        let Some(field) = def.fields.get(at) else {
            dynamic.insert(MEMBERS[at - def.fields.len()].to_owned(), json(*pick));
            continue;
        };
        let value = if *pick == 9 { Value::Null } else { typed(field, *pick) };
        let nameless = needs_id(field) && source.event_id.is_none();
        let unfit = if value == Value::Null { accumulates(field) && !clears } else { nameless };
        if !unfit {
            declared.insert(at, value);
        }
    }
    EventKind::Upsert { declared: declared.into_iter().collect(), dynamic: dynamic.into_iter().collect() }
}

/// One of nine values of the field's type, arrays among them where they mean something.
fn typed(field: &FieldDef, pick: u8) -> Value {
    let at = usize::from(pick);
    let one = |at: usize| match (field.kind, accumulates(field)) {
        (FieldType::Integer, true) => Value::Int([1, -1, 0, 2, 5, -3, 100, 7, 0][at]),
        (FieldType::Integer, false) => Value::Int([0, -1, 9, 10, 999, 1000, 7, i64::MAX, i64::MIN][at]),
        (FieldType::Float, true) => Value::Float([0.1, 0.2, 0.3, 1e16, -1e16, 0.7, -0.1, 0.0, 1e-9][at]),
        (FieldType::Float, false) => Value::Float([0.5, -0.5, 9.0, 10.0, 999.25, 1000.0, 0.0, 1e9, -7.0][at]),
        (FieldType::Boolean, _) => Value::Bool(at < 4),
        (FieldType::Date, _) => Value::Int(1_700_000_000_000 + [0, 1, 999, 1000, 60_000, 7, 86_400_000, 5, 6][at]),
        (FieldType::Json, _) => json(pick),
        _ => Value::Str(["a", "b", "B", "ab", "é", "😀", "9", "10", "quite long, as titles are"][at].into()),
    };
    if field.merge == Merge::Map {
        return object(at);
    }
    let arrays = match field.merge {
        Merge::Set | Merge::Append => true,
        Merge::Lww | Merge::First => field.kind != FieldType::Json,
        _ => false,
    };
    if field.merge == Merge::Append && pick == 5 {
        return Value::Array(Vec::new());
    }
    if arrays && pick >= 6 { Value::Array(vec![one(at), one(at - 5), one(at - 3)]) } else { one(at) }
}

/// Values of a map: few keys, so that they meet; some are cleared alone.
fn object(at: usize) -> Value {
    let members: Vec<(&str, Value)> = match at {
        0 => vec![("a", Value::Int(999))],
        1 => vec![("a", Value::Int(1000)), ("b", Value::Bool(true))],
        2 => vec![("a", Value::Null)],
        3 => vec![],
        4 => vec![("a!", Value::Int(1)), ("b", Value::Null), ("c", Value::Int(3))],
        5 => vec![("b", Value::Float(0.5)), ("é", Value::Int(5))],
        6 => vec![("a", Value::Int(1)), ("b", Value::Int(2)), ("c", Value::Int(3)), ("d", Value::Int(4))],
        7 => vec![("c", Value::Null), ("d", Value::Bool(false))],
        _ => vec![("a", Value::Int(999)), ("é", Value::Null)],
    };
    Value::Object(members.into_iter().map(|(name, v)| (name.to_owned(), v)).collect())
}

fn json(pick: u8) -> Value {
    let text = |s: &str| Value::Str(s.into());
    match pick {
        0 => Value::Int(999),
        1 => Value::Int(1000),
        2 => text("999"),
        3 => Value::Bool(true),
        4 => Value::Array(vec![Value::Int(1), Value::Null]),
        5 => Value::Object(vec![("a".into(), Value::Float(0.5)), ("b".into(), Value::Object(Vec::new()))]),
        6 => text("quo\"te \\ é"),
        7 => Value::Float(-2.5),
        8 => Value::Object(vec![("a".into(), Value::Int(5))]),
        _ => Value::Null,
    }
}

/// As many events as wanted, with rising and repeating versions, for a table.
pub(crate) fn long_history(def: &TableDef, seed: u64, length: u32) -> impl Iterator<Item = Event> + '_ {
    let mut state = seed | 1;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    (0..length).map(move |n| {
        let mut small = || u8::try_from(random(10)).unwrap_or_default();
        let values: Vec<(u8, u8)> = (0..4).map(|_| (small(), small())).collect();
        let source = &def.sources[usize::from(small()) % def.sources.len()];
        let major = i64::from(n) + i64::from(small()) - 5;
        Event {
            key: KEY.as_bytes().to_vec(),
            stamp: Stamp { version: Version::single(major), rank: source.rank },
            source: source.id,
            id: source.event_id.is_some().then_some(u64::from(n).wrapping_mul(0x9E37_79B9_7F4A_7C15)),
            kind: upsert(def, source, &values, true),
        }
    })
}
