//! What event time ends, against all that ever came: a table of several keys, read in runs from several sources.
//!
//! The promise with a horizon: as long as no event comes later than the horizon, the order, the runs in which the sources are
//! read, when their ends are seen, and when what is due is swept make no difference to any byte. What is expected is computed from
//! the *set* of events: all of a key merged at once, then what its newest delete and highest version say.

use std::collections::BTreeMap;

use keld::record::{
    BeyondHorizon, Event, EventKind, FieldType, Outcome, Reason, Record, Retention, Stamp, Strategy as Merge, TableDef,
    Ttl, TtlFrom, Value, Version, codec, merge, merge_at,
};
use keld::store::Position;
use keld::task::Watermark;
use proptest::collection::vec;
use proptest::prelude::*;

use super::{check, decoding, generate};

const SOURCES: usize = 3;

/// One event as drawn.
#[derive(Clone, Debug)]
struct Draft {
    source: usize,
    key: u8,
    version: i64,
    /// How much later than its version it comes.
    late: i64,
    delete: bool,
    value: u8,
}

/// A run of the machine: what happens between deliveries.
#[derive(Clone, Debug)]
enum Whim {
    Nothing,
    /// It is looked which sources are read to their end.
    Look,
    /// Some of what is due is swept.
    Sweep(u8),
    /// Stopped and started: what is not in a position is forgotten.
    Restart,
}

fn drafts(most_late: i64) -> impl Strategy<Value = Vec<Draft>> {
    let one = (0..SOURCES, 0..4_u8, 0..60_i64, 0..=most_late, prop::bool::weighted(0.25), 0..9_u8);
    let draft = |(source, key, version, late, delete, value)| Draft { source, key, version, late, delete, value };
    vec(one.prop_map(draft), 1..40)
}

fn whims() -> impl Strategy<Value = Vec<Whim>> {
    let whim = prop_oneof![
        4 => Just(Whim::Nothing),
        2 => Just(Whim::Look),
        2 => (0..4_u8).prop_map(Whim::Sweep),
        1 => Just(Whim::Restart),
    ];
    vec(whim, 1..20)
}

fn def(retention: Retention) -> TableDef {
    let kinds = [
        ("best", (Merge::Max, FieldType::Integer)),
        ("sold", (Merge::Sum, FieldType::Integer)),
        ("tags", (Merge::Set, FieldType::Keyword)),
        ("title", (Merge::Lww, FieldType::Keyword)),
    ];
    let sources = (0..SOURCES).map(|n| generate::source(n, i32::try_from(n).unwrap_or(0), true, true)).collect();
    let fields = kinds.into_iter().map(|(name, kind)| generate::field(name, kind, 1_000)).collect();
    TableDef { sources, fields, retention, ..decoding::table() }
}

fn event(def: &TableDef, number: usize, draft: &Draft) -> Event {
    let source = &def.sources[draft.source];
    let value = |n: u8| match n % 4 {
        0 => (0, Value::Int(n.into())),
        1 => (1, Value::Int(n.into())),
        2 => (2, Value::Str(n.to_string().into())),
        _ => (3, if n == 7 { Value::Null } else { Value::Str(n.to_string().into()) }),
    };
    Event {
        key: vec![b'k', draft.key],
        stamp: Stamp { version: Version::single(draft.version), rank: source.rank },
        source: source.id,
        id: Some(number as u64 + 1),
        kind: if draft.delete {
            EventKind::Delete
        } else {
            EventKind::Upsert { declared: vec![value(draft.value)], dynamic: Vec::new() }
        },
    }
}

/// A task: what the merge thread does with its records and its time, in few words.
struct Machine<'a> {
    def: &'a TableDef,
    records: BTreeMap<Vec<u8>, Record>,
    watermark: Watermark,
    position: Position,
    unread: [usize; SOURCES],
}

