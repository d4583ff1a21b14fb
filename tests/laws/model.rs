//! The reference model: keeps every event of a key for ever and answers each question by looking at all of them.
//!
//! Written from `MERGE.md` alone; of Keld it shares the plain data types only. Slow on purpose.

use keld::record::{
    Event, EventKind, FieldDef, FieldType, KeyFrom, Outcome, SourceDef, Stamp, Strategy, TableDef, Value, Version,
    VersionFrom,
};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

/// Place of a contribution in its source's order.
type Entry = (Version, u64);

/// What the model foresees for one event.
#[derive(Debug)]
pub(crate) struct Foreseen {
    /// Outcomes that MERGE.md admits; nearly always one.
    pub(crate) outcomes: Vec<Outcome>,
    /// Fields whose contribution is outside the window.
    pub(crate) refused: BTreeSet<String>,
    /// Whether a delete came later than the window.
    pub(crate) missed: bool,
}

/// What an event (or a part of it) would do to what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    New,
    Held,
    Superseded,
    /// MERGE.md admits new, held and superseded.
    Any,
}

/// The recent and the folded contributions of one source.
#[derive(Clone, Debug, Default)]
struct Journal {
    held: BTreeSet<Entry>,
    folded: BTreeSet<Entry>,
    /// What came too late for the window and counts all the same, for `first` fields only.
    late: BTreeSet<Entry>,
    /// Those of all these that a delete cannot take out of a base.
    rigid: BTreeSet<Entry>,
}

/// Fate of a contribution.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    New,
    Held,
    Outside,
    Dead,
}

/// The journals of a key and its tombstone: what the window speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Windows<'a> {
    def: &'a TableDef,
    grave: Option<Version>,
    journals: BTreeMap<u32, Journal>,
}

impl<'a> Windows<'a> {
    pub(crate) fn new(def: &'a TableDef) -> Self {
        Windows { def, grave: None, journals: BTreeMap::new() }
    }

    fn buried(&self, version: Version) -> bool {
        self.grave.is_some_and(|grave| version <= grave)
    }

    fn fate(&self, event: &Event) -> Fate {
        let entry = entry(event);
        match self.journals.get(&event.source) {
            _ if self.buried(event.stamp.version) => Fate::Dead,
            Some(journal) if journal.held.contains(&entry) => Fate::Held,
            Some(journal) if journal.folded.last().is_some_and(|highest| entry <= *highest) => Fate::Outside,
            _ => Fate::New,
        }
    }

    /// Takes an event in; true if it is a delete that came later than the window.
    pub(crate) fn take(&mut self, event: &Event) -> bool {
        if event.kind == EventKind::Delete {
            return self.bury(event.stamp.version);
        }
        let (adds, fate) = (contributions(self.def, event), self.fate(event));
        let first = adds.iter().any(|f| self.def.fields[*f].merge == Strategy::First);
        let rigid = adds.iter().any(|f| self.def.fields[*f].merge != Strategy::Append);
        if adds.is_empty() || !(fate == Fate::New || fate == Fate::Outside && first) {
            return false;
        }
        let timed = source(self.def, event).is_some_and(|s| s.version == VersionFrom::Timestamp);
        let journal = self.journals.entry(event.source).or_default();
        if rigid {
            journal.rigid.insert(entry(event));
        }
        if fate == Fate::Outside {
            journal.late.insert(entry(event));
            return false;
        }
        journal.held.insert(entry(event));
        while let (Some(oldest), Some(newest)) = (journal.held.first(), journal.held.last()) {
            let late = timed && newest.0.major - oldest.0.major > self.def.window.time_ms;
            if journal.held.len() <= self.def.window.events && !late {
                break;
            }
            journal.folded.extend(journal.held.pop_first());
        }
        false
    }

