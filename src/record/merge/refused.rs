//! What was refused in part and is merged again because a person judged that it is no duplicate.

use serde_json::json;

use super::*;
use crate::record::definition::name_id;
use crate::record::testing::*;
use crate::record::{FieldType, Window};
use Outcome::{Applied, Duplicate, Quarantined, Stale};
use Value::Int;

/// A sum and a cell; the window holds two events.
fn def() -> TableDef {
    let fields = [("n", FieldType::Integer, Strategy::Sum), ("title", FieldType::Keyword, Strategy::Lww)];
    TableDef { window: Window { events: 2, time_ms: i64::MAX }, ..table(&fields) }
}

fn adds(def: &TableDef, version: i64, id: u64, n: i64) -> Event {
    upsert(def, 0, version, id, &[("n", Int(n)), ("title", text(&format!("at {version}")))])
}

/// A record of four contributions of one, two of them folded.
fn held(def: &TableDef) -> Record {
    after(def, &[adds(def, 10, 1, 1), adds(def, 11, 2, 1), adds(def, 12, 3, 1), adds(def, 13, 4, 1)])
}

fn fields() -> Vec<String> {
    vec!["n".to_owned()]
}

#[test]
fn a_contribution_outside_the_window_is_counted_when_a_person_says_so() {
    let def = def();
    let mut record = held(&def);
    let late = adds(&def, 5, 9, 100);
    let merged = merge(&def, &mut record, &late);
    assert_eq!((merged.outcome, merged.refused), (Quarantined, vec![name_id("n")]));
    assert_eq!(shown(&def, &record), json!({"n": 4, "title": "at 13"}));
    let merged = merge_refused(&def, &mut record, &late, &fields());
    assert_eq!((merged.outcome, merged.changed), (Applied, true));
    assert_eq!(shown(&def, &record), json!({"n": 104, "title": "at 13"}));
    bytes(&record);
}

#[test]
fn the_window_judges_other_events_as_before() {
    let def = def();
    let mut record = held(&def);
    merge_refused(&def, &mut record, &adds(&def, 5, 9, 100), &fields());
    assert_eq!(feed(&def, &mut record, &[adds(&def, 9, 8, 1), adds(&def, 12, 3, 1)]), [Quarantined, Duplicate]);
    assert_eq!(shown(&def, &record), json!({"n": 104, "title": "at 13"}));
}

#[test]
fn only_the_refused_fields_are_merged() {
    let def = def();
    let mut record = Record::default();
    merge_refused(&def, &mut record, &adds(&def, 5, 9, 100), &fields());
    assert_eq!(shown(&def, &record), json!({"n": 100}));
}

#[test]
fn within_the_window_it_is_an_event_like_any_other() {
    let def = def();
    let mut record = held(&def);
    let new = adds(&def, 20, 9, 100);
    assert_eq!(merge_refused(&def, &mut record, &new, &fields()).outcome, Applied);
    assert_eq!(merge_refused(&def, &mut record, &new, &fields()).outcome, Duplicate);
    assert_eq!(shown(&def, &record), json!({"n": 104, "title": "at 13"}));
}

#[test]
fn what_a_tombstone_covers_stays_dead() {
    let def = def();
    let mut record = held(&def);
    feed(&def, &mut record, &[delete(&def, 0, 30)]);
    assert_eq!(merge_refused(&def, &mut record, &adds(&def, 5, 9, 100), &fields()).outcome, Stale);
    assert_eq!(shown(&def, &record), json!(null));
}