impl<'a> Machine<'a> {
    fn new(def: &'a TableDef, order: &[(usize, Event)]) -> Self {
        let mut unread = [0; SOURCES];
        order.iter().for_each(|(source, _)| unread[*source] += 1);
        let position = Position::default();
        Self { def, records: BTreeMap::new(), watermark: Watermark::of(def, &position), position, unread }
    }

    fn deliver(&mut self, source: usize, event: &Event) -> Outcome {
        let record = self.records.entry(event.key.clone()).or_default();
        let merged = merge_at(self.def, record, event, self.watermark.reached(), None);
        self.unread[source] -= 1;
        self.watermark.see(source, event.stamp.version.major);
        let at = self.position.sources.entry(self.def.sources[source].name.clone()).or_default();
        at.watermark = at.watermark.max(Some(event.stamp.version.major));
        self.position.watermark = self.watermark.reached();
        merged.outcome
    }

    fn sweep(&mut self, most: usize) {
        let (retention, watermark) = (self.def.retention, self.watermark.reached());
        let due = |record: &&mut Record| retention.due(record).zip(watermark).is_some_and(|(at, now)| at < now);
        for record in self.records.values_mut().filter(due).take(most) {
            assert!(retention.prune(record, watermark).is_some());
        }
    }

    fn obey(&mut self, whim: &Whim) {
        match whim {
            Whim::Nothing => {}
            Whim::Look => {
                let unread = self.unread;
                self.watermark.look(|source| unread[source] == 0);
            }
            Whim::Sweep(most) => self.sweep(usize::from(*most)),
            Whim::Restart => self.watermark = Watermark::of(self.def, &self.position),
        }
    }

    /// Reads all, to the very end; the bytes of every record that is left.
    fn run(mut self, order: &[(usize, Event)], whims: &[Whim]) -> (BTreeMap<Vec<u8>, Vec<u8>>, Option<i64>) {
        for ((source, event), whim) in order.iter().zip(whims.iter().cycle()) {
            self.deliver(*source, event);
            self.obey(whim);
        }
        self.obey(&Whim::Look);
        self.sweep(usize::MAX);
        (stored(&self.records), self.watermark.reached())
    }
}

fn stored(records: &BTreeMap<Vec<u8>, Record>) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let bytes = |record: &Record| {
        let mut out = Vec::new();
        codec::encode(record, &mut out);
        out
    };
    records.iter().filter(|(_, r)| !r.is_empty()).map(|(key, record)| (key.clone(), bytes(record))).collect()
}

/// In the order in which events come: by version plus lateness.
fn arrivals(def: &TableDef, drafts: &[Draft]) -> Vec<(usize, Event)> {
    let mut order: Vec<(i64, usize)> = drafts.iter().enumerate().map(|(n, d)| (d.version + d.late, n)).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, n)| (drafts[n].source, event(def, n, &drafts[n]))).collect()
}

/// What must be left, from the set of events alone: all merged, but what a delete past its horizon says of itself.
fn expected(def: &TableDef, events: &[(usize, Event)], horizon: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let now = events.iter().map(|(_, e)| e.stamp.version.major).max().unwrap_or_default();
    let mut by_key: BTreeMap<Vec<u8>, Vec<&Event>> = BTreeMap::new();
    events.iter().for_each(|(_, e)| by_key.entry(e.key.clone()).or_default().push(e));
    let mut left = BTreeMap::new();
    for (key, events) in by_key {
        let deletes = events.iter().filter(|e| e.kind == EventKind::Delete).map(|e| e.stamp.version.major);
        let newest_delete = deletes.max();
        let forgotten = newest_delete.is_some_and(|at| at + horizon < now);
        // As if the forgotten delete, and whatever it covered, had never been.
        let counts = |e: &&&Event| !forgotten || newest_delete.is_none_or(|at| e.stamp.version.major > at);
        let mut record = Record::default();
        for event in events.iter().filter(counts) {
            merge(def, &mut record, event);
        }
        left.insert(key, record);
    }
    stored(&left)
}