    fn bury(&mut self, version: Version) -> bool {
        if self.buried(version) {
            return false;
        }
        self.grave = Some(version);
        let mut missed = false;
        for journal in self.journals.values_mut() {
            journal.held.retain(|entry| entry.0 > version);
            // A base that the delete covers only in part cannot be split, and stays.
            match journal.folded.last() {
                Some(highest) if highest.0 <= version => {
                    journal.folded.clear();
                    journal.late.clear();
                }
                _ => {
                    let base: BTreeSet<Entry> = journal.folded.union(&journal.late).copied().collect();
                    missed |=
                        base.first().is_some_and(|lowest| lowest.0 <= version) && !base.is_disjoint(&journal.rigid);
                }
            }
        }
        missed
    }

    /// Whether `event` can still arrive within the window: no base has overtaken what it contributes or removes.
    pub(crate) fn admits(&self, event: &Event) -> bool {
        let clears = |(slot, value): (Slot<'_>, &Value)| match slot {
            Slot::Field(f) => *value == Value::Null && accumulates(&self.def.fields[f]),
            Slot::Member(_) => false,
        };
        let removes = event.kind == EventKind::Delete || parts(event).any(clears);
        let highest = |journal: &Journal| journal.folded.last().copied();
        let overtaken = self.journals.values().filter_map(highest).any(|base| base.0 > event.stamp.version);
        !(removes && overtaken) && (strict(self.def, event).is_empty() || self.fate(event) != Fate::Outside)
    }
}

/// Every event of a key that was delivered, in any order, any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Model<'a> {
    seen: Vec<&'a Event>,
    /// Of these, what no tombstone covered when it came.
    came_alive: Vec<&'a Event>,
    windows: Windows<'a>,
}

impl<'a> Model<'a> {
    pub(crate) fn new(def: &'a TableDef) -> Self {
        Model { seen: Vec::new(), came_alive: Vec::new(), windows: Windows::new(def) }
    }

