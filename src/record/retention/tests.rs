use super::*;
use crate::record::testing::*;
use crate::record::{FieldType, Strategy, TableDef, Value, Version};
use Outcome::{Applied, Quarantined, Stale};
use Value::{Int, Null};

const HORIZON: i64 = 100;

fn def(ttl: Option<(TtlFrom, i64)>) -> TableDef {
    let mut def = table(&[
        ("best", FieldType::Integer, Strategy::Max),
        ("sold", FieldType::Integer, Strategy::Sum),
        ("tags", FieldType::Keyword, Strategy::Set),
        ("title", FieldType::Keyword, Strategy::Lww),
    ]);
    let ttl = ttl.map(|(from, after_ms)| Ttl { from, after_ms });
    def.retention = Retention { tombstone_horizon_ms: Some(HORIZON), ttl, ..Retention::default() };
    def
}

fn title(def: &TableDef, version: i64, value: Value) -> Event {
    upsert(def, 0, version, version.unsigned_abs(), &[("title", value)])
}

fn at(def: &TableDef, record: &mut Record, watermark: i64, event: &Event) -> (Outcome, bool, Option<Ended>) {
    let before = bytes(record);
    let merged = merge_at(def, record, event, Some(watermark), None);
    assert_eq!(merged.changed, bytes(record) != before, "whether the bytes changed");
    (merged.outcome, merged.changed, merged.ended)
}

#[test]
fn a_tombstone_is_over_when_the_watermark_has_passed_its_horizon() {
    let def = def(None);
    let dead = after(&def, &[title(&def, 3, text("a")), delete(&def, 0, 5)]);
    assert_eq!(def.retention.due(&dead), Some(105));
    for watermark in [None, Some(5), Some(104), Some(105)] {
        let mut record = dead.clone();
        assert_eq!(def.retention.prune(&mut record, watermark), None);
        assert_eq!(record, dead);
    }
    let mut record = dead;
    assert_eq!(def.retention.prune(&mut record, Some(106)), Some(Ended::Tombstone));
    assert!(record.is_empty());
    assert_eq!(def.retention.prune(&mut record, Some(106)), None);
}

#[test]
fn what_is_newer_than_a_tombstone_outlives_it() {
    let def = def(None);
    let mut record = after(&def, &[delete(&def, 0, 5), title(&def, 9, text("back"))]);
    assert_eq!(def.retention.prune(&mut record, Some(106)), Some(Ended::Tombstone));
    assert_eq!(bytes(&record), bytes(&after(&def, &[title(&def, 9, text("back"))])));
    assert_eq!(def.retention.due(&record), None);
}

#[test]
fn the_due_time_of_a_stored_record_is_told_without_reading_all_of_it() {
    for ttl in [None, Some((TtlFrom::Version, 30)), Some((TtlFrom::Released, 30))] {
        let def = def(ttl);
        let events = [title(&def, 3, text("a")), delete(&def, 0, -70), title(&def, 4, Null)];
        for n in 0..=events.len() {
            let record = after(&def, &events[..n]);
            assert_eq!(
                def.retention.due_of_stored(&bytes(&record)).unwrap(),
                def.retention.due(&record),
                "{ttl:?} {n}"
            );
        }
    }
    let timeless = TableDef { retention: Retention::default(), ..def(None) };
    let dead = after(&timeless, &[delete(&timeless, 0, 1)]);
    assert_eq!(timeless.retention.due_of_stored(&bytes(&dead)).unwrap(), None);
    assert!(def(None).retention.due_of_stored(b"\x07").is_err(), "a format that is not known");
    assert!(def(None).retention.due_of_stored(b"").is_err());
}

#[test]
fn a_record_ends_after_the_highest_version_of_anything_it_holds() {
    let def = def(Some((TtlFrom::Version, 30)));
    let many = [
        upsert(&def, 0, 10, 1, &[("title", text("a"))]),
        upsert(&def, 0, 20, 2, &[("tags", text("x"))]),
        upsert(&def, 1, 25, 3, &[("sold", Int(1))]),
        upsert(&def, 0, 30, 4, &[("best", Int(7))]),
        upsert(&def, 0, 40, 5, &[("undeclared", Int(7))]),
        upsert(&def, 0, 50, 6, &[("tags", Null)]),
    ];
    for (n, last) in [10, 20, 25, 30, 40, 50].into_iter().enumerate() {
        assert_eq!(def.retention.due(&after(&def, &many[..=n])), Some(last + 30), "after event {n}");
    }
    let mut record = after(&def, &many);
    assert_eq!(def.retention.prune(&mut record, Some(80)), None);
    assert_eq!(def.retention.prune(&mut record, Some(81)), Some(Ended::Record));
    assert!(record.is_empty());
}

#[test]
fn a_released_record_is_one_with_nothing_to_show_and_never_ends_before_its_tombstone() {
    let def = def(Some((TtlFrom::Released, 30)));
    let shown = after(&def, &[title(&def, 1, text("a"))]);
    assert_eq!(def.retention.due(&shown), None);
    let cleared = after(&def, &[title(&def, 1, text("a")), title(&def, 2, Null)]);
    assert_eq!(def.retention.due(&cleared), Some(2 + HORIZON));
    let deleted_and_cleared = after(&def, &[delete(&def, 0, 1), title(&def, 2, Null)]);
    assert_eq!(def.retention.tombstone_due(&deleted_and_cleared), Some(1 + HORIZON));
    assert_eq!(def.retention.record_due(&deleted_and_cleared), Some(2 + HORIZON));
    let off = Retention { tombstone_horizon_ms: None, ..def.retention };
    assert_eq!(off.due(&deleted_and_cleared), None, "a tombstone that stays for ever holds its record");
    assert_eq!(off.due(&cleared), None, "and so does a cleared value");
    let long = self::def(Some((TtlFrom::Released, HORIZON + 1)));
    assert_eq!(long.retention.due(&cleared), Some(2 + HORIZON + 1));
}