#[test]
fn within_the_horizon_no_order_run_look_sweep_or_restart_changes_a_byte() {
    const HORIZON: i64 = 12;
    let def = def(Retention { tombstone_horizon_ms: Some(HORIZON), ..Retention::default() });
    let lateness = any::<Vec<u8>>();
    check(1, &(drafts(HORIZON), lateness, whims(), whims()), |(drafts, lateness, first, second)| {
        let order = arrivals(&def, &drafts);
        let wanted = expected(&def, &order, HORIZON);
        let end = order.iter().map(|(_, e)| e.stamp.version.major).max();
        let (left, reached) = Machine::new(&def, &order).run(&order, &first);
        prop_assert_eq!(reached, end, "with everything read, time has come to the highest version");
        prop_assert_eq!(&left, &wanted, "first order {:?}", order);
        // The same events with other delays, none longer.
        let delayed = |(n, d): (usize, &Draft)| {
            let late = lateness.get(n).map_or(0, |late| i64::from(*late) % (HORIZON + 1));
            Draft { late, ..d.clone() }
        };
        let other: Vec<Draft> = drafts.iter().enumerate().map(delayed).collect();
        let order = arrivals(&def, &other);
        prop_assert_eq!(Machine::new(&def, &order).run(&order, &second).0, wanted, "second order {:?}", order);
        Ok(())
    });
}

/// Each source is read to its end before the next, whatever their times: the watermark waits for the last.
#[test]
fn sources_that_are_read_one_after_the_other_bury_no_tombstone_too_early() {
    const HORIZON: i64 = 5;
    let def = def(Retention { tombstone_horizon_ms: Some(HORIZON), ..Retention::default() });
    check(2, &(drafts(0), Just([0, 1, 2]).prop_shuffle(), whims()), |(drafts, turn, whims)| {
        let mut order = arrivals(&def, &drafts);
        let wanted = expected(&def, &order, HORIZON);
        order.sort_by_key(|(source, _)| turn[*source]);
        prop_assert_eq!(Machine::new(&def, &order).run(&order, &whims).0, wanted, "{:?}", order);
        Ok(())
    });
}

/// Of one source the same log gives the same bytes, however late its events are, and however it is cut, looked at and swept.
#[test]
fn the_same_log_of_one_source_gives_the_same_bytes_however_it_is_read() {
    let ttls = [None, Some(TtlFrom::Version), Some(TtlFrom::Released)];
    let rules = (0..ttls.len(), 1..20_i64, 1..20_i64, any::<bool>());
    check(
        1,
        &(rules, drafts(40), whims(), whims()),
        |((ttl, horizon, after_ms, refuse), mut drafts, first, second)| {
            let def = def(Retention {
                tombstone_horizon_ms: Some(horizon),
                beyond_horizon: if refuse { BeyondHorizon::Refuse } else { BeyondHorizon::Accept },
                ttl: ttls[ttl].map(|from| Ttl { from, after_ms }),
                idle_after_ms: None,
            });
            drafts.iter_mut().for_each(|draft| draft.source = 0);
            let order = arrivals(&def, &drafts);
            // The other sources are empty, which is seen first.
            let looked = |whims: &[Whim]| {
                let mut machine = Machine::new(&def, &order);
                machine.obey(&Whim::Look);
                machine.run(&order, whims)
            };
            let quiet = |whims: Vec<Whim>| -> Vec<Whim> {
                whims.into_iter().filter(|whim| !matches!(whim, Whim::Restart)).chain([Whim::Nothing]).collect()
            };
            prop_assert_eq!(looked(&quiet(first)), looked(&quiet(second)), "{:?}", order);
            Ok(())
        },
    );
}