    fn def(&self) -> &'a TableDef {
        self.windows.def
    }

    /// Takes an event in and says what must become of it.
    pub(crate) fn deliver(&mut self, event: &'a Event) -> Foreseen {
        let mut foreseen = self.foresee(event);
        if !self.windows.buried(event.stamp.version) {
            self.came_alive.push(event);
        }
        foreseen.missed = self.windows.take(event);
        self.seen.push(event);
        foreseen
    }

    /// Whether delivering `event` once more happens within the window.
    pub(crate) fn admits(&self, event: &Event) -> bool {
        self.windows.admits(event)
    }

    fn foresee(&self, event: &Event) -> Foreseen {
        let version = event.stamp.version;
        let just =
            |outcomes: &[Outcome]| Foreseen { outcomes: outcomes.into(), refused: BTreeSet::new(), missed: false };
        if event.kind == EventKind::Delete {
            return match self.windows.grave.map(|grave| version.cmp(&grave)) {
                None | Some(Ordering::Greater) => just(&[Outcome::Applied]),
                Some(Ordering::Equal) => just(&[Outcome::Duplicate]),
                Some(Ordering::Less) => just(&[Outcome::Stale]),
            };
        }
        if parts(event).next().is_none() {
            return just(&[Outcome::Duplicate, Outcome::Stale]);
        }
        if self.windows.buried(version) {
            return just(&[Outcome::Stale]);
        }
        let adds = contributions(self.def(), event);
        let fate = (!adds.is_empty()).then(|| self.windows.fate(event));
        let strict = strict(self.def(), event);
        if fate == Some(Fate::Outside) && !strict.is_empty() {
            let refused = strict.iter().map(|f| self.def().fields[*f].name.clone()).collect();
            return Foreseen { outcomes: vec![Outcome::Quarantined], refused, missed: false };
        }
        just(&self.outcomes(event, &adds, fate))
    }

    fn outcomes(&self, event: &'a Event, adds: &[usize], fate: Option<Fate>) -> Vec<Outcome> {
        let mut found: Vec<Part> = self.judge_fields(event);
        match fate {
            Some(Fate::New) if adds.iter().all(|f| self.cleared(*f, event.stamp.version)) => found.push(Part::Any),
            Some(Fate::New) => found.push(Part::New),
            // How far back the lowest folded version lies is nobody's business, but part of the bytes.
            Some(Fate::Outside) => found.push(Part::Any),
            Some(_) if event.id.is_none() => found.extend(adds.iter().map(|f| self.judge_tie(*f, event))),
            Some(_) => found.push(Part::Held),
            None => {}
        }
        // Ids speak of contributions: whether the id of an event without any is remembered is nobody's promise.
        let known = fate == Some(Fate::Held) && event.id.is_some();
        let maybe_known = !known && event.id.is_some() && self.seen.contains(&event);
        let unchanged = if known || found.iter().all(|p| *p == Part::Held) {
            vec![Outcome::Duplicate]
        } else if maybe_known || found.iter().all(|p| matches!(p, Part::Held | Part::Any)) {
            vec![Outcome::Duplicate, Outcome::Stale]
        } else {
            vec![Outcome::Stale]
        };
        if found.contains(&Part::New) {
            vec![Outcome::Applied]
        } else if found.contains(&Part::Any) {
            [vec![Outcome::Applied], unchanged].concat()
        } else {
            unchanged
        }
    }

    fn judge_fields(&self, event: &'a Event) -> Vec<Part> {
        let before: Vec<&Event> = self.live();
        let after: Vec<&Event> = before.iter().copied().chain([event]).collect();
        let judge = |(slot, value): (Slot<'a>, &'a Value)| {
            if self.accumulates(slot) {
                return (*value == Value::Null).then(|| self.judge_clear(slot, event.stamp));
            }
            let (old, new) = (self.state(slot, &before), self.state(slot, &after));
            let written = self.decisive(slot, event.stamp);
            let held = |member: &Value| old.iter().any(|(stamp, v)| *stamp == written && v == member);
            Some(if old != new {
                Part::New
            } else if self.members(slot, value).iter().all(held) {
                Part::Held
            } else {
                Part::Superseded
            })
        };
        parts(event).filter_map(judge).collect()
    }

    /// A value of a `first`, from an event without an id, at a version that its source has spoken at already.
    fn judge_tie(&self, field: usize, event: &Event) -> Part {
        let rivals: Vec<&Event> =
            self.live().into_iter().filter(|e| e.source == event.source && entry(e) == entry(event)).collect();
        let text = |e: &&Event| {
            let values = said(Slot::Field(field), &[*e]);
            values.first().filter(|(_, v)| **v != Value::Null).map(|(_, v)| canonical(v))
        };
        let best = rivals.iter().filter_map(text).max();
        match best.map(|best| Some(best).cmp(&text(&event))) {
            None | Some(Ordering::Less) => Part::New,
            Some(Ordering::Equal) => Part::Held,
            Some(Ordering::Greater) => Part::Superseded,
        }
    }

    /// A null on a field that is made of contributions.
    fn judge_clear(&self, slot: Slot<'_>, stamp: Stamp) -> Part {
        match self.clears(slot, &self.live()).max().map(|held| held.version.cmp(&stamp.version)) {
            None | Some(Ordering::Less) => Part::New,
            Some(Ordering::Equal) => Part::Held,
            Some(Ordering::Greater) => Part::Superseded,
        }
    }

    /// What decides about a field: fronts and contributions know versions only, cells and sets know ranks too.
    fn decisive(&self, slot: Slot<'_>, stamp: Stamp) -> Stamp {
        match self.merge(slot) {
            Strategy::Lww | Strategy::Set | Strategy::Map => stamp,
            _ => Stamp { rank: 0, ..stamp },
        }
    }

    /// Upserts that no tombstone covers.
    fn live(&self) -> Vec<&'a Event> {
        let lives = |e: &&Event| e.kind != EventKind::Delete && !self.windows.buried(e.stamp.version);
        self.seen.iter().copied().filter(lives).collect()
    }

    fn merge(&self, slot: Slot<'_>) -> Strategy {
        match slot {
            Slot::Field(f) => self.def().fields[f].merge,
            Slot::Member(_) => Strategy::Lww,
        }
    }

    fn accumulates(&self, slot: Slot<'_>) -> bool {
        matches!(slot, Slot::Field(f) if accumulates(&self.def().fields[f]))
    }

    fn members(&self, slot: Slot<'_>, value: &Value) -> Vec<Value> {
        match value {
            Value::Array(members) if self.merge(slot) == Strategy::Set => members.clone(),
            Value::Object(members) if self.merge(slot) == Strategy::Map => {
                members.iter().map(|(key, v)| Value::Array(vec![Value::Str(key.as_str().into()), v.clone()])).collect()
            }
            whole => vec![whole.clone()],
        }
    }

    fn clears(&self, slot: Slot<'_>, events: &[&Event]) -> impl Iterator<Item = Stamp> {
        said(slot, events).into_iter().filter(|(_, v)| **v == Value::Null).map(|(stamp, _)| stamp)
    }

    fn cleared(&self, field: usize, version: Version) -> bool {
        self.clears(Slot::Field(field), &self.live()).any(|clear| version <= clear.version)
    }

    /// What is held of a field: stamps and values, the clearing null among them.
    fn state(&self, slot: Slot<'_>, events: &[&Event]) -> Vec<(Stamp, Value)> {
        let mut all: Vec<(Stamp, Value)> = Vec::new();
        for (stamp, value) in said(slot, events) {
            let stamp = self.decisive(slot, stamp);
            all.extend(self.members(slot, value).into_iter().map(|member| (stamp, member)));
        }
        all.sort_by_cached_key(|(stamp, value)| std::cmp::Reverse((*stamp, canonical(value))));
        all.dedup();
        if self.merge(slot) == Strategy::Lww {
            all.truncate(1);
            return all;
        }
        let null = all.iter().find(|(_, v)| *v == Value::Null).cloned();
        all.retain(|(stamp, _)| null.as_ref().is_none_or(|(clear, _)| stamp > clear));
        let pairs = all.clone();
        all.retain(|pair| !pairs.iter().any(|other| self.beats(slot, other, pair)));
        if let (Slot::Field(f), Strategy::Set) = (slot, self.merge(slot)) {
            all.truncate(self.def().fields[f].limit);
        }
        if let (Slot::Field(f), Strategy::Map) = (slot, self.merge(slot)) {
            all.sort_by_key(|(stamp, pair)| std::cmp::Reverse((*stamp, pair_of(pair).0.to_owned())));
            all.truncate(self.def().fields[f].limit);
        }
        all.extend(null);
        all
    }

    /// Whether `other` makes `pair` worthless for ever: no delete or null can remove it and leave `pair`.
    fn beats(&self, slot: Slot<'_>, other: &(Stamp, Value), pair: &(Stamp, Value)) -> bool {
        if self.merge(slot) == Strategy::Map {
            let ((key, value), (of, held)) = (pair_of(&other.1), pair_of(&pair.1));
            return key == of && (other.0, canonical(value)) > (pair.0, canonical(held));
        }
        let better = match (self.merge(slot), compare(&other.1, &pair.1)) {
            (_, Ordering::Equal) => other.0 > pair.0,
            (Strategy::Max, order) => order == Ordering::Greater,
            (Strategy::Min, order) => order == Ordering::Less,
            _ => false,
        };
        better && other.0 >= pair.0
    }

    /// The merged value of a declared field, dates as milliseconds.
    pub(crate) fn current(&self, field: usize) -> Option<Value> {
        let slot = Slot::Field(field);
        let merge = self.merge(slot);
        if self.accumulates(slot) {
            return match merge {
                Strategy::First => self.first(field),
                Strategy::Append => self.appended(field),
                _ => self.accumulated(field),
            };
        }
        let held = self.state(slot, &self.live()).into_iter().map(|(_, v)| v);
        let mut values: Vec<Value> = held.filter(|v| *v != Value::Null).collect();
        values.sort_by(compare);
        match merge {
            _ if values.is_empty() => None,
            Strategy::Map => {
                let pairs = values.iter().map(pair_of).filter(|(_, v)| **v != Value::Null);
                let members: BTreeMap<String, Value> = pairs.map(|(key, v)| (key.to_owned(), v.clone())).collect();
                (!members.is_empty()).then(|| Value::Object(members.into_iter().collect()))
            }
            Strategy::Set => Some(Value::Array(values)),
            Strategy::Max => values.pop(),
            _ => values.into_iter().next(),
        }
    }

    /// What counts of a field that is made of values, with stamps; of what was folded all, or what no delete covers.
    fn contributed(&self, field: usize, folded_too: impl Fn(&Journal, &Entry) -> bool) -> Vec<(Stamp, Value)> {
        let mut all = Vec::new();
        for (source, journal) in &self.windows.journals {
            for at in journal.folded.iter().chain(&journal.late).chain(&journal.held).collect::<BTreeSet<_>>() {
                if !journal.held.contains(at) && !folded_too(journal, at) || self.cleared(field, at.0) {
                    continue;
                }
                let of_entry: Vec<&Event> =
                    self.came_alive.iter().copied().filter(|e| e.source == *source && entry(e) == *at).collect();
                let values = said(Slot::Field(field), &of_entry).into_iter().filter(|(_, v)| **v != Value::Null);
                let mut values: Vec<(Stamp, Value)> = values.map(|(stamp, v)| (stamp, v.clone())).collect();
                // The same event, seen again.
                values.dedup();
                all.extend(values);
            }
        }
        all
    }

    /// The value with the lowest stamp, of tied ones that with the larger text.
    fn first(&self, field: usize) -> Option<Value> {
        let lowest_first = |(stamp, value): &(Stamp, Value)| (*stamp, std::cmp::Reverse(canonical(value)));
        self.contributed(field, |_, _| true).into_iter().min_by_key(lowest_first).map(|(_, value)| value)
    }

    /// The newest values, oldest first.
    fn appended(&self, field: usize) -> Option<Value> {
        let in_time = |journal: &Journal, at: &Entry| journal.folded.contains(at) && !self.windows.buried(at.0);
        let mut all = self.contributed(field, in_time);
        all.sort_by_key(|(stamp, value)| (*stamp, canonical(value)));
        let mut values: Vec<Value> = Vec::new();
        for (_, value) in all {
            match value {
                Value::Array(several) => values.extend(several),
                single => values.push(single),
            }
        }
        let over = values.len().saturating_sub(self.def().fields[field].limit);
        values.drain(..over);
        (!values.is_empty()).then_some(Value::Array(values))
    }

    /// Contributions of each source in order, then the sources by id.
    fn accumulated(&self, field: usize) -> Option<Value> {
        let (mut count, mut whole, mut broken) = (0, 0, 0.0);
        for (source, journal) in &self.windows.journals {
            let mut subtotal = 0.0;
            for entry in journal.folded.iter().chain(&journal.held) {
                let of_entry = |e: &&&Event| e.source == *source && self::entry(e) == *entry;
                let event = self.seen.iter().find(of_entry)?;
                match said(Slot::Field(field), &[event]).first() {
                    Some((_, Value::Null)) | None => continue,
                    Some(_) if self.cleared(field, entry.0) => continue,
                    Some((_, Value::Int(n))) => whole += n,
                    Some((_, Value::Float(x))) => subtotal += x,
                    Some(_) => {}
                }
                count += 1;
            }
            broken += subtotal;
        }
        let float = self.def().fields[field].kind == FieldType::Float;
        match self.def().fields[field].merge {
            _ if count == 0 => None,
            Strategy::Count => Some(Value::Int(count)),
            _ if float => Some(Value::Float(broken)),
            _ => Some(Value::Int(whole)),
        }
    }

    /// The dynamic members to show.
    pub(crate) fn dynamic(&self) -> Vec<(String, Value)> {
        let live = self.live();
        let names: BTreeSet<&str> = live.iter().flat_map(|e| parts(e)).filter_map(|(slot, _)| slot.member()).collect();
        let shown = |name: &str| self.state(Slot::Member(name), &live).pop().map(|(_, v)| (name.to_owned(), v));
        names.into_iter().filter_map(shown).filter(|(_, v)| *v != Value::Null).collect()
    }

    /// What a client sees, dates as milliseconds.
    pub(crate) fn shown(&self, key: &str) -> Option<Vec<(String, Value)>> {
        let fields = &self.def().fields;
        let mut out: Vec<(String, Value)> =
            (0..fields.len()).filter_map(|f| Some((fields[f].name.clone(), self.current(f)?))).collect();
        out.extend(self.dynamic());
        if out.is_empty() {
            return None;
        }
        if let KeyFrom::Path(path) = &self.def().key {
            out.insert(0, (path.to_string(), Value::Str(key.into())));
        }
        Some(out)
    }
}

