use Value::{Int, Null};

use super::*;
use crate::record::testing::{after, delete, table, text, upsert};
use crate::record::{Event, FieldType};

fn def() -> TableDef {
    table(&[
        ("at", FieldType::Date, Strategy::First),
        ("max", FieldType::Integer, Strategy::Max),
        ("notes", FieldType::Keyword, Strategy::Append),
        ("size", FieldType::Json, Strategy::Map),
        ("sold", FieldType::Integer, Strategy::Sum),
        ("tags", FieldType::Keyword, Strategy::Set),
        ("title", FieldType::Text, Strategy::Lww),
    ])
}

fn told(def: &TableDef, events: &[Event]) -> Explanation {
    explain(def, b"k-1", &after(def, events))
}

fn field<'a>(told: &'a Explanation, name: &str) -> &'a Field {
    told.fields.iter().find(|field| field.name == name).unwrap()
}

/// (value, version, sources, events) of each origin of a field.
fn origins(told: &Explanation, name: &str) -> Vec<(Value, i64, String, Vec<u64>)> {
    let of = |o: &Origin| (o.value.clone(), o.version.major, o.sources.join(" "), o.events.clone());
    field(told, name).origins.iter().map(of).collect()
}

#[test]
fn a_cell_names_its_source_and_its_event_as_far_as_they_are_known() {
    let mut def = def();
    let title = |source, version, id, value| upsert(&def, source, version, id, &[("title", value), ("extra", Int(1))]);
    let sold = upsert(&def, 0, 7, 3, &[("title", text("sold")), ("sold", Int(2))]);
    let events = [title(0, 5, 1, text("a")), title(1, 6, 2, text("b")), sold];
    let mut told = told(&def, &events);
    assert_eq!(origins(&told, "title"), [(text("sold"), 7, "a".to_owned(), vec![3])]);
    assert_eq!(origins(&told, "extra"), [(Int(1), 6, "b".to_owned(), vec![])], "no journal holds its event");
    assert_eq!(field(&told, "title").origins[0].lost_ties, None, "what lost is not kept");
    assert_eq!(told.fields.len(), 3, "nothing is kept of the others");
    def.sources[1].rank = 10;
    told = explain(&def, b"k-1", &after(&def, &events[..1]));
    assert_eq!(origins(&told, "title"), [(text("a"), 5, "a b".to_owned(), vec![])], "their rank is the same");
}

#[test]
fn nulls_and_deletes_are_told() {
    let def = def();
    let events = [
        upsert(&def, 0, 1, 1, &[("title", text("gone"))]),
        delete(&def, 0, 2),
        upsert(&def, 1, 3, 2, &[("title", Null), ("tags", Null), ("size", Null), ("max", Null), ("sold", Null)]),
    ];
    let told = told(&def, &events);
    assert_eq!(told.tombstone, Some(Version::single(2)));
    assert_eq!(origins(&told, "title"), [(Null, 3, "b".to_owned(), vec![])]);
    let cleared = |name: &str| (field(&told, name).cleared, field(&told, name).origins.len());
    let at = Version::single(3);
    assert_eq!((cleared("tags"), cleared("size")), ((Some((at, Some(20))), 0), (Some((at, Some(20))), 0)));
    assert_eq!((cleared("max"), cleared("sold")), ((Some((at, None)), 0), (Some((at, None)), 0)));
}

#[test]
fn what_is_made_of_many_values_tells_of_each() {
    let def = def();
    let size = |key: &str, value| Value::Object(vec![(key.to_owned(), value)]);
    let told = told(
        &def,
        &[
            upsert(&def, 0, 1, 1, &[("size", size("w", Int(5))), ("tags", text("x")), ("max", Int(9))]),
            upsert(&def, 1, 2, 2, &[("size", size("h", Null)), ("tags", text("a")), ("max", Int(8))]),
        ],
    );
    let keys: Vec<_> = field(&told, "size").origins.iter().map(|o| (o.key.as_deref(), o.value.clone())).collect();
    assert_eq!(keys, [(Some("h"), Null), (Some("w"), Int(5))]);
    let (a, b, any) = ("a".to_owned(), "b".to_owned(), "a b".to_owned());
    assert_eq!(origins(&told, "tags"), [(text("a"), 2, b, vec![]), (text("x"), 1, a, vec![])]);
    assert_eq!(origins(&told, "max"), [(Int(9), 1, any.clone(), vec![]), (Int(8), 2, any, vec![])]);
}