/// Nothing that is over at the end is left, nothing that is not is missing, where a record's versions are never far apart.
#[test]
fn a_record_lives_as_long_as_something_new_comes_in_time() {
    const AFTER: i64 = 30;
    const LATE: i64 = 6;
    let retention = Retention {
        tombstone_horizon_ms: Some(1_000),
        ttl: Some(Ttl { from: TtlFrom::Version, after_ms: AFTER }),
        ..Retention::default()
    };
    let def = def(retention);
    // Each key speaks at least every 20 ms from some time on, until some time.
    let steps = vec((0..SOURCES, 0..4_u8, 1..20_i64, 0..=LATE, 0..9_u8), 1..60);
    check(1, &(steps, whims(), whims()), |(steps, first, second)| {
        let mut times = [0_i64; 4];
        let draft = |(source, key, step, late, value): (usize, u8, i64, i64, u8)| {
            times[usize::from(key)] += step;
            Draft { source, key, version: times[usize::from(key)], late, delete: value == 8, value }
        };
        let drafts: Vec<Draft> = steps.into_iter().map(draft).collect();
        let order = arrivals(&def, &drafts);
        let now = order.iter().map(|(_, e)| e.stamp.version.major).max().unwrap_or_default();
        let alive = |key: &[u8]| {
            let of_key = order.iter().filter(|(_, e)| e.key == key).map(|(_, e)| e.stamp.version.major);
            of_key.max().is_some_and(|last| last + AFTER >= now)
        };
        let mut wanted = expected(&def, &order, 1_000);
        wanted.retain(|key, _| alive(key));
        for whims in [first, second] {
            prop_assert_eq!(Machine::new(&def, &order).run(&order, &whims).0, wanted.clone(), "{:?}", order);
        }
        Ok(())
    });
}

/// With `refuse`, what a removed tombstone covered never comes back, however late it is.
#[test]
fn what_is_beyond_the_horizon_is_refused_and_brings_nothing_back() {
    const HORIZON: i64 = 10;
    let retention = Retention {
        tombstone_horizon_ms: Some(HORIZON),
        beyond_horizon: BeyondHorizon::Refuse,
        ..Retention::default()
    };
    let def = def(retention);
    check(1, &(drafts(80), whims()), |(drafts, whims)| {
        let order = arrivals(&def, &drafts);
        let mut machine = Machine::new(&def, &order);
        let mut newest: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for ((source, event), whim) in order.iter().zip(whims.iter().cycle()) {
            let watermark = machine.watermark.reached();
            let mut record = machine.records.get(&event.key).cloned().unwrap_or_default();
            def.retention.prune(&mut record, watermark);
            let outcome = machine.deliver(*source, event);
            let version = event.stamp.version.major;
            if outcome == Outcome::Quarantined {
                prop_assert!(watermark.is_some_and(|now| version + HORIZON < now), "refused within the horizon");
            }
            if event.kind == EventKind::Delete {
                let newest = newest.entry(event.key.clone()).or_insert(version);
                *newest = version.max(*newest);
            } else if record.is_empty() && newest.get(&event.key).is_some_and(|deleted| version <= *deleted) {
                prop_assert!(outcome != Outcome::Applied, "{:?} brings back what was deleted", event);
            }
            machine.obey(whim);
        }
        Ok(())
    });
    assert_eq!(Reason::BeyondHorizon.code(), "beyond_horizon");
}

#[test]
fn the_laws_meet_what_they_speak_of() -> Result<(), Box<dyn std::error::Error>> {
    // A tombstone that ends, one that stays, one under something newer: as the first law draws them.
    let def = def(Retention { tombstone_horizon_ms: Some(12), ..Retention::default() });
    let at = |source, key, version, delete| Draft { source, key, version, late: 0, delete, value: 3 };
    let drafts = [at(0, 0, 5, true), at(1, 1, 40, true), at(2, 2, 5, true), at(0, 2, 9, false), at(0, 3, 50, false)];
    let order = arrivals(&def, &drafts);
    let left = expected(&def, &order, 12);
    let has_tombstone = |key: u8| -> Result<Option<bool>, keld::Error> {
        left.get(&vec![b'k', key]).map(|stored| Ok(codec::decode(stored)?.tombstone().is_some())).transpose()
    };
    assert_eq!(has_tombstone(0)?, None);
    assert_eq!(has_tombstone(1)?, Some(true));
    assert_eq!(has_tombstone(2)?, Some(false));

    Ok(())
}