/// A declared field or an undeclared member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    Field(usize),
    Member(&'a str),
}

impl<'a> Slot<'a> {
    fn member(self) -> Option<&'a str> {
        match self {
            Slot::Field(_) => None,
            Slot::Member(name) => Some(name),
        }
    }
}

/// What an event says, part by part.
pub(crate) fn parts(event: &Event) -> impl Iterator<Item = (Slot<'_>, &Value)> {
    let (declared, dynamic) = match &event.kind {
        EventKind::Delete => (&[][..], &[][..]),
        EventKind::Upsert { declared, dynamic } => (&declared[..], &dynamic[..]),
    };
    let declared = declared.iter().map(|(f, v)| (Slot::Field(*f), v));
    declared.chain(dynamic.iter().map(|(name, v)| (Slot::Member(name), v)))
}

/// What events say of one field.
fn said<'a>(slot: Slot<'_>, events: &[&'a Event]) -> Vec<(Stamp, &'a Value)> {
    let of_slot = |e: &&'a Event| parts(e).filter(|(s, _)| *s == slot).map(|(_, v)| (e.stamp, v)).collect::<Vec<_>>();
    events.iter().flat_map(of_slot).collect()
}

/// Place of an event's contributions in its source's order; those without an id share one a version.
fn entry(event: &Event) -> Entry {
    (event.stamp.version, event.id.unwrap_or_default())
}