#[test]
fn a_first_names_its_event_and_whom_it_beat_in_a_tie() {
    let mut def = def();
    let at = |version, id, ms| upsert(&def, 0, version, id, &[("at", Int(ms))]);
    let events = [at(5, 8, 1000), at(5, 9, 999), at(6, 10, 1)];
    let told = told(&def, &events);
    let shown = |ms: i64| text(&format!("1970-01-01T00:00:0{}Z", if ms == 999 { "0.999" } else { "1" }));
    assert_eq!(origins(&told, "at"), [(shown(999), 5, "a".to_owned(), vec![9])]);
    assert_eq!(field(&told, "at").origins[0].lost_ties, Some(vec![shown(1000)]));
    def.window.events = 1;
    let told = explain(&def, b"k-1", &after(&def, &events));
    assert_eq!(origins(&told, "at"), [(shown(999), 5, "a".to_owned(), vec![])], "folded, and its event forgotten");
    let HeldBase { lowest, highest, highest_event, folded } = told.journals[0].1.base.clone().unwrap();
    assert_eq!((lowest.major, highest.major, highest_event), (5, 5, Some(9)));
    assert_eq!(folded, [("at".to_owned(), shown(999))]);
}

#[test]
fn journals_tell_what_they_hold_by_source_and_event() {
    let mut def = def();
    def.window.events = 2;
    let adds = |source, version: i64, x| upsert(&def, source, version, version.unsigned_abs(), &[("sold", Int(x))]);
    let noted = upsert(&def, 1, 9, 5, &[("notes", text("n")), ("sold", Int(7))]);
    let mut events = vec![adds(0, 1, 10), adds(0, 2, 20), adds(0, 3, 30), adds(0, 4, 40), noted];
    events.push(upsert(&def, 1, 8, 6, &[("notes", text("m"))]));
    let mut record = after(&def, &events);
    let told = explain(&def, b"k-1", &record);
    assert_eq!(
        origins(&told, "notes"),
        [(text("m"), 8, "b".to_owned(), vec![6]), (text("n"), 9, "b".to_owned(), vec![5])]
    );
    assert!(field(&told, "sold").origins.is_empty());
    let journal = |name: &str| &told.journals.iter().find(|(source, _)| source == name).unwrap().1;
    let one = |field: &str, value| (field.to_owned(), value);
    let event =
        |version, id, contributions| HeldEvent { version: Version::single(version), event: Some(id), contributions };
    let of_a = journal("a");
    assert_eq!(of_a.events, [event(3, 3, vec![one("sold", Int(30))]), event(4, 4, vec![one("sold", Int(40))])]);
    assert_eq!(of_a.base.as_ref().map(|base| base.folded.clone()), Some(vec![one("sold", Int(30))]));
    let mut of_b = journal("b").clone();
    of_b.events[1].contributions.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        of_b.events,
        [event(8, 6, vec![one("notes", text("m"))]), event(9, 5, vec![one("notes", text("n")), one("sold", Int(7))])]
    );
    // A source that is gone is named by its id, and a nameless event has no hash.
    record = after(&def, &[Event { id: None, ..upsert(&def, 0, 1, 0, &[("at", Int(5))]) }]);
    let gone = TableDef { sources: def.sources[1..].to_vec(), ..def.clone() };
    let told = explain(&gone, b"k-1", &record);
    assert_eq!((told.journals[0].0.clone(), told.journals[0].1.events[0].event), (def.sources[0].id.to_string(), None));
}