#[test]
fn a_cleared_value_does_not_come_back_within_the_horizon() {
    let def = def(Some((TtlFrom::Released, 30)));
    let first = title(&def, 1, text("a"));
    let cleared = after(&def, &[first.clone(), title(&def, 2, Null)]);
    for watermark in [2, 32, 33, 2 + HORIZON] {
        let mut record = cleared.clone();
        assert_eq!(at(&def, &mut record, watermark, &first), (Stale, false, None), "{watermark}");
        assert_eq!(bytes(&record), bytes(&cleared));
    }
    // Beyond it the choice of `beyond_horizon` is all there is, as for what was deleted.
    let refuse = Retention { beyond_horizon: BeyondHorizon::Refuse, ..def.retention };
    let def = TableDef { retention: refuse, ..def };
    let mut record = cleared;
    assert_eq!(at(&def, &mut record, 2 + HORIZON + 1, &first).0, Quarantined);
    assert!(record.is_empty());
}

#[test]
fn of_a_tombstone_alone_what_is_over_first_counts_however_late_that_is_seen() {
    for (after_ms, expected) in [(30, Ended::Record), (100, Ended::Tombstone), (101, Ended::Tombstone)] {
        let def = def(Some((TtlFrom::Version, after_ms)));
        let dead = after(&def, &[delete(&def, 0, 5)]);
        let due = def.retention.due(&dead).unwrap();
        assert_eq!(due, 5 + after_ms.min(HORIZON));
        for watermark in [due + 1, 1_000] {
            let mut record = dead.clone();
            assert_eq!(def.retention.prune(&mut record, Some(watermark)), Some(expected), "{after_ms} {watermark}");
            assert!(record.is_empty());
        }
    }
}

#[test]
fn an_event_finds_ended_what_is_over_whether_or_not_it_was_removed() {
    let def = def(None);
    let dead = after(&def, &[delete(&def, 0, 5)]);
    let late = title(&def, 4, text("ghost"));
    let mut record = dead.clone();
    assert_eq!(at(&def, &mut record, 105, &late), (Stale, false, None), "the tombstone covers it");
    let mut record = dead;
    assert_eq!(at(&def, &mut record, 106, &late), (Applied, true, Some(Ended::Tombstone)), "accepted: the default");
    let mut removed = Record::default();
    assert_eq!(at(&def, &mut removed, 106, &late), (Applied, true, None));
    assert_eq!(bytes(&record), bytes(&removed));
}

#[test]
fn beyond_the_horizon_an_event_for_an_unknown_key_is_refused_where_that_is_asked_for() {
    let mut def = def(None);
    def.retention.beyond_horizon = BeyondHorizon::Refuse;
    let late = title(&def, 4, text("ghost"));
    let mut record = Record::default();
    assert_eq!(at(&def, &mut record, 104, &late).0, Applied, "just within");
    assert_eq!(at(&def, &mut record, 500, &title(&def, 3, text("older"))).0, Stale, "its key is known");
    let mut record = Record::default();
    let merged = merge_at(&def, &mut record, &late, Some(105), None);
    assert_eq!((merged.outcome, merged.rejects.len()), (Quarantined, 1));
    assert_eq!(merged.rejects[0].reason, Reason::BeyondHorizon);
    assert!(record.is_empty() && !merged.changed);
    assert_eq!(
        at(&def, &mut record, 105, &delete(&def, 0, 4)).0,
        Stale,
        "a delete of what is not known changes nothing"
    );
    // What a tombstone covered is refused from the moment on at which the tombstone is over.
    let mut record = after(&def, &[delete(&def, 0, 5)]);
    assert_eq!(at(&def, &mut record, 106, &title(&def, 5, text("ghost"))), (Quarantined, true, Some(Ended::Tombstone)));
    // A person has judged it.
    assert_eq!(merge_at(&def, &mut record, &late, Some(105), Some(&[])).outcome, Applied);
}

#[test]
fn what_is_over_at_once_is_not_kept() {
    let def = def(Some((TtlFrom::Version, 30)));
    let mut record = Record::default();
    assert_eq!(at(&def, &mut record, 41, &title(&def, 10, text("old"))), (Stale, false, None));
    assert_eq!(at(&def, &mut record, 40, &title(&def, 10, text("old"))), (Applied, true, None));
    // A late part of a record that lives is taken.
    let mut record = after(&def, &[title(&def, 60, text("new"))]);
    let late = upsert(&def, 1, 10, 9, &[("sold", Int(3))]);
    assert_eq!(at(&def, &mut record, 61, &late), (Applied, true, None));
    // One that is over starts anew.
    assert_eq!(at(&def, &mut record, 91, &title(&def, 92, text("again"))), (Applied, true, Some(Ended::Record)));
    assert_eq!(bytes(&record), bytes(&after(&def, &[title(&def, 92, text("again"))])));
}

#[test]
fn without_times_nothing_ends() {
    let def = TableDef { retention: Retention::default(), ..def(None) };
    assert!(!def.retention.is_active());
    let mut record = after(&def, &[delete(&def, 0, 5)]);
    assert_eq!(at(&def, &mut record, i64::MAX, &title(&def, 4, text("ghost"))), (Stale, false, None));
    assert_eq!(record.tombstone(), Some(Version::single(5)));
    let far = Retention { tombstone_horizon_ms: Some(i64::MAX), ..Retention::default() };
    assert_eq!(far.due(&record), Some(i64::MAX), "times do not wrap");
}