/// Key and value of a map's pair.
fn pair_of(pair: &Value) -> (&str, &Value) {
    match pair {
        Value::Array(both) => match both.as_slice() {
            [Value::Str(key), value] => (key, value),
            _ => ("", pair),
        },
        _ => ("", pair),
    }
}

/// Fields to which an event contributes what only its id tells from a duplicate.
fn strict(def: &TableDef, event: &Event) -> Vec<usize> {
    contributions(def, event).into_iter().filter(|f| needs_id(&def.fields[*f])).collect()
}

/// Fields made of contributions to which an event contributes.
pub(crate) fn contributions(def: &TableDef, event: &Event) -> Vec<usize> {
    let field = |(slot, value): (Slot<'_>, &Value)| match slot {
        Slot::Field(f) if def.fields[f].merge == Strategy::Append && *value == Value::Array(Vec::new()) => None,
        Slot::Field(f) if accumulates(&def.fields[f]) && *value != Value::Null => Some(f),
        _ => None,
    };
    parts(event).filter_map(field).collect()
}

/// Whether a field is made of contributions.
pub(crate) fn accumulates(field: &FieldDef) -> bool {
    matches!(field.merge, Strategy::Sum | Strategy::Count | Strategy::First | Strategy::Append)
}

/// Whether contributions to a field need an event id.
pub(crate) fn needs_id(field: &FieldDef) -> bool {
    matches!(field.merge, Strategy::Sum | Strategy::Count | Strategy::Append)
}

fn source<'a>(def: &'a TableDef, event: &Event) -> Option<&'a SourceDef> {
    def.sources.iter().find(|s| s.id == event.source)
}

/// Natural order within a type.
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.total_cmp(b),
        (Value::Str(a), Value::Str(b)) => a.cmp(b),
        _ => canonical(a).cmp(&canonical(b)),
    }
}

/// Canonical JSON (MERGE.md §1), for floats below 10^15.
pub(crate) fn canonical(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => format!("{x}"),
        Value::Str(s) => serde_json::Value::from(&**s).to_string(),
        Value::Array(all) => format!("[{}]", all.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            let text = |(name, v): &(String, Value)| format!("{}:{}", serde_json::Value::from(&**name), canonical(v));
            format!("{{{}}}", members.into_iter().map(text).collect::<Vec<_>>().join(","))
        }
    }
}
